"""The room of tasks: what is predicted, how a head is trained on it, and how a prediction is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tltools import registry
from tltools.records import Column, Dataset, Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Metric:
    """A metric on (truth, outputs): truth (M,), outputs (M, K) as the task's trials store them.

    `per_row` is given when the metric is a mean over rows (weights included), higher is better, in the metric's
    unit; losses and errors are negated there. Metrics without it are judged by a joint bootstrap of `score`.
    """

    key: str
    title: str
    higher_is_better: bool
    unit: Literal["share", "number"]  # share: shown in points (x 100); number: shown as it is
    score: Callable[[np.ndarray, np.ndarray], float]
    per_row: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    influence: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    # pseudo-values (M,), higher is better: their mean is the score, their spread its sampling error; lets the judge use
    # the t form for metrics that are no mean over rows. None: `per_row` serves.


@dataclass(frozen=True)
class Task:
    """A task's card. `outputs` arrays hold class probabilities (M, C) or predicted numbers (M, 1)."""

    key: str
    title: str
    recognise: Callable[[Column], float]  # target column -> how sure, 0..1
    classes: Callable[[pd.Series], tuple[str, ...]]  # target column -> class names in code order; () for numbers
    encode: Callable[[pd.Series, Sequence[str]], np.ndarray]  # -> (N,) int64 codes or float32 numbers
    problems: Callable[[pd.Series, Dataset], Sequence[Problem]]
    width: Callable[[Dataset], int]  # K of the head
    closed_form: Literal["classes", "number"] | None  # which closed-form head applies
    loss: Callable[[Any, Any, Mapping[str, float]], Any]  # torch: (raw (B, K), target (B,), {"smoothing"}) -> (B,)
    decode: Callable[[np.ndarray], np.ndarray]  # raw head outputs (M, K) -> outputs (M, K)
    frame: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str]], pd.DataFrame]
    # (rows, truth, outputs, classes) -> the table of predictions.parquet: row, truth, prediction, p_0 ...
    metrics: tuple[Metric, ...]  # the first is the default
    order: int = 0


def tasks() -> dict[str, Task]:
    """Returns every task of the room by key."""
    return registry.members(__name__, Task)
