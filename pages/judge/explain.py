"""Explain: the worst mistakes first; then how far the probabilities can be trusted, and why a row was judged so."""

from __future__ import annotations

import streamlit as st

from tltools.reports import views as tables
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
trial, arm = picked
tested = tables.tested_by(home, report, arm)  # of folds, trials that tested other rows, too
st.header("The worst mistakes", anchor=False)
if tasks()[dataset.task].objects:
    place_views.mistakes(home, dataset, trial, judged_by(report))
    st.caption("Why a model said what it said is not explained here yet.")
    st.stop()
table = row_views.mistakes(home, dataset, tested[0])
if not table.empty:
    widgets.csv_button(table, "worst-mistakes")
if row_classes(dataset):
    trust_views.calibration(home, tested)
if tasks()[dataset.task].several:
    st.caption("Why a row got its labels is not explained yet; how well each label is found stands under Compare.")
    st.stop()
which = "the worst mistakes above"
if len(tested[0]) > 1:  # a model learnt from the rows that other folds test
    table, which = tables.worst_mistakes(home, [trial]), "the worst mistakes of the first fold, by its model"
if table.empty:
    which = "the first of the test rows, as none is wrong"
explain_views.why(store, home, dataset, trial, [int(row) for row in table["row"]], which)
