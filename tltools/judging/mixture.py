"""Student's t with an error that is itself unsure: a mean over the errors that the draws leave possible.

The error of a gain has two parts, that of the rows, which is known well, and that of the draws, whose square follows a
scaled inverse chi-square distribution with few degrees of freedom. Satterthwaite's t stands for both together near the
middle, but not far out in the tail, where a study of many comparisons reads its p-values. The mean over the draw part
does: the Bayesian answer to the Behrens-Fisher problem (Box and Tiao, Bayesian Inference in Statistical Analysis).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtr

Array = NDArray[Any]

NODES, _weights = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = _weights / _weights.sum()


@functools.lru_cache(256)
def possible(df: float) -> Array:
    """(40,) what a mean square with so many degrees of freedom may truly be, as factors of what it is seen to be; the
    nodes of a Gauss-Hermite rule, which `WEIGHTS` belong to. Against the exact t: within 2 % of a tail from 2.5 on."""
    quantiles = np.clip(ndtr(NODES), np.finfo(float).tiny, 1 - 1e-16)
    factors: Array = df / (2 * gammaincinv(df / 2, quantiles))
    return factors


def below(value: float, centre: float, errors: Array, df: float) -> float:
    """P(truth < value): t distributions with `df` about `centre`, one for each of `errors` at the nodes."""
    return float(WEIGHTS @ stdtr(df, (value - centre) / errors))


def bound(probability: float, centre: float, errors: Array, df: float) -> float:
    """The value that the truth is below with this probability, between 1e-6 and 1 - 1e-6."""
    scale = float(WEIGHTS @ errors)
    reach = scale
    while below(centre - reach, centre, errors, df) > min(probability, 1 - probability):
        reach *= 2
    found: float = brentq(
        lambda value: below(value, centre, errors, df) - probability, centre - reach, centre + reach, xtol=1e-6 * scale
    )
    return found
