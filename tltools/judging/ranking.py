"""Scores that say before training how well a source model's features suit a task, and how to combine and judge them.

Features are (n, D) arrays, codes (n,) class codes, targets (n,) numbers. Higher is better everywhere. The formulas and
what independent audits say of them stand in the statistics page of the docs; none of them is trusted alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging.ridge import solve, standardise

Array = NDArray[Any]

STRENGTHS = tuple(10.0**k for k in np.arange(-4.0, 3.1, 0.5))
NEIGHBOURS = (1, 5, 10, 20)


def loo_ridge(features: Array, codes: Array, strengths: Sequence[float] = STRENGTHS) -> float:
    """Balanced accuracy of the exact leave-one-out predictions of class-balanced ridge, at the best strength."""
    y = np.unique(codes, return_inverse=True)[1]
    if y.max() == 0:
        return float("nan")
    return max(balanced_accuracy(y[rows], said) for rows, said in _classes_left_out(features, y, strengths))


def loo_ridge_number(features: Array, targets: Array, strengths: Sequence[float] = STRENGTHS) -> float:
    """R2 of the exact leave-one-out predictions of ridge, at the best strength."""
    if np.ptp(targets) == 0:
        return float("nan")
    y = np.asarray(targets, np.float64)
    return max(_r2(y[rows], said) for rows, said in _numbers_left_out(features, y, strengths))


def left_out_classes(features: Array, codes: Array, strengths: Sequence[float] = STRENGTHS) -> Array:
    """(n,) the class that ridge gives each row when it is left out, at the strength that `loo_ridge` takes; for at most
    `ridge.LOO_ROWS` rows and two or more classes."""
    names, y = np.unique(codes, return_inverse=True)
    tried = _classes_left_out(features, y, strengths)
    return np.asarray(names[max(tried, key=lambda one: balanced_accuracy(y[one[0]], one[1]))[1]])


def left_out_number(features: Array, targets: Array, strengths: Sequence[float] = STRENGTHS) -> Array:
    """(n,) the number that ridge gives each row when it is left out, at the strength that `loo_ridge_number` takes."""
    y = np.asarray(targets, np.float64)
    return max(_numbers_left_out(features, y, strengths), key=lambda one: _r2(y[one[0]], one[1]))[1]


def _classes_left_out(features: Array, y: Array, strengths: Sequence[float]) -> Iterator[tuple[Array, Array]]:
    """Per strength: (rows that were left out, their predicted codes)."""
    counts = np.bincount(y)
    w = len(y) / len(counts) / counts[y]
    problem = solve(features, np.eye(len(counts))[y], w, *standardise(features, w))
    for strength in strengths:
        yield problem.rows, problem.left_out(strength).argmax(1)


def _numbers_left_out(features: Array, y: Array, strengths: Sequence[float]) -> Iterator[tuple[Array, Array]]:
    """Per strength: (rows that were left out, their predicted numbers)."""
    w = np.ones(len(y))
    problem = solve(features, y[:, None], w, *standardise(features, w))
    for strength in strengths:
        yield problem.rows, problem.left_out(strength)[:, 0]


def _r2(truth: Array, said: Array) -> float:
    return 1 - float(((said - truth) ** 2).mean() / truth.var())


def knn(features: Array, codes: Array, neighbours: Sequence[int] = NEIGHBOURS, heat: float = 0.07) -> float:
    """Balanced accuracy of a vote among the k most similar other rows: cosine, weight exp(cosine / heat), best k."""
    y = np.unique(codes, return_inverse=True)[1]
    votes = _votes(features, np.eye(y.max() + 1)[y], neighbours, heat)
    return max(balanced_accuracy(y, vote.argmax(1)) for vote in votes)


def knn_number(features: Array, targets: Array, neighbours: Sequence[int] = NEIGHBOURS, heat: float = 0.07) -> float:
    """R2 of the weighted mean of the k most similar other rows, best k."""
    y = np.asarray(targets, np.float64)
    if np.ptp(y) == 0:
        return float("nan")
    votes = _votes(features, np.c_[y, np.ones(len(y))], neighbours, heat)
    return max(1 - float(((vote[:, 0] / vote[:, 1] - y) ** 2).mean() / y.var()) for vote in votes)


def logme(features: Array, codes_or_targets: Array, *, classes: bool = True, centre: bool = True) -> float:
    """Log evidence per row of Bayesian linear regression, at its maximum over both precisions (You et al., 2021).

    Classes become 0/1 targets, one regression each, averaged. centre: take the mean out of features and targets, so
    that the intercept is free, and count one row less for it; without it the score is the authors' own.
    """
    f = np.asarray(features, np.float64)
    if classes:
        y = (codes_or_targets[:, None] == np.unique(codes_or_targets)[None]).astype(np.float64)
    else:
        y = np.asarray(codes_or_targets, np.float64).reshape(-1, 1)
        y = y / max(float(y.std()), 1e-300)  # evidence has the unit of the target; this one has none
    if centre:
        f, y = f - f.mean(0), y - y.mean(0)
    s, u = _left_vectors(f)
    along = (u.T @ y) ** 2
    beside = np.maximum((y**2).sum(0) - along.sum(0), 0.0)
    return float(np.mean([_evidence(s, along[:, k], beside[k], len(f) - centre) for k in range(y.shape[1])]))


def h_score(features: Array, codes: Array) -> float:
    """Regularised H-score: tr(shrunk covariance^-1 (1 - alpha) covariance of the class means), Ledoit-Wolf alpha."""
    f = np.asarray(features, np.float64)
    f = f - f.mean(0)
    n, width = f.shape
    alpha, mu = shrinkage(f)
    y = np.unique(codes, return_inverse=True)[1]
    counts = np.bincount(y)
    means = np.stack([f[y == c].mean(0) for c in range(len(counts))]) * np.sqrt(counts / n)[:, None]
    s, u = _left_vectors(f)
    directions = (f.T @ u) / np.sqrt(s)  # (D, r): the class means lie in their span
    floor = alpha * mu if width else 0.0
    return float((1 - alpha) * ((means @ directions) ** 2 / ((1 - alpha) * s / n + floor)).sum())


def shrinkage(centred: Array) -> tuple[float, float]:
    """Ledoit and Wolf's (alpha, mu) of centred rows: covariance := (1 - alpha) S + alpha mu I."""
    n, width = centred.shape
    lengths = (centred**2).sum(1)
    gram = centred @ centred.T if n <= width else centred.T @ centred
    squared, mu = float((gram**2).sum()) / n**2, float(lengths.sum()) / n / width
    apart = (squared - width * mu**2) / width
    noise = min((float((lengths**2).sum()) / n - squared) / (n * width), apart)
    return (noise / apart if apart > 1e-12 * squared and noise > 0 else 0.0), mu


