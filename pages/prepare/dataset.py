"""Dataset: bring a file or take a sample; see what was inferred and what is wrong; then what is stored."""

from __future__ import annotations

import streamlit as st

from tltools import datasets
from tltools.records import Dataset
from tltools.ui import dataset_views as views
from tltools.ui import ingest, state, stepper, widgets
from tltools.ui.words import ago, esc, short

home, store = state.home(), state.store()


def stored(dataset: Dataset) -> None:
    """A dataset that is there: what it looks like, and the way on."""
    profile = datasets.profile(home, dataset.id)
    widgets.title(esc(short(dataset.name, 60)))
    st.markdown(
        views.facts(dataset.name, dataset.rows, dataset.modality, dataset.task, dataset.target, len(dataset.classes))
    )
    with st.container(horizontal=True):
        if st.button("Choose a source model", type="primary", icon=":material/arrow_forward:"):
            st.switch_page("pages/prepare/source.py")
        if st.button("Bring other data", icon=":material/upload_file:"):
            state.open_dataset(None)
            st.rerun()
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.markdown("It goes to the trash of the home folder for 30 days. Studies that used it keep their reports.")
            if st.button("Delete this dataset", key="delete_dataset"):
                datasets.delete(home, dataset.id)
                state.open_dataset(None)
                st.rerun()
    media = datasets.media(home, dataset.id)
    table = views.sample_of(home, dataset)
    st.subheader("A sample of it", anchor=False)
    views.preview(
        table, media, dataset.inputs, dataset.target, dataset.modality, dataset.reading, dataset.task, dataset.classes
    )
    views.sizes(profile)
    views.findings(profile, dataset.rows)
    left, right = st.columns(2, gap="large")
    with left:
        views.balance(profile, dataset.target, dataset.task)
    with right:
        widgets.problems(views.split(home, store, dataset))
    views.columns_table(profile)
    st.caption(f"Dataset {dataset.id}, from {esc(dataset.origin or 'a file')}, added {ago(dataset.created)}.")


def begin() -> None:
    """No dataset yet: the drop zone, the samples, and those that are stored."""
    widgets.title(
        "Which data?",
        "A table with a column to predict, or a zip: images or sounds in class folders, images with masks or boxes.",
    )
    ingest.drop_zone(home, store)
    ingest.samples(store)
    known = datasets.listing(home)
    if not known:
        return
    st.subheader("Or go on with one of yours", anchor=False)
    for dataset in known[:12]:
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(esc(short(dataset.name, 50)), key=f"use_{dataset.id}", icon=":material/database:"):
                state.open_dataset(dataset.id)
                st.rerun()
            words = views.MODALITY_WORDS.get(dataset.modality, "rows")
            st.caption(f"{dataset.rows:,} {words}, {esc(short(dataset.target, 40))}, {ago(dataset.created)}")


dataset = state.dataset()
stepper.draw("data")
draft_id = state.get("draft")
job = store.job(draft_id) if draft_id else None
if job is not None and job.kind == "ingest":
    ingest.draft(home, store, job)
elif dataset is not None:
    stored(dataset)
else:
    begin()
