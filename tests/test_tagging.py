"""Tagging from CoNLL files to a verdict, and back to marked words in new sentences."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from tests import shapes
from tests.sentences import CLASSES, conll, written
from tltools import datasets, overlays, places, reports, sources, studies
from tltools.engine import export, predict, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.text_backbone import CUT, NO_WORD
from tltools.home import Home, open_home
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tasks.tagging import TAGGING
from tltools.tickets import QuietTicket

SHORT = {"epochs": 6, "min_steps": 0, "batch_size": 16, "learning_rate": 5e-4, "rates_tried": 1}


def test_a_zip_of_conll_files_becomes_sentences_and_tags(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, written(tmp_path))
    assert (dataset.task, dataset.modality, dataset.inputs, dataset.classes) == ("tagging", "text", ("words",), CLASSES)
    rows = datasets.rows(home, dataset.id)
    assert len(rows) == 96 and not rows["words"].str.contains("en:").any()
    assert set(rows["_part"]) == {"train", "test"} and rows["_where"][24] == "towns_train.conll, sentence 1"
    truth = datasets.target(home, dataset)
    assert all(len(tags) == len(words.split(" ")) for tags, words in zip(truth, rows["words"], strict=True))
    assert [one.where for one in datasets.profile(home, dataset.id).skipped] == ["notes.md"]


@pytest.mark.parametrize("name", ["a.conll", "a.txt"])
def test_a_single_file_is_known_by_its_ending_or_its_lines(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(conll(20, 1))
    assert datasets.add(home, tmp_path / name).task == "tagging"


def test_a_broken_line_is_named_and_nothing_is_stored(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(conll(20, 1) + "Oslo\n")
    with pytest.raises(Refusal, match="a.conll, line 205: a line must hold"):
        datasets.add(home, tmp_path / "a.conll")
    (tmp_path / "a.conll").write_text("Oslo\tO\n")
    with pytest.raises(Refusal, match="no word has a tag other than O"):
        datasets.add(home, tmp_path / "a.conll")
    assert not datasets.listing(home)


@given(some.lists(some.lists(some.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=5))
def test_predictions_come_back_as_they_were_written(rows: list[list[int]]) -> None:
    truth = places.as_rows([np.array(row) for row in rows])
    table = TAGGING.frame(np.arange(len(rows)), truth, truth, CLASSES)
    assert TAGGING.dense is not None
    for again in TAGGING.dense.read_frame(table, CLASSES):
        assert all(np.array_equal(a, b) for a, b in zip(again, truth, strict=True))


def test_f1_counts_whole_entities_and_its_influence_says_what_a_sentence_adds() -> None:
    truth = places.as_rows([np.array([1, 2, 0]), np.array([3, 0, 1]), np.array([0])])
    said = places.as_rows([np.array([1, 0, 0]), np.array([3, 0, 1]), np.array([0])])
    f1, word = TAGGING.metrics
    assert f1.score(truth, said) == pytest.approx(2 / 3) and f1.influence is not None
    assert f1.influence(truth, said).mean() == pytest.approx(2 / 3)
    assert word.score(truth, said) == pytest.approx(6 / 7)


def test_types_have_an_f1_each_whose_entities_are_those_of_the_whole() -> None:
    truth = places.as_rows([np.array([1, 2, 0, 3]), np.array([0, 3, 0])])  # B-a I-a O B-b; O B-b O
    said = places.as_rows([np.array([1, 0, 0, 3]), np.array([1, 3, 0])])
    table = TAGGING.by_class(truth, said, ("a", "b", "never"), pd.DataFrame())  # type: ignore[misc]
    assert table["class"].tolist() == ["b", "a", "never"] and table["entities"].tolist() == [2, 1, 0]
    assert table["F1"].tolist()[:2] == [1.0, 0.0] and table["said"].tolist() == [2, 2, 0]
    assert table.iloc[2, 3:].isna().all()


def test_words_are_found_at_their_first_token_and_beyond_the_limit_they_are_none(home: Home) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    backbone.read_at(0)
    long = " ".join(["word"] * 200)
    encoded = backbone.encode(["Transmogrification in Reykjavik!", "a", long])
    batch = encoded.take(np.array([0, 1]))
    starts = batch["starts"]
    tokens = [backbone.tokenizer.convert_ids_to_tokens(int(batch["input_ids"][0, at])) for at in starts[0]]
    assert [token.startswith("##") for token in tokens] == [False] * 3 and tokens[1] == "in"
    assert starts[1].tolist() == [1, NO_WORD, NO_WORD]
    cut = encoded.take(np.array([2]))["starts"][0]
    assert (cut == CUT).sum() == 200 - (backbone.limit - 2)
    raw = backbone.settled(torch.ones(2, 3, 5), batch)
    assert [len(tags) for tags in TAGGING.decode(raw.numpy())] == [3, 1]
    raw = backbone.settled(torch.eye(5)[1].repeat(1, 200, 1), encoded.take(np.array([2])))
    (tags,) = TAGGING.decode(raw.numpy())
    assert tags.tolist() == [1] * (backbone.limit - 2) + [0] * (202 - backbone.limit)


@given(some.integers(0, 10_000), some.integers(1, 5), some.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_tags_are_the_best_of_all_sequences_that_entities_can_have(seed: int, words: int, types: int) -> None:
    kinds = 1 + 2 * types
    random = np.random.default_rng(seed)
    raw = random.standard_normal((2, words + 2, kinds)).astype(np.float32)
    raw[0, words:] = -2e4  # no words
    for row, length in enumerate((words, words + 2)):
        possible = [
            one for one in itertools.product(range(kinds), repeat=length)
            if all(tag == 0 or tag % 2 or (place and one[place - 1] in (tag, tag - 1)) for place, tag in enumerate(one))
        ]  # fmt: skip
        best = max(possible, key=lambda one: sum(float(raw[row, place, tag]) for place, tag in enumerate(one)))
        assert TAGGING.decode(raw)[row].tolist() == list(best)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("tagging")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    dataset = datasets.add(home, written(folder))
    study = Study(
        dataset=dataset.id, sources=(source.id,), strategies=({"full_finetune": SHORT},),
        controls=("classical",), fractions=(1.0,), draws=1,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_a_study_of_tags_is_judged_and_names_are_learned(ran: tuple[Home, Study]) -> None:
    home, study = ran
    report = reports.load(home, studies.save(home, study))
    assert report.metric == "entity_f1" and len(report.verdicts) == 1
    scores = {arm["strategy"]: arm["score"] for arm in report.arms}
    assert scores["full_finetune"] > 0.8 and scores["classical"] > 0.5
    page = reports.html(report, home)
    assert "The worst texts" in page and "<mark" in page


def test_new_sentences_are_tagged_as_the_stored_ones_were(ran: tuple[Home, Study]) -> None:
    home, study = ran
    tuned = next(trial for trial in studies.expand(home, study) if trial.kind == "transfer")
    stored = pd.read_parquet(home.trials / tuned.id / "predictions.parquet")
    model = trial_model.load(home, tuned.id)
    rows = datasets.rows(home, study.dataset).loc[stored["row"], "words"]
    assert TAGGING.dense is not None
    again = [TAGGING.dense.cell(tags, CLASSES) for tags in model.outputs(rows.tolist())]
    assert again == stored["prediction"].tolist()
    found = predict.run(QuietTicket(home, open_store(home)), {"trial": tuned.id, "items": ["Eva Lind left Rome <b>"]})
    html = overlays.marked(found["texts"][0], found["predictions"][0]["prediction"], CLASSES)
    assert "Eva Lind <small>PER</small>" in html and "&lt;b&gt;" in html


def test_an_exported_folder_tags_the_same_words_alone(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    ticket = QuietTicket(home, open_store(home))
    trials = {one.strategy: one.id for one in studies.expand(home, study) if one.draw == 0}
    shapes.exported(ticket, trials["full_finetune"], tmp_path / "model", 98)
    found = export.run(ticket, {"trial": trials["classical"], "to": str(tmp_path / "out")})
    assert found["replay"]["agrees"] and found["replay"]["max_difference"] == 0, "the control, too"
    assert "tltools" not in (tmp_path / "out" / "predict.py").read_text()
