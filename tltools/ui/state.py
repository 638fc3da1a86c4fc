"""What the browser remembers: ids only, in the session and in the URL, so that a refresh finds them."""

from __future__ import annotations

import re
from collections.abc import Callable

import streamlit as st

from tltools import datasets, studies
from tltools.home import Home, open_home
from tltools.records import Dataset, Refusal, Study
from tltools.store import Store, open_store
from tltools.ui.words import esc

NAMES = ("dataset", "draft", "source", "study", "trial", "job")
_FORM = {name: re.compile(r"[0-9a-f]{16}") for name in ("dataset", "draft", "study", "trial", "job")}
_FORM["source"] = re.compile(r"[\w./,+@-]{1,2000}")


def home() -> Home:
    """The home folder of this server."""
    return open_home()


def store() -> Store:
    """The store of this server."""
    return open_store(open_home())


def settle() -> None:
    """The URL wins over the session; what only the session knows is written into the URL. Called once a run."""
    for name in NAMES:
        given = st.query_params.get(name)
        if given and given != st.session_state.get(_key(name)):
            _set(name, given)
        elif not given and st.session_state.get(_key(name)):
            st.query_params[name] = st.session_state[_key(name)]


def get(name: str) -> str | None:
    """The current id of a kind; None where there is none."""
    value: str | None = st.session_state.get(_key(name))
    return value


def put(**ids: str | None) -> None:
    """Sets (or with None forgets) current ids, in the session and in the URL."""
    for name, value in ids.items():
        _set(name, value)
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


def open_dataset(id: str | None) -> None:
    """Turns to another dataset, and away from everything that belonged to the last one."""
    put(dataset=id, draft=None, source=None, study=None, trial=None, job=None)


def open_study(id: str) -> None:
    """Turns to a study: its dataset and its sources come along, and edits of it that were not run are forgotten."""
    study = studies.load(home(), id)
    if (store().recall("draft", study.dataset) or {}).get("study") == id:
        store().remember("draft", study.dataset, {})
    st.session_state["study_turn"] = st.session_state.get("study_turn", 0) + 1
    put(dataset=study.dataset, draft=None, source=",".join(study.sources) or None, study=id, trial=None, job=None)


def key(name: str) -> str:
    """The key of a widget that begins anew with each study that is opened: under one key it would keep its value."""
    return "_".join(str(part) for part in (name, get("study"), st.session_state.get("study_turn")) if part)


def sources() -> list[str]:
    """The ids of the chosen source models."""
    return [one for one in (get("source") or "").split(",") if one]


def dataset() -> Dataset | None:
    """The current dataset; an unknown id is said so, and forgotten by a button with all that belongs to it."""
    id = get("dataset")
    if not id and get("study"):
        opened = study()
        id = opened.dataset if opened else None
    if not id:
        return None
    try:
        return datasets.get(home(), id)
    except Refusal as refusal:
        _unknown(refusal, lambda: open_dataset(None))
        return None


def study() -> Study | None:
    """The current study; an unknown id is said so, and forgotten by a button."""
    id = get("study")
    if not id:
        return None
    try:
        found = studies.load(home(), id)
    except Refusal as refusal:
        _unknown(refusal, lambda: put(study=None))
        return None
    if get("dataset") != found.dataset:
        put(dataset=found.dataset, source=None)
    if not get("source"):
        put(source=",".join(found.sources) or None)
    return found


def _unknown(refusal: Refusal, forget: Callable[[], None]) -> None:
    st.warning(f"**Not found.** {esc(refusal)}", icon=":material/search_off:")
    if st.button("Go on without it", key="forget"):
        forget()
        st.rerun()
    st.stop()


def _key(name: str) -> str:
    return f"id_{name}"


def _set(name: str, value: str | None) -> None:
    if value is not None and not _FORM[name].fullmatch(value):
        value = re.sub(r"[^\w./,+@-]", "", value)[:64] or "unreadable"  # shown as "not found", never used as a path
    st.session_state[_key(name)] = value
