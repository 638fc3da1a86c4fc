"""Trust in a probability: reliability, calibration error, temperature, abstaining, and sets that hold the true class.

Probabilities are (M, C), truth (M,) class codes. Of a cross-validation probabilities are (R, M, C), of each of the R
repeats: its error is the mean of theirs, and its rows are resampled for all of them at once, so that a row counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BINS = 15
TINY = 1e-12


@dataclass(frozen=True)
class Bin:
    """Rows of about one confidence: what the model said of them, and how often it was right."""

    confidence: float
    accuracy: float
    low: float  # Wilson's 95 % interval of the accuracy
    high: float
    rows: int


def reliability(probabilities: Array, truth: Array, bins: int = BINS) -> list[Bin]:
    """The reliability diagram over equally full bins of the top probability; fewer bins when there are few rows.

    Of several repeats a bin holds what all of them said, and as many rows as one of them has in it on average.
    """
    bins, repeats = _bins(bins, len(truth)), 1 if probabilities.ndim == 2 else len(probabilities)
    confidence, right = _top(probabilities, truth)
    found = []
    for at in _equally_full(confidence.ravel(), bins):
        rows, accuracy = len(at) / repeats, float(right.ravel()[at].mean())
        low, high = wilson(accuracy * rows, rows)
        found.append(Bin(float(confidence.ravel()[at].mean()), accuracy, low, high, round(rows)))
    return found


def ece(probabilities: Array, truth: Array, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of accuracy and confidence over equally full bins, by their rows."""
    if probabilities.ndim == 3:
        return float(np.mean([ece(one, truth, bins) for one in probabilities]))
    confidence, right = _top(probabilities, truth)
    parts = _equally_full(confidence, _bins(bins, len(truth)))
    return float(sum(abs(float(right[p].sum() - confidence[p].sum())) for p in parts) / len(truth))


def ece_interval(
    probabilities: Array, truth: Array, bins: int = BINS, *, replicates: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """(ECE, low, high): 95 % basic bootstrap over rows.

    Chance alone makes every binned estimate too large, and resampling doubles that; the basic interval (twice the
    estimate less the quantiles) takes it off again, and is cut at 0.
    """
    rng, seen = np.random.default_rng(seed), ece(probabilities, truth, bins)
    again = np.empty(replicates)
    for b in range(replicates):
        rows = rng.integers(0, len(truth), len(truth))
        again[b] = ece(probabilities[..., rows, :], truth[rows], bins)
    low, high = np.quantile(again, [0.025, 0.975])
    return seen, float(max(2 * seen - high, 0.0)), float(max(2 * seen - low, seen))


def ece_by_chance(probabilities: Array, bins: int = BINS) -> float:
    """The calibration error that honest probabilities of this size stay below in 95 of 100 test parts of as many rows.

    Where they are honest, the hits of a bin lie about the sum of its confidences with a variance of sum(p (1 - p)), and
    the distance, which the error adds up, is half-normal; two deviations, because few of these lean to the right.
    """
    confidence = probabilities.max(1).astype(np.float64)
    parts = _equally_full(confidence, _bins(bins, len(confidence)))
    variances = np.array([(confidence[p] * (1 - confidence[p])).sum() for p in parts])
    mean, variance = np.sqrt(2 / np.pi * variances).sum(), (1 - 2 / np.pi) * variances.sum()
    return float((mean + 2 * np.sqrt(variance)) / len(probabilities))


def temperature(probabilities: Array, truth: Array) -> float:
    """The T that minimises the log loss of softmax(log p / T): safeguarded Newton on 1/T, in which the loss is convex.

    Between 0.05 and 20; 1.0 when there are no rows.
    """
    if len(truth) == 0:
        return 1.0
    logs = np.log(np.maximum(probabilities.astype(np.float64), TINY))
    chosen = logs[np.arange(len(truth)), truth]
    low, high, inverse = 0.05, 20.0, 1.0
    for _ in range(60):
        scaled = _softmax(logs * inverse)
        mean = (scaled * logs).sum(1)
        slope = float((mean - chosen).mean())
        curve = float(((scaled * logs**2).sum(1) - mean**2).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curve if curve > 0 else (low + high) / 2
        step = step if low < step < high else (low + high) / 2
        if abs(step - inverse) < 1e-9:
            break
        inverse = step
    return 1 / inverse


def rescale(probabilities: Array, at: float) -> Array:
    """softmax(log p / T)."""
    return _softmax(np.log(np.maximum(probabilities.astype(np.float64), TINY)) / at)


def abstain(probabilities: Array, truth: Array) -> dict[str, Array]:
    """Answering only the surest rows: {"coverage", "accuracy", "confidence"}, each (M,), or (R M,) of several repeats,
    surest first."""
    confidence, right = (values.ravel() for values in _top(probabilities, truth))
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(right[order]) / counts
    return {"coverage": counts / len(order), "accuracy": accuracy, "confidence": confidence[order]}


@dataclass(frozen=True)
class Conformal:
    """Sets of classes that hold the true one with the promised probability, on rows like the calibration rows."""

    level: float
    threshold: float  # a class is in the set when its probability is at least this
    coverage: float  # share of test rows whose set holds the true class
    mean_size: float
    sets: Array  # (M, C) bool


def conformal(
    validation: Array, validation_truth: Array, test: Array, test_truth: Array, level: float = 0.9
) -> Conformal | None:
    """Split conformal prediction by least ambiguous sets (Sadinle et al., 2019), calibrated on validation rows.

    None when there are too few validation rows to promise `level` (fewer than level / (1 - level)).
    """
    n = len(validation_truth)
    rank = int(np.ceil((n + 1) * level))
    if rank > n:
        return None
    threshold = float(np.sort(validation[np.arange(n), validation_truth])[n - rank])
    sets = test >= threshold  # the probability itself: 1 - (1 - p) is another number, and ties would fall out
    held = sets[np.arange(len(test_truth)), test_truth]
    return Conformal(level, threshold, float(held.mean()), float(sets.sum(1).mean()), sets)


def wilson(hits: float, rows: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share."""
    if rows <= 0:
        return 0.0, 1.0
    share = hits / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def _top(probabilities: Array, truth: Array) -> tuple[Array, Array]:
    return probabilities.max(-1).astype(np.float64), (probabilities.argmax(-1) == truth).astype(np.float64)


def _bins(bins: int, rows: int) -> int:
    """At least about ten rows a bin."""
    return max(min(bins, rows // 10), 1)


def _equally_full(confidence: Array, bins: int) -> list[Array]:
    """Row numbers of each bin."""
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]


def _softmax(logs: Array) -> Array:
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
