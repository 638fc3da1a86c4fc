"""The transferability scores, against plain readings of the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tltools.judging import ranking


def sample(n: int, d: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    codes = random.permutation(np.arange(n) % classes)
    centres = random.standard_normal((classes, d))
    return centres[codes] * 0.8 + random.standard_normal((n, d)) @ np.diag(random.uniform(0.2, 2, d)), codes


SHAPES = [(60, 8), (30, 50)]


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_loo_ridge_is_the_balanced_accuracy_of_refits(n: int, d: int) -> None:
    x, y = sample(n, d)
    w = n / 3 / np.bincount(y)[y]
    mean = w @ x / w.sum()
    deviation = np.sqrt(w @ (x - mean) ** 2 / w.sum())
    scale = np.sqrt(deviation * np.median(deviation))
    z = np.c_[x / scale, np.ones(n)]
    unit = float(w @ (((x - mean) / scale) ** 2).sum(1) / n)  # mean squared length of a centred row

    def score(strength: float) -> float:
        penalty = strength * unit * np.diag([1.0] * d + [0.0])
        right = np.zeros(n)
        for i in range(n):
            k = np.arange(n) != i
            a = z[k].T @ (w[k, None] * z[k]) + penalty
            right[i] = (z[i] @ np.linalg.solve(a, z[k].T @ (w[k, None] * np.eye(3)[y[k]]))).argmax() == y[i]
        return float(np.mean([right[y == c].mean() for c in range(3)]))

    strengths = (0.01, 0.1, 1.0)
    assert ranking.loo_ridge(x, y, strengths) == pytest.approx(max(map(score, strengths)), abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_knn_leaves_the_row_itself_out(k: int) -> None:
    x, y = sample(50, 6)
    predicted = []
    for i in range(50):
        cosine = x @ x[i] / np.linalg.norm(x, axis=1) / np.linalg.norm(x[i])
        cosine[i] = -np.inf
        votes = np.zeros(3)
        for j in np.argsort(-cosine)[:k]:
            votes[y[j]] += np.exp(cosine[j] / 0.07)
        predicted.append(votes.argmax())
    expected = np.mean([(np.array(predicted) == y)[y == c].mean() for c in range(3)])
    assert ranking.knn(x, y, (k,)) == pytest.approx(expected, abs=1e-6)


def plain_evidence(f: np.ndarray, y: np.ndarray, spent: int = 0) -> float:
    """The formula with D x D matrices, maximised over both precisions by a general optimiser."""
    n, d = len(f) - spent, f.shape[1]

    def negative(logs: np.ndarray) -> float:
        a, b = np.exp(logs)
        matrix = a * np.eye(d) + b * f.T @ f
        m = b * np.linalg.solve(matrix, f.T @ y)
        value = n / 2 * np.log(b) + d / 2 * np.log(a) - n / 2 * np.log(2 * np.pi)
        value -= b / 2 * ((f @ m - y) ** 2).sum() + a / 2 * m @ m + np.linalg.slogdet(matrix)[1] / 2
        return -value / n

    fits = [minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000})
            for start in ((0.0, 0.0), (2.0, 2.0))]  # fmt: skip
    return -min(fit.fun for fit in fits)


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("centre", [False, True])
def test_logme_is_the_maximum_of_the_evidence(n: int, d: int, centre: bool) -> None:
    x, y = sample(n, d)
    y = np.where(np.arange(n) % 3 == 0, np.arange(n) % 4 % 3, y)  # labels with noise: the best precisions are finite
    targets, f = np.eye(3)[y], x
    if centre:
        targets, f = targets - targets.mean(0), x - x.mean(0)
    expected = np.mean([plain_evidence(f, targets[:, c], int(centre)) for c in range(3)])
    assert ranking.logme(x, y, centre=centre) == pytest.approx(expected, abs=1e-6)


def test_logme_of_numbers() -> None:
    x, _ = sample(60, 8)
    target = x @ np.arange(8.0) + np.random.default_rng(1).standard_normal(60)
    y = target / target.std()
    assert ranking.logme(x, target, classes=False) == pytest.approx(
        plain_evidence(x - x.mean(0), y - y.mean(), 1), abs=1e-6
    )


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_h_score_is_the_trace_of_its_formula(n: int, d: int) -> None:
    from sklearn.covariance import ledoit_wolf

    x, y = sample(n, d)
    covariance, alpha = ledoit_wolf(x)
    means = np.stack([x[y == c].mean(0) for c in range(3)])[y] - x.mean(0)
    expected = np.trace(np.linalg.inv(covariance) @ ((1 - alpha) * means.T @ means / n))
    assert ranking.h_score(x, y) == pytest.approx(expected, abs=1e-6)
    assert ranking.shrinkage(x - x.mean(0))[0] == pytest.approx(alpha, abs=1e-9)


def test_leep_and_nce_count_by_the_book() -> None:
    random = np.random.default_rng(2)
    theta = random.dirichlet(np.ones(4), 40)
    y, z = random.integers(0, 3, 40), theta.argmax(1)
    joint = np.array([[sum(theta[i, s] for i in range(40) if y[i] == t) / 40 for s in range(4)] for t in range(3)])
    leep = np.mean([np.log(sum(joint[y[i], s] / joint[:, s].sum() * theta[i, s] for s in range(4))) for i in range(40)])
    assert ranking.leep(theta, y) == pytest.approx(leep, abs=1e-6)
    nce = np.mean([np.log(((y == y[i]) & (z == z[i])).sum() / (z == z[i]).sum()) for i in range(40)])
    assert ranking.nce(z, y) == pytest.approx(nce, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_transrate_is_the_difference_of_coding_rates(n: int, d: int) -> None:
    x, y = sample(n, d)
    f = x - x.mean(0)

    def rate(z: np.ndarray) -> float:
        return float(np.log(np.linalg.eigvalsh(np.eye(d) + z.T @ z / (len(z) * 1e-4))).sum() / 2)

    expected = rate(f) - np.mean([rate(f[y == c]) for c in range(3)])
    assert ranking.transrate(x, y) == pytest.approx(expected, abs=1e-6)


def test_weighted_tau_is_the_weighted_share_of_ordered_pairs() -> None:
    random = np.random.default_rng(3)
    x, y = random.standard_normal(7), random.standard_normal(7)

    def tau(place: np.ndarray) -> float:
        total = agree = 0.0
        for i in range(7):
            for j in range(i):
                weight = 1 / (place[i] + 1) + 1 / (place[j] + 1)
                total += weight
                agree += weight * np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        return agree / total

    expected = (tau(np.argsort(np.argsort(-x))) + tau(np.argsort(np.argsort(-y)))) / 2
    assert ranking.weighted_tau(x, y) == pytest.approx(expected, abs=1e-6)


def test_every_score_prefers_features_that_know_the_task() -> None:
    random = np.random.default_rng(4)
    x, y = sample(90, 10)
    noise = random.standard_normal((90, 10))
    for score in (ranking.loo_ridge, ranking.knn, ranking.logme, ranking.h_score, ranking.transrate):
        assert score(x, y) > score(noise, y)
    target = x[:, 0] + 0.1 * noise[:, 0]
    assert ranking.loo_ridge_number(x, target) > 0.9 > 0.1 > ranking.loo_ridge_number(noise[:, 1:], target)
    assert ranking.knn_number(x, target) > ranking.knn_number(noise[:, 1:], target)


def test_combination_and_agreement() -> None:
    scores = {"a": [0.9, 0.8, 0.1], "b": [5.0, 7.0, float("nan")], "c": [float("nan")] * 3}
    np.testing.assert_allclose(ranking.combine(scores), [1.5, 1.5, 3.0])
    assert ranking.agreement(scores) == pytest.approx(1 / 3)
    assert np.isnan(ranking.agreement({"a": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="at least one score"):
        ranking.combine({"c": [float("nan")]})


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 40), st.integers(1, 20), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_scores_do_not_depend_on_the_unit_of_the_features(n: int, d: int, seed: int, by: float) -> None:
    x, y = sample(n, d, 2, seed)
    for score in (ranking.loo_ridge, ranking.knn, ranking.logme, ranking.h_score):
        assert score(x * by, y) == pytest.approx(score(x, y), rel=1e-4, abs=1e-4)


def test_degenerate_input_gives_no_number_or_a_finite_one() -> None:
    x, y = sample(12, 4)
    assert np.isnan(ranking.loo_ridge(x, np.zeros(12, int)))
    assert np.isnan(ranking.loo_ridge_number(x, np.ones(12)))
    for score in (ranking.logme, ranking.h_score, ranking.knn):
        assert np.isfinite(score(np.c_[x, np.ones(12)], y))
    np.testing.assert_array_equal(np.unique(ranking.bins(np.arange(100.0))), np.arange(10))


def test_the_track_record_is_the_mean_over_datasets_with_an_interval() -> None:
    good, bad = ([1.0, 2.0, 3.0], [0.1, 0.2, 0.3]), ([1.0, 2.0, 3.0], [0.3, 0.2, 0.1])
    assert ranking.track_record([good] * 6) == pytest.approx((1.0, 1.0, 1.0))
    tau, low, high = ranking.track_record([good, good, good, bad])
    assert tau == pytest.approx(0.5) and low < 0.5 < high
    assert ranking.track_record([good]) == pytest.approx((1.0, -1.0, 1.0))
    assert np.isnan(ranking.track_record([([1.0], [1.0])])[0])
