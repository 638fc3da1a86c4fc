"""Watching a job: one leaf fragment that asks the store every two seconds, and stops when nothing is live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from tltools.records import Job
from tltools.store import LANES
from tltools.ui import state
from tltools.ui.words import about, duration, esc, short

LIVE = {"queued", "running"}
EVERY = 2.0  # seconds


def follow(job: Job, more: Callable[[Job], None] | None = None) -> None:
    """Shows a job until it ends; the page runs once more when it begins and when it ends. `more` draws below the bar
    and must hold no widgets."""
    st.fragment(_watch, run_every=EVERY if job.state in LIVE else None)(job, more)


def _watch(shown: Job, more: Callable[[Job], None] | None) -> None:
    job = state.store().job(shown.id)
    if job is None:
        return
    bar(job)
    if more is not None:
        more(job)
    if job.state != shown.state:  # what stands around it says so, too
        st.rerun()


def bar(job: Job) -> None:
    """One progress bar with stage, i of n and the time left."""
    if job.state == "queued":
        waiting = state.store().jobs(states=("queued",))
        ahead = sum(LANES[other.kind] == LANES[job.kind] and other.created < job.created for other in waiting)
        text = f"Waiting; {ahead} before it." if ahead else "Waiting for the worker."
        st.progress(0.0, text=text)
        return
    now = job.progress
    share = min(now.done / now.total, 1.0) if now.total else 0.0
    st.progress(share, text=" · ".join(progress_words(job)))


def progress_words(job: Job) -> list[str]:
    """Stage, i of n, the time left, and what it works on."""
    if job.state == "queued":
        return ["Waits for the worker"]
    now = job.progress
    said = [esc(now.stage.capitalize()) if now.stage else "Starting"]
    if now.total:
        said.append(f"{now.done} of {now.total}")
    if now.note:
        said.append(esc(short(now.note, 50)))
    if now.eta_seconds is not None and now.done < now.total:
        said.append(f"about {about(now.eta_seconds)} left")
    if job.started:
        said.append(f"{duration((datetime.now(UTC) - job.started).total_seconds())} so far")
    return said


def cancel_button(job: Job, label: str = "Cancel") -> None:
    """Stands in the main script: inside the fragment it would wait for it."""
    asked = job.cancel_asked
    said = "Stopping after this batch" if asked else label
    if st.button(said, key=f"cancel_{job.id}", icon=":material/stop_circle:", disabled=asked):
        state.store().cancel(job.id)
        st.toast("Stopping. What is finished stays.", icon=":material/stop_circle:")
        st.rerun()


def failure(job: Job) -> None:
    """An end that was not wished for: what, what to do, and diagnostics to copy."""
    if job.failure is None:
        return
    if job.state == "cancelled":
        st.info(f"{esc(job.title)} was cancelled. What was finished is kept.", icon=":material/cancel:")
        return
    remedy = f" **What to do:** {esc(job.failure.remedy)}" if job.failure.remedy else ""
    st.error(f"**{esc(job.title)} did not finish.** {esc(job.failure.what)}{remedy}", icon=":material/error:")
    with st.expander("Diagnostics to copy"):
        facts = [f"job {job.id} ({job.kind}), attempt {job.attempt}", f"type: {job.failure.type}", job.failure.what]
        st.code("\n".join([*facts, job.failure.detail]).strip(), language=None, wrap_lines=True)
