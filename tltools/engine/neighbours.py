"""Nearest neighbours of frozen features as a head: the training rows most like a row vote for its class.

Likeness is the cosine of standardised features. Of the k nearest, the first has one vote and the others less, falling
to none at the likeness of the next one beyond them (Dudani 1976), so that an output does not jump where two rows change
places. Each class's rows weigh the same in all, and one made-up row is spread over all classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.engine.heads import slope, softmax
from tltools.judging.ranking import balanced_accuracy
from tltools.judging.ridge import standardise

Array = NDArray[Any]

TRIED = (3, 5, 9, 17, 33, 65)  # numbers of neighbours
LOO_ROWS = 2_000  # at most so many rows are left out in turn, spread evenly
BLOCK = 256  # rows that are compared with all training rows at a time


@dataclass(frozen=True)
class Neighbours:
    """The training rows, and how they vote; class probabilities are `softmax(raw / temperature)`."""

    rows: Array  # (n, D) float32: standardised training features of length 1
    codes: Array  # (n,) int64
    weights: Array  # (n,) float32, 1 on average
    mean: Array  # (D,) float32
    scale: Array  # (D,) float32
    classes: int
    k: int
    temperature: float = 1.0
    loo_score: float = math.nan  # balanced accuracy of the left-out rows
    loo: Array | None = None  # (R, K) raw votes for the rows `loo_rows`, each without its own
    loo_rows: Array | None = None  # (R,) positions among the training rows
    size = 0  # numbers that were fitted

    def raw(self, features: Array) -> Array:
        """(M, D) features -> (M, K) logarithms of the smoothed votes."""
        found = np.zeros((len(features), self.classes), np.float32)
        for start in range(0, len(features), BLOCK):
            part = np.asarray(features[start : start + BLOCK], np.float32)
            near, likeness = nearest(unit((part - self.mean) / self.scale) @ self.rows.T, self.k + 1)
            found[start : start + BLOCK] = self.votes(near, likeness, self.k)
        return found

    def votes(self, near: Array, likeness: Array, k: int) -> Array:
        """`raw` of rows whose more than k nearest are known: (M, >k) positions and likenesses, nearest first."""
        floor = np.maximum(likeness[:, k : k + 1], -1.0)
        span = likeness[:, :1] - floor
        votes = np.where(span > 1e-6, (likeness[:, :k] - floor) / np.maximum(span, 1e-6), 1.0)
        votes = votes * self.weights[near[:, :k]]
        of = self.codes[near[:, :k], None] == np.arange(self.classes)
        return np.asarray(np.log((votes[:, :, None] * of).sum(1) + 1 / self.classes))

    def outputs(self, features: Array) -> Array:
        """(M, D) features -> (M, K) class probabilities."""
        return softmax(self.raw(features) / np.float32(self.temperature))

    def left_out(self) -> tuple[Array, Array] | None:
        """`loo_rows` and (R, K) class probabilities of them; None where no row could be left out."""
        if self.loo is None or self.loo_rows is None:
            return None
        return self.loo_rows, softmax(self.loo / np.float32(self.temperature))

    def facts(self) -> dict[str, Any]:
        """What the trial's card says of it."""
        return {"neighbours": self.k}

    def tensors(self) -> dict[str, Array]:
        """The tensors under the names that a sealed trial stores; `of_tensors` reads them back."""
        return {
            "head.rows": self.rows, "head.codes": self.codes, "head.weights": self.weights, "head.mean": self.mean,
            "head.scale": self.scale, "head.k": np.array([self.k], np.int64),
            "head.temperature": np.array([self.temperature], np.float32),
        }  # fmt: skip


def of_tensors(tensors: Mapping[str, Array], classes: int) -> Neighbours:
    """The head of a sealed trial."""
    rows, weights, mean, scale = (tensors[f"head.{name}"] for name in ("rows", "weights", "mean", "scale"))
    codes, k = tensors["head.codes"].astype(np.int64), int(tensors["head.k"][0])
    return Neighbours(rows, codes, weights, mean, scale, classes, k, float(tensors["head.temperature"][0]))


def neighbours(features: Array, codes: Array, classes: int) -> Neighbours:
    """Keeps (n, D) features and (n,) class codes below `classes`; the number of neighbours is the one of least log loss
    on rows left out in turn, their temperature fitted on the same.

    Raises: ValueError when there is no row, or a feature is not finite.
    """
    codes = np.asarray(codes, np.int64)
    counts = np.bincount(codes, minlength=classes)
    weights = len(codes) / (np.count_nonzero(counts) * counts[codes])
    mean, scale = (part.astype(np.float32) for part in standardise(features, weights))
    rows = unit((np.asarray(features, np.float32) - mean) / scale)
    n, seen = len(rows), weights.astype(np.float32)
    tried = [k for k in TRIED if k < n] or [1]
    if n < 3 or np.count_nonzero(counts) < 2:
        return Neighbours(rows, codes, seen, mean, scale, classes, tried[0])
    left = np.unique(np.linspace(0, n - 1, min(n, LOO_ROWS)).astype(np.int64))
    near, likeness = _left_out(rows, left, tried[-1] + 1)
    found = []
    for k in tried:
        head = Neighbours(rows, codes, seen, mean, scale, classes, k)
        raw, own = head.votes(near, likeness, k), weights[left] * (len(left) / weights[left].sum())
        factor = slope(raw, codes[left], own)
        loss = -own @ np.log(softmax(factor * raw)[np.arange(len(left)), codes[left]])
        score = balanced_accuracy(codes[left], raw.argmax(1))
        found.append((float(loss), k, 1.0 / factor, score))
    _, k, temperature, score = min(found)
    head = Neighbours(rows, codes, seen, mean, scale, classes, k, temperature, score)
    return replace(head, loo=head.votes(near, likeness, k), loo_rows=left)


def _left_out(rows: Array, left: Array, count: int) -> tuple[Array, Array]:
    """`nearest` of the rows at the positions `left` among all other rows."""
    parts = []
    for start in range(0, len(left), BLOCK):
        some = left[start : start + BLOCK]
        likeness = rows[some] @ rows.T
        likeness[np.arange(len(some)), some] = -2.0
        parts.append(nearest(likeness, count))
    return np.concatenate([near for near, _ in parts]), np.concatenate([values for _, values in parts])


def nearest(likeness: Array, count: int) -> tuple[Array, Array]:
    """(M, n) likenesses -> positions and values (M, count) of the largest, largest first; where there are fewer than
    `count`, position 0 with a likeness of -2 fills up."""
    most = min(count, likeness.shape[1])
    best = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(likeness, best, 1), 1, kind="stable"), 1)
    values = np.take_along_axis(likeness, best, 1)
    lacking = ((0, 0), (0, count - most))
    return np.pad(best, lacking), np.pad(values, lacking, constant_values=-2.0)


def unit(vectors: Array) -> Array:
    """(N, D) vectors at length 1; a zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
