"""The rows of a report about groups of people: scores, gaps between groups, and how an arm moved them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tltools.judging import fairness
from tltools.judging.fairness import Share as Rate
from tltools.records import Problem, Report
from tltools.reports.figures import paired
from tltools.reports.readings import ArmKey, Cell, Readings, Share
from tltools.tasks import judged_by

REPLICATES = 300
RATED = 8  # classes up to which each has its rates by group
ODDS = "equalized_odds_difference"


def group_rows(
    found: Readings, table: pd.DataFrame, sensitive: Sequence[str], classes: Sequence[str], margin: float
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Rows at the largest share for every arm and sensitive column, and for all columns together.

    `kind` of a row: "score" (a metric of one group, see `_score_rows`), "gap" (largest difference between groups),
    "moved" (an arm's gap less that of the best control: the bias-transfer delta, with a verdict: positive = wider).
    """
    shares = found.shares()
    if not sensitive or not shares:
        return [], []
    if not any(cell.said for cell in found.cells.values()):
        what = "rows of this task have no class or number of their own, so groups are not compared."
        remedy = "Compare groups by a study of one class a row."
        return [], [Problem(severity="note", where=", ".join(sensitive), what=what, remedy=remedy)]
    columns = {name: fairness.as_groups(table[name]) for name in sensitive if name in table}
    if len(columns) > 1:
        columns[" and ".join(columns)] = fairness.intersections(columns)
    rows, problems = [], []
    for name, everyone in columns.items():
        groups = everyone[found.rows]
        kept, few = fairness.judged(groups)
        if few:
            counts = fairness.sizes(groups)
            named = ", ".join(f"{group} ({counts[group]} rows)" for group in few[:8])
            what = f"groups with fewer than {fairness.SMALL} test rows say little: {named}."
            problems.append(Problem(severity="warning", where=f"column {name}", what=what, remedy="Add rows of them."))
        rows += _rows(found, shares[-1], name, groups, kept, classes, margin)
    return rows, problems


def _rows(
    found: Readings, share: Share, column: str, groups: Any, kept: Any, classes: Sequence[str], margin: float
) -> list[dict[str, Any]]:
    cells = found.of_kind("control", share) | found.of_kind("transfer", share)
    controls = found.of_kind("control", share)
    best = max(controls.values(), key=lambda cell: float(cell.scores().mean())) if controls else None
    made: list[dict[str, Any]] = []
    for arm, cell in cells.items():
        made += _score_rows(found, cell, column, groups, classes)
        if not classes or len(set(groups[kept])) < 2:
            continue
        said, truth = np.stack([cell.said[draw] for draw in cell.draws])[:, kept], found.truth[kept]
        for gap in fairness.gaps(truth, said, groups[kept], len(classes), replicates=REPLICATES):
            made.append(_gap_row(arm, column, "gap", gap, int(kept.sum())))
        if best is not None and arm.kind == "transfer":
            made += _moved_rows(found, cell, best, column, groups, kept, len(classes), margin)
    return made


def _moved_rows(
    found: Readings, cell: Cell, best: Cell, column: str, groups: Any, kept: Any, classes: int, margin: float
) -> list[dict[str, Any]]:
    draws = paired({cell.arm: cell, best.arm: best})
    if len(draws) < 2:
        return []
    said, control = (np.stack([one.said[draw] for draw in draws])[:, kept] for one in (cell, best))
    moved = fairness.moved(found.truth[kept], said, control, groups[kept], classes, margin, replicates=REPLICATES)
    return [_gap_row(cell.arm, column, "moved", gap, int(kept.sum())) | {"against": best.arm.strategy} for gap in moved]


