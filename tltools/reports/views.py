"""What the Compare and Explain screens ask for: tables for charts, confusion, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import datasets
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.judging import calibration
from tltools.records import Dataset, Report, refuse
from tltools.reports.cards import trial_card
from tltools.reports.readings import predictions
from tltools.tasks import Several, judged_by, tasks

Array = NDArray[Any]

ALONE = (
    "Seconds a trial are those that it takes by itself: reading its rows, whoever has read them, training, and "
    "predicting the test rows."
)


def scored(home: Home, trial_id: str, part: str = "test") -> tuple[list[str], Array, Array, Array]:
    """(classes, rows (M,), truth (M,) or (M, K) of several labels, outputs (M, K)) of a sealed trial's "test" or
    "validation" rows.

    Raises:
        Refusal: the trial is not sealed.
    """
    card = trial_card(home, trial_id)
    if card is None:
        raise refuse(f"trial {trial_id[:40]!r}", "is not finished.", "Choose a finished trial.")
    classes = [str(name) for name in card["classes"]]
    path = home.trials / trial_id / ("predictions.parquet" if part == "test" else "validation.parquet")
    if not path.is_file():
        width = max(len(classes), 1)
        return classes, np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, width))
    if several := _several(home, trial_id):
        table = pd.read_parquet(path)
        return classes, table["row"].to_numpy(np.int64), *several.read_frame(table, classes)
    return classes, *predictions(path, classes)


def tested_by(home: Home, report: Report, arm: Mapping[str, Any]) -> list[list[str]]:
    """The trials of an arm of a report by whom every test row was tested once: [[that of the first draw]]; of a
    cross-validation the folds of each repeat that is whole, and where none is the first fold alone."""
    first = [[str(arm["trials"][0])]]
    if report.folds is None:
        return first
    by_repeat: dict[int, list[str]] = {}
    for trial in map(str, arm["trials"]):
        if (card := trial_card(home, trial)) is not None:
            by_repeat.setdefault(int(card["trial"]["draw"]) // report.folds.k, []).append(trial)
    return [folds for _, folds in sorted(by_repeat.items()) if len(folds) == report.folds.k] or first


def by_class(home: Home, dataset: Dataset, trials: Sequence[str]) -> pd.DataFrame:
    """How well trials find each class in their test rows; the columns are the task's, the class comes first.

    Raises:
        Refusal: a trial is not sealed, the dataset is gone, or its task has no such table.
    """
    task = tasks()[dataset.task]
    own = task.objects or task.several
    if task.by_class is None or own is None:
        raise refuse(dataset.task, "has no table by class.", "Look at its confusion matrix or its mistakes.")
    paths = [home.trials / trial / "predictions.parquet" for trial in trials]
    for trial, path in zip(trials, paths, strict=True):
        if trial_card(home, trial) is None or not path.is_file():
            raise refuse(f"trial {trial[:40]!r}", "is not finished.", "Choose a finished trial.")
    table, rows = pd.concat(map(pd.read_parquet, paths), ignore_index=True), datasets.rows(home, dataset.id)
    return task.by_class(*own.read_frame(table, dataset.classes), dataset.classes, rows.loc[table["row"]])


def per_cent(by_class: pd.DataFrame) -> pd.DataFrame:
    """A table by class for people: its shares in per cent, as scores are shown elsewhere, and named so."""
    shares = list(by_class.select_dtypes("floating"))
    shown = by_class.assign(**{name: (100 * by_class[name]).round(1) for name in shares})
    return shown.rename(columns={name: f"{name} (%)" for name in shares})


def _several(home: Home, trial_id: str) -> Several | None:
    task = tasks().get(str((trial_card(home, trial_id) or {}).get("task")))
    return task.several if task else None


def _scored_by(home: Home, trials: Sequence[str]) -> tuple[list[str], Array, Array, Array]:
    """The test rows of all these trials, as `scored` has them of one."""
    found = [scored(home, trial) for trial in trials]
    rows, truth, outputs = (np.concatenate(parts) for parts in list(zip(*found, strict=True))[1:])
    return found[0][0], rows, truth, outputs


def confusion(home: Home, trials: Sequence[str]) -> pd.DataFrame:
    """Every cell of the confusion matrix of test rows: truth, prediction, count, share of the truth's rows, rows
    (row numbers)."""
    classes, rows, truth, outputs = _scored_by(home, trials)
    said = outputs.argmax(1)
    made = []
    for t, true_name in enumerate(classes):
        for p, name in enumerate(classes):
            inside = (truth == t) & (said == p)
            share = float(inside.sum() / max((truth == t).sum(), 1))
            made.append((true_name, name, int(inside.sum()), share, rows[inside].tolist()))
    return pd.DataFrame(made, columns=["truth", "prediction", "count", "share", "rows"])


def worst_mistakes(home: Home, trials: Sequence[str], limit: int = 20) -> pd.DataFrame:
    """The test rows that trials were most wrong on, worst first.

    Classes: row, truth, prediction, confidence (of the prediction), p_truth. Numbers: row, truth, prediction, error.
    Several labels: row, truth, prediction, surprise (how far all probabilities are from the truth, mean over labels).
    """
    classes, rows, truth, outputs = _scored_by(home, trials)
    if truth.ndim > 1:
        return _worst_sets(home, trials, limit)
    if not classes:
        error = outputs[:, 0] - truth
        order = np.argsort(-np.abs(error), kind="stable")[:limit]
        values = {"row": rows, "truth": truth, "prediction": outputs[:, 0], "error": error}
        return pd.DataFrame({key: value[order] for key, value in values.items()})
    said, at = outputs.argmax(1), np.arange(len(truth))
    wrong = np.flatnonzero(said != truth)
    order = wrong[np.argsort(outputs[wrong, truth[wrong]] - outputs[wrong, said[wrong]], kind="stable")][:limit]
    names = np.array(classes, dtype=object)
    return pd.DataFrame(
        {"row": rows[order], "truth": names[truth[order]], "prediction": names[said[order]]}
        | {"confidence": outputs[at, said][order], "p_truth": outputs[at, truth][order]}
    )


def _worst_sets(home: Home, trials: Sequence[str], limit: int) -> pd.DataFrame:
    classes, rows, truth, outputs = _scored_by(home, trials)
    several = _several(home, trials[0])
    assert several is not None
    table = pd.DataFrame({"row": rows, "truth": several.cells(truth, classes)})
    table = table.assign(prediction=several.cells(outputs, classes), surprise=np.abs(truth - outputs).mean(1))
    wrong = table[table["truth"] != table["prediction"]]
    return wrong.sort_values("surprise", ascending=False, kind="stable", ignore_index=True).head(limit)


def least_probability(home: Home, trial_id: str, level: float = 0.9) -> float | None:
    """The probability from which a class is on a list that holds the true one with the promised `level` (split
    conformal, set on rows that the model did not learn from); None where these are too few, or have several labels."""
    classes, _, truth, held = scored(home, trial_id, "validation")
    if not classes or not len(held) or truth.ndim > 1:
        return None
    found = calibration.conformal(held, truth, held, truth, level)
    return found.threshold if found else None


def best_first(report: Report) -> list[dict[str, Any]]:
    """The report's arms, most labels first and of these the best score."""
    better = -1 if judged_by(report).higher_is_better else 1
    return sorted(report.arms, key=lambda row: (-row["n_train"], better * row["score"]))


