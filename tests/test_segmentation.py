"""Segmentation from a zip of shapes to a verdict, and back to masks of new pictures."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from tests import shapes
from tltools import datasets, places, reports, splits, studies
from tltools.engine import classical_dense, dense, explain, export, predict, trial_model
from tltools.engine import study as engine
from tltools.engine.kit import EngineKit
from tltools.home import Home, open_home
from tltools.places import as_rows
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tasks import tasks
from tltools.tasks.segmentation import SEGMENTATION
from tltools.tickets import QuietTicket

SHORT = {"epochs": 8, "min_steps": 0, "batch_size": 4, "learning_rate": 1e-3, "head_rate": 1e-2, "rates_tried": 1}


def test_the_loss_counts_no_ignored_pixel_and_helps_rare_classes() -> None:
    raw, target = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randint(0, 3, (2, 4, 4))
    target[0, 0, 0] = places.IGNORED
    SEGMENTATION.loss(raw, target, {}).sum().backward()
    assert raw.grad is not None
    assert not raw.grad[0, :, 0, 0].any() and raw.grad[0, :, 1, 1].abs().sum() > 0
    flat, rare = torch.zeros(1, 2, 1, 10), torch.zeros(1, 1, 10, dtype=torch.long)
    rare[..., 0] = 1
    better = flat.clone()
    better[:, 1, :, 0] = 1  # one more on the one rare pixel
    common = flat.clone()
    common[:, 0, :, 5] = 1  # one more on one of nine common pixels
    gain = [float(SEGMENTATION.loss(flat, rare, {}) - SEGMENTATION.loss(said, rare, {})) for said in (better, common)]
    assert gain[0] == pytest.approx(3 * gain[1], rel=0.01)  # the square root of nine times as many


def test_predictions_come_back_as_they_were_written() -> None:
    random = np.random.default_rng(0)
    truth, said = (places.as_rows([random.integers(0, 3, (5, 7)).astype(np.uint8) for _ in range(3)]) for _ in "ab")
    truth[0][0, 0] = places.IGNORED
    table = SEGMENTATION.frame(np.arange(3), truth, said, ("a", "b", "ü"))
    assert SEGMENTATION.dense is not None
    again = SEGMENTATION.dense.read_frame(table, ("a", "b", "ü"))
    assert all(np.array_equal(x, y) for x, y in zip([*truth, *said], [*again[0], *again[1]], strict=True))


def test_rows_without_a_class_of_their_own_are_split_as_one_stratum() -> None:
    truth = places.as_rows([np.zeros((2, 2))] * 5)
    assert splits.strata(truth).tolist() == [0] * 5
    with pytest.raises(Refusal, match="one class each"):
        parts = splits.Parts(np.arange(3), np.arange(1), np.arange(1), "")
        splits.draw(splits.record("d", parts, seed=0, grouped_by=None), truth, per_class=2, draw=0, seed=0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("segmentation")
    home = open_home(folder / "home")
    dataset = datasets.add(home, shapes.with_masks(folder / "shapes.zip", 24))
    assert dataset.task == "segmentation" and dataset.classes == shapes.CLASSES and dataset.inputs == ("image",)
    study = Study(
        dataset=dataset.id, sources=("bundled/tiny-resnet",), strategies=({"full_finetune": SHORT},),
        controls=("classical",), draws=1,
    )  # fmt: skip
    key = studies.save(home, study)
    engine.run_one(QuietTicket(home, open_store(home)), key)
    return home, study


def test_a_study_of_shapes_is_judged_by_its_mean_iou(ran: tuple[Home, Study]) -> None:
    home, study = ran
    report = reports.load(home, studies.study_id(study))
    scores = {arm["strategy"]: arm["score"] for arm in report.arms}
    assert report.metric == "miou" and len(scores) == 2
    assert scores["full_finetune"] > 0.6 and scores["classical"] > 0.6 > 1 / 3
    for trial in studies.expand(home, study):
        table = pd.read_parquet(home.trials / trial.id / "predictions.parquet")
        truth, said = tasks()["segmentation"].dense.read_frame(table, shapes.CLASSES)  # type: ignore[union-attr]
        assert SEGMENTATION.metrics[0].score(truth, said) == pytest.approx(scores[trial.strategy])


def test_a_sealed_trial_says_the_same_of_the_same_pictures(ran: tuple[Home, Study]) -> None:
    home, study = ran
    dataset = datasets.get(home, study.dataset)
    for trial in studies.expand(home, study):
        model = trial_model.load(home, trial.id)
        stored = model.stored()
        items = datasets.items(home, dataset, "image")
        again = model.outputs([items[row] for row in stored["row"]])
        before = [places.mask_of(cell, dataset.classes) for cell in stored["prediction"]]
        assert np.mean([np.mean(a == b) for a, b in zip(before, again, strict=True)]) > 0.999


def test_new_pictures_get_masks_and_what_cannot_be_is_refused(ran: tuple[Home, Study]) -> None:
    home, study = ran
    trial = next(one for one in studies.expand(home, study) if one.strategy == "full_finetune")
    given, out = shapes.with_masks(home.root.parent / "new.zip", 3), home.root.parent / "out.parquet"
    ticket = QuietTicket(home, open_store(home))
    predict.run(ticket, {"trial": trial.id, "file": str(given), "out": str(out)})
    cells = pd.read_parquet(out)["prediction"]
    assert len(cells) == 3 and set(np.unique(places.mask_of(cells[0], shapes.CLASSES))) == {0, 1, 2}
    with pytest.raises(Refusal, match="not explained"):
        explain.run(ticket, {"trial": trial.id, "what": "attribution"})


def test_an_exported_folder_draws_the_same_masks_alone(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    ticket, trials = QuietTicket(home, open_store(home)), {one.strategy: one.id for one in studies.expand(home, study)}
    shapes.exported(ticket, trials["full_finetune"], tmp_path / "model", 103)
    control = export.run(ticket, {"trial": trials["classical"], "to": str(tmp_path / "control")})
    assert control["replay"]["agrees"] and control["replay"]["rows"] and "model.skops" in control["files"]
    pixels, mask, _ = shapes.one(100)
    (tmp_path / "new" / "below").mkdir(parents=True)
    for k, name in enumerate(("a.png", "below/b.png")):
        Image.fromarray(np.rot90(pixels, k)).save(tmp_path / "new" / name)
    shapes.alone(tmp_path / "model", tmp_path / "new", tmp_path / "masks")
    with (
        Image.open(tmp_path / "masks" / "a.png.png") as found,
        Image.open(tmp_path / "masks/below/b.png.png") as turned,
    ):
        assert found.size == (64, 48) and turned.size == (48, 64) and found.mode == "P"
        assert SEGMENTATION.metrics[0].score(places.as_rows([mask]), places.as_rows([np.asarray(found)])) > 0.5


def test_strategies_that_need_a_class_a_row_are_refused(ran: tuple[Home, Study]) -> None:
    home, study = ran
    asked = study.model_copy(update={"strategies": ("knn",)})
    problems = [one for one in studies.check(home, asked) if one.severity == "error"]
    assert any("can predict classes only" in one.what for one in problems)


def test_a_probe_leaves_the_backbone_as_it_was(ran: tuple[Home, Study], monkeypatch: pytest.MonkeyPatch) -> None:
    home, study = ran
    monkeypatch.setattr(dense, "FROZEN", replace(dense.FROZEN, epochs=1, min_steps=0))
    probed = study.model_copy(update={"strategies": ("linear_probe",), "controls": ("random_frozen",)})
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, probed))
    for trial in studies.expand(home, probed):
        names = set(load_file(home.trials / trial.id / "model.safetensors"))
        assert names and all(name.startswith("head.") for name in names)


def test_the_control_of_colours_holds_the_pixels_of_one_picture_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read, held = classical_dense._pixels, list[weakref.ref[np.ndarray]]()

    def noted(item: Image.Image) -> np.ndarray:
        assert sum(one() is not None for one in held) < 2, "the last one's, and no others"
        pixels = read(item)
        held.append(weakref.ref(pixels))
        return pixels

    random = np.random.default_rng(0)
    drawn = [random.integers(0, 255, (24, 24, 3), dtype=np.uint8) for _ in range(6)]
    truth = as_rows([(pixels[..., 0] > 127).astype(np.uint8) for pixels in drawn])
    monkeypatch.setattr(classical_dense, "decode", lambda item, side: np.asarray(item.resize((side, side), 0)))
    monkeypatch.setattr(classical_dense, "_pixels", noted)
    pictures = [Image.fromarray(pixels) for pixels in drawn]
    model = classical_dense.colour_model(pictures, truth, 0)
    assert len(held) == 6
    said = model.predict(read(pictures[0])).reshape(classical_dense.SIDE, classical_dense.SIDE)
    assert (said[::3, ::3] == truth[0]).mean() > 0.95, "each pixel was learnt with its own class"


def test_the_control_reads_each_picture_once_a_study_and_says_the_same(
    ran: tuple[Home, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, study = ran
    asked = study.model_copy(update={"fractions": (0.5, 1.0), "draws": 2})
    lent = EngineKit(QuietTicket(home, open_store(home)), asked, *studies.split_of(home, asked))
    opened, decode = list[str](), classical_dense.decode
    monkeypatch.setattr(classical_dense, "decode", lambda item, side: opened.append(str(item)) or decode(item, side))
    trials = [one for one in studies.expand(home, asked) if one.strategy == "classical"]
    found = [dense.classical(lent, trial) for trial in trials]
    assert len(found) == 4 and opened and len(opened) == len(set(opened))
    items: Any = lent.view("image")
    for trial, outcome in zip(trials, found, strict=True):
        rows = np.sort(np.concatenate(lent.draw(trial)))
        given = [items[row] for row in rows], lent.targets[rows], [items[row] for row in lent.test]
        wanted, _ = dense.control(lent.task)(*given, trial.seed)
        assert all(np.array_equal(a, b) for a, b in zip(wanted, outcome.outputs, strict=True))
        assert outcome.reading and outcome.alone and outcome.alone > outcome.reading


def test_what_a_control_holds_has_an_end_behind_which_rows_are_given_as_they_are() -> None:
    read = list[int]()
    held = classical_dense.Held([10, 20, 30, 40], lambda row: read.append(row) or np.full(100, row, np.uint8), most=150)
    first = held.of([2, 0, 1])
    assert [type(one) for one in first] == [np.ndarray, np.ndarray, int] and first[2] == 20
    assert held.of(np.array([0, 2, 3]))[:2] == [pytest.approx(first[1]), pytest.approx(first[0])]
    assert read == [30, 10] and held.seconds([1, 3]) == 0
    assert classical_dense.Held([1, 2], None).of([1]) == [2]
