"""The rows of a report about groups of people: scores, gaps between groups, and how an arm moved them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tltools.judging import fairness
from tltools.records import Problem
from tltools.reports.figures import paired
from tltools.reports.readings import ArmKey, Cell, Readings, Share

REPLICATES = 300


def group_rows(
    found: Readings, table: pd.DataFrame, sensitive: Sequence[str], classes: Sequence[str], margin: float
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Rows at the largest share for every arm and sensitive column, and for all columns together.

    `kind` of a row: "score" (one group), "gap" (largest difference between groups), "moved" (an arm's gap less that of
    the best control: the bias-transfer delta, with a verdict: positive = wider).
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
        made += _score_rows(found, cell, column, groups, bool(classes))
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


def _score_rows(found: Readings, cell: Cell, column: str, groups: Any, has_classes: bool) -> list[dict[str, Any]]:
    """Share of rows that are right in each group; for numbers the mean absolute error."""
    said = np.stack([cell.said[draw] for draw in cell.draws])
    scores = (said == found.truth).astype(np.float64) if has_classes else np.abs(said - found.truth)
    metric = "accuracy" if has_classes else "mae"
    return [
        _base(cell.arm, column, "score")
        | {"group": group, "metric": metric, "score": share.value, "low": share.low, "high": share.high}
        | {"n": share.rows, "too_few": share.rows < fairness.SMALL}
        for group, share in fairness.by_group(scores, groups).items()
    ]


def _gap_row(arm: ArmKey, column: str, kind: str, gap: fairness.Gap, rows: int) -> dict[str, Any]:
    numbers = {"score": gap.value, "low": gap.low, "high": gap.high, "n": rows}
    return _base(arm, column, kind) | {"group": "", "metric": gap.metric, **numbers, "verdict": gap.verdict}


def _base(arm: ArmKey, column: str, kind: str) -> dict[str, Any]:
    return {"column": column, "kind": kind, "source": arm.source, "strategy": arm.strategy}
