"""The verdict: is a transfer arm better than a control, by how much, and how sure; paired by draw and test row.

Scores are (draws, rows) arrays, higher is better, in the unit of the metric. Draws and rows are crossed random effects:
another draw of the training labels and another test row would both have given another figure. The formulas, where they
come from, and when they are wrong stand in docs/statistics.md; `benchmarks/judge.py` measures them against known truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from tltools.records import Verdict, VerdictWord, refuse

Array = NDArray[Any]

SURE = 0.95  # a claim is made from this probability on
LEANING = 0.80  # a leaning is named from this probability on
POWER = 0.80  # of the minimum detectable effect
PSEUDO_ROWS = 2  # rows added to the variance, one for each arm: no disagreement seen is not no disagreement possible


@dataclass(frozen=True)
class Gain:
    """What the data say of a mean difference: Student's t around `gain`. Variances are those of one draw, one row."""

    gain: float
    error: float  # standard error, above 0
    df: float
    draw: float  # variance between draws
    row: float  # variance between rows
    rest: float  # variance of a single (draw, row) beyond both
    draws: int
    rows: int
    folds: bool = False  # the draws are folds of a cross-validation, which tested all the labelled rows

    @property
    def method(self) -> str:
        return ("correlated t" if self.folds else "t") + ("" if self.draws > 1 else ", one draw")

    def above(self, value: float) -> float:
        """P(true gain > value)."""
        return float(stdtr(self.df, (self.gain - value) / self.error))

    def below(self, value: float) -> float:
        """P(true gain < value)."""
        return float(stdtr(self.df, (value - self.gain) / self.error))

    def bound(self, probability: float) -> float:
        """The value that the true gain is below with this probability."""
        return self.gain + self.error * float(stdtrit(self.df, probability))

    def detectable(self) -> float:
        """The true gain that would be told from 0 (two-sided 5 %) with 80 % probability."""
        return self.error * float(stdtrit(self.df, 0.975) + stdtrit(self.df, POWER))


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
    df: float  # what it is worth; counted as the comparison's own at most


