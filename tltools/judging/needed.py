"""What it would take: more test rows or more draws after a study, the gain that it can detect before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scipy.special import stdtr, stdtrit

from tltools.judging import mixture
from tltools.judging.gain import POWER, PSEUDO_ROWS, SURE, Gain, satterthwaite


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
        ways.append(f"about {rounded(rows):,} {kind} rows instead of {found.rows:,}")
    if draws is not None and draws > found.draws:
        ways.append(f"about {draws} draws instead of {found.draws}")
    return ("Deciding takes " + ", or ".join(ways) + ", if the gain stays as it is.") if ways else ""


def needed_rows(found: Gain, margin: float, alpha: float = 1 - SURE) -> int | None:
    """Test rows, no fewer than there are, that would decide with the draws as they are; None when no number up to a
    million would."""
    return _fewest(found.rows, 1_000_000, lambda rows: _p_value(found, margin, rows, found.draws) <= alpha)


def needed_draws(found: Gain, margin: float, alpha: float = 1 - SURE) -> int | None:
    """Draws, no fewer than there are, that would decide with the test rows as they are; None when no number up to 100
    would, and for folds: more repeats of the same rows say little more."""
    if found.folds:
        return None
    return _fewest(found.draws, 100, lambda draws: _p_value(found, margin, found.rows, draws) <= alpha)


def _fewest(start: int, most: int, decides: Callable[[int], bool]) -> int | None:
    """The smallest count from `start` to `most` that decides, by doubling and halving; None when `most` does not."""
    low, high = start - 1, start
    while not decides(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _p_value(found: Gain, margin: float, rows: int, draws: int) -> float:
    """Of the claim on whose side the gain lies, were there so many rows and draws and the gain where it is: what lies
    beyond the nearer margin and beyond the farther one, for a difference as for sameness (`verdict.claims`)."""
    single = found.rest / (draws * rows)
    per_draw, per_row = found.draw / draws + single, found.row / rows
    error = math.sqrt(per_draw + per_row) or found.error
    near, far = abs(abs(found.gain) - margin), abs(found.gain) + margin
    if found.errors is not None:  # the shape that it has, whatever the number of draws
        errors = found.errors * (error / found.error)
        return mixture.below(-near, 0.0, errors, rows - 1.0) + mixture.below(-far, 0.0, errors, rows - 1.0)
    df = found.df if found.folds else satterthwaite(per_draw, per_row, per_row + single, draws, rows)
    return float(stdtr(df, -near / error) + stdtr(df, -far / error))


def _at_margin(found: Gain, margin: float) -> bool:
    return abs(abs(found.gain) - margin) < 0.1 * max(margin, 1e-12)


def rounded(count: int) -> int:
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
