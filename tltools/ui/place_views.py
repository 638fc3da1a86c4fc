"""Truth and prediction on screen: over pictures, marked in texts or written beside them; the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd
import streamlit as st

from tltools import datasets, overlays, places
from tltools.home import Home
from tltools.modalities import Files
from tltools.records import Dataset, Job
from tltools.reports import words, worst
from tltools.tasks import Dense, Metric, tasks
from tltools.ui import widgets
from tltools.ui.words import esc, short
from tltools.ui.written_views import beside

MOST = 6  # worst pictures at first
WIDTH, THUMB, MIDDLE, ALONE = 450, 168, 310, 640  # pixels of a picture in a pair, of truths, of predictions, alone


def drawn(task: str | None) -> Dense | None:
    """What a task says of places; None where a row has one truth."""
    return tasks()[task].dense if task in tasks() else None


def things(task: str | None) -> str:
    """What the rows of such a task are called."""
    dense = drawn(task)
    return "pictures" if dense is not None and not dense.texts else "texts"


def legend(classes: Sequence[str], cells: Sequence[str]) -> None:
    """Which colour is which class, of the classes that are seen."""
    said = "".join(
        f'<span><i style="background:{ink}"></i>{escape(short(name, 40))}</span>'
        for name, ink in overlays.legend(classes, cells)
    )
    if said:
        st.html(f'<div class="tl-key">{said}</div>')


def mistakes(home: Home, dataset: Dataset, trial: str, metric: Metric) -> None:
    """The test rows that a trial is most wrong on, truth beside prediction, and a table of all."""
    table = _worst(str(home.root), trial, metric.key, home, dataset, metric)
    pictures, least = things(dataset.task) == "pictures", sureness(dataset, "worst")
    most = MOST if len(table) <= MOST else st.session_state.get("worst_most", MOST)
    shown, written = table.head(most), tasks()[dataset.task].written is not None
    if not written:
        legend(dataset.classes, [*shown["truth"], *shown["prediction"]])
    known = _some(str(home.root), dataset.id, tuple(shown["row"].tolist()), home, dataset)
    media = datasets.media(home, dataset.id)
    with st.container(horizontal=not written, gap="medium"):
        for row in shown.to_dict("records"):
            with st.container(border=True, width="stretch" if written else "content", gap="xsmall"):
                said = "not defined" if pd.isna(row["score"]) else words.score(row["score"], metric)
                st.markdown(f"**{metric.title} {said}** · {esc(known.at[row['row'], '_where'])}")
                if written:
                    source = str(known.at[row["row"], "_text"])
                    beside({"Source": source, "Reference": row["truth"], "Output": row["prediction"]})
                    continue
                with st.container(horizontal=pictures, gap="small"):
                    for word in ("truth", "prediction"):
                        name, cell = str(known.at[row["row"], dataset.inputs[0]]), str(row[word])
                        if not pictures:
                            _marked(name, cell, dataset.classes, word.capitalize())
                            continue
                        files = worst.files_of(dataset)
                        _over(files, dataset.reading, media / name, cell, dataset.classes, word.capitalize(), least)
    more = min(len(table), 3 * MOST) - most
    if more > 0 and st.button(f"Show {more} more", icon=":material/expand_more:"):
        st.session_state["worst_most"] = 3 * MOST
        st.rerun()
    widgets.csv_button(table, f"worst-{things(dataset.task)}")


def truths(
    files: Files, reading: Mapping[str, float], paths: Sequence[Path], cells: Sequence[str], classes: Sequence[str]
) -> None:
    """Pictures of a dataset with their truth over them."""
    known = [pair for pair in zip(paths, cells, strict=True) if pair[1].startswith((places.MASK, places.BOXES))]
    legend(classes, [cell for _, cell in known])
    with st.container(horizontal=True, gap="small"):
        for path, cell in known:
            said = overlays.said(cell, classes)
            if overlays.is_mask(cell):
                said = ", ".join(said.split(", ")[:2])
            _over(files, reading, path, cell, classes, said, width=THUMB)


def predicted(job: Job, dataset: Dataset, key: str) -> None:
    """What a job predicted, over the pictures or in the texts that it read."""
    result = job.result or {}
    cells = [str(row["prediction"]) for row in result.get("predictions") or []][:MOST]
    paths = [Path(path) for path in result.get("files") or []][: len(cells)]
    if result.get("rows", 0) > len(cells):
        st.caption(f"The first {len(cells)} of {result['rows']:,}; the file has all of them.")
    if tasks()[dataset.task].written:
        for text, cell in zip(result.get("texts") or [], cells, strict=False):
            with st.container(border=True):
                beside({"Source": str(text), "Output": cell})
        return
    least = sureness(dataset, key)
    if things(dataset.task) == "texts":
        sentences([str(text) for text in result.get("texts") or []][: len(cells)], cells, dataset.classes)
        return
    legend(dataset.classes, cells)
    files = worst.files_of(dataset)
    width = ALONE if len(cells) == 1 else MIDDLE
    with st.container(horizontal=True, gap="small"):
        for path, cell, name in zip(paths, cells, _names(result.get("out"), len(paths)), strict=False):
            said = overlays.said(cell, dataset.classes, least)
            told = f"{name}: {said}" if name else said
            _over(files, dataset.reading, path, cell, dataset.classes, told, least, width)


def _names(out: object, count: int) -> list[str]:
    """What the first pictures of a predicted file are called; "" for one that was given by itself."""
    if not out or not Path(str(out)).is_file():
        return [""] * count
    return [Path(str(where)).name for where in pd.read_csv(str(out), usecols=["where"], nrows=count)["where"]]


def sureness(dataset: Dataset, key: str) -> float:
    """From which score on boxes are drawn, as the user slides it; masks have no score."""
    dense = drawn(dataset.task)
    if dense is None or dense.draws != "boxes":
        return overlays.SURE
    what = "Less sure boxes count in the score and stand in the file; they are only not drawn."
    return float(
        st.slider(
            "Draw boxes from this score on", 0.05, 0.95, overlays.SURE, 0.05, key=f"sure_{key}", help=what, width=MIDDLE
        )
    )


def sentences(texts: Sequence[str], cells: Sequence[str], classes: Sequence[str]) -> None:
    """Texts of a dataset with their truth marked."""
    legend(classes, cells)
    for text, cell in zip(texts, cells, strict=True):
        _marked(text, cell, classes)


def _marked(text: str, cell: str, classes: Sequence[str], word: str = "") -> None:
    name = f"<small>{escape(word)}</small><br>" if word else ""
    st.html(f"<p>{name}{overlays.marked(text, cell, classes)}</p>")


def _over(
    files: Files, reading: Mapping[str, float], path: Path, cell: str, classes: Sequence[str], word: str,
    least: float = overlays.SURE, width: int = WIDTH,
) -> None:  # fmt: skip
    if path.is_file():
        picture = overlays.drawn(files.draw(path, reading), cell, classes, least)
        said = overlays.said(cell, classes, least)
        st.image(picture, caption=esc(word), width=width, alt=word if word == said else f"{word}: {said}")


@st.cache_data(max_entries=8, show_spinner=False)
def _worst(root: str, trial: str, metric: str, _home: Home, _dataset: Dataset, _metric: Metric) -> pd.DataFrame:
    return worst.rows(_home, _dataset, trial, _metric, 200)


@st.cache_data(max_entries=32, show_spinner=False)  # of the rows that are shown; the table may be large
def _some(root: str, id: str, rows: tuple[int, ...], _home: Home, _dataset: Dataset) -> pd.DataFrame:
    known = datasets.rows(_home, id, *_dataset.inputs, "_where").loc[list(rows)]
    if tasks()[_dataset.task].written:
        known = known.assign(_text=list(datasets.view(_dataset, known, datasets.media(_home, id), "text")))
    return known
