"""A text transformer on sounds: only what is new, norms and positions move, alike in both arms, and it says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import shapes
from tests.bad_files import archive
from tests.test_audio import low_and_high
from tests.test_backbones import TEXT, minilm_folder, source
from tltools import datasets, reports, samples, sources, studies
from tltools.engine import explain, export_frames, frame_backbone, layouts, predict, rank, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.frame_backbone import FrameBackbone
from tltools.home import Home, open_home
from tltools.modalities import image
from tltools.records import Refusal, Source, Study
from tltools.store import open_store
from tltools.strategies import Layout
from tltools.tickets import QuietTicket

SHORT = {"epochs": 2, "min_steps": 20, "patience": 0, "rates_tried": 2}


def folder_of(kind: str, folder: Path) -> Path:
    """A tiny transformer with random weights, as transformers saves it."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), **TEXT[kind])).save_pretrained(folder)
    return folder


@dataclass
class Row:
    """So many frames of noise."""

    seed: int
    count: int = 20

    def frames(self) -> np.ndarray:
        return np.random.default_rng(self.seed).integers(0, 255, (self.count, 6), np.uint8)


# --- the backbone


@pytest.fixture(params=sorted(TEXT))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> FrameBackbone:
    card = source("text", "transformers", request.param).model_copy(update={"reads": "frames"})
    return frame_backbone.build(card, folder_of(request.param, tmp_path), random=False)


def test_any_text_transformer_reads_frames(made: FrameBackbone) -> None:
    rows = [Row(k) for k in range(5)]
    made.fit_items(rows, np.arange(4))
    assert len(made.stages) == 4 and made.width == 32, "the new layer and the words' place are the bottom"
    pixels = np.concatenate([row.frames() for row in rows[:4]]).astype(np.float32)
    assert np.allclose(made.entry.mean, pixels.mean(0), atol=1e-3), "standardised by the given rows alone"
    assert np.allclose(made.entry.scale, pixels.std(0), atol=1e-3)
    batch = made.encode(rows).take(np.arange(5))
    with torch.no_grad():
        found = made(batch)
        assert found.shape == (5, 32) and torch.isfinite(found).all()
        turned = {**batch, "frames": batch["frames"].flip(1)}
        assert (made(turned) - found).abs().max() > 1e-4, "the order of frames matters"
        some = {name: value[1:3] for name, value in batch.items()}
        assert torch.allclose(made(some), found[1:3], atol=1e-5), "a row says the same in any batch"


def test_only_the_input_layer_norms_positions_and_head_are_opened(made: FrameBackbone) -> None:
    made.fit_items([Row(0)], np.arange(1))
    model = layouts.Tuned(made, 2)
    names = layouts.opened(model, Layout(rates=(1e-3,) * len(made.stages), head=1e-3, part="inputs"), 0)
    new = {"head.weight", "head.bias", "backbone.core.entry.linear.weight", "backbone.core.entry.linear.bias"}
    assert new <= names
    for name in names - new:
        module = made.core.get_submodule(name.removeprefix("backbone.core.").rpartition(".")[0])
        assert isinstance(module, torch.nn.LayerNorm) or ("position" in name or "wpe" in name), name
    assert any("position" in name or "wpe" in name for name in names)
    norms = [one for one in made.core.modules() if isinstance(one, torch.nn.LayerNorm)]
    assert sum("entry" not in name and "head" not in name for name in names) == 2 * len(norms) + 1


def test_frames_are_joined_until_they_fit(tmp_path: Path) -> None:
    card = source("text", "transformers", "bert").model_copy(update={"reads": "frames", "max_length": 16})
    made = frame_backbone.build(card, folder_of("bert", tmp_path), random=False)
    made.fit_items([Row(0, count=50)], np.arange(1))
    values = made.encode([Row(1, count=50)]).values
    assert values.shape == (1, 13, 24) and made.entry.shape() == {"width": 24, "joined": 4}
    assert (
        np.array_equal(values.reshape(-1, 6)[:50], Row(1, count=50).frames()) and not values.reshape(-1, 6)[50:].any()
    )


