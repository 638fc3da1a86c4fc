"""Why a row was judged so: what the model looked at, the nearest training rows, what its backbone forgot."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tltools import datasets
from tltools.home import Home
from tltools.modalities import kinds_of_files
from tltools.records import Dataset, Job
from tltools.store import Store
from tltools.ui import charts, live, row_views
from tltools.ui.words import esc, short

_MOST = 6  # rows explained at once
ALIKE = 0.5  # rank correlation with random weights from which marks are not trusted
_QUESTIONS = {
    "attribution": ("What it looked at", ":material/visibility:"),
    "nearest": ("Nearest training rows", ":material/hub:"),
    "forgetting": ("What the backbone forgot", ":material/history_toggle_off:"),
}


def why(store: Store, home: Home, dataset: Dataset, trial: str, rows: Sequence[int]) -> None:
    """Three questions about a trial; the worker answers, and what was answered stays."""
    st.header("Why?", anchor=False)
    st.caption("The worker answers, in seconds to a minute. Rows are the worst mistakes above.")
    asked = {str(job.payload.get("what")): job for job in reversed(_jobs(store, trial))}
    busy = next((job for job in asked.values() if job.state in live.LIVE), None)
    with st.container(horizontal=True, gap="small"):
        for what, (label, icon) in _QUESTIONS.items():
            if st.button(label, icon=icon, key=f"why_{what}", disabled=busy is not None):
                payload = {"trial": trial, "what": what, "rows": list(rows[:_MOST])}
                store.submit("explain", payload, title=label, key=json.dumps(payload, sort_keys=True))
                st.rerun()
    if busy is not None:
        live.follow(busy)
        live.cancel_button(busy)
    for what, (label, _) in _QUESTIONS.items():
        job = asked.get(what)
        if job is None or job.state in live.LIVE:
            continue
        st.subheader(label, anchor=False)
        if job.state != "done" or job.result is None:
            live.failure(job)
            continue
        {"attribution": _attribution, "nearest": _nearest, "forgetting": _forgetting}[what](home, dataset, job.result)


def _jobs(store: Store, trial: str) -> list[Job]:
    return [job for job in store.jobs(kinds=("explain",), limit=60) if job.payload.get("trial") == trial]


def _attribution(home: Home, dataset: Dataset, result: Mapping[str, Any]) -> None:
    kind = result["kind"]
    if kind == "columns":
        _columns(result)
        return
    _sanity(result.get("sanity"))
    word = "word" if kind == "words" else "place"
    st.caption(f"Each {word} was covered once. :orange-badge[speaks for the prediction] :blue-badge[speaks against it]")
    if kind == "words":
        for row in result["rows"]:
            with st.container(border=True, gap="xxsmall"):
                st.markdown(_coloured(row["words"]))
                st.caption(esc(f"{row['truth']}, taken for {row['prediction']}"))
        return
    with st.container(horizontal=True, gap="small"):
        for row in result["rows"]:
            picture = _overlaid(home, dataset, row)
            if picture is not None:
                said = f"{row['truth']}, taken for {row['prediction']}"
                st.image(picture, caption=esc(said), width=168, alt=f"Where the model looked: {said}")


def _sanity(found: Mapping[str, Any] | None) -> None:
    """Whether the marks owe anything to what was learnt."""
    if not found:
        return
    alike = float(found["likeness"])
    said = f"rank correlation {alike:.2f} over {found['rows']} rows".replace("-", "−")
    if alike >= ALIKE:
        st.markdown(
            f":orange[:material/warning:] The same network with random weights marks much the same ({said}): these "
            "marks show the rows and the architecture rather than what was learnt."
        )
    else:
        st.caption(f"The same network with random weights marks other things ({said}): the marks come from learning.")


def _coloured(words: Sequence[Sequence[Any]]) -> str:
    """A text in which the words that mattered have a background."""
    most = max((abs(float(weight)) for _, weight in words), default=0.0) or 1.0
    said = []
    for word, weight in words:
        share = float(weight) / most
        colour = "orange" if share > 0 else "blue"  # as in the maps over pictures
        text = esc(word)
        if abs(share) >= 0.6:
            said.append(f":{colour}-background[**{text}**]")
        elif abs(share) >= 0.25:
            said.append(f":{colour}-background[{text}]")
        else:
            said.append(text)
    return " ".join(said)


def _overlaid(home: Home, dataset: Dataset, row: Mapping[str, Any]) -> Any | None:
    """The picture of a row with the map of what mattered laid over it."""
    from PIL import Image

    if row.get("row") is None:
        return None
    name = datasets.rows(home, dataset.id)[dataset.inputs[0]].iloc[int(row["row"])]
    files = kinds_of_files()[dataset.modality]
    picture = files.draw(datasets.media(home, dataset.id) / str(name), dataset.reading).convert("RGBA")
    with Image.open(io.BytesIO(base64.b64decode(row["map_png"])), formats=("PNG",)) as map_png:
        layer = map_png.convert("RGBA")
    return Image.alpha_composite(picture.resize(layer.size), layer).convert("RGB")


def _columns(result: Mapping[str, Any]) -> None:
    frame = pd.DataFrame(result["columns"])
    top, colours = frame.head(15), charts.palette()
    chart = charts.figure(colours, 70 + 28 * len(top), x="what the score loses when the column is shuffled")
    chart.add_trace(
        go.Bar(
            x=top["importance"],
            y=charts.axis_titles([short(name, 40) for name in top["column"]]),
            orientation="h",
            marker_color=colours.accent,
            error_x={
                "array": top["high"] - top["importance"],
                "arrayminus": top["importance"] - top["low"],
                "color": colours.soft,
                "thickness": 1,
            },
        )
    )
    chart.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": colours.ink})
    alt = "Importance of columns: " + ", ".join(map(str, top["column"].head(6)))
    charts.show(chart, alt, "importance", frame)


def _nearest(home: Home, dataset: Dataset, result: Mapping[str, Any]) -> None:
    st.caption(f"Of {result['training_rows']:,} training rows, in the features that the head reads.")
    for row in result["rows"][:_MOST]:
        with st.expander(esc(f"Row {row['row']}: {row['truth']}, taken for {row['prediction']}")):
            if row.get("row") is not None:
                row_views.show(home, dataset, [int(row["row"])], ["this row"])
            notes = [f"{near['truth']} ({100 * near['similarity']:.0f} % alike)" for near in row["nearest"]]
            row_views.show(home, dataset, [int(near["row"]) for near in row["nearest"]], notes)


def _forgetting(home: Home, dataset: Dataset, result: Mapping[str, Any]) -> None:
    if result.get("note"):
        st.markdown(esc(result["note"]))
    if not result.get("rows"):
        return
    frame, colours = pd.DataFrame(result["stages"]), charts.palette()
    chart = charts.figure(colours, 280, x="block, from the input up", y="likeness to the source (1 = the same)")
    line = {"color": colours.accent, "width": 2}
    chart.add_trace(go.Scatter(x=frame["stage"], y=frame["cka"], mode="lines+markers", line=line))
    chart.update_yaxes(range=[0, 1.05])
    charts.show(chart, "How alike each block still is to the source model", "forgetting", frame)
    if task := result.get("source_task"):
        st.markdown(
            f"On **{esc(task['dataset'])}**, on which its source was trained, the tuned backbone under the source's "
            f"head comes to {esc(task['metric'])} **{task['after']:.3f}**; before it was **{task['before']:.3f}** "
            f"({task['rows']:,} test rows)."
        )
