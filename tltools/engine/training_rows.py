"""The rows that a training learns from: their targets, how much and how often each counts, and an epoch's batches."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """What is trained on: `targets` and `weights` (N,) cover the whole dataset, the row numbers pick from it."""

    train: np.ndarray
    validation: np.ndarray  # may be empty: then training goes on to the end and the last weights are kept
    targets: Tensor
    weights: Tensor  # of the loss, 1 on average over the training rows

    @functools.cached_property
    def times(self) -> np.ndarray:
        """(N,) how often a row stands in an epoch: one that weighs k times the mean k times, for most steps would see
        none like it, and the one that does would be clipped."""
        return np.asarray(self.weights.floor().clamp(min=1).long())


def balance(codes: np.ndarray, train_rows: np.ndarray) -> Tensor:
    """(N,) float32 loss weights of the rows of a dataset with class codes: each class of the training rows weighs the
    same, their mean over the training rows is 1. A class that is not among them gets 1."""
    counts = np.bincount(codes[train_rows], minlength=int(codes.max()) + 1)
    per_class = np.where(counts > 0, len(train_rows) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)
    return torch.from_numpy(per_class[codes].astype(np.float32))


def scaled(targets: np.ndarray, train_rows: np.ndarray, numbers: bool) -> tuple[Tensor, tuple[float, float]]:
    """Targets for the loss, and by which (centre, spread): codes as they are, numbers by the training rows."""
    if not numbers:
        return torch.from_numpy(targets), (0.0, 1.0)
    centre, spread = float(targets[train_rows].mean()), float(targets[train_rows].std()) or 1.0
    return torch.from_numpy(((targets - centre) / spread).astype(np.float32)), (centre, spread)


def batches(rows: np.ndarray, lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Random batches of rows of similar length: shuffled, sorted within chunks of 16 batches, shuffled again.

    The order depends on (seed, epoch) alone, so a resumed run sees the same batches.
    """
    random = np.random.default_rng([seed, epoch])
    order = rows[random.permutation(len(rows))]
    found: list[np.ndarray] = []
    for start in range(0, len(order), 16 * size):
        chunk = order[start : start + 16 * size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        found += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    if len(found) > 1 and len(found[-1]) == 1:
        alone = found.pop()
        found[-1] = np.concatenate([found[-1], alone])  # batch statistics of one row are none
    return [found[i] for i in random.permutation(len(found))]
