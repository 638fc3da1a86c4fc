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


@pytest.mark.parametrize("name", ["mean_iou", "dice", "pixel_accuracy", "boundary_f1"])
def test_pseudo_values_of_masks_have_the_score_as_mean_and_its_error_as_spread(name: str) -> None:
    random = np.random.default_rng(0)
    truth = rows(*(random.integers(0, 3, (6, 6)).astype(np.uint8) for _ in range(200)))
    noise = random.random((200, 6, 6)) < random.random((200, 1, 1))
    said = rows(*(np.where(noise[i], 0, truth[i]).astype(np.uint8) for i in range(200)))
    score, values = getattr(masks, name), getattr(masks, f"{name}_influence")(truth, said)
    assert values.mean() == pytest.approx(score(truth, said))
    times = 40 if name == "boundary_f1" else 100  # a boundary takes a millisecond
    again = [score(truth[take], said[take]) for take in random.integers(0, 200, (times, 200))]
    assert values.std() / np.sqrt(200) == pytest.approx(np.std(again), rel=0.2)


def test_masks_without_any_judged_pixel_are_no_score() -> None:
    nothing = rows(np.uint8([[255]])), rows(np.uint8([[0]]))
    assert np.isnan(masks.mean_iou(*nothing)) and np.isnan(masks.dice_influence(*nothing)).all()
    assert masks.no_pixel(nothing[0]).startswith("has no pixel") and not masks.no_pixel(nothing[1])
    flat, edged = rows(np.uint8([[1, 1]])), rows(np.uint8([[1, 1]]), np.uint8([[0, 1]]))
    assert "no boundary" in masks.no_boundary(flat) and not masks.no_boundary(edged)


def square(first: int, last: int, side: int = 200, code: int = 1) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[first:last, first:last] = code
    return mask


def test_a_boundary_is_right_within_a_share_of_the_diagonal_and_wrong_beyond() -> None:
    near = masks.NEAR * np.hypot(200, 200)  # 2.1 pixels
    assert masks.boundary_f1(rows(square(50, 150)), rows(square(50, 150))) == 1.0
    assert masks.boundary_f1(rows(square(50, 150)), rows(square(51, 149))) == 1.0 and near > 1
    assert masks.boundary_f1(rows(square(50, 150)), rows(square(60, 140))) < 0.1
    assert masks.boundary_f1(rows(square(50, 150)), rows(square(0, 0))) == 0.0


def test_a_boundary_half_of_which_is_found_has_the_f1_of_its_precision_and_recall() -> None:
    truth, said = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[:, 20:], said[:20, 20:] = 1, 1  # the true edge runs down the middle; said is its upper half, and one across
    recall, precision = 20 / 40, 20 / 39  # said: 20 pixels down the middle and 20 across, one of them both
    assert masks.NEAR * np.hypot(40, 40) < 1
    f1 = 2 * recall * precision / (recall + precision)
    assert masks.boundaries(rows(truth), rows(said))[0, 1] == pytest.approx(f1)


def test_what_is_ignored_and_the_edge_of_a_picture_are_no_boundary() -> None:
    whole, beside = np.ones((30, 30), np.uint8), np.ones((30, 30), np.uint8)
    beside[:, 20:] = 255
    assert np.isnan(masks.boundary_f1(rows(whole, beside), rows(whole, beside)))
    assert np.isnan(masks.boundary_f1_influence(rows(whole, beside), rows(whole, beside))).all()


def test_masks_by_class_are_what_the_whole_score_is_made_of() -> None:
    random = np.random.default_rng(2)
    truth = rows(*(random.integers(0, 3, (20, 20)).astype(np.uint8) for _ in range(5)))
    said = rows(*(np.where(random.random((20, 20)) < 0.3, 0, mask).astype(np.uint8) for mask in truth))
    table = masks.by_class(truth, said, ("sky", "road", "car", "never"))
    assert table["class"].iloc[-1] == "never" and table.iloc[-1, 3:].isna().all() and table["rows"].iloc[-1] == 0
    for column, score in (("IoU", masks.mean_iou), ("Dice", masks.dice), ("boundary F1", masks.boundary_f1)):
        assert table[column].mean() == pytest.approx(score(truth, said))
    assert table["share of pixels"].sum() == pytest.approx(1.0)


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


def test_boxes_by_class_are_what_the_whole_score_is_made_of_and_sizes_are_those_of_coco() -> None:
    small, large = [0, 0.0, 0.0, 0.05, 0.05], [0, 0.5, 0.5, 0.9, 0.9]  # 25 and 200 pixels of 500 a side
    cell = [1, 0.2, 0.2, 0.3, 0.3]  # 50 pixels a side
    truth = rows([small, large, cell])
    said = rows([[*small, 0.9], [*cell, 0.8], [0, 0.2, 0.6, 0.24, 0.64, 0.95]])  # the last hits nothing, and is small
    table = boxes.by_class(truth, said, ("dot", "cell", "never"), np.array([250_000.0])).set_index("class")
    assert table["boxes"].to_dict() == {"dot": 2, "cell": 1, "never": 0, "mean of the classes": 3}
    assert table.loc["mean of the classes", "AP50"] == pytest.approx(boxes.ap50(truth, said))
    assert table.loc["mean of the classes", "mAP 50:95"] == pytest.approx(boxes.mean_ap(truth, said))
    assert table.loc["dot", "mAP small"] == pytest.approx(0.5)  # the box that hits nothing comes first
    assert table.loc["dot", "mAP large"] == 0.0 and np.isnan(table.loc["dot", "mAP medium"])
    assert table.loc["cell", "mAP medium"] == 1.0 and np.isnan(table.loc["cell", "mAP large"])
    assert table.loc["never"].iloc[1:].isna().all()


def test_what_hits_a_box_of_another_size_is_neither_right_nor_wrong() -> None:
    truth = rows([[0, 0.0, 0.0, 0.05, 0.05], [0, 0.5, 0.5, 0.9, 0.9]])
    said = rows([[0, 0.5, 0.5, 0.9, 0.9, 0.99], [0, 0.0, 0.0, 0.05, 0.05, 0.5]])
    table = boxes.by_class(truth, said, ("dot",), np.array([250_000.0]))
    assert table["mAP small"].iloc[0] == table["mAP large"].iloc[0] == 1.0


def test_boxes_are_matched_at_all_overlaps_at_once_as_one_by_one() -> None:
    random = np.random.default_rng(3)
    corner = random.random((6, 2)) * 0.5
    truth = np.hstack([corner, corner + 0.3])
    said = np.vstack([truth + random.normal(0, 0.03, (6, 4)), truth[:2]])
    counts = np.array([True, False, True, True, False, True])
    whole = boxes.matched(truth, said, boxes.STRICT, counts)
    for level, found in zip(boxes.STRICT, whole, strict=True):
        assert np.array_equal(boxes.matched(truth, said, (level,), counts)[0], found)
        left = list(range(6))
        for mark, overlap in zip(found, boxes.overlaps(said, truth), strict=True):
            reached = [k for k in left if overlap[k] >= level]
            best = max(reached, key=lambda k: (counts[k], overlap[k]), default=None)
            assert mark == (0 if best is None else 1 if counts[best] else -1)
            left = [k for k in left if k != best]