def test_a_picture_is_cut_into_patches_row_by_row(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    found = image.Patched(str(tmp_path / "noise.png")).frames()
    assert found.shape == (64, 192) and found.dtype == np.uint8
    for place in (0, 7, 8, 63):
        row, column = divmod(place, 8)
        assert np.array_equal(found[place].reshape(8, 8, 3), pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8])


def test_the_lines_of_an_export_read_frames_as_the_backbone_does(made: FrameBackbone) -> None:
    rows = [Row(k, count=151) for k in range(3)]
    made.fit_items(rows, np.arange(3))
    facts = {"kind": "frames", "joined": made.entry.joined, "limit": made.limit, "causal": made.causal}
    told: dict[str, Any] = {
        "np": np,
        "torch": torch,
        "facts": facts,
        "model": made.body,
        "body": made.core.state_dict(),
        "frames": Row.frames,
    }
    exec(export_frames.steps(facts)[0], told)
    with torch.no_grad():
        assert made.entry.joined == 2 and torch.allclose(
            told["features"](rows), made(made.encode(rows).take(np.arange(3))), atol=1e-5
        )


def test_the_lines_of_an_export_cut_pictures_as_training_does(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg")
    lines, told = image.exported("frames"), dict[str, Any]()
    exec("\n".join(["import numpy as np", *lines.imports, lines.code]), told)
    assert np.array_equal(told["frames"](tmp_path / "noise.jpg"), image.Patched(str(tmp_path / "noise.jpg")).frames())


# --- a study


Judged = tuple[Home, Study, dict[str, str]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """(home, study of a tiny transformer on hums and whistles, trials of draw 0 by strategy)."""
    folder = tmp_path_factory.mktemp("language")
    home = open_home(folder / "home")
    dataset = datasets.add(home, archive("sounds.zip", low_and_high(20))(folder))
    sources.add(home, folder_of("bert", folder / "bert"), name="tiny-bert")
    study = Study(dataset=dataset.id, sources=("local/tiny-bert",), strategies=({"frozen_transformer": SHORT},),
                  controls=({"random_transformer": SHORT}, "classical"), fractions=(1.0,), draws=2)  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study, {trial.strategy: trial.id for trial in studies.expand(home, study) if not trial.draw}


def card_of(home: Home, trial: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((home.trials / trial / "card.json").read_text())
    return card


def test_both_arms_take_the_same_steps_and_leave_the_blocks_alone(judged: Judged) -> None:
    home, study, ids = judged
    cards = {arm: card_of(home, ids[arm]) for arm in ("frozen_transformer", "random_transformer")}
    one, other = cards.values()
    assert one["trial"]["knobs"] == other["trial"]["knobs"] and one["frames"] == other["frames"]
    assert one["trainable_parameters"] == other["trainable_parameters"] > 0
    assert (one["init"], other["init"]) == ("source", "random")
    start = load_file(home.sources / "local" / "tiny-bert" / "model.safetensors")
    for arm in cards:
        model = trial_model.load(home, ids[arm])
        assert isinstance(model, trial_model.NeuralModel) and isinstance(model.backbone, FrameBackbone)
        kept = load_file(home.trials / ids[arm] / "model.safetensors")
        moved = {name.removeprefix("backbone.") for name in kept if name.startswith("backbone.")}
        held = set(model.backbone.core.state_dict())
        assert moved <= model.backbone.input_parameters() | {"entry.mean", "entry.scale"} < held
        name = "encoder.layer.1.output.dense.weight"
        same = torch.equal(model.backbone.core.state_dict()[f"body.{name}"].cpu(), start[name])
        assert same == (arm == "frozen_transformer"), "the control's frozen weights are not the source's"
    found = {row["strategy"]: row for row in reports.load(home, studies.study_id(study)).arms}
    assert found["frozen_transformer"]["score"] > 0.8, "hums and whistles are told apart"


@pytest.mark.parametrize("arm", ["frozen_transformer", "random_transformer"])
def test_a_rebuilt_model_says_what_was_sealed_and_hears_new_sounds(judged: Judged, arm: str, tmp_path: Path) -> None:
    home, _, ids = judged
    model = trial_model.load(home, ids[arm])
    stored = model.stored()
    items = datasets.items(home, model.dataset, model.reads)
    outputs = model.outputs(trial_model.picked(items, stored["row"].to_numpy()))
    assert np.allclose(outputs, stored[["p_0", "p_1"]], atol=0.02), "16-bit steps may differ in the last digits"
    (tmp_path / "new.wav").write_bytes(low_and_high(3)["hum/02.wav"])
    asked = {"trial": ids[arm], "items": [str(tmp_path / "new.wav")]}
    assert set(predict.run(QuietTicket(home), asked)["predictions"][0]["probabilities"]) == {"hum", "whistle"}


def test_an_exported_folder_hears_alone(judged: Judged, tmp_path: Path) -> None:
    home, _, ids = judged
    ticket = QuietTicket(home, open_store(home))
    shapes.exported(ticket, ids["frozen_transformer"], tmp_path / "model", 140, "backbone.entry.linear.weight")


def test_what_it_cannot_do_is_said_in_a_sentence(judged: Judged, tmp_path: Path) -> None:
    home, study, ids = judged
    trial, ticket = ids["frozen_transformer"], QuietTicket(home, open_store(home))
    with pytest.raises(Refusal, match="no word or place can be covered"):
        explain.run(ticket, {"trial": trial, "what": "attribution", "rows": [0]})
    stages = explain.run(ticket, {"trial": trial, "what": "forgetting"})["stages"]
    assert all(0 < stage["cka"] <= 1 + 1e-6 for stage in stages)
    ranked = rank.run(ticket, {"dataset": study.dataset, "sources": ["local/tiny-bert"]})["ranking"]
    assert "before its new input layer is trained" in ranked[0]["problem"]
    with pytest.raises(Refusal, match="cannot be a source"):
        sources.get(home, f"own/{trial}")


def test_pictures_are_read_in_patches(judged: Judged) -> None:
    home = judged[0]
    digits = samples.add(home, "digits-low")
    assert sources.fit(home, sources.get(home, "local/tiny-bert"), digits).new_input
    made = load_backbone(home, sources.get(home, "local/tiny-bert", digits))
    assert isinstance(made, FrameBackbone)
    items = datasets.items(home, digits, made.reads)[:12]
    made.fit_items(items, np.arange(12))
    encoded = made.encode(items)
    assert encoded.values.shape == (12, 64, 192)
    with torch.no_grad():
        found = made(encoded.take(np.arange(12)))
    assert len(torch.unique(found.round(decimals=5), dim=0)) == 12, "each picture is another vector"


def problems(home: Home, study: Study, **changed: Any) -> list[tuple[str, str]]:
    return [(one.severity, one.what) for one in studies.check(home, study.model_copy(update=changed))]


def test_fit_and_checks_say_how_it_is_read_and_that_it_may_not_help(judged: Judged) -> None:
    home, study, _ = judged
    dataset = datasets.get(home, study.dataset)
    known = sources.get(home, "local/tiny-bert")
    cell = sources.fit(home, known, dataset)
    assert cell.fits and cell.new_input and cell.why.startswith("Fits as a frozen language model; new input layer")
    assert any("often does not help" in said for said in cell.warnings)
    cells = [cell for cell in sources.fits(home, dataset) if cell.fits]
    assert not cells[0].new_input and cells == sorted(cells, key=lambda one: one.new_input), "direct readers first"
    proposed = studies.propose(home, dataset, [known])
    assert (proposed.strategies, proposed.controls) == (("frozen_transformer",), ("random_transformer", "classical"))
    said = problems(home, study, strategies=("linear_probe",))
    assert ("note", "trains no new input layer, without which tiny-bert cannot read these rows; this arm is left "
            "out.") in said  # fmt: skip
    assert ("error", "must hold one that can work with local/tiny-bert; none can.") in said
    texts = samples.add(home, "film-notes")
    said = problems(home, study, dataset=texts.id, strategies=("frozen_transformer", "linear_probe"))
    assert any(
        severity == "note" and "is for a text model that is to read something else" in what for severity, what in said
    )
    assert not any(severity == "error" for severity, _ in said)
    both: list[Source] = [known, sources.get(home, "bundled/tiny-resnet")]
    assert "frozen_transformer" in studies.propose(home, dataset, both).strategies
