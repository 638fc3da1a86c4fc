"""A sentence per thing that tuning on pairs promises, on the tabular network: as the loop promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.test_loop import CPU, SOURCE, Stopper, Table, state
from tltools import plans
from tltools.engine import layouts, loop
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.contrast import Contrast, draw_pairs
from tltools.engine.tabular_backbone import TabularBackbone
from tltools.records import Trial
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks
from tltools.tickets import Cancelled, Interrupted

N, TRAIN = 120, np.arange(40)
RECIPE = Recipe(phases=(Layout((1e-2,) * 4, 0.0),), epochs=1, batch_size=8, patience=0)


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

    def make(folder: Path, *, ticket: Any = None, count: int = 800, held: int = 0, every: float = 1e9) -> Contrast:
        torch.manual_seed(1)
        rows = loop.Rows(TRAIN, np.arange(40, 40 + held), torch.from_numpy(codes), loop.balance(codes, TRAIN))
        return Contrast(
            layouts.Tuned(backbone.twin(), 2), Table(backbone, table), RECIPE, rows, loop.Place(CPU),
            tasks()["classification"].loss, 1.0, 7, ticket or Stopper(), Checkpoint(folder, every),
            pairs=draw_pairs(codes, TRAIN, count, 7),
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


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_half_of_the_pairs_are_of_one_class_and_each_class_comes_equally_often() -> None:
    codes = np.array([0] * 20 + [1] * 4 + [2] * 6 + [3] * 10)  # class 3 is not among the rows
    rows = np.arange(30)
    pairs = draw_pairs(codes, rows, 600, seed=1)
    alike = codes[pairs[:, 0]] == codes[pairs[:, 1]]
    assert pairs.shape == (600, 2) and alike.sum() == 300 and set(pairs.ravel()) <= set(rows)
    assert np.bincount(codes[pairs[alike, 0]]).tolist() == [100, 100, 100]
    assert (pairs[:, 0] != pairs[:, 1]).all(), "a row is no pair with itself"
    share = np.bincount(codes[pairs[~alike]].ravel()) / 600
    assert np.allclose(share, 1 / 3, atol=0.05)


def test_pairs_hang_on_the_seed_alone_and_are_never_more_than_forty_a_row() -> None:
    codes = np.arange(12) % 3
    assert np.array_equal(draw_pairs(codes, np.arange(12), 99, 5), draw_pairs(codes, np.arange(12), 99, 5))
    assert not np.array_equal(draw_pairs(codes, np.arange(12), 99, 5), draw_pairs(codes, np.arange(12), 99, 6))
    assert len(draw_pairs(codes, np.arange(12), 10**6, 5)) == 12 * plans.PARTNERS


def test_where_one_kind_of_pair_cannot_be_only_the_other_comes() -> None:
    single = draw_pairs(np.arange(4), np.arange(4), 100, 0)
    assert len(single) == 50 and (single[:, 0] != single[:, 1]).all()
    assert len(draw_pairs(np.zeros(5, np.int64), np.arange(5), 100, 0)) == 50
    assert draw_pairs(np.zeros(1, np.int64), np.arange(1), 100, 0).shape == (0, 2)


# --- training ---------------------------------------------------------------------------------------------------------


def test_classes_part_and_the_solved_head_tells_them(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path)
    before = cosines(training, codes)
    fitted = training.run()
    after = cosines(training, codes)
    assert after[0] - after[1] > 0.3 + before[0] - before[1], (before, after)
    assert fitted.steps == 100 and len(fitted.curve) == 1 and fitted.curve[0]["train_loss"] > 0
    head = training.solve_head(2)
    x = training.predict(TRAIN, pooled=True).numpy()
    raw = training.predict(TRAIN).numpy()
    assert np.allclose(raw, head.raw(x) / head.temperature, atol=1e-4), "the model answers as the head does"
    assert (raw.argmax(1) == codes[TRAIN]).mean() > 0.9


def test_the_loss_is_the_squared_error_of_the_cosines(tuned, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path)
    training.model.eval()
    x = training.predict(np.arange(N), pooled=True).numpy()
    one, other = training.pairs[:16].T
    cosine = (x[one] * x[other]).sum(1) / np.linalg.norm(x[one], axis=1) / np.linalg.norm(x[other], axis=1)
    wanted = (cosine - (codes[one] == codes[other])) ** 2
    assert np.allclose(training.losses(np.arange(16)).detach().numpy(), wanted, atol=1e-5)


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

        def working_on(self, note: str) -> None:
            self.said.append(note)

    tuned(tmp_path, ticket=Listening()).run()
    assert len(Listening.said) == 100 and set(Listening.said) == {"t, epoch 1 of at most 1"}


def test_no_row_beyond_the_training_rows_is_read(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path, held=20)
    training.run()
    training.solve_head(2)
    assert set(np.concatenate(training.feed.seen)) <= set(TRAIN)


def test_rows_of_one_class_leave_the_model_as_it_is(tuned, tmp_path) -> None:  # type: ignore[no-untyped-def]
    training = tuned(tmp_path)
    training.pairs = np.zeros((0, 2), np.int64)
    before = state(training)
    training.run()
    assert same(before, state(training))


def test_what_it_costs_is_two_rows_a_pair() -> None:
    knobs = {"pairs": 1280, "learning_rate": 2e-5, "batch_size": 16, "weight_decay": 0.01}
    trial = Trial(
        id="0" * 16, study="s", dataset="d", split="p", source="a/b", strategy="setfit", kind="transfer", knobs=knobs,
        fraction=None, per_class=8, draw=0, seed=0,
    )  # fmt: skip
    assert plans.epochs(trial, 32) * 32 == 2 * 1280
    assert plans.epochs(trial, 8) * 8 == 2 * 8 * plans.PARTNERS
    assert not plans.closed_form(trial, 8)
