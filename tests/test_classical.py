"""The classical control must be hard to beat: it is held against what one would write by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import balanced_accuracy_score, r2_score

from tltools import datasets, samples
from tltools.engine import classical
from tltools.home import Home
from tltools.records import Dataset
from tltools.tasks import tasks


def table(home: Home, folder: Path, frame: pd.DataFrame, task: str) -> tuple[Dataset, pd.DataFrame, np.ndarray]:
    frame.to_csv(folder / "table.csv", index=False)
    made = datasets.add(home, folder / "table.csv", target="target", task=task)
    return made, datasets.items(home, made, made.modality), datasets.target(home, made)


def halves(rows: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def test_boosting_keeps_up_with_the_librarys_defaults_on_classes(home: Home, tmp_path: Path) -> None:
    given = load_breast_cancer(as_frame=True).frame
    made, items, y = table(home, tmp_path, given, "classification")
    train, test = halves(len(given))
    outputs, method = classical.fit_predict(made, tasks()["classification"], items, y, train, test, seed=0)
    x = given.drop(columns="target").to_numpy()
    plain = HistGradientBoostingClassifier(random_state=0).fit(x[train], y[train]).predict(x[test])
    assert method == "gradient boosting" and np.allclose(outputs.sum(1), 1, atol=1e-5)
    assert balanced_accuracy_score(y[test], outputs.argmax(1)) >= balanced_accuracy_score(y[test], plain) - 0.01


def test_boosting_keeps_up_with_the_librarys_defaults_on_numbers(home: Home, tmp_path: Path) -> None:
    given = load_diabetes(as_frame=True).frame
    made, items, y = table(home, tmp_path, given, "regression")
    train, test = halves(len(given))
    outputs, method = classical.fit_predict(made, tasks()["regression"], items, y, train, test, seed=0)
    x = given.drop(columns="target").to_numpy()
    plain = HistGradientBoostingRegressor(random_state=0).fit(x[train], y[train]).predict(x[test])
    assert method == "gradient boosting" and outputs.shape == (len(test), 1)
    assert r2_score(y[test], outputs[:, 0]) >= r2_score(y[test], plain)


def test_a_category_and_a_missing_cell_are_used_and_a_new_category_does_no_harm(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colour = rng.choice(["red", "blue", "green"], 200)
    size = np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200))
    given = pd.DataFrame({"colour": colour, "size": size, "target": np.where(colour == "red", "yes", "no")})
    given.loc[199, "colour"] = "violet"
    made, items, y = table(home, tmp_path, given, "classification")
    outputs, _ = classical.fit_predict(
        made, tasks()["classification"], items, y, np.arange(150), np.arange(150, 200), seed=0
    )
    assert (outputs.argmax(1) == y[150:])[:-1].all() and np.isfinite(outputs).all()


def test_few_rows_get_a_linear_model_and_one_class_alone_is_said(home: Home, tmp_path: Path) -> None:
    given = load_breast_cancer(as_frame=True).frame.iloc[:120]
    made, items, y = table(home, tmp_path, given, "classification")
    task = tasks()["classification"]
    few = np.concatenate([np.flatnonzero(y == k)[:10] for k in (0, 1)])
    outputs, method = classical.fit_predict(made, task, items, y, few, np.arange(120), seed=0)
    assert method == "scaled columns + logistic regression"
    assert balanced_accuracy_score(y, outputs.argmax(1)) > 0.8
    outputs, method = classical.fit_predict(made, task, items, y, np.flatnonzero(y == 1)[:9], np.arange(4), seed=0)
    assert method == "the only class it saw" and (outputs == [[0, 1]] * 4).all()


@pytest.mark.parametrize(("sample", "method", "least"), [
    ("city-desk", "TF-IDF + logistic regression", 0.3), ("digits", "colours and edges + logistic regression", 0.9)
])  # fmt: skip
def test_texts_and_images_are_learned_far_above_chance(home: Home, sample: str, method: str, least: float) -> None:
    made = samples.add(home, sample)
    items, y = datasets.items(home, made, made.modality), datasets.target(home, made)
    rows = np.arange(min(len(y), 800))
    train, test = rows[::2], rows[1::2]
    outputs, said = classical.fit_predict(made, tasks()["classification"], items, y, train, test, seed=0)
    assert said == method and balanced_accuracy_score(y[test], outputs.argmax(1)) > least
