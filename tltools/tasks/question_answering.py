"""Question answering: the words of a context that answer a question, or that none do; see `tltools.answers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import answers, places
from tltools.answers import Said, Truth
from tltools.records import Column, Dataset, Problem
from tltools.tasks import Dense, Metric, Task
from tltools.tasks import _answer_scores as scores

Array = NDArray[Any]

LONGEST = 30  # words of an answer that is said
NONE = 0  # the word that stands for no answer: the first of the question
UNREAD = -500.0  # scores below it are of words that were not read, or of no context


def recognise(column: Column) -> float:
    """1 where the target column holds answers as the formats write them."""
    return float(bool(column.examples) and column.examples[0].startswith(answers.ANSWER))


def classes(target: pd.Series) -> tuple[str, ...]:
    """None: any words may answer."""
    return ()


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) object array of `Truth`."""
    return places.as_rows([answers.truth_of(cell) for cell in target])


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Answers that are longer than what can be said."""
    truth = encode(target, ())
    long = [row for row, one in enumerate(truth) if one.spans and _words(one) > LONGEST]
    if not long:
        return []
    what = f"{len(long)} row(s) have no accepted answer of {LONGEST} words or fewer, which is the most that is said."
    where = f"target column {str(target.name)!r}"
    return [Problem(severity="warning", where=where, what=what, remedy="Shorten them, or take their score as it is.")]


def width(dataset: Dataset) -> int:
    """Two scores a word: that an answer begins there, that it ends there."""
    return 2


def tensors(truth: Array, shape: tuple[int, ...]) -> Array:
    """(N, 2) int64: first and last word of the first accepted answer, or twice `NONE`."""
    spans = [one.spans[0] if one.spans else (NONE, NONE + 1) for one in truth]
    return np.array([(first, after - 1) for first, after in spans], np.int64).reshape(len(truth), 2)


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Cross entropy of beginning and end, their mean: raw (B, W, 2), target (B, 2) -> (B,).

    An answer that lies beyond the limit of tokens was not read: there it is right to say that there is none.
    """
    import torch

    raw = raw.transpose(1, 2)
    read = raw.gather(2, target.unsqueeze(2)).amin((1, 2)) > UNREAD
    target = torch.where(read.unsqueeze(1), target, NONE)
    logs, smoothing = raw.log_softmax(2), float(options.get("smoothing", 0.0))
    wanted = logs.gather(2, target.unsqueeze(2)).squeeze(2)
    if smoothing:
        open_to = raw > UNREAD
        wanted = (1 - smoothing) * wanted + smoothing * logs.where(open_to, 0.0).sum(2) / open_to.sum(2)
    return -wanted.mean(1)


def decode(raw: Array) -> Array:
    """Raw scores (M, W, 2) -> (M,) object array of `Said`: the best beginning and end, unless none is better."""
    raw = raw.astype(np.float64)
    rows, words = len(raw), raw.shape[1]
    best, spans = np.full(rows, -np.inf), np.zeros((rows, 2), np.int64)
    for longer in range(min(LONGEST, words - 1 - NONE)):
        both = raw[:, NONE + 1 : words - longer, 0] + raw[:, NONE + 1 + longer :, 1]
        first = both.argmax(1)
        score = both[np.arange(rows), first]
        better = score > best
        best[better] = score[better]
        spans[better] = np.column_stack([first + NONE + 1, first + NONE + 2 + longer])[better]
    none = raw[:, NONE].sum(1)
    top = raw.max(1)
    every = (top + np.log(np.exp(raw - top[:, None]).sum(1))).sum(1)
    sure = np.exp(np.maximum(best, none) - every).round(5)
    said = zip(spans.tolist(), best > none, sure.tolist(), strict=True)
    return places.as_rows([Said((span[0], span[1]) if there else None, share) for span, there, share in said])


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as cells."""
    table = {"row": np.asarray(rows, np.int64), "truth": [answers.truth_cell(one) for one in truth]}
    return pd.DataFrame(table | {"prediction": [answers.said_cell(one) for one in outputs]})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M,), outputs (M,)) of a table of predictions."""
    return encode(table["truth"], names), places.as_rows([answers.said_of(cell) for cell in table["prediction"]])


def cell(said: Said, names: Sequence[str]) -> str:
    """One output as text."""
    return answers.said_cell(said)


def f1_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) F1 of the words of an answer and of the accepted answer that is most like it."""
    return _by_row(scores.f1, truth, outputs)


def exact_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) 1 where an answer is the same as an accepted one, but for case, signs and articles."""
    return _by_row(scores.exact, truth, outputs)


def answered_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) 1 where a question is answered that has an answer, or is not where it has none."""
    said = zip(truth, outputs, strict=True)
    return np.array([float(bool(one.spans) == (told.span is not None)) for one, told in said])


def _by_row(score: Callable[[list[str], list[str]], float], truth: Array, outputs: Array) -> Array:
    return np.array([scores.best(score, one.texts, _told(one, said)) for one, said in zip(truth, outputs, strict=True)])


def _told(truth: Truth, said: Said) -> str:
    return " ".join(truth.words[slice(*said.span)]) if said.span else ""


def _words(truth: Truth) -> int:
    return min(after - first for first, after in truth.spans)


def _mean(by_row: Callable[[Array, Array], Array]) -> Callable[[Array, Array], float]:
    return lambda truth, outputs: float(by_row(truth, outputs).mean())


QUESTION_ANSWERING = Task(
    key="question_answering",
    title="Question answering",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form=None,
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric("answer_f1", "F1 of answers", True, "share", _mean(f1_by_row), f1_by_row),
        Metric("exact_match", "Exact match", True, "share", _mean(exact_by_row), exact_by_row),
        Metric("answered", "Answered or not", True, "share", _mean(answered_by_row), answered_by_row),
    ),
    dense=Dense(
        head="WordHead",
        tensors=tensors,
        read_frame=read_frame,
        classical="likest_sentence",
        draws="answer",
        cell=cell,
        levels=1,
        batch=16,
        tokens=384,
        asked=True,
        told=answers.told,
    ),
    order=6,
)