def score_by_labels(report: Report) -> pd.DataFrame:
    """title, kind, source, strategy, n_train, score, low, high: the curves of score against labels."""
    keys = ["title", "kind", "source", "strategy", "n_train", "score", "low", "high", "draws"]
    table = pd.DataFrame([{key: row[key] for key in keys} for row in report.arms], columns=keys)
    return table.sort_values(["kind", "title", "n_train"], ignore_index=True)


def score_by_cost(report: Report) -> pd.DataFrame:
    """title, kind, n_train, score, seconds, trainable_parameters, peak_mb: what a point of score costs. The seconds are
    those of a trial by itself, None where they are not known."""
    keys = ["title", "kind", "source", "strategy", "n_train", "score", "seconds", "trainable_parameters", "peak_mb"]
    return pd.DataFrame([{key: row[key] for key in keys} for row in report.arms], columns=keys)


def learning_curves(report: Report) -> pd.DataFrame:
    """trial, source, strategy, fraction, per_class, epoch, train_loss, validation_loss of arms that took steps."""
    keys = ["trial", "source", "strategy", "fraction", "per_class", "epoch", "train_loss", "validation_loss"]
    return pd.DataFrame([{key: row.get(key) for key in keys} for row in report.curves], columns=keys)


def draw_zero(report: Report, source: str, strategy: str) -> str | None:
    """The trial of an arm's first draw at its most labels: the one whose weights are kept."""
    rows = [row for row in report.arms if (row["source"], row["strategy"]) == (source, strategy) and row["trials"]]
    return str(max(rows, key=lambda row: int(row["n_train"]))["trials"][0]) if rows else None


def sealed_trials(home: Home, report: Report) -> list[str]:
    """The ids of all trials in a report that are still there."""
    return [trial for row in report.arms for trial in row["trials"] if sealed(home.trials / trial)]
