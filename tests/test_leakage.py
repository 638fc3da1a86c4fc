"""Target leakage is found in columns, in missing cells and in words, and not where there is none.

Run alone: python -m pytest tests/test_leakage.py
"""

from __future__ import annotations

import numpy as np

from tltools.judging import leakage


def test_columns_that_give_the_answer_away_are_found() -> None:
    random = np.random.default_rng(0)
    target = random.integers(0, 3, 900)
    absent = np.where(target == 0, None, random.integers(0, 400, 900).astype(str)).astype(object)
    columns = {
        "copy": np.array([f"k{code}" for code in target], object),
        "shifted": target * 2.5 + random.normal(size=900) * 0.1,
        "noise": random.normal(size=900),
        "hint": target + random.normal(size=900),
        "name": np.array([f"row {i}" for i in range(900)], object),
        "constant": np.ones(900),
    }
    found = {leak.column: leak for leak in leakage.suspects(columns, target)}
    assert set(found) == {"copy", "shifted"} and found["copy"].skill == 1
    two = (target == 0).astype(np.int64)
    (leak,) = leakage.suspects({"absent": absent, "noise": columns["noise"]}, two)
    assert leak.column == "absent" and leak.by_absence and leak.skill > 0.95


def test_numbers_that_give_the_number_away_are_found() -> None:
    random = np.random.default_rng(0)
    target = random.normal(size=2_000).astype(np.float32)
    columns = {
        "scaled": target * 3.0 + 1,
        "related": target + random.normal(size=2_000),
        "noise": random.normal(size=2_000),
    }
    columns["scaled"][::50] = np.nan
    assert [leak.column for leak in leakage.suspects({k: v.astype(float) for k, v in columns.items()}, target)] == [
        "scaled"
    ]


def test_many_columns_and_few_rows_raise_no_false_alarm() -> None:
    random = np.random.default_rng(0)
    columns = {f"gene {i}": random.normal(size=63) for i in range(2_000)}
    assert leakage.suspects(columns, random.integers(0, 4, 63)) == []


def test_an_imbalanced_target_is_not_called_leaked() -> None:
    random = np.random.default_rng(0)
    target = (random.random(3_000) < 0.01).astype(np.int64)
    assert leakage.suspects({"noise": random.normal(size=3_000)}, target) == []


def test_a_word_that_stands_in_one_class_only_is_found() -> None:
    target = np.arange(200) % 2
    words = [frozenset({"the", "film", *(["stamped"] if code else []), f"w{i}"}) for i, code in enumerate(target)]
    assert leakage.telling_words(words, target, ["no", "yes"]) == [("stamped", "yes")]


def test_telling_words_come_in_an_order_that_lasts() -> None:
    target = np.arange(200) % 2
    marks = [f"mark{i}" for i in range(9)]
    words = [frozenset([*marks, *(["at times"] if i > 20 else [])] if code else []) for i, code in enumerate(target)]
    told = [word for word, _ in leakage.telling_words(words, target, ["no", "yes"])]
    assert told == [*marks, "at times"]
