"""Predictions on screen: one text, picture, sound or row; a whole file; the model to take home."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tltools import answers, datasets, reports
from tltools.home import Home
from tltools.judging import thresholds
from tltools.modalities import Files, modalities
from tltools.records import Dataset, Job, Problem
from tltools.store import Store
from tltools.tasks import tasks
from tltools.ui import charts, live, place_views, state, uploads, widgets
from tltools.ui.words import counted, esc, label_names, short

_ROWS = 100  # of a predicted file that are shown
_FIELDS = 16  # of a row that is typed in; the others keep their usual value


def one(home: Home, dataset: Dataset, trial: str, last: Job | None) -> Any | None:
    """The item to predict, as the job takes it: a text, the path of a file, or a row; None before there is one.

    A trial with thresholds per group is told the group, too. `last`: the prediction that is shown; after a reload the
    fields hold again what it was asked for.
    """
    asked: Mapping[str, Any] = next(iter((last.payload.get("items") if last is not None else None) or ()), {})
    minds = [name for name in thresholds.columns(reports.trial_card(home, trial) or {}) if name not in dataset.inputs]
    if modalities()[dataset.modality].strings:
        return _text(home, dataset, minds, asked)
    if files := modalities()[dataset.modality].files:
        if minds:
            st.caption(f"This arm has thresholds by {', '.join(map(esc, minds))}: predict a file that names them.")
            return None
        return _file(home, files)
    return _row(home, dataset, minds, asked)


def _text(home: Home, dataset: Dataset, minds: Sequence[str], asked: Mapping[str, Any]) -> Any | None:
    usual = _usual(str(home.root), dataset.id, tuple(minds), home)
    with st.form("one_text", border=False):
        parts = {
            name: _question(str(asked.get(name, "")))
            if name == answers.COLUMN
            else st.text_area(esc(name), asked.get(name, ""), key=f"one_{name}", max_chars=20_000)
            for name in dataset.inputs[:6]
        }
        groups = {name: _field(name, usual[name], asked, home, dataset) for name in minds}
        sent = st.form_submit_button("Predict", type="primary", icon=":material/bolt:")
    if sent and parts.get(answers.COLUMN) == "":
        st.caption("It needs both: a question, and a text to look for the answer in.")
        return None
    return parts | groups if sent and any(text.strip() for text in parts.values()) else None


def _question(asked: str) -> str:
    """A question and its context as the text of a row; "" where one of them is missing."""
    before, _, after = asked.partition(f" {answers.SEPARATOR} ")
    question = st.text_input("Question", before, key="one_question", max_chars=1000)
    context = st.text_area("Text to look for the answer in", after, key="one_context", max_chars=20_000)
    return answers.joined(question, context) if question.strip() and context.strip() else ""


def _file(home: Home, files: Files) -> Any | None:
    turn = st.session_state.setdefault("one_turn", 0)
    given = st.file_uploader(f"Drop {files.one}", type=[one[1:] for one in files.endings], key=f"one_file_{turn}")
    if given is None:
        return None
    path = uploads.keep(home, given.name, given)
    uploads.forget(given)
    st.session_state["one_turn"] = turn + 1
    return str(path)


def _row(home: Home, dataset: Dataset, minds: Sequence[str], asked: Mapping[str, Any]) -> Any | None:
    names = [*minds, *dataset.inputs]
    usual = _usual(str(home.root), dataset.id, tuple(names), home)
    with st.form("one_row", border=False):
        values: dict[str, Any] = {**usual, **asked}
        columns = st.columns(3)
        for k, name in enumerate(names[:_FIELDS]):
            with columns[k % 3]:
                values[name] = _field(name, usual[name], asked, home, dataset)
        if len(names) > _FIELDS:
            st.caption(f"{len(names) - _FIELDS} more columns keep their usual value; a file sets them all.")
        sent = st.form_submit_button("Predict", type="primary", icon=":material/bolt:")
    return values if sent else None


def _field(name: str, usual: Any, asked: Mapping[str, Any], home: Home, dataset: Dataset) -> Any:
    """A number or one of the words of a column; None where it is left empty, as an empty cell of a file."""
    label, key, begin = esc(short(name, 40)), f"one_{name}", asked.get(name, usual)
    # a field that begins with a value cannot be emptied: it is put in from outside, once
    if isinstance(usual, float):
        st.session_state.setdefault(key, begin)
        return st.number_input(label, value=None, key=key, format="%g", placeholder="missing")
    known = _options(str(home.root), dataset.id, name, home)
    st.session_state.setdefault(key, begin if begin is None or begin in known else next(iter(known), None))
    return st.selectbox(label, known, index=None, key=key, placeholder="missing")


@st.cache_data(max_entries=8, show_spinner=False)
def _usual(root: str, id: str, names: tuple[str, ...], _home: Home) -> dict[str, Any]:
    """The median or the most frequent value of each of these columns."""
    table = datasets.rows(_home, id, *names)
    found: dict[str, Any] = {}
    for name in names:
        column = table[name]
        if column.dtype == float:
            found[name] = float(column.median()) if column.notna().any() else 0.0
        else:
            most = column.mode(dropna=True)
            found[name] = str(most.iloc[0]) if len(most) else ""
    return found


@st.cache_data(max_entries=200, show_spinner=False)
def _options(root: str, id: str, name: str, _home: Home) -> list[str]:
    return [str(value) for value in datasets.rows(_home, id, name)[name].dropna().value_counts().index[:200]]


def ask(store: Store, trial: str, item: Any) -> None:
    """Queues the prediction of one item."""
    payload = {"trial": trial, "items": [item], "file": None, "out": None}
    job = store.submit("predict", payload, title="Predict one", key=json.dumps(payload, sort_keys=True, default=str))
    state.put(job=job.id)


def ask_file(home: Home, store: Store, trial: str, given: Any) -> None:
    """Queues the prediction of a whole file."""
    path = uploads.keep(home, given.name, given)
    uploads.forget(given)
    out = _out(home, f"{path.stem}-predicted.csv")
    payload = {"trial": trial, "file": str(path), "items": None, "out": str(out)}
    job = store.submit("predict", payload, title=f"Predict {uploads.shown_name(given.name)}", key=str(path))
    state.put(job=job.id)


def ask_export(home: Home, store: Store, trial: str) -> None:
    """Queues an export with its replay check."""
    to = home.root / "exports" / trial
    job = store.submit("export", {"trial": trial, "to": str(to)}, title="Export the model", key=trial)
    state.put(job=job.id)


def _out(home: Home, name: str) -> Path:
    import uuid

    folder = home.uploads / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def follow(job: Job, kinds: Sequence[str]) -> bool:
    """Shows a job of these kinds until it is done; True when its result can be shown."""
    if job.kind not in kinds:
        return False
    if job.state in live.LIVE:
        live.follow(job)
        live.cancel_button(job)
        return False
    live.failure(job)
    return job.state == "done" and job.result is not None


def answer(row: Mapping[str, Any], dataset: Dataset, least: float | None = None) -> None:
    """One prediction: the word, how sure, and all classes as bars; `least`: the probability from which a class is on
    the list that holds the true one in nine of ten rows."""
    said = row.get("prediction")
    if not dataset.classes:
        st.metric(esc(dataset.target), f"{float(str(said)):.4g}", border=True)
        return
    shares, several = probabilities(row, dataset), tasks()[dataset.task].several
    sure = max(shares.values(), default=0.0)
    left, right = st.columns([1, 2], vertical_alignment="center")
    if several:
        left.markdown(f"**{esc(short(dataset.target, 40))}**  \n{esc(label_names(str(said)))}")
    else:
        left.metric(esc(dataset.target), esc(said), f"{100 * sure:.1f} % sure", delta_color="off", delta_arrow="off",
                    border=True)  # fmt: skip
    top = sorted(shares.items(), key=lambda pair: -pair[1])[:10]
    colours = charts.palette()
    chart = charts.figure(colours, 50 + 32 * len(top))
    chart.add_trace(
        go.Bar(
            x=[100 * share for _, share in top], y=charts.axis_titles([short(name, 40) for name, _ in top]),
            orientation="h", cliponaxis=False,
            marker_color=[colours.accent if (share >= 0.5 if several else not k) else colours.gray
                          for k, (_, share) in enumerate(top)],
            text=[f"{100 * share:.1f} %" for _, share in top], textposition="outside", hoverinfo="skip",
        )
    )  # fmt: skip
    chart.update_xaxes(visible=False, range=[0, 112])
    chart.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"color": colours.ink})
    chart.update_layout(bargap=0.35)
    with right:
        alt = "Probabilities: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in top)
        charts.show(chart, alt, "probabilities")
    if least is not None and not several:
        kept = [name for name, share in sorted(shares.items(), key=lambda pair: -pair[1]) if share >= least]
        named = ", ".join(f"**{esc(short(name, 40))}**" for name in kept[:10])
        more = f" and {len(kept) - 10} more" if len(kept) > 10 else ""
        if kept:
            st.caption(f"A list that holds the true class in 90 % of such rows: {named}{more}.")
        else:
            st.caption("Of 90 % of the labelled rows the model is surer than of this one, which may be unlike them.")


def seen(job: Job, dataset: Dataset) -> None:
    """The file that was predicted, as the model read it."""
    files = modalities()[dataset.modality].files
    paths = [Path(path) for path in (job.result or {}).get("files", [])]
    if files and paths:
        widgets.gallery(files, dataset.reading, paths, ["What the model read"] * len(paths), width=240)


def probabilities(row: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
    """Class -> probability, from a prediction as the job returns it."""
    if isinstance(row.get("probabilities"), Mapping):
        return {str(name): float(share) for name, share in row["probabilities"].items()}
    found = {}
    for k, name in enumerate(dataset.classes):
        for key in (f"p_{name}", f"p_{k}"):
            if key in row:
                found[name] = float(row[key])
                break
    return found


def whole(job: Job, dataset: Dataset) -> None:
    """The predictions of a file: the first rows, and all of them to download."""
    result = job.result or {}
    out = Path(str(result.get("out", "")))
    st.markdown(f":green[:material/check_circle:] **{counted(result.get('rows', 0), 'row', 'rows')}** predicted.")
    widgets.problems([Problem.model_validate(one) for one in result.get("problems") or ()])
    if left_out := result.get("skipped"):
        with st.expander(f"{counted(len(left_out), 'row or file was', 'rows or files were')} left out"):
            widgets.table(pd.DataFrame(left_out), "What was left out, and why", "skipped")
    if tasks()[dataset.task].objects:
        place_views.predicted(job, dataset, "file")
    elif out.is_file():
        st.dataframe(_first(out), hide_index=True, alt="The first predicted rows")
    if out.is_file():
        st.download_button("Download all", out.read_bytes, out.name, icon=":material/download:",
                           on_click="ignore", key="predicted_all", type="primary")  # fmt: skip


def _first(out: Path) -> pd.DataFrame:
    """The first rows of a file of predictions as they stand in it, what was predicted before what it was read from."""
    frame = pd.read_csv(out, nrows=_ROWS, dtype=str, keep_default_na=False)
    at = max(k for k, name in enumerate(frame) if name in {"prediction", "prediction (tltools)"})
    return frame[[*frame.columns[at:], *frame.columns[:at]]]


def exported(job: Job) -> None:
    """What was exported, whether the replay agrees, and the folder as one zip."""
    result = job.result or {}
    replay, folder = result.get("replay") or {}, Path(str(result.get("folder", "")))
    if replay.get("agrees"):
        st.success(
            f"Replayed from the folder alone: {replay['rows']:,} stored predictions came out again (largest difference "
            f"{replay['max_difference']:.1e}).",
            icon=":material/verified:",
        )
    else:
        st.error(f"The replay does not agree: largest difference {replay.get('max_difference')}. Do not ship this.")
    st.markdown("In the folder: " + ", ".join(f"`{esc(name)}`" for name in result.get("files", [])))
    st.caption(f"It lies in {esc(folder)}; `predict.py` runs without tltools.")
    if folder.is_dir():
        st.download_button("Download as zip", lambda: zipped(folder), f"{folder.name}.zip", "application/zip",
                           icon=":material/download:", on_click="ignore", key="export_zip", type="primary")  # fmt: skip


def zipped(folder: Path) -> bytes:
    """A folder as a zip in memory."""
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    return content.getvalue()


def file_types() -> list[str]:
    """What may be dropped for a whole file."""
    from tltools.formats import formats

    known = {one.lstrip(".") for form in formats().values() for one in form.extensions}
    return sorted(one for one in known if "." not in one)


def note(dataset: Dataset) -> None:
    """What a file for prediction must hold."""
    names = ", ".join(f"**{esc(short(name, 30))}**" for name in dataset.inputs[:8])
    more = f" and {len(dataset.inputs) - 8} more" if len(dataset.inputs) > 8 else ""
    if files := modalities()[dataset.modality].files:
        st.caption(f"A zip of {files.many}; no class folders are needed.")
    elif answers.COLUMN in dataset.inputs:
        st.caption("A table with **question** and **context**, or a file as SQuAD has it. Answers may be missing.")
    else:
        st.caption(f"A table with {names}{more}. The target may be missing.")
