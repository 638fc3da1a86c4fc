"""All arms of a study in detail: the table, score against cost, learning curves, groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from tltools.records import Report
from tltools.reports import views as tables
from tltools.tasks import Metric
from tltools.ui import charts, verdict_charts, widgets
from tltools.ui.verdict_views import metric_of
from tltools.ui.words import duration, short

Row = Mapping[str, Any]


def cost(report: Report) -> None:
    """Score against what it costs, and estimate beside what it came to."""
    metric, table = metric_of(report), tables.score_by_cost(report)
    left, right = st.columns(2, gap="large")
    colours = charts.palette()
    with left:
        chart = verdict_charts.against_cost(table, metric, "seconds", "seconds a trial", colours)
        charts.show(chart, f"{metric.title} against seconds a trial", "score_by_seconds")
    with right:
        chart = verdict_charts.against_cost(table, metric, "trainable_parameters", "trained parameters", colours)
        charts.show(chart, f"{metric.title} against trained parameters", "score_by_parameters")
    known = report.cost
    said = [f"Took {duration(known.get('actual_seconds'))}, estimated {duration(known.get('estimated_seconds'))}."]
    if known.get("prefix_rows_computed") is not None and known.get("prefix_rows_naive"):
        said.append(
            f"{known['prefix_rows_computed']:,} rows went through frozen parts; one trial at a time it would have been "
            f"{known['prefix_rows_naive']:,}."
        )
    if known.get("actual_peak_mb"):
        said.append(f"Peak memory {known['actual_peak_mb'] / 1000:.1f} GB.")
    st.caption(" ".join(said))
    with st.expander("The numbers behind it"):
        widgets.table(table, "Score and cost of every arm", "cost")


def arms(report: Report) -> None:
    """Every arm at every share, to sort and download."""
    metric = metric_of(report)
    frame = pd.DataFrame([_arm_row(row, metric) for row in report.arms])
    widgets.table(frame, "All arms with scores, intervals and costs", "arms", _arm_columns(metric))
    st.caption("Intervals here are of one score each; whether two arms differ, the verdicts say.")


def _arm_row(row: Row, metric: Metric) -> dict[str, Any]:
    scale = 100.0 if metric.unit == "share" and metric.key != "r2" else 1.0
    others = {key: round(value, 4) for key, value in (row.get("metrics") or {}).items() if key != metric.key}
    return {
        "arm": row["title"], "kind": row["kind"], "labels": row["n_train"], "score": scale * row["score"],
        "low": scale * row["low"], "high": scale * row["high"], "best set": bool(row["best_set"]),
        "draws": row["draws"], "seconds a trial": row["seconds"],
        "peak MB": row["peak_mb"], "trained parameters": row["trainable_parameters"],
        **others, "source": row["source"], "strategy": row["strategy"],
    }  # fmt: skip


def _arm_columns(metric: Metric) -> dict[str, Any]:
    number, form = st.column_config.NumberColumn, "%.1f" if metric.unit == "share" else "%.4g"
    return {
        "score": number(metric.title, format=form), "low": number("95 % low", format=form),
        "high": number("95 % high", format=form), "seconds a trial": number(format="%.2f"),
        "peak MB": number(format="%.0f"), "trained parameters": number(format="localized"),
        "best set": st.column_config.CheckboxColumn(help="Cannot be told apart from the best at this many labels"),
    }  # fmt: skip


def learning(report: Report) -> None:
    """Loss by epoch of arms that took steps, first draw each."""
    table = tables.learning_curves(report)
    if table.empty:
        st.markdown("No arm of this study took gradient steps: everything was solved in closed form.")
        return
    names = {key: row["title"] for row in report.arms for key in row["trials"]}
    at = {key: f"{row['n_train']:,}" for row in report.arms for key in row["trials"]}
    table["name"] = [
        f"{names.get(t, s)}, {at.get(t, '?')} labels" for t, s in zip(table["trial"], table["strategy"], strict=True)
    ]
    known = list(dict.fromkeys(table["name"]))
    picked = st.multiselect("Arms", known, known[-3:], key="learning_arms", format_func=lambda name: short(name, 70))
    shown = table[table["name"].isin(picked)]
    if not shown.empty:
        chart = verdict_charts.learning(shown, charts.palette())
        st.caption("Solid: validation. Dotted: training. The epoch with the best validation loss is kept.")
        charts.show(chart, "Training and validation loss by epoch", "learning", shown.drop(columns=["name"]))


def groups(report: Report) -> None:
    """Scores per group, the gaps, and how each arm moved them."""
    if not report.groups:
        st.markdown(
            "No groups were named. Choose columns under *Metric, margin, groups* on the strategy screen to see whether "
            "a source treats groups differently."
        )
        return
    frame = pd.DataFrame([dict(row) for row in report.groups])
    words = {"score": "Score by group", "gap": "Largest gap between groups", "moved": "How transfer moved the gap"}
    for kind, title in words.items():
        part = frame[frame["kind"] == kind].dropna(axis=1, how="all").drop(columns=["kind"])
        if not part.empty:
            st.subheader(title, anchor=False)
            widgets.table(part, title, f"groups_{kind}")
