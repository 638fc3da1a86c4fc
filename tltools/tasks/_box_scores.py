"""Formulas of the detection metrics: average precision by the rules of COCO, and what one image adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[Any]

MOST = 100  # boxes of an image and class that count, the surest first
RECALLS = np.linspace(0, 1, 101)  # where precision is read
STRICT = tuple(0.5 + 0.05 * k for k in range(10))  # overlaps that mAP 50:95 averages over
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # pixels, as COCO has them


def overlaps(ours: Array, theirs: Array) -> Array:
    """(n, m) intersection over union of boxes (n, 4) and (m, 4) as x0, y0, x1, y1."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    ratio: Array = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)
    return ratio


def matched(truth: Array, boxes: Array, levels: Sequence[float], counts: Array) -> Array:
    """(T, m) int8: at each of T overlaps, which boxes (m, 4), surest first, hit a box of the truth (n, 4) that no surer
    one has taken: 1, or -1 where that one does not count (n,), which is taken only if none that counts is there."""
    found = np.zeros((len(levels), len(boxes)), np.int8)
    if not len(truth) or not len(boxes):
        return found
    overlap = overlaps(boxes, truth)
    reach = np.where(overlap >= np.asarray(levels)[:, None, None] - 1e-10, overlap + 2.0 * counts, -1.0)
    for i in np.flatnonzero((reach >= 0).any((0, 2))):
        best = reach[:, i].argmax(1)
        taken = np.flatnonzero(reach[np.arange(len(levels)), i, best] >= 0)
        found[taken, i] = np.where(counts[best[taken]], 1, -1)
        reach[taken, :, best[taken]] = -1.0
    return found


@dataclass(frozen=True)
class Matches:
    """All boxes of one class at one overlap, surest first, and the boxes there are."""

    code: int  # the class
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


def matches(
    truth: Array,
    outputs: Array,
    levels: Sequence[float],
    size: tuple[float, float] = (0.0, np.inf),
    pixels: Array | None = None,
) -> list[Matches]:
    """The matches of every class that occurs in the truth at each overlap; rows as detection stores them, see its text.

    size: only boxes whose area is from the first number to below the second count, in pixels of pictures that have
    `pixels` (M,) each; without these in shares of the picture. What hits another box, or nothing with another area, is
    left out (the rule of COCO).
    """  # fmt: skip
    found = []
    areas = np.ones(len(truth)) if pixels is None else pixels
    for code in sorted({int(code) for row in truth for code in row[:, 0]}):
        rows, scores, marks, true = [], [], [], np.zeros(len(truth), np.int64)
        for i, (there, said) in enumerate(zip(truth, outputs, strict=True)):
            own, boxes = there[there[:, 0] == code], said[said[:, 0] == code]
            boxes = boxes[np.argsort(-boxes[:, 5], kind="stable")[:MOST]]
            counts, fits = _within(own, areas[i], size), _within(boxes, areas[i], size)
            true[i] = counts.sum()
            rows.append(np.full(len(boxes), i))
            scores.append(boxes[:, 5])
            mark = matched(own[:, 1:5], boxes[:, 1:5], levels, counts)
            marks.append(np.where((mark == 0) & ~fits, -1, mark))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        row, every = np.concatenate(rows)[order], np.concatenate(marks, axis=1)[:, order]
        found += [Matches(code, row[mark >= 0], mark[mark >= 0] > 0, true) for mark in every]
    return found


def by_class(truth: Array, outputs: Array, names: Sequence[str], pixels: Array) -> pd.DataFrame:
    """Each class, most boxes first, and their mean: boxes of the truth, AP50, mAP 50:95, and mAP 50:95 of the sizes of
    COCO; empty where there is no such box. pixels: (M,) width times height of each row's picture."""

    def each(levels: Sequence[float], size: tuple[float, float] = (0.0, np.inf)) -> Array:
        made = np.full((len(names), len(levels)), np.nan)
        seen = matches(truth, outputs, levels, size, pixels)
        for k, one in enumerate(seen):
            made[one.code, k % len(levels)] = one.precision()
        values: Array = made.mean(1)
        return values

    codes = np.concatenate([row[:, 0] for row in truth]).astype(np.int64)
    table = pd.DataFrame({"class": list(names), "boxes": np.bincount(codes, minlength=len(names))})
    table["AP50"], table["mAP 50:95"] = each((0.5,)), each(STRICT)
    for name, size in SIZES.items():
        table[f"mAP {name}"] = each(STRICT, size)
    table = table.sort_values("boxes", ascending=False, kind="stable")
    mean = {"class": "mean of the classes", "boxes": len(codes), **table.iloc[:, 2:].mean().to_dict()}
    return pd.concat([table, pd.DataFrame([mean])], ignore_index=True)


def ap50(truth: Array, outputs: Array) -> float:
    """Mean over the classes of the truth of the average precision at an overlap of one half."""
    return _mean(matches(truth, outputs, (0.5,)))


def ap50_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of AP50, by leaving out each image in turn."""
    return _jackknife(matches(truth, outputs, (0.5,)), len(truth))


def no_box(truth: Array) -> str:
    """Why such rows have no average precision."""
    return "" if any(map(len, truth)) else "has no true box."


def mean_ap(truth: Array, outputs: Array) -> float:
    """Mean of the average precision over classes and over the overlaps 0.50, 0.55 .. 0.95."""
    return _mean(matches(truth, outputs, STRICT))


def mean_ap_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of mAP 50:95, by leaving out each image in turn."""
    return _jackknife(matches(truth, outputs, STRICT), len(truth))


def _within(boxes: Array, pixels: float, size: tuple[float, float]) -> Array:
    """(n,) bool: the area of boxes (n, 5 or more) in a picture of so many pixels is in a range."""
    area = np.prod(boxes[:, 3:5] - boxes[:, 1:3], axis=1) * pixels
    inside: Array = (area >= size[0]) & (area < size[1])
    return inside


def _mean(found: list[Matches], without: int | None = None) -> float:
    each = [one.precision(without) for one in found]
    return float(np.nanmean(each)) if not np.isnan(each).all() else float("nan")


def _jackknife(found: list[Matches], rows: int) -> Array:
    """(M,) score + (M - 1) (mean of the scores left out - score without the row): their mean is the score itself."""
    score = _mean(found)
    left_out = np.array([_mean(found, row) for row in range(rows)])
    left_out = np.where(np.isnan(left_out), score, left_out)
    values: Array = score + (rows - 1) * (left_out.mean() - left_out)
    return values
