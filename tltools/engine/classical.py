"""The classical control: what one does without a network, per modality, fitted on the very rows of a trial.

Texts: word and character-pair TF-IDF with logistic or ridge regression; sequences: the same of their k-mers. Files:
what their modality says of them in numbers (images: colour histograms and histograms of oriented edges; sounds:
statistics of the log-mel spectrogram) with logistic or ridge regression. Tables: gradient boosting or the same
regression on scaled columns, whichever suits the rows, see `classical_tables.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tltools.engine import classical_tables, word_counts
from tltools.modalities import modalities
from tltools.records import Dataset
from tltools.tasks import Task

FOLDS = 5  # of a cross-validation
REFITTED = "not kept: refitted from its rows when needed"
ALONE = 100_000  # rows from which on several threads are worth their waiting


def read(modality: str, items: Any) -> Any:
    """What a control sees of each item, found once for all trials of a study: counts of words and letters, (N, D) float
    numbers of files, a table as it is."""
    if strings := modalities()[modality].strings:
        return word_counts.count([str(item) for item in items], strings.terms)
    files = modalities()[modality].files
    return files.describe(items) if files else items


def pick(items: Any, rows: np.ndarray) -> Any:
    """Some of the items, or of what `read` says of them."""
    if isinstance(items, pd.DataFrame):
        return items.iloc[rows]
    if isinstance(items, word_counts.Counts):
        return items.pick(rows)
    return items[rows] if isinstance(items, np.ndarray) else [items[i] for i in rows]


class Fitted:
    """What a trial without a network came to. `model` is scikit-learn's; None where all training rows are of the class
    with the code `only`."""

    def __init__(self, dataset: Dataset, task: Task) -> None:
        self.kind, self.width = task.closed_form, task.width(dataset)
        self.model: Any = None
        self.method, self.only = "the only class it saw", 0

    def one_class(self, targets: np.ndarray) -> bool:
        """Whether there is nothing to fit, because all (n,) targets are of one class; it is remembered."""
        alone = self.kind == "classes" and len(np.unique(targets)) < 2
        self.only = int(targets[0]) if alone else 0
        return alone

    def outputs(self, wanted: Any) -> np.ndarray:
        """Outputs (len(wanted), K) float32, as the task stores them."""
        if self.model is not None and self.kind == "number":
            return np.asarray(self.model.predict(wanted), np.float32).reshape(-1, 1)
        outputs = np.zeros((len(wanted), self.width), np.float32)
        if self.model is None:
            outputs[:, self.only] = 1.0
        else:
            outputs[:, self.model.classes_] = self.model.predict_proba(wanted)
        return outputs


class Control(Fitted):
    """A fitted control; its model is a pipeline."""

    def __init__(
        self, dataset: Dataset, task: Task, train: Any, targets: np.ndarray, *, seed: int, was_read: bool = False
    ) -> None:
        """train: (n,) items; with `was_read` what `read` says of them, as then all that is to be predicted."""
        super().__init__(dataset, task)
        if not self.one_class(targets):
            with few_threads(len(targets), api=None if modalities()[dataset.modality].strings else "openmp"):
                self.model, self.method = _pipeline(dataset.modality, train, targets, self.kind, seed, was_read)
                self.model.fit(train, targets)


def _pipeline(
    modality: str, train: Any, targets: np.ndarray, kind: str | None, seed: int, was_read: bool
) -> tuple[Any, str]:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    strings = modalities()[modality].strings
    linear: Any = RidgeCV(np.logspace(-3, 3, 13))
    if kind != "number":
        linear = _logistic(strings.strengths if strings else (0.1,), targets, kind)
    linear = classical_tables.each_label(linear, kind)
    name = "ridge regression" if kind == "number" else "logistic regression"
    if strings:
        from sklearn.feature_extraction.text import TfidfVectorizer

        each = [TfidfVectorizer(**kind, sublinear_tf=True, max_features=word_counts.MOST) for kind in strings.terms]
        return make_pipeline(
            word_counts.TfIdf() if was_read else make_union(*each), linear
        ), f"{strings.described} + {name}"
    if files := modalities()[modality].files:
        seen = () if was_read else (FunctionTransformer(files.describe, validate=False),)
        return make_pipeline(*seen, StandardScaler(), linear), f"{files.described} + {name}"
    candidates = {name: classical_tables.linear(linear)}
    if len(targets) >= classical_tables.FEW:
        candidates = {"gradient boosting": classical_tables.boosting(kind, len(targets), seed), **candidates}
    return classical_tables.better(candidates, train, targets, kind, seed)


def _logistic(strengths: Sequence[float], targets: np.ndarray, kind: str | None) -> Any:
    """Logistic regression of the strength with the least cross-validated loss; the middle one where that is not to be
    found: for several labels, and where a class has one row only."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    weights = "balanced" if kind == "classes" else None
    folds = min(FOLDS, int(np.unique(targets, return_counts=True)[1].min())) if kind == "classes" else 1
    if len(strengths) == 1 or folds == 1:
        middle = strengths[len(strengths) // 2]
        return LogisticRegression(C=middle, max_iter=2000, class_weight=weights)
    return LogisticRegressionCV(
        Cs=strengths,
        cv=folds,
        scoring="neg_log_loss",
        l1_ratios=(0.0,),
        max_iter=2000,
        class_weight=weights,
        use_legacy_attributes=False,
    )


def seeded(modality: str, rows: int) -> bool:
    """Whether the control of so many rows hangs on its seed: trees see half of the columns, drawn by lot."""
    known = modalities()[modality]
    return not (known.strings or known.files or rows < classical_tables.FEW)


def few_threads(rows: int, api: str | None = "openmp") -> Any:
    """A context with one thread where rows are few. Trees: two that wait for each other after every split took twice
    its time at 26,000 rows. Sparse counts (`api` None: of all libraries): two that wait after every sum of vectors took
    twice the time of one, and five times beside other programs (1,600 texts of 84,000 terms)."""
    return threadpool_limits(1 if rows < ALONE else None, user_api=api)
