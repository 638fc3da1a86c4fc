"""Scores and rates by group, the gaps between groups, and how pre-training moved them.

truth and said are class codes: truth (M,), said (draws, M); groups (M,) names. Rates are per class against the rest, so
more than two classes work; gaps are the largest difference between two groups, as fairlearn counts them.

`widen`: of a cross-validation, whose repeats stand in the place of draws. Each said something of every row, by models
whose training rows overlap; so a row counts once, by its mean over the repeats, and the variance of rows counts `widen`
times (`folds.Design.widening`). Repeats are not resampled: more of them tell nothing of other rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.judging.bootstrap import draw_weights, interval, row_weights
from tltools.judging.gain import measure
from tltools.judging.multiplicity import holm
from tltools.judging.verdict import claims, spoken
from tltools.records import VerdictWord

Array = NDArray[Any]
Replicates = dict[str, Array]  # a difference between groups -> as seen, then resampled

SMALL = 30  # rows below which a group's figures are named as too few to judge, and left out of the gaps
QUANTILES = 4
MANY = 10  # distinct numbers from which a sensitive column is cut into quantiles
REPLICATES = 300  # that intervals and verdicts alone are read from, however many more Holm needs
REPLICATES_EACH = 40  # of the comparisons in a table: Holm asks the first for a p-value of 0.05 / their number


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
    verdict: VerdictWord | None = None  # of a difference between arms, alone: positive = the gap is wider
    wider: float = 0.0  # of a difference between arms: probability that it is above the margin, by all replicates
    narrower: float = 0.0  # that it is below minus the margin
    same: float = 0.0  # that it is neither


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
        names = pd.cut(numbers, found, include_lowest=True, labels=spans(found))
    else:
        names = column.map("{:.12g}".format, na_action="ignore") if column.dtype == float else column  # 15, not 15.0
    return np.asarray(names.astype(object).where(names.notna(), "missing").astype(str), dtype=str)


def spans(cut: Sequence[float]) -> list[str]:
    """Names of the groups between ascending edges: "17 to 28", with as many digits as tell the edges apart."""
    digits = next(d for d in range(6, 18) if len({f"{edge:.{d}g}" for edge in cut}) == len(cut))
    return [f"{a} to {b}" for a, b in pairwise(f"{edge:.{digits}g}" for edge in cut)]


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


def by_group(scores: Array, groups: Array, widen: float | None = None) -> dict[str, Share]:
    """Mean of (draws, M) row scores in each group with its 95 % interval over draws and rows."""
    if widen is not None:
        scores = scores.mean(0, keepdims=True)
    found = {}
    for name, rows in sizes(groups).items():
        inside = scores[:, groups == name]
        if rows < 2:
            found[name] = Share(float(inside.mean()), float("nan"), float("nan"), rows)
            continue
        mean = measure(inside, np.zeros_like(inside))
        mean = replace(mean, error=mean.error * math.sqrt(1.0 if widen is None else widen))
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


def enough(comparisons: int) -> int:
    """How many replicates decide on so many comparisons together."""
    return max(REPLICATES, REPLICATES_EACH * comparisons)


def resampled(groups: Array, replicates: int = REPLICATES, seed: int = 0, widen: float | None = None) -> Array:
    """(1 + replicates, M) float32: how often each row counts, once as seen, then drawn within its group. What is
    compared must be resampled by the same. The first replicates are the same however many there are."""
    weights = row_weights(len(groups), replicates, np.random.default_rng(seed), groups, widen or 1.0)
    return np.concatenate([np.ones((1, len(groups)), np.float32), weights])


def replicated(
    truth: Array, said: Array, groups: Array, classes: int, *, by_row: Array | None = None, widen: float | None = None
) -> Replicates:
    """(1 + replicates,) of the demographic parity and of the equalised odds difference of an arm, largest over classes:
    as seen, then under the joint bootstrap of draws and of rows within groups. by_row: `resampled` of the groups."""
    by_row = resampled(groups, widen=widen) if by_row is None else by_row
    by_draw = np.full((len(by_row), len(said)), 1 / len(said))
    if widen is None:
        by_draw[1:] = draw_weights(len(said), len(by_row) - 1, np.random.default_rng(len(said)))
    members = np.stack([groups == name for name in sizes(groups)], axis=1).astype(np.float32)  # (M, G)
    parity, odds = np.zeros(len(by_row)), np.zeros(len(by_row))
    for positive in range(classes) if classes > 2 else [classes - 1]:
        picked = (said == positive).astype(np.float32)
        parity = np.fmax(parity, _spread(picked, members, by_row, by_draw))
        for side in (truth == positive, truth != positive):
            if side.any():
                odds = np.fmax(odds, _spread(picked[:, side], members[side], by_row[:, side], by_draw))
    return {"demographic_parity_difference": parity, "equalized_odds_difference": odds}


def gaps(found: Replicates) -> list[Gap]:
    """Demographic parity and equalised odds differences with joint bootstrap intervals.

    Resampling widens a largest difference, and the replicates of a true one of 0 all lie above it; so an interval
    reaches as far below the difference as it does above, down to 0.
    """
    made = []
    for metric, values in found.items():
        value, (low, high) = float(values[0]), interval(values[1 : 1 + REPLICATES])
        made.append(Gap(metric, value, max(min(low, 2 * value - high), 0.0), max(high, value)))
    return made


def moved(ours: Replicates, theirs: Replicates, margin: float) -> list[Gap]:
    """The bias-transfer delta: each gap of an arm less that of the control, resampled together, with its verdict alone.

    positive = the arm's gap is wider by more than the margin; negative = narrower. The replicates are taken for one
    more than they are, which is on nobody's side: no p-value is smaller than so many can say.
    """
    made = []
    for metric in ours:
        difference = ours[metric] - theirs[metric]
        value, alone = float(difference[0]), difference[1 : 1 + REPLICATES]
        word = spoken(*_sides(alone, margin))
        made.append(Gap(metric, value, *interval(alone), word, *_sides(difference[1:], margin)))
    return made


def _sides(replicates: Array, margin: float) -> tuple[float, float, float]:
    """Shares of the replicates, and of one more that is on nobody's side: above the margin, below minus it, neither."""
    known = replicates[np.isfinite(replicates)]
    counts = (known > margin).sum(), (known < -margin).sum(), (np.abs(known) <= margin).sum()
    above, below, neither = (float(count / (len(known) + 1)) for count in counts)
    return above, below, neither


