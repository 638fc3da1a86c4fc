"""The closed-form heads: leave-one-out is exact, temperatures are optimal, odd inputs are survived."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tltools.engine import heads
from tltools.judging.ranking import balanced_accuracy
from tltools.judging.ridge import solve, standardise


def brute_force(x: np.ndarray, y: np.ndarray, w: np.ndarray, scale: np.ndarray, penalty: float) -> np.ndarray:
    """Leave-one-out predictions by n refits of weighted ridge with a free intercept, written from the definition."""
    n, d = x.shape
    z = np.c_[x / scale, np.ones(n)]
    regulariser = penalty * np.eye(d + 1)
    regulariser[d, d] = 0.0
    out = np.empty_like(y)
    for i in range(n):
        keep = np.arange(n) != i
        a = z[keep].T @ (w[keep, None] * z[keep]) + regulariser
        out[i] = z[i] @ np.linalg.solve(a, z[keep].T @ (w[keep, None] * y[keep]))
    return out


@pytest.mark.parametrize(("n", "d"), [(30, 7), (25, 60), (12, 12)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_leave_one_out_equals_brute_force_refits(n: int, d: int, weighted: bool, strength: float) -> None:
    random = np.random.default_rng(n + d)
    x = random.standard_normal((n, d)) * random.uniform(0.1, 9, d) + random.standard_normal(d)
    y = np.eye(3)[random.integers(0, 3, n)]
    w = random.uniform(0.2, 3, n) if weighted else np.ones(n)
    mean, scale = standardise(x, w)
    problem = solve(x, y, w, mean, scale)
    expected = brute_force(x, y, w, scale, strength * problem.unit)
    np.testing.assert_allclose(problem.left_out(strength), expected, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (20, 50)])
def test_weights_solve_the_normal_equations(n: int, d: int) -> None:
    random = np.random.default_rng(3)
    x, y, w = random.standard_normal((n, d)), random.standard_normal((n, 2)), random.uniform(0.5, 2, n)
    mean, scale = standardise(x, w)
    problem = solve(x, y, w, mean, scale)
    z, t = (x - mean) / scale, y - w @ y / w.sum()
    expected = np.linalg.solve(z.T @ (w[:, None] * z) + 0.3 * problem.unit * np.eye(d), z.T @ (w[:, None] * t))
    np.testing.assert_allclose(problem.weights(0.3), expected.T, atol=1e-9)


def test_few_left_out_rows_of_many_are_the_same_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    x, y, w = random.standard_normal((90, 5)), random.standard_normal((90, 1)), np.ones(90)
    whole = solve(x, y, w, *standardise(x, w))
    monkeypatch.setattr("tltools.judging.ridge.LOO_ROWS", 11)
    monkeypatch.setattr("tltools.judging.ridge.BLOCK", 16)
    part = solve(x, y, w, *standardise(x, w))
    assert len(part.rows) == 11
    np.testing.assert_allclose(part.left_out(0.1), whole.left_out(0.1)[part.rows], atol=1e-10)


def peak(work: Callable[[], Any]) -> int:
    """Bytes that a call takes at most beside what there is, what it returns included."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_the_memory_of_a_fit_does_not_grow_with_the_rows_beyond_those_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tltools.judging.ridge.LOO_ROWS", 64)
    monkeypatch.setattr("tltools.judging.ridge.BLOCK", 64)
    x = np.random.default_rng(5).standard_normal((6_400, 160)).astype(np.float32)

    def took(n: int) -> int:
        w = np.ones(n)
        y, (mean, scale) = np.ones((n, 1)), standardise(x[:n], w)
        return peak(lambda: solve(x[:n], y, w, mean, scale)) - 4 * 8 * n  # some numbers a row

    assert took(6_400) < 1.2 * took(640)


def test_rows_that_are_left_out_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tltools.judging.ridge.BLOCK", 64)
    x, w = np.random.default_rng(5).standard_normal((4_000, 100)).astype(np.float32), np.ones(4_000)
    y, (mean, scale) = np.ones((4_000, 1)), standardise(x, w)
    whole = 8 * x.size  # in double precision
    assert peak(lambda: solve(x, y, w, mean, scale)) < 2.5 * whole, "those of the dataset, and those in the eigenbasis"
    problem = solve(x, y, w, mean, scale)
    assert peak(lambda: problem.left_out(1.0)) < 0.5 * whole


