"""What scores owe to test rows that have a near copy among the labelled rows: the same scores without those rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools import datasets
from tltools.home import Home
from tltools.records import Dataset, Problem
from tltools.reports import words
from tltools.reports.readings import Readings, predictions
from tltools.tasks import tasks

Array = NDArray[Any]
Row = dict[str, Any]

FEWEST = 20  # test rows without a copy that say anything


def leaked(home: Home, dataset: Dataset, found: Readings) -> dict[str, Array]:
    """Split -> (K,) its test rows whose near-duplicates stand among the rows that it trains on, or stops by: of the one
    split of a locked test part, or of every fold. None where a split was made here and could keep near-duplicates
    together."""
    clusters, copies = datasets.clusters(home, dataset.id), {}
    for name in {trial.split for cell in found.cells.values() for trial in cell.trials.values()}:
        split = datasets.stored_split(home, name)
        test, labelled = np.asarray(split.test, np.int64), np.asarray([*split.train, *split.validation], np.int64)
        copies[name] = test[np.isin(clusters[test], clusters[labelled])]
    return copies


def without(home: Home, dataset: Dataset, found: Readings, arms: list[Row], copies: dict[str, Array]) -> list[Row]:
    """The arms with `score_without_copies`: the mean over draws, or folds, of the score on test rows that have no copy
    among the rows that this draw or fold trains on. It is the score itself where no row has a copy, and None where
    too few rows are left, a class of a test part has none left, or a row is no class and no number."""
    task = tasks()[dataset.task]
    if not any(map(len, copies.values())):
        return [arm | {"score_without_copies": arm["score"]} for arm in arms]
    if task.objects or task.several:
        return [arm | {"score_without_copies": None} for arm in arms]
    split_of = {trial.id: trial.split for cell in found.cells.values() for trial in cell.trials.values()}
    return [arm | {"score_without_copies": _score(home, dataset, found, arm, split_of, copies)} for arm in arms]


def _score(
    home: Home, dataset: Dataset, found: Readings, arm: Row, split_of: dict[str, str], copies: dict[str, Array]
) -> float | None:
    scores, left = [], []
    for trial in arm["trials"]:
        rows, truth, outputs = predictions(home.trials / trial / "predictions.parquet", dataset.classes)
        kept = ~np.isin(rows, copies[split_of[trial]])
        if not kept.any() or (dataset.classes and len(np.unique(truth[kept])) < len(np.unique(truth))):
            return None  # over fewer classes it would be another score
        scores.append(found.metric.score(truth[kept], outputs[kept]))
        left.append(rows[kept])
    return float(np.mean(scores)) if len(np.unique(np.concatenate(left))) >= FEWEST else None


def problems(found: Readings, arms: list[Row], copies: dict[str, Array]) -> list[Problem]:
    """How many test rows are copies, and what the arm that gains most by them scores without them."""
    if not any(map(len, copies.values())):
        return []
    many = len(np.unique(np.concatenate(list(copies.values()))))  # a row may have a copy in several repeats
    where, what = "test part", f"{many} of {len(found.rows)} test rows have a near copy among the labelled rows."
    remedy = "Take the copies out of one side, or let the split be made here, which keeps copies together."
    if found.folds:
        where, what = "folds", f"{many} of {len(found.rows)} rows have a near copy that their fold trains on."
        remedy = "Take the copies out: a column of groups parts them, or they are more than a fold can hold."
    sign = 1.0 if found.metric.higher_is_better else -1.0
    known = [arm for arm in arms if arm["score_without_copies"] is not None]
    helped = [arm for arm in known if sign * (arm["score"] - arm["score_without_copies"]) > 0]
    if helped:
        most = max(helped, key=lambda arm: sign * (arm["score"] - arm["score_without_copies"]))
        less, score = (words.score(most[key], found.metric) for key in ("score_without_copies", "score"))
        what += (
            f" They help {most['title']} with {most['n_train']:,} labels most: without them its {found.metric.title} "
            f"is {less} instead of {score}."
        )
    elif not known:
        what += " Too few are left without one to score by."
    return [Problem(severity="warning", where=where, what=what, remedy=remedy)]
