"""Runs: what is running now, what waits, what ended, and what to do where something failed."""

from __future__ import annotations

import streamlit as st

from tltools.ui import live, recent, state, stepper, widgets
from tltools.ui import run_views as views
from tltools.ui.words import esc, short

home, store = state.home(), state.store()

study = state.study()
if study is not None:
    stepper.draw("verdict")
mine = recent.job_by_study(store).get(state.get("study") or "")
now = store.jobs(states=("running", "queued"), limit=1000)  # apart from the newest: a long one is older than many
running = [job for job in now if job.state == "running"]
waiting = [job for job in now if job.state == "queued"]
ended = [job for job in store.jobs(limit=100) if job.state not in live.LIVE]

if mine is not None and mine.state in live.LIVE:
    widgets.title(esc(short(mine.title, 70)), "You may close this page: it goes on, and any browser finds it here.")
elif running or waiting:
    widgets.title("Running now")
elif mine is not None:
    words = {"done": "Finished", "failed": "Did not finish", "cancelled": "Cancelled"}
    widgets.title(f"{words.get(mine.state, mine.state)}: {esc(short(mine.title, 60))}")
else:
    widgets.title("Nothing is running")

report = recent.report(home, state.get("study") or "") if study is not None else None
if report is not None and mine is not None:
    word = recent.best_verdict(report)
    partial = mine.state != "done"
    with st.container(border=True):
        st.markdown(f"**{'So far' if partial or not word else 'The verdict'}.** {esc(report.headline)}")
        if st.button("Open the verdict", type="primary" if not partial else "secondary", icon=":material/balance:"):
            st.switch_page("pages/judge/compare.py")

# one poller a page: the study that is open, else the first that runs
watched = mine if mine is not None and mine.state in live.LIVE else (running or waiting or [None])[0]
if watched is not None:
    views.running(watched)
others = [job for job in running if watched is None or job.id != watched.id]
for job in others:
    with st.container(border=True):
        st.markdown(f"**{esc(short(job.title, 80))}**")
        live.bar(job)
        live.cancel_button(job)
if mine is not None and mine.state in {"failed", "cancelled"}:
    live.failure(mine)
    views.again(store, mine)
elif mine is not None:
    views.cut_short(store, mine, leads=True)
rest = [job for job in waiting if watched is None or job.id != watched.id]
if rest:
    views.queue(rest)
failed = [job for job in ended if job.state == "failed" and (mine is None or job.id != mine.id)]
failed = [job for job in failed if job.kind not in views.TOLD_WHERE_ASKED][:3]
if failed:
    st.subheader("Failed lately", anchor=False)
    for job in failed:
        live.failure(job)
if ended:
    st.subheader("History", anchor=False)
    views.history(ended)
elif not running and not waiting:
    widgets.empty("No job has run yet.", "pages/prepare/home.py", "Try the sample study")
