"""Score against labels: how many labels a source is worth, and what more labels would bring.

A curve is a score (higher is better) at growing numbers of labels, with joint bootstrap replicates of all its points.
Nothing is extrapolated when labels are counted as saved: beyond the control's curve the answer is "at least".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[Any]

FEWEST_POINTS = 4
GRID = 200  # points on which a curve is read between its measured ones
LEVEL = 0.95  # of the intervals of labels, as of all others
EXPONENTS = np.geomspace(0.05, 2.0, 24)  # of the power law err = a + b n^-c


@dataclass(frozen=True)
class LabelsSaved:
    """How many times its own labels an arm is worth at one point of its curve."""

    multiplier: float | None  # labels the control needs for the same score, over the labels the arm had
    low: float | None
    high: float | None  # None: open, more than the control was ever given
    bound: Literal["exact", "at_least", "refused"]
    labels_saved: float | None  # control's labels less the arm's
    because: str = ""  # why refused, or what the bound means
    at_most: float | None = None  # where refused because the arm stays below the control's whole curve


@dataclass(frozen=True)
class ControlCurve:
    """The control's rising curve, ready to be read backwards."""

    labels: Array  # (P,)
    grid: Array  # (GRID,) labels between the smallest and the largest, even in log
    values: Array  # (GRID,) never falling
    replicates: Array  # (B, GRID) straight lines through the replicates' points: fitting them would hide their spread
    refused: str  # why it cannot be inverted, "" when it can
    highest: Array  # (1 + B,) the best score at any number of labels: as measured, then in each replicate


def control_curve(labels: Sequence[float], scores: Array, replicates: Array) -> ControlCurve:
    """Fits the control: isotonic through the points, then a monotone cubic (PCHIP) in log labels.

    labels (P,) growing; scores (P,) or (C, P) for several controls, of which the best at each point counts;
    replicates (B, P) or (B, C, P).
    """
    n = np.asarray(labels, np.float64)
    points = np.atleast_2d(np.asarray(scores, np.float64))
    again = np.asarray(replicates, np.float64).reshape(len(replicates), *points.shape)
    stacked = np.concatenate([points[None], again]).max(1)  # (1 + B, P)
    grid = np.geomspace(n[0], n[-1], GRID) if len(n) > 1 else np.repeat(n, GRID)
    if refused := _not_invertible(n, stacked):
        return ControlCurve(n, grid, np.empty(GRID), np.empty((0, GRID)), refused, stacked.max(1))
    from scipy.interpolate import PchipInterpolator  # a third of a second, which no page needs that only shows reports

    rising = PchipInterpolator(np.log(n), isotonic(stacked[0]))(np.log(grid))
    return ControlCurve(n, grid, np.maximum.accumulate(rising), _straight(n, stacked[1:], grid), "", stacked.max(1))


def labels_saved(control: ControlCurve, labels: float, score: float, replicates: Array) -> LabelsSaved:
    """Reads the control's curve backwards at the arm's `score` with `labels` labels; replicates (B,) of that score.

    The interval holds every number of labels at which the control's score cannot be told from the arm's (Fieller's
    way: it may be open above, and is then given as None). "At least" all labels of the control is said where the arm
    beats it, by more than chance explains, at whatever number of labels it is best; the curve is not needed for that.
    Where it is ahead by no more than chance, "at least" is the lower end of the interval.
    """
    first, last = control.labels[0], control.labels[-1]
    ahead = np.asarray(replicates, np.float64) - control.highest[1:]
    if score - control.highest[0] > float(ndtri((1 + LEVEL) / 2)) * ahead.std(ddof=1):
        return _at_least(float(last), labels, f"It beats the control with all of its {last:.0f} labels.")
    if control.refused:
        return LabelsSaved(None, None, None, "refused", None, control.refused)
    error = (control.replicates - np.asarray(replicates, np.float64)[:, None]).std(0, ddof=1)
    reach = float(ndtri((1 + LEVEL) / 2)) * error
    low = _backwards(control.grid, np.maximum.accumulate(control.values + reach), score)
    middle = _backwards(control.grid, control.values, score)
    high = _backwards(control.grid, np.minimum.accumulate((control.values - reach)[::-1])[::-1], score)
    if middle == 0:
        side = "it stays below the control" if high == 0 else "no better, within chance, than the control"
        why = f"Worth less than can be measured: {side} at the control's fewest labels ({first:.0f})."
        most = None if np.isinf(high) else max(high, float(first)) / labels
        return LabelsSaved(None, None, None, "refused", None, why, most)
    if np.isinf(middle):
        why = f"Within chance it is as good as the control with all of its {last:.0f} labels"
        if low > labels:
            return _at_least(low, labels, f"{why}: worth {low:.0f} at least.")
        return LabelsSaved(None, None, None, "refused", None, f"{why}; whether it saves any cannot be told.")
    return LabelsSaved(
        middle / labels, low / labels, None if np.isinf(high) else high / labels, "exact", middle - labels
    )


