"""The verdict on screen: the sentence first, the cards, then the pictures, each with its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from tltools import reports
from tltools.home import Home
from tltools.judging.needed import rounded
from tltools.records import Report
from tltools.reports import quoting
from tltools.reports import views as tables
from tltools.reports.words import NOTHING, inside, leading, probability, rows_of
from tltools.tasks import Metric, judged_by
from tltools.ui import charts, verdict_charts, widgets, worth_views
from tltools.ui.words import VERDICTS, brief, duration, esc, gain, labels, minus, score, short, verdict_badge

Row = Mapping[str, Any]
_TITLES = {
    "positive": "Transfer helps: {gain} over the best control.",
    "leaning_positive": "Transfer probably helps: {gain}, but it is not sure.",
    "neutral": "Transfer makes no difference that matters.",
    "not_enough_evidence": "Not enough evidence: a difference of {gain} may be chance.",
    "leaning_negative": "Transfer probably hurts: {gain}, but it is not sure.",
    "negative": "Transfer hurts: {gain} against the best control.",
}
_COLOURS: dict[str, Literal["green", "orange", "gray"]] = {"green": "green", "orange": "orange", "gray": "gray"}
_OPEN = {"not_enough_evidence", "leaning_positive", "leaning_negative"}


def short_titles(report: Report) -> Report:
    """The report with arm titles that leave out the source where there is only one: charts breathe."""
    known = brief({str(row["title"]): str(row["source"]) for row in report.arms})
    rows = {
        field: tuple({**row, **{key: known.get(row[key], row[key]) for key in ("title", "against_title") if key in row}}
                     for row in getattr(report, field))
        for field in ("arms", "verdicts", "other_metrics", "labels_saved")
    }  # fmt: skip
    return report.model_copy(update=rows)


def sentence(report: Report) -> None:
    """Did it help, by how much, how sure: a title, then the numbers behind it, then what else matters."""
    metric, row = judged_by(report), leading(report.verdicts)
    if row is None:
        widgets.title(esc(report.headline))
        return
    widgets.title(_title(row, metric))
    st.markdown(f"{verdict_badge(row['verdict'])} {_behind(report, row, metric)}")
    for said in report.sentences[:2]:
        st.markdown(esc(said))
    if len(report.sentences) > 2:
        with st.expander("What else to know"):
            for said in report.sentences[2:]:
                st.markdown(f"- {esc(said)}")


def _title(row: Row, metric: Metric) -> str:
    if row.get("untrained"):
        return NOTHING
    if row["verdict"] == "not_enough_evidence" and gain(row["gain"], metric) == gain(0.0, metric):
        return "Not enough evidence: no difference was seen, but there may be one."
    return _TITLES[row["verdict"]].format(gain=gain(row["gain"], metric))


def _behind(report: Report, row: Row, metric: Metric) -> str:
    arm, against = (_arm(report, row[title], row["n_train"]) for title in ("title", "against_title"))
    interval = f"{gain(row['low'], metric)} to {gain(row['high'], metric)}"
    if metric.unit == "share":
        interval = interval.replace(" points to", " to")
    by = f" by {row['by']}" if row.get("by") else ""
    ours, theirs = (score(one["score"] if one else None, metric) for one in (arm, against))
    scores = f"**{ours}** against **{theirs}**"
    return (
        f"With {labels(dict(row))}, **{esc(row['title'])}**: {scores} for "
        f"{esc(inside(row['against_title']))}, the best arm without a source. 95 % interval **{interval}**{by}."
    )


def _arm(report: Report, title: str, n_train: int) -> Row | None:
    return next((row for row in report.arms if (row["title"], row["n_train"]) == (title, n_train)), None)


def cards(report: Report) -> None:
    """Four numbers: the gain, the labels it is worth, the time, what stayed open."""
    metric, row = judged_by(report), leading(report.verdicts)
    first, second, third, fourth = st.columns(4)
    with first:
        if row is not None:
            look = VERDICTS[row["verdict"]]
            value, colour = gain(row["gain"], metric).replace("points", "pts"), _COLOURS[look.colour]
            st.metric("Gain, best strategy", value, f"{look.mark} {look.word}", delta_color=colour,
                      delta_arrow="off", border=True, height="stretch")  # fmt: skip
    with second:
        label, value, under = _saved(report)
        st.metric(label, value, under, delta_color="off", delta_arrow="off", border=True, height="stretch")
    with third:
        trials = sum(int(arm["draws"]) for arm in report.arms)
        guess = report.cost.get("estimated_seconds")
        under = f"estimated {duration(guess)}" if guess else "measured"
        st.metric(f"Time, all {trials} trials", duration(report.cost.get("actual_seconds")), under,
                  delta_color="off", delta_arrow="off", border=True, height="stretch")  # fmt: skip
    with fourth:
        undecided = [one for one in report.verdicts if one["verdict"] in _OPEN]
        best = [one for one in undecided if one is row and one.get("needed_rows")]
        rows = [int(one["needed_rows"]) for one in best or undecided if one.get("needed_rows")]
        kind, which = "labelled" if report.folds else "test", "the best of them" if best else "the next of them"
        under = "all are decided" if not undecided else "see below"
        under = f"≈ {rounded(min(rows)):,} {kind} rows" if rows else under
        st.metric("Could not be decided", f"{len(undecided)} of {len(report.verdicts)}", under,
                  help=f"With so many rows {which} would be decided, if its gain stays as it is." if rows else None,
                  delta_color="off", delta_arrow="off", border=True, height="stretch")  # fmt: skip


def _saved(report: Report) -> tuple[str, str, str]:
    rows = [row for row in report.labels_saved if row.get("multiplier")]
    exact = [row for row in rows if row["bound"] == "exact"]
    if exact:
        row = max(exact, key=lambda row: (bool(row.get("sure")), float(row["multiplier"]) * row["n_train"]))
        count, worth = row["n_train"], row["multiplier"]
        high = f"{row['high'] * count:,.0f}" if row["high"] is not None else "more"
        low = f"{row['low'] * count:,.0f}" if row["low"] is not None else "fewer"
        under = f"{low} to {high} (95 %{'' if row.get('sure') else ', not sure'})"
        return f"{count:,} labels are worth", f"≈ {worth * count:,.0f}", under
    if rows:
        row = max(rows, key=lambda row: (bool(row.get("sure")), float(row["multiplier"])))
        if not row.get("sure"):
            return "Labels saved", "–", f"leaning to ≥ {row['multiplier'] * row['n_train']:,.0f} for {row['n_train']:,}"
        worth, most = row["multiplier"] * row["n_train"], max(one["n_train"] for one in report.arms)
        under = "all the control had" if worth >= most else "at least (95 %)"
        return f"{row['n_train']:,} labels are worth", f"≥ {worth:,.0f}", under
    return "Labels saved", "–", "cannot be told, see below" if report.labels_saved else "no control's curve"


def gains(report: Report) -> None:
    """The gain plot at one number of labels, under its question."""
    st.header("Did it help?", anchor=False)
    plotted(report.verdicts, report.margin, judged_by(report))


def plotted(verdicts: Sequence[Row], margin: float, metric: Metric) -> None:
    """The gain plot at one number of labels, and which."""
    counts = sorted({int(row["n_train"]) for row in verdicts})
    at = counts[-1]
    if len(counts) > 1:
        picked = st.pills("At so many labels", counts, default=at, key="gain_at", format_func=lambda n: f"{n:,}")
        at = int(picked or at)
    rows = [row for row in verdicts if row["n_train"] == at]
    said = "; ".join(f"{row['title']} {gain(row['gain'], metric)}, {VERDICTS[row['verdict']].word}" for row in rows)
    frame = pd.DataFrame([_verdict_row(row, metric) for row in sorted(rows, key=lambda row: -float(row["gain"]))])
    chart = verdict_charts.gains(rows, margin, metric, charts.palette())
    charts.show(chart, f"Gain over the best control at {at:,} labels: {said}", "gains", frame)


def _verdict_row(row: Row, metric: Metric) -> dict[str, Any]:
    return {
        "arm": row["title"],
        "verdict": f"{VERDICTS[row['verdict']].mark} {VERDICTS[row['verdict']].word}",
        "gain": gain(row["gain"], metric),
        "95 % interval": f"{gain(row['low'], metric)} to {gain(row['high'], metric)}",
        "against": row["against_title"],
        "P(better)": probability(row["p_better"]),
        "P(no difference)": probability(row["p_equivalent"]),
        "P(worse)": probability(row["p_worse"]),
        "can tell apart": gain(row["mde"], metric).lstrip("+"),
        "what it would take": row["needed"],
        "draws": row["draws"],
    }


def curves(report: Report) -> None:
    """Score against labels, all arms."""
    table = tables.score_by_labels(report)
    st.header("How many labels is it worth?", anchor=False)
    if table["n_train"].nunique() < 2:
        st.markdown("The study has one share of the labels. Run it with more to see what labels are worth.")
        return
    metric = judged_by(report)
    alt = f"{metric.title} against labels for {', '.join(sorted(set(table['title'])))}"
    charts.show(verdict_charts.against_labels(table, metric, charts.palette()), alt, "score_by_labels", table)
    if (why := {row["because"] for row in report.labels_saved}) and not any(
        r["multiplier"] for r in report.labels_saved
    ):
        st.caption("Labels saved cannot be told. " + " ".join(sorted(why)))
    worth_views.asked(report)


def downloads(home: Home, report: Report) -> None:
    """The whole report as one file, and the study file in it."""
    with st.container(horizontal=True):
        st.download_button(
            "Report (HTML)", lambda: reports.html(report, home), f"report-{report.study}.html", "text/html",
            icon=":material/download:", on_click="ignore", key="report_html",
        )  # fmt: skip
        st.download_button(
            "Numbers (JSON)", lambda: report.model_dump_json(indent=1), f"report-{report.study}.json",
            "application/json", icon=":material/data_object:", on_click="ignore", key="report_json", type="tertiary",
        )  # fmt: skip
        st.download_button(
            "Study file", report.study_file, "study.yaml", "application/yaml",
            icon=":material/description:", on_click="ignore", key="report_yaml", type="tertiary",
        )  # fmt: skip
        if said := quoting.paragraph(report):
            with st.popover("For a paper", icon=":material/format_quote:", type="tertiary"):
                st.code(said, language=None, wrap_lines=True)
                st.code(quoting.bibtex(report), language="latex")


def under(report: Report) -> str:
    """One line on what was judged."""
    metric = judged_by(report)
    read = "" if report.folds else ", read once a trial"
    arms = [row for row in report.arms if row["kind"] == "transfer"]
    names = {str(row["title"]).partition(" of ")[2] or str(row["source"]) for row in arms}
    named = ", ".join(esc(short(one, 50)) for one in sorted(names)[:3])
    source = f" · source {named}" if named else ""  # of a source whose arms have not finished nothing was judged
    return minus(f"{esc(report.name)} · {rows_of(report)}{read}{source} · {metric.title}")
