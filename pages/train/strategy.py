"""Strategy: what is trained, how, on how many labels; what it costs; the study file; run."""

from __future__ import annotations

import streamlit as st

from tltools import datasets, evidence, studies
from tltools.records import Refusal
from tltools.ui import column_views, dataset_views, state, stepper, strips, study_draft, widgets
from tltools.ui import strategy_views as views
from tltools.ui.words import esc

home, store = state.home(), state.store()

opened = state.study()
dataset = state.dataset()
stepper.draw("strategy")
if dataset is None:
    widgets.title("What should be trained?")
    widgets.empty("First the data.", "pages/prepare/dataset.py", "Choose data")
    st.stop()
changes = column_views.changes(store, dataset, opened)
picked, unknown = study_draft.chosen(home, state.sources(), dataset, changes)
if not picked:
    widgets.title("What should be trained?")
    widgets.problems(unknown)
    widgets.empty("First a source model to transfer from.", "pages/prepare/source.py", "Choose a source model")

names = ", ".join(esc(source.name) for source in picked[:3])
widgets.title(
    "What should be trained?", f"**{esc(dataset.name)}**, from {names}. Each card shows the blocks of the model."
)
widgets.problems(unknown)
hindrances = views.hindered(picked, dataset)
proposed = study_draft.in_minutes(home, store, views.untouched(studies.propose(home, dataset, picked), hindrances))
begin = study_draft.start(store, dataset, proposed, opened)
try:
    on = views.given(begin, "strategies")
    chosen = views.cards(store, picked, on, dataset, hindrances)
except Refusal as refusal:
    widgets.problems(refusal.problems)
    st.stop()
strips.key()
controls = views.controls(views.with_twins(views.given(begin, "controls"), chosen))
if views.augmented(dataset):
    folder, table = datasets.media(home, dataset.id), dataset_views.sample_of(home, dataset)
    views.pictures_changed(chosen, [folder / str(name) for name in table[dataset.inputs[0]].head(4)])

st.subheader("How much evidence", anchor=False)
fields, minutes = views.design(home, dataset, begin)
study = begin.model_copy(
    update={
        "dataset": dataset.id,
        "sources": tuple(source.id for source in picked),
        "columns": {source.id: changes[source.id] for source in picked if source.id in changes},
        "strategies": views.entries(chosen),
        "controls": views.entries(controls),
        "budget": begin.budget.model_copy(update={"minutes": minutes}),
        **fields,
    }
)
bought = ""
if minutes is not None and not any(problem.severity == "error" for problem in studies.check(home, study)):
    study, bought = study_draft.fit(home, store, study, minutes, proposed.draws, opened)
study_draft.keep(store, study, proposed, opened)
problems = studies.check(home, study) + evidence.doubts(store, study)
errors = [problem for problem in problems if problem.severity == "error"]
guess = None if errors else studies.estimate(home, store, study)
problems += guess.problems if guess else ()
errors += guess.problems if guess else ()
with st.bottom, st.container(horizontal=True, vertical_alignment="center", key="plan"):
    st.markdown(study_draft.summary(guess, errors), width="stretch")
    go = st.button(
        "Run the study", type="primary", icon=":material/play_arrow:", disabled=bool(errors), shortcut="Mod+Enter",
        key="run_study",
    )  # fmt: skip
left, right = st.columns([2, 1], gap="large")
if guess:
    with right, st.container(border=True):
        study_draft.cost(guess)
        study_draft.measure(home, store, study, guess)
with left:
    if bought:
        st.markdown(bought)
    if problems:
        widgets.problems(problems)
    else:
        st.markdown(":green[:material/check_circle:] Nothing stands in the way.")
    study_draft.file(study)
    given = study_draft.upload(home)
if given is not None:
    state.open_study(studies.save(home, given))
    st.rerun()
if go:
    try:
        job = studies.submit(home, store, study)
    except Refusal as refusal:
        widgets.problems(refusal.problems)
    else:
        state.put(study=str(job.payload["study"]), trial=None)
        st.switch_page("pages/train/runs.py")
