"""How far two sets of rows lie apart in a source model's features: MMD and proxy A-distance.

Both say how different the rows look to the source, not whether transfer will help: a distant source can be the best
there is, and rows that look alike can carry other labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging.ranking import loo_ridge

Array = NDArray[Any]

ROWS = 500  # of each set that are looked at
PERMUTATIONS = 200


@dataclass(frozen=True)
class Apart:
    """The distance of two sets of rows."""

    told: float  # share of rows of which a straight line tells the set, both sets counting the same: 0.5 = by chance
    a_distance: float  # proxy A-distance, 0 to 2
    mmd: float  # maximum mean discrepancy, 0 = the same distribution, at most about 1
    p_value: float  # of MMD where both sets are drawn from one distribution
    rows: tuple[int, int]  # looked at


def apart(one: Array, two: Array, seed: int = 0) -> Apart:
    """Compares two sets of features (n, D) and (m, D).

    Proxy A-distance 2 (1 - 2 error) of a linear classifier that tells the sets apart (Ben-David et al. 2007), here
    ridge with exact leave-one-out error. MMD with a Gaussian kernel as wide as the median distance, unbiased estimate,
    and its permutation test (Gretton et al. 2012).

    Raises: ValueError when a set has fewer than two rows.
    """
    random = np.random.default_rng(seed)
    one, two = (rows[np.sort(random.permutation(len(rows))[:ROWS])] for rows in (one, two))
    n, m = len(one), len(two)
    if min(n, m) < 2:
        raise ValueError(f"each set must have at least two rows; got {n} and {m}")
    both, codes = np.concatenate([one, two]).astype(np.float64), np.repeat([0, 1], [n, m])
    told = loo_ridge(both, codes)
    squared, p_value = _mmd(_gaussian(both), codes == 0, random)
    return Apart(told, max(2 * (2 * told - 1), 0.0), float(np.sqrt(max(squared, 0.0))), p_value, (n, m))


def _gaussian(rows: Array) -> Array:
    """(N, N) exp(-distance^2 / median distance^2), after each column's mean is taken out."""
    rows = rows - rows.mean(0)
    lengths = (rows**2).sum(1)
    distances = np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0.0)
    width = float(np.median(distances[np.triu_indices(len(rows), 1)]))
    kernel: Array = np.exp(-distances / max(width, 1e-300))
    return kernel


def _mmd(kernel: Array, first: Array, random: np.random.Generator) -> tuple[float, float]:
    """(unbiased squared MMD of the rows that are `first` and the others, its permutation p-value)."""
    kernel = kernel - np.diag(np.diag(kernel))
    sides = np.stack([first, *(random.permutation(first) for _ in range(PERMUTATIONS))]).astype(np.float64)
    n, m = float(first.sum()), float((~first).sum())
    inside = ((sides @ kernel) * sides).sum(1)
    outside = (((1 - sides) @ kernel) * (1 - sides)).sum(1)
    between = (kernel.sum() - inside - outside) / 2
    found = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * between / (n * m)
    return float(found[0]), float((1 + (found[1:] >= found[0]).sum()) / (1 + PERMUTATIONS))
