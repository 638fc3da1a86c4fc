"""Explain: the worst mistakes first; then how far the probabilities can be trusted, and why a row was judged so."""

from __future__ import annotations

import streamlit as st

from tltools.tasks import row_classes, tasks
from tltools.ui import explain_views, judged, row_views, state, trust_views, widgets
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
if tasks()[dataset.task].dense:
    st.markdown(
        f"Predictions of {tasks()[dataset.task].title.lower()} are not explained yet; the scores are under Compare."
    )
    st.stop()

st.header("The worst mistakes", anchor=False)
table = row_views.mistakes(home, dataset, trial)
if not table.empty:
    widgets.csv_button(table, "worst-mistakes")
if row_classes(dataset):
    trust_views.calibration(home, trial)
explain_views.why(store, home, dataset, trial, [int(row) for row in table["row"]] if len(table) else [])
