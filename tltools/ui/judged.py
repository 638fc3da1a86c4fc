"""The way into a judged study that Compare, Explain and Predict share: its report, or what to do to get one."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from tltools import reports
from tltools.records import Dataset, Refusal, Report
from tltools.ui import recent, state, stepper, widgets

GONE = "The dataset of this study was deleted: its rows can no longer be shown, and no new ones be predicted."


def need(question: str) -> tuple[Report, Dataset]:
    """The report and the dataset of the current study; a page that has none offers the judged ones, and ends."""
    home, store = state.home(), state.store()
    study = state.study()
    stepper.draw("verdict")
    if study is None:
        widgets.title(question)
        _choose()
    report, dataset = recent.report(home, str(state.get("study"))), recent.dataset(home, study.dataset)
    if report is None or not report.arms:
        widgets.title(question)
        if dataset is None:
            gone()
        busy = recent.job_by_study(store).get(str(state.get("study")))
        page, label = (
            ("pages/train/runs.py", "Watch it run") if busy else ("pages/train/strategy.py", "Open its strategy")
        )
        widgets.empty("This study has no verdict yet.", page, label)
    if dataset is None:
        widgets.title(question)
        widgets.empty(f"{GONE} Its report stays.", "pages/judge/compare.py", "Open its report")
    return report, dataset


def judge_now(study_id: str, *, first: bool) -> None:
    """The button that judges a study which stopped by the trials that it has finished; `first`: it has no verdict."""
    if st.button("Judge what is finished", type="primary" if first else "secondary"):
        try:
            reports.judge(state.home(), state.store(), study_id)
            st.rerun()
        except Refusal as refusal:
            widgets.problems(refusal.problems)


def gone() -> NoReturn:
    """Ends the page of a study that has no report, and whose dataset was deleted."""
    widgets.empty(f"{GONE} It had not come to a verdict.", "pages/prepare/home.py", "See the other studies")


def _choose() -> NoReturn:
    known = [one for one in recent.listing(state.home(), state.store(), 12) if one.report is not None]
    if not known:
        widgets.empty("No study has been judged yet.", "pages/prepare/home.py", "Try the sample study")
    st.markdown("Choose a study.")
    for start in range(0, len(known), 3):
        for column, one in zip(st.columns(3), known[start : start + 3], strict=False):
            with column:
                recent.card(one)
    st.stop()
