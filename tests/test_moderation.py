"""Draws judged together: the formulas, what is learnt from many comparisons, and what is never counted twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, polygamma

from benchmarks.judge import together
from tltools.judging.moderation import priors
from tltools.judging.verdict import Prior, Squares, estimate, measure, squares


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


def test_a_comparison_is_drawn_towards_the_others_but_counts_at_least_half() -> None:
    rng = np.random.default_rng(4)
    t, c = (rng.random((5, 200)) < p for p in (0.8, 0.7))
    alone, seen = measure(t, c, scale=1.0), squares(t, c, scale=1.0)
    assert estimate(seen) == alone
    for df, weight in ((2.0, 2.0), (4.0, 4.0), (math.inf, 4.0)):
        joined = estimate(seen, Prior(9 * seen.draw, df))
        expected = (weight * 9 + 4) / (weight + 4) * seen.draw
        assert joined.gain == alone.gain and joined.draw == pytest.approx((expected - seen.rest) / 200)
    wild = estimate(seen, Prior(0.0, math.inf))
    assert wild.error >= math.sqrt(0.5) * alone.error * 0.9


def test_studies_are_judged_more_surely_together_and_err_no_more() -> None:
    found = together(60, 3, "high", 0.5, 4, 4)
    assert found["together"]["coverage"] >= 0.92 and found["together"]["error"] <= 0.07
    assert found["together"]["power"] > found["alone"]["power"]
    assert found["together"]["family"] <= found["alone"]["family"] + 0.02
