"""The classical control of tables: gradient boosting or a linear model, whichever loses less on rows left out.

Neither is the one to beat everywhere: trees win on many rows and on steps and mixtures of columns, a linear model on
few rows, of a rare class above all, which trees learn by heart. A control that is not the better of both would let a
strategy look good that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

FEW = 40  # rows below which trees have too few a leaf: then the linear model alone
FOLDS = 3  # of the cross-validation that chooses; of more than
MANY = 10_000  # rows only the first is looked at
LEAST = 1e-6  # probability that counts, as in the metric


def better(
    candidates: Mapping[str, Any], table: pd.DataFrame, targets: np.ndarray, kind: str | None, seed: int
) -> tuple[Any, str]:
    """The model with the least loss on rows left out, not fitted yet, and its name; the first of equal ones.

    The loss: squared errors of numbers; of classes the log loss, each class counting the same, as it does in all arms;
    of several labels the log loss of each.
    """
    from sklearn.base import clone

    if len(candidates) > 1:
        folds = list(_folds(targets, kind, seed))
        losses = {
            name: np.mean([_loss(clone(model).fit(table.iloc[own], targets[own]), table.iloc[held], targets[held], kind)
                           for own, held in folds])
            for name, model in candidates.items()
        }  # fmt: skip
        name = min(losses, key=lambda one: losses[one])
    else:
        (name,) = candidates
    return candidates[name], name


def _folds(targets: np.ndarray, kind: str | None, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit, rows left out); each class of two rows or more is fitted, and so are the rows of smaller ones."""
    order = np.random.default_rng(seed).permutation(len(targets))
    if kind == "classes":
        order = order[np.argsort(targets[order], kind="stable")]  # class by class, dealt out in turn
    number = np.empty(len(targets), np.int64)
    number[order] = np.arange(len(targets)) % FOLDS
    if kind == "classes":
        number[np.bincount(targets)[targets] < 2] = FOLDS  # never left out
    for k in range(FOLDS if len(targets) <= MANY else 1):
        yield np.flatnonzero(number != k), np.flatnonzero(number == k)


def _loss(model: Any, table: pd.DataFrame, targets: np.ndarray, kind: str | None) -> float:
    if kind == "number":
        return float(np.square(np.asarray(model.predict(table)).ravel() - targets).mean())
    said = np.asarray(model.predict_proba(table))
    if kind == "labels":
        said = np.clip(said, LEAST, 1 - LEAST)
        return float(-np.where(targets > 0, np.log(said), np.log(1 - said)).mean())
    every = np.zeros((len(targets), 1 + max(targets.max(), model.classes_.max())))
    every[:, model.classes_] = said
    lost = -np.log(np.clip(every[np.arange(len(targets)), targets], LEAST, 1.0))
    return float(np.mean([lost[targets == code].mean() for code in np.unique(targets)]))


def each_label(model: Any, kind: str | None) -> Any:
    """The model, or one of it for each of several labels; a label that all training rows have, or none, is constant."""
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(model) if kind == "labels" else model


def boosting(kind: str | None, rows: int, seed: int) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(Categories(), each_label(trees(kind, rows, seed), kind))


def trees(kind: str | None, rows: int, seed: int) -> Any:
    """Boosting that is hard to beat: small steps of shallow trees on half of the columns, so that few rows are not
    learned by heart."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    chosen = HistGradientBoostingRegressor if kind == "number" else HistGradientBoostingClassifier
    balance = {"class_weight": "balanced"} if kind == "classes" else {}
    leaf, few = max(1, min(10, rows // 10)), rows < 1000
    return chosen(
        max_iter=120, learning_rate=0.05, max_depth=3 if few else 4, min_samples_leaf=leaf,
        max_bins=64 if few else 255,  # with weights each bin of each column costs 0.1 ms: most of the time of few rows
        l2_regularization=1.0, max_features=0.5, categorical_features="from_dtype", random_state=seed, **balance,
    )  # fmt: skip


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


def linear(model: Any) -> Any:
    """A linear model on columns of one scale: medians for missing numbers, a column for each of the 50 commonest
    categories."""
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
    return make_pipeline(columns, model)
