"""A text transformer on cells of tables and on k-mers: its tokens, what moves, both arms of a study, exports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.test_backbones import TEXT, source
from tests.test_frozen_transformer import SHORT, folder_of
from tltools import costs, datasets, kmers, plans, reports, sources, studies, trials
from tltools.engine import (
    autotune,
    entries,
    explain,
    export,
    frame_backbone,
    layouts,
    measuring,
    planner,
    predict,
    trial_model,
)
from tltools.engine import study as engine
from tltools.engine.entries import CellEntry, FrameEntry
from tltools.engine.frame_backbone import FrameBackbone
from tltools.home import Home, open_home
from tltools.modalities import modalities
from tltools.modalities.sequence import Words
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.strategies import Layout, Recipe, strategies
from tltools.tickets import QuietTicket

TABLE = pd.DataFrame(
    {"age": [30.0, 50.0, np.nan, 900.0], "job": ["nurse", None, "clerk", "nurse"], "pay": [1.0, 2.0, 3.0, 4.0]}
)
WORDS = torch.randn(50, 32) * 0.1
EVERY = np.arange(4)


# --- cells


def test_a_cell_is_a_token_of_its_column_and_a_missing_one_has_a_vector_of_its_own() -> None:
    made = entries.entry_for(WORDS, TABLE, np.arange(2), limit=128)
    assert isinstance(made, CellEntry) and made.columns == (("age", "pay"), ("job",))
    assert made.numbers.mean.tolist() == [40.0, 1.5], "standardised by the given rows alone"
    encoded = made.encode(TABLE, 128)
    batch = encoded.take(EVERY)
    tokens = made(batch["frames"])
    assert tokens.shape == (4, 3, 32) and batch["attention_mask"].shape == (4, 3)
    vector, bias, missing = (
        part.view(2, 32) for part in (made.numbers.vector, made.numbers.bias, made.numbers.missing)
    )
    assert torch.allclose(tokens[0, 0], -1.0 * vector[0] + bias[0], atol=1e-6), "value x vector + bias of its column"
    assert torch.allclose(tokens[3, 0], 6.0 * vector[0] + bias[0], atol=1e-6), "what is far off is cut"
    assert torch.equal(tokens[2, 0], missing[0]) and torch.equal(tokens[1, 2], made.categories.weight[0])
    assert torch.equal(tokens[0, 2], tokens[3, 2]) and not torch.equal(tokens[0, 2], tokens[2, 2])
    assert 0.5 < float(made.categories.weight.detach().std() / WORDS.std()) < 2, "as large as words"


def test_neighbouring_cells_of_a_wide_table_are_joined_until_they_fit() -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 50)), columns=[f"g{k}" for k in range(50)])
    made = entries.entry_for(WORDS, wide, np.arange(6), limit=16)
    assert isinstance(made, CellEntry) and made.shape()["joined"] == 4
    batch = made.encode(wide, 16).take(np.arange(6))
    tokens = made(batch["frames"])
    assert tokens.shape == (6, 13, 32) == (*batch["attention_mask"].shape, 32)
    each = made.numbers.each(batch["frames"])
    assert torch.allclose(tokens[:, 0], each[:, :4].sum(1), atol=1e-6)
    assert torch.allclose(tokens[:, 12], each[:, 48:].sum(1), atol=1e-6)


@pytest.fixture(params=sorted(TEXT))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> FrameBackbone:
    card = source("text", "transformers", request.param).model_copy(update={"reads": "frames"})
    found = frame_backbone.build(card, folder_of(request.param, tmp_path), random=False)
    found.fit_items(TABLE, EVERY)
    return found


def test_any_text_transformer_reads_cells_and_only_what_is_new_norms_and_positions_get_gradients(
    made: FrameBackbone,
) -> None:
    batch = made.encode(TABLE).take(EVERY)
    with torch.no_grad():
        found = made(batch)
        assert found.shape == (4, 32) and len(torch.unique(found.round(decimals=4), dim=0)) == 4
        assert torch.allclose(made({name: value[1:3] for name, value in batch.items()}), found[1:3], atol=1e-5)
    model, layout = layouts.Tuned(made, 2), Layout(rates=(1e-3,) * len(made.stages), head=1e-3, part="inputs")
    layouts.arrange(model, layout, Recipe(phases=(layout,)), 1.0, 0)
    model(batch).square().sum().backward()  # type: ignore[no-untyped-call]
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {"head.weight", "backbone.core.entry.numbers.vector", "backbone.core.entry.numbers.missing",
            "backbone.core.entry.categories.weight"} <= moved  # fmt: skip
    for name in moved - {"head.weight", "head.bias"}:
        module = made.core.get_submodule(name.removeprefix("backbone.core.").rpartition(".")[0])
        places = "position" in name or "wpe" in name
        assert ".entry." in name or places or isinstance(module, torch.nn.LayerNorm), name
    again = entries.of_shape(WORDS, made.entry.shape())
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in made.entry.state_dict().items()
    }


# --- k-mers


def test_the_letters_of_each_k_mer_light_places_of_their_own() -> None:
    found = kmers.lit(["ACG", "C*"], 3)
    assert found.shape == (2, 81) and found.dtype == np.uint8
    assert np.flatnonzero(found[0]).tolist() == [0, 27 + 2, 54 + 6] and np.flatnonzero(found[1]).tolist() == [
        2,
        27 + 26,
    ]
    assert not kmers.lit([], 3).any() and kmers.lit([], 3).shape == (1, 81)
    assert not kmers.lit([". ", "é?1"], 3).any(), "what is no letter lights none"
    assert Words("acgta", {"k": 3.0, "step": 1.0}).frames().shape == (3, 81)


def test_rows_of_other_lengths_are_filled_up_and_outliers_do_not_blur_the_rest() -> None:
    reading = {"k": 3.0, "step": 1.0}
    rows = [Words("ACGT" * (5 + k % 3), reading) for k in range(40)] + [Words("ACGT" * 5000, reading)]
    made = entries.entry_for(WORDS, rows, np.arange(41), limit=16)
    assert isinstance(made, FrameEntry) and made.joined == 2, "of 95 of 100 rows none is cut"
    encoded = made.encode(rows, 16)
    assert encoded.lengths.max() == 16 and encoded.values.shape[1] == 16, "the long one is"
    batch = encoded.take(np.arange(3))
    assert batch["attention_mask"].sum(1).tolist() == [9, 11, 13] and batch["frames"].shape == (3, 13, 162)
    size = made(torch.from_numpy(encoded.values[:3, :9])).detach().std() / WORDS.std()
    assert 0.5 < float(size) < 2, "as large as words"


@dataclass
class Judged:
    """A home with the study of a tiny transformer on motifs of DNA, or on a small table with missing cells."""

    home: Home
    study: Study
    ids: dict[str, str]  # of draw 0, by strategy


def table(rows: int = 160) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{k}": random.normal(size=rows).round(3) for k in range(4)})
    frame["colour"] = random.choice(["red", "green", "blue"], rows)
    frame["label"] = np.where(frame["x0"] + (frame["colour"] == "red") > 0.3, "high", "low")
    return frame.mask(random.random(frame.shape) < [[0.1] * 5 + [0.0]])


def motifs(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(1)
    cells = ["".join(random.choice(list("acgt"), int(random.integers(30, 41)))) for _ in range(rows)]
    cells = ["tataattataat" + cell[12:] if row % 2 else cell for row, cell in enumerate(cells)]
    return pd.DataFrame({"dna": cells, "label": ["plain", "motif"] * (rows // 2)})


@pytest.fixture(scope="module", params=["table", "dna"])
def judged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp(request.param)
    home = open_home(folder / "home")
    (table() if request.param == "table" else motifs()).to_csv(folder / "rows.csv", index=False)
    dataset = datasets.add(home, folder / "rows.csv", target="label")
    sources.add(home, folder_of("bert", folder / "bert"), name="tiny-bert")
    study = Study(
        dataset=dataset.id, sources=("local/tiny-bert",), strategies=("linear_probe", {"frozen_transformer": SHORT}),
        controls=({"random_transformer": SHORT}, "classical"), fractions=(1.0,), draws=2,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return Judged(home, study, {one.strategy: one.id for one in studies.expand(home, study) if not one.draw})


def test_one_source_reads_the_rows_in_two_ways_in_one_study(judged: Judged) -> None:
    cards = {arm: reports.trial_card(judged.home, trial) or {} for arm, trial in judged.ids.items()}
    reads = {arm: card["source"] and card["source"]["reads"] for arm, card in cards.items()}
    assert reads == {
        "linear_probe": "text", "frozen_transformer": "frames", "random_transformer": "frames", "classical": None,
    }  # fmt: skip
    one, other = cards["frozen_transformer"], cards["random_transformer"]
    assert one["frames"] == other["frames"] and one["trial"]["knobs"] == other["trial"]["knobs"]
    assert one["trainable_parameters"] == other["trainable_parameters"] > 0
    assert (one["init"], other["init"]) == ("source", "random")
    found = reports.load(judged.home, studies.study_id(judged.study))
    scores = {row["strategy"]: row["score"] for row in found.arms}
    assert scores["frozen_transformer"] > 0.75, "what decides is in a cell, or in a motif"
    verdicts = [row for row in found.verdicts if row["strategy"] == "frozen_transformer"]
    assert verdicts and all(row["against"] in ("random_transformer", "classical") for row in verdicts)


@pytest.mark.parametrize("arm", ["frozen_transformer", "random_transformer"])
def test_a_rebuilt_model_says_what_was_sealed_and_reads_new_rows(judged: Judged, arm: str) -> None:
    model = trial_model.load(judged.home, judged.ids[arm])
    assert isinstance(model, trial_model.NeuralModel) and isinstance(model.backbone, FrameBackbone)
    stored = model.stored()
    items = datasets.items(judged.home, model.dataset, model.reads)
    outputs = model.outputs(trial_model.picked(items, stored["row"].to_numpy()))
    assert np.allclose(outputs, stored[["p_0", "p_1"]], atol=0.02), "16-bit steps may differ in the last digits"
    new: dict[str, Any] = dict.fromkeys(model.dataset.inputs)
    asked = {"trial": judged.ids[arm], "items": [new, {**new, model.dataset.inputs[0]: "7"}]}
    said = predict.run(QuietTicket(judged.home), asked)["predictions"]
    assert len(said) == 2 and all(0 <= share <= 1 for one in said for share in one["probabilities"].values())


@pytest.mark.parametrize("arm", ["frozen_transformer", pytest.param("random_transformer", marks=pytest.mark.slow)])
def test_an_exported_folder_predicts_alone(judged: Judged, arm: str, tmp_path: Path) -> None:
    to = tmp_path / "model"
    out = export.run(QuietTicket(judged.home), {"trial": judged.ids[arm], "to": str(to)})
    assert out["replay"]["agrees"] and out["replay"]["rows"] > 20, out["replay"]
    assert "tltools" not in (to / "predict.py").read_text()
    dataset = datasets.get(judged.home, judged.study.dataset)
    pd.DataFrame({name: [""] for name in dataset.inputs}).to_csv(tmp_path / "empty.csv", index=False)
    words = [str(to / "predict.py"), str(tmp_path / "empty.csv"), str(tmp_path / "out.csv")]
    subprocess.run([sys.executable, *words], check=True)
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].isin(dataset.classes).all(), "a row without a value, too"


def test_it_is_explained_or_refused_in_a_sentence(judged: Judged) -> None:
    ticket = QuietTicket(judged.home, open_store(judged.home))
    trial = judged.ids["frozen_transformer"]
    asked = {"trial": trial, "what": "attribution", "rows": [0]}
    if datasets.get(judged.home, judged.study.dataset).modality == "tabular":
        columns = explain.run(ticket, asked)["columns"]
        assert columns[0]["column"] == "x0" and columns[0]["importance"] > 0.05, "what decides"
    else:
        with pytest.raises(Refusal, match="no word or place can be covered"):
            explain.run(ticket, asked)
    stages = explain.run(ticket, {"trial": trial, "what": "forgetting"})["stages"]
    assert all(0 < stage["cka"] <= 1 + 1e-6 for stage in stages)
    with pytest.raises(Refusal, match="cannot be a source"):
        sources.get(judged.home, f"own/{trial}")


def test_each_way_is_measured_and_estimated_for_itself(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    store, dataset = open_store(judged.home), datasets.get(judged.home, judged.study.dataset)

    def here(home: Home, store: Any, source: Any, study: Any, own: Any, check: Any) -> None:
        planner.remember(store, source, dataset, *measuring.measured(home, study, *studies.split_of(home, study), own))

    monkeypatch.setattr(planner, "measure", here)  # the child process has a test of its own
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    monkeypatch.setattr(autotune, "SECONDS", 0.05)
    planner.dry_run(judged.home, store, judged.study, QuietTicket(judged.home, store))
    wanted = studies.expand(judged.home, judged.study)
    ways = {one.strategy: (plans.reader(one), trials.card(judged.home, one, dataset).reads) for one in wanted
            if one.source != "none"}  # fmt: skip
    new = ("local/tiny-bert|frames", "frames")
    assert ways == {
        "linear_probe": ("local/tiny-bert", "text"), "frozen_transformer": new, "random_transformer": new,
    }  # fmt: skip
    tried = {
        arm: costs.rate(store, trials.card(judged.home, one, dataset), dataset)[0]["ways"]
        for arm, one in {one.strategy: one for one in wanted if one.source != "none"}.items()
    }
    assert {way.split(":")[0] for way in tried["frozen_transformer"]} == {"frozen_transformer", "random_transformer"}
    assert not tried["linear_probe"], "a closed form takes no steps"
    counts = plans.Counts(90, 20, 30, 2)
    plan = planner.plan(store, judged.home, judged.study, wanted, counts)
    assert plan.wants("local/tiny-bert") and not plan.wants("local/tiny-bert|frames"), "nothing of it is frozen whole"


def test_the_check_says_how_it_is_read_and_asks_for_the_twin(judged: Judged) -> None:
    dataset = datasets.get(judged.home, judged.study.dataset)
    known = sources.get(judged.home, "local/tiny-bert", dataset)
    arm = strategies()["frozen_transformer"]
    assert known.reads == "text" and sources.serving(known, dataset, arm).reads == "frames"
    assert (
        modalities()[dataset.modality].said["frames"]
        == sources.fit(judged.home, sources.serving(known, dataset, arm), dataset).why
    )
    said = [one.what for one in studies.check(judged.home, judged.study)]
    assert sum("often does not help" in what for what in said) == 1
    alone = judged.study.model_copy(update={"controls": ("classical",)})
    (twin,) = [one for one in studies.check(judged.home, alone) if "comes without its control" in one.what]
    assert twin.severity == "warning" and "random_transformer" in twin.remedy
    json.dumps([one.model_dump() for one in studies.check(judged.home, alone)])
