"""The four steps on top of every page of a study: what is done, where one is, and a way to each."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from tltools import sources, studies
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.records import Refusal, Study
from tltools.ui import recent, state
from tltools.ui.words import counted, esc, short

Step = Literal["data", "source", "strategy", "verdict"]
_STEPS: tuple[tuple[Step, str, str], ...] = (
    ("data", "Data", "pages/prepare/dataset.py"),
    ("source", "Source", "pages/prepare/source.py"),
    ("strategy", "Strategy", "pages/train/strategy.py"),
    ("verdict", "Verdict", "pages/judge/compare.py"),
)


def draw(here: Step) -> None:
    """Draws the steps; on a phone they stay on one line, without their second lines."""
    said = _said(state.home())
    with st.container(key="steps"):
        columns = st.columns(4, gap="small", wrap=False)
        for column, (key, title, page) in zip(columns, _STEPS, strict=True):
            done = bool(said[key])
            icon = ":material/check_circle:" if done else ":material/radio_button_unchecked:"
            look = "here" if key == here else "done" if done else "open"
            with column, st.container(key=f"step_{look}_{key}", gap=None):
                name = f"**{title}**" if key == here else title
                st.page_link(page, label=name, icon=":material/arrow_circle_right:" if key == here else icon)
                st.caption(said[key] or ("now" if key == here else "to do"))


def _said(home: Home) -> dict[Step, str]:
    """Per step what is done, in a few words; empty where it is not."""
    dataset, study = recent.dataset(home, state.get("dataset") or ""), _study(home)
    chosen = state.sources() or list(study.sources if study else ())
    names = ", ".join(_name(home, source) for source in chosen[:2])
    more = f" and {len(chosen) - 2} more" if len(chosen) > 2 else ""
    return {
        "data": esc(short(dataset.name, 28)) if dataset else "",
        "source": esc(short(names + more, 28)) if chosen else "",
        "strategy": f"{len(study.strategies)} + {counted(len(study.controls), 'control', 'controls')}" if study else "",
        "verdict": _progress(home, study) if study else "",
    }


def _name(home: Home, source: str) -> str:
    try:
        return sources.get(home, source).name
    except Refusal:
        return "own source" if source.startswith("own/") else source.split("/")[-1]


def _study(home: Home) -> Study | None:
    try:
        return studies.load(home, state.get("study") or "")
    except Refusal:
        return None


def _progress(home: Home, study: Study) -> str:
    try:
        wanted = studies.expand(home, study)
    except Refusal:
        return ""
    done = sum(sealed(home.trials / trial.id) for trial in wanted)
    said = counted(len(wanted), "trial", "trials")
    return "" if not done else f"{said} done" if done == len(wanted) else f"{done} of {said}"
