"""A sentence per thing that tuning on pairs promises, on the tabular network: as the loop promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.test_loop import CPU, SOURCE, Stopper, Table, state
from tltools import plans
from tltools.engine import layouts, loop, training_rows
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.contrast import Contrast, in_company, named
from tltools.engine.prototypes import prototypes
from tltools.engine.tabular_backbone import TabularBackbone
from tltools.records import Trial
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks
from tltools.tickets import Cancelled, Interrupted

N, TRAIN = 120, np.arange(40)
RECIPE = Recipe(phases=(Layout((1e-2,) * 4, 0.0),), epochs=20, batch_size=8, patience=0)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(3).normal(size=(N, 4)), columns=list("abcd"))


@pytest.fixture(scope="module")
def codes(table: pd.DataFrame) -> np.ndarray:
    """A class is a sign of a product: the features of an untrained network do not show it."""
    return ((table["b"] * table["c"]).to_numpy() > 0).astype(np.int64)


@pytest.fixture(scope="module")
def tuned(table: pd.DataFrame, codes: np.ndarray) -> Any:
    """Makes a training over pairs of the first rows."""
    torch.manual_seed(3)
    backbone = TabularBackbone(SOURCE)
    backbone.fit_items(table, np.arange(N))

    def make(folder: Path, *, ticket: Any = None, held: int = 0, every: float = 1e9, names: bool = False) -> Contrast:
        torch.manual_seed(1)
        rows = training_rows.Rows(
            TRAIN, np.arange(40, 40 + held), torch.from_numpy(codes), training_rows.balance(codes, TRAIN)
        )
        return Contrast(
            layouts.Tuned(backbone.twin(), 2), Table(backbone, table), RECIPE, rows, loop.Place(CPU),
            tasks()["classification"].loss, 1.0, 7, ticket or Stopper(), Checkpoint(folder, every),
            names=Table(backbone, table[-2:]) if names else None,
        )  # fmt: skip

    return make


def cosines(of: Contrast, codes: np.ndarray) -> tuple[float, float]:
    """Mean cosine of the features of training rows: (of one class, of two)."""
    x = of.predict(TRAIN, pooled=True).numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    same = codes[TRAIN][:, None] == codes[TRAIN]
    return float((x @ x.T)[same].mean()), float((x @ x.T)[~same].mean())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_an_epoch_reads_each_row_once_and_no_row_is_alone_of_its_class() -> None:
    codes = np.array([0] * 21 + [1] * 4 + [2] * 6 + [3])
    rows = np.arange(100, 132)
    batches = in_company(rows, codes, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(batches)) == rows.tolist()
    for batch in batches:
        classes, count = np.unique(codes[batch - 100], return_counts=True)
        assert set(classes[count == 1]) <= {3} and 2 <= len(batch) <= 12


def test_batches_hang_on_seed_and_epoch_alone() -> None:
    codes = np.arange(24) % 3

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(in_company(np.arange(24), codes, 8, seed, epoch)).tolist()

    assert order(5, 0) == order(5, 0) and order(5, 0) != order(6, 0) and order(5, 0) != order(5, 1)


def test_a_row_of_each_class_still_makes_batches() -> None:
    assert [len(batch) for batch in in_company(np.arange(5), np.arange(5), 4, 0, 0)] == [2, 2, 1]


# --- training ---------------------------------------------------------------------------------------------------------


def test_classes_part_and_the_solved_head_tells_them(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path)
    before = cosines(training, codes)
    fitted = training.run()
    after = cosines(training, codes)
    assert after[0] - after[1] > 0.3 + before[0] - before[1], (before, after)
    assert fitted.steps == 100 and len(fitted.curve) == 5 and fitted.curve[0]["train_loss"] > 0
    head = training.solve_head(2)
    x = training.predict(TRAIN, pooled=True).numpy()
    raw = training.predict(TRAIN).numpy()
    assert np.allclose(raw, head.raw(x) / head.temperature, atol=1e-4), "the model answers as the head does"
    assert (raw.argmax(1) == codes[TRAIN]).mean() > 0.9


def test_the_loss_is_the_squared_error_of_the_cosines_of_all_pairs(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training, rows = tuned(tmp_path), np.arange(16)
    training.model.eval()
    x = training.predict(rows, pooled=True).numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wanted = []
    for row in rows:
        errors = [((x[row] @ x[other] - (codes[row] == codes[other])) ** 2, other) for other in rows if other != row]
        near = [error for error, other in errors if codes[row] == codes[other]]
        far = [error for error, other in errors if codes[row] != codes[other]]
        wanted.append((np.mean(near) + np.mean(far)) / 2 * float(training.rows.weights[row]))
    assert np.allclose(sorted(training.losses(rows).tolist()), sorted(wanted), atol=1e-5)


def test_the_name_of_a_class_is_one_more_row_to_compare_with(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training, rows = tuned(tmp_path, names=True), TRAIN[codes[TRAIN] == 1][:6]
    training.model.eval()
    x = training.predict(np.append(rows, N - 1), pooled=True).numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    wanted = [
        np.mean([(x[row] @ x[other] - 1) ** 2 for other in range(7) if other != row]) / 2 for row in range(len(rows))
    ]
    found = training.losses(rows) / training.rows.weights[rows]
    assert np.allclose(sorted(found.tolist()), sorted(wanted), atol=1e-5)
    assert [seen.tolist() for seen in training.names.seen] == [[1]], "a class that the batch does not show is not named"


def test_names_without_a_word_are_not_read() -> None:
    assert named(["Sci/Tech", "World"]) == ["This text is about Sci/Tech.", "This text is about World."]
    assert named(["0", "1"]) == named(["A", "B"]) == named(["good", "2_3"]) == []


def test_the_head_counts_a_name_as_a_row_of_its_class(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path, names=True)
    training.run()
    x = training.predict(np.append(TRAIN, [N - 2, N - 1]), pooled=True).numpy()
    wanted, found = prototypes(x, np.append(codes[TRAIN], [0, 1]), 2), training.solve_head(2)
    assert np.allclose(found.raw(x), wanted.raw(x), atol=1e-5)


def test_a_rare_class_weighs_as_much_as_a_common_one(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    weights = tuned(tmp_path).rows.weights[TRAIN].numpy()
    assert np.isclose(weights[codes[TRAIN] == 0].sum(), weights[codes[TRAIN] == 1].sum())


def test_the_same_seed_gives_the_same_bits(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = tuned(tmp_path / "1"), tuned(tmp_path / "2")
    one.run(), two.run()
    assert same(state(one), state(two))


@pytest.mark.parametrize("stop", [0, 1, 37, 99])
def test_an_interrupted_run_ends_in_the_same_bits(tuned, tmp_path, stop) -> None:  # type: ignore[no-untyped-def]
    whole = tuned(tmp_path / "whole")
    whole.run()
    with pytest.raises(Interrupted):
        tuned(tmp_path / "cut", ticket=Stopper(stop)).run()
    rest = tuned(tmp_path / "cut")
    rest.run()
    assert same(state(whole), state(rest)) and rest.at.steps == 100


def test_a_cancelled_run_stops_within_a_batch(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path, ticket=Stopper(5, Cancelled))
    with pytest.raises(Cancelled):
        training.run()
    assert training.at.steps == 5


def test_progress_names_the_model_and_the_epoch(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Listening(Stopper):
        said: list[str] = []

        def working_on(self, note: str, stage: str = "") -> None:
            self.said.append(note)

    tuned(tmp_path, ticket=Listening()).run()
    assert len(Listening.said) == 100 and set(Listening.said) == {f"t, epoch {k} of at most 20" for k in range(1, 21)}


def test_no_row_beyond_the_training_rows_is_read(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path, held=20)
    training.run()
    training.solve_head(2)
    assert set(np.concatenate(training.feed.seen)) <= set(TRAIN)


def test_rows_of_one_class_leave_the_model_as_it_is(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path)
    training.rows = replace(training.rows, train=TRAIN[codes[TRAIN] == 1])
    before = state(training)
    training.run()
    assert same(before, state(training)) and training.at.steps == 0


def test_texts_are_read_until_there_were_enough_of_them_and_never_more_than_a_dozen_times() -> None:
    knobs = {"texts": 1280, "learning_rate": 1e-4, "batch_size": 32, "weight_decay": 0.01}
    trial = Trial(
        id="0" * 16, study="s", dataset="d", split="p", source="a/b", strategy="setfit", kind="transfer", knobs=knobs,
        fraction=None, per_class=8, draw=0, seed=0,
    )  # fmt: skip
    assert plans.epochs(trial, 256) == 5
    assert plans.epochs(trial, 32) == plans.PASSES
    assert plans.epochs(trial, 10_000) == 1
    assert not plans.closed_form(trial, 8)
