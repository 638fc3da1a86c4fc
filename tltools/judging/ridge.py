"""Ridge regression in its eigenbasis: one eigendecomposition, then every strength and every left-out row is a rescale.

Rows are standardised with the training rows' weighted mean and scale; the intercept is not penalised. With the
rows times sqrt(w), `Q diag(s) Q'` is the Gram matrix, and for a strength l

    g = s / (s + l)      h_i = w_i / sum(w) + sum_j Q_ij^2 g_j      f_-i = (f_i - h_i y_i) / (1 - h_i)

is the prediction of row i by the fit that never saw row i: exact, without a refit. Weights and scales are those
of all training rows and are not computed again for the row left out; the mean is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WIDEST = 3072  # an eigendecomposition grows with the cube; above this in rows AND columns the columns are projected
LOO_ROWS = 20_000  # at most so many rows are left out in turn, spread evenly
BLOCK = 2_048  # rows that are converted to float64 at a time, some times over


@dataclass(frozen=True)
class Problem:
    """A weighted least-squares problem in its eigenbasis; N rows, r directions, K outputs."""

    s: Array  # (r,) eigenvalues, all above 0
    qy: Array  # (r, K): Q'Y
    basis: Array  # (D, r): columns V, so that weights are V (sqrt(s) / (s + l) * qy)
    y_mean: Array  # (K,) weighted
    q: Array  # (R, r): the rows of Q that are left out in turn
    root_w: Array  # (R,) sqrt of their weights
    leverage: Array  # (R,) w_i / sum(w)
    y: Array  # (R, K) their targets
    rows: Array  # (R,)
    unit: float  # mean squared length of a centred row: strength 1

    def left_out(self, strength: float) -> Array:
        """(R, K) predictions of the left-out rows at a relative strength; exact."""
        g = self.s / (self.s + strength * self.unit)
        own = np.concatenate([self.q[p] ** 2 @ g for p in _parts(len(self.q))])
        hat = np.minimum(self.leverage + own, 1 - 1e-12)[:, None]
        fit = self.y_mean + self.q @ (g[:, None] * self.qy) / self.root_w[:, None]
        left_out: Array = (fit - hat * self.y) / (1 - hat)
        return left_out

    def weights(self, strength: float) -> Array:
        """(K, D) weights on standardised features."""
        gain = np.sqrt(self.s) / (self.s + strength * self.unit)
        weights: Array = (self.basis @ (gain[:, None] * self.qy)).T
        return weights


def standardise(features: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and scale (D,) of the rows, in float64: the scale is the root of each column's deviation times the
    median deviation (Pareto scaling, van den Berg et al. 2006).

    Between a scale of its own for each column, which makes noise of columns that hardly vary, and one scale for all,
    which lets a few columns of large values decide, as some language models have them. A deviation below a hundredth of
    the median counts as the median: it is rounding noise, and would explode once a fine-tuned backbone lets it vary.

    Raises: ValueError when there is no row or a value is not finite.
    """
    if len(features) == 0:
        raise ValueError("a head must have at least one training row; got 0")
    total, parts = weights.sum(), _parts(len(features))
    mean = sum(weights[p] @ np.asarray(features[p], np.float64) for p in parts) / total
    if not np.isfinite(mean).all():
        raise ValueError("features must be finite numbers; got NaN or infinity")
    variance = sum(weights[p] @ (np.asarray(features[p], np.float64) - mean) ** 2 for p in parts) / total
    deviation = np.sqrt(variance)
    varies = deviation > 1e-6 * np.abs(mean) + 1e-30
    median = float(np.median(deviation[varies])) if varies.any() else 1.0
    return mean, np.sqrt(np.where(varies & (deviation > 0.01 * median), deviation, median) * median)


def _parts(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]


def solve(features: Array, targets: Array, w: Array, mean: Array, scale: Array) -> Problem:
    """Brings the weighted, centred, standardised problem into its eigenbasis: dual for n <= D, else primal."""
    n, width, total, root = len(features), len(mean), w.sum(), np.sqrt(w)
    project = None
    if min(n, width) > WIDEST:
        project = np.random.default_rng(width).standard_normal((width, WIDEST)) / np.sqrt(WIDEST)

    from scipy.linalg import eigh

    def rows_of(rows: slice | Array) -> Array:
        x: Array = root[rows, None] * ((np.asarray(features[rows], np.float64) - mean) / scale)
        return x if project is None else x @ project

    y_mean = w @ targets / total
    y = root[:, None] * (targets - y_mean)
    left = np.arange(n) if n <= LOO_ROWS else np.linspace(0, n - 1, LOO_ROWS).astype(np.int64)
    if n <= width and project is None:
        x = rows_of(slice(0, n))
        s, q = _above_zero(*eigh(x @ x.T, overwrite_a=True, check_finite=False))
        basis, qy = (x.T @ q) / np.sqrt(s), q.T @ y
        q = q[left]
    else:
        side, blocks = width if project is None else WIDEST, deque[Array]()
        gram, xy = np.zeros((side, side)), np.zeros((side, targets.shape[1]))
        for p in _parts(n):
            x = rows_of(p)
            gram += x.T @ x
            xy += x.T @ y[p]
            if n <= LOO_ROWS:
                blocks.append(x)
        s, basis = _above_zero(*eigh(gram, overwrite_a=True, check_finite=False))
        qy = (basis.T @ xy) / np.sqrt(s)[:, None]
        q, rotation = np.empty((len(left), len(s))), basis / np.sqrt(s)
        for p in _parts(len(left)):  # block by block: of many rows, or wide ones, there is no room for a second copy
            q[p] = (blocks.popleft() if blocks else rows_of(left[p])) @ rotation
        basis = basis if project is None else project @ basis
    return Problem(
        s=s, qy=qy, basis=basis, y_mean=y_mean, q=q, root_w=root[left], leverage=w[left] / total,
        y=targets[left], rows=left, unit=float(s.sum() / n),
    )  # fmt: skip


def _above_zero(s: Array, vectors: Array) -> tuple[Array, Array]:
    """Drops the directions that rounding alone has filled (the centred Gram matrix has at least one)."""
    keep = s > 1e-12 * max(float(s[-1]), 1e-300)
    return s[keep], vectors[:, keep]