def _score_rows(found: Readings, cell: Cell, column: str, groups: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    """For each group the share of rows that are right (numbers: mean absolute error), how much surer the model is than
    it is right, and the rates of each class: of two classes those of the second, of more than `RATED` none."""
    said = np.stack([cell.said[draw] for draw in cell.draws])
    if not classes:
        errors = fairness.by_group(np.abs(said - found.truth), groups)
        return _by_group(cell.arm, column, "mae", errors, (0.0, np.inf))
    right = (said == found.truth).astype(np.float64)
    sure = np.stack([cell.sure[draw] for draw in cell.draws])
    made = _by_group(cell.arm, column, "accuracy", fairness.by_group(right, groups))
    made += _by_group(cell.arm, column, "overconfidence", fairness.by_group(sure - right, groups), (-1.0, 1.0))
    for code in () if len(classes) > RATED else range(len(classes)) if len(classes) > 2 else (1,):
        picked, of = (said == code).astype(np.float64), found.truth == code
        name = "" if len(classes) == 2 else f" of {classes[code]}"
        for metric, rows in (
            ("selection_rate", np.ones(len(of), bool)), ("true_positive_rate", of), ("false_positive_rate", ~of),
        ):  # fmt: skip
            rates = fairness.by_group(picked[:, rows], groups[rows])
            made += _by_group(cell.arm, column, f"{metric}{name}", rates)
    return made


def _by_group(
    arm: ArmKey, column: str, metric: str, rates: dict[str, Rate], within: tuple[float, float] = (0.0, 1.0)
) -> list[dict[str, Any]]:
    """A row a group; its interval goes no further than the metric can."""
    return [
        _base(arm, column, "score")
        | {"group": group, "metric": metric, "score": rate.value}
        | {"low": float(np.clip(rate.low, *within)), "high": float(np.clip(rate.high, *within))}
        | {"n": rate.rows, "too_few": rate.rows < fairness.SMALL}
        for group, rate in rates.items()
    ]


def _gap_row(arm: ArmKey, column: str, kind: str, gap: fairness.Gap, rows: int) -> dict[str, Any]:
    numbers = {"score": gap.value, "low": gap.low, "high": gap.high, "n": rows}
    return _base(arm, column, kind) | {"group": "", "metric": gap.metric, **numbers, "verdict": gap.verdict}


def _base(arm: ArmKey, column: str, kind: str) -> dict[str, Any]:
    return {"column": column, "kind": kind, "source": arm.source, "strategy": arm.strategy} | {
        "knobs": json.loads(arm.knobs)
    }


def side_by_side(report: Report, column: str) -> list[dict[str, Any]]:
    """The scores of one sensitive column, one line an arm and group: {"title", "group", "n": test rows, "metrics":
    {name: (score, low, high)}}."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in report.groups:
        if row["kind"] == "score" and row["column"] == column:
            title = title_of(report, row)
            line = made.setdefault(
                (row["group"], title), {"title": title, "group": row["group"], "n": 0, "metrics": {}}
            )
            line["n"] = max(line["n"], row["n"])  # rates of a class are of fewer rows
            line["metrics"][row["metric"]] = (row["score"], row["low"], row["high"])
    return [made[key] for key in sorted(made, key=lambda key: -made[key]["n"])]


def frontier(report: Report, column: str) -> list[dict[str, Any]]:
    """What fairness costs: every arm at the most labels with its score, its equalised odds difference between the
    groups of a column, and its seconds; `best`: no other arm has a better score and a smaller difference."""
    made, sign = [], 1 if judged_by(report).higher_is_better else -1
    for row in report.groups:
        arm = arm_of(report, row)
        if arm and row["kind"] == "gap" and row["metric"] == ODDS and row["column"] == column:
            keys = ("title", "kind", "score", "low", "high", "seconds")
            gap = {"gap": row["score"], "gap_low": row["low"], "gap_high": row["high"]}
            made += [{key: arm[key] for key in keys} | gap] if row["score"] is not None else []

    def beaten(one: dict[str, Any]) -> bool:
        return any(sign * (other["score"] - one["score"]) > 0 and other["gap"] < one["gap"] for other in made)

    return [one | {"best": not beaten(one)} for one in made]


def title_of(report: Report, row: dict[str, Any]) -> str:
    """How the arm of a row is called for people."""
    arm = arm_of(report, row)
    return str(arm["title"]) if arm else f"{row['strategy']} ({row['source']})"


def arm_of(report: Report, row: dict[str, Any]) -> dict[str, Any] | None:
    """The arm that a row of groups speaks of, at the most labels."""
    most = max((arm["n_train"] for arm in report.arms), default=0)
    keys = ("source", "strategy", "knobs")
    same = (arm for arm in report.arms if arm["n_train"] == most and all(arm[k] == row.get(k) for k in keys))
    return next(same, None)
