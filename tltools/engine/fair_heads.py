"""Linear heads on frozen features that mind groups: rows weighted by group and class, or by the worst pair of them.

The group is read while the head is fitted and never again: a prediction needs no sensitive column.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tltools.engine.heads import Head, ridge_classifier, softmax
from tltools.judging.remedies import cells, joined, row_weights

Array = NDArray[Any]
FairKind = Literal["reweighted", "group_balanced", "group_dro"]

ROUNDS = 10
STEP = 2.0  # how fast weight moves to the pairs that are served worst


def fair_head(kind: FairKind, features: Array, codes: Array, groups: Array, classes: int) -> Head:
    """Fits a classifier on (n, D) features, (n,) class codes below `classes` and (n,) groups.

    Raises: ValueError when there is no row, or a feature is not finite.
    """
    codes, groups = np.asarray(codes, np.int64), joined(groups)
    if kind != "group_dro":
        return ridge_classifier(features, codes, classes, weights=row_weights(kind, groups, codes))
    return group_dro(features, codes, cells(groups, codes), classes)


def group_dro(features: Array, codes: Array, pairs: Array, classes: int) -> Head:
    """Group DRO (Sagawa et al. 2020) in closed form: (n,) `pairs` of group and class weigh the same at first; in each
    round their weights grow exponentially with their loss on rows left out, and the head is solved for again. Kept is
    the head whose worst pair loses least.
    """
    sizes = np.bincount(pairs)
    share = np.full(len(sizes), 1 / len(sizes))
    found = []
    for k in range(ROUNDS):
        head = ridge_classifier(features, codes, classes, weights=(share / sizes)[pairs] * len(codes))
        losses = pair_losses(head, codes, pairs)
        if losses is None:
            return head
        found.append((float(losses.max()), k, head))
        share = share * np.exp(STEP * (losses - losses.max()))
        share = share / share.sum()
    return min(found)[2]


def pair_losses(head: Head, codes: Array, pairs: Array) -> Array | None:
    """Mean log loss of each pair on the rows that were left out; 0 where none was, None where no row could be."""
    left_out = head.left_out()
    if left_out is None or head.loo is None:
        return None
    rows = left_out[0]
    said = softmax(head.loo.astype(np.float64) / head.temperature)[np.arange(len(rows)), codes[rows]]
    known = int(pairs.max()) + 1
    total = np.bincount(pairs[rows], weights=-np.log(np.maximum(said, 1e-12)), minlength=known)
    return np.asarray(total / np.maximum(np.bincount(pairs[rows], minlength=known), 1))
