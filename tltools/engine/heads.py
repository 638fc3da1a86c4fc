"""Linear heads on frozen features, in closed form: the strength by exact leave-one-out, the temperature by Newton.

Classes are coded one-hot and weighted so that each counts the same (`balanced`); `ridge.py` has the algebra.
Class probabilities are `softmax(raw / temperature)`, where the temperature is fitted to the leave-one-out outputs, so
that a probability means what it says on rows the head has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tltools.judging.ranking import balanced_accuracy
from tltools.judging.ridge import solve, standardise

Array = NDArray[Any]
Kind = Literal["classes", "number", "labels"]
Fit = TypeVar("Fit")

STRENGTHS = tuple(10.0 ** (k / 3) for k in range(-15, 13))  # times the mean squared length of a centred row


@dataclass(frozen=True)
class Head:
    """A linear head on standardised features; see `tltools.judging.ridge.standardise`.

    Class probabilities are `softmax(raw / temperature)`, those of several labels `sigmoid(raw / temperature)`; a number
    is `raw` itself (temperature 1).
    `loo` holds the raw leave-one-out outputs of the training rows `loo_rows` (positions among those rows).
    """

    weight: Array  # (K, D), all arrays float32
    bias: Array  # (K,)
    mean: Array  # (D,) weighted mean of the training rows
    scale: Array  # (D,) what a column is divided by
    temperature: float
    strength: float  # relative: times the mean squared length of a centred row; infinite for class means
    loo_score: float  # balanced accuracy, or R2 for numbers, of the left-out rows; nan where there is none
    kind: Kind = "classes"
    loo: Array | None = None  # (R, K)
    loo_rows: Array | None = None  # (R,)
    path: tuple[tuple[float, float], ...] = ()  # (strength, leave-one-out loss), weak to strong

    def raw(self, features: Array) -> Array:
        """(M, D) features -> (M, K) raw outputs."""
        raw: Array = (np.asarray(features, np.float32) - self.mean) / self.scale @ self.weight.T + self.bias
        return raw

    def outputs(self, features: Array) -> Array:
        """(M, D) features -> (M, K) class probabilities, or (M, 1) numbers."""
        return self._decoded(self.raw(features))

    def left_out(self) -> tuple[Array, Array] | None:
        """`loo_rows` and (R, K) outputs for them, each by the head that never saw it; None where there are none."""
        return None if self.loo is None or self.loo_rows is None else (self.loo_rows, self._decoded(self.loo))

    def _decoded(self, raw: Array) -> Array:
        if self.kind == "number":
            return raw
        return (softmax if self.kind == "classes" else sigmoid)(raw / np.float32(self.temperature))

    def logits(self) -> tuple[Array, Array]:
        """Weight (K, D) and bias (K,) on features as they come, temperature folded in: where gradient steps start."""
        weight = self.weight / self.scale / np.float32(self.temperature)
        return weight, self.bias / np.float32(self.temperature) - weight @ self.mean

    @property
    def size(self) -> int:
        """Numbers that were fitted."""
        return int(self.weight.size + self.bias.size)

    def facts(self) -> dict[str, Any]:
        """What the trial's card says of it."""
        return {"strength": self.strength}

    def tensors(self) -> dict[str, Array]:
        """The head's tensors under the names that a sealed trial stores."""
        temperature = np.array([self.temperature], np.float32)
        return {
            "head.weight": self.weight, "head.bias": self.bias, "head.mean": self.mean, "head.scale": self.scale,
            "head.temperature": temperature,
        }  # fmt: skip


