"""Why a row was judged so: what the model looked at, the nearest training rows, what its backbone forgot."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tltools import datasets
from tltools.home import Home
from tltools.modalities import kinds_of_files, modalities
from tltools.records import Dataset, Job
from tltools.store import Store
from tltools.ui import charts, live, row_views
from tltools.ui.words import counted, esc, minus, short

_MOST = 6  # rows explained at once
ALIKE = 0.5  # rank correlation with random weights from which marks are not trusted
_QUESTIONS = {
    "attribution": ("What it looked at", ":material/visibility:"),
    "nearest": ("Nearest training rows", ":material/hub:"),
    "forgetting": ("What the backbone forgot", ":material/history_toggle_off:"),
}
_HOW = {  # how marks are found -> what it is called, and what it does and when it misleads, of words and of places
    "occlusion": (
        "Covering",
        "Leaves out one word at a time and predicts again. It misleads where words count only together, or where a "
        "text with a hole in it is like nothing that the model has seen.",
        "Covers one place at a time and predicts again. It misleads where places count only together, or where a "
        "covered picture is like nothing that the model has seen.",
    ),
    "gradients": (
        "Gradients",
        "Integrated gradients: from a text of masked words to the text itself, shares out what the prediction gains. "
        "It misleads where masked words already look like a class; words that count only together share their gain.",
        "Grad-CAM, or attention times gradient in vision transformers: shows which places of the last map push the "
        "prediction. It is coarse, and misleads where the network gathers in one place what it saw in another.",
    ),
}


def why(
    store: Store, home: Home, dataset: Dataset, trial: str, rows: Sequence[int], which: str = "the worst mistakes above"
) -> None:
    """Three questions about a trial and some of its test rows; the worker answers, and what was answered stays."""
    st.header("Why?", anchor=False)
    st.caption(f"The worker answers, in seconds to a minute. Rows are {which}.")
    how = "occlusion" if modalities()[dataset.modality].cells else _how(dataset)
    jobs = _jobs(store, trial)
    busy = next((job for job in jobs if job.state in live.LIVE), None)
    asked = {
        str(job.payload.get("what")): job
        for job in reversed(jobs)
        if job.payload.get("what") != "attribution" or job.payload.get("how", "occlusion") == how
    }
    with st.container(horizontal=True, gap="small"):
        for what, (label, icon) in _QUESTIONS.items():
            if st.button(label, icon=icon, key=f"why_{what}", disabled=busy is not None):
                payload = {"trial": trial, "what": what, "rows": list(rows[:_MOST])}
                if what == "attribution":
                    payload["how"] = how
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


def _how(dataset: Dataset) -> str:
    """How marks on words or places are found, as chosen."""
    label = "How to find what it looked at"
    chosen = st.segmented_control(
        label, list(_HOW), default="occlusion", required=True, format_func=lambda key: _HOW[key][0], key="why_how"
    )
    _, words, places = _HOW[chosen]
    st.caption(places if kinds_of_files().get(dataset.modality) else words)
    return str(chosen)


def _jobs(store: Store, trial: str) -> list[Job]:
    return [job for job in store.jobs(kinds=("explain",), limit=60) if job.payload.get("trial") == trial]


def _attribution(home: Home, dataset: Dataset, result: Mapping[str, Any]) -> None:
    kind = result["kind"]
    if kind == "columns":
        _columns(result)
        _credits(result.get("rows", ()))
        return
    _sanity(result.get("sanity"))
    st.caption(f"{_found(result)} :orange-badge[speaks for the prediction] :blue-badge[speaks against it]")
    if kind == "words":
        for row in result["rows"]:
            with st.container(border=True, gap="xxsmall"):
                st.markdown(_coloured(row["words"]))
                st.caption(esc(_said(row)))
                if "total" in row:
                    st.caption(_added_up(row))
        return
    with st.container(horizontal=True, gap="small"):
        for row in result["rows"]:
            picture = _overlaid(home, dataset, row)
            if picture is not None:
                st.image(picture, caption=esc(_said(row)), width=168, alt=f"Where the model looked: {_said(row)}")


def _found(result: Mapping[str, Any]) -> str:
    """How these marks were found, in a sentence."""
    word = "word" if result["kind"] == "words" else "place"
    if result.get("how") != "gradients":
        return f"Each {word} was covered once."
    if word == "word":
        return "By integrated gradients."
    row = result["rows"][0]
    high, wide = np.shape(row["weights"])
    partial = " The head also reads shallower layers, which this leaves out." if row["partial"] else ""
    return f"By {row['method']}, on {high} × {wide} places.{partial}"


def _said(row: Mapping[str, Any]) -> str:
    truth, said = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in (row["truth"], row["prediction"]))
    return said if truth == said else f"{truth}, taken for {said}"


def _added_up(row: Mapping[str, Any]) -> str:
    """The completeness of integrated gradients, as a sum that can be checked."""
    start, end, total = (float(row[key]) for key in ("start", "end", "total"))
    return minus(f"With every word masked {start:.3f}, as it stands {end:.3f}; the words add up to {total:+.3f}.")


def _sanity(found: Mapping[str, Any] | None) -> None:
    """Whether the marks owe anything to what was learnt."""
    if not found:
        return
    alike = float(found["likeness"])
    said = f"rank correlation {alike:.2f} over {counted(found['rows'], 'row', 'rows')}".replace("-", "−")
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
    column = dataset.inputs[0]
    name = datasets.rows(home, dataset.id, column)[column].iloc[int(row["row"])]
    files = kinds_of_files()[dataset.modality]
    picture = files.draw(datasets.media(home, dataset.id) / str(name), dataset.reading).convert("RGBA")
    with Image.open(io.BytesIO(base64.b64decode(row["map_png"])), formats=("PNG",)) as map_png:
        layer = map_png.convert("RGBA")
    return Image.alpha_composite(picture.resize(layer.size), layer).convert("RGB")


def _columns(result: Mapping[str, Any]) -> None:
    frame = pd.DataFrame(result["columns"])
    spread = bool((frame["high"] > frame["low"]).any())  # False: each column was shuffled once
    frame = frame if spread else frame.drop(columns=["low", "high"])
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
            }
            if spread
            else None,
        )
    )
    chart.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": colours.ink})
    alt = "Importance of columns: " + ", ".join(map(str, top["column"].head(6)))
    charts.show(chart, alt, "importance", frame)


def _credits(rows: Sequence[Mapping[str, Any]]) -> None:
    """What each column added to what is said of one row."""
    if not rows:
        st.caption("The table has too many columns to credit them for single rows.")
        return
    st.subheader("What each column added for one row", anchor=False)
    titles = [f"Row {row['row']}: {_said(row)}" for row in rows]
    row = rows[st.selectbox("Row", range(len(rows)), format_func=lambda k: titles[k], key="why_row")]
    frame, colours = pd.DataFrame(row["columns"]), charts.palette()
    top = frame.head(12)
    chart = charts.figure(colours, 70 + 28 * len(top), x="what the column added to the prediction")
    chart.add_trace(
        go.Bar(
            x=top["credit"],
            y=charts.axis_titles([short(f"{one.column} = {one.value}", 44) for one in top.itertuples()]),
            orientation="h",
            marker_color=[colours.orange if credit > 0 else colours.accent for credit in top["credit"]],
            error_x={"array": top["error"], "color": colours.soft, "thickness": 1},
        )
    )
    chart.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": colours.ink})
    alt = "What columns added to the prediction of a row: " + ", ".join(map(str, top["column"].head(6)))
    charts.show(chart, alt, "credits", frame)
    said = f"Over training rows it says {row['start']:.3f} on average, of this row {row['end']:.3f}"
    st.caption(
        f"{minus(said)}; the columns add up to the difference (Shapley values by sampling, bars with their standard "
        "error). They mislead where columns hang together: then rows are asked about that do not exist."
    )


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
