"""Folds of a repeated cross-validation in place of draws and a locked test part: the correlated t, and what it needs.

Every row is tested once a repeat, by models that were trained on the other folds. Two folds' models share most of their
training rows, and two repeats share their test rows, so the folds' gains are not independent. Nadeau and Bengio
(Machine Learning 2003) take the correlation of two folds for the share of the rows that a fold tests, rho = 1/k; then

    gain ~ Student_{n-1}( mean of the n folds, (1/n + rho/(1-rho)) s^2 )

(Benavoli, Corani, Demsar, Zaffalon, JMLR 2017). The plain t-test would take the folds for independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tltools.judging.gain import POWER, PSEUDO_ROWS, Gain, Prior, checked, measure

Array = NDArray[Any]


@dataclass(frozen=True)
class Design:
    """How a cross-validation tested: `rows`, each once a repeat, in `k` folds."""

    k: int
    rows: int

    def inflation(self, folds: int) -> float:
        """The variance of a mean over so many folds, in units of the variance of one."""
        return 1 / folds + 1 / (self.k - 1)  # rho/(1-rho) of rho = 1/k

    def widening(self, repeats: int) -> float:
        """How many times the variance of a mean over rows counts, each of which was tested once a repeat: the same
        correction where a figure is one of rows and not of folds, whose variance is k times that of all rows."""
        return self.k * self.inflation(self.k * repeats)


def weigh(
    transfer: Array,
    control: Array,
    *,
    scale: float | None = None,
    prior: Prior | None = None,
    design: Design | None = None,
) -> Gain:
    """Mean gain and its standard error: of (draws, rows) scores as `gain.measure`; with a design, of (folds, 1)
    scores by the correlated t.

    Raises: Refusal as `gain.measure`.
    """
    if design is None:
        return measure(transfer, control, scale=scale, prior=prior)
    return correlated(transfer, control, design, scale=scale)


def correlated(transfer: Array, control: Array, design: Design, *, scale: float | None = None) -> Gain:
    """The gain over folds: transfer, control: (folds, 1) scores of the same folds, higher is better.

    scale: how far one unseen row could move a score; None: as far as rows differ, judged by how folds differ. As in
    `gain.measure`, `PSEUDO_ROWS` imaginary rows on which the arms differ stand for what was not seen.

    Raises: Refusal when shapes differ or a score is no finite number.
    """
    t, c = checked(transfer, control, rows=1)
    values, n = (t - c)[:, 0], len(t)
    far = float(np.concatenate([t, c]).var()) * design.rows / design.k if scale is None else scale**2
    seen = float(values.var(ddof=1)) if n > 1 else far * design.k / design.rows  # of one fold: it could not be more
    variance = design.inflation(n) * seen + PSEUDO_ROWS * far / design.rows**2 or 1e-24
    # all of the variance counts as that of rows: more of them narrow the interval, more repeats hardly do
    return Gain(
        gain=float(values.mean()), error=math.sqrt(variance), df=max(n - 1.0, 1.0), draw=0.0,
        row=variance * design.rows, rest=0.0, draws=n, rows=design.rows, folds=True,
    )  # fmt: skip


def detectable(rows: int, k: int, folds: int, *, discordance: float = 0.10, draw_deviation: float = 0.01) -> float:
    """The gain that a cross-validation of so many rows can detect before it runs; as `needed.detectable`."""
    one = discordance * k / rows + draw_deviation**2
    error = math.sqrt(Design(k, rows).inflation(folds) * one + PSEUDO_ROWS / rows**2)
    return error * float(stdtrit(folds - 1, 0.975) + stdtrit(folds - 1, POWER))


def replicates(scores: Array, design: Design, count: int, seed: int = 0) -> Array:
    """(count, arms) replicates of the arms' mean scores, from (arms, folds): normal about the means, with the
    covariance that the correlated t gives them. They serve where a score is read off a curve, which has no t form."""
    arms, n = scores.shape
    means = scores.mean(1)
    if n == 1:
        return np.tile(means, (count, 1))
    draws = np.random.default_rng(seed).normal(size=(count, n))
    each = [draws @ one for one in scores - means[:, None]]  # an arm is rounded alike, however many there are
    found: Array = means + math.sqrt(design.inflation(n) / (n - 1)) * np.stack(each, axis=1)
    return found
