"""What a headline speaks of, and how it says what is not sure."""

from __future__ import annotations

from typing import Any

import pytest

from tltools.reports import words
from tltools.tasks import tasks

METRIC = next(iter(tasks()["classification"].metrics))


def verdict(
    title: str, said: str, gain: float, *, labels: int = 100, draws: int = 5, needed: str = ""
) -> dict[str, Any]:
    return {
        "title": title, "verdict": said, "gain": gain, "low": gain - 0.03, "high": gain + 0.03, "n_train": labels,
        "against_title": "TF-IDF", "needed": needed, "draws": draws,
    }  # fmt: skip


def test_an_arm_that_helps_for_sure_comes_before_a_larger_gain_that_is_not() -> None:
    sure, likely = verdict("Probe", "positive", 0.05), verdict("Last block", "leaning_positive", 0.07)
    open_ = verdict("Full fine-tuning", "not_enough_evidence", 0.09, draws=1, needed="At least 3 draws are needed.")
    rows = [open_, likely, sure, verdict("Probe", "positive", 0.2, labels=50)]
    assert words.leading(rows) is sure and words.leading([likely, open_]) is likely
    assert words.leading(rows, 50) is rows[3] and words.leading([]) is None
    assert words.headline(rows, [], METRIC).startswith("Transfer helps: with 100 labels, Probe")
    said = words.sentences(rows, [], [], METRIC, 0.01, None, None)
    assert any(one.startswith("Full fine-tuning may gain more (9.0 points") and "3 draws" in one for one in said)


def test_where_no_arm_helps_the_largest_gain_is_spoken_of() -> None:
    rows = [verdict("Probe", "negative", -0.05), verdict("Last block", "leaning_negative", -0.02)]
    assert words.leading(rows) is rows[1]
    assert not any("may gain more" in one for one in words.sentences(rows, [], [], METRIC, 0.01, None, None))


def test_a_single_draw_is_called_one() -> None:
    assert "in the one draw that there is." in words.told(
        verdict("Probe", "not_enough_evidence", 0.08, draws=1), METRIC
    )
    assert "which may be chance." in words.told(verdict("Probe", "not_enough_evidence", 0.01), METRIC)


def test_a_title_begins_small_within_a_sentence_unless_it_is_a_name() -> None:
    for said, beaten in (("negative", "below the first words"), ("positive", "best control (the first words)")):
        row = verdict("Probe", said, -0.05 if said == "negative" else 0.05) | {"against_title": "The first words"}
        sentences = [words.told(row, METRIC), *words.sentences([row], [], [], METRIC, 0.01, None, None)]
        assert any(beaten in one for one in sentences) and not any("The first" in one for one in sentences)
    assert words.inside("TF-IDF + logistic regression") == "TF-IDF + logistic regression"


def test_errors_are_better_or_worse_and_the_least_comes_first() -> None:
    mae = next(metric for metric in tasks()["regression"].metrics if metric.key == "mae")
    worse, better = verdict("Probe", "leaning_negative", -0.3), verdict("Probe", "leaning_positive", 0.3)
    assert "is 0.3 worse than the best control, TF-IDF" in words.told(worse, mae)
    assert "is 0.3 better than the best control, TF-IDF" in words.told(better, mae)
    assert (
        "0.3 worse than TF-IDF" in words.sentences([verdict("A", "negative", -0.3)], [], [], mae, 0.01, None, None)[0]
    )
    arms = [
        {"title": f"arm {k}", "score": 3.5 - k / 10, "n_train": 100, "best_set": True, "seconds": None,
         "train_gap": None, "kind": "transfer", "ece": None}
        for k in range(7)
    ]  # fmt: skip
    said = " ".join(words.sentences([better], arms, [], mae, 0.01, None, None))
    assert "arm 6, arm 5, arm 4, arm 3, arm 2, arm 1." in said
    assert "arm 0, arm 1" in " ".join(words.sentences([better], arms, [], METRIC, 0.01, None, None))


def test_the_quickest_is_named_where_the_seconds_of_all_are_known() -> None:
    arms = [
        {"title": title, "score": 0.9, "n_train": 100, "best_set": True, "seconds": seconds, "train_gap": None,
         "kind": "transfer", "ece": None} for title, seconds in (("Probe", 16.0), ("Means", 12.0))
    ]  # fmt: skip

    def said() -> str:
        return " ".join(words.sentences([verdict("Probe", "positive", 0.1)], arms, [], METRIC, 0.01, None, None))

    assert "The quickest of them is Means (12 s a trial)." in said()
    arms[0]["seconds"] = None
    assert "quickest" not in said()


