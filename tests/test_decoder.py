"""The decoder of texts: what is kept of places that were written changes nothing, and padding neither."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.texts import pairs
from tltools import sources
from tltools.engine.backbone import load_backbone
from tltools.engine.decoder import Decoder, decoder_for, decoder_of
from tltools.engine.pieces import BEGIN, END, LONGEST, NONE, PAD, learned, loaded, rows_of
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.written import spread
from tltools.home import Home
from tltools.tasks import tasks

TEXTS = pairs(60, 1)["other"].tolist()
PIECES = learned(TEXTS)


def decoder(seed: int, longest: int = 14) -> Decoder:
    torch.manual_seed(seed)
    made = Decoder(24, 4, 48, longest, PIECES).eval()
    for parameter in made.parameters():  # far from the even scores that new weights give
        torch.nn.init.normal_(parameter, std=0.4)
    return made


@settings(max_examples=25, deadline=None)
@given(some.integers(0, 10**6), some.integers(1, 6), some.sampled_from([0, 2, 3]))
def test_what_is_written_with_a_memory_is_the_likeliest_piece_without_one(seed: int, rows: int, once: int) -> None:
    model = decoder(seed)
    states, mask = torch.randn(rows, 5, 24), torch.ones(rows, 5, dtype=torch.long)
    with torch.inference_mode():
        said = model.write(states, mask, once)
        for row, pieces in enumerate(said):
            written: list[int] = []
            for _ in range(model.places.num_embeddings - 1):
                scores = model(states[row : row + 1], mask[row : row + 1], torch.tensor([[*written, END]]))[0, -1]
                scores[[PAD, BEGIN]] = -torch.inf
                runs = [tuple(written[k : k + once]) for k in range(len(written) - once + 1)] if once else []
                for run in runs:
                    if run[:-1] == tuple(written[len(written) - once + 1 :]):
                        scores[run[-1]] = -torch.inf
                if int(scores.argmax()) == END:
                    break
                written.append(int(scores.argmax()))
            assert pieces == written
            assert not once or len(set(zip(*(written[k:] for k in range(once)), strict=False))) == len(
                written[once - 1 :]
            )


@settings(max_examples=20, deadline=None)
@given(some.integers(0, 10**6))
def test_states_behind_the_mask_and_pieces_that_come_later_do_not_matter(seed: int) -> None:
    model = decoder(seed)
    states, mask = torch.randn(2, 6, 24), torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    pieces = torch.randint(3, len(PIECES), (2, 7))
    other, later = states.clone(), pieces.clone()
    other[0, 3:] += 9.0
    later[:, 3:] = 5
    with torch.inference_mode():
        before = model(states, mask, pieces)
        assert torch.allclose(model(other, mask, pieces), before, atol=1e-4)
        assert torch.allclose(model(states, mask, later)[:, :4], before[:, :4], atol=1e-4)
        assert model.write(other, mask) == model.write(states, mask)


@settings(max_examples=50)
@given(some.text())
def test_pieces_can_say_any_text_and_keep_case_and_umlauts(text: str) -> None:
    again = loaded(PIECES.dumped())
    (ids,) = again.cut([text])
    assert len(ids) < LONGEST
    if ids[-1] == END:
        assert again.text(ids).removeprefix(" ") == text.removeprefix(" ")


def test_only_the_rows_that_are_named_are_cut_into_pieces() -> None:
    found = rows_of(PIECES, TEXTS, np.array([2, 5]))
    assert found.shape[0] == len(TEXTS) and np.flatnonzero((found != NONE).any(1)).tolist() == [2, 5]
    assert PIECES.text(found[2][found[2] != NONE]).strip() == TEXTS[2]
    assert learned(["abc abc"]).dumped() != PIECES.dumped()


def test_a_decoder_starts_from_the_last_blocks_of_its_encoder_and_comes_back_from_its_tensors(home: Home) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    assert isinstance(backbone, TextBackbone)
    made = decoder_for(backbone, PIECES, 20)
    before = made.words.weight.clone()
    assert made.start_from(backbone)
    own = backbone.core.state_dict()
    for layer, block in zip(made.layers, (4, 5), strict=True):
        for theirs, ours in (("attention.self.query", layer.own.query), ("output.dense", layer.down)):
            assert torch.equal(ours.weight, own[f"encoder.layer.{block}.{theirs}.weight"])
    assert not torch.equal(made.words.weight, before)
    again = decoder_of(backbone, {name: value.float() for name, value in made.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))
    assert again.pieces.cut(TEXTS[:3]) == made.pieces.cut(TEXTS[:3])


def test_pad_pieces_do_not_count_in_the_loss() -> None:
    raw, target = torch.randn(2, 4, 9), torch.tensor([[3, 4, END, NONE], [5, END, NONE, NONE]])
    found = tasks()["translation"].loss(raw, target, {"smoothing": 0.1})
    for row, length in ((0, 3), (1, 2)):
        wanted = torch.nn.functional.cross_entropy(raw[row, :length], target[row, :length], label_smoothing=0.1)
        assert found[row].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_rows_that_are_looked_at_come_from_everywhere() -> None:
    assert spread(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert len(spread(np.arange(1000))) == 200 and spread(np.arange(1000))[[0, -1]].tolist() == [0, 999]