def leep(source_probabilities: Array, codes: Array) -> float:
    """Log expected empirical prediction from the source head's (n, Z) probabilities (Nguyen et al., 2020)."""
    theta = np.asarray(source_probabilities, np.float64)
    y = np.unique(codes, return_inverse=True)[1]
    joint = np.eye(y.max() + 1)[y].T @ theta / len(y)
    given = joint / np.maximum(joint.sum(0), 1e-300)
    return float(np.log(np.maximum((theta * given[y]).sum(1), 1e-300)).mean())


def nce(source_codes: Array, codes: Array) -> float:
    """Negative conditional entropy -H(target class | source class) in nats (Tran et al., 2019)."""
    z, y = np.unique(source_codes, return_inverse=True)[1], np.unique(codes, return_inverse=True)[1]
    joint = np.zeros((y.max() + 1, z.max() + 1))
    np.add.at(joint, (y, z), 1 / len(y))
    inside = joint > 0
    return float((joint[inside] * np.log((joint / joint.sum(0))[inside])).sum())


def transrate(features: Array, codes: Array, eps: float = 1e-4) -> float:
    """Coding rate of all rows less the mean rate within the classes (Huang et al., 2022; TLlib's form)."""
    f = np.asarray(features, np.float64)
    f = f - f.mean(0)
    present = np.unique(codes)
    return _coding_rate(f, eps) - float(np.mean([_coding_rate(f[codes == c], eps) for c in present]))


