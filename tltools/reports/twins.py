"""Arms that differ in their settings alone: whether augmentation, or another setting, pays, in the judge's words."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tltools.judging.multiplicity import against_best, family
from tltools.reports import words
from tltools.reports.figures import paired, priors_of, verdict_fields, who
from tltools.reports.readings import ArmKey, Cell, Readings, Share
from tltools.strategies import strategies
from tltools.tasks import Metric

Row = dict[str, Any]

TOLD = 3  # sentences at most
SAID = {
    "positive": "pays",
    "negative": "does harm",
    "neutral": "makes no difference that matters",
    "leaning_positive": "probably pays, but it is not sure",
    "leaning_negative": "probably does harm, but it is not sure",
    "not_enough_evidence": "cannot be told to pay",
}


def twin_rows(found: Readings, titles: Mapping[ArmKey, str], labels: Mapping[Share, int], margin: float) -> list[Row]:
    """Every transfer arm against the one of its source and strategy whose settings are most the usual ones, on the same
    draws and rows; all of them are one family (Holm). `changed`: setting -> [from, to]."""
    pairs: list[tuple[Cell, Cell, list[int]]] = []
    for share in found.shares():
        alike: dict[tuple[str, str], list[Cell]] = defaultdict(list)
        for arm, cell in found.of_kind("transfer", share).items():
            if cell.values:
                alike[arm.source, arm.strategy].append(cell)
        for cells in alike.values():
            usual = min(cells, key=lambda cell: (len(_unusual(cell.arm)), cell.arm.knobs))
            for cell in cells:
                draws = paired({cell.arm: cell, usual.arm: usual})
                if cell is not usual and len(draws) > 1:
                    pairs.append((cell, usual, draws))
    scores = [(cell.scores(draws), usual.scores(draws)) for cell, usual, draws in pairs]
    shared = priors_of(found, [cell for cell, *_ in pairs], scores)
    judged = [
        against_best(ours, {"usual": theirs}, margin, scale=found.scale, prior=one, design=found.design)
        for (ours, theirs), one in zip(scores, shared, strict=True)
    ]
    return [
        who(cell)
        | {"title": titles[cell.arm], "n_train": labels[cell.share], "against_title": titles[usual.arm]}
        | {"changed": _changed(cell.arm, usual.arm)}
        | verdict_fields(verdict, found.metric)
        for (cell, usual, _), verdict in zip(pairs, family(judged, margin), strict=True)
    ]


def sentences(rows: list[Row], metric: Metric) -> list[str]:
    """Whether the settings that were changed pay, at the most labels; the surest first."""
    most = max((row["n_train"] for row in rows), default=0)
    here = sorted(
        (row for row in rows if row["n_train"] == most), key=lambda row: -max(row["p_better"], row["p_worse"])
    )
    made = []
    for row in here[:TOLD]:
        sign = "−" if row["gain"] < 0 else "+"
        made.append(
            f"{_settings(row)} {SAID[row['verdict']]}: with {row['n_train']:,} labels {sign}"
            f"{words.amount(row['gain'], metric)} for {strategies()[row['strategy']].title} "
            f"({words.span(row['low'], row['high'], metric)})."
        )
    return made


def _settings(row: Row) -> str:
    """ "Flip on instead of off, rotate 10 instead of 0"."""
    names = {knob.key: knob.title for knob in strategies()[row["strategy"]].knobs}
    said = [f"{names.get(key, key)} {_word(to)} instead of {_word(old)}" for key, (old, to) in row["changed"].items()]
    return ", ".join([said[0], *(one[0].lower() + one[1:] for one in said[1:])])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _changed(arm: ArmKey, usual: ArmKey) -> dict[str, list[Any]]:
    """Setting -> [as usual, in this arm]."""
    own, other = json.loads(arm.knobs), json.loads(usual.knobs)
    return {key: [other.get(key), own[key]] for key in own if own[key] != other.get(key)}


def _unusual(arm: ArmKey) -> set[str]:
    """The settings of an arm that are not the strategy's own."""
    usual = {knob.key: knob.default for knob in strategies()[arm.strategy].knobs}
    return {key for key, value in json.loads(arm.knobs).items() if value != usual.get(key)}
