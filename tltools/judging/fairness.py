"""Scores and rates by group, the gaps between groups, and how pre-training moved them.

truth and said are class codes: truth (M,), said (draws, M); groups (M,) names. Rates are per class against the rest, so
more than two classes work; gaps are the largest difference between two groups, as fairlearn counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.judging.bootstrap import draw_weights, interval, row_weights
from tltools.judging.gain import measure
from tltools.judging.verdict import spoken
from tltools.records import VerdictWord

Array = NDArray[Any]

SMALL = 30  # rows below which a group's figures are named as too few to judge, and left out of the gaps
QUANTILES = 4
MANY = 10  # distinct numbers from which a sensitive column is cut into quantiles


@dataclass(frozen=True)
class Share:
    value: float
    low: float  # 95 % interval
    high: float
    rows: int


@dataclass(frozen=True)
class Gap:
    """A difference between groups, or between the differences of two arms."""

    metric: str
    value: float
    low: float
    high: float
    verdict: VerdictWord | None = None  # of a difference between arms: positive = the gap is wider


def edges(column: pd.Series) -> list[float] | None:
    """Where a sensitive column is cut: ascending edges of the quarters of many numbers, None for names."""
    numbers = pd.to_numeric(column, errors="coerce")
    if not (numbers.notna().sum() >= column.notna().sum() > 0 and numbers.nunique() > MANY):
        return None
    return [float(edge) for edge in np.unique(np.nanquantile(numbers, np.linspace(0, 1, QUANTILES + 1)))]


def as_groups(column: pd.Series, cut: Sequence[float] | None = None) -> Array:
    """(N,) group names: numbers with many values in quarters, missing values as a group of their own.

    cut: `edges` of another column, to name these rows as those; numbers beyond them are of the outer groups.
    """
    found = edges(column) if cut is None else list(cut)
    if found is not None:
        numbers = pd.to_numeric(column, errors="coerce").clip(found[0], found[-1])
        digits = next(d for d in range(6, 18) if len({f"{edge:.{d}g}" for edge in found}) == len(found))
        ends = [f"{edge:.{digits}g}" for edge in found]  # as many as tell them apart, or groups would be one
        names = pd.cut(numbers, found, include_lowest=True, labels=[f"{a} to {b}" for a, b in pairwise(ends)])
    else:
        names = column.map("{:.12g}".format, na_action="ignore") if column.dtype == float else column  # 15, not 15.0
    return np.asarray(names.astype(object).where(names.notna(), "missing").astype(str), dtype=str)


def intersections(columns: Mapping[str, Array]) -> Array:
    """(N,) names of the groups that all columns make together: "sex=F, age=17 to 28"."""
    names = list(columns)
    return np.array([
        ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
        for row in zip(*(columns[name] for name in names), strict=True)
    ])  # fmt: skip


def groups_of(table: pd.DataFrame, columns: Sequence[str], cuts: Mapping[str, Sequence[float]] | None = None) -> Array:
    """(N,) names of the groups that `columns` of the table make: their intersections where there are several.

    cuts: `edges` of the columns of another table that are cut, by name; without, each column's own.
    """
    found = {name: as_groups(table[name], (cuts or {}).get(name)) for name in columns}
    return intersections(found) if len(found) > 1 else found[columns[0]]


def sizes(groups: Array) -> dict[str, int]:
    """Rows of each group, largest first."""
    names, counts = np.unique(groups, return_counts=True)
    return {str(names[k]): int(counts[k]) for k in np.argsort(-counts, kind="stable")}


def by_group(scores: Array, groups: Array) -> dict[str, Share]:
    """Mean of (draws, M) row scores in each group with its 95 % interval over draws and rows."""
    found = {}
    for name, rows in sizes(groups).items():
        inside = scores[:, groups == name]
        if rows < 2:
            found[name] = Share(float(inside.mean()), float("nan"), float("nan"), rows)
            continue
        mean = measure(inside, np.zeros_like(inside))
        found[name] = Share(mean.gain, mean.bound(0.025), mean.bound(0.975), rows)
    return found


def selection_rates(said: Array, groups: Array, positive: int) -> dict[str, float]:
    """Share of each group's rows that are said to be of class `positive`, mean over draws."""
    return {name: float((said[:, groups == name] == positive).mean()) for name in sizes(groups)}


