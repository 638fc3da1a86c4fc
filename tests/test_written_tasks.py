"""What translation and summarisation promise: which columns they take, their metrics, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tests.test_tasks import dataset, metric
from tests.texts import pairs
from tltools import targets
from tltools.engine.classical_written import lead_words, word_dictionary
from tltools.places import as_rows
from tltools.records import Refusal
from tltools.tasks import tasks

KEYS = [(key, one.key) for key in ("translation", "summarisation") for one in tasks()[key].metrics]
RNG = np.random.default_rng(3)


def sentences(rows: int) -> list[str]:
    words = ["The", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "dogs", "running", "home", "."]
    return [" ".join(RNG.choice(words, RNG.integers(6, 16))) for _ in range(rows)]


def noisy(texts: list[str]) -> list[str]:
    return [" ".join(word for word in text.split() if RNG.random() < 0.8) for text in texts]


def test_chrf_and_bleu_are_those_of_sacrebleu_and_rouge_that_of_google() -> None:
    truth = sentences(40)
    said = noisy(truth)
    one, two = as_rows(truth), as_rows(said)
    assert metric("translation", "chrf").score(one[:1], two[:1]) == pytest.approx(
        CHRF().corpus_score(said[:1], [truth[:1]]).score / 100
    )
    assert metric("translation", "bleu").score(one, two) == pytest.approx(
        BLEU().corpus_score(said, [truth]).score / 100
    )
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for key, name in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rouge_l", "rougeL")):
        wanted = np.mean([rouge.score(a, b)[name].fmeasure for a, b in zip(truth, said, strict=True)])
        assert metric("summarisation", key).score(one, two) == pytest.approx(wanted)


def test_letters_that_are_not_english_count_for_rouge() -> None:
    assert metric("summarisation", "rouge1").score(as_rows(["Öl für Kühe"]), as_rows(["öl für Ziegen"])) > 0.6


def test_a_perfect_text_has_the_best_score_and_an_empty_one_the_worst() -> None:
    truth = as_rows(sentences(5))
    nothing = as_rows([""] * 5)
    for task, key in KEYS:
        one = metric(task, key)
        if one.higher_is_better:
            assert one.score(truth, truth) == pytest.approx(1.0) and one.score(truth, nothing) == pytest.approx(0.0)
    again = as_rows(["a b c a b c"])
    assert metric("translation", "repetition").score(again, again) == pytest.approx(1 / 4)


@pytest.mark.parametrize(("task", "key"), KEYS)
def test_row_values_average_to_the_score(task: str, key: str) -> None:
    truth = sentences(30)
    one, (a, b) = metric(task, key), (as_rows(truth), as_rows(noisy(truth)))
    values = (one.influence or one.per_row)(a, b)
    assert values.mean() == pytest.approx((1 if one.higher_is_better else -1) * one.score(a, b))


def test_the_spread_of_the_pseudo_values_of_bleu_is_the_error_of_the_score() -> None:
    one, scores, said = metric("translation", "bleu"), [], []
    for _ in range(60):
        truth = sentences(100)
        a, b = as_rows(truth), as_rows(noisy(truth))
        scores.append(one.score(a, b))
        said.append(one.influence(a, b).std(ddof=1) / 10)
    assert np.mean(said) == pytest.approx(np.std(scores), rel=0.3)


@settings(max_examples=30)
@given(some.lists(some.text(alphabet="aäB .,\"'|{}", min_size=1), min_size=1, max_size=5))
def test_predictions_come_back_as_they_were_written(texts: list[str]) -> None:
    task = tasks()["translation"]
    assert task.written is not None
    table = task.frame(np.arange(len(texts)), as_rows(texts), as_rows(texts[::-1]), ())
    again = task.written.read_frame(table, ())
    assert [list(part) for part in again] == [texts, texts[::-1]]


def test_a_row_without_a_reference_is_named_and_what_is_no_text_is_refused() -> None:
    task = tasks()["summarisation"]
    with pytest.raises(Refusal, match="row 1"):
        task.encode(pd.Series(["a b", "  "], name="y"), ())
    found = task.problems(pd.Series(["a b c", "d e f", "g h i"], name="y"), dataset("summarisation"))
    assert any(one.severity == "error" and "written from texts" in one.what for one in found)
    found = task.problems(pd.Series(["spam", "ham"] * 20, name="y"), dataset("summarisation"))
    assert any("only 2 different texts" in one.what for one in found)
    found = task.problems(pd.Series(["w " * 100, "d e f"], name="y"), dataset("summarisation"))
    assert any("more than 90 words" in one.what for one in found)


def chosen(table: pd.DataFrame, **said: str) -> targets.Choice:
    return targets.choose(targets.describe(table), "texts.csv", **said)


def test_texts_beside_texts_are_translated_and_short_ones_in_the_same_words_sum_up() -> None:
    table = pairs(200, 1, longest=9).drop_duplicates()
    choice = chosen(table)
    assert (choice.task, choice.target, choice.inputs) == ("translation", "other", ("text",))
    long = [f"{a} {b} {c}" for a, b, c in zip(sentences(100), sentences(100), sentences(100), strict=True)]
    table = pd.DataFrame({"title": [f"{text[:24]} {k}" for k, text in enumerate(long)], "body": long})
    choice = chosen(table)
    assert (choice.task, choice.target, choice.inputs) == ("summarisation", "title", ("body",))
    choice = chosen(table, target="body")
    assert (choice.task, choice.inputs) == ("translation", ("title",))
    choice = chosen(table.assign(label=["a", "b"] * 50))  # classes go before texts
    assert (choice.task, choice.target) == ("classification", "label")


def test_the_dictionary_learns_words_from_pairs_and_copies_what_it_does_not_know() -> None:
    table = pairs(200, 1)
    rule = word_dictionary(table["text"].tolist(), as_rows(table["other"].tolist()))
    assert rule.say("Moon bird, 7 x.", rule.known) == "baki Keß, 7 x."


def test_the_lead_is_as_long_as_references_are() -> None:
    texts = [f"One two three {k}. Four five six seven eight nine ten. Eleven." for k in range(20)]
    rule = lead_words(texts, as_rows([f"One two three {k}." for k in range(20)]))
    assert rule.say("A b. C d e f.", rule.known) == "A b." and rule.method == "the first sentences of the text"
    rule = lead_words(texts, as_rows(["One two"] * 20))
    assert rule.say("a b c d e f g", rule.known) == "a b"
