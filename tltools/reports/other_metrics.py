"""Whether the verdict hangs on the metric: the same comparisons by the other metrics of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tltools.records import Report
from tltools.reports import words
from tltools.reports.figures import compared, judge_all, verdict_fields
from tltools.reports.readings import ArmKey, Readings, Share, scale_of
from tltools.tasks import Metric, judged_by, tasks

Row = dict[str, Any]
TOLD = ("gain", "low", "high", "p_better", "p_equivalent", "p_worse", "verdict")
HOW = (
    "Gain over the best control with its 95 % interval, shares in points, above 0 better (of errors, too). Each metric "
    "judges as if it alone had been chosen beforehand; one in another unit than the study's has no margin."
)
OPPOSITE = {"positive": "negative", "negative": "positive"}


def others(metric: Metric, task: str) -> list[Metric]:
    """The metrics of a task that judge its outputs, but for one."""
    return [one for one in tasks()[task].metrics if one.judges and one.key != metric.key]


def rows(
    found: Readings, titles: Mapping[ArmKey, str], labels: Mapping[Share, int], margin: float, classes: int
) -> list[Row]:
    """Every transfer arm and share by every other metric that was read, against the control that is best by it.

    Each metric is a family of its own (Holm), as if it alone had been chosen. A metric in another unit than that of the
    study has no margin (0).
    """
    made = []
    for metric in found.others:
        again = by_another(found, metric, classes)
        width = margin if metric.unit == found.metric.unit else 0.0
        for one in judge_all(again, width):
            verdict = verdict_fields(one.verdict, metric)
            told = {key: verdict[key] for key in TOLD}
            made.append({"metric": metric.key, "margin": width} | compared(one, titles, labels) | told)
    return made


def by_another(found: Readings, metric: Metric, classes: int) -> Readings:
    """What was read, with the scores of another metric in place of the study's."""
    cells = {key: replace(cell, values=cell.others.get(metric.key, {})) for key, cell in found.cells.items()}
    return replace(found, metric=metric, cells=cells, scale=scale_of(metric, found.truth, classes))


def side_by_side(report: Report) -> tuple[list[Metric], list[tuple[Row, list[Row | None]]]]:
    """(metrics, the study's first; each verdict, most labels and largest gain first, with what each metric says)."""
    known = {(row["metric"], *_at(row)): row for row in report.other_metrics}
    metrics = [m for m in others(judged_by(report), report.task) if any(m.key == key[0] for key in known)]
    verdicts = sorted(report.verdicts, key=lambda row: (-row["n_train"], -row["gain"]))
    return [judged_by(report), *metrics], [
        (row, [row, *(known.get((metric.key, *_at(row))) for metric in metrics)]) for row in verdicts
    ]


def sentences(verdicts: Sequence[Row], again: Sequence[Row], metric: Metric, task: str) -> list[str]:
    """Where two metrics contradict each other at the most labels; else what the others say of the leading arm."""
    leading, names = words.leading(verdicts), {one.key: one.title for one in tasks()[task].metrics}
    if leading is None or not again:
        return []
    found = []
    here = {_at(row): row for row in verdicts if row["n_train"] == leading["n_train"]}
    for row in again:
        ours = here.get(_at(row))
        if ours is not None and row["verdict"] == OPPOSITE.get(ours["verdict"]):
            found.append(
                f"It hangs on the metric: with {row['n_train']:,} labels, {row['title']} is {ours['verdict']} by "
                f"{metric.title} and {row['verdict']} by {names[row['metric']]}."
            )
    if found:
        return found[:2]
    said = [f"{names[row['metric']]} {words.WORDS[row['verdict']]}" for row in again if _at(row) == _at(leading)]
    if not said:
        return []
    return [f"By other metrics, with {leading['n_train']:,} labels, {leading['title']}: {', '.join(said)}."]


def _at(row: Row) -> tuple[Any, ...]:
    """Which arm and share a verdict is of."""
    return row["source"], row["strategy"], str(row["knobs"]), row["fraction"], row["per_class"]
