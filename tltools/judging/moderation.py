"""How much draws differ, learnt from all comparisons of a study together: empirical Bayes of their mean squares.

Five draws show four differences, from which one comparison alone learns little of how much draws differ. A study makes
many comparisons. The logarithms of their mean squares are taken to fall along a line with the logarithm of the number
of labels, to lie higher or lower for all shares of an arm alike, and to scatter about that as a scaled inverse
chi-square distribution does, all found by their moments (Smyth 2004, "limma", section 6.2; the line is its "trend", the
arms a one-way layout of random effects). Each comparison's mean square is then drawn towards what the others say of it,
the more the closer they all lie.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import digamma, polygamma

from tltools.judging.gain import Prior, Squares

FEWEST = 3  # comparisons beyond those that place the line
ALONE = 0.9  # of a comparison's weight in its own place on the line: the others say nothing of it
MOST = 1e6  # degrees of freedom that count as lying on the line


def priors(
    found: Sequence[Squares], labels: Sequence[float], arms: Sequence[Hashable] | None = None
) -> list[Prior | None]:
    """For each comparison, at its number of labels, what the others say of the mean square of its draws; None for all
    where there are too few, or where they lie so far apart that they say nothing.

    arms: whose comparison it is; those of one arm say more of each other than of the others. None: each its own.

    Comparisons share draws and controls, so they look more alike than as many independent ones would: `estimate`
    counts half of a prior's degrees of freedom, and twice the comparison's own at most.
    """
    draws, squared = np.array([one.draws for one in found]), np.array([one.draw for one in found], np.float64)
    known = (draws > 1) & (squared > 0)
    x = np.log(np.asarray(labels, np.float64))
    line = np.stack([np.ones(len(x)), x - x.mean()], axis=1) if len(set(labels)) > 1 else np.ones((len(x), 1))
    if known.sum() - line.shape[1] < FEWEST:
        return [None] * len(found)
    half = (draws[known] - 1) / 2
    logs = np.log(squared[known]) - digamma(half) + np.log(half)
    turned = np.linalg.pinv(line[known])
    expected, away, weight = line @ (turned @ logs), np.zeros(len(found)), np.zeros(len(found))
    away[known], weight[known] = logs - expected[known], np.einsum("ij,ji->i", line[known], turned)
    expected -= weight / np.maximum(1 - weight, 1e-9) * away  # by the line through all others
    own = range(len(found)) if arms is None else arms
    places = {arm: place for place, arm in enumerate(dict.fromkeys(own))}
    codes = np.array([places[arm] for arm in own])
    level, scatter = _levels(away, known, codes, line.shape[1] - 1, float(polygamma(1, half).mean()))
    told = weight < ALONE
    return [
        _prior(mean, round(beyond, 9)) if some else None
        for mean, beyond, some in zip(expected + level, scatter, told, strict=True)
    ]


def _levels(
    away: np.ndarray, known: np.ndarray, codes: np.ndarray, slopes: int, chance: float
) -> tuple[np.ndarray, np.ndarray]:
    """(how far above the line the arm's other comparisons put each one, the variance beyond chance that is left).

    away: (n,) distances of logarithms from the line; codes: (n,) arms; chance: the variance of a logarithm by itself.
    """
    size = np.bincount(codes[known], minlength=codes.max() + 1)
    total = np.bincount(codes, np.where(known, away, 0.0))
    some = size > 0
    n, groups, mean = int(known.sum()), int(some.sum()), total / np.maximum(size, 1)
    spare = n - groups - slopes
    within = float(((away - mean[codes])[known] ** 2).sum()) / spare if spare > 0 else chance
    between = 0.0
    if groups > 1:
        typical = (n - float((size**2).sum()) / n) / (groups - 1)
        between = max((float((size * mean**2).sum()) / (groups - 1) - within) / typical, 0.0)
    others = size[codes] - known  # a comparison must not be told of itself
    error = within / np.maximum(others, 1)
    trust = np.where(others > 0, between / np.maximum(between + error, 1e-300), 0.0)
    level = trust * (total[codes] - np.where(known, away, 0.0)) / np.maximum(others, 1)
    return level, max(within - chance, 0.0) + between * (1 - trust)


def _prior(mean: float, beyond: float) -> Prior | None:
    df = _df(beyond)
    if math.isinf(df):
        return Prior(math.exp(mean), df)
    return None if df < 0.01 else Prior(math.exp(mean + float(digamma(df / 2)) - math.log(df / 2)), df)


@functools.lru_cache(1024)
def _df(beyond: float) -> float:
    """Degrees of freedom of an inverse chi-square distribution whose logarithm has this variance."""
    if beyond <= polygamma(1, MOST / 2):
        return math.inf
    from scipy.optimize import brentq

    return 2 * float(brentq(lambda value: float(polygamma(1, value)) - beyond, 1e-6, MOST))
