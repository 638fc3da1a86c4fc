"""Compare: the sentence first, then the gains, what labels are worth, what it costs, and the rows behind it."""

from __future__ import annotations

import streamlit as st

from tltools import studies
from tltools.reports import views as tables
from tltools.tasks import judged_by, row_classes, tasks
from tltools.ui import arm_views, elsewhere_views, judged, live, place_views, recent, row_views, state, stepper, widgets
from tltools.ui import run_views as runs
from tltools.ui import verdict_views as views

home, store = state.home(), state.store()

study = state.study()
if study is None:
    studies_here, below = st.container(), st.container()
    with below:
        elsewhere_views.offer()
    with studies_here:
        judged.need("Did it help?")  # offers the judged studies, and ends the page
stepper.draw("verdict")
study_id = str(state.get("study"))
report, dataset = recent.report(home, study_id), recent.dataset(home, study.dataset)
job = recent.job_by_study(store).get(study_id)
busy = job is not None and job.state in live.LIVE
if report is None:
    widgets.title("No verdict yet")
    if job is not None and busy:
        live.follow(job)
        live.cancel_button(job)
        st.caption("A first verdict comes as soon as one arm and one control are finished.")
        st.stop()
    if job is not None:
        live.failure(job)
    if dataset is None:
        judged.gone()
    if studies.progress(home, study)[0]:
        judged.judge_now(study_id, first=True)
    widgets.empty("This study has not run to a verdict.", "pages/train/strategy.py", "Open its strategy")
    st.stop()

shown = views.short_titles(report)
st.caption(views.under(report))
if busy and job is not None:
    live.follow(job)
    st.caption("This is the verdict so far; it sharpens while the study runs.")
elif not report.whole and dataset is not None:
    st.caption("The study stopped after this look at it: what was finished since is not in this verdict.")
    judged.judge_now(study_id, first=False)
elif job is not None and dataset is not None:
    runs.cut_short(store, job, leads=not shown.verdicts)
views.sentence(report)
if dataset is None:
    st.caption(f":material/delete: {judged.GONE} What was judged stays.")
if shown.verdicts:
    views.cards(shown)
with st.container(horizontal=True):
    if st.button(
        "Take the model home", type="primary" if shown.verdicts else "secondary", icon=":material/arrow_forward:"
    ):
        st.switch_page("pages/judge/predict.py")
    if st.button("See its worst mistakes", icon=":material/troubleshoot:"):
        st.switch_page("pages/judge/explain.py")
left, right = st.columns(2, gap="large")
if shown.verdicts:
    with left:
        views.gains(shown)
with right if shown.verdicts else left:
    views.curves(shown)

task = tasks()[dataset.task] if dataset is not None else None
places, classes = task is not None and task.objects is not None, task is not None and task.by_class is not None
rows_tab = f"Worst {place_views.things(dataset.task)}" if dataset is not None and places else "Confusion"
confused = dataset is not None and not places and not classes and row_classes(dataset)
rows_tabs = [*(["By class"] if classes else []), *([rows_tab] if places or confused else [])]
names = ["All arms", "Other metrics", "Cost", "Learning curves", "Groups", *rows_tabs, "Problems"]
opened = dict(zip(names, st.tabs(names, key="compare_tab", on_change="rerun"), strict=True))
with opened["All arms"]:
    if opened["All arms"].open:
        arm_views.arms(shown)
with opened["Other metrics"]:
    if opened["Other metrics"].open:
        arm_views.by_metric(shown)
with opened["Cost"]:
    if opened["Cost"].open:
        arm_views.cost(shown)
with opened["Learning curves"]:
    if opened["Learning curves"].open:
        arm_views.learning(shown)
with opened["Groups"]:
    if opened["Groups"].open:
        arm_views.groups(shown)
if classes and dataset is not None:
    with opened["By class"]:
        if opened["By class"].open and (picked := row_views.pick_trial(shown, key="classes_arm")) is not None:
            row_views.by_class(home, dataset, tables.tested_by(home, report, picked[1])[0])
if rows_tab in opened:
    with opened[rows_tab]:
        if opened[rows_tab].open and dataset is not None:
            if places:
                if (picked := row_views.pick_trial(shown, key="worst_arm")) is not None:
                    place_views.mistakes(home, dataset, picked[0], judged_by(report))
            elif (picked := row_views.pick_trial(shown, key="confusion_arm")) is not None:
                row_views.confusion(home, dataset, tables.tested_by(home, report, picked[1])[0])
with opened["Problems"]:
    if opened["Problems"].open:
        if not report.problems:
            st.markdown(":green[:material/check_circle:] Nothing keeps this report from being the whole truth.")
        widgets.problems(report.problems, most=20)
views.downloads(home, report)
