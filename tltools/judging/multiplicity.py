"""Several comparisons in one study: the best control, all arms and shares at once, the best set, the winner's luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging import folds
from tltools.judging.bootstrap import draw_weights, row_weights
from tltools.judging.folds import Design, weigh
from tltools.judging.gain import SURE, Gain, Prior
from tltools.judging.needed import open_ways
from tltools.judging.verdict import claims, spoken
from tltools.records import Verdict, VerdictWord

Array = NDArray[Any]

CLEARLY_WORSE = 0.999  # a control this surely below the best one is no candidate for being the best


@dataclass(frozen=True)
class AgainstBest:
    """A transfer arm against the best of several controls, which is itself only estimated."""

    against: str  # the control with the best score seen
    found: Gain  # the gain over it
    low: float
    high: float
    better: float
    worse: float
    contenders: int  # controls that may be the best one

    @property
    def equivalent(self) -> float:
        return max(1 - self.better - self.worse, 0.0)

    def p_values(self) -> dict[VerdictWord, float]:
        """The p-value of each claim; being worse than some control has as many chances to look true as contenders."""
        p = claims(self.better, self.worse, self.equivalent)
        return {
            "positive": p["positive"],
            "negative": min(p["negative"] * self.contenders, 1.0),
            "neutral": min(1 - self.equivalent + (self.contenders - 1) * self.better, 1.0),
        }


def against_best(
    transfer: Array,
    controls: Mapping[str, Array],
    margin: float,
    *,
    scale: float | None = None,
    prior: Prior | None = None,
    design: Design | None = None,
) -> AgainstBest:
    """Compares (draws, rows) scores of a transfer arm with the best of the controls, whichever that truly is.

    Positive means better than every control, so its probability is the smallest over them and needs no correction
    (intersection-union). Negative means worse than at least one, so it is corrected by the number of contenders. The
    interval is of the gain over the best: the lowest lower bound, the lowest corrected upper bound. prior: what the
    study's comparisons say together of how much draws differ. With a design, draws are its folds and scores (folds, 1).

    Raises: Refusal as `weigh`; ValueError when there is no control.
    """
    names = sorted(controls, key=lambda name: -float(np.mean(controls[name])))
    if not names:
        raise ValueError("needs at least one control; got none")
    best = names[0]
    held = [best] + [
        name for name in names[1:]
        if weigh(controls[best], controls[name], scale=scale, design=design).above(0.0) < CLEARLY_WORSE
    ]  # fmt: skip
    gains = [weigh(transfer, controls[name], scale=scale, prior=prior, design=design) for name in held]
    upper = 1 - 0.025 / len(held)
    return AgainstBest(
        against=best,
        found=gains[0],
        low=min(gain.bound(0.025) for gain in gains),
        high=max(min(gain.bound(upper) for gain in gains), gains[0].gain),
        better=min(gain.above(margin) for gain in gains),
        worse=max(gain.below(-margin) for gain in gains),
        contenders=len(held),
    )


def family(found: Sequence[AgainstBest], margin: float) -> list[Verdict]:
    """The verdicts of all comparisons of a study together: Holm's step-down over the p-value of each one's best claim.

    At most 5 % of studies then contain a single false "positive", "negative" or "neutral"; a claim that does not pass
    is said as leaning or not enough evidence.
    """
    best = [min(one.p_values().values()) if one.found.draws > 1 else 1.0 for one in found]
    return [_verdict(one, margin, alpha) for one, alpha in zip(found, holm(best), strict=True)]


def holm(p_values: Sequence[float], alpha: float = 1 - SURE) -> list[float]:
    """What each p-value may be at most in Holm's step-down: from the first that fails on all have its level, at which
    each of them would pass."""
    allowed, level, alive = [0.0] * len(p_values), alpha, True
    for step, k in enumerate(np.argsort(p_values, kind="stable")):
        if alive:
            level = alpha / (len(p_values) - step)
            alive = p_values[k] <= level
        allowed[k] = level
    return allowed


def _verdict(one: AgainstBest, margin: float, alpha: float) -> Verdict:
    p = one.p_values()
    word = min(p, key=lambda claim: p[claim])
    if one.found.draws == 1:
        word = "not_enough_evidence"
    elif p[word] > alpha:
        word = spoken(one.better, one.worse, one.equivalent, alpha=-1.0)
    decided = word in {"positive", "negative", "neutral"}
    return Verdict(
        verdict=word,
        gain=one.found.gain,
        low=one.low,
        high=one.high,
        p_better=one.better,
        p_equivalent=one.equivalent,
        p_worse=one.worse,
        mde=one.found.detectable(),
        **({} if decided else open_ways(one.found, margin, max(alpha, 1e-4))),
        margin=margin,
        draws=one.found.draws,
        rows=one.found.rows,
        df=one.found.df if one.found.errors is None else None,
        method=f"{one.found.method}, best control, Holm" if one.found.draws > 1 else one.found.method,
    )


def best_set(
    arms: Mapping[str, Array], margin: float, *, scale: float | None = None, design: Design | None = None
) -> list[str]:
    """Names of the arms that cannot be told from the best one, best first.

    An arm leaves the set when the best one seen is better than it by more than the margin at 5 % over the number of its
    rivals; so the set holds the truly best arm (to within the margin) with 95 % probability.
    """
    names = sorted(arms, key=lambda name: -float(np.mean(arms[name])))
    if len(names) < 2 or arms[names[0]].shape[0] < 2:
        return names
    sure = 1 - (1 - SURE) / (len(names) - 1)

    def ahead(name: str) -> float:
        return weigh(arms[names[0]], arms[name], scale=scale, design=design).above(margin)

    return names[:1] + [name for name in names[1:] if ahead(name) < sure]


def without_luck(
    gains: Array, *, replicates: int = 500, seed: int = 0, design: Design | None = None
) -> tuple[float, float]:
    """(gain of the best arm as seen, the same less the luck of having been picked).

    gains: (arms, draws, rows) row-wise gains; with a design (arms, folds, 1). The best of several arms looks better
    than it is. A joint bootstrap picks a winner in each replicate and sees by how much the replicate flatters it.
    """
    arms, draws, rows = gains.shape
    seen = gains.mean((1, 2))
    if arms == 1:
        return float(seen[0]), float(seen[0])
    if design is not None:
        again = folds.replicates(gains[:, :, 0], design, replicates, seed).T
    else:
        rng = np.random.default_rng(seed)
        weights = row_weights(rows, replicates, rng)
        by_row = gains.mean(1) @ weights.T / rows - seen[:, None]
        by_draw = (gains.mean(2) - seen[:, None]) @ draw_weights(draws, replicates, rng).T
        again = seen[:, None] + by_row + by_draw
    winner = again.argmax(0)
    flattery = float((again[winner, np.arange(replicates)] - seen[winner]).mean())
    return float(seen.max()), float(seen.max() - max(flattery, 0.0))
