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
class Dense:
    """What a task adds whose rows have more than one code or number: places of a picture are judged.

    Truth and outputs are object arrays (M,), one element a row, whose content only the task's own file reads.
    """

    head: str  # class in `tltools.engine.heads_dense`
    side: int  # pixels to which a picture is squeezed, where the source can read that size
    tensors: Callable[
        [np.ndarray, tuple[int, int]], np.ndarray
    ]  # (truth, (h, w) of the head's maps) -> what loss reads
    mirrored: Callable[[Any], Any]  # torch: such targets for pictures turned left to right
    read_frame: Callable[[pd.DataFrame, Sequence[str]], tuple[np.ndarray, np.ndarray]]  # the inverse of `Task.frame`
    classical: str  # function in `tltools.engine.classical_dense`
    draws: Literal["mask", "boxes"]  # how a prediction is drawn over its picture
    cell: Callable[[np.ndarray, Sequence[str]], str]  # one output as text


@dataclass(frozen=True)
class Task:
    """A task's card. `outputs` arrays hold class probabilities (M, C), predicted numbers (M, 1), or see `Dense`."""

    key: str
    title: str
    recognise: Callable[[Column], float]  # target column -> how sure, 0..1
    classes: Callable[[pd.Series], tuple[str, ...]]  # target column -> class names in code order; () for numbers
    encode: Callable[[pd.Series, Sequence[str]], np.ndarray]  # -> (N,) int64 codes or float32 numbers
    problems: Callable[[pd.Series, Dataset], Sequence[Problem]]
    width: Callable[[Dataset], int]  # K of the head
    closed_form: Literal["classes", "number"] | None  # which closed-form head applies; None: none
    loss: Callable[[Any, Any, Mapping[str, float]], Any]  # torch: (raw (B, ..), target (B, ..), {"smoothing"}) -> (B,)
    decode: Callable[[np.ndarray], np.ndarray]  # raw head outputs (M, K) -> outputs (M, K)
    frame: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str]], pd.DataFrame]
    # (rows, truth, outputs, classes) -> the table of predictions.parquet: row, truth, prediction, p_0 ...
    metrics: tuple[Metric, ...]  # the first is the default
    order: int = 0
    dense: Dense | None = None


def row_classes(dataset: Dataset) -> tuple[str, ...]:
    """Class names where every row has one class; () for numbers and where places of a row are judged."""
    return dataset.classes if tasks()[dataset.task].closed_form == "classes" else ()


def tasks() -> dict[str, Task]:
    """Returns every task of the room by key."""
    return registry.members(__name__, Task)
