"""The judge against known truth: fixed seeds, small simulations that fail when the error rates do not hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import rare
from benchmarks.judge_worlds import World, hits
from tltools.judging.gain import Gain, Squares, estimate, measure
from tltools.judging.multiplicity import AgainstBest, against_best, best_set, family, holm, without_luck
from tltools.judging.needed import detectable, needed_draws, needed_rows
from tltools.judging.verdict import claims, compare, conclude
from tltools.records import Refusal

STUDIES = 250


def verdicts(world: World, gain: float, margin: float = 0.01, studies: int = STUDIES, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [compare(*hits(rng, world, gain), margin) for _ in range(studies)]


# --- known truth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [3, 5])
@pytest.mark.parametrize("correlation", ["low", "high"])
@pytest.mark.parametrize(("rows", "accuracy"), [(50, 0.98), (200, 0.75), (1000, 0.9)])
def test_the_interval_covers_the_true_gain(draws: int, correlation: str, rows: int, accuracy: float) -> None:
    found = verdicts(World(draws, rows, accuracy, correlation), 0.02)
    covered = np.mean([v.low <= 0.02 <= v.high for v in found])
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / STUDIES), covered


@pytest.mark.parametrize("name", rare.NAMES)
def test_a_rare_class_near_perfection_has_a_right_error_that_imaginary_rows_widen(name: str) -> None:
    found = rare.even(name, 50, 0.9, 100)
    assert 0.8 < found["bare"] / found["deviation"] < 1.25 and found["held"] >= 0.93
    near = rare.even(name, 10, 0.99, 40)
    assert near["error"] > 2 * near["deviation"] and near["held"] >= 0.93


@pytest.mark.parametrize("name", ["balanced accuracy", "macro F1", *rare.OF_LABELS])
def test_without_imaginary_rows_a_control_that_lapses_now_and_then_would_break_the_interval(name: str) -> None:
    found = rare.lapses(name, 10, 1, 100)
    assert found["held"] >= 0.93 and found["held_bare"] < 0.85


def test_a_judge_that_takes_draws_for_independent_rows_would_not_pass_the_test_above() -> None:
    rng, world = np.random.default_rng(0), World(3, 1000, 0.75, "high")
    covered = []
    for _ in range(STUDIES):
        t, c = hits(rng, world, 0.02)
        difference = (t - c).ravel()
        half = 1.96 * difference.std() / np.sqrt(len(difference))
        covered.append(abs(difference.mean() - 0.02) <= half)
    assert np.mean(covered) < 0.8


@pytest.mark.parametrize("gain", [0.0, 0.01])
@pytest.mark.parametrize(("draws", "rows"), [(3, 50), (5, 500)])
def test_a_gain_inside_the_margin_is_called_positive_or_negative_in_at_most_five_per_cent(
    gain: float, draws: int, rows: int
) -> None:
    found = verdicts(World(draws, rows, 0.8, "high"), gain)
    false = np.mean([v.verdict in {"positive", "negative"} for v in found])
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES), false


def test_a_gain_outside_the_margin_is_called_neutral_in_at_most_five_per_cent() -> None:
    found = verdicts(World(5, 5000, 0.9, "low"), 0.012, studies=100)
    assert np.mean([v.verdict == "neutral" for v in found]) <= 0.10
    found = verdicts(World(5, 5000, 0.95, "low"), 0.0, margin=0.02, studies=50)
    assert np.mean([v.verdict == "neutral" for v in found]) >= 0.9  # and it can be said at all


def test_fifty_test_rows_and_two_points_of_gain_are_not_enough_evidence() -> None:
    words = [v.verdict for v in verdicts(World(5, 50, 0.85, "low"), 0.02)]
    unsure = np.mean([w in {"not_enough_evidence", "leaning_positive", "leaning_negative"} for w in words])
    assert unsure >= 0.85 and words.count("negative") <= 0.02 * STUDIES


def test_large_gains_are_found_nearly_as_often_as_by_one_who_knows_the_variances() -> None:
    found = verdicts(World(5, 500, 0.75, "low"), 0.05)
    gains = np.array([v.gain for v in found])
    oracle = np.mean(gains > 0.01 + 1.645 * gains.std())
    assert np.mean([v.verdict == "positive" for v in found]) >= 0.85 * oracle
    assert np.mean([v.verdict == "positive" for v in verdicts(World(5, 500, 0.75, "low"), 0.10)]) >= 0.97


def test_a_study_of_eight_strategies_and_four_shares_has_a_false_verdict_in_at_most_five_per_cent() -> None:
    rng, studies, false = np.random.default_rng(3), 120, 0
    for _ in range(studies):
        found = []
        for _ in range(4):
            control, *arms = hits(rng, World(5, 200, 0.8, "low"), 0.0, arms=9)
            found += [against_best(arm, {"control": control}, 0.01) for arm in arms]
        false += any(v.verdict in {"positive", "negative"} for v in family(found, 0.01))
    assert false <= 0.05 * studies + 2 * np.sqrt(0.05 * 0.95 * studies), false


def test_three_equal_controls_do_not_make_an_equal_arm_negative() -> None:
    rng, false = np.random.default_rng(4), 0
    for _ in range(STUDIES):
        arm, *controls = hits(rng, World(5, 300, 0.8, "low"), 0.0, arms=4)
        found = against_best(arm, {str(k): c for k, c in enumerate(controls)}, 0.005)
        false += family([found], 0.005)[0].verdict in {"positive", "negative"}
    assert false <= 0.05 * STUDIES + 2 * np.sqrt(0.05 * 0.95 * STUDIES), false


def test_the_interval_of_the_gain_over_the_best_of_three_controls_covers_it() -> None:
    rng, covered = np.random.default_rng(5), 0
    for _ in range(STUDIES):
        arm, *controls = hits(rng, World(5, 300, 0.8, "high"), 0.0, arms=4)
        found = against_best(arm, {str(k): c for k, c in enumerate(controls)}, 0.01)
        covered += found.low <= 0.0 <= found.high
    assert covered >= 0.93 * STUDIES


def test_the_luck_of_the_winner_is_taken_off() -> None:
    rng, seen, corrected = np.random.default_rng(6), [], []
    for _ in range(60):
        control, *arms = hits(rng, World(5, 200, 0.8, "low"), 0.0, arms=9)
        pair = without_luck(np.stack([arm - control for arm in arms]), replicates=200)
        seen.append(pair[0])
        corrected.append(pair[1])
    assert np.mean(seen) > 0.02 and abs(np.mean(corrected)) < 0.6 * np.mean(seen)


# --- tiny and extreme -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("rows", [2, 20, 100])
def test_arms_that_agree_on_every_row_are_not_called_equal_from_few_rows(value: float, rows: int) -> None:
    same = np.full((5, rows), value)
    found = compare(same, same)
    assert found.verdict == "not_enough_evidence" and found.low < 0 < found.high and found.needed
    assert found.high > 1.5 / rows  # about as wide as the rule of three says


def test_arms_that_agree_on_very_many_rows_are_neutral() -> None:
    same = np.random.default_rng(0).random((5, 5000)) < 0.9
    assert compare(same, same).verdict == "neutral"


def test_one_draw_never_decides() -> None:
    found = compare(np.ones((1, 500)), np.zeros((1, 500)))
    assert found.verdict == "not_enough_evidence" and "at least 3" in found.needed and found.gain == 1.0


def test_two_draws_that_differ_say_little() -> None:
    rng = np.random.default_rng(1)
    transfer = np.stack([rng.random(400) < 0.95, rng.random(400) < 0.75])
    assert compare(transfer, rng.random((2, 400)) < 0.75).verdict != "positive"


def test_the_numbers_are_those_of_the_two_way_layout() -> None:
    rng = np.random.default_rng(2)
    difference = rng.normal(size=(4, 1)) + rng.normal(size=30) + rng.normal(size=(4, 30))
    s, m, mean = 4, 30, difference.mean()
    ms_s = m * ((difference.mean(1) - mean) ** 2).sum() / (s - 1)
    ms_i = s * ((difference.mean(0) - mean) ** 2).sum() / (m - 1)
    rest = difference - difference.mean(1, keepdims=True) - difference.mean(0) + mean
    ms_si = (rest**2).sum() / ((s - 1) * (m - 1))
    found = measure(difference, np.zeros_like(difference), scale=0.0)
    assert found.gain == pytest.approx(mean)
    assert found.error**2 == pytest.approx((ms_s + ms_i - ms_si) / (s * m))
    assert s - 1 <= found.df <= s * m


def test_swapping_the_arms_swaps_the_verdict() -> None:
    t, c = hits(np.random.default_rng(3), World(5, 400, 0.8, "low"), 0.08)
    one, other = compare(t, c), compare(c, t)
    assert one.gain == pytest.approx(-other.gain) and one.low == pytest.approx(-other.high)
    assert one.p_better == pytest.approx(other.p_worse)
    assert {one.verdict, other.verdict} == {"positive", "negative"}


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, (3, 12), elements=st.sampled_from([0.0, 1.0])),
    arrays(np.float64, (3, 12), elements=st.sampled_from([0.0, 1.0])),
    st.floats(0, 0.5),
)
@example(np.eye(3, 12), np.eye(3, 12), 4e-159)  # whose square has no reciprocal
def test_every_verdict_is_coherent(transfer: np.ndarray, control: np.ndarray, margin: float) -> None:
    found = compare(transfer, control, margin)
    assert found.low <= found.gain <= found.high and found.mde > 0
    assert found.p_better + found.p_equivalent + found.p_worse == pytest.approx(1, abs=1e-9)
    if found.verdict == "positive":
        assert found.low > 0 and found.p_better >= 0.95
    if found.verdict == "negative":
        assert found.high < 0 and found.p_worse >= 0.95
    assert (found.needed == "") == (found.verdict in {"positive", "negative", "neutral"}) or found.needed == ""


def test_draws_and_rows_may_come_in_any_order() -> None:
    t, c = hits(np.random.default_rng(3), World(5, 60, 0.8, "low"), 0.05)
    rows, draws = np.random.default_rng(0).permutation(60), [4, 2, 0, 1, 3]
    one, other = compare(t, c), compare(t[draws][:, rows], c[draws][:, rows])
    assert (one.gain, one.low) == pytest.approx((other.gain, other.low))


@pytest.mark.parametrize(
    ("transfer", "control", "words"),
    [
        (np.ones((3, 5)), np.ones((3, 6)), "one shape"),
        (np.ones(5), np.ones(5), "one shape"),
        (np.ones((3, 1)), np.ones((3, 1)), "at least 1 draw and 2 rows"),
        (np.full((3, 5), np.nan), np.ones((3, 5)), "finite"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(transfer: np.ndarray, control: np.ndarray, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        compare(transfer, control)


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(Refusal, match="0 or more"):
        compare(np.ones((3, 9)), np.zeros((3, 9)), -0.1)


def test_with_classes_the_mean_over_classes_is_judged_and_a_classes_share_is_no_error() -> None:
    rng = np.random.default_rng(11)
    classes = np.repeat([0, 1], [360, 40])
    control = (rng.random((5, 400)) < np.where(classes == 0, 0.95, 0.55)).astype(float)
    transfer = (rng.random((5, 400)) < np.where(classes == 0, 0.95, 0.85)).astype(float)
    found = compare(transfer, control, classes=classes)
    per_class = [(transfer - control)[:, classes == k].mean() for k in (0, 1)]
    assert found.gain == pytest.approx(np.mean(per_class)) and found.verdict == "positive"
    shuffled = rng.permutation(400)
    assert compare(transfer[:, shuffled], control[:, shuffled], classes=classes[shuffled]).low == pytest.approx(
        found.low
    )
    assert compare(control, control, classes=classes).high > compare(control, control).high


# --- planning ---------------------------------------------------------------------------------------------------


def test_the_detectable_gain_is_that_of_the_textbook() -> None:
    assert detectable(500, 5, discordance=0.10, draw_deviation=0.0) == pytest.approx(0.040, abs=0.002)
    assert detectable(50, 5) > detectable(500, 5) > detectable(5000, 5) > detectable(5000, 50)


def test_what_is_needed_would_decide() -> None:
    found = measure(*hits(np.random.default_rng(5), World(5, 200, 0.8, "low"), 0.04))
    rows = needed_rows(found, 0.01)
    assert rows is not None and rows > 200
    words = [v.verdict for v in verdicts(World(5, int(rows * 1.5), 0.8, "low"), max(found.gain, 0.03), studies=40)]
    assert words.count("positive") >= 20
    draws = needed_draws(found, 0.01)
    assert draws is None or draws > 5


@pytest.mark.parametrize("gain", [0.0, 0.001, 0.005, 0.015, 0.03])
@pytest.mark.parametrize("draw", [0.0, 2e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("draws", [3, 5, 10])
def test_what_is_needed_is_what_the_judge_would_decide_at(gain: float, draw: float, draws: int) -> None:
    def seen(draws: int, rows: int) -> Gain:  # the mean squares of known variances, which no counting error blurs
        return estimate(Squares(gain, rows * draw + 0.05, draws * 0.04 + 0.05, 0.05, 0.0, draws, rows))

    def decided(draws: int, rows: int) -> bool:
        return conclude(seen(draws, rows), 0.01).verdict in {"positive", "negative", "neutral"}

    found = seen(draws, 200)
    rows, more = needed_rows(found, 0.01), needed_draws(found, 0.01)
    if rows is None:
        assert not any(decided(draws, count) for count in (1_000, 10_000, 100_000, 1_000_000))
    else:
        assert decided(draws, rows) and (rows == 200 or not decided(draws, int(0.98 * rows)))
    if more is None:
        assert not decided(100, 200)
    else:
        assert decided(more, 200) and (more == draws or not decided(more - 1, 200))


def test_what_is_needed_is_more_than_there_is_also_where_only_the_family_holds_a_claim_back() -> None:
    rng, seen = np.random.default_rng(3), 0
    for _ in range(30):
        every = [against_best(t, {"c": c}, 0.01) for t, c in (hits(rng, World(5, 200, 0.8, "low"), 0.05),) * 12]
        for verdict in family(every, 0.01):
            if verdict.verdict in {"positive", "negative", "neutral"}:
                assert verdict.needed == "" and verdict.needed_rows is verdict.needed_draws is None
                continue
            assert verdict.needed_rows is None or verdict.needed_rows > verdict.rows
            assert verdict.needed_draws is None or verdict.needed_draws > verdict.draws
            held = conclude(every[0].found, 0.01)
            seen += held.verdict == "positive" and verdict.needed_rows is not None
    assert seen, "a claim that stands alone is held back, and says how many rows it takes"


def test_holm_steps_down() -> None:
    p = [0.001, 0.02, 0.02, 0.3]
    assert [value <= level for value, level in zip(p, holm(p), strict=True)] == [True, False, False, False]
    p = [0.03, 0.01]
    assert [value <= level for value, level in zip(p, holm(p), strict=True)] == [True, True]


def test_better_and_worse_together_make_the_p_value_of_a_difference() -> None:
    p = claims(0.96, 0.02, 0.02)
    assert p["positive"] == pytest.approx(0.06)


def test_the_best_control_is_named_and_beaten_only_with_all_others() -> None:
    rng = np.random.default_rng(7)
    arm = (rng.random((5, 400)) < 0.9).astype(float)
    controls = {"weak": (rng.random((5, 400)) < 0.5).astype(float), "good": (rng.random((5, 400)) < 0.8).astype(float)}
    found = against_best(arm, controls, 0.01)
    assert isinstance(found, AgainstBest) and found.against == "good" and found.contenders == 1
    assert family([found], 0.01)[0].verdict == "positive"
    with pytest.raises(ValueError, match="at least one control"):
        against_best(arm, {}, 0.01)


def test_the_best_set_holds_what_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(8)
    arms = {name: (rng.random((5, 500)) < rate).astype(float) for name, rate in [("a", 0.9), ("b", 0.9), ("c", 0.6)]}
    assert set(best_set(arms, 0.01)) == {"a", "b"}
