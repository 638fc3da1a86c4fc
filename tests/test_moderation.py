"""Draws judged together: the formulas, what is learnt from many comparisons, and what is never counted twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, ndtr, polygamma, stdtr, stdtrit

from benchmarks.judge import together
from tltools.judging import mixture
from tltools.judging.gain import Prior, Squares, estimate, measure, squares
from tltools.judging.moderation import priors


def drawn(rng: np.random.Generator, df: float, comparisons: int, draws: int = 5) -> list[Squares]:
    """Mean squares around 2, each true one drawn from a scaled inverse chi-square with `df`."""
    true = np.full(comparisons, 2.0) if math.isinf(df) else 2.0 * df / rng.chisquare(df, comparisons)
    seen = true * rng.chisquare(draws - 1, comparisons) / (draws - 1)
    return [Squares(0.1, float(one), 0.3, 0.2, 1e-6, draws, 500) for one in seen]


def prior(seen: list[Squares]) -> Prior | None:
    """What comparisons at one number of labels say together."""
    (one,) = set(priors(seen, [64.0] * len(seen)))
    return one


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
    assert np.log(found.square) == pytest.approx(logs.mean() + digamma(found.df / 2) - np.log(found.df / 2))


def test_draws_that_differ_less_with_more_labels_are_followed() -> None:
    labels, many = np.repeat([25.0, 50.0, 100.0, 200.0], 4_000), drawn(np.random.default_rng(5), 8.0, 16_000)
    found = priors([replace(one, draw=one.draw / n) for one, n in zip(many, labels, strict=True)], labels)
    for k in range(0, 16_000, 4_000):
        one = found[k]
        assert one and one == found[k + 3_999]
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
    assert np.corrcoef(told, np.log(level))[0, 1] > 0.8 and untold.std() < 1e-9 < at.std()
    assert found[0] and blind[0] and found[0].df > 2 * blind[0].df
    other = priors([replace(seen[0], draw=100 * seen[0].draw), *seen[1:]], labels, of_arm)[0]
    assert other and other.square == pytest.approx(found[0].square, rel=0.05), "it is not told of itself"


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
