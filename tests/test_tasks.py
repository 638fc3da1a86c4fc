"""A sentence per thing that classification and regression promise; metrics are held against scikit-learn."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from sklearn import metrics as sk

from tltools.records import Column, Dataset, Refusal
from tltools.tasks import classification, tasks

RNG = np.random.default_rng(5)


def dataset(task: str, classes: tuple[str, ...] = ()) -> Dataset:
    return Dataset(
        id="d", fingerprint="f", name="n", modality="tabular", task=task, target="y", inputs=("a",), classes=classes,
        rows=3, created=datetime.now(UTC),
    )  # fmt: skip


def metric(task: str, key: str):
    return next(m for m in tasks()[task].metrics if m.key == key)


def probabilities(rows: int, classes: int, truth: np.ndarray, signal: float = 1.0) -> np.ndarray:
    return tasks()["classification"].decode(RNG.normal(size=(rows, classes)) + signal * np.eye(classes)[truth])


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_metrics_equal_scikit_learn(classes: int) -> None:
    truth = RNG.choice(classes, 300, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    outputs = probabilities(300, classes, truth)
    said = outputs.argmax(1)
    areas = outputs[:, 1] if classes == 2 else outputs
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "accuracy": sk.accuracy_score(truth, said),
        "macro_f1": sk.f1_score(truth, said, average="macro"),
        "auroc": sk.roc_auc_score(truth, areas, multi_class="ovr"),
        "log_loss": sk.log_loss(truth, outputs),
    }
    for key, value in expected.items():
        assert metric("classification", key).score(truth, outputs) == pytest.approx(value, abs=1e-9), key


def test_macro_f1_counts_a_class_that_is_only_predicted_as_scikit_learn_does() -> None:
    truth, outputs = np.array([0, 0, 1]), np.eye(4)[[0, 3, 1]]
    expected = sk.f1_score(truth, outputs.argmax(1), average="macro", zero_division=0)
    assert metric("classification", "macro_f1").score(truth, outputs) == pytest.approx(expected)


def test_regression_metrics_equal_scikit_learn() -> None:
    truth = RNG.normal(3, 2, 200)
    outputs = (truth + RNG.normal(size=200))[:, None]
    assert metric("regression", "r2").score(truth, outputs) == pytest.approx(sk.r2_score(truth, outputs))
    assert metric("regression", "mae").score(truth, outputs) == pytest.approx(sk.mean_absolute_error(truth, outputs))
    assert metric("regression", "rmse").score(truth, outputs) == pytest.approx(
        sk.root_mean_squared_error(truth, outputs)
    )


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_row_values_average_to_the_score_and_higher_is_better(task: str) -> None:
    truth = RNG.integers(0, 3, 150) if task == "classification" else RNG.normal(size=150)
    outputs = probabilities(150, 3, truth) if task == "classification" else (truth * 0.5)[:, None]
    for m in tasks()[task].metrics:
        sign = 1 if m.higher_is_better else -1
        assert m.per_row or m.influence
        for values in (m.per_row, m.influence):
            if values is not None:
                assert values(truth, outputs).mean() == pytest.approx(sign * m.score(truth, outputs), abs=1e-6), m.key


@pytest.mark.parametrize(("task", "key"), [("classification", k) for k in ("balanced_accuracy", "macro_f1", "auroc")]
                         + [("regression", k) for k in ("r2", "rmse")])  # fmt: skip
def test_the_spread_of_the_pseudo_values_is_the_sampling_error_of_the_score(task: str, key: str) -> None:
    rng, m, rows = np.random.default_rng(1), metric(task, key), 400
    found, said = [], []
    for _ in range(400):
        if task == "classification":
            truth = rng.permutation(np.repeat([0, 1, 2], [240, 120, 40]))
            outputs = tasks()[task].decode(rng.normal(size=(rows, 3)) + 1.5 * np.eye(3)[truth])
        else:
            truth = rng.normal(size=rows)
            outputs = (0.7 * truth + rng.normal(0, 0.5, rows))[:, None]
        found.append(m.score(truth, outputs))
        said.append(m.influence(truth, outputs).std(ddof=1) / np.sqrt(rows))
    assert np.mean(said) == pytest.approx(np.std(found), rel=0.12)


def test_class_names_are_clean_sorted_and_encoded() -> None:
    task = tasks()["classification"]
    target = pd.Series([10.0, 9.0, 2.0, 9.0, np.nan], name="y")
    assert task.classes(target) == ("2", "9", "10")
    assert task.classes(pd.Series([" b", "a", "B"])) == ("B", "a", "b")
    assert task.encode(target.iloc[:4], ("2", "9", "10")).tolist() == [2, 1, 0, 1]
    assert task.encode(pd.Series([True, False]), ("False", "True")).dtype == np.int64


def test_a_row_without_a_known_class_or_number_is_named() -> None:
    with pytest.raises(Refusal, match=r"row 7 \('c'\)"):
        tasks()["classification"].encode(pd.Series(["a", "c"], index=[6, 7], name="y"), ("a", "b"))
    with pytest.raises(Refusal, match="row 1 .*row 2"):
        tasks()["regression"].encode(pd.Series(["1.5", "dog", None], name="y"), ())
    with pytest.raises(Refusal, match="row 0"):
        tasks()["regression"].encode(pd.Series([1e300], name="y"), ())


def test_frames_hold_names_for_classes_and_numbers_for_numbers() -> None:
    table = tasks()["classification"].frame(
        np.array([3, 5]), np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), ("n", "p")
    )
    assert table.to_dict("list")["truth"] == ["n", "p"] and table["prediction"].tolist() == ["n", "n"]
    assert table["p_0"].dtype == np.float32
    table = tasks()["regression"].frame(np.array([3]), np.array([1.5]), np.array([[2.0]]), ())
    assert list(table.columns) == ["row", "truth", "prediction"] and table["truth"].dtype == np.float64


@pytest.mark.parametrize(
    ("values", "severity", "words"),
    [
        (["a"] * 5, "error", "at least two classes; got one class"),
        ([None, None], "error", "got no class"),
        (list("abcdefg"), "error", "fewer than three rows"),
        (["a"] * 300 + ["b"] * 12, "warning", "25 times the rows"),
        (["cat"] * 9 + ["Cat"] * 9 + ["dog"] * 9, "warning", 'capitals alone: "Cat", "cat".'),
        (["a"] * 30 + ["b"] * 2, "warning", "fewer than three rows: b"),
        (["a"] * 30 + ["b"] * 20 + [None], "warning", "1 rows have no class"),
    ],
)
def test_problems_of_a_class_target_are_told(values: list, severity: str, words: str) -> None:
    found = tasks()["classification"].problems(pd.Series(values, name="y", dtype=object), dataset("classification"))
    assert any(p.severity == severity and words in p.what for p in found), found


@pytest.mark.parametrize(
    ("values", "severity", "words"),
    [
        ([2.0] * 9, "error", "two different numbers; got 1"),
        (["1", "2", "dog"], "error", "no number, such as 'dog'"),
        ([*np.linspace(0, 1, 50), 1e6], "warning", "interquartile"),
        ([1, 2, 3] * 10, "note", "only 3 different"),
    ],
)
def test_problems_of_a_number_target_are_told(values: list, severity: str, words: str) -> None:
    found = tasks()["regression"].problems(pd.Series(values, name="y"), dataset("regression"))
    assert any(p.severity == severity and words in p.what for p in found), found


def test_recognition_prefers_classes_for_words_and_numbers_for_many_numbers() -> None:
    def column(kind: str, distinct: int) -> Column:
        return Column(name="y", kind=kind, missing=0, distinct=distinct)

    classify, regress = tasks()["classification"].recognise, tasks()["regression"].recognise
    assert classify(column("category", 3)) > regress(column("category", 3))
    assert regress(column("number", 200)) > classify(column("number", 200))
    assert classify(column("number", 2)) > regress(column("number", 2))


def test_losses_are_per_row() -> None:
    torch = pytest.importorskip("torch")
    raw, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = torch.nn.functional.cross_entropy(raw, target, label_smoothing=0.1)
    found = tasks()["classification"].loss(raw, target, {"smoothing": 0.1})
    assert found.shape == (4,) and torch.allclose(found.mean(), expected)
    assert tasks()["regression"].loss(torch.ones(2, 1), torch.zeros(2), {}).tolist() == [1.0, 1.0]
    assert tasks()["classification"].width(dataset("classification", ("a", "b"))) == 2


CELLS = (
    some.lists(some.one_of(some.none(), some.floats())), some.lists(some.integers(-(2**40), 2**40)),
    some.lists(some.one_of(some.none(), some.text(" a1.", max_size=3))),
    some.lists(some.one_of(some.none(), some.booleans(), some.sampled_from([0, 1, 1.0, "1", " True"]))),
)  # fmt: skip


@given(some.one_of(*CELLS), some.booleans())
@example([0.1], True)
def test_names_of_classes_are_those_of_each_value_by_itself(cells: list[object], single: bool) -> None:
    values = pd.Series(cells)
    values = values.astype("float32") if single and values.dtype == float else values
    alone = [classification.names_of(pd.Series([value], dtype=object))[0] for value in values]
    assert classification.names_of(values) == alone