def test_a_fit_of_many_classes_holds_the_outputs_of_one_strength() -> None:
    x, codes = np.random.default_rng(6).standard_normal((3_000, 4)), np.arange(3_000) % 150
    assert peak(lambda: heads.ridge_classifier(x, codes, 150)) < 12 * 8 * 3_000 * 150


def blobs(n: int, d: int, classes: int, *, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, d)) * apart
    codes = random.integers(0, classes, n)
    return (centres[codes] + random.standard_normal((n, d))).astype(np.float32), codes


def test_left_out_score_foretells_the_score_on_new_rows() -> None:
    x, y = blobs(600, 40, 4, apart=0.35)
    new_x, new_y = blobs(4000, 40, 4, apart=0.35, seed=1)
    head = heads.ridge_classifier(x, y, 4)
    score = balanced_accuracy(new_y, head.outputs(new_x).argmax(1))
    assert 0.6 < score < 0.99
    assert abs(score - head.loo_score) < 0.06


def test_a_column_counts_by_the_root_of_its_deviation() -> None:
    random = np.random.default_rng(6)
    x = random.standard_normal((5_000, 4)) * [1.0, 4.0, 4.0, 100.0]
    x = np.column_stack([x, np.full(5_000, 3.0), 7.0 + 1e-4 * random.standard_normal(5_000)])
    mean, scale = standardise(x, np.ones(len(x)))
    varies = [1.0, 4.0, 4.0, 100.0]
    median = np.median([*varies, 1e-4])
    np.testing.assert_allclose(scale, [*np.sqrt(median * np.array(varies)), median, median], rtol=0.05)
    assert mean[4] == 3.0


def test_a_handful_of_rows_leaves_the_strength_near_one_and_many_rows_choose_it() -> None:
    alike = np.zeros(len(heads.STRENGTHS))
    assert heads.STRENGTHS[heads.likeliest(alike, heads.STRENGTHS)] == pytest.approx(1.0)
    weak = 5.0 * np.arange(len(heads.STRENGTHS))  # of hundreds of rows: they lose more with every step of strength
    assert heads.likeliest(weak, heads.STRENGTHS) == 0


def test_few_rows_are_served_better_than_by_own_scales_and_the_least_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def score() -> float:
        found = []
        for draw in range(30):
            random = np.random.default_rng(draw)
            deviation = np.where(np.arange(200) < 50, 1.0, 0.2)  # as of a backbone: what varies more tells more
            centres = random.standard_normal((2, 200)) * np.where(np.arange(200) < 50, 0.25, 0.0)
            codes = np.repeat([0, 1], 506)
            x = (centres[codes] + random.standard_normal((1012, 200)) * deviation).astype(np.float32)
            few = np.r_[0:6, 506:512]
            head = heads.ridge_classifier(x[few], codes[few], 2)
            found.append(balanced_accuracy(codes, head.outputs(x).argmax(1)))
        return float(np.mean(found))

    now = score()
    monkeypatch.setattr(heads, "likeliest", lambda losses, strengths: int(np.argmin(losses)))
    monkeypatch.setattr(heads, "standardise", lambda x, w: (x.mean(0), x.std(0)))
    assert now > score() + 0.02


def test_temperature_is_the_minimum_of_the_smoothed_log_loss() -> None:
    random = np.random.default_rng(5)
    raw, codes, w = random.standard_normal((200, 3)), random.integers(0, 3, 200), random.uniform(0.5, 2, 200)
    raw[np.arange(200), codes] += 0.7
    smooth = np.full((200, 3), 1 / 203) + np.eye(3)[codes] * (1 - 3 / 203)

    def loss(tau: float) -> float:
        return float(-w @ (smooth * np.log(heads.softmax(tau * raw))).sum(1))

    best = minimize_scalar(loss, bounds=(0.01, 20), method="bounded", options={"xatol": 1e-9}).x
    assert heads.slope(raw, codes, w) == pytest.approx(best, rel=1e-4)


def test_probabilities_are_calibrated_on_new_rows() -> None:
    x, y = blobs(400, 60, 3, apart=0.25)
    new_x, new_y = blobs(6000, 60, 3, apart=0.25, seed=2)
    p = heads.ridge_classifier(x, y, 3).outputs(new_x)
    assert p.max(1).mean() == pytest.approx((p.argmax(1) == new_y).mean(), abs=0.05)


