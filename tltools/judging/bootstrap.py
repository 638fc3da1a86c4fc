"""Joint bootstrap of draws and test rows: intervals for any score, paired over arms, rows resampled within classes.

Used where no row-wise form of a score exists (calibration error, rates of a group, turns of a curve). It counts the
draw-by-row noise about three times, so it errs towards wide; for a score that is a mean the t form of `gain.py` is
better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_AT_ONCE = 8192  # rows whose weights are held in double precision
REPLICATES = 2000


def row_weights(
    rows: int, replicates: int, rng: np.random.Generator, strata: Array | None = None, widen: float = 1.0
) -> Array:
    """(replicates, rows) float32: how often each row is drawn, with replacement, within its stratum.

    Every stratum has its own stream of random numbers: the first replicates are the same however many there are.
    widen: how many times the variance of rows counts; so many times fewer are drawn (the m out of n bootstrap).
    """
    codes = np.zeros(rows, np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    weights = np.zeros((replicates, rows), np.float32)
    for stratum, stream in enumerate([rng, *rng.spawn(int(codes.max()))]):
        members = np.flatnonzero(codes == stratum)
        drawn = max(round(len(members) / widen), 1)
        picked = members[stream.integers(0, len(members), (replicates, drawn))]
        np.add.at(weights, (np.arange(replicates)[:, None], picked), 1.0)
    return weights


def draw_weights(draws: int, replicates: int, rng: np.random.Generator) -> Array:
    """(replicates, draws) float64 weights that sum to 1 in each replicate.

    Resampled draws show (S-1)/S of their variance; the distance from equal weights is stretched to make up for it.
    With one draw there is nothing to resample.
    """
    if draws == 1:
        return np.ones((replicates, 1))
    weights = rng.multinomial(draws, np.full(draws, 1 / draws), size=replicates) / draws
    stretched: Array = 1 / draws + (weights - 1 / draws) * np.sqrt(draws / (draws - 1))
    return stretched


def means(scores: Array, *, replicates: int = REPLICATES, seed: int = 0, strata: Array | None = None) -> Array:
    """Joint bootstrap of the mean of (draws, rows) scores, or of (K, draws, rows): (replicates,) or (replicates, K).

    One of K has the same replicates whatever the others are, to the last bit.
    """
    rng = np.random.default_rng(seed)
    values = scores if scores.ndim == 3 else scores[None]
    arms, draws, rows = values.shape
    by_row, by_draw = row_weights(rows, replicates, rng, strata), draw_weights(draws, replicates, rng)
    per_draw = np.zeros((replicates, arms * draws))
    for start in range(0, rows, _AT_ONCE):
        some = values[:, :, start : start + _AT_ONCE].reshape(arms * draws, -1).astype(np.float64)
        per_draw += by_row[:, start : start + _AT_ONCE].astype(np.float64) @ some.T
    found = np.einsum("bs,bks->bk", by_draw, per_draw.reshape(replicates, arms, draws)) / rows
    found = found.round(12)  # a product of many arms ends in other last bits than one of few
    return found if scores.ndim == 3 else found[:, 0]


def scores(
    score: Callable[[Array, int], float],
    rows: int,
    draws: int,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    strata: Array | None = None,
) -> Array:
    """(replicates,) joint bootstrap of any score; `score(row numbers with repeats, draw)` is called S times each."""
    rng = np.random.default_rng(seed)
    codes = np.zeros(rows, np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    groups = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]
    by_draw, found = draw_weights(draws, replicates, rng), np.empty(replicates)
    for b in range(replicates):
        picked = np.concatenate([members[rng.integers(0, len(members), len(members))] for members in groups])
        found[b] = sum(by_draw[b, s] * score(picked, s) for s in range(draws))
    return found


def interval(replicates: Array, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the replicates; (nan, nan) when more than a tenth of them are undefined."""
    known = replicates[np.isfinite(replicates)]
    if len(known) < 0.9 * len(replicates):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
