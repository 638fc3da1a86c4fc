"""Explain: the worst mistakes first; then how far the probabilities can be trusted, and why a row was judged so."""

from __future__ import annotations

import streamlit as st

from tltools.tasks import judged_by, row_classes, tasks
from tltools.ui import explain_views, judged, place_views, row_views, state, trust_views, widgets
from tltools.ui import verdict_views as views

home, store = state.home(), state.store()
report, dataset = judged.need("Where is it wrong?")
shown = views.short_titles(report)
widgets.title("Where is it wrong?", views.under(report))
picked = row_views.pick_trial(shown, "Of which arm", "explain_arm")
if picked is None:
    widgets.empty("No trial of this study is finished.", "pages/train/runs.py", "Watch it run")
    st.stop()
trial, _ = picked
st.header("The worst mistakes", anchor=False)
if tasks()[dataset.task].objects:
    place_views.mistakes(home, dataset, trial, judged_by(report))
    st.caption("Why a model said what it said is not explained here yet.")
    st.stop()
table = row_views.mistakes(home, dataset, trial)
if not table.empty:
    widgets.csv_button(table, "worst-mistakes")
if row_classes(dataset):
    trust_views.calibration(home, trial)
if tasks()[dataset.task].several:
    st.caption("Why a row got its labels is not explained yet; how well each label is found stands under Compare.")
    st.stop()
explain_views.why(store, home, dataset, trial, [int(row) for row in table["row"]] if len(table) else [])
