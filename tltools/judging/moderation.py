"""How much draws differ, learnt from all comparisons of a study together: empirical Bayes of their mean squares.

Five draws show four differences, from which one comparison alone learns little of how much draws differ. A study makes
many comparisons. The logarithms of their mean squares are taken to fall along a line with the logarithm of the number
of labels, and to scatter about it as a scaled inverse chi-square distribution does, found by their moments (Smyth 2004,
"limma", section 6.2; the line is its "trend"). Each comparison's mean square is then drawn towards the line, the more
the closer they all lie to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import digamma, polygamma

from tltools.judging.verdict import Prior, Squares

FEWEST = 3  # comparisons beyond those that place the line
MOST = 1e6  # degrees of freedom that count as lying on the line


def priors(found: Sequence[Squares], labels: Sequence[float]) -> list[Prior | None]:
    """For each comparison, at its number of labels, what all of them say of the mean square of its draws; None for all
    where there are too few, or where they lie so far apart that they say nothing.

    Comparisons share draws and controls, so they look more alike than as many independent ones would: `estimate`
    counts a prior as one comparison's own degrees of freedom at most.
    """
    known = [k for k, one in enumerate(found) if one.draws > 1 and one.draw > 0]
    x = np.log(np.asarray(labels, np.float64))
    line = np.stack([np.ones(len(x)), x - x.mean()], axis=1) if len(set(labels)) > 1 else np.ones((len(x), 1))
    spare = len(known) - line.shape[1]
    if spare < FEWEST:
        return [None] * len(found)
    half = np.array([(found[k].draws - 1) / 2 for k in known])
    logs = np.log([found[k].draw for k in known]) - digamma(half) + np.log(half)
    coefficients = np.linalg.lstsq(line[known], logs, rcond=None)[0]
    expected = line @ coefficients
    beyond_chance = float(((logs - expected[known]) ** 2).sum() / spare - polygamma(1, half).mean())
    if beyond_chance <= polygamma(1, MOST / 2):
        return [Prior(float(square), math.inf) for square in np.exp(expected)]
    from scipy.optimize import brentq

    df = 2 * brentq(lambda value: float(polygamma(1, value)) - beyond_chance, 1e-6, MOST)
    if df < 0.01:
        return [None] * len(found)
    return [Prior(float(square), df) for square in np.exp(expected + digamma(df / 2) - np.log(df / 2))]
