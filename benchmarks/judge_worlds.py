"""Simulated studies whose true gain is known exactly, for every kind of metric.

Each row has a latent number: a sum of normal effects of the row, the draw (shared by all arms), the arm's own reading
of the row, the arm's own luck in the draw, and the rest. Scores are thresholds or functions of it, so that the expected
score of an arm over all draws and rows has a closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tltools.reports.readings import scale_of
from tltools.tasks import Metric, tasks

# variances of (row, arm x row, rest), deviations of (draw, arm x draw), in units of the latent number
CORRELATIONS = {
    "low": ((0.40, 0.20, 0.40), (0.05, 0.03)),  # arms trained on other draws read many rows anew; draws matter little
    "high": ((0.55, 0.30, 0.15), (0.10, 0.10)),  # rows are read alike in every draw; a draw lifts or sinks all of them
}
FALLING = 3.0  # times as much as at the most labels draws differ at the fewest
RARE = 0.3  # share of the second class, where a world has no other
LABELS = 4  # of a world where rows have several
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)  # for expectations over the draws
HEAVY = 0.5  # deviation of log absolute errors


@dataclass(frozen=True)
class World:
    draws: int
    rows: int
    accuracy: float  # of the control (its area under the curve for AUROC); the transfer arm has `gain` more
    correlation: str
    rare: float = RARE  # share of the second class, of metrics of classes

    @property
    def few(self) -> int:
        """Rows of the second class."""
        return max(round(self.rare * self.rows), 2)


@dataclass(frozen=True)
class Simulated:
    """Pseudo-values of all arms, and what is true of them."""

    scores: np.ndarray  # (arms, draws, rows) higher is better
    truth: np.ndarray  # (arms,) expected score
    scale: float | None  # as the report sets it


def latent(rng: np.random.Generator, world: World, arms: int) -> tuple[np.ndarray, float, float]:
    """(arms, draws, rows) latent numbers around 0, their deviation within a draw, and that of the draws."""
    (row, arm_row, rest), (draw, arm_draw) = CORRELATIONS[world.correlation]
    s, m = world.draws, world.rows
    z = np.sqrt(rest) * rng.normal(size=(arms, s, m))
    z += np.sqrt(row) * rng.normal(size=m) + np.sqrt(arm_row) * rng.normal(size=(arms, 1, m))
    z += draw * rng.normal(size=(s, 1)) + arm_draw * rng.normal(size=(arms, s, 1))
    return z, float(np.sqrt(row + arm_row + rest)), float(np.hypot(draw, arm_draw))


def hits(rng: np.random.Generator, world: World, gain: float, arms: int = 2) -> np.ndarray:
    """(arms, draws, rows) 0/1: the first arm has the world's accuracy and `gain` more, all others have the accuracy."""
    z, within, between = latent(rng, world, arms)
    shares = np.full(arms, world.accuracy)
    shares[0] += gain
    return (z < ndtri(shares)[:, None, None] * np.hypot(within, between)).astype(np.float64)


def whole(
    rng: np.random.Generator, world: World, gain: float, arms: int, shares: int, uneven: float
) -> tuple[np.ndarray, np.ndarray]:
    """A study: (shares, arms, draws, rows) hits of transfer arms that are all `gain` better than their control, whose
    (shares, draws, rows) come second; the accuracy grows by 0.05 a share.

    `uneven`: deviation of the logarithm of how much an arm's draws differ; where it is above 0, draws also differ
    `FALLING` times as much at the fewest labels as at the most. Half of an arm's luck in a draw is the same at all
    shares, as larger shares hold the rows of smaller ones.
    """
    (row, arm_row, rest), (draw, arm_draw) = CORRELATIONS[world.correlation]
    s, m = world.draws, world.rows
    own = arm_draw * np.exp(uneven * rng.normal(size=(arms + 1, 1, 1)))
    lasting = rng.normal(size=(arms + 1, s, 1))
    read = np.sqrt(row) * rng.normal(size=m) + np.sqrt(arm_row) * rng.normal(size=(arms + 1, 1, m))
    found = []
    for share in range(shares):
        luck = own * (FALLING ** (1 - share / (shares - 1)) if uneven and shares > 1 else 1.0)
        drawn = luck * (lasting + rng.normal(size=lasting.shape)) / np.sqrt(2) + draw * rng.normal(size=(s, 1))
        z = read + np.sqrt(rest) * rng.normal(size=(arms + 1, s, m)) + drawn
        deviation = np.sqrt(row + arm_row + rest + draw**2 + luck**2)
        shift = np.where(np.arange(arms + 1) < arms, gain, 0.0)[:, None, None]
        found.append((z < ndtri(world.accuracy + 0.05 * share + shift) * deviation).astype(np.float64))
    every = np.stack(found)
    return every[:, :arms], every[:, arms]


def accuracy(rng: np.random.Generator, world: World, gain: float) -> Simulated:
    return Simulated(hits(rng, world, gain), np.array([world.accuracy + gain, world.accuracy]), 1.0)


def _classes(rng: np.random.Generator, world: World) -> np.ndarray:
    """(rows,) 0/1, a stratified test part."""
    return rng.permutation(np.repeat([0, 1], [world.rows - world.few, world.few]))


