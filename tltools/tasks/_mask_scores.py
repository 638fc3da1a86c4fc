"""Formulas of the segmentation metrics: ratios of sums of pixels over all rows, and what one row adds to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.places import IGNORED

Array = NDArray[Any]


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


def _overlap(right: Array, own: Array, said: Array) -> Array:
    there = own.sum(0) > 0
    return _ratio(right[:, there], (own + said - right)[:, there])


def _dice(right: Array, own: Array, said: Array) -> Array:
    there = own.sum(0) > 0
    return _ratio(2 * right[:, there], (own + said)[:, there])


def _ratio(above: Array, below: Array) -> Array:
    """(M,) linearised mean over the columns of sum(above) / sum(below), both (M, C); its mean is the ratio itself."""
    if not below.shape[1]:
        raise ValueError("a score of masks needs at least one pixel whose truth is not ignored; got none")
    total = below.sum(0)
    whole = above.sum(0) / total
    values: Array = (whole + len(above) * (above - whole * below) / total).mean(1)
    return values
