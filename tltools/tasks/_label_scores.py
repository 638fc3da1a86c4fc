"""Formulas of the multi-label metrics and of their row-wise influence: truth (M, C) of 0 and 1, outputs (M, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLIP = 1e-6  # a probability below it counts as this in the log loss
SAID = 0.5  # the probability from which a label is said


def said(outputs: Array) -> Array:
    """(M, C) bool: the labels that are said."""
    labels: Array = outputs >= SAID
    return labels


def average_precision(truth: Array, outputs: Array) -> Array:
    """(C,) average precision of each label, ties as one step; nan for a label that no row has."""
    return np.array([_precisions(*pair)[0] for pair in _columns(truth, outputs)])


def mean_average_precision(truth: Array, outputs: Array) -> float:
    """Mean of the average precision over the labels that some row has; nan where no row has any."""
    there = truth.any(0)
    return float(average_precision(truth, outputs)[there].mean()) if there.any() else float("nan")


def no_label(truth: Array) -> str:
    """Why such rows have no average precision."""
    return "" if truth.any() else "has no row with a label."


def mean_average_precision_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values: the score, and the first-order effect of one more row like this one; their mean is the score.

    A label with n rows is widened by sqrt(n / (n - 1)), because what its few rows say is estimated from themselves.
    """
    pairs = _columns(truth, outputs)
    each = [_label_influence(*pairs[c]) for c in np.flatnonzero(truth.any(0))]
    influence: Array = np.mean(each, axis=0) if each else np.full(len(truth), np.nan)
    return influence


def f1_per_label(truth: Array, outputs: Array) -> Array:
    """(C,) F1 of the labels that occur in truth or predictions, nan for the others."""
    both, size = _overlap(truth, outputs)
    with np.errstate(invalid="ignore"):
        scores: Array = 2 * both.sum(0) / size.sum(0)
    return scores


def macro_f1(truth: Array, outputs: Array) -> float:
    """Mean F1 over the labels that occur in truth or predictions."""
    return float(macro_f1_influence(truth, outputs).mean())


def macro_f1_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of macro F1, as those of the mean average precision; 0 where no label occurs at all."""
    both, size = _overlap(truth, outputs)
    occurs = size.sum(0) > 0
    if not occurs.any():
        return np.zeros(len(truth))
    both, size = both[:, occurs], size[:, occurs]
    total = size.sum(0)
    score = 2 * both.sum(0) / total
    values: Array = (score + len(truth) * (2 * both - score * size) / total).mean(1)
    return values


def jaccard(truth: Array, outputs: Array) -> Array:
    """(M,) labels that are true and said, of those that are true or said; 1 where there are neither."""
    both, size = _overlap(truth, outputs)
    shared, either = both.sum(1), (size - both).sum(1)
    scores: Array = np.where(either > 0, shared / np.maximum(either, 1), 1.0)
    return scores


def log_likelihood(truth: Array, outputs: Array) -> Array:
    """(M,) log probability of each label's truth, clipped, mean over the labels."""
    chosen = np.where(truth > 0, outputs, 1 - outputs).astype(np.float64)
    logs: Array = np.log(np.clip(chosen, CLIP, 1.0)).mean(1)
    return logs


def _columns(truth: Array, outputs: Array) -> list[tuple[Array, Array]]:
    return [(has > 0, score) for has, score in zip(truth.T, outputs.T, strict=True)]


def _overlap(truth: Array, outputs: Array) -> tuple[Array, Array]:
    """(said and true, said + true), (M, C) float64 each."""
    has, claimed = (truth > 0).astype(np.float64), said(outputs).astype(np.float64)
    return has * claimed, has + claimed


def _precisions(has: Array, scores: Array) -> tuple[float, Array, Array]:
    """(average precision, (n,) precision at the score of each row that has the label, (n,) rows with such a score)."""
    own, every = scores[has], np.sort(scores)
    above = len(scores) - np.searchsorted(every, own, "left")
    precision = (len(own) - np.searchsorted(np.sort(own), own, "left")) / above
    return float(precision.mean()) if len(own) else float("nan"), precision, above


def _label_influence(has: Array, scores: Array) -> Array:
    """(M,) pseudo-values of one label's average precision: its derivative by the weight of each row."""
    area, precision, above = _precisions(has, scores)
    order, n = np.argsort(scores[has], kind="stable"), len(precision)
    below = np.searchsorted(scores[has][order], scores, "right")  # true rows that this row stands above, or beside
    falls = np.concatenate([[0.0], np.cumsum((precision / above)[order])])[below]
    rises = np.concatenate([[0.0], np.cumsum((1 / above)[order])])[below]
    effect = np.where(has, rises, 0.0) - falls
    effect[has] += precision - area
    widen = np.sqrt(n / max(n - 1, 1))
    values: Array = area + widen * len(scores) / n * effect
    return values
