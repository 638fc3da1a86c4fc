"""All arms of a study in detail: the table, score against cost, learning curves, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tltools.records import Report
from tltools.reports import groups as by_group
from tltools.reports import other_metrics
from tltools.reports import views as tables
from tltools.tasks import Metric, judged_by, tasks
from tltools.ui import charts, verdict_charts, widgets, words
from tltools.ui.words import duration, esc, minus, short

Row = Mapping[str, Any]
GAP_WORDS = {
    "positive": "▲ wider", "negative": "▼ narrower", "neutral": "● the same", "leaning_positive": "△ probably wider",
    "leaning_negative": "▽ probably narrower", "not_enough_evidence": "? not enough evidence",
}  # fmt: skip


def cost(report: Report) -> None:
    """Score against what it costs, and estimate beside what it came to."""
    metric, table = judged_by(report), tables.score_by_cost(report)
    left, right = st.columns(2, gap="large")
    colours = charts.palette()
    with left:
        chart = verdict_charts.against_cost(table, metric, "seconds", "seconds a trial", colours)
        charts.show(chart, f"{metric.title} against seconds a trial", "score_by_seconds")
    with right:
        if (table["trainable_parameters"] > 0).any():
            chart = verdict_charts.against_cost(table, metric, "trainable_parameters", "trained parameters", colours)
            charts.show(chart, f"{metric.title} against trained parameters", "score_by_parameters")
    known = report.cost
    guess = known.get("estimated_seconds")
    said = [f"Took {duration(known.get('actual_seconds'))}" + (f", estimated {duration(guess)}." if guess else ".")]
    if known.get("prefix_rows_computed") is not None and known.get("prefix_rows_naive"):
        said.append(
            f"{known['prefix_rows_computed']:,} rows went through frozen parts; one trial at a time it would have been "
            f"{known['prefix_rows_naive']:,}."
        )
    if known.get("actual_peak_mb"):
        said.append(f"Peak memory {known['actual_peak_mb'] / 1000:.1f} GB.")
    st.caption(" ".join(said))
    st.caption(tables.ALONE)
    with st.expander("The numbers behind it"):
        widgets.table(table, "Score and cost of every arm", "cost")


def arms(report: Report) -> None:
    """Every arm at every share, most labels and best score first, to sort and download."""
    metric, seen = judged_by(report), tasks()[report.task].metrics[0]
    frame = pd.DataFrame([_arm_row(row, metric, seen) for row in tables.best_first(report)]).dropna(axis=1, how="all")
    frame = frame.rename(columns={"draws": "folds"} if report.folds else {})
    if all(row.get("score_without_copies") in (None, row["score"]) for row in report.arms):  # no row has a copy
        frame = frame.drop(columns="without copies", errors="ignore")
    widgets.table(frame, "All arms with scores, intervals and costs", "arms", _arm_columns(metric, seen))
    st.caption("Intervals here are of one score each; whether two arms differ, the verdicts say.")


def by_metric(report: Report) -> None:
    """What every metric of the task says of the same comparisons, the study's first."""
    metrics, lines = other_metrics.side_by_side(report)
    if not report.other_metrics:
        st.markdown("This task has no other metric, or the study is still running.")
        return
    frame = pd.DataFrame([
        {"arm": row["title"], "labels": row["n_train"]}
        | {metric.title: _gain(one, metric) for metric, one in zip(metrics, told, strict=True)}
        for row, told in lines
    ])  # fmt: skip
    widgets.table(frame, "Verdicts by every metric of the task", "by_metric")
    st.caption(other_metrics.HOW)


def _gain(row: Row | None, metric: Metric) -> str:
    """ "▲ positive: +3.1 (1.0 to 5.2)"."""
    if row is None:
        return ""
    form = "{:+.1f} ({:.1f} to {:.1f})" if metric.unit == "share" else "{:+.3g} ({:.3g} to {:.3g})"
    by = 100 if metric.unit == "share" else 1
    look = words.VERDICTS[row["verdict"]]
    return minus(f"{look.mark} {look.word}: " + form.format(*(by * row[key] for key in ("gain", "low", "high"))))


def _arm_row(row: Row, metric: Metric, seen: Metric) -> dict[str, Any]:
    """A line of the table; `seen`: the metric of training and validation rows, whichever the study is judged by."""
    trained, validated, over_fit = _seen_by(seen)
    others = {key: round(value, 4) for key, value in (row.get("metrics") or {}).items() if key != metric.key}
    return {
        "arm": row["title"], "kind": row["kind"], "labels": row["n_train"], "score": _shown(row["score"], metric),
        "low": _shown(row["low"], metric), "high": _shown(row["high"], metric),
        "without copies": _shown(row.get("score_without_copies"), metric), "best set": bool(row["best_set"]),
        "draws": row["draws"], trained: _shown(row["train_score"], seen),
        validated: _shown(row["validation_score"], seen), over_fit: _gap(row["train_gap"]),
        "seconds a trial": row["seconds"],
        "peak MB": row["peak_mb"], "trained parameters": row["trainable_parameters"],
        **others, "source": row["source"],
    }  # fmt: skip


def _shown(value: float | None, metric: Metric) -> float | None:
    """As the sentences round it: a browser rounds 81.25 up, Python to 81.2."""
    return round(100 * value, 1) if value is not None and metric.per_cent else value


def _seen_by(seen: Metric) -> tuple[str, str, str]:
    """Headings of the scores of training rows, of validation rows, and of the difference."""
    name, unit = seen.title.partition(",")[0], " (%)" if seen.per_cent else ""
    return f"train: {name}{unit}", f"validation: {name}{unit}", f"over-fit by: points of {name}"


