"""Recent studies as cards: what was asked, how it stands, and the verdict in a word."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from tltools import datasets, reports, studies
from tltools.home import Home
from tltools.records import Dataset, Job, Refusal, Report, Study
from tltools.reports.words import leading
from tltools.store import Store
from tltools.ui import state
from tltools.ui.live import LIVE, progress_words
from tltools.ui.words import ago, esc, short, state_badge, verdict_badge


@dataclass(frozen=True)
class Known:
    """What there is of one study."""

    id: str
    study: Study
    dataset: Dataset | None
    job: Job | None
    report: Report | None

    @property
    def name(self) -> str:
        return self.study.name or (self.dataset.name if self.dataset else self.id)


def listing(home: Home, store: Store, most: int = 6) -> list[Known]:
    """The newest studies; those whose file cannot be read any more are left out."""
    jobs = job_by_study(store)
    before = {str(id) for job in jobs.values() for id in job.payload.get("first", ())}  # they only made a source
    found = []
    for id in [id for id in studies.listing(home) if id not in before][: most * 2]:
        try:
            study = studies.load(home, id)
        except Refusal:
            continue
        found.append(Known(id, study, dataset(home, study.dataset), jobs.get(id), report(home, id)))
    return found[:most]


def job_by_study(store: Store) -> dict[str, Job]:
    """The newest job of each study; the source study of a sample runs in the job of its target study."""
    found: dict[str, Job] = {}
    for job in store.jobs(kinds=("study",), limit=200):
        for id in (job.payload.get("study"), *job.payload.get("first", ())):
            if id:
                found.setdefault(str(id), job)
    return found


def report(home: Home, id: str) -> Report | None:
    """The report of a study, or None before there is one."""
    try:
        return reports.load(home, id)
    except Refusal:
        return None


def dataset(home: Home, id: str) -> Dataset | None:
    """A stored dataset, or None where it was deleted."""
    try:
        return datasets.get(home, id)
    except Refusal:
        return None


def best_verdict(found: Report) -> str | None:
    """The verdict that the headline speaks of."""
    row = leading(found.verdicts)
    return None if row is None else str(row["verdict"])


def card(known: Known) -> None:
    """One study: its name, its state or verdict, its headline, and a way in."""
    with st.container(border=True, height="stretch"):
        chip, text, page, label = _told(known)
        st.markdown(f"**{esc(short(known.name, 60))}**")
        st.markdown(chip)
        st.caption(text)
        if st.button(label, key=f"open_{known.id}", icon=":material/arrow_forward:", type="tertiary"):
            state.open_study(known.id)
            st.switch_page(page)


def _told(known: Known) -> tuple[str, str, str, str]:
    job = known.job
    if job is not None and job.state in LIVE:
        return state_badge(job), " · ".join(progress_words(job)), "pages/train/runs.py", "Watch it"
    if known.report is not None:
        word = best_verdict(known.report)
        chip = verdict_badge(word) if word else ":gray-badge[no verdict yet]"
        return chip, esc(known.report.headline), "pages/judge/compare.py", "Open the verdict"
    if job is not None and job.failure is not None:
        return state_badge(job), esc(job.failure.what), "pages/train/runs.py", "See what to do"
    when = f" {ago(known.dataset.created)}" if known.dataset else ""
    return ":gray-badge[not run yet]", f"Saved, its data was added{when}.", "pages/train/strategy.py", "Open"
