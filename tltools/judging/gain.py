"""A gain and how sure it is: the two-way layout of draws and test rows of a difference of scores.

Scores are (draws, rows) arrays, higher is better, in the unit of the metric. Draws and rows are crossed random effects:
another draw of the training labels and another test row would both have given another figure. Formulas and sources:
docs/statistics.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from tltools.judging import mixture
from tltools.records import refuse

Array = NDArray[Any]

SURE = 0.95  # a claim is made from this probability on
POWER = 0.80  # of the minimum detectable effect
PSEUDO_ROWS = 2  # rows added to the variance, one for each arm: no disagreement seen is not no disagreement possible
NOISE = 1e-24  # of rounding, in units of squared scores


@dataclass(frozen=True)
class Gain:
    """What the data say of a mean difference: Student's t around `gain`, or with `errors` the mean of several (see
    `mixture.py`), of which error and df are but a summary. Variances are those of one draw, one row."""

    gain: float
    error: float  # standard error, above 0
    df: float
    draw: float  # variance between draws
    row: float  # variance between rows
    rest: float  # variance of a single (draw, row) beyond both
    draws: int
    rows: int
    folds: bool = False  # the draws are folds of a cross-validation, which tested all the labelled rows
    errors: Array | None = field(default=None, compare=False)  # that draws judged together leave possible

    @property
    def method(self) -> str:
        known = "correlated t" if self.folds else "t" if self.errors is None else "t, draws together"
        return known + ("" if self.draws > 1 else ", one draw")

    def above(self, value: float) -> float:
        """P(true gain > value)."""
        return self.below(2 * self.gain - value)

    def below(self, value: float) -> float:
        """P(true gain < value)."""
        if self.errors is not None:
            return mixture.below(value, self.gain, self.errors, self.rows - 1.0)
        return float(stdtr(self.df, (value - self.gain) / self.error))

    def bound(self, probability: float) -> float:
        """The value that the true gain is below with this probability."""
        if self.errors is not None:
            return mixture.bound(probability, self.gain, self.errors, self.rows - 1.0)
        return self.gain + self.error * float(stdtrit(self.df, probability))

    def detectable(self) -> float:
        """The true gain that would be told from 0 (two-sided 5 %) with 80 % probability."""
        return self.bound(0.975) + self.bound(POWER) - 2 * self.gain


@dataclass(frozen=True)
class Squares:
    """The two-way layout of a difference of scores: its mean, and the mean squares of draws, rows and the rest."""

    gain: float
    draw: float  # nan with one draw, as `rest`
    row: float
    rest: float
    unseen: float  # variance of the imaginary rows
    draws: int
    rows: int


@dataclass(frozen=True)
class Prior:
    """What the comparisons of a study say together of the mean square of draws; see `moderation.py`."""

    square: float
    df: float  # what it seems to be worth; `estimate` counts half of it, and twice the comparison's own at most


def measure(transfer: Array, control: Array, *, scale: float | None = None, prior: Prior | None = None) -> Gain:
    """Mean gain of (draws, rows) scores and its standard error: two-way random effects without replication.

    Var = (MS_draw + MS_row - MS_rest) / (S M), not below MS_rest / (S M); Satterthwaite's degrees of freedom, in which
    the draw part counts (1 + 12/(S-1)^3)-fold, because three draws hide how large it is; plus `PSEUDO_ROWS` rows on
    which the arms differ by `scale`. With a `prior`, MS_draw is drawn towards that of the study's other comparisons and
    the distribution is the mean over what it may truly be.

    Raises: Refusal as `compare`.
    """
    return estimate(squares(transfer, control, scale=scale), prior)


def squares(transfer: Array, control: Array, *, scale: float | None = None) -> Squares:
    """The mean squares of (draws, rows) scores of a transfer arm less a control. Raises: Refusal as `compare`."""
    t, c = checked(transfer, control)
    difference = t - c
    draws, rows = difference.shape
    gain = float(difference.mean())
    by_draw, by_row = difference.mean(1) - gain, difference.mean(0) - gain
    ms_row = draws * float(by_row @ by_row) / (rows - 1)
    unseen = PSEUDO_ROWS * (amplitude(t, c) if scale is None else scale) ** 2 / rows**2
    if draws == 1:
        return Squares(gain, math.nan, ms_row, math.nan, unseen, 1, rows)
    ms_draw = rows * float(by_draw @ by_draw) / (draws - 1)
    if ms_draw < NOISE * float((t**2).mean() + (c**2).mean()):
        ms_draw = 0.0  # draws that tie; as a logarithm it would outweigh all other comparisons of the study
    total = float(((difference - gain) ** 2).sum())
    ms_rest = max(total - ms_draw * (draws - 1) - ms_row * (rows - 1), 0.0) / ((draws - 1) * (rows - 1))
    return Squares(gain, ms_draw, ms_row, ms_rest, unseen, draws, rows)


def estimate(found: Squares, prior: Prior | None = None) -> Gain:
    """The gain and its standard error from its mean squares; see `measure`."""
    draws, rows, unseen = found.draws, found.rows, found.unseen
    if draws == 1:  # nothing is known of other draws: `conclude` holds the word back
        error = math.sqrt(found.row / rows + unseen) or 1e-12
        return Gain(found.gain, error, rows - 1.0, math.nan, found.row, math.nan, 1, rows)
    ms_draw, draw_df = found.draw, draws - 1.0
    if prior is not None:
        weight = min(prior.df / 2, 2 * draw_df)
        ms_draw, draw_df = (weight * prior.square + draw_df * ms_draw) / (weight + draw_df), weight + draw_df
    cells = draws * rows
    per_draw, per_row = ms_draw / cells, max(found.row - found.rest, 0.0) / cells
    variance = max(per_draw + per_row, found.rest / cells) + unseen or 1e-24
    errors = None
    if prior is not None:
        each = per_draw * mixture.possible(round(draw_df, 2))
        squared = np.maximum(each + per_row, found.rest / cells) + unseen
        errors = np.sqrt(np.where(squared > 0, squared, 1e-24))
    df = satterthwaite(per_draw, per_row, found.row / cells, draws, rows, unseen=unseen, draw_df=draw_df)
    return Gain(
        gain=found.gain,
        error=math.sqrt(variance),
        df=df,
        draw=max(ms_draw - found.rest, 0.0) / rows,
        row=max(found.row - found.rest, 0.0) / draws + unseen * rows,
        rest=found.rest,
        draws=draws,
        rows=rows,
        errors=errors,
    )


def satterthwaite(
    per_draw: float,
    per_row: float,
    rows_seen: float,
    draws: int,
    rows: int,
    *,
    unseen: float = 0.0,
    draw_df: float | None = None,
) -> float:
    """Degrees of freedom, from draws - 1 to 1e6, of the variance per_draw + per_row + unseen of a gain.

    rows_seen: the mean square of rows that per_row comes from, in the same unit; draw_df: of the mean square of draws
    (None: draws - 1). Three draws hide how large the draw part is, so it counts (1 + 12/(draws-1)^3)-fold.
    """
    widened = per_draw * (1 + 12 / (draws - 1) ** 3)
    spread = widened**2 / (draw_df or draws - 1.0) + rows_seen**2 / (rows - 1) + unseen**2 / rows
    df = (widened + per_row + unseen) ** 2 / spread if spread > 0 else rows - 1.0
    return min(max(df, draws - 1.0), 1e6)


def checked(transfer: Array, control: Array, rows: int = 2) -> tuple[Array, Array]:
    """Both score arrays as (draws, rows) float64, with so many rows at least. Raises: Refusal as `compare`."""
    t, c = np.asarray(transfer, np.float64), np.asarray(control, np.float64)
    if t.ndim != 2 or t.shape != c.shape:
        what = f"must be two arrays of one shape (draws, rows); got {t.shape} and {c.shape}."
        raise refuse("scores", what, "Pair them by draw and test row.")
    if t.shape[0] < 1 or t.shape[1] < rows:
        raise refuse("scores", f"need at least 1 draw and {rows} rows; got {t.shape}.", "Add draws or test rows.")
    if not (np.isfinite(t).all() and np.isfinite(c).all()):
        raise refuse(
            "scores", "must be finite numbers; got NaN or infinity.", "Score or leave out these rows in both arms."
        )
    return t, c


def amplitude(transfer: Array, control: Array) -> float:
    """How far one unseen row could move a score: its weight where scores are (weighted) hits, else their spread."""
    both = np.concatenate([transfer, control])
    weight = both.max(0)
    if bool(((both == 0) | (both == weight)).all()) and weight.min() >= 0:
        known = weight[weight > 0]
        return float(np.sqrt((known**3).mean())) if len(known) else 1.0  # over rows w^3 = over classes w^2
    return float(both.std())
