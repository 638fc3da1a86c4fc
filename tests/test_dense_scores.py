"""Scores of masks and boxes against cases worked by hand and against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tltools.tasks import _box_scores as boxes
from tltools.tasks import _mask_scores as masks


def rows(*items: Any) -> np.ndarray:
    made = np.empty(len(items), object)
    made[:] = [np.asarray(item) for item in items]
    return made


def test_mean_iou_of_a_worked_case() -> None:
    truth = rows(np.uint8([[0, 0], [1, 255]]), np.uint8([[1, 1], [0, 0]]))
    said = rows(np.uint8([[0, 1], [1, 1]]), np.uint8([[1, 0], [0, 0]]))
    # class 0: right 1+2, union (2+1-1)+(2+3-2); class 1: right 1+1, union (1+2-1)+(2+1-1); the 255 counts nowhere
    assert masks.mean_iou(truth, said) == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert masks.dice(truth, said) == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert masks.pixel_accuracy(truth, said) == pytest.approx(5 / 7)


def test_a_class_only_said_costs_the_others_and_is_no_class_of_its_own() -> None:
    assert masks.mean_iou(rows(np.uint8([[0, 0]])), rows(np.uint8([[0, 7]]))) == pytest.approx(0.5)


def test_an_output_of_half_the_size_is_brought_to_the_size_of_its_truth() -> None:
    small = np.uint8([[0, 1], [2, 3]])
    large = small.repeat(3, 0).repeat(3, 1)
    assert masks.mean_iou(rows(large), rows(small)) == 1.0
    assert np.array_equal(masks.fitted(large, (2, 2)), small)


@pytest.mark.parametrize("name", ["mean_iou", "dice", "pixel_accuracy"])
def test_pseudo_values_of_masks_have_the_score_as_mean_and_its_error_as_spread(name: str) -> None:
    random = np.random.default_rng(0)
    truth = rows(*(random.integers(0, 3, (6, 6)).astype(np.uint8) for _ in range(200)))
    noise = random.random((200, 6, 6)) < random.random((200, 1, 1))
    said = rows(*(np.where(noise[i], 0, truth[i]).astype(np.uint8) for i in range(200)))
    score, values = getattr(masks, name), getattr(masks, f"{name}_influence")(truth, said)
    assert values.mean() == pytest.approx(score(truth, said))
    again = [score(truth[take], said[take]) for take in random.integers(0, 200, (300, 200))]
    assert values.std() / np.sqrt(200) == pytest.approx(np.std(again), rel=0.15)


def test_masks_without_any_judged_pixel_are_no_score() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        masks.mean_iou(rows(np.uint8([[255]])), rows(np.uint8([[0]])))


BOX = [0, 0.0, 0.0, 0.5, 0.5]
FAR = [0, 0.6, 0.6, 0.9, 0.9]
NONE = np.zeros((0, 6))


def test_average_precision_of_worked_cases() -> None:
    truth = rows([BOX, FAR])
    assert boxes.ap50(truth, rows([[*BOX, 0.9], [*FAR, 0.8]])) == pytest.approx(1.0)
    assert boxes.ap50(truth, rows([[*BOX, 0.9]])) == pytest.approx(51 / 101)  # recalls 0 .. 0.50 at precision 1
    wrong = [0, 0.5, 0.0, 0.6, 0.1, 0.95]
    # precisions 0, 1/2, 2/3 at recalls 0, 1/2, 1: from the right never rising, so 2/3 throughout
    assert boxes.ap50(truth, rows([wrong, [*BOX, 0.9], [*FAR, 0.8]])) == pytest.approx(2 / 3)
    assert boxes.ap50(truth, rows(NONE)) == 0.0


def test_one_true_box_is_hit_once_and_a_box_of_another_class_hits_nothing() -> None:
    twice = rows([[*BOX, 0.9], [*BOX, 0.8], [*FAR, 0.7]])
    # hit, miss, hit: precision 1 up to recall 1/2, then 2/3
    assert boxes.ap50(rows([BOX, FAR]), twice) == pytest.approx((51 + 50 * 2 / 3) / 101)
    other = rows([[1, *BOX[1:], 0.9]])
    assert boxes.ap50(rows([BOX]), other) == 0.0


def test_a_box_too_small_counts_below_its_overlap_only() -> None:
    truth, said = rows([[0, 0, 0, 1, 1]]), rows([[0, 0, 0, 1, 0.72, 0.9]])  # overlap 0.72: 0.50 .. 0.70 of ten
    assert boxes.overlaps(said[0][:, 1:5], truth[0][:, 1:])[0, 0] == pytest.approx(0.72)
    assert boxes.ap50(truth, said) == 1.0
    assert boxes.mean_ap(truth, said) == pytest.approx(0.5)


def test_classes_weigh_the_same_and_absent_ones_nothing() -> None:
    truth = rows([BOX, [2, *FAR[1:]]])
    assert boxes.ap50(truth, rows([[*BOX, 0.9], [1, *FAR[1:], 0.9]])) == pytest.approx(0.5)


def test_pseudo_values_of_boxes_have_the_score_as_mean_and_its_error_as_spread() -> None:
    random = np.random.default_rng(1)
    truth, said = [], []
    for _ in range(120):
        corner = random.random((4, 2)) * 0.5
        own = np.hstack([random.integers(0, 2, (4, 1)), corner, corner + 0.2])
        moved = own + np.hstack([np.zeros((4, 1)), random.normal(0, 0.04, (4, 4))])
        truth.append(own)
        said.append(np.hstack([moved, random.random((4, 1))]))
    there, outputs = rows(*truth), rows(*said)
    values = boxes.ap50_influence(there, outputs)
    assert values.mean() == pytest.approx(boxes.ap50(there, outputs))
    again = [boxes.ap50(there[take], outputs[take]) for take in random.integers(0, 120, (150, 120))]
    assert values.std() / np.sqrt(120) == pytest.approx(np.std(again), rel=0.25)
    assert boxes.mean_ap_influence(there, outputs).mean() == pytest.approx(boxes.mean_ap(there, outputs))