def _at_least(worth: float, labels: float, because: str) -> LabelsSaved:
    return LabelsSaved(worth / labels, worth / labels, None, "at_least", worth - labels, because)


def worth(saved: float, price: float | None = None, per_hour: float | None = None) -> dict[str, float]:
    """What saved labels are worth: {"money"} at a price per label, {"hours"} at labels labelled per hour."""
    found = {} if price is None else {"money": saved * price}
    return found if per_hour is None else found | {"hours": saved / per_hour}


@dataclass(frozen=True)
class Advice:
    """What `more` labels would bring on top of those there are, by a power law through the curve."""

    more: int
    gain: float
    low: float
    high: float


def more_labels(labels: Sequence[float], errors: Array, replicates: Array, factor: float = 2.0) -> Advice | None:
    """Predicts the fall of the error from the last point to `factor` times its labels: err = a + b n^-c.

    labels (P,), errors (P,) at least 0, replicates (B, P). None with fewer than four points, or when the error does not
    fall. An extrapolation by more than a factor of two is a guess, so `factor` is held to 2.
    """
    n = np.asarray(labels, np.float64)
    if len(n) < FEWEST_POINTS:
        return None
    factor = min(factor, 2.0)
    falls = _falls(n, np.vstack([np.asarray(errors, np.float64), replicates[:200]]), factor)
    if falls[0] <= 0:
        return None
    low, high = np.quantile(falls[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Advice(round(n[-1] * (factor - 1)), float(falls[0]), float(min(low, falls[0])), float(max(high, falls[0])))


def isotonic(values: Array) -> Array:
    """The never-falling sequence nearest to `values` in squares (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, k) = blocks[-2], blocks[-1]
            blocks[-2:] = [[(a * m + b * k) / (m + k), m + k]]
    return np.repeat([block[0] for block in blocks], [int(block[1]) for block in blocks])


def _straight(n: Array, points: Array, grid: Array) -> Array:
    """(B, P) points -> (B, GRID), linear in log labels."""
    right = np.clip(np.searchsorted(n, grid), 1, len(n) - 1)
    share = (np.log(grid) - np.log(n[right - 1])) / (np.log(n[right]) - np.log(n[right - 1]))
    lines: Array = points[:, right - 1] * (1 - share) + points[:, right] * share
    return lines


def _not_invertible(n: Array, stacked: Array) -> str:
    """Why a control's curve cannot be read backwards, "" when it can. stacked: (1 + B, P)."""
    if len(n) < FEWEST_POINTS:
        return f"A curve needs at least {FEWEST_POINTS} label counts; this study has {len(n)}."
    if (np.diff(n) <= 0).any():
        return "The label counts of the curve do not grow."
    points, error = stacked[0], stacked[1:].std(0)
    if (np.abs(isotonic(points) - points) > 2 * error + 1e-12).any():
        return "The control's score falls with more labels at some point by more than chance explains."
    rise = stacked[1:, -1] - stacked[1:, 0]
    if points[-1] <= points[0] or np.mean(rise <= 0) > 0.05:
        return "The control does not get better with more labels, so its curve says nothing about labels."
    return ""


def _backwards(grid: Array, values: Array, score: float) -> float:
    """Fewest labels at which the curve reaches `score`: inf beyond its end, 0 below its start."""
    if score > values[-1]:
        return float("inf")
    if score < values[0]:
        return 0.0
    right = int(np.searchsorted(values, score))
    if right == 0:
        return float(grid[0])
    step = values[right] - values[right - 1]
    share = (score - values[right - 1]) / step if step > 0 else 0.0
    return float(np.exp(np.log(grid[right - 1]) * (1 - share) + np.log(grid[right]) * share))


def _falls(n: Array, errors: Array, factor: float) -> Array:
    """(B,) falls of the fitted power laws from n[-1] to factor * n[-1], of errors (B, P).

    a and b come by least squares for every exponent; the best exponent of each curve is kept.
    """
    x = (n / n[-1]) ** -EXPONENTS[:, None]  # (C, P)
    away = x - x.mean(1, keepdims=True)
    b = np.maximum(errors @ away.T / np.maximum((away**2).sum(1), 1e-300), 0.0)  # (B, C)
    a = errors.mean(1, keepdims=True) - b * x.mean(1)
    b = np.where(a < 0, np.maximum(errors @ x.T / (x**2).sum(1), 0.0), b)
    a = np.maximum(a, 0.0)
    losses = ((a[:, :, None] + b[:, :, None] * x - errors[:, None, :]) ** 2).sum(2)
    best = losses.argmin(1)
    return np.asarray(b[np.arange(len(b)), best] * (1 - factor ** -EXPONENTS[best]))
