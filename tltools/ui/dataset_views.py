"""What a dataset looks like on screen: rows or pictures, inferences, problems, balance, columns, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tltools import datasets
from tltools.home import Home
from tltools.modalities import kinds_of_files
from tltools.records import Dataset, Problem, Profile, Refusal
from tltools.store import Store
from tltools.tasks import tasks
from tltools.ui import charts, place_views, widgets
from tltools.ui.words import counted, esc, label_names, short

MODALITY_WORDS = {
    "text": "texts",
    "image": "images",
    "tabular": "table rows",
    "audio": "sounds",
    "sequence": "sequences",
}
_NUMBER_WORDS = {
    "words_median": "words a text, median", "words_max": "words, longest",
    "characters_median": "characters, median", "characters_max": "characters, longest",
    "reference_words_median": "words a reference, median", "reference_words_max": "words, longest reference",
    "number_columns": "number columns", "category_columns": "category columns", "near_duplicates": "near duplicates",
    "width_median": "pixels wide, median", "height_median": "pixels high, median",
    "seconds_median": "seconds, median", "seconds_max": "seconds, longest", "rate_median": "Hz, median",
    "letters_median": "letters a sequence, median", "letters_max": "letters, longest",
    "alphabet": "letters of the alphabet",
    "silent": "silent", "duplicates": "exact duplicates",
}  # fmt: skip
_ONE = {
    "number_columns": "number column", "category_columns": "category column", "near_duplicates": "near duplicate",
    "duplicates": "exact duplicate",
}  # fmt: skip

_COUNTED = {"mask": "pictures that show it", "boxes": "boxes", "words": "entities"}  # of each class


def facts(name: str, rows: int, modality: str | None, task: str | None, target: str | None, classes: int) -> str:
    """One line: what this is."""
    said = [f"**{esc(name)}**", f"{rows:,} {MODALITY_WORDS.get(modality or '', 'rows')}"]
    if task:
        what = f" ({classes} {'labels' if tasks()[task].several else 'classes'})" if classes else " (a number)"
        what = "" if tasks()[task].objects and not classes else what
        said.append(f"{tasks()[task].title.lower()} of **{esc(short(target or '', 40))}**{what}")
    return " · ".join(said)


def findings(profile: Profile, rows: int) -> None:
    """Problems with their remedies, skipped files, and the reasons for what was inferred."""
    counts = {word: sum(p.severity == word for p in profile.problems) for word in ("error", "warning", "note")}
    st.subheader("What we noticed", anchor=False)
    if not any(counts.values()):
        st.markdown(f":green[:material/check_circle:] Nothing to worry about in {rows:,} rows.")
    widgets.problems(profile.problems)
    if profile.skipped:
        frame = pd.DataFrame([{"where": one.where, "reason": one.reason} for one in profile.skipped])
        with st.expander(f"{counted(len(profile.skipped), 'row or file was', 'rows or files were')} left out"):
            widgets.table(frame, "What was left out, and why", "skipped")
    if profile.inference:
        with st.expander("How this was worked out"):
            for sentence in profile.inference:
                st.markdown(f"- {esc(sentence)}")


def balance(profile: Profile, target: str | None, task: str | None) -> None:
    """How many rows, boxes or entities each class has; for numbers their spread."""
    colours = charts.palette()
    if profile.classes:
        shown = dict(list(profile.classes.items())[:30])
        st.subheader("Balance", anchor=False)
        if len(shown) < len(profile.classes):
            st.caption(f"{len(shown)} of {len(profile.classes):,} classes.")
        dense = place_views.drawn(task)
        what = _COUNTED[dense.draws] if dense else "rows"
        if dense:
            st.caption(f"Of each class: {what}.")
        elif sum(profile.classes.values()) != profile.rows:
            st.caption("A row counts for every label that it has.")
        chart = charts.figure(colours, 60 + 30 * len(shown))
        names = charts.axis_titles([short(name, 40) for name in shown])
        chart.add_trace(
            go.Bar(
                x=list(shown.values()), y=names, orientation="h", marker_color=colours.accent, marker_line_width=0,
                text=[f"{count:,}" for count in shown.values()], textposition="outside", cliponaxis=False,
                hovertemplate=f"%{{y}}: %{{x:,}} {what}<extra></extra>",
            )
        )  # fmt: skip
        chart.update_layout(bargap=0.35, margin_r=50)
        chart.update_xaxes(visible=False)
        chart.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": colours.ink})
        first = ", ".join(f"{name} {count}" for name, count in list(shown.items())[:8])
        alt = f"Of each class, {what}: {first}"
        table = pd.DataFrame({"class": list(profile.classes), what: list(profile.classes.values())})
        charts.show(chart, alt, "balance", table if len(profile.classes) > 30 else None)
    elif "target_mean" in profile.numbers:
        st.subheader(f"The target: {esc(short(target or '', 40))}", anchor=False)
        numbers = profile.numbers
        columns = [*st.columns(2), *st.columns(2)]  # four beside each other would cut their numbers
        for column, word in zip(columns, ("min", "max", "mean", "std"), strict=True):
            column.metric({"std": "spread"}.get(word, word), f"{numbers[f'target_{word}']:.4g}", border=True)


def sizes(profile: Profile) -> None:
    """The facts of the profile in one line."""
    said = []
    for key, value in profile.numbers.items():
        words = _ONE[key] if value == 1 and key in _ONE else _NUMBER_WORDS.get(key)
        if words is None:
            continue
        said.append(f"{value:,.0f} {words}" if value >= 10 or value == int(value) else f"{value:.3g} {words}")
    if said:
        st.caption(" · ".join(said[:8]))


def columns_table(profile: Profile) -> None:
    """Every column: what it holds, what is missing."""
    frame = pd.DataFrame(
        [
            {
                "column": column.name,
                "holds": column.kind,
                "missing": column.missing,
                "different values": column.distinct,
                "examples": ", ".join(short(one, 30) for one in column.examples[:3]),
            }
            for column in profile.columns
        ]
    )
    with st.expander(f"{len(frame):,} columns"):
        widgets.table(frame, "The columns of the table", "columns")


def preview(
    frame: pd.DataFrame,
    media: Path | None,
    inputs: Sequence[str],
    target: str | None,
    modality: str | None,
    reading: Mapping[str, float],
    task: str | None,
    classes: Sequence[str],
) -> None:
    """A gallery for files, with masks and boxes drawn where they are the target; a sample table for everything else."""
    files = kinds_of_files().get(modality or "")
    if task and tasks()[task].several and target in frame:
        frame = frame.copy()
        frame[target] = frame[target].map(lambda cell: label_names(str(cell)), na_action="ignore")
    if files is not None and media is not None and inputs and inputs[0] in frame:
        said = frame[target].astype(str) if target in frame else pd.Series([""] * len(frame))
        some = _spread(said, 12)
        paths = [media / str(frame[inputs[0]].iloc[i]) for i in some]
        cells = [str(said.iloc[i]) for i in some]
        if place_views.drawn(task):
            place_views.truths(files, reading, paths, cells, classes)
        else:
            widgets.gallery(files, reading, paths, cells)
        return
    if place_views.drawn(task) and inputs and inputs[0] in frame and target in frame:
        some = frame.iloc[:: max(1, len(frame) // 12)].head(12)
        place_views.sentences(some[inputs[0]].astype(str).tolist(), some[target].astype(str).tolist(), classes)
        return
    first = [name for name in (target, *inputs) if name in frame.columns]
    rest = [name for name in frame.columns if name not in first and not str(name).startswith("_")]
    shown = frame[[*first, *rest][:40]].head(50).copy()
    for name in shown.columns:
        if shown[name].dtype == object or str(shown[name].dtype) in {"str", "string"}:
            shown[name] = shown[name].map(lambda cell: short(cell, 300), na_action="ignore")
    st.dataframe(shown, hide_index=True, alt="Some rows of the table", height=min(38 + 35 * len(shown), 320))


def _spread(said: pd.Series, most: int) -> list[int]:
    """Places of at most so many rows, all classes in turn; of each far apart: rows beside each other may be alike."""
    far = said.groupby(said).cumcount() * 0.618034 % 1  # by the golden ratio, the next is far from all before
    turn = far.groupby(said).rank()
    order = sorted(range(len(said)), key=lambda i: (turn.iloc[i], str(said.iloc[i])))
    return order[:most]


def sample_of(home: Home, dataset: Dataset) -> pd.DataFrame:
    """A few rows of a stored dataset, from everywhere in it."""
    return _sample(str(home.root), dataset.id, home)


@st.cache_data(max_entries=8, show_spinner=False)
def _sample(root: str, id: str, _home: Home) -> pd.DataFrame:
    table = datasets.rows(_home, id)
    return table.sample(min(len(table), 200), random_state=0).sort_index()


def split(home: Home, store: Store, dataset: Dataset) -> list[Problem]:
    """How the rows are locked into parts, and whether folds used them all; problems where that cannot be done."""
    try:
        made = datasets.split(home, dataset)
    except Refusal as refusal:
        return list(refusal.problems)
    st.subheader("Split", anchor=False)
    counts = {"train": len(made.train), "validation": len(made.validation), "test, locked": len(made.test)}
    for column, (word, count) in zip(st.columns(3), counts.items(), strict=True):
        share = f"{100 * count / max(dataset.rows, 1):.0f} % of rows"
        column.metric(word.capitalize(), f"{count:,}", delta=share, delta_color="off", delta_arrow="off", border=True)
    crossed = store.recall("cross_validated", dataset.id)
    used = "; a cross-validation has trained on them, too, and tested them" if crossed else ", for judging only"
    labels = len(made.train) + len(made.validation)
    st.caption(
        f"{esc(made.note)} Train and validation rows together are the {labels:,} labels that a study can give, which "
        f"it calls 100 %. The test rows are read once per trial{used}."
    )
    return []


def frame_of(draft: dict[str, Any]) -> pd.DataFrame:
    """The sample of a draft as a table."""
    return pd.DataFrame(draft["sample"], columns=draft["columns"])
