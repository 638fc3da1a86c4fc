"""The rows of a report about groups of people: scores, gaps between groups, and how an arm moved them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tltools.judging import fairness
from tltools.judging.fairness import Share as Rate
from tltools.records import Problem, Report
from tltools.reports.readings import ArmKey, Cell, Readings, Share, titles
from tltools.tasks import judged_by

RATED = 8  # classes up to which each has its rates by group
ODDS = "equalized_odds_difference"


def group_rows(
    found: Readings, table: pd.DataFrame, sensitive: Sequence[str], classes: Sequence[str], margin: float
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Rows at the largest share for every arm and sensitive column, and for all columns together.

    `kind` of a row: "score" (a metric of one group, see `_score_rows`), "gap" (largest difference between groups),
    "moved" (an arm's gap less that of the best control: the bias-transfer delta, with a verdict: positive = wider; all
    of a column are held back together by Holm, `alone` is the word without).
    """
    shares = found.shares()
    if not sensitive or not shares:
        return [], []
    if not found.one_value:
        what = "rows of this task have no class or number of their own, so groups are not compared."
        remedy = "Compare groups by a study of one class a row."
        return [], [Problem(severity="note", where=", ".join(sensitive), what=what, remedy=remedy)]
    columns = {name: fairness.as_groups(table[name]) for name in sensitive if name in table}
    if len(columns) > 1:
        columns[" and ".join(columns)] = fairness.intersections(columns)
    rows, problems = [], _partial(found, shares[-1], sensitive)
    for name, everyone in columns.items():
        groups = everyone[found.rows]
        kept, few = fairness.judged(groups)
        if few:
            counts = fairness.sizes(groups)
            named = ", ".join(
                f"{group} ({counts[group]} {'row' if counts[group] == 1 else 'rows'})" for group in few[:8]
            )
            what = f"groups with fewer than {fairness.SMALL} test rows say little: {named}."
            problems.append(Problem(severity="warning", where=f"column {name}", what=what, remedy="Add rows of them."))
        rows += _rows(found, shares[-1], name, groups, kept, classes, margin)
    return rows, problems


def _partial(found: Readings, share: Share, sensitive: Sequence[str]) -> list[Problem]:
    """Names the arms that are left out because none of their repeats of the folds is whole."""
    names = titles(found.cells.values())
    titled = [names[arm] for (arm, at), cell in found.cells.items() if at == share and not cell.said]
    if not found.folds or not titled:
        return []
    what = f"groups are compared over whole repeats of the folds, of which these have none yet: {', '.join(titled)}."
    return [Problem(severity="warning", where=", ".join(sensitive), what=what, remedy="Run the study on.")]


def _rows(
    found: Readings, share: Share, name: str, groups: Any, kept: Any, classes: Sequence[str], margin: float
) -> list[dict[str, Any]]:
    controls, transfer = (
        {arm: cell for arm, cell in found.of_kind(kind, share).items() if cell.said} for kind in ("control", "transfer")
    )
    best = max(controls.values(), key=lambda cell: float(cell.scores().mean())) if controls else None
    column = _Column(found, groups, kept, len(classes), fairness.enough(2 * len(transfer)))
    made: list[dict[str, Any]] = []
    deltas: list[tuple[ArmKey, fairness.Gap]] = []
    for arm, cell in (controls | transfer).items():
        made += _score_rows(found, cell, name, groups, classes)
        if classes and len(set(groups[kept])) > 1:
            made += [_gap_row(arm, name, "gap", gap, int(kept.sum())) for gap in column.gaps(cell)]
            if best is not None and arm.kind == "transfer":
                deltas += [(arm, gap) for gap in column.moved(cell, best, margin)]
    for (arm, gap), word in zip(deltas, fairness.together([gap for _, gap in deltas]), strict=True):
        assert best is not None
        row = _gap_row(arm, name, "moved", gap, int(kept.sum())) | {"verdict": word, "alone": gap.verdict}
        made.append(row | {"against": best.arm.strategy})
    return made


@dataclass
class _Column:
    """The groups that a sensitive column makes of the test rows, resampled alike for all arms."""

    found: Readings
    groups: Any  # (M,) names
    kept: Any  # (M,) bool: rows of groups that are large enough
    classes: int
    replicates: int
    drawn: dict[float | None, Any] = field(default_factory=dict)  # widening -> how often each row is drawn
    known: dict[tuple[ArmKey, tuple[int, ...]], fairness.Replicates] = field(default_factory=dict)

    def gaps(self, cell: Cell) -> list[fairness.Gap]:
        """The largest differences between the groups."""
        return fairness.gaps(self._replicated(cell, sorted(cell.said)))

    def moved(self, cell: Cell, best: Cell, margin: float) -> list[fairness.Gap]:
        """The same less those of the best control; none of one draw."""
        at = sorted(cell.said.keys() & best.said.keys())
        if len(at) < (1 if self.found.folds else 2):
            return []
        return fairness.moved(self._replicated(cell, at), self._replicated(best, at), margin)

    def _replicated(self, cell: Cell, at: Sequence[int]) -> fairness.Replicates:
        """The differences of an arm over some draws, or repeats, once computed."""
        if (key := (cell.arm, tuple(at))) not in self.known:
            groups, widen = self.groups[self.kept], self.found.widening(len(at))
            if widen not in self.drawn:
                self.drawn[widen] = fairness.resampled(groups, self.replicates, widen=widen)
            said, truth = np.stack([cell.said[k] for k in at])[:, self.kept], self.found.truth[self.kept]
            self.known[key] = fairness.replicated(
                truth, said, groups, self.classes, by_row=self.drawn[widen], widen=widen
            )
        return self.known[key]


def _score_rows(found: Readings, cell: Cell, column: str, groups: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    """For each group the share of rows that are right (numbers: mean absolute error), how much surer the model is than
    it is right, and the rates of each class: of two classes those of the second, of more than `RATED` none."""
    said, widen = np.stack([cell.said[at] for at in sorted(cell.said)]), found.widening(len(cell.said))
    if not classes:
        errors = fairness.by_group(np.abs(said - found.truth), groups, widen)
        return _by_group(cell.arm, column, "mae", errors, (0.0, np.inf))
    right = (said == found.truth).astype(np.float64)
    sure = np.stack([cell.sure[at] for at in sorted(cell.sure)])
    made = _by_group(cell.arm, column, "accuracy", fairness.by_group(right, groups, widen))
    made += _by_group(cell.arm, column, "overconfidence", fairness.by_group(sure - right, groups, widen), (-1.0, 1.0))
    for code in () if len(classes) > RATED else range(len(classes)) if len(classes) > 2 else (1,):
        picked, of = (said == code).astype(np.float64), found.truth == code
        name = "" if len(classes) == 2 else f" of {classes[code]}"
        for metric, rows in (
            ("selection_rate", np.ones(len(of), bool)), ("true_positive_rate", of), ("false_positive_rate", ~of),
        ):  # fmt: skip
            rates = fairness.by_group(picked[:, rows], groups[rows], widen)
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


def how(report: Report) -> str:
    """How groups were compared, for a reader; "" where nothing was."""
    told = []
    if any(row["kind"] == "moved" for row in report.groups):
        told.append("Whether a gap is wider is judged of all differences by one column together (Holm).")
    if report.folds and report.groups:
        told.append(
            "Each row counts once, by what the models that had not seen it said over the repeats. As their training "
            "rows overlap, rows count as fewer than they are, by the rule of the correlated t."
        )
    return " ".join(told)


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
