"""The rows behind a number: what a test row says or shows, its truth, what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tltools import datasets
from tltools.home import Home
from tltools.modalities import modalities
from tltools.records import Dataset
from tltools.reports import views as tables
from tltools.tasks import judged_by
from tltools.ui import charts, verdict_charts, widgets
from tltools.ui.words import counted, esc, label_names, short

MOST = 24


def confusion(home: Home, dataset: Dataset, trials: Sequence[str]) -> None:
    """The confusion matrix; a click on a cell, or the list beside it, opens the rows behind it."""
    table = tables.confusion(home, trials)
    classes = list(dataset.classes)
    wrong = table[(table["truth"] != table["prediction"]) & (table["count"] > 0)].sort_values("count", ascending=False)
    left, right = st.columns([3, 2], gap="large")
    points: list[dict[str, Any]] = []
    with left:
        if len(classes) <= 20:
            chart = verdict_charts.confusion(table, classes, charts.palette())
            alt = "Confusion matrix: " + "; ".join(
                f"{row.truth} taken for {row.prediction} {row.count} times"
                for row in wrong.head(6).itertuples(index=False)
            )
            points = charts.show(chart, alt, "confusion", table.drop(columns=["rows"]), select=True)
        else:
            widgets.table(wrong.drop(columns=["rows"]), "Which classes were mixed up, most often first", "confused")
    with right:
        cells = {
            f"{row.truth} → {row.prediction}": (row.truth, row.prediction) for row in wrong.itertuples(index=False)
        }
        clicked: tuple[str, str] | None = None
        if points and points[0].get("customdata") is not None:
            clicked = (str(points[0]["customdata"][0]), str(points[0]["customdata"][1]))
        if clicked and clicked not in cells.values():
            cells[f"{clicked[0]} → {clicked[1]}"] = clicked
        if not cells:
            st.markdown(":green[:material/check_circle:] No mistakes on the test rows.")
            return
        at = list(cells.values()).index(clicked) if clicked else 0
        picked = st.selectbox("Open a cell: true → predicted", list(cells), index=at, key=f"cell_{trials[0]}_{clicked}")
        truth, said = cells[picked]
        rows = table[(table["truth"] == truth) & (table["prediction"] == said)]["rows"].iloc[0]
        st.caption(f"{counted(len(rows), 'test row', 'test rows')} of {esc(truth)} taken for {esc(said)}.")
        show(home, dataset, rows[:MOST])


def by_class(home: Home, dataset: Dataset, trials: Sequence[str]) -> None:
    """How well each class is found: a table in place of a confusion matrix, where rows have no class of their own."""
    table = _by_class(str(home.root), tuple(trials), home, dataset)
    st.caption("How well each class is found in the test rows; – where they have none of it.")
    shown = tables.per_cent(table)
    forms = {name: st.column_config.NumberColumn(format="%.1f") for name in shown.select_dtypes("floating")}
    widgets.table(shown, "How well each class is found", "classes", forms)


@st.cache_data(max_entries=8, show_spinner="Counting by class")
def _by_class(root: str, trials: tuple[str, ...], _home: Home, _dataset: Dataset) -> pd.DataFrame:
    return tables.by_class(_home, _dataset, trials)


def mistakes(home: Home, dataset: Dataset, trials: Sequence[str], most: int = 12) -> pd.DataFrame:
    """The worst mistakes with the rows themselves; returns the table."""
    table = tables.worst_mistakes(home, trials, most)
    if table.empty:
        st.markdown(":green[:material/check_circle:] No mistakes on the test rows.")
        return table
    notes = [_note(row) for row in table.to_dict("records")]
    show(home, dataset, [int(row) for row in table["row"]], notes, wide=True)
    return table


def _note(row: Mapping[str, Any]) -> str:
    if "confidence" in row:
        return f"{row['truth']}, taken for {row['prediction']}, {100 * row['confidence']:.0f} % sure"
    if "surprise" in row:
        # each is cut by itself: of a row with many labels the prediction must be seen, too
        truth, said = (short(label_names(row[key]), widgets.CAPTION // 2 - 8) for key in ("truth", "prediction"))
        return f"{truth}; predicted: {said}"
    return f"{row['truth']:.4g}, predicted {row['prediction']:.4g}"


def show(
    home: Home, dataset: Dataset, rows: Sequence[int], notes: Sequence[str] | None = None, *, wide: bool = False
) -> None:
    """Some rows of a dataset: pictures, sounds, texts or table rows, each with a note."""
    some = _some(str(home.root), dataset.id, tuple(rows), home)
    said = list(notes or [str(value) for value in some[dataset.target]])
    if files := modalities()[dataset.modality].files:
        media = datasets.media(home, dataset.id)
        widgets.gallery(files, dataset.reading, [media / str(name) for name in some[dataset.inputs[0]]], said)
        return
    if modalities()[dataset.modality].strings:
        columns = st.columns(2 if wide else 1)
        for k, ((_, row), note) in enumerate(zip(some.iterrows(), said, strict=True)):
            text = " ".join(str(row[name]) for name in dataset.inputs)
            with columns[k % len(columns)], st.container(border=True, gap="xxsmall"):
                st.markdown(esc(short(text, 400)))
                st.caption(f"{esc(note)} · {esc(row['_where'])}")
        return
    frame = some[[dataset.target, *dataset.inputs[:20]]].copy()
    frame.insert(0, "what", said)
    st.dataframe(frame, hide_index=True, alt="The rows behind this number")


@st.cache_data(max_entries=32, show_spinner=False)  # of the rows that are shown; the table may be large
def _some(root: str, id: str, rows: tuple[int, ...], _home: Home) -> pd.DataFrame:
    every = datasets.rows(_home, id)
    return every.loc[[row for row in rows if row in every.index]]


def pick_trial(report: Any, label: str = "Arm", key: str = "arm") -> tuple[str, Mapping[str, Any]] | None:
    """An arm at its most labels, best first: (trial of draw 0, the arm's row)."""
    most = max((row["n_train"] for row in report.arms), default=0)
    rows = [row for row in report.arms if row["n_train"] == most and row["trials"]]
    sign = 1 if judged_by(report).higher_is_better else -1
    rows.sort(key=lambda row: (row["kind"] != "transfer", -sign * float(row["score"])))
    if not rows:
        return None
    at = st.selectbox(
        label,
        range(len(rows)),
        key=key,
        format_func=lambda i: f"{rows[i]['title']}, {rows[i]['n_train']:,} labels",
    )
    return str(rows[at]["trials"][0]), rows[at]
