"""How much draws differ, learnt from all comparisons of a study together: empirical Bayes of their mean squares.

Five draws show four differences, from which one comparison alone learns little of how much draws differ. A study makes
many comparisons. Their mean squares are taken as drawn from a scaled inverse chi-square distribution, whose two numbers
are found by the moments of their logarithms (Smyth 2004, "limma", section 6.2). Each comparison's mean square is then
drawn towards the common one, the more the more alike they all are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from tltools.judging.verdict import Prior, Squares

FEWEST = 4  # comparisons that say something together
MOST = 1e6  # degrees of freedom that count as all being equal


def prior(found: Sequence[Squares]) -> Prior | None:
    """What all comparisons of a study say of the mean square of draws; None with fewer than four, or where they are so
    different that they say nothing.

    Comparisons share draws and controls, so they look more alike than as many independent ones would: `estimate`
    counts the prior as one comparison's own degrees of freedom at most.
    """
    known = [one for one in found if one.draws > 1 and one.draw > 0]
    if len(known) < FEWEST:
        return None
    half = np.array([(one.draws - 1) / 2 for one in known])
    raw = np.array([one.draw for one in known])
    logs = np.log(raw) - digamma(half) + np.log(half)
    beyond_chance = float(logs.var(ddof=1) - polygamma(1, half).mean())
    if beyond_chance <= polygamma(1, MOST / 2):
        return Prior(float(raw.mean()), math.inf)
    df = 2 * brentq(lambda x: float(polygamma(1, x)) - beyond_chance, 1e-6, MOST)
    return Prior(float(np.exp(logs.mean() + digamma(df / 2) - np.log(df / 2))), df) if df > 0.01 else None
