"""Probabilities that are right, over-confident, or few: what calibration says of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tltools.judging import calibration as cal


def rows(n: int, sharpen: float = 1.0, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose truth is drawn from them, then sharpened: 1 = calibrated, above = over-confident."""
    rng = np.random.default_rng(seed)
    p = cal._softmax(rng.normal(0, 1.5, (n, classes)))
    truth = (rng.random((n, 1)) > p.cumsum(1)).sum(1).clip(max=classes - 1)
    return cal._softmax(np.log(p) * sharpen), truth


def test_calibrated_probabilities_have_a_small_error_and_a_temperature_of_one() -> None:
    p, truth = rows(20000)
    assert cal.ece(p, truth) < 0.015
    assert cal.temperature(p, truth) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("sharpen", [0.4, 3.0])
def test_the_temperature_undoes_over_and_under_confidence(sharpen: float) -> None:
    p, truth = rows(5000, sharpen)
    found = cal.temperature(p, truth)
    assert found == pytest.approx(sharpen, rel=0.08)
    fresh, fresh_truth = rows(5000, sharpen, seed=1)
    assert cal.ece(cal.rescale(fresh, found), fresh_truth) <= cal.ece(fresh, fresh_truth) / 2


def test_the_temperature_is_the_minimum_of_the_log_loss() -> None:
    p, truth = rows(400, 2.0)

    def loss(t: float) -> float:
        return -np.log(cal.rescale(p, t)[np.arange(400), truth]).mean()

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8})
    assert cal.temperature(p, truth) == pytest.approx(best.x, abs=1e-4)


def test_extreme_probabilities_do_not_break_the_temperature() -> None:
    p, truth = np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 1, 0])
    assert 0.04 < cal.temperature(p, truth) < 20.1
    assert np.isfinite(cal.rescale(p, cal.temperature(p, 1 - truth))).all()
    assert cal.temperature(np.empty((0, 2)), np.empty(0, int)) == 1.0


def test_ece_is_that_of_a_hand_computation() -> None:
    p = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    truth = np.array([0] * 8 + [1] * 2 + [0] * 6 + [1] * 4)
    assert cal.ece(p, truth, bins=2) == pytest.approx(0.5 * 0.1 + 0.5 * 0.0)
    bins = cal.reliability(p, truth, bins=2)
    assert [(b.accuracy, b.rows) for b in bins] == [(0.6, 10), (0.8, 10)]
    assert all(b.low < b.accuracy < b.high for b in bins)


@pytest.mark.parametrize("few", [30, 100, 300])
def test_chance_alone_takes_honest_probabilities_above_its_bound_in_one_of_twenty_test_parts(few: int) -> None:
    p, truth = rows(400 * few)
    parts = np.arange(400 * few).reshape(400, few)
    above = np.mean([cal.ece(p[part], truth[part]) > cal.ece_by_chance(p[part]) for part in parts])
    assert above <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400), above
    sharp, truth = rows(50 * few, sharpen=4.0)
    parts = parts[:50]
    assert np.mean([cal.ece(sharp[part], truth[part]) > cal.ece_by_chance(sharp[part]) for part in parts]) > 0.6


def test_the_interval_of_the_calibration_error_covers_it() -> None:
    big, big_truth = rows(100_000, 2.0, seed=9)
    truth_value, covered = cal.ece(big, big_truth), 0
    for seed in range(60):
        p, truth = rows(500, 2.0, seed=seed)
        _, low, high = cal.ece_interval(p, truth, replicates=150, seed=seed)
        covered += low <= truth_value <= high
    assert covered >= 50, covered


def test_answering_only_the_surest_rows_raises_accuracy() -> None:
    p, truth = rows(5000)
    curve = cal.abstain(p, truth)
    assert curve["coverage"][-1] == 1.0 and curve["accuracy"][499] > curve["accuracy"][-1] + 0.1
    assert (np.diff(curve["confidence"]) <= 0).all()


@pytest.mark.parametrize("sharpen", [1.0, 3.0])
def test_conformal_sets_hold_the_true_class_as_often_as_promised(sharpen: float) -> None:
    p, truth = rows(6000, sharpen)
    found = cal.conformal(p[:1000], truth[:1000], p[1000:], truth[1000:], 0.9)
    assert found is not None and found.coverage == pytest.approx(0.9, abs=0.03)
    assert 1.0 <= found.mean_size < 3.0 and found.sets.shape == (5000, 3)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_classes_that_tie_with_the_threshold_are_in_the_set(level: float) -> None:
    shares = np.array([0.1, 0.3, 0.6], np.float32)  # of a model that says the same of every row
    truth = np.random.default_rng(0).choice(3, 3000, p=[0.1, 0.3, 0.6])
    same = np.tile(shares, (3000, 1))
    found = cal.conformal(same[:1000], truth[:1000], same[1000:], truth[1000:], level)
    assert found is not None and found.threshold in shares.astype(float) and found.coverage >= level - 0.02


def test_too_few_validation_rows_promise_nothing() -> None:
    p, truth = rows(30)
    assert cal.conformal(p[:8], truth[:8], p, truth, 0.9) is None
