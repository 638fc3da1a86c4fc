"""Formulas of the segmentation metrics: ratios of sums of pixels over all rows, and what one row adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.places import IGNORED

Array = NDArray[Any]

NEAR = 0.0075  # how far a boundary may be from the true one, in diagonals of the picture (Csurka et al. 2013)


def fitted(mask: Array, shape: tuple[int, int]) -> Array:
    """A mask (h, w) brought to another shape (H, W) by its nearest pixels."""
    if mask.shape == shape:
        return mask
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(shape, mask.shape, strict=True))
    resized: Array = mask[rows.astype(np.int64)[:, None], columns.astype(np.int64)]
    return resized


def counts(truth: Array, outputs: Array) -> tuple[Array, Array, Array]:
    """(pixels right, pixels of the truth, pixels said), each (M, C) float64, of object arrays (M,) of masks.

    An output of another size than its truth is brought to that size; pixels whose truth is ignored count nowhere.
    """
    pairs, classes = [], 1
    for row, said in zip(truth, outputs, strict=True):
        seen = row != IGNORED
        pair = row[seen].astype(np.int64), fitted(said, row.shape)[seen].astype(np.int64)
        classes = max([classes, *(int(side.max()) + 1 for side in pair if len(side))])
        pairs.append(pair)
    found = np.zeros((3, len(pairs), classes))
    for i, (row, said) in enumerate(pairs):
        sides = (row[row == said], row, said)
        found[:, i] = [np.bincount(side, minlength=classes) for side in sides]
    return found[0], found[1], found[2]


def no_pixel(truth: Array) -> str:
    """Why such rows have no score of masks."""
    return "" if any((row != IGNORED).any() for row in truth) else "has no pixel whose truth is not ignored."


def mean_iou(truth: Array, outputs: Array) -> float:
    """Mean over the classes that occur in the truth of intersection over union, both summed over all rows first."""
    return float(_overlap(*counts(truth, outputs)).mean())


def mean_iou_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the mean IoU: the score, and the first-order effect of one more row like this one."""
    return _overlap(*counts(truth, outputs))


def dice(truth: Array, outputs: Array) -> float:
    """Mean over the classes that occur in the truth of twice the intersection over the sum of both areas."""
    return float(_dice(*counts(truth, outputs)).mean())


def dice_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of Dice, as those of the mean IoU."""
    return _dice(*counts(truth, outputs))


def pixel_accuracy(truth: Array, outputs: Array) -> float:
    """Share of the pixels, of all rows together, that are right."""
    return float(pixel_accuracy_influence(truth, outputs).mean())


def pixel_accuracy_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the pixel accuracy: rows with more judged pixels weigh more."""
    right, own, _ = counts(truth, outputs)
    return _ratio(right.sum(1, keepdims=True), own.sum(1, keepdims=True))


def boundary_f1(truth: Array, outputs: Array) -> float:
    """Mean over the classes that have a boundary in the truth of the mean over the rows that show it of the boundary's
    F1 (Csurka et al., BMVC 2013); nan where no class ends within a picture."""
    found = boundaries(truth, outputs)
    return float(_mean_over_rows(found).mean()) if not np.isnan(found).all() else float("nan")


def no_boundary(truth: Array) -> str:
    """Why such rows have no boundary F1."""
    rows = (truth[i : i + 1] for i in range(len(truth)))
    some = any(not np.isnan(boundaries(row, row)).all() for row in rows)
    return "" if some else "has no boundary between two classes."


