"""What it would take: more test rows or more draws after a study, the gain that it can detect before it."""

from __future__ import annotations

import math
from typing import Any

from scipy.special import stdtrit

from tltools.judging.gain import POWER, PSEUDO_ROWS, SURE, Gain


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
    tail = alpha / 2 if inside and found.gain == 0 else alpha
    if not inside:  # what lies beyond the other margin counts against the claim, too
        near, far = found.below(margin), found.below(-margin)
        near, far = (near, far) if found.gain > 0 else (1 - far, 1 - near)
        tail = max(tail * near / (near + far), 1e-6) if near + far > 0 else tail
    if found.errors is not None:  # the shape that it has, whatever the number of draws
        return away * found.error / (found.gain - found.bound(tail))
    df = max(draws - 1.0, min(found.df, 1e6)) if draws >= found.draws else max(found.df * draws / found.draws, 1.0)
    return away / -float(stdtrit(df, tail))


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
