"""Splits and draws: nothing leaks, every class is everywhere, shares are kept, draws are nested and repeatable.

Run alone: python -m pytest tests/test_splits.py
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltools import splits
from tltools.records import Refusal, Split


def made(
    targets: np.ndarray, groups: np.ndarray | None = None, parts: np.ndarray | None = None, seed: int = 0
) -> splits.Parts:
    rows = len(targets)
    groups = np.arange(rows) if groups is None else groups
    parts = np.full(rows, "", object) if parts is None else parts
    return splits.make(targets, groups, parts, seed=seed, test_share=0.2, validation_share=0.15)


def locked(targets: np.ndarray, **options: np.ndarray) -> Split:
    return splits.record("0" * 16, made(targets, **options), seed=0, grouped_by=None)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40)), min_size=10, max_size=200), st.integers(0, 5))
def test_every_row_lies_in_one_part_and_groups_stay_together(rows: list[tuple[int, int]], seed: int) -> None:
    targets = np.array([code for code, _ in rows])
    groups = np.array([group for _, group in rows])
    found = made(targets, groups, seed=seed)
    everything = np.concatenate([found.train, found.validation, found.test])
    assert sorted(everything.tolist()) == list(range(len(rows)))
    sizes = np.bincount(groups)
    small = {group for group in np.unique(groups) if sizes[group] <= max(20, 0.1 * len(rows))}
    held = [set(groups[part]) & small for part in (found.train, found.validation, found.test)]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=6), st.integers(0, 5))
def test_every_class_of_three_rows_is_in_every_part(sizes: list[int], seed: int) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    found = made(targets, seed=seed)
    for part, share in ((found.train, 0.65), (found.validation, 0.15), (found.test, 0.2)):
        held = np.bincount(targets[part], minlength=len(sizes))
        assert (held >= 1).all()
        assert np.abs(held - share * np.array(sizes)).max() <= 1.5


def test_groups_are_spread_so_that_shares_and_classes_come_out() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(500), random.integers(1, 6, 500))
    targets = random.integers(0, 2, 500)[groups]
    found = made(targets, groups)
    assert abs(len(found.test) / len(targets) - 0.2) < 0.01
    assert abs(targets[found.test].mean() - targets.mean()) < 0.02
    assert not set(groups[found.test]) & set(groups[found.train])


def test_numbers_are_stratified_too() -> None:
    targets = np.random.default_rng(0).lognormal(size=1_000).astype(np.float32)
    found = made(targets)
    assert abs(np.median(targets[found.test]) - np.median(targets)) < 0.1
    assert len(found.test) == pytest.approx(200, abs=5)


def test_the_seed_decides_and_the_id_tells() -> None:
    targets = np.arange(300) % 3
    first, again, other = (
        locked(targets),
        locked(targets),
        splits.record("0" * 16, made(targets, seed=1), seed=1, grouped_by=None),
    )
    assert first == again and first.id != other.id


def test_the_users_parts_are_kept() -> None:
    targets, parts = np.arange(100) % 2, np.full(100, "", object)
    parts[80:] = "test"
    assert made(targets, parts=parts).test.tolist() == list(range(80, 100))
    parts[60:80] = "validation"
    found = made(targets, parts=parts)
    assert found.validation.tolist() == list(range(60, 80)) and found.train.tolist() == list(range(60))
    parts[:] = "test"
    with pytest.raises(Refusal, match="nothing is left to train"):
        made(targets, parts=parts)


def test_a_million_rows_are_split_in_seconds() -> None:
    targets = np.random.default_rng(0).integers(0, 5, 1_000_000)
    found = made(targets)
    assert len(found.train) == pytest.approx(650_000, abs=10)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.integers(0, 9), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_draws_are_nested_stratified_and_never_touch_the_test(seed: int, draw: int, shares: list[float]) -> None:
    targets = np.arange(400) % 4
    split = locked(targets)
    before: tuple[set[int], set[int]] = (set(), set())
    for share in sorted(shares):
        train, validation = splits.draw(split, targets, fraction=share, draw=draw, seed=seed)
        assert set(train) <= set(split.train) and set(validation) <= set(split.validation)
        assert before[0] <= set(train) and before[1] <= set(validation)
        counts = np.bincount(targets[train], minlength=4)
        assert counts.min() >= 1 and counts.max() - counts.min() <= 1
        before = set(train), set(validation)


@pytest.mark.parametrize("options", [{"fraction": 0.01}, {"fraction": 0.1}, {"fraction": 0.25}, {"per_class": 7}])
def test_the_number_of_labels_is_that_of_every_draw(options: dict[str, float]) -> None:
    targets = np.arange(1200) % 100
    split = locked(targets)
    for draw in range(3):
        assert splits.labels(split, targets, **options) == sum(
            map(len, splits.draw(split, targets, draw=draw, seed=5, **options))
        )
    assert splits.labels(split, targets, fraction=0.01) == 100, "each class keeps one, however small the share"


def test_labels_per_class_are_counted_over_train_and_validation() -> None:
    targets = np.arange(400) % 4
    split = locked(targets)
    before: set[int] = set()
    for k, held in [(1, 0), (4, 0), (5, 1), (8, 2), (20, 4)]:
        train, validation = splits.draw(split, targets, per_class=k, draw=3, seed=0)
        both = np.bincount(targets[np.concatenate([train, validation])], minlength=4)
        assert both.tolist() == [k] * 4 and np.bincount(targets[validation], minlength=4).tolist() == [held] * 4
        assert not set(train) & set(validation)
        before = set(train)
    train, validation = splits.draw(split, targets, per_class=10_000, draw=0, seed=0)
    assert len(train) == len(split.train) and len(validation) == len(split.validation) and before


def test_draws_differ_and_repeat() -> None:
    targets = np.arange(400) % 4
    split = locked(targets)
    one = [splits.draw(split, targets, fraction=0.3, draw=i, seed=0)[0].tolist() for i in (0, 1, 0)]
    assert one[0] == one[2] != one[1]


@pytest.mark.parametrize(
    "options", [{}, {"fraction": 0.0}, {"fraction": 1.5}, {"per_class": 0}, {"fraction": 0.5, "per_class": 3}]
)
def test_wrong_draws_are_refused(options: dict[str, float]) -> None:
    targets = np.arange(40) % 2
    with pytest.raises(Refusal):
        splits.draw(locked(targets), targets, draw=0, seed=0, **options)  # type: ignore[arg-type]


def test_labels_per_class_need_classes() -> None:
    targets = np.arange(60, dtype=np.float32)
    with pytest.raises(Refusal, match="one class each"):
        splits.draw(locked(targets), targets, per_class=3, draw=0, seed=0)
