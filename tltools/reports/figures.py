"""Readings -> the rows of a report: arms and verdicts. Arrays in, plain dicts out; no files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging.folds import weigh
from tltools.judging.gain import Prior, squares
from tltools.judging.moderation import priors
from tltools.judging.multiplicity import AgainstBest, against_best, best_set, family, without_luck
from tltools.judging.sequential import beaten
from tltools.judging.verdict import conclude
from tltools.records import Verdict
from tltools.reports import words
from tltools.reports.readings import ArmKey, Cell, Readings, Share
from tltools.tasks import Metric

Array = NDArray[Any]


@dataclass(frozen=True)
class Judged:
    """A transfer arm at one share against the best control there."""

    cell: Cell
    verdict: Verdict
    found: AgainstBest
    against: ArmKey


def paired(cells: Mapping[ArmKey, Cell]) -> list[int]:
    """The draws that all these cells have."""
    draws = [set(cell.draws) for cell in cells.values()]
    return sorted(set.intersection(*draws)) if draws else []


def judge_all(found: Readings, margin: float) -> list[Judged]:
    """Every transfer arm at every share against the best control there, held back together as one family.

    How much draws differ is learnt from all of them together, where there are enough (`judging.moderation`).
    """
    pairs = _pairs(found)
    shared = priors_of(found, [cell for cell, *_ in pairs], [(ours, _best(rivals)) for _, ours, rivals, _ in pairs])
    judged = [
        (cell, against_best(scores, controls, margin, scale=found.scale, prior=one, design=found.design), names)
        for (cell, scores, controls, names), one in zip(pairs, shared, strict=True)
    ]
    verdicts = family([one for _, one, _ in judged], margin)
    return [
        Judged(cell, verdict, one, names[one.against])
        for (cell, one, names), verdict in zip(judged, verdicts, strict=True)
    ]


def priors_of(found: Readings, cells: Sequence[Cell], pairs: Sequence[tuple[Array, Array]]) -> Sequence[Prior | None]:
    """What the comparisons say together of how much draws differ, for each of them: cells, and the scores of each with
    those of its rival; nothing of folds, whose number is large enough."""
    if found.folds:
        return [None] * len(pairs)
    seen = [squares(ours, theirs, scale=found.scale) for ours, theirs in pairs]
    return priors(seen, [cell.share.size for cell in cells], [cell.arm for cell in cells])


def _pairs(found: Readings) -> list[tuple[Cell, Array, dict[str, Array], dict[str, ArmKey]]]:
    """Every transfer cell, its scores (draws, M), those of the controls on the same draws by name, and their arms."""
    made = []
    for share in found.shares():
        known: dict[tuple[Any, ...], Array] = {}  # arms of a share have the same controls: their scores are held once
        controls = found.of_kind("control", share)
        most = max((len(cell.draws) for cell in controls.values()), default=0)
        beyond = set() if found.folds else out_of_reach(controls, found.scale)
        gone = {arm for arm in beyond if len(controls[arm].draws) < most}
        controls = {arm: cell for arm, cell in controls.items() if arm not in gone}
        for cell in found.of_kind("transfer", share).values():
            usable, draws = _together(cell, controls)
            if draws:
                names = {_name(arm): arm for arm in usable}
                for name, arm in names.items():
                    if (name, *draws) not in known:
                        known[name, *draws] = controls[arm].scores(draws)
                made.append((cell, cell.scores(draws), {name: known[name, *draws] for name in names}, names))
    return made


def _best(controls: Mapping[str, Array]) -> Array:
    return max(controls.values(), key=lambda scores: float(scores.mean()))


def out_of_reach(controls: Mapping[ArmKey, Cell], scale: float | None) -> set[ArmKey]:
    """The controls of a share that are surely below the best one; where draws are missing they need not be paired."""
    if not controls:
        return set()
    best = max(controls.values(), key=lambda cell: (len(cell.draws), float(cell.scores().mean())))
    rivals, found = {arm: cell for arm, cell in controls.items() if cell is not best}, set()
    for arm, cell in rivals.items():
        draws = paired({arm: cell, best.arm: best})
        if draws and beaten(best.scores(draws), cell.scores(draws), len(rivals), scale=scale):
            found.add(arm)
    return found


def _together(cell: Cell, controls: Mapping[ArmKey, Cell]) -> tuple[list[ArmKey], list[int]]:
    """(controls that can be paired with a cell, the draws they all share); of an unfinished study what leaves two, or
    all that there are."""
    usable: list[ArmKey] = []
    draws = set(cell.draws)
    for arm in sorted(controls, key=lambda arm: (-len(draws & set(controls[arm].draws)), _name(arm))):
        left = draws & set(controls[arm].draws)
        if len(left) >= 2 or (left and (not usable or left == draws)):
            usable, draws = [*usable, arm], left
    return usable, sorted(draws) if usable else []


def _name(arm: ArmKey) -> str:
    return f"{arm.strategy}|{arm.source}|{arm.knobs}"


def arm_rows(
    found: Readings, titles: Mapping[ArmKey, str], labels: Mapping[Share, int], margin: float
) -> list[dict[str, Any]]:
    """One row per arm and share, best set marked."""
    made = []
    for share in found.shares():
        cells = {arm: cell for (arm, at), cell in found.cells.items() if at == share and cell.values}
        several = {arm: cell for arm, cell in cells.items() if len(cell.values) > 1}  # one draw tells nobody apart
        draws = paired(several)
        together = {_name(arm): cell.scores(draws) for arm, cell in several.items()} if len(draws) > 1 else {}
        best = set(best_set(together, margin, scale=found.scale, design=found.design))
        for arm, cell in cells.items():
            made.append(_arm_row(found, cell, titles[arm], labels[share]) | {"best_set": _name(arm) in best})
    return made


def _arm_row(found: Readings, cell: Cell, title: str, labels: int) -> dict[str, Any]:
    scores = cell.scores()
    mean = weigh(scores, np.zeros_like(scores), scale=found.scale, design=found.design)
    sign = 1.0 if found.metric.higher_is_better else -1.0
    ends = sorted([sign * mean.bound(0.025), sign * mean.bound(0.975)])
    if found.metric.unit == "share":
        ends = [max(ends[0], 0.0) if found.metric.key != "r2" else ends[0], min(ends[1], 1.0)]
    cards = [cell.cards[draw] for draw in cell.draws]
    return {
        **who(cell),
        "kind": cell.arm.kind,
        "title": title,
        "n_train": labels,
        "score": sign * mean.gain,
        "low": ends[0],
        "high": ends[1],
        "draws": len(cell.draws),
        "draws_asked": cell.asked,
        "seconds": _mean(cards, "seconds_alone"),  # else who comes first pays for what all use
        "peak_mb": _most(cards, "peak_mb"),
        "trainable_parameters": int(_most(cards, "trainable_parameters") or 0),
        "train_score": _mean(cards, "train_score"),
        "validation_score": _mean(cards, "validation_score"),
        "train_gap": train_gap(cell),
        "ece": float(np.mean(list(cell.ece.values()))) if cell.ece else None,
        "ece_by_chance": float(np.mean(list(cell.ece_by_chance.values()))) if cell.ece else None,
        "draw_scores": [sign * float(cell.values[draw].mean()) for draw in cell.draws],
        "metrics": _metrics(cards),
        "trials": [trial.id for _, trial in sorted(cell.trials.items())],
    }


def who(cell: Cell) -> dict[str, Any]:
    return {
        "source": cell.arm.source,
        "strategy": cell.arm.strategy,
        "knobs": json.loads(cell.arm.knobs),
        "fraction": cell.share.fraction,
        "per_class": cell.share.per_class_count,
    }


def _numbers(cards: list[dict[str, Any]], key: str) -> list[float]:
    """A number of the cards, on top or among the facts."""
    values = [card.get(key, (card.get("facts") or {}).get(key)) for card in cards]
    return [float(v) for v in values if isinstance(v, int | float) and np.isfinite(v)]


def _mean(cards: list[dict[str, Any]], key: str) -> float | None:
    values = _numbers(cards, key)
    return float(np.mean(values)) if values else None


def _most(cards: list[dict[str, Any]], key: str) -> float | None:
    values = _numbers(cards, key)
    return max(values) if values else None


def train_gap(cell: Cell) -> list[float] | None:
    """[mean, low, high] of training score less validation score over the draws; None where it is not known."""
    gaps = [
        pair[0][0] - pair[1][0]
        for card in cell.cards.values()
        if all(pair := (_numbers([card], "train_score"), _numbers([card], "validation_score")))
    ]
    if len(gaps) < 2:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(len(gaps) - 1, 0.975) * np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    return [float(np.mean(gaps)), float(np.mean(gaps)) - half, float(np.mean(gaps)) + half]


def _metrics(cards: list[dict[str, Any]]) -> dict[str, float]:
    keys = {key for card in cards for key in (card.get("metrics") or {})}
    found = {key: _numbers([card.get("metrics") or {} for card in cards], key) for key in sorted(keys)}
    return {key: float(np.mean(values)) for key, values in found.items() if values}


def verdict_fields(verdict: Verdict, metric: Metric) -> dict[str, Any]:
    """The fields of a verdict; its interval goes no further than a difference of two shares can."""
    fields = verdict.model_dump(exclude={"margin", "rows"})
    if metric.per_cent:
        fields |= {"low": max(verdict.low, -1.0), "high": min(verdict.high, 1.0)}
    return fields


def compared(one: Judged, titles: Mapping[ArmKey, str], labels: Mapping[Share, int]) -> dict[str, Any]:
    """Which arm, on how many labels, against which control."""
    return who(one.cell) | {
        "title": titles[one.cell.arm],
        "n_train": labels[one.cell.share],
        "against": one.against.strategy,
        "against_source": one.against.source,
        "against_title": titles[one.against],
    }


def verdict_rows(
    found: Readings, judged: list[Judged], titles: Mapping[ArmKey, str], labels: Mapping[Share, int]
) -> list[dict[str, Any]]:
    """One row per transfer arm and share; the best arm of each share also with its gain less the winner's luck."""
    made = []
    for one in judged:
        made.append(
            compared(one, titles, labels)
            | {
                **verdict_fields(one.verdict, found.metric),
                "by": words.tested_by(found.folds),
                "alone": conclude(one.found.found, one.verdict.margin).verdict,  # without Holm
                "untrained": _untrained(one.cell),  # its source had learnt nothing that could be transferred
            }
        )
    return made


