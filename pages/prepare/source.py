"""Source model: ranked cards that fit this dataset, why others do not, and adding one's own."""

from __future__ import annotations

import streamlit as st

from tltools import evidence, row_sizes, sources
from tltools.records import Refusal
from tltools.tasks import tasks
from tltools.ui import column_views, live, state, stepper, widgets
from tltools.ui import source_views as views
from tltools.ui.words import esc

home, store = state.home(), state.store()
SHOWN = 9

dataset = state.dataset()
stepper.draw("source")
if dataset is None:
    widgets.title("Which source model?")
    widgets.empty("First the data: which models fit depends on it.", "pages/prepare/dataset.py", "Choose data")
    st.stop()

task = tasks()[dataset.task]
rankable = not task.objects  # else there is no label or number a row to rank by
advice = " Bigger is not always better: rank them on your rows, it takes one pass each." if rankable else ""
widgets.title("Which source model?", f"These fit **{esc(dataset.name)}**.{advice}")
chosen, opened = state.sources(), state.study()
if not chosen and opened is not None and "source_default" not in st.session_state:
    chosen, st.session_state["source_default"] = list(opened.sources), True
cards = {source.id: source for source in views.thinned(sources.listing(home), chosen)}
changes = column_views.changes(store, dataset, opened)
cells = [cell for cell in sources.fits(home, dataset, changes) if cell.source in cards]
for extra in [id for id in chosen if id not in cards]:  # found by searching the hub
    try:
        cards[extra] = sources.get(home, extra)
    except Refusal as refusal:
        widgets.problems(refusal.problems)
    else:
        cells.insert(0, sources.fit(home, cards[extra], dataset))
ranks, doubts = evidence.rankings(store, dataset.id), evidence.warnings(store, dataset.id)
fitting = views.ordered(dataset, cells, cards, ranks)
static = {id: place for place, id in enumerate(sources.static_order([cards[cell.source] for cell in fitting]), 1)}
if not chosen and "source_default" not in st.session_state and fitting:
    here = [cell.source for cell in fitting if cards[cell.source].installed]
    first = next(iter(here), None)
    chosen = [first] if first else []
    st.session_state["source_default"] = True

actions = st.container(horizontal=True, vertical_alignment="center")
jobs = [job for job in store.jobs(kinds=("rank",), limit=20) if job.payload.get("dataset") == dataset.id]
busy = bool(jobs) and jobs[0].state in live.LIVE

everything = len(fitting) <= SHOWN or st.session_state.get("all_sources", False)
visible = [cell for k, cell in enumerate(fitting) if everything or k < SHOWN or cell.source in chosen]
picked: list[str] = []
for start in range(0, len(visible), 3):
    for column, cell in zip(st.columns(3), visible[start : start + 3], strict=False):
        with column:
            source = cards[cell.source]
            rank = ranks.get(source.id)
            said = doubts.get(source.id, ())
            fast, limits = views.speed(store, source, dataset), row_sizes.limits(source, task)
            if views.card(source, cell, rank, static.get(source.id), said, fast, limits, source.id in chosen):
                picked.append(source.id)
if not everything:
    st.toggle(f"Show all {len(fitting)}", key="all_sources")
if not fitting:
    st.warning("No source model fits this dataset. Below stands why, and how to add your own.")
shown = [id for id in state.sources() if id in {cell.source for cell in visible}]
if set(picked) != set(shown) or (len(shown) < len(state.sources()) and opened is None):
    # only a choice closes a study: neither the order of the cards nor a source that is gone
    kept = [id for id in shown if id in picked]
    state.put(source=",".join(dict.fromkeys([*kept, *picked])) or None, study=None)

with actions:
    if st.button("Choose a strategy", type="primary", icon=":material/arrow_forward:", disabled=not picked):
        st.switch_page("pages/train/strategy.py")
    able = [cell.source for cell in fitting if not cell.new_input]
    ready = [name for name in able if cards[name].installed or name in picked]
    if rankable and st.button("Rank them on my rows", icon=":material/trophy:", disabled=busy or not ready):
        store.submit("rank", {"dataset": dataset.id, "sources": ready}, title=f"Rank sources for {dataset.name}",
                     key=f"{dataset.id}:{','.join(ready)}")  # fmt: skip
        st.rerun()
    if picked:
        st.caption(f"{len(picked)} chosen")
if busy:
    with st.container(border=True):
        live.follow(jobs[0])
        live.cancel_button(jobs[0])
elif jobs and jobs[0].state == "failed":
    live.failure(jobs[0])
elif jobs and jobs[0].result:
    views.depth(jobs[0].result.get("depth") or {})
if ranks and not busy:
    views.trust(store, list(ranks.values()))

column_views.editors(
    home, store, dataset, cells, [cards[id] for id in dict.fromkeys([*picked, *changes]) if id in cards], changes
)
views.why_not(cells, cards)
views.add_own(home)
if not home.offline:
    views.search(home, dataset)
else:
    st.caption("Offline: the hub is not asked. Unset TLTOOLS_OFFLINE to search and download.")
