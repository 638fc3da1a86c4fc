"""Draws judged together: the formulas, what is learnt from many comparisons, and what is never counted twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, ndtr, polygamma, stdtr, stdtrit

from benchmarks.judge import together
from benchmarks.judge_worlds import World, whole
from tltools.judging import mixture
from tltools.judging.gain import Prior, Squares, estimate, measure, squares
from tltools.judging.moderation import priors
from tltools.judging.multiplicity import against_best, family


def drawn(rng: np.random.Generator, df: float, comparisons: int, draws: int = 5) -> list[Squares]:
    """Mean squares around 2, each true one drawn from a scaled inverse chi-square with `df`."""
    true = np.full(comparisons, 2.0) if math.isinf(df) else 2.0 * df / rng.chisquare(df, comparisons)
    seen = true * rng.chisquare(draws - 1, comparisons) / (draws - 1)
    return [Squares(0.1, float(one), 0.3, 0.2, 1e-6, draws, 500) for one in seen]


def prior(seen: list[Squares]) -> Prior | None:
    """What comparisons at one number of labels say together of the first."""
    return priors(seen, [64.0] * len(seen))[0]


def test_the_prior_is_found_again_from_many_comparisons() -> None:
    found = prior(drawn(np.random.default_rng(0), 8.0, 20_000))
    assert found and found.df == pytest.approx(8, rel=0.1) and found.square == pytest.approx(2, rel=0.03)
    equal = prior(drawn(np.random.default_rng(1), math.inf, 20_000))
    assert equal and equal.df > 100 and equal.square == pytest.approx(2, rel=0.03)


def test_the_prior_solves_the_moments_of_the_logarithms() -> None:
    seen = drawn(np.random.default_rng(2), 3.0, 12)
    found = prior(seen)
    assert found
    logs = np.log([one.draw for one in seen]) - digamma(2.0) + np.log(2.0)
    assert polygamma(1, found.df / 2) == pytest.approx(logs.var(ddof=1) - polygamma(1, 2.0))
    others = logs[1:].mean()
    assert np.log(found.square) == pytest.approx(others + digamma(found.df / 2) - np.log(found.df / 2))


def test_draws_that_differ_less_with_more_labels_are_followed() -> None:
    labels, many = np.repeat([25.0, 50.0, 100.0, 200.0], 4_000), drawn(np.random.default_rng(5), 8.0, 16_000)
    found = priors([replace(one, draw=one.draw / n) for one, n in zip(many, labels, strict=True)], labels)
    for k in range(0, 16_000, 4_000):
        one = found[k]
        last = found[k + 3_999]
        assert one and last and one.square == pytest.approx(last.square, rel=0.01)
        assert one.square * labels[k] == pytest.approx(2, rel=0.05) and one.df == pytest.approx(8, rel=0.1)


def test_few_comparisons_and_single_draws_say_nothing_together() -> None:
    seen = drawn(np.random.default_rng(3), 8.0, 4)
    assert prior(seen) is not None and prior(seen[:3]) is None
    assert priors(seen, [10, 20, 40, 80]) == [None] * 4, "a line takes two of them"
    assert prior([Squares(0.1, math.nan, 0.3, math.nan, 1e-6, 1, 500)] * 9) is None
    assert prior([Squares(0.1, 0.0, 0.3, 0.2, 1e-6, 5, 500)] * 9) is None


def test_arms_whose_draws_differ_more_are_known_by_their_other_shares() -> None:
    arms, shares = 400, 4
    rng, seen = np.random.default_rng(6), drawn(np.random.default_rng(7), math.inf, arms * shares)
    level = np.exp(rng.normal(size=arms))
    seen = [replace(one, draw=one.draw * level[k % arms]) for k, one in enumerate(seen)]
    labels, of_arm = np.repeat(2.0 ** np.arange(shares), arms), [*range(arms)] * shares
    found, blind = priors(seen, labels, of_arm), priors(seen, labels)
    at, told, untold = (np.log([one.square for one in way[:arms] if one]) for way in (found, found, blind))
    assert np.corrcoef(told, np.log(level))[0, 1] > 0.8 and untold.std() < 0.01 < at.std()
    assert found[0] and blind[0] and found[0].df > 2 * blind[0].df
    other = priors([replace(seen[0], draw=100 * seen[0].draw), *seen[1:]], labels, of_arm)[0]
    assert other and other.square == pytest.approx(found[0].square, rel=0.05), "it is not told of itself"


def test_a_comparison_is_told_by_the_others_only() -> None:
    seen, labels = drawn(np.random.default_rng(10), 6.0, 12), np.repeat([1.0, 2.0, 4.0], 4)
    found = priors(seen, labels, ["a", "b", "c", "d"] * 3)
    for k in range(12):
        other = [replace(one, draw=50 * one.draw) if place == k else one for place, one in enumerate(seen)]
        again = priors(other, labels, ["a", "b", "c", "d"] * 3)[k]
        assert found[k] and again
        means = [np.log(one.square) - digamma(one.df / 2) + np.log(one.df / 2) for one in (found[k], again)]
        moved, own = abs(means[1] - means[0]), np.log(50)
        assert moved < 0.2 * own, "only how far all lie apart may have changed"


def test_a_comparison_alone_at_its_number_of_labels_is_told_nothing() -> None:
    found = priors(drawn(np.random.default_rng(11), 8.0, 5), [100.0] * 4 + [1000.0])
    assert found[4] is None and all(one is not None for one in found[:4])


def test_draws_that_tie_are_no_number_among_the_others() -> None:
    rng = np.random.default_rng(12)
    weights = rng.random(60) + 0.5
    t, c = rng.random((3, 60)) < 0.8, rng.random((3, 60)) < 0.7
    t[1:], c[1:] = t[0], c[0]
    moved = np.stack([rng.permutation(row) for row in t * weights])  # the same sum, added up in another order
    assert squares(moved, c * 0.0).draw == 0
    assert squares(t * weights, c * weights).draw == 0


def test_what_is_undecided_is_told_what_it_takes_together_too() -> None:
    rng, told = np.random.default_rng(13), 0
    for _ in range(12):
        transfer, control = whole(rng, World(3, 200, 0.7, "low"), 0.05, 4, 4, 0.5)
        pairs = [(arm, control[k]) for k, share in enumerate(transfer) for arm in share]
        seen, labels = [squares(*pair, scale=1.0) for pair in pairs], np.repeat([1.0, 2, 4, 8], 4)
        found = [
            against_best(t, {"control": c}, 0.01, scale=1.0, prior=one)
            for (t, c), one in zip(pairs, priors(seen, labels, [*range(4)] * 4), strict=True)
        ]
        for verdict in family(found, 0.01):
            assert (verdict.needed == "") == (verdict.verdict in {"positive", "negative", "neutral"})
            assert verdict.df is None
            told += verdict.needed_rows is not None
    assert told > 20


@pytest.mark.parametrize("factor", [1.0, 1e-8, 1e-13, 1e9])
def test_the_unit_does_not_matter(factor: float) -> None:
    rng = np.random.default_rng(14)
    t, c = (factor * rng.normal(size=(3, 80)) for _ in range(2))
    seen = squares(t, c, scale=factor)
    found = estimate(seen, Prior(2 * seen.draw, 6.0))
    unit = estimate(squares(t / factor, c / factor, scale=1.0), Prior(2 * seen.draw / factor**2, 6.0))
    assert found.above(0.01 * factor) == pytest.approx(unit.above(0.01), abs=1e-6)
    assert found.bound(0.9) / factor == pytest.approx(unit.bound(0.9), abs=1e-4)


def test_arms_may_have_some_shares_and_draws_only() -> None:
    seen = drawn(np.random.default_rng(8), 4.0, 9)
    seen[3] = Squares(0.1, math.nan, 0.3, math.nan, 1e-6, 1, 500)
    seen[5] = Squares(0.1, 0.0, 0.3, 0.2, 1e-6, 5, 500)
    found = priors(seen, [1, 2, 4, 8, 1, 2, 4, 8, 8], ["a"] * 4 + ["b"] * 4 + ["c"])
    assert all(one is not None and one.square > 0 and one.df > 0 for one in found)


def test_a_comparison_is_drawn_towards_the_others_but_counts_at_least_a_third() -> None:
    rng = np.random.default_rng(4)
    t, c = (rng.random((5, 200)) < p for p in (0.8, 0.7))
    alone, seen = measure(t, c, scale=1.0), squares(t, c, scale=1.0)
    assert estimate(seen) == alone
    for df, weight in ((2.0, 1.0), (4.0, 2.0), (math.inf, 8.0)):
        joined = estimate(seen, Prior(9 * seen.draw, df))
        expected = (weight * 9 + 4) / (weight + 4) * seen.draw
        assert joined.gain == alone.gain and joined.draw == pytest.approx((expected - seen.rest) / 200)
    wild = estimate(seen, Prior(0.0, math.inf))
    assert wild.error >= math.sqrt(1 / 3) * alone.error * 0.9


@pytest.mark.parametrize("df", [2.3, 4.0, 12.0])
def test_where_only_draws_err_the_mean_over_errors_is_students_t(df: float) -> None:
    errors = 0.02 * np.sqrt(mixture.possible(df))
    for away in (-9.0, -4.0, -1.0, 0.0, 0.5, 2.0, 6.0):
        found = mixture.below(0.1 + 0.02 * away, 0.1, errors, 1e9)
        assert found == pytest.approx(float(stdtr(df, away)), rel=0.01, abs=1e-7)
    for probability in (0.001, 0.025, 0.5, 0.8, 0.975, 0.9995):
        value = mixture.bound(probability, 0.1, errors, 1e9)
        assert mixture.below(value, 0.1, errors, 1e9) == pytest.approx(probability, abs=1e-5)
        assert value == pytest.approx(0.1 + 0.02 * float(stdtrit(df, probability)), abs=0.002)


def test_the_mean_over_errors_is_that_of_drawn_errors() -> None:
    rng, df, row, draw = np.random.default_rng(9), 5.0, 0.01, 0.015
    true = draw**2 * df / rng.chisquare(df, 400_000) + row**2
    errors = np.sqrt(draw**2 * mixture.possible(df) + row**2)
    for value in (0.0, 0.03, 0.06):
        assert mixture.below(value, 0.02, errors, 1e9) == pytest.approx(
            ndtr((value - 0.02) / np.sqrt(true)).mean(), abs=2e-4
        )


def test_studies_are_judged_more_surely_together_and_err_no_more() -> None:
    found = together(60, 3, "high", 0.5, 4, 4)
    assert found["together"]["coverage"] >= 0.92 and found["together"]["error"] <= 0.07
    assert found["together"]["power"] > found["alone"]["power"]
    assert found["together"]["family"] <= found["alone"]["family"] + 0.02