def boundary_f1_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the boundary F1, as those of the mean IoU."""
    found = boundaries(truth, outputs)
    return _mean_over_rows(found) if not np.isnan(found).all() else np.full(len(found), np.nan)


def boundaries(truth: Array, outputs: Array) -> Array:
    """(M, C) F1 of each class's boundary in each row, nan where its truth has none.

    Precision and recall are shares of the boundary's pixels no farther than `NEAR` from one of the other side. A pixel
    is on the boundary of its class where one of the four beside it has another; edges of the picture are none.
    """
    classes = 1 + max((int(row[row != IGNORED].max(initial=0)) for row in truth), default=0)
    found = np.full((len(truth), classes), np.nan)
    for i, (row, said) in enumerate(zip(truth, outputs, strict=True)):
        said = np.where(row == IGNORED, IGNORED, fitted(said, row.shape))
        near = NEAR * float(np.hypot(*row.shape))
        edges = _edges(row), _edges(said)
        for code in np.unique(row[edges[0]]):
            own, other = (np.argwhere(edge & (mask == code)) for edge, mask in zip(edges, (row, said), strict=True))
            right = _close(other, own, near), _close(own, other, near)
            found[i, code] = 2 * right[0] * right[1] / (right[0] + right[1]) if all(right) else 0.0
    return found


def by_class(truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """Each class, most pixels first: rows that show it, its share of the judged pixels, IoU, Dice, and boundary F1;
    empty where the truth has none of it."""
    (right, own, said), edges = counts(truth, outputs), boundaries(truth, outputs)
    with np.errstate(invalid="ignore"):
        values = {
            "rows": (own > 0).sum(0), "share of pixels": own.sum(0) / own.sum(),
            "IoU": right.sum(0) / (own + said - right).sum(0), "Dice": 2 * right.sum(0) / (own + said).sum(0),
            "boundary F1": np.where(np.isnan(edges), 0.0, edges).sum(0) / (~np.isnan(edges)).sum(0),
        }  # fmt: skip
    table = pd.DataFrame({"class": list(names)} | {key: _widened(value, len(names)) for key, value in values.items()})
    table.loc[table["rows"] == 0, ["IoU", "Dice", "boundary F1"]] = np.nan
    return table.astype({"rows": int}).sort_values("share of pixels", ascending=False, kind="stable", ignore_index=True)


def _overlap(right: Array, own: Array, said: Array) -> Array:
    there = own.sum(0) > 0
    return _ratio(right[:, there], (own + said - right)[:, there])


def _dice(right: Array, own: Array, said: Array) -> Array:
    there = own.sum(0) > 0
    return _ratio(2 * right[:, there], (own + said)[:, there])


def _ratio(above: Array, below: Array) -> Array:
    """(M,) linearised mean over the columns of sum(above) / sum(below), both (M, C); its mean is the ratio itself."""
    if not below.shape[1]:
        return np.full(len(above), np.nan)
    total = below.sum(0)
    whole = above.sum(0) / total
    values: Array = (whole + len(above) * (above - whole * below) / total).mean(1)
    return values


def _mean_over_rows(found: Array) -> Array:
    """(M,) linearised mean over the columns of the mean over the rows of (M, C) that are not nan."""
    there = ~np.isnan(found)
    some = there.any(0)
    return _ratio(np.where(there, found, 0.0)[:, some], there[:, some].astype(np.float64))


def _edges(mask: Array) -> Array:
    """(H, W) bool: pixels with another class above, below or beside them; what is ignored is none."""
    edge = np.zeros(mask.shape, bool)
    for first, last in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        differ = (first != last) & (first != IGNORED) & (last != IGNORED)
        halves = (edge[1:], edge[:-1]) if first.shape[1] == mask.shape[1] else (edge[:, 1:], edge[:, :-1])
        for half in halves:
            half |= differ
    return edge


def _close(points: Array, others: Array, near: float) -> float:
    """Share of (n, 2) points that have one of (m, 2) others no farther than `near`."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return 0.0
    return float(np.isfinite(cKDTree(others).query(points, distance_upper_bound=near * (1 + 1e-9))[0]).mean())


def _widened(values: Array, count: int) -> Array:
    """(c,) -> (count,): 0 for classes beyond those that occur."""
    return np.pad(values, (0, max(0, count - len(values))))[:count]
