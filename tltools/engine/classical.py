"""The classical control: what one does without a network, per modality, fitted on the very rows of a trial.

Texts: word and character-pair TF-IDF with logistic or ridge regression. Files: what their modality says of them in
numbers (images: colour histograms and histograms of oriented edges; sounds: statistics of the log-mel spectrogram) with
logistic or ridge regression. Tables: histogram gradient boosting, which is the one to beat there; with fewer than 40
rows, where trees have too few rows a leaf, a linear model on scaled columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tltools.engine import word_counts
from tltools.modalities import modalities
from tltools.records import Dataset
from tltools.tasks import Task

SMALL = 40  # rows below which a linear model stands in for trees


def read(modality: str, items: Any) -> Any:
    """What a control sees of each item, found once for all trials of a study: counts of words and letters, (N, D) float
    numbers of files, a table as it is."""
    if modality == "text":
        return word_counts.count([str(item) for item in items])
    files = modalities()[modality].files
    return files.describe(items) if files else items


def pick(items: Any, rows: np.ndarray) -> Any:
    """Some of the items, or of what `read` says of them."""
    if isinstance(items, pd.DataFrame):
        return items.iloc[rows]
    if isinstance(items, word_counts.Counts):
        return items.pick(rows)
    return items[rows] if isinstance(items, np.ndarray) else [items[i] for i in rows]


class Control:
    """A fitted control. `model` is a scikit-learn pipeline; None where all training rows are of one class."""

    def __init__(
        self, dataset: Dataset, task: Task, train: Any, targets: np.ndarray, *, seed: int, was_read: bool = False
    ) -> None:
        """train: (n,) items; with `was_read` what `read` says of them, as then all that is to be predicted."""
        self.classes = task.closed_form == "classes"
        self.width = task.width(dataset)
        self.model: Any = None
        self.method, self.only = "the only class it saw", 0
        if self.classes and len(np.unique(targets)) < 2:
            self.only = int(targets[0])
            return
        self.model, self.method = _pipeline(dataset.modality, len(targets), self.classes, seed, was_read)
        self.model.fit(train, targets)

    def outputs(self, wanted: Any) -> np.ndarray:
        """Outputs (len(wanted), K) float32, as the task stores them."""
        if self.model is not None and not self.classes:
            return np.asarray(self.model.predict(wanted), np.float32).reshape(-1, 1)
        outputs = np.zeros((len(wanted), self.width), np.float32)
        if self.model is None:
            outputs[:, self.only] = 1.0
        else:
            outputs[:, self.model.classes_] = self.model.predict_proba(wanted)
        return outputs


def _pipeline(modality: str, rows: int, classes: bool, seed: int, was_read: bool) -> tuple[Any, str]:
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    linear = (
        LogisticRegression(C=10.0 if modality == "text" else 0.1, max_iter=2000, class_weight="balanced")
        if classes
        else RidgeCV(np.logspace(-3, 3, 13))
    )
    name = "logistic regression" if classes else "ridge regression"
    if modality == "text":
        from sklearn.feature_extraction.text import TfidfVectorizer

        kinds = (word_counts.WORDS, word_counts.LETTERS)
        each = [TfidfVectorizer(**kind, sublinear_tf=True, max_features=word_counts.MOST) for kind in kinds]
        return make_pipeline(word_counts.TfIdf() if was_read else make_union(*each), linear), f"TF-IDF + {name}"
    if files := modalities()[modality].files:
        seen = () if was_read else (FunctionTransformer(files.describe, validate=False),)
        return make_pipeline(*seen, StandardScaler(), linear), f"{files.described} + {name}"
    if rows < SMALL:
        return _small_table(linear), f"scaled columns + {name}"
    return _boosting(classes, rows, seed), "gradient boosting"


def _boosting(classes: bool, rows: int, seed: int) -> Any:
    """Boosting that is hard to beat: small steps of shallow trees on half of the columns, so that few rows are not
    learned by heart."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    balance = {"class_weight": "balanced"} if classes else {}
    boosted = kind(
        max_iter=120, learning_rate=0.05, max_depth=3 if rows < 1000 else 4, min_samples_leaf=min(10, rows // 10),
        l2_regularization=1.0, max_features=0.5, categorical_features="from_dtype", random_state=seed, **balance,
    )  # fmt: skip
    return make_pipeline(Categories(), boosted)


class Categories:
    """Text columns as pandas categories with the levels of the fitted rows; the rarest of more than 200 are joined."""

    def fit(self, table: pd.DataFrame, targets: Any = None) -> Categories:
        text = [c for c in table.columns if not pd.api.types.is_numeric_dtype(table[c])]
        self.levels_ = {c: list(table[c].dropna().astype(str).value_counts().index[:200]) for c in text}
        return self

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        made = {
            c: pd.Categorical(table[c].astype(str).where(table[c].isin(self.levels_[c])), categories=self.levels_[c])
            if c in self.levels_
            else pd.to_numeric(table[c], errors="coerce").astype(float)
            for c in table.columns
        }
        return pd.DataFrame(made, index=table.index)

    def fit_transform(self, table: pd.DataFrame, targets: Any = None) -> pd.DataFrame:
        return self.fit(table).transform(table)


def _small_table(linear: Any) -> Any:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    names = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", max_categories=50),
    )
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")), (names, make_column_selector(dtype_exclude="number"))
    )
    return make_pipeline(columns, linear)