def _untrained(cell: Cell) -> bool:
    card = next(iter(cell.cards.values()), {})
    return (card.get("source") or {}).get("pretrained") is False


def luck(found: Readings, judged: list[Judged], share: Share) -> tuple[float, float] | None:
    """(gain of the best arm at a share as seen, the same less the winner's luck); None with fewer than two arms."""
    here = [one for one in judged if one.cell.share == share]
    if len(here) < 2:
        return None
    cells = {one.cell.arm: one.cell for one in here} | {
        one.against: found.cells[one.against, share] for one in here
    }  # fmt: skip
    draws = paired(cells)
    if not draws:
        return None
    gains = np.stack([cells[o.cell.arm].scores(draws) - cells[o.against].scores(draws) for o in here])
    return without_luck(gains, design=found.design)


def clean(row: dict[str, Any]) -> dict[str, Any]:
    """A row that JSON can hold: numbers of Python, None for what is no number."""

    def value(v: Any) -> Any:
        if isinstance(v, np.generic):
            v = v.item()
        if isinstance(v, float) and not math.isfinite(v):
            return None
        if isinstance(v, list | tuple):
            return [value(x) for x in v]
        return {key: value(x) for key, x in v.items()} if isinstance(v, dict) else v

    return {key: value(v) for key, v in row.items()}
