"""Remedies for gaps between groups: weights of the training rows by group and class, and thresholds per group."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tltools.records import refuse

Array = NDArray[Any]
Remedy = Literal["reweighted", "group_balanced"]

LEAST = 30  # training rows; smaller groups are weighted together, or a handful of rows would weigh as much as the rest


def joined(groups: Array, least: int = LEAST) -> Array:
    """(n,) codes of the groups; those of fewer than `least` rows share one code."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.unique(np.where(counts[codes] < least, -1, codes), return_inverse=True)[1].astype(np.int64)


def cells(groups: Array, codes: Array) -> Array:
    """(n,) codes of the pairs of group and class that occur."""
    return np.unique(np.stack([groups, codes]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def row_weights(remedy: Remedy, groups: Array, codes: Array) -> Array:
    """(n,) weights, 1 on average, under which group and class say nothing of each other; classes weigh the same.

    reweighted: P(group) P(class) / P(group, class) of Kamiran and Calders (2012), over P(class), as every head here
    counts each class the same. group_balanced: every pair of group and class weighs the same, which is what drawing
    rows evenly from them comes to on average.
    """
    pairs = cells(groups, codes)
    weights = 1.0 / np.bincount(pairs)[pairs]
    if remedy == "reweighted":
        weights = weights * np.bincount(groups)[groups]
    return np.asarray(weights * (len(codes) / weights.sum()))


def equalised(
    held: Array, held_truth: Array, held_groups: Array, outputs: Array, groups: Array, *, seed: int = 0
) -> Array:
    """(M,) codes said of two classes when each group gets thresholds of its own, chosen on held-out rows so that true
    and false positive rates agree at the best balanced accuracy (fairlearn's ThresholdOptimizer; Hardt et al. 2016).

    held (R, 2), outputs (M, 2) probabilities; held_truth (R,) codes; names of groups (R,) and (M,). A prediction needs
    the group, and is drawn at random where two thresholds are mixed. Groups that are small or of one class among the
    held-out rows share thresholds.

    Raises: Refusal when there are not two classes.
    """
    if held.shape[1] != 2 or len(np.unique(held_truth)) != 2:
        raise refuse("thresholds", "need two classes among the held-out rows.", "Choose a weighting remedy instead.")
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator, ClassifierMixin

    class AsSaid(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A fitted classifier whose rows are its probabilities."""

        classes_ = np.arange(2)

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, rows: Array, truth: Array) -> AsSaid:
            return self

        def predict_proba(self, rows: Array) -> Array:
            return np.asarray(rows, np.float64)

    names, codes = np.unique(held_groups, return_inverse=True)
    per_class = np.stack([np.bincount(codes[held_truth == k], minlength=len(names)) for k in (0, 1)])
    enough = names[(per_class.sum(0) >= LEAST) & (per_class.min(0) > 0)]
    together = [np.where(np.isin(one, enough), one.astype(object), "") for one in (held_groups, groups)]
    optimiser = ThresholdOptimizer(
        estimator=AsSaid(), constraints="equalized_odds", objective="balanced_accuracy_score", prefit=True,
        predict_method="predict_proba",
    )  # fmt: skip
    optimiser.fit(held, held_truth, sensitive_features=together[0])
    return np.asarray(optimiser.predict(outputs, sensitive_features=together[1], random_state=seed), np.int64)
