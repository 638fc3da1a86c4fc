"""Remedies for gaps between groups: weights of the training rows by group and class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Remedy = Literal["reweighted", "group_balanced"]

LEAST = 30  # training rows; smaller groups are weighted together, or a handful of rows would weigh as much as the rest


def joined(groups: Array, least: int = LEAST) -> Array:
    """(n,) codes of the groups; those of fewer than `least` rows share one code."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.unique(np.where(counts[codes] < least, -1, codes), return_inverse=True)[1].astype(np.int64)


def cells(groups: Array, codes: Array) -> Array:
    """(n,) codes of the pairs of group and class that occur."""
    return np.unique(np.stack([groups, codes]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def row_weights(remedy: Remedy, groups: Array, codes: Array) -> Array:
    """(n,) weights, 1 on average, under which group and class say nothing of each other; classes weigh the same.

    reweighted: P(group) P(class) / P(group, class) of Kamiran and Calders (2012), over P(class), as every head here
    counts each class the same. group_balanced: every pair of group and class weighs the same, which is what drawing
    rows evenly from them comes to on average.
    """
    pairs = cells(groups, codes)
    weights = 1.0 / np.bincount(pairs)[pairs]
    if remedy == "reweighted":
        weights = weights * np.bincount(groups)[groups]
    return np.asarray(weights * (len(codes) / weights.sum()))
