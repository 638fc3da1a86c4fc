"""The room of tasks: what is predicted, how a head is trained on it, and how a prediction is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tltools import registry
from tltools.records import Column, Dataset, Problem, Report

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
    lacking: Callable[[np.ndarray], str] | None = None
    # truth -> why rows with it have no such score ("has no true box."), "" where they have; `score` is nan then
    chance: Callable[[int], float] | None = None  # number of classes -> what a guess scores that reads no row
    judges: bool = True  # False: describes outputs, and says little of how good they are by itself

    @property
    def per_cent(self) -> bool:
        """Whether a score is shown x 100, as per cent; R2, which may be below 0, is shown as it is."""
        return self.unit == "share" and self.key != "r2"


@dataclass(frozen=True)
class Dense:
    """What a task adds whose rows have more than one code or number: places of a picture, words of a text are judged.

    Truth and outputs are object arrays (M,), one element a row, whose content only the task's own file reads.
    """

    head: str  # class in `tltools.engine.heads_dense`
    tensors: Callable[
        [np.ndarray, tuple[int, ...]], np.ndarray
    ]  # (truth, (h, w) of the head's maps) -> what loss reads
    read_frame: Callable[[pd.DataFrame, Sequence[str]], tuple[np.ndarray, np.ndarray]]  # the inverse of `Task.frame`
    classical: str  # function in `tltools.engine.classical_dense`
    draws: Literal["mask", "boxes", "words", "answer"]  # how a prediction is drawn over its row
    cell: Callable[[Any, Sequence[str]], str]  # one output as text
    side: int = 0  # pixels to which a picture is squeezed, where the source can read that size
    levels: int = 2  # maps that the head needs at least
    batch: int = 8  # rows of a step at most: a picture has thousands of places to learn from
    tokens: int = 0  # of a text that are read, where the source can; 0: as many as for other tasks
    asked: bool = False  # True: texts are questions and contexts; no word but of the context, or the first, is said
    told: Callable[[str, Any], str] | None = None  # (text of a row, output) -> the words that the output says of it
    counted: Callable[[np.ndarray, int], np.ndarray] | None = None  # (truth (N,), classes C) -> (C,) what there is of
    # each class: boxes, entities, or the pictures whose masks show it; None: nothing has a class
    moved: Callable[[Any, Any], Any] | None = None  # torch: such targets for pictures that are changed in training,
    # (targets (B, ..), (B, 2, 3) matrices as `tltools.augmentation.Changes` has them, without turns) -> targets

    @property
    def texts(self) -> bool:
        """Whether what is judged are words of texts; otherwise it is places of pictures."""
        return self.draws in ("words", "answer")


@dataclass(frozen=True)
class Written:
    """What a task adds whose rows are answered by a new text: truth and outputs are object arrays (M,) of texts."""

    read_frame: Callable[[pd.DataFrame, Sequence[str]], tuple[np.ndarray, np.ndarray]]  # the inverse of `Task.frame`
    cell: Callable[[Any, Sequence[str]], str]  # one output as text
    numbers: Callable[[np.ndarray], Mapping[str, float]]  # truth (N,) -> facts of the references for the profile
    classical: str  # function in `tltools.engine.classical_written`: (items, truth) -> a rule
    tokens: int = 0  # of a text that are read, where the source can; 0: as many as for other tasks
    batch: int = 32  # rows of a step at most
    once: int = 0  # a run of that many pieces is never written twice; 0: it may be
    prompt: str = "{}"  # how a text is put to a language model, which goes on from there
    known_as: str = ""  # the task's name in configurations that hold prefixes; "{}" where it names languages


@dataclass(frozen=True)
class Several:
    """What a task adds whose rows have any number of classes: truth (M, C) of 0 and 1, outputs a probability each."""

    stored: Callable[[pd.Series], pd.Series]  # target column as read -> as stored; missing stays missing
    read_frame: Callable[[pd.DataFrame, Sequence[str]], tuple[np.ndarray, np.ndarray]]  # the inverse of `Task.frame`
    cells: Callable[[np.ndarray, Sequence[str]], list[str]]  # truth or outputs (M, C) as texts


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
    closed_form: Literal["classes", "number", "labels"] | None  # which closed-form head applies; None: none
    loss: Callable[[Any, Any, Mapping[str, float]], Any]  # torch: (raw (B, ..), target (B, ..), {"smoothing"}) -> (B,)
    decode: Callable[[np.ndarray], np.ndarray]  # raw head outputs (M, K) -> outputs (M, K)
    frame: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str]], pd.DataFrame]
    # (rows, truth, outputs, classes) -> the table of predictions.parquet: row, truth, prediction, p_0 ...
    metrics: tuple[Metric, ...]  # the first is the default
    order: int = 0
    by_class: Callable[[np.ndarray, np.ndarray, Sequence[str], pd.DataFrame], pd.DataFrame] | None = None
    # (truth, outputs, classes, the dataset's rows that they are of) -> how well each class is found, the class first
    dense: Dense | None = None
    several: Several | None = None
    written: Written | None = None

    @property
    def objects(self) -> Dense | Written | None:
        """The card of a task whose truth and outputs are object arrays, one element a row, that its own file reads."""
        return self.dense or self.written


def row_classes(dataset: Dataset) -> tuple[str, ...]:
    """Class names where every row has one class; () for numbers, for several labels, and for places of a row."""
    return dataset.classes if tasks()[dataset.task].closed_form == "classes" else ()


def judged_by(report: Report) -> Metric:
    """The metric that a report is about."""
    return next(metric for metric in tasks()[report.task].metrics if metric.key == report.metric)


def tasks() -> dict[str, Task]:
    """Returns every task of the room by key."""
    return registry.members(__name__, Task)
