"""Formulas of the classification metrics and of their row-wise influence: codes (M,), probabilities (M, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLIP = 1e-6  # a probability below it counts as this in the log loss: one row can cost 13.8 at most


def right(truth: Array, outputs: Array) -> Array:
    """(M,) 1.0 where the most probable class is the true one."""
    hits: Array = (outputs.argmax(1) == truth).astype(np.float64)
    return hits


def class_weights(truth: Array) -> Array:
    """(M,) M / (C n_c): the weights that turn a mean over rows into a mean over the classes present."""
    counts = np.bincount(truth)
    weights: Array = (len(truth) / ((counts > 0).sum() * np.maximum(counts, 1)))[truth]
    return weights


def balanced_right(truth: Array, outputs: Array) -> Array:
    """(M,) weighted hits; their mean is the balanced accuracy."""
    return right(truth, outputs) * class_weights(truth)


def balanced_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the balanced accuracy, classes as strata."""
    values = balanced_right(truth, outputs)
    return float(values.mean()) + within_classes(truth, values)


def within_classes(truth: Array, values: Array) -> Array:
    """(M,) distance of each value from the mean of its true class, widened by n/(n-1) because that mean is estimated.

    A class's share of the test part is fixed by the split, so the spread between classes is no source of error.
    """
    counts = np.maximum(np.bincount(truth), 1)
    means, widen = np.bincount(truth, values) / counts, np.sqrt(counts / np.maximum(counts - 1, 1))
    away: Array = widen[truth] * (values - means[truth])
    return away


def log_likelihood(truth: Array, outputs: Array) -> Array:
    """(M,) log probability of the true class, clipped."""
    chosen = outputs[np.arange(len(truth)), truth].astype(np.float64)
    logs: Array = np.log(np.clip(chosen, CLIP, 1.0))
    return logs


def f1_per_class(truth: Array, outputs: Array) -> Array:
    """(C,) F1 of the classes that occur in truth or predictions, nan for the others."""
    hit, false, missed = _confusion(truth, outputs)
    with np.errstate(invalid="ignore"):
        scores: Array = 2 * hit / (2 * hit + false + missed)
    return scores


def macro_f1(truth: Array, outputs: Array) -> float:
    """Mean F1 over the classes that occur in truth or predictions, as scikit-learn counts them."""
    return float(np.nanmean(f1_per_class(truth, outputs)))


def macro_f1_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of macro F1: the first-order effect of one more row like this one, classes as strata."""
    said, rows = outputs.argmax(1), len(truth)
    hit, false, missed = _confusion(truth, outputs)
    size = 2 * hit + false + missed  # rows of truth + rows of prediction, per class
    present = size > 0
    score = np.where(present, 2 * hit / np.maximum(size, 1), 0.0)
    per_count = np.where(present, rows / np.maximum(size, 1), 0.0) / present.sum()
    effect = np.where(said == truth, 2 * per_count[truth], 0.0)
    effect -= score[truth] * per_count[truth] + score[said] * per_count[said]
    values: Array = score[present].mean() + within_classes(truth, effect)
    return values


def auroc(truth: Array, outputs: Array) -> float:
    """Area under the ROC curve; over two classes: mean of one class against the rest, each class the same weight. nan
    where all rows are of one class."""
    areas = [_placements(truth == c, outputs[:, c])[0] for c in _judged(truth, outputs)]
    return float(np.mean(areas)) if areas else float("nan")


def one_class(truth: Array) -> str:
    """Why such rows have no area under the ROC curve."""
    return "has rows of one class only." if len(np.unique(truth)) < 2 else ""


def auroc_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values from DeLong's structural components: a row's placement among the rows of the other side."""
    judged = _judged(truth, outputs)
    values = np.zeros(len(truth))
    for c in judged:
        area, placed, side = _placements(truth == c, outputs[:, c])
        n_in, n_out = int(side.sum()), int((~side).sum())
        weight = np.where(side, len(truth) / n_in * _widen(n_in), len(truth) / n_out * _widen(n_out))
        values += area + weight * (placed - area)
    influence: Array = values / len(judged) if judged else np.full(len(truth), np.nan)
    return influence


def _widen(n: int) -> float:
    return float(np.sqrt(n / max(n - 1, 1)))


def _judged(truth: Array, outputs: Array) -> list[int]:
    """Classes with rows on both sides; for two classes only the second, because the first gives the same area."""
    both = [c for c in range(outputs.shape[1]) if 0 < (truth == c).sum() < len(truth)]
    return both[-1:] if outputs.shape[1] == 2 else both


def _placements(side: Array, scores: Array) -> tuple[float, Array, Array]:
    """(area, share of the other side that each row is rightly placed against, `side`); ties count half."""
    inside, outside = np.sort(scores[side]), np.sort(scores[~side])
    placed = np.empty(len(side))
    placed[side] = _below(outside, scores[side])
    placed[~side] = 1 - _below(inside, scores[~side])
    return float(placed[side].mean()), placed, side


def _below(ascending: Array, scores: Array) -> Array:
    """The share of sorted numbers that lies below each score; those that equal it count half."""
    found: Array = (np.searchsorted(ascending, scores) + np.searchsorted(ascending, scores, "right")) / len(ascending)
    return found / 2


def _confusion(truth: Array, outputs: Array) -> tuple[Array, Array, Array]:
    """Per class: rows hit, rows said but not so, rows missed."""
    classes, said = outputs.shape[1], outputs.argmax(1)
    hit = np.bincount(truth[said == truth], minlength=classes)
    return hit, np.bincount(said, minlength=classes) - hit, np.bincount(truth, minlength=classes) - hit
