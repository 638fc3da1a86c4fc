"""From a file in the browser to a stored dataset: the drop zone, the samples, the draft that can be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from tltools.formats import formats
from tltools.home import Home
from tltools.records import Job, Profile
from tltools.samples import SAMPLES
from tltools.store import Store
from tltools.tasks import tasks
from tltools.ui import dataset_views as views
from tltools.ui import live, state, uploads, widgets
from tltools.ui.words import esc, short

LIMITS = (
    "Up to 200 MB a file; tables up to 1,000,000 rows, zips up to 20,000 files: JPEG, PNG, TIFF, WebP, "
    "BMP and PPM; WAV, FLAC, OGG and MP3 up to a minute. Larger data comes by path: `python -m tltools add PATH`. "
    "Files stay on this machine."
)
_ICONS = {
    "text": ":material/notes:", "image": ":material/image:", "tabular": ":material/table_rows:",
    "audio": ":material/graphic_eq:", "sequence": ":material/genetics:",
}  # fmt: skip


def drop_zone(home: Home, store: Store) -> None:
    """Takes a file (and perhaps its own test part), writes it to disk, clears the widget and has it read."""
    turn = st.session_state.setdefault("upload_turn", 0)
    extensions = sorted({one.lstrip(".") for form in formats().values() for one in form.extensions})
    table = [one for one in extensions if "." not in one]
    main = st.file_uploader(
        "Drop a table, or a zip of images or sounds",
        type=table,
        key=f"upload_{turn}",
        max_upload_size=200,
    )
    with st.expander("I have a separate test file"):
        test = st.file_uploader("Its test part, with the same columns", type=table, key=f"upload_test_{turn}")
    st.caption(LIMITS)
    if main is None:
        return
    if st.button("Read it", type="primary", icon=":material/arrow_forward:", key=f"upload_go_{turn}"):
        path = uploads.keep(home, main.name, main)
        second = uploads.keep(home, test.name, test) if test is not None else None
        asked: dict[str, Any] = {"path": str(path), "name": uploads.shown_name(main.name), "look": True}
        if second is not None:
            asked["test"] = str(second)
        for given in filter(None, (main, test)):
            uploads.forget(given)
        st.session_state["upload_turn"] = turn + 1  # another key is an empty widget
        submit(store, asked)


def samples(store: Store) -> None:
    """One click each."""
    st.subheader("Or start from a sample", anchor=False)
    with st.container(horizontal=True, gap="small"):
        for sample in SAMPLES.values():
            label = f"{sample.title} ({sample.rows:,})"
            if st.button(label, key=f"sample_{sample.key}", help=sample.note, icon=_ICONS.get(sample.modality)):
                submit(store, {"sample": sample.key, "name": sample.title})


def submit(store: Store, payload: dict[str, Any]) -> None:
    """Queues a reading and goes on where it can be watched."""
    name = str(payload.get("name") or "data")
    verb = "Reading" if payload.get("look") else "Adding"
    job = store.submit("ingest", payload, title=f"{verb} {short(name, 60)}", key=json.dumps(payload, sort_keys=True))
    state.put(dataset=None, draft=job.id)
    st.rerun()


def draft(home: Home, store: Store, job: Job) -> None:
    """Where a reading stands: still going on, failed, or a draft to look at, change and add."""
    if job.state in live.LIVE:
        widgets.title(f"Reading {esc(short(job.title.partition(' ')[2], 50))}")
        live.follow(job)
        live.cancel_button(job)
        return
    if job.state != "done" or job.result is None:
        widgets.title("That could not be read")
        live.failure(job)
        _leave("Choose another file")
        return
    if job.result.get("dataset"):
        state.open_dataset(str(job.result["dataset"]))
        st.rerun()
    path = home.jobs / job.id / "draft.json"
    if not path.is_file():
        widgets.title("This draft is gone", "What is read is only kept for a while. Nothing of it was stored.")
        _leave("Choose a file")
        return
    _draft(store, job, json.loads(path.read_text()))


def _leave(label: str) -> None:
    if st.button(label, type="primary"):
        state.put(draft=None)
        st.rerun()


def _draft(store: Store, job: Job, found: dict[str, Any]) -> None:
    profile = Profile.model_validate(found["profile"])
    widgets.title("Is this right?", "Nothing is stored yet. Change what was inferred, then add it.")
    classes = len(found["classes"])
    st.markdown(views.facts(found["name"], found["rows"], found["modality"], found["task"], found["target"], classes))
    asked = _choices(job, found, profile)
    changed = asked is not None
    with st.container(horizontal=True):
        if changed and asked is not None:
            if st.button("Look again with these choices", type="primary", icon=":material/refresh:"):
                submit(store, asked)
        elif st.button("Add this dataset", type="primary", icon=":material/check:", disabled=not found["ready"]):
            keys = ("path", "test", "target", "inputs", "task", "name")
            submit(store, {key: job.payload.get(key) for key in keys if job.payload.get(key) is not None})
        if st.button("Start over", type="tertiary"):
            state.put(draft=None)
            st.rerun()
    if not found["ready"] and not changed:
        st.caption("It can be added once what is marked “must be solved” is solved.")
    views.findings(profile, found["rows"])
    st.subheader("A sample of it", anchor=False)
    media = Path(found["media"]) if found["media"] else None
    views.preview(
        views.frame_of(found), media, found["inputs"], found["target"], found["modality"], found["reading"],
        found["task"], found["classes"],
    )  # fmt: skip
    views.sizes(profile)
    views.balance(profile, found["target"], found["task"])
    views.columns_table(profile)


def _choices(job: Job, found: dict[str, Any], profile: Profile) -> dict[str, Any] | None:
    """The three inferences as widgets; the payload of another look where one was changed, else None."""
    names = [column.name for column in profile.columns]
    left, middle, right = st.columns([1, 1, 2])
    with left:
        at = names.index(found["target"]) if found["target"] in names else None
        target = st.selectbox("What is to be predicted", names, index=at, key=f"target_{job.id}", format_func=_plain)
    with middle:
        known = list(tasks())
        at = known.index(found["task"]) if found["task"] in known else None
        task = st.selectbox("Task", known, index=at, key=f"task_{job.id}", format_func=lambda key: tasks()[key].title)
        chosen = [target] if target else []
        pairs = [column.name for column in profile.columns if column.distinct <= 2 and column.kind != "text"]
        if task and tasks()[task].several and target in pairs:
            more = st.multiselect(
                "With these columns of 0 and 1", [name for name in pairs if name != target], key=f"more_{job.id}",
                format_func=_plain, help="Each column is a label: a row has those whose cell is 1, true, yes or x.",
            )  # fmt: skip
            chosen += more
            target = ",".join(chosen)
    with right:
        free = [name for name in names if name not in chosen]
        usual = [name for name in found["inputs"] if name in free]
        if len(found["inputs"]) > 12:  # a field with hundreds of chips helps nobody
            label = f"Leave out of the {len(usual):,} columns that are read"
            out = st.multiselect(label, usual, key=f"out_{job.id}", format_func=_plain, placeholder="None is left out")
            inputs = [name for name in usual if name not in out]
        else:
            inputs = st.multiselect("Columns that are read", free, usual, key=f"inputs_{job.id}", format_func=_plain)
    name = st.text_input("Name", found["name"], max_chars=80, key=f"name_{job.id}")
    asked = {**job.payload, "look": True}
    same = target == found["target"] and task == found["task"] and name.strip() == found["name"]
    if inputs and sorted(inputs) != sorted(usual):
        asked["inputs"], same = inputs, False
    elif target != found["target"]:
        asked.pop("inputs", None)  # inferred again: what was the target may now be read
    if same:
        return None
    if target != found["target"] and task == found["task"]:
        asked.pop("task", None)  # another target may be another task: inferred again
    elif task:
        asked["task"] = task
    if target:
        asked["target"] = target
    if name.strip():
        asked["name"] = name.strip()
    return asked


def _plain(name: str) -> str:
    return short(name, 60)
