"""Regression: one number per row; outputs are predicted numbers (M, 1).

The default metric is R2, because the study's margin then means the same on every dataset (0.01 = one per cent of the
target's variance); a margin in the unit of an absolute error would depend on whether a price is in euros or millions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.records import Column, Dataset, Problem, refuse
from tltools.tasks import Metric, Task

Array = NDArray[Any]

FEW = 20  # distinct numbers below which classes are as likely meant
FAR = 20.0  # interquartile ranges from the median, from which one row can rule a squared error


def recognise(column: Column) -> float:
    """How sure the target column holds numbers to predict, 0..1."""
    if column.kind != "number" or column.distinct < 2:
        return 0.0
    return 0.9 if column.distinct > FEW else 0.5 if column.distinct > 10 else 0.15


def classes(target: pd.Series) -> tuple[str, ...]:
    """Numbers have no classes."""
    return ()


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) float32 numbers.

    Raises: Refusal for a value that is missing, no number, or not finite; it names the first rows.
    """
    numbers = pd.to_numeric(target, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        where = ", ".join(f"row {target.index[i]} ({target.iloc[i]!r})" for i in bad[:3])
        raise refuse(
            f"target column {str(target.name)!r}",
            f"every row must hold a finite number; {len(bad)} rows do not: {where}.",
            "Correct or remove these rows, or choose the task classification.",
        )
    return np.asarray(values)


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """What about the target makes a judgement impossible (errors) or doubtful (warnings)."""
    where, found = f"target column {str(target.name)!r}", []
    numbers = pd.to_numeric(target, errors="coerce")
    if missing := int(target.isna().sum()):
        found.append(_problem("warning", where, f"{missing:,} rows have no number.", "Fill them in or remove them."))
    if text := int(numbers.isna().sum()) - missing:
        example = target[numbers.isna() & target.notna()].iloc[0]
        what = f"{text:,} rows hold something that is no number, such as {example!r}."
        found.append(_problem("error", where, what, "Correct these rows, or choose the task classification."))
    numbers = numbers.dropna()
    distinct = numbers.nunique()
    if distinct < 2:
        what = f"needs at least two different numbers; got {distinct}."
        return [*found, _problem("error", where, what, "Choose another target column.")]
    if distinct <= 10:
        what = f"holds only {distinct} different numbers."
        found.append(_problem("note", where, what, "If they name classes, choose the task classification."))
    low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
    spread = high - low
    far = int((np.abs(numbers - middle) > FAR * spread).sum()) if spread > 0 else 0
    if far:
        what = f"{far:,} rows lie more than {FAR:.0f} interquartile ranges from the median ({middle:.4g})."
        found.append(
            _problem("warning", where, what, "Check them; judge by mean absolute error, which they rule less.")
        )
    return found


def width(dataset: Dataset) -> int:
    """One output."""
    return 1


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Squared error per row: raw (B, 1), target (B,) -> (B,)."""
    return (raw.squeeze(1) - target) ** 2


def decode(raw: Array) -> Array:
    """Raw head outputs (M, 1) are the numbers."""
    return np.asarray(raw)


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth, prediction."""
    said = np.asarray(outputs, np.float64)[:, 0]
    return pd.DataFrame({"row": np.asarray(rows, np.int64), "truth": np.asarray(truth, np.float64), "prediction": said})


def _errors(truth: Array, outputs: Array) -> Array:
    errors: Array = np.asarray(outputs, np.float64).reshape(len(truth), -1)[:, 0] - np.asarray(truth, np.float64)
    return errors


def _absolute(truth: Array, outputs: Array) -> Array:
    """(M,) negated absolute errors."""
    lost: Array = -np.abs(_errors(truth, outputs))
    return lost


def _mae(truth: Array, outputs: Array) -> float:
    return float(np.abs(_errors(truth, outputs)).mean())


def _rmse(truth: Array, outputs: Array) -> float:
    return float(np.sqrt((_errors(truth, outputs) ** 2).mean()))


def _rmse_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the negated root mean squared error: (e^2 - mean) / (2 root) away from it."""
    squared, root = _errors(truth, outputs) ** 2, _rmse(truth, outputs)
    values: Array = -root - (squared - root**2) / (2 * max(root, 1e-300))
    return values


def _spread(truth: Array) -> float:
    """Variance of the test targets; a constant test part has no R2, and counts as 1."""
    return float(np.asarray(truth, np.float64).var()) or 1.0


def _r2(truth: Array, outputs: Array) -> float:
    return 1.0 - float((_errors(truth, outputs) ** 2).mean()) / _spread(truth)


def _r2_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of R2: a row moves the squared error and the variance it is divided by."""
    spread, errors = _spread(truth), _errors(truth, outputs) ** 2
    away = (np.asarray(truth, np.float64) - float(np.mean(truth))) ** 2
    values: Array = 1 - (errors + float(errors.mean()) * (1 - away / spread)) / spread
    return values


def _problem(severity: Any, where: str, what: str, remedy: str) -> Problem:
    return Problem(severity=severity, where=where, what=what, remedy=remedy)


REGRESSION = Task(
    key="regression",
    title="Regression",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form="number",
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric(
            "r2",
            "R2, share of the variance explained",
            True,
            "share",
            _r2,
            influence=_r2_influence,
            chance=lambda classes: 0.0,
        ),
        Metric("mae", "Mean absolute error", False, "number", _mae, _absolute),
        Metric("rmse", "Root mean squared error", False, "number", _rmse, influence=_rmse_influence),
    ),
    order=2,
)