def true_and_false_positive_rates(
    truth: Array, said: Array, groups: Array, positive: int
) -> dict[str, tuple[float, float]]:
    """(true positive rate, false positive rate) of each group, mean over draws; nan where a group lacks a side."""
    found = {}
    for name in sizes(groups):
        inside, hit = groups == name, (said == positive).mean(0)
        sides = [hit[inside & (truth == positive)], hit[inside & (truth != positive)]]
        found[name] = tuple(float(side.mean()) if len(side) else float("nan") for side in sides)
    return found  # type: ignore[return-value]


def gaps(truth: Array, said: Array, groups: Array, classes: int, *, replicates: int = 500, seed: int = 0) -> list[Gap]:
    """Demographic parity and equalised odds differences with joint bootstrap intervals; largest over classes.

    Resampling widens a largest difference, and the replicates of a true one of 0 all lie above it; so an interval
    reaches as far below the difference as it does above, down to 0.
    """
    seen, again = _gap_replicates(truth, said, groups, classes, replicates, seed)
    found = []
    for metric, value in seen.items():
        low, high = interval(again[metric])
        found.append(Gap(metric, value, max(min(low, 2 * value - high), 0.0), max(high, value)))
    return found


def moved(
    truth: Array,
    said: Array,
    control_said: Array,
    groups: Array,
    classes: int,
    margin: float,
    *,
    replicates: int = 500,
    seed: int = 0,
) -> list[Gap]:
    """The bias-transfer delta: each gap of an arm less that of the control, resampled together, with its verdict.

    positive = the arm's gap is wider by more than the margin; negative = narrower.
    """
    seen, again = _gap_replicates(truth, said, groups, classes, replicates, seed)
    seen_control, again_control = _gap_replicates(truth, control_said, groups, classes, replicates, seed)
    found = []
    for metric in seen:
        difference = again[metric] - again_control[metric]
        known = difference[np.isfinite(difference)]
        wider, narrower = float((known > margin).mean()), float((known < -margin).mean())
        word = spoken(wider, narrower, 1 - wider - narrower) if len(known) else "not_enough_evidence"
        low, high = interval(difference)
        found.append(Gap(metric, seen[metric] - seen_control[metric], low, high, word))
    return found


def judged(groups: Array, small: int = SMALL) -> tuple[Array, list[str]]:
    """((M,) bool: rows of groups that are large enough, names of the groups that are too small)."""
    few = [name for name, rows in sizes(groups).items() if rows < small]
    return ~np.isin(groups, few), few


def _gap_replicates(
    truth: Array, said: Array, groups: Array, classes: int, replicates: int, seed: int
) -> tuple[dict[str, float], dict[str, Array]]:
    """Gaps as seen, and (replicates,) of each under the joint bootstrap, rows resampled within groups."""
    draws, rows = said.shape
    rng = np.random.default_rng(seed)
    by_row = np.concatenate([np.ones((1, rows), np.float32), row_weights(rows, replicates, rng, groups)])
    by_draw = np.concatenate([np.full((1, draws), 1 / draws), draw_weights(draws, replicates, rng)])
    members = np.stack([groups == name for name in sizes(groups)], axis=1).astype(np.float32)  # (M, G)
    parity, odds = np.zeros(len(by_row)), np.zeros(len(by_row))
    for positive in range(classes) if classes > 2 else [classes - 1]:
        picked = (said == positive).astype(np.float32)
        everyone = np.ones(rows, np.float32)
        parity = np.fmax(parity, _spread(picked, everyone, members, by_row, by_draw))
        for side in (truth == positive, truth != positive):
            if side.any():
                odds = np.fmax(odds, _spread(picked, side.astype(np.float32), members, by_row, by_draw))
    both = {"demographic_parity_difference": parity, "equalized_odds_difference": odds}
    return {key: float(value[0]) for key, value in both.items()}, {key: value[1:] for key, value in both.items()}


def _spread(picked: Array, side: Array, members: Array, by_row: Array, by_draw: Array) -> Array:
    """(1 + B,) largest less smallest rate over the groups; groups without rows on this side are left out."""
    inside = members * side[:, None]  # (M, G)
    totals = by_row @ inside  # (B, G)
    rates = np.zeros_like(totals, dtype=np.float64)
    for s in range(len(picked)):
        with np.errstate(invalid="ignore", divide="ignore"):
            rates += by_draw[:, s, None] * ((by_row * picked[s]) @ inside) / totals
    known = np.isfinite(rates).any(1)
    spread = np.full(len(rates), np.nan)
    if known.any():
        spread[known] = np.nanmax(rates[known], 1) - np.nanmin(rates[known], 1)
    return spread