def _by_class(rng: np.random.Generator, world: World, gain: float, key: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(pseudo-values, thresholds per arm and class in units of the deviation within a draw, deviation of the draws)."""
    metric, truth = _metric(key), _classes(rng, world)
    z, within, between = latent(rng, world, 2)
    easier = min(0.04, (1 - world.accuracy) / 2)  # the common class is easier
    shares = np.array([[world.accuracy + g + easier, world.accuracy + g - easier] for g in (gain, 0.0)])
    cuts = ndtri(np.clip(shares, 0.001, 0.999)) * np.hypot(within, between)
    right = z < cuts[:, truth][:, None, :]
    said = np.where(right, truth, 1 - truth)
    values = np.array([[metric.influence(truth, np.eye(2)[one]) for one in arm] for arm in said])
    return values, cuts / within, between / within


def balanced(rng: np.random.Generator, world: World, gain: float) -> Simulated:
    values, cuts, between = _by_class(rng, world, gain, "balanced_accuracy")
    return Simulated(values, ndtr(cuts / np.hypot(1, between)).mean(1), _scale(world))


def macro_f1(rng: np.random.Generator, world: World, gain: float) -> Simulated:
    values, cuts, between = _by_class(rng, world, gain, "macro_f1")
    rare, truth = world.few / world.rows, []
    for common_cut, rare_cut in cuts:  # the expectation over draws of the population's F1 in a draw
        p0, p1 = ndtr(common_cut + between * NODES), ndtr(rare_cut + between * NODES)
        hit0, hit1 = (1 - rare) * p0, rare * p1
        f0 = 2 * hit0 / (2 * hit0 + (1 - rare) * (1 - p0) + rare * (1 - p1))
        f1 = 2 * hit1 / (2 * hit1 + rare * (1 - p1) + (1 - rare) * (1 - p0))
        truth.append(float(((f0 + f1) / 2 * WEIGHTS).sum() / WEIGHTS.sum()))
    return Simulated(values, np.array(truth), _scale(world))


def auroc(rng: np.random.Generator, world: World, gain: float) -> Simulated:
    metric, truth = _metric("auroc"), _classes(rng, world)
    z, within, between = latent(rng, world, 2)
    areas = np.array([world.accuracy + gain, world.accuracy])
    apart = ndtri(areas) * np.sqrt(2 * within**2 + 4 * between**2) / 2
    score = np.where(truth == 1, 1, -1) * (apart[:, None, None] + z)
    shares = ndtr(score)
    values = np.array([[metric.influence(truth, np.stack([1 - one, one], axis=1)) for one in arm] for arm in shares])
    return Simulated(values, areas, _scale(world))


def mae(rng: np.random.Generator, world: World, gain: float) -> Simulated:
    """Heavy-tailed absolute errors around 1; the arm's are smaller by the factor 1 - gain."""
    z, within, between = latent(rng, world, 2)
    mean = np.exp(HEAVY**2 * (within**2 + between**2) / 2)
    size = np.array([1 - gain, 1.0]) / mean
    return Simulated(-size[:, None, None] * np.exp(HEAVY * z), -np.array([1 - gain, 1.0]), None)


def lapsing(rng: np.random.Generator, key: str, world: World, share: float) -> Simulated:
    """A transfer arm that takes every row right, and a control that is wrong on a share of the second class, on the
    same rows in every draw, and surer of them than of any other. The world's accuracy and correlation are not used."""
    rows, few = world.rows, world.few
    truth, influence = np.repeat([0, 1], [rows - few, few]), _metric(key).influence
    lapses = (truth == 1) & (rng.random(rows) < share)
    said = np.where(truth == 1, 0.9, 0.1) + rng.uniform(-0.05, 0.05, (2, world.draws, rows))
    said[1, :, lapses] = 0.0
    values = np.array([[influence(truth, np.stack([1 - one, one], axis=1)) for one in arm] for arm in said])
    common = (rows - few) / few  # rows of the first class a row of the second
    f1 = (2 * common / (2 * common + share) + 2 * (1 - share) / (2 - share)) / 2
    left = {"balanced_accuracy": 1 - share / 2, "auroc": 1 - share, "macro_f1": f1}[key]
    return Simulated(values, np.array([1.0, left]), _scale(world))


def lapsing_label(rng: np.random.Generator, key: str, world: World, share: float) -> Simulated:
    """As `lapsing`, where rows have any of `LABELS` labels: few rows have the first, half of them each other one."""
    rows, metric = world.rows, next(metric for metric in tasks()["multilabel"].metrics if metric.key == key)
    truth = np.array([rng.permutation(rows) < n for n in (world.few, *[rows // 2] * (LABELS - 1))], np.uint8).T
    said = np.where(truth, 0.9, 0.1) + rng.uniform(-0.05, 0.05, (2, world.draws, *truth.shape))
    said[1, :, (truth[:, 0] > 0) & (rng.random(rows) < share), 0] = 0.0
    assert metric.influence
    values = np.array([[metric.influence(truth, one) for one in arm] for arm in said])
    left = {"map": 1 - share * (1 - world.few / rows), "macro_f1": 2 * (1 - share) / (2 - share)}[key]
    return Simulated(values, np.array([1.0, (LABELS - 1 + left) / LABELS]), scale_of(metric, truth, 0))


def _metric(key: str) -> Metric:
    return next(metric for metric in tasks()["classification"].metrics if metric.key == key)


def _scale(world: World) -> float:
    weights = world.rows / (2 * np.array([world.few, world.rows - world.few]))
    return float(np.sqrt((weights**2).mean()))


METRICS: dict[str, Callable[[np.random.Generator, World, float], Simulated]] = {
    "accuracy": accuracy,
    "balanced accuracy": balanced,
    "AUROC": auroc,
    "macro F1": macro_f1,
    "MAE": mae,
}
