"""Home: what this is in one sentence, the two ways to begin, and how things stand on this machine."""

from __future__ import annotations

import psutil
import streamlit as st

from tltools import first_studies
from tltools.records import Refusal
from tltools.ui import recent, state, widgets
from tltools.ui.words import esc, size

home, store = state.home(), state.store()


def begin(key: str) -> None:
    """Queues a sample study and goes where it can be watched."""
    try:
        with st.spinner("Preparing the sample: a few seconds."):
            study_id, _ = first_studies.submit(home, store, key)
    except Refusal as refusal:
        widgets.problems(refusal.problems)
        return
    state.open_study(study_id)
    st.switch_page("pages/train/runs.py")


widgets.title(
    "Does transfer learning help on your data?",
    "tltools compares pre-trained models with honest controls on your own labels, says by how much they help and how "
    "sure that is, and hands you the model.",
)
with st.container(horizontal=True, gap="small"):
    if st.button("Try the sample study", type="primary", icon=":material/play_arrow:"):
        begin("text")
    if st.button("Bring my data", icon=":material/upload_file:"):
        state.open_dataset(None)
        st.switch_page("pages/prepare/dataset.py")
    if st.button("Sample with images", icon=":material/image:", type="tertiary"):
        begin("image")
st.caption(
    "The sample study asks whether MiniLM helps to send a citizen's message to the right desk. It runs offline, in two "
    "minutes. With images: a network that learnt the digits 0 to 4 meets 5 to 9."
)

st.header("Recent studies", anchor=False)
known = recent.listing(home, store)
if not known:
    st.markdown("Nothing yet. The sample study is the quickest way to see what a verdict looks like.")
for start in range(0, len(known), 3):
    for column, one in zip(st.columns(3), known[start : start + 3], strict=False):
        with column:
            recent.card(one)

st.header("This machine", anchor=False)
left, middle, right = st.columns(3)
jobs = store.jobs(states=("running", "queued"))
running = [job for job in jobs if job.state == "running"]
does = esc(running[0].title) if running else "nothing waits" if not jobs else "has not begun yet"
free = psutil.disk_usage(str(home.root)).free
with left:
    st.metric("Worker", "busy" if running else "ready" if store.workers() else "starting", border=True,
              delta=does, delta_color="off", delta_arrow="off")  # fmt: skip
with middle:
    st.metric("Waiting jobs", len(jobs) - len(running), border=True,
              delta="see Runs", delta_color="off", delta_arrow="off")  # fmt: skip
with right:
    st.metric("Free disk", size(free), border=True, delta=f"home: {esc(home.root.name)}",
              delta_color="off", delta_arrow="off")  # fmt: skip

ledger = store.network()
with st.expander(f"Network ledger: {size(sum(int(row['sent']) for row in ledger))} left this machine"):
    if ledger:
        import pandas as pd

        widgets.table(pd.DataFrame(ledger), "Bytes sent and received by host", "network")
    else:
        st.markdown("Nothing was sent and nothing was received: everything so far ran on this machine.")
    st.caption(f"Everything tltools keeps lies in {esc(home.root)}.")