def ridge_classifier(
    features: Array,
    codes: Array,
    classes: int,
    *,
    balanced: bool = True,
    weights: Array | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Head:
    """Fits a classifier on (n, D) features and (n,) class codes below `classes`.

    balanced: each class present weighs the same, whatever its size. weights: (n,) above 0, instead.
    The strength is the likeliest by the log loss of rows left out in turn.
    Raises: ValueError when there is no row, or a feature is not finite.
    """
    codes = np.asarray(codes, np.int64)
    present, y_all = np.unique(codes, return_inverse=True)
    counts = np.bincount(y_all)
    if weights is None:
        weights = 1.0 / counts[y_all] if balanced else np.ones(len(codes))
    weights = weights * (len(codes) / max(weights.sum(), 1e-300))
    mean, scale = standardise(features, weights)
    absent = -np.log(len(codes) + classes)  # the log odds of a class that no training row shows
    if len(present) < 2:
        weight, bias = np.zeros((classes, len(mean))), np.where(np.isin(np.arange(classes), present), 0.0, absent)
        return Head(*_single(weight, bias, mean, scale), temperature=1.0, strength=1.0, loo_score=float("nan"))
    problem = solve(features, np.eye(len(present))[y_all], weights, mean, scale)
    y, w, tau, tries = y_all[problem.rows], problem.root_w**2, 1.0, []
    for strength in strengths:
        out = problem.left_out(strength)
        tau = slope(out, y, w, start=tau)
        tries.append((_loss(out, tau, y, w), tau))
    best = likeliest([len(y) * loss for loss, _ in tries], strengths)
    out, tau = problem.left_out(strengths[best]), tries[best][1]
    weight, bias = np.zeros((classes, len(mean))), np.full(classes, absent / tau)
    left = np.full((len(out), classes), absent / tau)
    weight[present], bias[present], left[:, present] = problem.weights(strengths[best]), problem.y_mean, out
    return Head(
        *_single(weight, bias, mean, scale),
        temperature=1.0 / tau,
        strength=strengths[best],
        loo_score=balanced_accuracy(y, out.argmax(1)),
        loo=left.astype(np.float32),
        loo_rows=problem.rows,
        path=tuple((strength, tried[0]) for strength, tried in zip(strengths, tries, strict=True)),
    )


def ridge_regression(features: Array, targets: Array, *, strengths: Sequence[float] = STRENGTHS) -> Head:
    """Fits numbers on (n, D) features and (n,) targets; the strength is the one of least leave-one-out squared error.

    Raises: ValueError when there is no row, or a feature is not finite.
    """
    y = np.asarray(targets, np.float64).reshape(-1, 1)
    ones = np.ones(len(y))
    mean, scale = standardise(features, ones)
    if len(y) < 2 or np.ptp(y) == 0:
        tensors = _single(np.zeros((1, len(mean))), y.mean(0), mean, scale)
        return Head(*tensors, temperature=1.0, strength=1.0, loo_score=float("nan"), kind="number")
    problem = solve(features, y, ones, mean, scale)
    losses = [float(((problem.left_out(strength) - problem.y) ** 2).mean()) for strength in strengths]
    best = likeliest(len(y) / 2 * np.log(np.maximum(losses, 1e-300)), strengths)
    variance = float(problem.y.var())
    return Head(
        *_single(problem.weights(strengths[best]), problem.y_mean, mean, scale),
        temperature=1.0,
        strength=strengths[best],
        loo_score=1.0 - losses[best] / variance if variance > 0 else float("nan"),
        kind="number",
        loo=problem.left_out(strengths[best]).astype(np.float32),
        loo_rows=problem.rows,
        path=tuple(zip(strengths, losses, strict=True)),
    )


def fit_many(
    features: Array,
    targets: Array,
    draws: Sequence[Array],
    kind: Kind,
    *,
    classes: int | None = None,
    balanced: bool = True,
) -> list[Head]:
    """Fits one head per entry of `draws` (row positions in the (N, D) features and (N,) targets), strengths included.

    Draws that hold the same rows share one fit, as all draws of the whole training part do.
    classes: K of the head; by default the largest code in `targets`, plus one.
    """
    from tltools.engine import label_heads

    targets = np.asarray(targets)
    width = classes if classes is not None else (int(targets.max()) + 1 if kind == "classes" else 1)

    def fit(rows: Array) -> Head:
        x, y = features[rows], targets[rows]
        if kind == "labels":
            return label_heads.ridge_labels(x, y)
        if kind == "number":
            return ridge_regression(x, y)
        return ridge_classifier(x, y, width, balanced=balanced)

    return each_draw(draws, fit)


def each_draw(draws: Sequence[Array], fit: Callable[[Array], Fit]) -> list[Fit]:
    """`fit` of the rows of each draw, ascending; draws that hold the same rows share one."""
    fitted: dict[bytes, Fit] = {}
    found = []
    for draw in draws:
        rows = np.sort(np.asarray(draw, np.int64))
        key = rows.tobytes()
        if key not in fitted:
            fitted[key] = fit(rows)
        found.append(fitted[key])
    return found


def slope(raw: Array, codes: Array, weights: Array, *, start: float = 1.0) -> float:
    """The factor tau > 0 that makes softmax(tau * raw) fit the (n,) codes best: one-dimensional Newton on the log loss.

    Targets are smoothed as Platt does, by one made-up row per class, so that tau stays finite where all rows are right.
    """
    n, classes = raw.shape
    centred = raw - raw.mean(1, keepdims=True)
    share = 1.0 / (n + classes)
    wanted = (1 - classes * share) * (weights @ centred[np.arange(n), codes])  # the smoothed part has mean 0
    tau = start
    for _ in range(50):
        p = softmax(tau * centred)
        expected = (p * centred).sum(1)
        gradient = weights @ expected - wanted
        curvature = weights @ ((p * centred**2).sum(1) - expected**2)
        step = tau - gradient / max(curvature, 1e-300)
        step = float(np.clip(step, max(tau / 4, 1e-3), min(tau * 4, 1e4)))
        if abs(step - tau) < 1e-6 * tau:
            return step
        tau = step
    return tau


def softmax(logits: Array) -> Array:
    """Row-wise softmax of (n, K)."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)) of each log odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def _loss(raw: Array, tau: float, codes: Array, weights: Array) -> float:
    z = tau * (raw - raw.max(1, keepdims=True))
    own = z[np.arange(len(z)), codes] - np.log(np.exp(z).sum(1))
    return float(-(weights @ own) / weights.sum())


def likeliest(losses: Sequence[float] | Array, strengths: Sequence[float]) -> int:
    """Position of the likeliest strength, of those equal but for rounding the last, the strongest.

    losses: negative log likelihoods of all left-out rows together. Before any row is seen a strength is log normal
    about 1, a decade wide: with a handful of rows all strengths lose alike, with many this says next to nothing.
    """
    values = np.asarray(losses) + np.log10(strengths) ** 2 / 2
    return int(np.flatnonzero(values <= values.min() + 1e-9 * abs(values.min()))[-1])


def _single(weight: Array, bias: Array, mean: Array, scale: Array) -> tuple[Array, Array, Array, Array]:
    return weight.astype(np.float32), bias.astype(np.float32), mean.astype(np.float32), scale.astype(np.float32)
