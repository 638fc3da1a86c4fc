"""Formulas of the detection metrics: average precision by the rules of COCO, and what one image adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST = 100  # boxes of an image and class that count, the surest first
RECALLS = np.linspace(0, 1, 101)  # where precision is read
STRICT = tuple(0.5 + 0.05 * k for k in range(10))  # overlaps that mAP 50:95 averages over


def overlaps(ours: Array, theirs: Array) -> Array:
    """(n, m) intersection over union of boxes (n, 4) and (m, 4) as x0, y0, x1, y1."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    ratio: Array = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)
    return ratio


def matched(truth: Array, boxes: Array, least: float) -> Array:
    """(m,) bool: which boxes (m, 4), surest first, hit a box of the truth (n, 4) that no surer one has taken."""
    hits = np.zeros(len(boxes), bool)
    if not len(truth):
        return hits
    overlap = overlaps(boxes, truth)
    for i in range(len(boxes)):
        best = int(overlap[i].argmax())
        if overlap[i, best] >= least - 1e-10:
            hits[i], overlap[:, best] = True, -1.0
    return hits


@dataclass(frozen=True)
class Matches:
    """All boxes of one class at one overlap, surest first, and the boxes there are."""

    row: Array  # (D,) of which image
    hit: Array  # (D,) bool
    true: Array  # (M,) boxes of the truth of each image

    def precision(self, without: int | None = None) -> float:
        """Average precision, read at 101 recalls; `without` leaves one image out. nan where there is no box."""
        there = int(self.true.sum()) - (0 if without is None else int(self.true[without]))
        if not there:
            return float("nan")
        hit = self.hit if without is None else self.hit[self.row != without]
        right = np.cumsum(hit)
        precise = np.maximum.accumulate((right / np.arange(1, len(hit) + 1))[::-1])[::-1]
        place = np.searchsorted(right / there, RECALLS - 1e-10)
        return float(np.append(precise, 0.0)[place].mean())


def matches(truth: Array, outputs: Array, least: float) -> list[Matches]:
    """The matches of every class that occurs in the truth; rows as detection stores them, see its text."""
    classes = sorted({int(code) for row in truth for code in row[:, 0]})
    found = []
    for code in classes:
        rows, scores, hits, true = [], [], [], np.zeros(len(truth), np.int64)
        for i, (there, said) in enumerate(zip(truth, outputs, strict=True)):
            own, boxes = there[there[:, 0] == code], said[said[:, 0] == code]
            boxes = boxes[np.argsort(-boxes[:, 5], kind="stable")[:MOST]]
            true[i] = len(own)
            rows.append(np.full(len(boxes), i))
            scores.append(boxes[:, 5])
            hits.append(matched(own[:, 1:5], boxes[:, 1:5], least))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        found.append(Matches(np.concatenate(rows)[order], np.concatenate(hits)[order], true))
    return found


def ap50(truth: Array, outputs: Array) -> float:
    """Mean over the classes of the truth of the average precision at an overlap of one half."""
    return _mean(matches(truth, outputs, 0.5))


def ap50_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of AP50, by leaving out each image in turn."""
    return _jackknife(matches(truth, outputs, 0.5), len(truth))


def mean_ap(truth: Array, outputs: Array) -> float:
    """Mean of the average precision over classes and over the overlaps 0.50, 0.55 .. 0.95."""
    return _mean([one for least in STRICT for one in matches(truth, outputs, least)])


def mean_ap_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of mAP 50:95, by leaving out each image in turn."""
    return _jackknife([one for least in STRICT for one in matches(truth, outputs, least)], len(truth))


def _mean(found: list[Matches], without: int | None = None) -> float:
    if not found:
        raise ValueError("average precision needs at least one true box; got none")
    each = [one.precision(without) for one in found]
    return float(np.nanmean(each)) if not np.isnan(each).all() else float("nan")


def _jackknife(found: list[Matches], rows: int) -> Array:
    """(M,) score + (M - 1) (mean of the scores left out - score without the row): their mean is the score itself."""
    score = _mean(found)
    left_out = np.array([_mean(found, row) for row in range(rows)])
    left_out = np.where(np.isnan(left_out), score, left_out)
    values: Array = score + (rows - 1) * (left_out.mean() - left_out)
    return values
