"""Labels saved and what more labels bring, against curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltools.judging.curves import control_curve, isotonic, labels_saved, more_labels, worth

LABELS = np.array([25.0, 50, 100, 200, 400])


def power(n: np.ndarray, b: float = 1.0, c: float = 0.3) -> np.ndarray:
    return 0.95 - b * n**-c


def noisy(rng: np.random.Generator, values: np.ndarray, error: float, replicates: int = 300) -> np.ndarray:
    return values + rng.normal(0, error, (replicates, len(values)))


def test_a_source_worth_three_times_its_labels_is_told_exactly() -> None:
    rng = np.random.default_rng(0)
    control = power(LABELS)
    curve = control_curve(LABELS, control, noisy(rng, control, 0.001))
    score = float(power(np.array([300.0]))[0])
    found = labels_saved(curve, 100, score, rng.normal(score, 0.001, 300))
    assert found.bound == "exact" and found.multiplier == pytest.approx(3.0, rel=0.05)
    assert found.labels_saved == pytest.approx(200, rel=0.1)
    assert found.low < 3.0 < found.high < 3.6


def test_the_interval_of_labels_covers_the_truth() -> None:
    rng, covered, studies = np.random.default_rng(1), 0, 120
    truth, error = 2.0, 0.01
    for _ in range(studies):
        control = power(LABELS) + rng.normal(0, error, 5)
        seen = float(power(np.array([200.0]))[0]) + rng.normal(0, error)
        curve = control_curve(LABELS, control, noisy(rng, control, error))
        found = labels_saved(curve, 100, seen, rng.normal(seen, error, 300))
        high = np.inf if found.high is None else found.high
        covered += found.bound != "refused" and found.low <= truth <= high
    assert covered >= 0.9 * studies, covered


def test_beyond_the_control_the_answer_is_at_least() -> None:
    rng = np.random.default_rng(2)
    control = power(LABELS)
    curve = control_curve(LABELS, control, noisy(rng, control, 0.002))
    found = labels_saved(curve, 50, 0.95, rng.normal(0.95, 0.002, 300))
    assert (found.bound, found.high, found.multiplier, found.labels_saved) == ("at_least", None, 8.0, 350.0)
    assert "400 labels" in found.because


def test_a_lead_that_may_be_chance_saves_no_more_than_its_interval_says() -> None:
    rng = np.random.default_rng(2)
    labels, control = np.array([50.0, 100, 250, 500]), np.array([0.70, 0.75, 0.79, 0.80])
    curve = control_curve(labels, control, noisy(rng, control, 0.015))
    found = labels_saved(curve, 50, 0.801, rng.normal(0.801, 0.015, 300))
    assert found.bound == "at_least" and found.high is None and found.low == found.multiplier
    assert 1 < found.multiplier < 5 and found.labels_saved == pytest.approx(50 * found.multiplier - 50)
    assert "Within chance" in found.because
    level = labels_saved(curve, 500, 0.801, rng.normal(0.801, 0.015, 300))
    assert level.bound == "refused" and level.multiplier is None and "cannot be told" in level.because
    below = labels_saved(curve, 50, 0.699, rng.normal(0.699, 0.015, 300))
    assert below.bound == "refused" and "within chance" in below.because
    assert below.at_most is not None and below.at_most > 1, "a tenth of an error apart may be worth more than its own"


def test_below_the_control_it_is_refused_with_what_it_is_worth_at_most() -> None:
    rng = np.random.default_rng(3)
    control = power(LABELS)
    curve = control_curve(LABELS, control, noisy(rng, control, 0.002))
    found = labels_saved(curve, 100, 0.3, rng.normal(0.3, 0.002, 300))
    assert found.bound == "refused" and found.at_most == 0.25 and "fewest labels" in found.because


@pytest.mark.parametrize(
    ("labels", "control", "words"),
    [
        (LABELS[:3], power(LABELS[:3]), "at least 4"),
        (LABELS, power(LABELS)[[0, 3, 1, 2, 4]], "falls with more labels"),
        (LABELS, np.full(5, 0.7), "does not get better"),
    ],
)
def test_a_curve_that_cannot_be_read_backwards_is_refused_because(labels, control, words: str) -> None:
    rng = np.random.default_rng(4)
    curve = control_curve(labels, control, noisy(rng, control, 0.002))
    found = labels_saved(curve, 50, 0.6, rng.normal(0.6, 0.002, 300))
    assert found.bound == "refused" and words in found.because and found.multiplier is None


@pytest.mark.parametrize("labels", [LABELS[:2], LABELS])
def test_beyond_a_control_whose_curve_cannot_be_read_it_is_at_least_all_of_its_labels(labels) -> None:
    rng = np.random.default_rng(4)
    control = np.full(len(labels), 0.6)  # flat: chance decides where it is best
    curve = control_curve(labels, control, noisy(rng, control, 0.01))
    ahead = labels_saved(curve, 50, 0.65, rng.normal(0.65, 0.01, 300))
    assert (ahead.bound, ahead.multiplier) == ("at_least", labels[-1] / 50) and ahead.labels_saved == labels[-1] - 50
    chance = labels_saved(curve, 50, 0.61, rng.normal(0.61, 0.01, 300))
    assert chance.bound == "refused" and chance.multiplier is None


def test_of_several_controls_the_best_at_each_point_counts() -> None:
    rng = np.random.default_rng(5)
    good, weak = power(LABELS), power(LABELS) - 0.1
    both = np.stack([weak, good])
    curve = control_curve(LABELS, both, both + rng.normal(0, 0.001, (300, 2, 5)))
    alone = control_curve(LABELS, good, noisy(rng, good, 0.001))
    assert np.allclose(curve.values, alone.values)


def test_more_labels_are_worth_what_the_power_law_says() -> None:
    rng = np.random.default_rng(6)
    errors = 0.05 + 1.0 * LABELS**-0.5
    found = more_labels(LABELS, errors, noisy(rng, errors, 0.0005))
    expected = 400**-0.5 - 800**-0.5
    assert found is not None and found.more == 400
    assert found.gain == pytest.approx(expected, rel=0.15) and found.low <= expected <= found.high
    assert more_labels(LABELS[:3], errors[:3], noisy(rng, errors[:3], 0.001)) is None
    assert more_labels(LABELS, errors[::-1], noisy(rng, errors[::-1], 0.001)) is None


def test_saved_labels_have_a_price() -> None:
    assert worth(200, price=0.5, per_hour=50) == {"money": 100.0, "hours": 4.0}
    assert worth(200) == {}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_isotonic_fit_never_falls_and_is_the_nearest(values: list[float]) -> None:
    from sklearn.isotonic import IsotonicRegression

    fit = isotonic(np.array(values))
    assert (np.diff(fit) >= -1e-12).all()
    assert np.allclose(fit, IsotonicRegression().fit_transform(np.arange(len(values)), values), atol=1e-9)
