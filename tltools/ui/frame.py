"""The frame around every page: the menu, and in the sidebar the worker, the queue and what left this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import streamlit as st

from tltools.home import Home
from tltools.store import open_store
from tltools.ui import live, state
from tltools.ui.words import esc, short, size

MENU: dict[str, tuple[tuple[str, str, str], ...]] = {  # section -> (file, title, icon)
    "Prepare": (
        ("prepare/home.py", "Home", ":material/home:"),
        ("prepare/dataset.py", "Dataset", ":material/table_view:"),
        ("prepare/source.py", "Source model", ":material/hub:"),
    ),
    "Train": (
        ("train/strategy.py", "Strategy", ":material/tune:"),
        ("train/runs.py", "Runs", ":material/progress_activity:"),
    ),
    "Judge": (
        ("judge/compare.py", "Compare", ":material/balance:"),
        ("judge/explain.py", "Explain", ":material/troubleshoot:"),
        ("judge/predict.py", "Predict", ":material/bolt:"),
    ),
}
_LOOK = Path(__file__).with_name("look.css")


class Worker(Protocol):
    """What the sidebar reads of the worker."""

    alive: Any
    queued: Any
    running: Any
    sentence: Any


def pages(folder: Path) -> dict[str, list[Any]]:
    """The menu for st.navigation; the first page is the default."""
    return {
        section: [
            st.Page(folder / file, title=title, icon=icon, default=file == "prepare/home.py")
            for file, title, icon in entries
        ]
        for section, entries in MENU.items()
    }


def draw(home: Home, worker: Callable[[], Worker]) -> None:
    """Draws the sidebar's lower part, and settles the ids of this run."""
    st.html(_LOOK)
    state.settle()
    now = worker()
    with st.sidebar:
        st.fragment(_standing, run_every=None if _at_rest(now) else live.EVERY)(worker, now)
        st.caption(f":material/lock: {network_words(home)}")


def _standing(worker: Callable[[], Worker], drawn: Worker) -> None:
    """The worker and the queue as they are now: a worker starts, and jobs begin and end, while nobody touches the page,
    which runs once more when all is at rest."""
    now = worker()
    st.caption(f"{_worker_icon(now)} {_worker_words(now)}")
    if _at_rest(now) and not _at_rest(drawn):
        st.rerun()


def _at_rest(now: Worker) -> bool:
    return bool(now.alive) and not now.running and not now.queued


def network_words(home: Home) -> str:
    """What left this machine, in a sentence; told from the ledger, not from a promise."""
    sent = sum(int(row["sent"]) for row in open_store(home).network())
    return f"{size(sent)} left this machine" if sent else "0 bytes left this machine"


def _worker_words(now: Worker) -> str:
    if now.running:
        said = f"Working: {esc(short(now.running[0].title, 40))}"
    elif now.alive:
        said = "Worker ready"
    else:
        said = "Worker is starting" if not now.queued else "Worker is starting; jobs wait for it"
    return f"{said} · {f'{now.queued} waiting' if now.queued else 'queue empty'}"


def _worker_icon(now: Worker) -> str:
    if now.running:
        return ":material/progress_activity:"
    return ":material/check_circle:" if now.alive else ":material/hourglass_empty:"
