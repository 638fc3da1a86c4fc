"""What scores owe to test rows that have a near copy among the labelled rows: the same scores without those rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools import datasets
from tltools.home import Home
from tltools.records import Dataset, Problem, Split
from tltools.reports import words
from tltools.reports.readings import Readings, predictions
from tltools.tasks import tasks

Array = NDArray[Any]

FEWEST = 20  # test rows without a copy that say anything


def leaked(home: Home, dataset: Dataset, split: Split) -> Array:
    """(K,) test rows whose near-duplicates stand among the rows that may be trained on; none where the split was made
    here by near-duplicates."""
    clusters, test = datasets.clusters(home, dataset.id), np.asarray(split.test, np.int64)
    labelled = np.asarray([*split.train, *split.validation], np.int64)
    return test[np.isin(clusters[test], clusters[labelled])]


def without(
    home: Home, dataset: Dataset, found: Readings, arms: list[dict[str, Any]], copies: Array
) -> list[dict[str, Any]]:
    """The arms with `score_without_copies`: the mean over draws of the score on test rows that have no copy; None where
    there are no copies, too few rows are left, or a row is no class and no number."""
    kept = ~np.isin(found.rows, copies)
    task = tasks()[dataset.task]
    if not len(copies) or kept.sum() < FEWEST or task.objects or task.several:
        return [arm | {"score_without_copies": None} for arm in arms]
    made = []
    for arm in arms:
        scores = []
        for trial in arm["trials"]:
            _, truth, outputs = predictions(home.trials / trial / "predictions.parquet", dataset.classes)
            scores.append(found.metric.score(truth[kept], outputs[kept]))
        made.append(arm | {"score_without_copies": float(np.mean(scores))})
    return made


def problems(found: Readings, arms: list[dict[str, Any]], copies: Array) -> list[Problem]:
    """How many test rows are copies, and what the arm that gains most by them scores without them."""
    if not len(copies):
        return []
    what = f"{len(copies)} of {len(found.rows)} test rows have a near copy among the labelled rows."
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
    remedy = "Take the copies out of one side, or let the split be made here, which keeps copies together."
    return [Problem(severity="warning", where="test part", what=what, remedy=remedy)]
