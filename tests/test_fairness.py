"""Groups: figures equal fairlearn's and hand computation, small groups named, gaps compared between arms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fair

from tltools.judging import fairness


def people(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = rng.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])
    truth = (rng.random(rows) < 0.4).astype(int)
    said = np.where(rng.random(rows) < np.where(groups == "a", 0.85, 0.7), truth, 1 - truth)
    return truth, said, groups


def test_gaps_and_rates_equal_fairlearn() -> None:
    truth, said, groups = people()
    found = {gap.metric: gap for gap in fairness.gaps(fairness.replicated(truth, said[None], groups, 2))}
    parity = fair.demographic_parity_difference(truth, said, sensitive_features=groups)
    odds = fair.equalized_odds_difference(truth, said, sensitive_features=groups)
    assert found["demographic_parity_difference"].value == pytest.approx(parity, abs=1e-6)
    assert found["equalized_odds_difference"].value == pytest.approx(odds, abs=1e-6)
    frame = fair.MetricFrame(
        metrics={"selected": fair.selection_rate, "tpr": fair.true_positive_rate, "fpr": fair.false_positive_rate},
        y_true=truth, y_pred=said, sensitive_features=groups,
    ).by_group  # fmt: skip
    rates = fairness.true_and_false_positive_rates(truth, said[None], groups, 1)
    for name in "abc":
        assert fairness.selection_rates(said[None], groups, 1)[name] == pytest.approx(frame.loc[name, "selected"])
        assert rates[name] == pytest.approx((frame.loc[name, "tpr"], frame.loc[name, "fpr"]))


@pytest.mark.data
def test_real_people_equal_fairlearn(data: Path) -> None:
    table = pd.read_csv(next((data / "compas").glob("*.csv")))
    truth = table["two_year_recid"].to_numpy(int)
    said = (table["priors_count"].to_numpy() >= 3).astype(int)
    groups = fairness.as_groups(table["race"])
    found = {gap.metric: gap.value for gap in fairness.gaps(fairness.replicated(truth, said[None], groups, 2))}
    parity = fair.demographic_parity_difference(truth, said, sensitive_features=groups)
    odds = fair.equalized_odds_difference(truth, said, sensitive_features=groups)
    assert found["demographic_parity_difference"] == pytest.approx(parity, abs=1e-5)
    assert found["equalized_odds_difference"] == pytest.approx(odds, abs=1e-5)


def test_with_more_than_two_classes_the_widest_class_counts() -> None:
    groups = np.array(["a"] * 4 + ["b"] * 4)
    truth = np.array([0, 1, 2, 2] * 2)
    said = np.array([0, 1, 2, 2, 0, 0, 2, 2])
    found = {gap.metric: gap.value for gap in fairness.gaps(fairness.replicated(truth, said[None], groups, 3))}
    assert found["demographic_parity_difference"] == pytest.approx(0.25)
    assert found["equalized_odds_difference"] == pytest.approx(1.0)  # class 1 is never found in group b


def test_scores_by_group_are_means_with_intervals() -> None:
    truth, said, groups = people()
    found = fairness.by_group((said == truth)[None].repeat(3, 0).astype(float), groups)
    for name, share in found.items():
        assert share.value == pytest.approx((said == truth)[groups == name].mean())
        assert share.low < share.value < share.high and share.rows == (groups == name).sum()


def test_a_wider_gap_than_the_controls_is_named_and_an_equal_one_is_not() -> None:
    rng = np.random.default_rng(1)
    groups, truth = np.repeat(["a", "b"], 1500), rng.integers(0, 2, 3000)
    fair_said = np.stack([np.where(rng.random(3000) < 0.8, truth, 1 - truth) for _ in range(3)])
    biased = fair_said.copy()
    biased[:, (groups == "b") & (rng.random(3000) < 0.5)] = 0
    unfair, plain = (fairness.replicated(truth, said, groups, 2) for said in (biased, fair_said))
    worse = {gap.metric: gap for gap in fairness.moved(unfair, plain, 0.01)}
    assert worse["demographic_parity_difference"].verdict == "positive"
    assert worse["equalized_odds_difference"].low > 0.2
    same = fairness.moved(plain, plain, 0.01)
    assert all(gap.value == 0 and gap.verdict not in {"positive", "negative"} for gap in same)


@pytest.mark.parametrize(("names", "gap"), [(2, 0.0), (2, 0.2), (4, 0.05)])
def test_intervals_of_gaps_hold_what_is_seen_and_what_is_true(names: int, gap: float) -> None:
    rng, studies, held = np.random.default_rng(0), 40, 0
    groups = np.repeat([f"group {k}" for k in range(names)], 60)
    rates = np.linspace(0.5 - gap / 2, 0.5 + gap / 2, names).repeat(60)
    for seed in range(studies):
        luck = np.where(rng.random((3, len(groups))) < 0.8, rng.random(len(groups)), rng.random((3, len(groups))))
        said, truth = (luck < rates).astype(int), rng.integers(0, 2, len(groups))
        by_row = fairness.resampled(groups, 200, seed)
        parity, odds = fairness.gaps(fairness.replicated(truth, said, groups, 2, by_row=by_row))
        assert parity.low <= parity.value <= parity.high and odds.low <= odds.value <= odds.high
        held += parity.low <= gap <= parity.high
    assert held >= 0.85 * studies, held


def test_sensitive_columns_become_groups() -> None:
    assert fairness.as_groups(pd.Series(["x", None, "y"])).tolist() == ["x", "missing", "y"]
    assert fairness.as_groups(pd.Series([0, 1, 1, 0])).tolist() == ["0", "1", "1", "0"]
    assert fairness.as_groups(pd.Series([15.0, 2.5, np.nan])).tolist() == ["15", "2.5", "missing"]
    ages = fairness.as_groups(pd.Series([*range(18, 90), np.nan]))
    assert len(set(ages)) == 5 and ages[-1] == "missing"
    assert fairness.as_groups(pd.Series(range(17, 90)))[[0, -1]].tolist() == ["17 to 35", "71 to 89"]
    close = fairness.as_groups(pd.Series(1_000_000 + np.arange(900) / 100))
    assert len(set(close)) == 4 and close[0] == "1000000 to 1000002", "groups of one name would be one group"
    both = fairness.intersections({"sex": np.array(["f", "m"]), "age": np.array(["old", "old"])})
    assert both.tolist() == ["sex=f, age=old", "sex=m, age=old"]


def test_groups_too_small_are_named() -> None:
    kept, few = fairness.judged(np.array(["a"] * 40 + ["b"] * 3))
    assert few == ["b"] and kept.sum() == 40


# --- many comparisons, and repeats of folds --------------------------------------------------------------------------


def test_verdicts_of_one_table_are_held_back_together() -> None:
    def gap(wider: float, narrower: float = 0.0) -> fairness.Gap:
        return fairness.Gap("x", 0.1, 0.0, 0.2, None, wider, narrower, 1 - wider - narrower - 0.0001)

    assert fairness.together([gap(0.97)]) == ["positive"]
    assert fairness.together([gap(0.97)] * 10) == ["leaning_positive"] * 10
    assert fairness.together([gap(0.9999), gap(0.97), gap(0.3), gap(0.0, 0.85)]) == [
        "positive", "leaning_positive", "not_enough_evidence", "leaning_negative",
    ]  # fmt: skip
    assert fairness.together([]) == []


def test_equal_arms_are_rarely_told_apart_in_a_whole_table() -> None:
    alone = whole = 0
    groups = np.repeat(["a", "b"], 100)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth, by_row = rng.integers(0, 2, 200), fairness.resampled(groups, 640, seed)
        control, *arms = (rng.random((9, 1, 200)) < np.where(groups == "a", 0.75, 0.3)).astype(int)
        best, *ours = (fairness.replicated(truth, arm, groups, 2, by_row=by_row) for arm in (control, *arms))
        found = [gap for arm in ours for gap in fairness.moved(arm, best, 0.0)]
        alone += any(gap.verdict in {"positive", "negative"} for gap in found)
        whole += any(word in {"positive", "negative"} for word in fairness.together(found))
    assert whole <= 6 < alone, (whole, alone)


def test_so_few_replicates_decide_nothing_that_is_asked_for_more() -> None:
    groups, truth = np.repeat(["a", "b"], 200), np.tile([0, 1], 200)
    biased = np.where(groups == "b", 0, truth)[None].repeat(3, 0)
    fair_said, few = truth[None].repeat(3, 0), fairness.resampled(groups, 18)
    unfair, plain = (fairness.replicated(truth, said, groups, 2, by_row=few) for said in (biased, fair_said))
    assert {gap.verdict for gap in fairness.moved(unfair, plain, 0.01)} == {"leaning_positive"}


def test_a_row_of_repeats_counts_once() -> None:
    truth, said, groups = people()
    one, widen = said[None], 1.45
    by_row = fairness.resampled(groups, 300, widen=widen)
    for repeats in (1, 5):
        alike = one.repeat(repeats, 0)
        again = [fairness.replicated(truth, each, groups, 2, by_row=by_row, widen=widen) for each in (alike, one)]
        for more, once in zip(*map(fairness.gaps, again), strict=True):
            ends = [(gap.value, gap.low, gap.high) for gap in (more, once)]
            assert ends[0] == pytest.approx(ends[1]), "more repeats are no more rows"
        scores = (alike == truth).astype(float)
        mean, plain = fairness.by_group(scores, groups, widen)["a"], fairness.by_group(scores[:1], groups)["a"]
        assert mean.high - mean.low == pytest.approx(np.sqrt(widen) * (plain.high - plain.low))
    assert (by_row[1:].sum(1) == sum(round(n / widen) for n in fairness.sizes(groups).values())).all()
