"""Runs on screen: what is running now with live curves, the queue, the history, failures in words."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tltools import pace, tickets
from tltools.records import Event, Job
from tltools.store import Store
from tltools.strategies import strategies
from tltools.ui import charts, live, state, widgets
from tltools.ui.words import about, ago, duration, esc, short, state_badge

_KINDS = {
    "study": "study",
    "rank": "ranking",
    "measure": "measurement",
    "ingest": "reading data",
    "predict": "prediction",
    "explain": "explanation",
    "export": "export",
}
TOLD_WHERE_ASKED = ("predict", "explain", "export")  # kinds whose end is waited for on the page that asked
_POINTS = 400  # of a live curve


def running(job: Job) -> None:
    """A running job: bar, numbers, curves; Cancel stands outside the fragment."""
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"{state_badge(job)} {esc(short(job.title, 80))}")
            live.cancel_button(job)
        live.follow(job, details)


def details(job: Job) -> None:
    """Below the bar: memory and pace, what was finished last, the curve of the trial that trains now."""
    numbers = job.progress.numbers
    said = []
    if numbers.get("memory_mb"):
        said.append(f"{numbers['memory_mb'] / 1000:.1f} GB memory")
    if numbers.get("rows_per_second"):
        said.append(f"{numbers['rows_per_second']:,.0f} rows a second")
    events = tickets.read_events(state.home(), job.id)
    if job.state == "running" and job.kind == "study" and job.progress.eta_seconds is None:
        left = pace.seconds_left(state.home(), state.store(), job)
        if left is not None:
            said.append(f"about {about(left)} left, judged by the trials so far")
    if job.attempt > 1:
        said.append(f"attempt {job.attempt}: it went on after an interruption")
    if said:
        st.caption(" · ".join(said))
    curve(events)
    last = [event for event in events if event.what == "trial_sealed"][-4:]
    if last:
        st.caption("  \n".join(f":material/check: {_sealed(event)}" for event in reversed(last)))


def curve(events: list[Event]) -> None:
    """Losses of the trial that trains now, as plain Plotly JSON: cheap enough for a poller."""
    epochs = [event for event in events if event.what == "epoch"]
    if not epochs:
        return
    last = epochs[-1].trial
    own = [event for event in epochs if event.trial == last][-_POINTS:]
    if len(own) < 2:
        return
    colours = charts.palette()
    x = [event.numbers.get("epoch", k) for k, event in enumerate(own)]
    lines = []
    for key, word, dash in (("validation_loss", "validation loss", "solid"), ("train_loss", "training loss", "dot")):
        if any(key in event.numbers for event in own):
            y = [event.numbers.get(key) for event in own]
            line = {"color": colours.accent, "dash": dash, "width": 2}
            lines.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "name": word, "line": line})
    look = charts.figure(colours, 230, x="epoch", y="loss").to_plotly_json()["layout"]
    look["xaxis"]["dtick"] = charts.epoch_step(x[-1] - x[0])
    title = strategies()[own[-1].note].title if own[-1].note in strategies() else own[-1].note
    st.caption(f"Training now: {esc(title)}")
    st.plotly_chart(
        {"data": lines, "layout": look}, theme=None, config={"staticPlot": True}, alt=f"Losses of {title} by epoch"
    )


def _sealed(event: Event) -> str:
    card = strategies().get(event.note)
    score = event.numbers.get("score")
    said = f"{card.title if card else event.note}, {event.numbers['labels']:,.0f} labels"
    if score is not None:
        said += f": {score:.3f}"
    return esc(f"{said}, {duration(event.numbers.get('seconds'))}")


def queue(jobs: list[Job]) -> None:
    """What waits, in the order in which it will run."""
    st.subheader("Waiting", anchor=False)
    for place, job in enumerate(sorted(jobs, key=lambda job: job.created), 1):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{place}. **{esc(short(job.title, 60))}** ({_KINDS.get(job.kind, job.kind)}), {ago(job.created)}"
            )
            live.cancel_button(job, "Take out")


def history(jobs: list[Job]) -> None:
    """What ended lately, newest first."""
    rows = [
        {
            "what": job.title,
            "kind": _KINDS.get(job.kind, job.kind),
            "state": job.state,
            "ended": job.ended,
            "took": duration((job.ended - job.started).total_seconds()) if job.ended and job.started else "",
            "why": job.failure.what if job.failure else "",
        }
        for job in jobs
    ]
    config = {"ended": st.column_config.DatetimeColumn("ended", format="distance")}
    widgets.table(pd.DataFrame(rows), "Jobs that ended, newest first", "history", config)


def cut_short(store: Store, job: Job, *, leads: bool) -> None:
    """How much of a study its time budget left out, if any, and the way on; leads: it is the next thing to do."""
    if left_out := int((job.result or {}).get("left_out", 0)):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"The time budget was over before {left_out} of its trials. What is finished is judged.")
            again(store, job, leads=leads)


def again(store: Store, job: Job, *, leads: bool = True) -> None:
    """Submits a job that failed, was cancelled or ran out of time once more; what is finished is not done twice."""
    key, icon = f"again_{job.id}", ":material/replay:"
    if st.button("Go on with it", key=key, icon=icon, type="primary" if leads else "secondary"):
        store.submit(job.kind, job.payload, title=job.title, key=str(job.payload.get("study") or job.id))
        st.rerun()