def together(found: Sequence[Gap]) -> list[VerdictWord]:
    """The verdicts of differences between arms that stand in one table, held back together by Holm's step-down: at most
    5 % of such tables then hold a single false one. Fewer replicates than 20 times their number cannot decide any."""
    p = [min(claims(gap.wider, gap.narrower, gap.same).values()) for gap in found]
    return [spoken(gap.wider, gap.narrower, gap.same, level) for gap, level in zip(found, holm(p), strict=True)]


def judged(groups: Array, small: int = SMALL) -> tuple[Array, list[str]]:
    """((M,) bool: rows of groups that are large enough, names of the groups that are too small)."""
    few = [name for name, rows in sizes(groups).items() if rows < small]
    return ~np.isin(groups, few), few


def _spread(picked: Array, members: Array, by_row: Array, by_draw: Array) -> Array:
    """(1 + B,) largest less smallest rate over the groups; groups without rows here are left out."""
    inside = (picked[:, :, None] * members).transpose(1, 0, 2)  # (M, S, G)
    counts = (by_row @ inside.reshape(len(members), -1)).reshape(len(by_row), *inside.shape[1:])  # (B, S, G)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.einsum("bs,bsg->bg", by_draw, counts) / (by_row @ members)
    known = np.isfinite(rates).any(1)
    spread = np.full(len(rates), np.nan)
    if known.any():
        spread[known] = np.nanmax(rates[known], 1) - np.nanmin(rates[known], 1)
    return spread
