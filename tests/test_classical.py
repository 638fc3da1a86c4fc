"""The classical control: hard to beat, and the same whether a trial is alone or shares what was read once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import balanced_accuracy_score, r2_score

from tltools import datasets, samples
from tltools.engine import classical, classical_tables, word_counts
from tltools.home import Home
from tltools.modalities.text import LETTERS, WORDS
from tltools.records import Dataset
from tltools.tasks import tasks


def table(home: Home, folder: Path, frame: pd.DataFrame, task: str) -> tuple[Dataset, pd.DataFrame, np.ndarray]:
    frame.to_csv(folder / "table.csv", index=False)
    made = datasets.add(home, folder / "table.csv", target="target", task=task)
    return made, datasets.items(home, made, made.modality), datasets.target(home, made)


def fitted(
    dataset: Dataset, task: str, items: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, str]:
    """(outputs of the test rows, method) of a control fitted on the training rows."""
    control = classical.Control(dataset, tasks()[task], classical.pick(items, train), y[train], seed=0)
    return control.outputs(classical.pick(items, test)), control.method


def halves(rows: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def test_a_table_of_classes_is_no_worse_than_by_the_librarys_boosting(home: Home, tmp_path: Path) -> None:
    given = load_breast_cancer(as_frame=True).frame
    made, items, y = table(home, tmp_path, given, "classification")
    train, test = halves(len(given))
    outputs, method = fitted(made, "classification", items, y, train, test)
    x = given.drop(columns="target").to_numpy()
    plain = HistGradientBoostingClassifier(random_state=0).fit(x[train], y[train]).predict(x[test])
    assert method == "logistic regression" and np.allclose(outputs.sum(1), 1, atol=1e-5)
    assert balanced_accuracy_score(y[test], outputs.argmax(1)) >= balanced_accuracy_score(y[test], plain) - 0.01


def test_a_table_of_numbers_is_no_worse_than_by_the_librarys_boosting(home: Home, tmp_path: Path) -> None:
    given = load_diabetes(as_frame=True).frame
    made, items, y = table(home, tmp_path, given, "regression")
    train, test = halves(len(given))
    outputs, method = fitted(made, "regression", items, y, train, test)
    x = given.drop(columns="target").to_numpy()
    plain = HistGradientBoostingRegressor(random_state=0).fit(x[train], y[train]).predict(x[test])
    assert method == "ridge regression" and outputs.shape == (len(test), 1)
    assert r2_score(y[test], outputs[:, 0]) >= r2_score(y[test], plain)


def corners(rows: int) -> pd.DataFrame:
    """What trees see at once and no line does: which two of four corners a row lies in."""
    table = pd.DataFrame(np.random.default_rng(2).normal(size=(rows, 4)), columns=list("abcd"))
    return table.assign(target=np.where((table["a"] > 0) == (table["b"] > 0), "same", "other"))


def rare(rows: int, share: float) -> pd.DataFrame:
    """A class that few rows are of, shifted in each of six columns; its balanced accuracy can be 0.93 at most."""
    rng = np.random.default_rng(3)
    fraud = rng.random(rows) < share
    table = pd.DataFrame(rng.normal(size=(rows, 6)) + 1.22 * fraud[:, None], columns=list("abcdef"))
    return table.assign(target=np.where(fraud, "fraud", "fine"))


@pytest.mark.parametrize(("given", "method", "least"), [
    (corners(600), "gradient boosting", 0.9), (rare(6000, 0.01), "logistic regression", 0.8)
])  # fmt: skip
def test_a_table_gets_the_better_of_trees_and_a_linear_model(
    home: Home, tmp_path: Path, given: pd.DataFrame, method: str, least: float
) -> None:
    made, items, y = table(home, tmp_path, given, "classification")
    train, test = halves(len(given))
    outputs, said = fitted(made, "classification", items, y, train, test)
    assert said == method and balanced_accuracy_score(y[test], outputs.argmax(1)) > least


def test_the_choice_of_a_control_never_leaves_out_the_only_row_of_a_class() -> None:
    targets = np.array([0] * 30 + [1] * 2 + [2])
    folds = list(classical_tables._folds(targets, "classes", 0))
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(32))
    assert all(set(targets[own]) == {0, 1, 2} and not set(own) & set(held) for own, held in folds)


def test_a_category_and_a_missing_cell_are_used_and_a_new_category_does_no_harm(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colour = rng.choice(["red", "blue", "green"], 200)
    size = np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200))
    given = pd.DataFrame({"colour": colour, "size": size, "target": np.where(colour == "red", "yes", "no")})
    given.loc[199, "colour"] = "violet"
    made, items, y = table(home, tmp_path, given, "classification")
    outputs, _ = fitted(made, "classification", items, y, np.arange(150), np.arange(150, 200))
    assert (outputs.argmax(1) == y[150:])[:-1].all() and np.isfinite(outputs).all()


def test_few_rows_get_a_linear_model_and_one_class_alone_is_said(home: Home, tmp_path: Path) -> None:
    given = load_breast_cancer(as_frame=True).frame.iloc[:120]
    made, items, y = table(home, tmp_path, given, "classification")
    few = np.concatenate([np.flatnonzero(y == k)[:10] for k in (0, 1)])
    outputs, method = fitted(made, "classification", items, y, few, np.arange(120))
    assert method == "logistic regression"
    assert balanced_accuracy_score(y, outputs.argmax(1)) > 0.8
    outputs, method = fitted(made, "classification", items, y, np.flatnonzero(y == 1)[:9], np.arange(4))
    assert method == "the only class it saw" and (outputs == [[0, 1]] * 4).all()


@pytest.mark.parametrize(("sample", "method", "least"), [
    ("city-desk", "TF-IDF + logistic regression", 0.3), ("digits", "colours and edges + logistic regression", 0.9)
])  # fmt: skip
def test_texts_and_images_are_learned_far_above_chance(home: Home, sample: str, method: str, least: float) -> None:
    made = samples.add(home, sample)
    items, y = datasets.items(home, made, made.modality), datasets.target(home, made)
    rows = np.arange(min(len(y), 800))
    train, test = rows[::2], rows[1::2]
    outputs, said = fitted(made, "classification", items, y, train, test)
    assert said == method and balanced_accuracy_score(y[test], outputs.argmax(1)) > least


@pytest.mark.parametrize("sample", ["film-notes", "digits-low", "wine"])
def test_a_control_on_what_was_read_once_says_what_one_on_the_items_says(home: Home, sample: str) -> None:
    dataset = samples.add(home, sample)
    items = datasets.items(home, dataset, dataset.modality)
    targets, task = datasets.target(home, dataset), tasks()[dataset.task]
    seen = classical.read(dataset.modality, items)
    random = np.random.default_rng(0)
    for count in (24, 80):
        order = random.permutation(dataset.rows)
        rows, wanted = np.sort(order[:count]), order[count : count + 40]
        alone = classical.Control(dataset, task, classical.pick(items, rows), targets[rows], seed=1)
        shared = classical.Control(dataset, task, classical.pick(seen, rows), targets[rows], seed=1, was_read=True)
        assert shared.method == alone.method
        said = shared.outputs(classical.pick(seen, wanted))
        np.testing.assert_allclose(said, alone.outputs(classical.pick(items, wanted)), rtol=0, atol=1e-6)


def test_of_too_many_terms_the_same_are_kept_as_by_the_vectoriser(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    monkeypatch.setattr(word_counts, "MOST", 40)
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(list("abcdefghijkl"), 9)) for _ in range(30)]
    counts = word_counts.count(texts, (WORDS, LETTERS))
    assert counts.blocks[0].shape[1] > 40
    found = word_counts.TfIdf().fit_transform(counts.pick(np.arange(20)))
    alone = [
        TfidfVectorizer(**kind, sublinear_tf=True, max_features=40).fit_transform(texts[:20]).toarray()
        for kind in (WORDS, LETTERS)
    ]
    np.testing.assert_allclose(found.toarray(), np.concatenate(alone, axis=1))


def test_files_are_described_once_for_a_whole_study(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tltools import studies
    from tltools.engine import study as engine
    from tltools.modalities import image
    from tltools.records import Study
    from tltools.tickets import QuietTicket

    asked: list[str] = []
    described = image._describe

    def noted(path: str) -> np.ndarray:
        asked.append(Path(path).name)
        return described(path)

    monkeypatch.setattr(image, "_describe", noted)
    digits = samples.add(home, "digits-low")
    study = Study(
        dataset=digits.id, sources=("bundled/tiny-resnet",), strategies=("linear_probe",), controls=("classical",),
        fractions=(0.1, 0.2), draws=2,
    )  # fmt: skip
    result = engine.run(QuietTicket(home), {"study": studies.save(home, study)})
    assert result["trials_run"] == 8 and len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize(("sample", "fits"), [("film-notes", 2 + 1), ("digits-low", 2 + 1), ("wine", 2 + 2)])
def test_draws_of_all_labels_are_fitted_once_where_the_seed_says_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, sample: str, fits: int
) -> None:
    from tltools import studies
    from tltools.engine import study as engine
    from tltools.records import Study
    from tltools.tickets import QuietTicket

    fitted: list[int] = []
    one_class = classical.Control.one_class

    def noted(self: classical.Control, targets: np.ndarray) -> bool:
        fitted.append(len(targets))
        return one_class(self, targets)

    monkeypatch.setattr(classical.Control, "one_class", noted)
    dataset = samples.add(home, sample)
    study = Study(dataset=dataset.id, sources=(), strategies=(), controls=("classical",), fractions=(0.5, 1.0), draws=2)
    engine.run(QuietTicket(home), {"study": studies.save(home, study)})
    assert len(fitted) == fits
    cards = [json.loads((home.trials / trial.id / "card.json").read_text()) for trial in studies.expand(home, study)]
    assert len(cards) == 4 and all(card["seconds"] > 0 for card in cards), "each costs what it would alone"
