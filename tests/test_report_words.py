"""What a headline speaks of, and how it says what is not sure."""

from __future__ import annotations

from typing import Any

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