def test_logits_agree_with_outputs() -> None:
    x, y = blobs(80, 10, 3, apart=1.0)
    head = heads.ridge_classifier(x, y, 3)
    weight, bias = head.logits()
    np.testing.assert_allclose(heads.softmax(x @ weight.T + bias), head.outputs(x), atol=1e-5)


def test_balanced_weights_serve_the_rare_class() -> None:
    random = np.random.default_rng(7)
    codes = (random.random(600) < 0.05).astype(int)
    x = (random.standard_normal((600, 8)) + codes[:, None] * 0.8).astype(np.float32)
    scores = {b: heads.ridge_classifier(x, codes, 2, balanced=b).loo_score for b in (True, False)}
    assert scores[True] > scores[False] + 0.1


def test_draws_of_the_same_rows_share_a_fit_and_equal_single_fits() -> None:
    x, y = blobs(120, 9, 3, apart=1.0)
    random = np.random.default_rng(0)
    everything = np.arange(120)
    draws = [random.permutation(120)[:40], everything, random.permutation(120)]
    fitted = heads.fit_many(x, y, draws, "classes", classes=3)
    assert fitted[1] is fitted[2]
    rows = np.sort(draws[0])
    alone = heads.ridge_classifier(x[rows], y[rows], 3)
    np.testing.assert_array_equal(fitted[0].weight, alone.weight)
    np.testing.assert_array_equal(fitted[0].loo_rows, np.arange(len(rows)))


def test_regression_recovers_a_linear_target() -> None:
    random = np.random.default_rng(8)
    x = random.standard_normal((200, 6)).astype(np.float32)
    y = x @ np.arange(6.0) + 3 + 0.1 * random.standard_normal(200)
    head = heads.fit_many(x, y, [np.arange(150)], "number")[0]
    assert head.loo_score > 0.99
    assert np.abs(head.outputs(x[150:])[:, 0] - y[150:]).mean() < 0.15


def test_a_class_that_no_row_shows_is_never_chosen_and_never_impossible() -> None:
    x, y = blobs(60, 5, 2, apart=2.0)
    p = heads.ridge_classifier(x, y, 4).outputs(x)
    assert set(p.argmax(1)) <= {0, 1}
    assert (p[:, 2:] > 0).all() and (p[:, 2:] < 0.05).all()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_next_to_no_rows_give_a_head(rows: int) -> None:
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    outputs = heads.ridge_classifier(x, np.arange(rows), 4).outputs(x)
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)
    assert np.isfinite(heads.ridge_regression(x, np.arange(float(rows))).outputs(x)).all()


def test_constant_features_and_no_rows() -> None:
    head = heads.ridge_classifier(np.ones((6, 4), np.float32), np.array([0, 1, 0, 1, 1, 1]), 2)
    np.testing.assert_allclose(head.outputs(np.ones((1, 4), np.float32)), [[0.5, 0.5]], atol=1e-3)
    with pytest.raises(ValueError, match="at least one training row"):
        heads.ridge_classifier(np.ones((0, 4), np.float32), np.zeros(0, int), 2)
    with pytest.raises(ValueError, match="finite"):
        heads.ridge_regression(np.full((3, 2), np.nan, np.float32), np.arange(3.0))


def test_very_wide_and_tall_features_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tltools.judging.ridge.WIDEST", 64)
    x, y = blobs(300, 200, 3, apart=0.5)
    new_x, new_y = blobs(1000, 200, 3, apart=0.5, seed=1)
    head = heads.ridge_classifier(x, y, 3)
    assert head.weight.shape == (3, 200)
    score = balanced_accuracy(new_y, head.outputs(new_x).argmax(1))
    assert score > 0.8 and abs(score - head.loo_score) < 0.1


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(2, 5), st.integers(0, 10_000), st.floats(0.01, 1e4))
def test_rescaling_or_shifting_the_features_changes_nothing(n: int, d: int, k: int, seed: int, by: float) -> None:
    random = np.random.default_rng(seed)
    x, codes = random.standard_normal((n, d)), random.integers(0, k, n)
    one, two = heads.ridge_classifier(x, codes, k), heads.ridge_classifier(x * by + 3 * by, codes, k)
    assert one.strength == two.strength
    np.testing.assert_allclose(one.outputs(x), two.outputs(x * by + 3 * by), atol=2e-3)
    np.testing.assert_allclose(one.outputs(x).sum(1), 1, rtol=1e-5)
