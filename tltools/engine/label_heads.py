"""Linear heads for several labels a row, in closed form: one ridge problem, each label calibrated by itself.

The columns share rows, eigenbasis and strength. A label's raw output is made a log odds by a slope and an offset fitted
to its leave-one-out outputs (Platt); both go into the head's weights, so that a probability is `sigmoid(raw)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tltools.engine.heads import STRENGTHS, Array, Head, _single, likeliest, sigmoid
from tltools.judging.ridge import solve, standardise
from tltools.tasks import tasks

STEPS = 50


def ridge_labels(features: Array, targets: Array, *, strengths: Sequence[float] = STRENGTHS) -> Head:
    """Fits (n, D) features to (n, C) targets of 0 and 1; the strength is the one of least leave-one-out log loss.

    Rows count alike: a probability means what it says, and a label that few rows have is seldom said.
    Raises: ValueError when there is no row, or a feature is not finite.
    """
    wanted = np.asarray(targets, np.float64)
    ones = np.ones(len(wanted))
    mean, scale = standardise(features, ones)
    if len(wanted) < 3 or not np.ptp(wanted, axis=0).any():
        share = _smoothed(wanted).mean(0)
        tensors = _single(np.zeros((wanted.shape[1], len(mean))), np.log(share / (1 - share)), mean, scale)
        return Head(*tensors, temperature=1.0, strength=1.0, loo_score=float("nan"), kind="labels")
    problem = solve(features, wanted, ones, mean, scale)
    smooth, tries = _smoothed(problem.y), []
    a, b = np.ones(wanted.shape[1]), np.zeros(wanted.shape[1])
    for strength in strengths:
        out = problem.left_out(strength)
        a, b = calibrated(out, smooth, a, b)
        tries.append((_log_loss(a * out + b, smooth), a, b))
    best = likeliest([smooth.size * loss for loss, _, _ in tries], strengths)
    _, a, b = tries[best]
    left = a * problem.left_out(strengths[best]) + b
    score = tasks()["multilabel"].metrics[0].score
    return Head(
        *_single(a[:, None] * problem.weights(strengths[best]), a * problem.y_mean + b, mean, scale),
        temperature=1.0,
        strength=strengths[best],
        loo_score=score(problem.y, left) if problem.y.any() else float("nan"),
        kind="labels",
        loo=left.astype(np.float32),
        loo_rows=problem.rows,
        path=tuple((strength, tried[0]) for strength, tried in zip(strengths, tries, strict=True)),
    )


def calibrated(raw: Array, wanted: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """(slopes, offsets), (C,) each, that make sigmoid(a raw + b) fit (n, C) targets best: Newton for each column, from
    the given start. Targets that lie strictly between 0 and 1 keep them finite; a column that cannot tell gets slope 0.
    """
    centre, spread = raw.mean(0), raw.std(0)
    scaled = (raw - centre) / np.where(spread > 1e-9, spread, 1.0)
    slope, offset = a * spread, b + a * centre
    before = _log_losses(slope * scaled + offset, wanted)
    for _ in range(STEPS):
        p = sigmoid(slope * scaled + offset)
        v = p * (1 - p)
        g_slope, g_offset = ((p - wanted) * scaled).mean(0), (p - wanted).mean(0)
        h_slope, h_both, h_offset = (v * scaled**2).mean(0) + 1e-9, (v * scaled).mean(0), v.mean(0) + 1e-9
        size = np.maximum(h_slope * h_offset - h_both**2, 1e-18)
        d_slope = (h_offset * g_slope - h_both * g_offset) / size
        d_offset = (h_slope * g_offset - h_both * g_slope) / size
        step = 1.0
        for _ in range(STEPS):  # halved until the loss of every column falls, which is convex
            now = _log_losses((slope - step * d_slope) * scaled + offset - step * d_offset, wanted)
            worse = now > before + 1e-12
            if not worse.any():
                break
            d_slope, d_offset = (np.where(worse, change / 2, change) for change in (d_slope, d_offset))
        slope, offset = slope - step * d_slope, offset - step * d_offset
        done, before = float((before - now).max()) < 1e-9, now
        if done:
            break
    a = np.where(spread > 1e-9, slope / np.where(spread > 1e-9, spread, 1.0), 0.0)
    a = np.maximum(a, 0.0)  # left-out outputs that point the wrong way know nothing: the share of the label is said
    return a, np.where(a > 0, offset - a * centre, _odds(wanted))


def slope(raw: Array, targets: Array) -> float:
    """The one factor tau > 0 that makes sigmoid(tau raw) fit (n, C) targets of 0 and 1 best: by golden section."""
    from scipy.optimize import minimize_scalar

    wanted = _smoothed(np.asarray(targets, np.float64))
    found = minimize_scalar(lambda t: _log_loss(np.exp(t) * raw, wanted), bounds=(-5.0, 5.0), method="bounded")
    return float(np.exp(found.x))


def _smoothed(wanted: Array) -> Array:
    """Targets with one made-up row of each kind a label, as Platt smooths: no log odds is infinite."""
    has = wanted.sum(0)
    lacks = len(wanted) - has
    smooth: Array = np.where(wanted > 0, (has + 1) / (has + 2), 1 / (lacks + 2))
    return smooth


def _odds(wanted: Array) -> Array:
    share = wanted.mean(0)
    return np.asarray(np.log(share / (1 - share)))


def _log_losses(raw: Array, wanted: Array) -> Array:
    """(C,) mean binary cross entropy of (n, C) log odds."""
    losses: Array = (np.logaddexp(0.0, raw) - wanted * raw).mean(0)
    return losses


def _log_loss(raw: Array, wanted: Array) -> float:
    return float(_log_losses(raw, wanted).mean())