def bins(targets: Array, count: int = 10) -> Array:
    """(n,) numbers -> (n,) codes of equally full bins, so that class scores can speak of numbers."""
    edges = np.unique(np.quantile(targets, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(edges, targets, side="right")


def balanced_accuracy(truth: Array, predicted: Array) -> float:
    """Mean over the classes in `truth` of the share of its rows that are predicted right."""
    counts = np.bincount(truth)
    right = np.bincount(truth[truth == predicted], minlength=len(counts))
    return float((right[counts > 0] / counts[counts > 0]).mean())


def ranks(scores: Sequence[float]) -> Array:
    """1 = best; equals share the mean of their places; a score that is not a number comes last."""
    values = np.asarray(scores, np.float64)
    from scipy.stats import rankdata  # not at the top: half a second of every command and page

    return np.asarray(rankdata(-np.where(np.isnan(values), -np.inf, values)))


def combine(scores: Mapping[str, Sequence[float]]) -> Array:
    """Borda: each candidate's mean place over the scores, lower is better; a score without any number is left out.

    Raises: ValueError when no score is left.
    """
    places = [ranks(values) for values in scores.values() if not np.isnan(np.asarray(values, np.float64)).all()]
    if not places:
        raise ValueError("at least one score must be a number for some candidate; got none")
    return np.asarray(np.mean(places, axis=0))


def agreement(scores: Mapping[str, Sequence[float]]) -> float:
    """Mean Kendall tau over all pairs of scores: 1 = one order, 0 = unrelated; nan when there is nothing to compare."""
    places = [ranks(values) for values in scores.values() if not np.isnan(np.asarray(values, np.float64)).all()]
    distinct = [place for place in places if np.ptp(place) > 0]  # a score that sees no difference orders nothing
    from scipy.stats import kendalltau

    known = [float(kendalltau(a, b).statistic) for a, b in combinations(distinct, 2)]
    return float(np.mean(known)) if known else float("nan")


def weighted_tau(estimates: Sequence[float], realised: Sequence[float]) -> float:
    """Kendall's tau with hyperbolic weights: mistakes among the best count most. nan for fewer than two candidates."""
    if len(estimates) < 2:
        return float("nan")
    from scipy.stats import weightedtau

    return float(weightedtau(np.asarray(estimates, np.float64), np.asarray(realised, np.float64)).statistic)


def track_record(
    history: Sequence[tuple[Sequence[float], Sequence[float]]], *, seed: int = 0, repeats: int = 2000
) -> tuple[float, float, float]:
    """(weighted tau, low, high) of estimates against realised gains: the mean over datasets, 90 % bootstrap interval.

    history: per dataset, the estimates and the gains of its candidates; datasets with fewer than two do not count.
    All nan when no dataset counts; with a single one the interval is the whole range.
    """
    taus = np.array([weighted_tau(estimates, gains) for estimates, gains in history if len(estimates) > 1])
    taus = taus[~np.isnan(taus)]
    if not len(taus):
        return float("nan"), float("nan"), float("nan")
    if len(taus) == 1:
        return float(taus[0]), -1.0, 1.0
    random = np.random.default_rng(seed)
    means = taus[random.integers(0, len(taus), (repeats, len(taus)))].mean(1)
    return float(taus.mean()), float(np.quantile(means, 0.05)), float(np.quantile(means, 0.95))


def _votes(features: Array, values: Array, neighbours: Sequence[int], heat: float) -> list[Array]:
    """Per k: (n, K) sums of `values` over the k most similar other rows, weighted."""
    f = np.asarray(features, np.float32)
    f = f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12)
    n, most = len(f), min(max(neighbours), len(f) - 1)
    votes = [np.zeros((n, values.shape[1])) for _ in neighbours]
    for start in range(0, n, 1024):
        similar = f[start : start + 1024] @ f.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -np.inf
        near = np.argpartition(-similar, most - 1, axis=1)[:, :most]
        closeness = np.take_along_axis(similar, near, 1)
        order = np.argsort(-closeness, axis=1, kind="stable")
        near, closeness = np.take_along_axis(near, order, 1), np.take_along_axis(closeness, order, 1)
        weight = np.exp((closeness - closeness[:, :1]).astype(np.float64) / heat)
        for vote, k in zip(votes, neighbours, strict=True):
            vote[start : start + 1024] = np.einsum("nk,nkc->nc", weight[:, :k], values[near[:, :k]])
    return votes


def _evidence(s: Array, along: Array, beside: float, n: int) -> float:
    """Most log evidence per row; s: eigenvalues of F'F, along: squared target along each, beside: what is left.

    With the noise precision b at its best for a given ratio r of the precisions, b = n / y'(I + FF'/r)^-1 y, only the
    ratio is left to search: a grid finds the right hill, a bounded search its top.
    """
    if not len(s):
        s, along = np.ones(1), np.zeros(1)

    from scipy.optimize import minimize_scalar

    def negative(log_ratio: float) -> float:
        inflation = 1 + s / np.exp(log_ratio)
        unexplained = max(float((along / inflation).sum()) + beside, 1e-300)
        return float(np.log(2 * np.pi * unexplained / n) + 1 + np.log(inflation).sum() / n) / 2

    grid = np.log(s.mean()) + np.linspace(-20, 20, 81)
    best = grid[int(np.argmin([negative(point) for point in grid]))]
    top = minimize_scalar(negative, bounds=(best - 0.5, best + 0.5), method="bounded", options={"xatol": 1e-7})
    return -min(float(top.fun), negative(float(best)))


def _left_vectors(f: Array) -> tuple[Array, Array]:
    """Squared singular values above rounding (r,) and left singular vectors (n, r) of f."""
    from scipy.linalg import eigh

    if f.shape[0] <= f.shape[1]:
        s, u = eigh(f @ f.T, check_finite=False)
        keep = s > 1e-12 * max(float(s[-1]), 1e-300)
        return s[keep], u[:, keep]
    s, v = eigh(f.T @ f, check_finite=False)
    keep = s > 1e-12 * max(float(s[-1]), 1e-300)
    return s[keep], f @ (v[:, keep] / np.sqrt(s[keep]))


def _coding_rate(f: Array, eps: float) -> float:
    """1/2 logdet(I + F'F / (n eps))."""
    n = len(f)
    gram = f @ f.T if n <= f.shape[1] else f.T @ f
    return float(0.5 * np.linalg.slogdet(np.eye(len(gram)) + gram / (n * eps))[1])
