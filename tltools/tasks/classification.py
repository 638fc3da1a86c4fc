"""Classification: one of several classes per row; outputs are class probabilities (M, C)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.records import Column, Dataset, Problem, refuse
from tltools.tasks import Metric, Task
from tltools.tasks import _class_scores as scores

Array = NDArray[Any]

MANY_CLASSES = 1000
RARE = 10  # rows of a class below which a judgement on it is mostly luck
SKEWED = 10.0  # largest class over smallest, from which accuracy misleads


def recognise(column: Column) -> float:
    """How sure the target column holds classes, 0..1."""
    if column.distinct < 2 or column.kind in {"id", "constant", "date"}:
        return 0.0
    if column.kind == "category":
        return 0.95
    if column.kind == "number":
        return 0.8 if column.distinct <= 10 else 0.4 if column.distinct <= 20 else 0.05
    return 0.5 if column.kind == "text" and column.distinct <= MANY_CLASSES else 0.1


def classes(target: pd.Series) -> tuple[str, ...]:
    """Class names in code order: sorted as numbers where all are numbers, else as text; missing values are no class."""
    names = set(names_of(target.dropna()))
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) int64 codes: places in `names`.

    Raises: Refusal for a missing or unknown class; it names the first rows.
    """
    codes = pd.Index(names).get_indexer(pd.Index(names_of(target)))
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        where = ", ".join(f"row {target.index[i]} ({target.iloc[i]!r})" for i in unknown[:3])
        raise refuse(
            f"target column {str(target.name)!r}",
            f"every row must have one of the classes {_listed(names)}; {len(unknown)} rows have not: {where}.",
            "Correct or remove these rows.",
        )
    return np.asarray(codes, np.int64)


def names_of(values: pd.Series) -> list[str]:
    """Values as class names: whole numbers without '.0', text without blanks around it; missing is ''."""
    if values.dtype == object:  # may hold 1 beside True, which are equal
        return ["" if pd.isna(value) else _name(value) for value in values]
    codes, found = pd.factorize(values)
    names = np.array([*(_name(value) for value in found), ""], object)  # the last: missing, code -1
    return list(names[codes])


def _name(value: Any) -> str:
    whole = isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value)
    return str(int(value)) if whole else str(value).strip()


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """What about the target makes a judgement impossible (errors) or doubtful (warnings)."""
    where, found = f"target column {str(target.name)!r}", []
    counts = pd.Series(names_of(target.dropna())).value_counts()
    if missing := int(target.isna().sum()):
        found.append(
            _warning(where, f"{missing:,} rows have no class.", "They cannot be used; fill them in or remove.")
        )
    if len(counts) < 2:
        got = "one class" if len(counts) else "no class"
        remedy = "Choose another target column, or add rows of a second class."
        return [*found, _error(where, f"needs at least two classes; got {got}.", remedy)]
    lonely = [str(name) for name in counts.index[counts < 3]]
    rare = [str(name) for name in counts.index[(counts >= 3) & (counts < RARE)]]
    if len(lonely) == len(counts):
        remedy = "Choose another target column, or group the values into classes."
        return [*found, _error(where, "every class has fewer than three rows, so no row is left to judge by.", remedy)]
    if lonely:
        what = f"{_counted(lonely)} fewer than three rows: {_listed(lonely)}."
        found.append(_warning(where, what, "Add rows, or merge or remove these classes; no score can speak of them."))
    if rare:
        what = f"{_counted(rare)} fewer than {RARE} rows: {_listed(rare)}."
        found.append(_warning(where, what, "Read scores of these classes as rough."))
    if len(counts) > MANY_CLASSES:
        what = f"{len(counts):,} classes are more than the {MANY_CLASSES:,} that have been tried."
        found.append(_warning(where, what, "Check that this column is a class and not an identifier or a text."))
    alike = counts.index.to_series().groupby(counts.index.str.casefold()).agg(sorted)
    if spelt := [f'"{one}"' for names in alike if len(names) > 1 for one in names]:
        what = f"classes differ in capitals alone: {_listed(spelt)}."
        found.append(_warning(where, what, "Write them alike if they are one class."))
    ratio = counts.iloc[0] / counts.iloc[-1]
    if ratio >= SKEWED:
        what = f"the largest class ({counts.index[0]}) has {ratio:.0f} times the rows of the smallest."
        found.append(_warning(where, what, "Judge by balanced accuracy or macro F1, not by accuracy."))
    return found


def width(dataset: Dataset) -> int:
    """One output per class."""
    return len(dataset.classes)


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Cross entropy per row: raw (B, C), target (B,) codes -> (B,)."""
    import torch

    smoothing = float(options.get("smoothing", 0.0))
    return torch.nn.functional.cross_entropy(raw, target.long(), label_smoothing=smoothing, reduction="none")


def decode(raw: Array) -> Array:
    """Raw head outputs (M, C) -> class probabilities (M, C)."""
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as class names, p_0 .. p_{C-1} float32."""
    table = {"row": np.asarray(rows, np.int64), "truth": [names[code] for code in truth]}
    table["prediction"] = [names[code] for code in outputs.argmax(1)]
    table |= {f"p_{k}": outputs[:, k].astype(np.float32) for k in range(outputs.shape[1])}
    return pd.DataFrame(table)


def _log_loss(truth: Array, outputs: Array) -> float:
    return -float(scores.log_likelihood(truth, outputs).mean())


def _accuracy(truth: Array, outputs: Array) -> float:
    return float(scores.right(truth, outputs).mean())


def _balanced(truth: Array, outputs: Array) -> float:
    return float(scores.balanced_right(truth, outputs).mean())


def _counted(names: Sequence[str]) -> str:
    return "1 class has" if len(names) == 1 else f"{len(names)} classes have"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _error(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="error", where=where, what=what, remedy=remedy)


def _warning(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="warning", where=where, what=what, remedy=remedy)


CLASSIFICATION = Task(
    key="classification",
    title="Classification",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form="classes",
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric(
            "balanced_accuracy",
            "Balanced accuracy",
            True,
            "share",
            _balanced,
            scores.balanced_right,
            scores.balanced_influence,
            chance=lambda classes: 1 / max(classes, 1),
        ),
        Metric("accuracy", "Accuracy", True, "share", _accuracy, scores.right),
        Metric("macro_f1", "Macro F1", True, "share", scores.macro_f1, influence=scores.macro_f1_influence),
        Metric(
            "auroc",
            "Area under the ROC curve",
            True,
            "share",
            scores.auroc,
            influence=scores.auroc_influence,
            lacking=scores.one_class,
            chance=lambda classes: 0.5,
        ),
        Metric("log_loss", "Log loss", False, "number", _log_loss, scores.log_likelihood),
    ),
    order=1,
)
