"""Detection from a zip of shapes to a verdict: targets, peaks, the loss, and boxes of new pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests import shapes
from tltools import augmentation, datasets, places, reports, studies
from tltools.engine import augment, export, heads_dense, predict
from tltools.engine import study as engine
from tltools.home import open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.tasks import _box_code as code
from tltools.tasks.detection import DETECTION
from tltools.tasks.segmentation import SEGMENTATION
from tltools.tickets import QuietTicket

BOXES = [np.array([[0, 0.1, 0.1, 0.42, 0.5], [1, 0.5, 0.4, 0.9, 0.8]]), np.zeros((0, 5)),
         np.array([[1, 0.0, 0.0, 0.2, 0.2]])]  # fmt: skip
SHORT = {"epochs": 14, "min_steps": 0, "batch_size": 4, "learning_rate": 2e-3, "head_rate": 1e-2, "rates_tried": 1}


def perfect(shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    """Raw maps (3, 6, h, w) that say `BOXES` exactly."""
    raw = np.full((3, 6, *shape), -9.0, np.float32)
    for row, boxes in enumerate(BOXES):
        for kind, x0, y0, x1, y1 in boxes:
            x, y = (x0 + x1) / 2 * shape[1], (y0 + y1) / 2 * shape[0]
            raw[row, int(kind), int(y), int(x)] = 6
            for down, across in np.ndindex(3, 3):  # the places about the centre say the box, too
                i, j = int(y) + down - 1, int(x) + across - 1
                raw[row, 2:, i, j] = [np.log(x1 - x0), np.log(y1 - y0), x - j - 0.5, y - i - 0.5]
    return raw


def test_peaks_become_the_boxes_that_they_say() -> None:
    found = code.decode(perfect())
    for wanted, said in zip(BOXES, found, strict=True):
        order = np.argsort(said[:, 0])
        assert np.allclose(said[order, :5], wanted, atol=1e-5)
    assert DETECTION.metrics[0].score(places.as_rows(BOXES), found) == pytest.approx(1.0)


def test_two_peaks_of_one_object_become_one_box_and_of_two_classes_stay() -> None:
    raw = perfect()
    y, x = np.argwhere(raw[2, 1] == 6)[0]
    raw[2, 1, y + 2, x + 2] = 5
    raw[2, 2:, y + 2, x + 2] = [np.log(0.2), np.log(0.2), -2.0, -2.0]  # the same place, said from elsewhere
    assert len(code.decode(raw)[2]) == 1
    raw[2, 0, y, x] = 5
    assert len(code.decode(raw)[2]) == 2


def test_the_loss_is_least_where_the_maps_are_right_and_empty_pictures_count() -> None:
    target = torch.from_numpy(code.padded(BOXES))
    right = torch.from_numpy(perfect())
    least = code.loss(right, target, {})
    assert least.shape == (3,) and float(least.max()) < 0.1
    for change in (lambda raw: raw[:, 2:].add_(0.5), lambda raw: raw[:, :2].mul_(-1), lambda raw: raw[1, 0].fill_(2.0)):
        raw = right.clone()
        change(raw)
        assert float(code.loss(raw, target, {}).sum()) > float(least.sum()) + 0.1


def test_a_peak_beside_its_place_still_says_the_box_that_it_was_taught() -> None:
    target = torch.from_numpy(code.padded([np.array([[0, 0.5, 0.5, 0.7, 0.6], [0, 0.0, 0.9, 0.05, 1.0]])]))
    raw = torch.zeros(1, 5, 16, 16)
    raw[:, 0] = -9
    raw.requires_grad_()
    optimiser = torch.optim.Adam([raw], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        code.loss(raw, target, {}).sum().backward()
        optimiser.step()
    beside = raw.detach().numpy().copy()
    beside[0, 0, 8:10, 9:11] = [[-9, 6], [-9, -9]]  # the centre lies in row 8, column 9
    beside[0, 0, 15, 0] = 6
    found = code.decode(beside)[0]
    assert np.allclose(found[np.argsort(-found[:, 1]), 1:5], target[0, :, 1:], atol=0.01)


def test_maps_of_large_numbers_do_not_drown_the_others() -> None:
    maps = [torch.randn(4, own, 2 * side, side) for own, side in ((3, 16), (5, 8), (7, 4))]
    large = [20 * maps[0] + 3, 5 * maps[1] - 1, maps[2]]
    decoder = heads_dense.Decoder([3, 5, 7]).train()
    torch.testing.assert_close(decoder(large), decoder(maps), rtol=0, atol=1e-3)


def test_rare_classes_weigh_more_in_the_loss_and_absent_ones_as_boxes_do_on_average() -> None:
    places_ = [(2, 2), (2, 12), (12, 2), (12, 12), (7, 7)]  # the middle one of class 1, others of 0
    boxes = np.array([[int(k == 4), x / 16, y / 16, (x + 1) / 16, (y + 1) / 16] for k, (x, y) in enumerate(places_)])
    raw = torch.zeros(1, 3 + 4, 16, 16, requires_grad=True)
    code.loss(raw, torch.from_numpy(code.padded([boxes])), {}).sum().backward()
    slope = raw.grad[0]  # type: ignore[index]
    assert float(slope[1, 7, 7] / slope[0, 2, 2]) == pytest.approx(4**code.BALANCE)
    empty = slope[:3, 7, 15]
    assert float(4 * empty[0] + empty[1]) / 5 == pytest.approx(float(empty[2]), rel=1e-4)


MIRROR = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])


def test_mirrored_boxes_are_those_of_the_mirrored_picture() -> None:
    target = torch.from_numpy(code.padded(BOXES))
    mirror = MIRROR.expand(len(target), -1, -1)
    turned = code.moved(target, mirror)
    assert torch.allclose(turned[0, 0], torch.tensor([0, 0.58, 0.1, 0.9, 0.5]))
    assert torch.equal(turned[1], target[1]) and torch.allclose(code.moved(turned, mirror), target)
    raw = torch.from_numpy(perfect()).flip(-1)
    raw[:, 4] *= -1  # where in its place the centre lies turns too
    assert float(code.loss(raw, turned, {}).max()) < 0.1


@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_masks_move_with_their_pictures(seed: int) -> None:
    random = np.random.default_rng(seed)
    left, top = random.uniform(0.3, 0.45, 2)
    box = np.array([[0, left, top, left + 0.2, top + 0.25]])
    side = 400
    mask = torch.zeros(1, side, side)
    mask[:, int(box[0, 2] * side) : int(box[0, 4] * side), int(box[0, 1] * side) : int(box[0, 3] * side)] = 1
    changes = augmentation.drawn({"flip": True, "scale": 0.4, "crop": 0.2}, 1, random)
    matrix = torch.from_numpy(changes.matrix)
    picture = augment.moved(mask[:, None].expand(-1, 3, -1, -1), changes)[0, 0]
    shown = SEGMENTATION.dense.moved(mask.to(torch.uint8), matrix)[0]  # type: ignore[union-attr, misc]
    (found,) = code.moved(torch.from_numpy(code.padded([box])), matrix)[0]
    for seen in (picture > 0.5, shown == 1):
        y, x = torch.nonzero(seen, as_tuple=True)
        edges = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]) / side
        assert torch.allclose(found[1:], edges.float(), atol=0.01)
    assert set(shown.unique().tolist()) <= {0, 1, places.IGNORED}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_changed_pictures_keep_their_memory_format(layout: torch.memory_format) -> None:
    pixels = torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)
    changed = augment.moved(pixels, augmentation.drawn({"scale": 0.2}, 2, np.random.default_rng(0)))
    assert changed.is_contiguous(memory_format=layout)


def test_boxes_whose_middle_leaves_the_picture_are_gone() -> None:
    target = torch.from_numpy(code.padded([np.array([[1, 0.0, 0.4, 0.2, 0.6], [0, 0.5, 0.4, 0.7, 0.6]])]))
    half = torch.tensor([[[0.5, 0, 0.5], [0, 0.5, 0]]])  # the right half, enlarged
    moved = code.moved(target, half)[0]
    assert moved[0, 0] == -1
    assert torch.allclose(moved[1], torch.tensor([0.0, 0.0, 0.3, 0.4, 0.7]), atol=1e-6)


def test_predictions_come_back_as_they_were_written() -> None:
    said = code.decode(perfect())
    table = DETECTION.frame(np.arange(3), places.as_rows(BOXES), said, ("a", "ü"))
    assert DETECTION.dense is not None
    truth, outputs = DETECTION.dense.read_frame(table, ("a", "ü"))
    for before, after in zip([*BOXES, *said], [*truth, *outputs], strict=True):
        assert np.allclose(before, after, atol=1e-5)


def test_a_study_of_shapes_finds_them(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    dataset = datasets.add(home, shapes.with_boxes(tmp_path / "shapes.zip", 24))
    assert dataset.task == "detection" and dataset.classes == shapes.CLASSES[1:]
    study = Study(
        dataset=dataset.id, sources=("bundled/tiny-resnet",), strategies=({"full_finetune": SHORT},),
        controls=("classical",), draws=1,
    )  # fmt: skip
    key, ticket = studies.save(home, study), QuietTicket(home, open_store(home))
    engine.run_one(ticket, key)
    scores = {arm["strategy"]: arm["score"] for arm in reports.load(home, key).arms}
    assert scores["full_finetune"] > 0.3 > scores["classical"]
    trial = next(one for one in studies.expand(home, study) if one.strategy == "full_finetune")
    given, out = shapes.with_boxes(tmp_path / "new.zip", 3), tmp_path / "out.parquet"
    predict.run(ticket, {"trial": trial.id, "file": str(given), "out": str(out)})
    said = places.as_rows([places.boxes_of(cell, dataset.classes, 6) for cell in pd.read_parquet(out)["prediction"]])
    truth = places.as_rows([_corners(shapes.one(k)[2]) for k in range(3)])
    assert DETECTION.metrics[0].score(truth, said) > 0.3
    shapes.exported(ticket, trial.id, tmp_path / "model", 121)
    control = next(one for one in studies.expand(home, study) if one.strategy == "classical")
    again = export.run(ticket, {"trial": control.id, "to": str(tmp_path / "control")})["replay"]
    assert again["agrees"] and again["rows"], again
    Image.fromarray(shapes.one(0)[0]).save(tmp_path / "one.png")
    shapes.alone(tmp_path / "model", tmp_path / "one.png", tmp_path / "boxes.json")
    found = json.loads((tmp_path / "boxes.json").read_text())["one.png"]
    assert len(found) == len(said[0])
    for box, mine in zip(found, said[0], strict=True):
        assert box["class"] == dataset.classes[int(mine[0])] and box["score"] == pytest.approx(mine[5], abs=0.01)
        assert box["box"] == pytest.approx(list(mine[1:5] * [64, 48, 64, 48]), abs=0.5)


def _corners(boxes: list[tuple[int, float, float, float, float]]) -> np.ndarray:
    return np.array([[k, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for k, x, y, w, h in boxes])
