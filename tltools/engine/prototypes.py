"""Class means of frozen features as a linear head: a row belongs to the class whose mean is nearest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.engine.heads import Head, slope
from tltools.judging.ranking import balanced_accuracy
from tltools.judging.ridge import standardise

Array = NDArray[Any]


def prototypes(features: Array, codes: Array, classes: int) -> Head:
    """Fits class means on (n, D) features and (n,) class codes below `classes`.

    The raw output of a class with mean m is (z m - m m / 2) / D for standardised features z: the nearest mean has the
    largest. The temperature is fitted on rows that are left out of their own class's mean, exactly; rows that are
    their class's only one cannot be left out, and where all are, it is 1.

    Raises: ValueError when there is no row, or a feature is not finite.
    """
    present, y = np.unique(np.asarray(codes, np.int64), return_inverse=True)
    counts = np.bincount(y)
    weights = 1.0 / counts[y]  # each class weighs the same
    mean, scale = standardise(features, weights)
    z = (features - mean) / scale
    width = z.shape[1]
    means = np.stack([z[y == k].mean(0) for k in range(len(present))])
    half = (means**2).mean(1) / 2
    temperature, score, said = 1.0, math.nan, None
    left = np.flatnonzero(counts[y] > 1)
    if len(left) and len(present) > 1:
        own, n = y[left], counts[y[left], None]
        without = (n * means[own] - z[left]) / (n - 1)
        raw = z[left] @ means.T / width - half
        raw[np.arange(len(left)), own] = (z[left] * without).mean(1) - (without**2).mean(1) / 2
        temperature = 1.0 / slope(raw, own, weights[left] * (len(left) / weights[left].sum()))
        score, said = balanced_accuracy(own, raw.argmax(1)), raw
    # centred means add up to 0, so that the best class has at least -half: an absent class always stays below it
    absent = -half.max() - temperature * np.log(len(y) + classes)
    weight, bias = np.zeros((classes, width), np.float32), np.full(classes, absent, np.float32)
    weight[present], bias[present] = means / width, -half
    if said is not None:
        every = np.full((len(left), classes), absent, np.float32)
        every[:, present] = said
        said = every
    return Head(
        weight, bias, mean.astype(np.float32), scale.astype(np.float32), temperature=temperature, strength=math.inf,
        loo_score=score, loo=said, loo_rows=None if said is None else left,
    )  # fmt: skip