def _gap(gap: Sequence[float] | None) -> str:
    """Training less validation score with its interval over draws."""
    if not gap:
        return "–"
    mean, low, high = (100 * value for value in gap)
    return minus(f"{mean:+.1f} ({low:.1f} to {high:.1f})")


def _arm_columns(metric: Metric, seen: Metric) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    form = "%.1f" if metric.per_cent else "%.3f" if metric.unit == "share" else "%.4g"
    trained, validated, _ = _seen_by(seen)
    own = "%.1f" if seen.per_cent else "%.3f"
    return {
        "arm": st.column_config.TextColumn(width=290, pinned=True),  # else a long name is cut, and scrolls away
        "score": number(words.titled(metric), format=form), "low": number("95 % low", format=form),
        "high": number("95 % high", format=form), trained: number(format=own), validated: number(format=own),
        "without copies": number("without copies", format=form), "seconds a trial": number(format="%.2f"),
        "peak MB": number(format="%.0f"), "trained parameters": number(format="localized"),
        "best set": st.column_config.CheckboxColumn(help="Cannot be told apart from the best at this many labels"),
    }  # fmt: skip


def learning(report: Report) -> None:
    """Loss by epoch of arms that took steps, first draw each."""
    table = tables.learning_curves(report)
    if table.empty:
        st.markdown("No arm of this study took gradient steps: everything was solved in closed form.")
        return
    arms = {key: f"{row['title']}, {row['n_train']:,} labels" for row in report.arms for key in row["trials"]}
    table["name"] = [arms[trial] for trial in table["trial"]]
    known = dict.fromkeys(arms[key] for row in tables.best_first(report) for key in row["trials"])
    stepped = [name for name in known if name in set(table["name"])]
    picked = st.multiselect("Arms", stepped, stepped[:3], key="learning_arms", format_func=lambda name: short(name, 70))
    shown = table[table["name"].isin(picked)]
    if not shown.empty:
        chart = verdict_charts.learning(shown, charts.palette())
        st.caption("Solid: validation. Dotted, hollow: training. The epoch with the best validation loss is kept.")
        charts.show(chart, "Training and validation loss by epoch", "learning", shown.drop(columns=["name"]))


def groups(report: Report) -> None:
    """By sensitive column: what fairness costs, each group's figures, the gaps, and how each arm moved them."""
    if not report.groups:
        st.markdown(
            "No groups were named. Choose columns under *Metric, margin, groups* on the strategy screen to see whether "
            "a source treats groups differently."
        )
        return
    for k, column in enumerate(dict.fromkeys(str(row["column"]) for row in report.groups)):
        st.subheader(f"By {esc(column)}", anchor=False)
        _frontier(report, column, k)
        lines = by_group.side_by_side(report, column)
        frame = pd.DataFrame([
            {"group": line["group"], "arm": line["title"], "rows": line["n"]}
            | {_metric(name): _rate(values) for name, values in line["metrics"].items()}
            for line in lines
        ])  # fmt: skip
        widgets.table(frame, f"Figures of each group by {column}", f"groups_{k}")
        if _metric("overconfidence") in frame:  # of numbers there is none, and there are no gaps
            st.caption(
                "Over-confidence: how much surer the model is than it is right. Groups of fewer than 30 test rows are "
                "shown, but left out of the gaps."
            )
        _gaps(report, column, k)
    st.caption(by_group.how(report))


def _frontier(report: Report, column: str, k: int) -> None:
    """Score against the gap between groups: what fairness costs."""
    points = by_group.frontier(report, column)
    if len(points) > 1:
        metric, frame = judged_by(report), pd.DataFrame(points)
        chart = verdict_charts.frontier(frame, metric, charts.palette())
        named = ", ".join(frame.loc[frame["best"], "title"])
        alt = f"{metric.title} against the equalised odds difference by {column}; best: {named}"
        charts.show(chart, alt, f"frontier_{k}", frame)
        better = "Up" if metric.higher_is_better else "Down"
        st.caption(
            f"{better}: more right. Left: groups are treated more alike. Larger: slower. On the line nobody beats both."
        )


def _gaps(report: Report, column: str, k: int) -> None:
    """The largest differences between groups, and by how much an arm's is wider than that of the best control."""
    moved = {
        (by_group.title_of(report, row), row["metric"]): row
        for row in report.groups
        if row["column"] == column and row["kind"] == "moved"
    }
    rows = []
    for row in report.groups:
        if row["column"] == column and row["kind"] == "gap":
            title = by_group.title_of(report, row)
            than = moved.get((title, row["metric"]))
            rows.append(
                {"arm": title, "difference": _metric(row["metric"]), "value": _rate(_values(row))}
                | {"less that of the best control": _rate(_values(than)) if than else ""}
                | {"wider than the control's?": GAP_WORDS.get(str(than.get("verdict")), "") if than else ""}
            )
    if rows:
        widgets.table(pd.DataFrame(rows), f"Largest differences between groups by {column}", f"gaps_{k}")


def _values(row: Row) -> tuple[float | None, ...]:
    return row["score"], row["low"], row["high"]


def _metric(name: str) -> str:
    if name == "mae":
        return "mean absolute error"
    return name.replace("overconfidence", "over-confidence").replace("equalized", "equalised").replace("_", " ")


def _rate(values: tuple[float | None, ...]) -> str:
    value, low, high = values
    if value is None:
        return "–"
    return minus(f"{value:z.3f}" + (f" ({low:z.2f} to {high:z.2f})" if low is not None and high is not None else ""))
