"""Predict: one text, picture, sound or row, live; a whole file; and the model to take home, checked by replay."""

from __future__ import annotations

import streamlit as st

from tltools.reports import views as tables
from tltools.reports import words
from tltools.tasks import tasks
from tltools.ui import judged, place_views, row_views, state, widgets
from tltools.ui import predict_views as views
from tltools.ui import verdict_views as verdicts

home, store = state.home(), state.store()
report, dataset = judged.need("Try the model")
shown = verdicts.short_titles(report)
widgets.title("Try the model", verdicts.under(report))
picked = row_views.pick_trial(shown, "Which arm", "predict_arm")
if picked is None:
    widgets.empty("No trial of this study is finished.", "pages/train/runs.py", "Watch it run")
    st.stop()
trial, arm = picked
if words.doubted(arm):
    off = f"on the test rows they were off by {100 * arm['ece']:.0f} points on average"
    st.caption(f":material/warning: Do not take the probabilities of this arm at their word: {off}.")
job_id = state.get("job")
job = store.job(job_id) if job_id else None
mine = job if job is not None and job.payload.get("trial") == trial else None

single, file, take = st.tabs(["One at a time", "A whole file", "Take it home"], key="predict_tab")
with single:
    item = views.one(home, dataset, trial, mine)
    if item is not None:
        views.ask(store, trial, item)
        st.rerun()
    if mine is not None and mine.payload.get("items") and views.follow(mine, ["predict"]):
        found = (mine.result or {}).get("predictions") or []
        if found and tasks()[dataset.task].objects:
            place_views.predicted(mine, dataset, "one")
        elif found:
            views.answer(found[0], dataset, tables.least_probability(home, trial))
            views.seen(mine, dataset)
with file:
    views.note(dataset)
    turn = st.session_state.setdefault("predict_turn", 0)
    given = st.file_uploader("Drop a file", type=views.file_types(), key=f"predict_file_{turn}", max_upload_size=200)
    if given is not None and st.button("Predict all rows", type="primary", icon=":material/bolt:"):
        views.ask_file(home, store, trial, given)
        st.session_state["predict_turn"] = turn + 1
        st.rerun()
    if mine is not None and mine.payload.get("file") and views.follow(mine, ["predict"]):
        views.whole(mine, dataset)
with take:
    st.markdown(
        "Weights as safetensors, the model card, preprocessing, and a short `predict.py` that runs "
        "without tltools. The export is replayed: stored predictions must come out again."
    )
    if st.button("Export and check", type="primary", icon=":material/inventory_2:", key="export_go"):
        views.ask_export(home, store, trial)
        st.rerun()
    st.code(f"python -m tltools export {trial} --to model/", language=None)
    if mine is not None and views.follow(mine, ["export"]):
        views.exported(mine)
