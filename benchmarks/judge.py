"""Simulates studies whose true gain is known, and prints how often the judge is right: `python -m benchmarks.judge`.

A row is right when a latent number passes a threshold. The number is a sum of normal effects: the row, the draw (shared
by all arms), the arm's own reading of the row, the arm's own luck in the draw, and the rest. So the true accuracy of an
arm over all draws and rows is exactly what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

# variances of (row, arm x row, rest), deviations of (draw, arm x draw), in units of the latent number
CORRELATIONS = {
    "low": ((0.40, 0.20, 0.40), (0.05, 0.03)),  # arms trained on other draws read many rows anew; draws matter little
    "high": ((0.55, 0.30, 0.15), (0.10, 0.10)),  # rows are read alike in every draw; a draw lifts or sinks all of them
}


@dataclass(frozen=True)
class World:
    draws: int
    rows: int
    accuracy: float  # of the control; the transfer arm has `gain` more
    correlation: str


def latent(rng: np.random.Generator, world: World, arms: int) -> tuple[np.ndarray, float]:
    """(arms, draws, rows) latent numbers around 0, and their standard deviation over everything."""
    (row, arm_row, rest), (draw, arm_draw) = CORRELATIONS[world.correlation]
    s, m = world.draws, world.rows
    z = np.sqrt(rest) * rng.normal(size=(arms, s, m))
    z += np.sqrt(row) * rng.normal(size=m) + np.sqrt(arm_row) * rng.normal(size=(arms, 1, m))
    z += draw * rng.normal(size=(s, 1)) + arm_draw * rng.normal(size=(arms, s, 1))
    return z, float(np.sqrt(row + arm_row + rest + draw**2 + arm_draw**2))


def hits(rng: np.random.Generator, world: World, gain: float, arms: int = 2) -> np.ndarray:
    """(arms, draws, rows) 0/1: the first arm has the world's accuracy and `gain` more, all others have the accuracy."""
    z, deviation = latent(rng, world, arms)
    shares = np.full(arms, world.accuracy)
    shares[0] += gain
    return (z < ndtri(shares)[:, None, None] * deviation).astype(np.float64)
