"""The verdict: is a transfer arm better than a control, by how much, and how sure; paired by draw and test row.

Scores are (draws, rows) arrays, higher is better, in the unit of the metric. Draws and rows are crossed random effects:
another draw of the training labels and another test row would both have given another figure. The formulas, where they
come from, and when they are wrong stand in docs/statistics.md; `benchmarks/judge.py` measures them against known truth.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging.gain import SURE, Gain, checked, measure
from tltools.judging.needed import open_ways
from tltools.records import Verdict, VerdictWord, refuse

Array = NDArray[Any]

LEANING = 0.80  # a leaning is named from this probability on


def compare(
    transfer: Array,
    control: Array,
    margin: float = 0.01,
    *,
    scale: float | None = None,
    classes: Array | None = None,
) -> Verdict:
    """Judges a transfer arm against a control from per-row scores of the same draws and the same test rows.

    transfer, control: (draws, rows), higher is better; row means are the metric (hits for accuracy, weighted hits for
    balanced accuracy, negated absolute errors, or pseudo-values of a metric that is no mean).
    margin: the gain below which nobody cares, >= 0, in the unit of the scores.
    scale: how far one unseen row could move a score, see `measure`; None: read off the scores.
    classes: (rows,) class codes; the metric then is the mean over the classes of their mean scores (balanced accuracy).

    Raises: Refusal when shapes differ, a score is no finite number, or there are fewer than 1 draw and 2 rows.
    """
    if classes is not None:
        t, c = checked(transfer, control)
        counts = np.bincount(np.unique(classes, return_inverse=True)[1])
        scale = float(np.sqrt(((t.shape[1] / (len(counts) * counts)) ** 2).mean())) if scale is None else scale
        return conclude(measure(by_class(t, classes), by_class(c, classes), scale=scale), margin)
    return conclude(measure(transfer, control, scale=scale), margin)


def by_class(scores: Array, classes: Array) -> Array:
    """(draws, rows) scores -> pseudo-values of the mean over classes; a class's share of the rows counts as fixed."""
    codes = np.unique(classes, return_inverse=True)[1]
    counts = np.bincount(codes)
    member = np.eye(len(counts))[codes] / counts  # (rows, C)
    means = scores @ member  # (draws, C)
    widen = np.sqrt(counts / np.maximum(counts - 1, 1)) * scores.shape[1] / (len(counts) * counts)
    values: Array = means.mean(1, keepdims=True) + widen[codes] * (scores - means[:, codes])
    return values


def conclude(found: Gain, margin: float) -> Verdict:
    """The verdict on one comparison alone; `multiplicity.py` holds back where several are made.

    Raises: Refusal when the margin is below 0 or no number.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise refuse("margin", f"must be 0 or more; got {margin}.", "Set 0.01 for one point of accuracy.")
    better, worse = found.above(margin), found.below(-margin)
    word = spoken(better, worse, 1 - better - worse) if found.draws > 1 else "not_enough_evidence"
    return Verdict(
        verdict=word,
        gain=found.gain,
        low=found.bound(0.025),
        high=found.bound(0.975),
        p_better=better,
        p_equivalent=max(1 - better - worse, 0.0),
        p_worse=worse,
        mde=found.detectable(),
        **({} if word in {"positive", "negative", "neutral"} else open_ways(found, margin)),
        margin=margin,
        draws=found.draws,
        rows=found.rows,
        df=found.df if found.errors is None else None,
        method=found.method,
    )


def claims(better: float, worse: float, equivalent: float) -> dict[VerdictWord, float]:
    """The p-value of each claim. For a difference it is the two-sided test of |gain| <= margin.

    At a true gain of exactly the margin, P(better) exceeds 0.95 in 5 % of studies, and P(worse) in some more when the
    margin is small against the error; taking one from the other keeps both together at 5 %.
    """
    return {"positive": 1 - better + worse, "negative": 1 - worse + better, "neutral": 1 - equivalent}


def spoken(better: float, worse: float, equivalent: float, alpha: float = 1 - SURE) -> VerdictWord:
    """The word for three probabilities; `alpha` is what a claim's p-value may be at most."""
    p = claims(better, worse, equivalent)
    word = min(p, key=lambda claim: p[claim])
    if p[word] <= alpha:
        return word
    if better >= LEANING:
        return "leaning_positive"
    return "leaning_negative" if worse >= LEANING else "not_enough_evidence"
