"""Formulas of the tagging metrics: strict entity F1 of spans, and its influence per sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tltools.entities import Span


def counts(truth: Sequence[Sequence[Span]], told: Sequence[Sequence[Span]]) -> NDArray[np.float64]:
    """True positives, false positives and false negatives of each sentence, (M, 3); boundaries and type must agree."""
    table = np.zeros((len(truth), 3))
    for row, (right, said) in enumerate(zip(truth, told, strict=True)):
        hits = len(set(right) & set(said))
        table[row] = hits, len(set(said)) - hits, len(set(right)) - hits
    return table


def f1(table: NDArray[np.float64]) -> float:
    """Micro F1 in 0..1 of counts (M, 3); not a number where there is no entity in truth or prediction."""
    hits, wrong, missed = table.sum(axis=0)
    whole = 2 * hits + wrong + missed
    return float(2 * hits / whole) if whole else float("nan")


def shares(table: NDArray[np.float64]) -> tuple[int, int, float, float, float]:
    """(entities of the truth, entities said, precision, recall, F1) of counts (M, 3); nan where there are none."""
    hits, wrong, missed = table.sum(axis=0)
    there, said = int(hits + missed), int(hits + wrong)
    nan = float("nan")
    return there, said, hits / said if said else nan, hits / there if there else nan, f1(table)


def f1_influence(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Influence (M,) of each sentence on the micro F1, a ratio of two means; its mean is 0."""
    twice, whole = 2 * table[:, 0], 2 * table[:, 0] + table[:, 1] + table[:, 2]
    if not whole.sum():
        return np.full(len(table), np.nan)
    return np.asarray((twice - f1(table) * whole) / whole.mean())