def measure(transfer: Array, control: Array, *, scale: float | None = None, prior: Prior | None = None) -> Gain:
    """Mean gain of (draws, rows) scores and its standard error: two-way random effects without replication.

    Var = (MS_draw + MS_row - MS_rest) / (S M), not below MS_rest / (S M); Satterthwaite's degrees of freedom, in which
    the draw part counts (1 + 12/(S-1)^3)-fold, because three draws hide how large it is; plus `PSEUDO_ROWS` rows on
    which the arms differ by `scale`. With a `prior`, MS_draw is drawn towards that of the study's other comparisons.

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
        weight = min(prior.df, draw_df)
        ms_draw, draw_df = (weight * prior.square + draw_df * ms_draw) / (weight + draw_df), weight + draw_df
    cells = draws * rows
    per_draw, per_row = ms_draw / cells, max(found.row - found.rest, 0.0) / cells
    variance = max(per_draw + per_row, found.rest / cells) + unseen or 1e-24
    widened = per_draw * (1 + 12 / (draws - 1) ** 3)
    spread = widened**2 / draw_df + (found.row / cells) ** 2 / (rows - 1) + unseen**2 / rows
    df = (widened + per_row + unseen) ** 2 / spread if spread > 0 else rows - 1.0
    return Gain(
        gain=found.gain,
        error=math.sqrt(variance),
        df=float(np.clip(df, draws - 1.0, 1e6)),
        draw=max(ms_draw - found.rest, 0.0) / rows,
        row=max(found.row - found.rest, 0.0) / draws + unseen * rows,
        rest=found.rest,
        draws=draws,
        rows=rows,
    )


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
        df=found.df,
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


def open_ways(found: Gain, margin: float, alpha: float = 1 - SURE) -> dict[str, Any]:
    """What it would take to decide at a level, if the gain stays where it is, as the fields of a verdict: `needed` in
    words, and more test rows or more draws than there are, None where these would not do."""
    if found.draws == 1:
        return {"needed": "One draw says nothing of other draws: at least 3 are needed.", "needed_draws": 3}
    rows, draws = needed_rows(found, margin, alpha), needed_draws(found, margin, alpha)
    return {
        "needed": _needed(found, margin, rows, draws),
        "needed_rows": rows if rows is not None and rows > found.rows else None,
        "needed_draws": draws if draws is not None and draws > found.draws else None,
    }


def _needed(found: Gain, margin: float, rows: int | None, draws: int | None) -> str:
    if rows is None and draws is None:
        alone = found.folds or _at_margin(found, margin)
        both = "" if alone else "more test rows and more draws together"
        return (
            f"Neither alone would do: it takes {both}."
            if both
            else ("The gain lies at the margin itself: no number of rows is likely to decide; choose another margin.")
        )
    ways = []
    if rows is not None and rows > found.rows:
        kind = "labelled" if found.folds else "test"
        ways.append(f"about {_rounded(rows):,} {kind} rows instead of {found.rows:,}")
    if draws is not None and draws > found.draws:
        ways.append(f"about {draws} draws instead of {found.draws}")
    return ("Deciding takes " + ", or ".join(ways) + ", if the gain stays as it is.") if ways else ""


def needed_rows(found: Gain, margin: float, alpha: float = 1 - SURE) -> int | None:
    """Test rows that would decide with the draws as they are; None when no number would, or more than a million."""
    target = _target(found, margin, alpha, found.draws)
    room = target**2 - found.draw / found.draws
    spread = found.row + found.rest / found.draws
    if room <= 0 or spread > 1_000_000 * room:  # not the quotient: the room can be smaller than any number divides by
        return None
    return max(math.ceil(spread / room), 2)


def needed_draws(found: Gain, margin: float, alpha: float = 1 - SURE) -> int | None:
    """Draws that would decide with the test rows as they are; None when no number up to 100 would, and for folds: more
    repeats of the same rows say little more."""
    if found.folds:
        return None
    for draws in range(2, 101):
        error2 = found.draw / draws + found.row / found.rows + found.rest / (draws * found.rows)
        if error2 <= _target(found, margin, alpha, draws) ** 2:
            return draws
    return None


def _target(found: Gain, margin: float, alpha: float, draws: int) -> float:
    """The standard error at which the gain seen would be decided, one way or the other."""
    away = abs(abs(found.gain) - margin)
    inside = abs(found.gain) <= margin
    df = max(draws - 1.0, min(found.df, 1e6)) if draws >= found.draws else max(found.df * draws / found.draws, 1.0)
    quantile = -float(stdtrit(df, alpha / 2 if inside and found.gain == 0 else alpha))
    return away / quantile


def _at_margin(found: Gain, margin: float) -> bool:
    return abs(abs(found.gain) - margin) < 0.1 * max(margin, 1e-12)


def _rounded(count: int) -> int:
    """Two significant digits: it is an estimate."""
    step = int(10 ** max(len(str(count)) - 2, 0))
    return math.ceil(count / step) * step


def detectable(rows: int, draws: int, *, discordance: float = 0.10, draw_deviation: float = 0.01) -> float:
    """The gain a study can detect (two-sided 5 %, 80 % power) before it runs, in the metric's unit.

    discordance: share of test rows on which the arms differ in being right; 0.10 is usual. draw_deviation: standard
    deviation of the gain from draw to draw; one point is usual from a few hundred labels on, three with a handful.
    """
    draw, row = draw_deviation**2 / max(draws, 1), discordance / rows + PSEUDO_ROWS / rows**2
    df = (draw + row) ** 2 / (draw**2 / max(draws - 1, 1) + row**2 / max(rows - 1, 1))
    return math.sqrt(draw + row) * float(stdtrit(df, 0.975) + stdtrit(df, POWER))