def test_a_control_that_the_headline_says_is_beaten_is_not_called_the_best() -> None:
    arms = [
        {"title": title, "score": score, "n_train": 100, "best_set": True, "seconds": None, "train_gap": None,
         "kind": kind, "ece": None}
        for title, score, kind in (("Probe", 0.9, "transfer"), ("Block", 0.89, "transfer"), ("TF-IDF", 0.8, "control"))
    ]  # fmt: skip

    def said(word: str) -> str:
        return " ".join(words.sentences([verdict("Probe", word, 0.1)], arms, [], METRIC, 0.01, None, None))

    assert "any of these may be the best: Probe, Block." in said("positive")
    assert "any of these may be the best: Probe, Block, TF-IDF." in said("leaning_positive")


def test_probabilities_are_called_untrustworthy_only_where_it_is_no_chance() -> None:
    arm = {"title": "Probe", "score": 0.8, "n_train": 100, "best_set": True, "seconds": None, "train_gap": None,
           "kind": "transfer", "ece": 0.12}  # fmt: skip
    rows = [verdict("Probe", "positive", 0.1)]

    def said(by_chance: float) -> str:
        return " ".join(words.sentences(rows, [{**arm, "ece_by_chance": by_chance}], [], METRIC, 0.01, None, None))

    assert "they are off by 12 points" in said(0.08) and "their word" not in said(0.14)


def test_what_labels_are_worth_at_least_is_said_only_where_it_saves_some() -> None:
    row = {"title": "Probe", "n_train": 50, "bound": "at_least", "multiplier": 2.8, "labels_saved": 90.0, "high": None,
           "low": 2.8, "sure": True}  # fmt: skip
    rows = [verdict("Probe", "positive", 0.1)]
    (said,) = [s for s in words.sentences(rows, [], [row], METRIC, 0.01, None, None) if "labels of the best" in s]
    assert said == "Probe with 50 labels is worth at least 140 labels of the best control: it saves 90 or more."
    for bound, words_for in (("at_least", "leans to be worth 140 labels"), ("exact", "may be worth about 140 labels")):
        (said,) = words.sentences(rows[:0], [], [{**row, "bound": bound, "sure": False}], METRIC, 0.01, None, None)
        assert words_for in said and said.endswith("but that it saves any is not decided.")
    level = {**row, "n_train": 500, "multiplier": 1.0, "labels_saved": 0.0}
    assert not any("saves" in s for s in words.sentences(rows, [], [level], METRIC, 0.01, None, None))


@pytest.mark.parametrize(("value", "said"), [
    (0.0, "< 0.1 %"), (0.0009, "< 0.1 %"), (0.001, "0.1 %"), (0.0049, "0.5 %"), (0.006, "1 %"), (0.5, "50 %"),
    (0.9899, "99 %"), (0.9951, "99.5 %"), (0.999, "99.9 %"), (0.9991, "> 99.9 %"), (1.0, "> 99.9 %"),
])  # fmt: skip
def test_no_probability_is_said_as_certain(value: float, said: str) -> None:
    assert words.probability(value) == said


def test_where_no_arm_beats_a_guess_this_comes_first() -> None:
    rows = [verdict("Probe", "not_enough_evidence", 0.01, needed="Deciding takes more rows.")]
    arm = {"n_train": 100, "best_set": False, "train_gap": None, "ece": None, "kind": "transfer"}
    lost, found, unknown = (arm | {"low": low} for low in (0.46, 0.51, None))
    first, second = words.sentences(rows, [lost, lost, found | {"n_train": 50}], [], METRIC, 0.01, None, None, 0.5)
    assert "better than guessing, which scores 50.0 %: with 100 labels" in first
    assert second == "Deciding takes more rows."
    for arms, chance in (([lost, found], 0.5), ([lost, unknown], 0.5), ([lost, lost], 0.25), ([lost, lost], None)):
        assert words.sentences(rows, arms, [], METRIC, 0.01, None, None, chance) == [second]


def test_what_a_guess_scores_is_known_of_metrics_that_do_not_hang_on_the_classes_sizes() -> None:
    known = {metric.key: metric.chance(4) for task in tasks().values() for metric in task.metrics if metric.chance}
    assert known == {"balanced_accuracy": 0.25, "auroc": 0.5, "r2": 0.0}


def test_a_trained_source_is_spoken_of_before_an_untrained_one() -> None:
    empty = verdict("Fine-tuning of a new network", "positive", 0.3) | {"untrained": True}
    trained = verdict("Probe", "leaning_negative", -0.02)
    assert words.leading([empty, trained]) is trained and words.leading([empty]) is empty


def test_a_gain_of_nothing_is_neither_above_nor_below() -> None:
    for gain in (0.0, 0.0004, -0.0004):
        said = words.told(verdict("Probe", "not_enough_evidence", gain), METRIC)
        assert "Probe is level with the best control, TF-IDF (95 %" in said
