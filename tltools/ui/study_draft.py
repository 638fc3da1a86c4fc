"""The study as it is being put together: where it starts, what it costs, and the file that says it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import streamlit as st

from tltools import budgets, costs, datasets, sources, studies
from tltools.home import Home
from tltools.records import Dataset, Problem, Refusal, Source, Study
from tltools.store import Store
from tltools.ui import live, state, widgets
from tltools.ui.column_views import Changes
from tltools.ui.words import about, counted, esc, short, size

MINUTES = (1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 240.0, 480.0)  # to choose from
USUAL = 10 * 60  # seconds beyond which a proposal gets a time budget


def chosen(home: Home, ids: list[str], dataset: Dataset, changes: Changes) -> tuple[list[Source], list[Problem]]:
    """The cards of the chosen sources, their columns matched as changed, and what is wrong with unknown ids."""
    found: list[Source] = []
    problems: list[Problem] = []
    for id in ids:
        try:
            found.append(sources.get(home, id, dataset, changes.get(id)))
        except Refusal as refusal:
            problems += refusal.problems
    return found, problems


def start(store: Store, dataset: Dataset, proposed: Study, opened: Study | None) -> Study:
    """The study to begin from: the one in the URL, as it was edited last; else the last draft for this dataset; else
    the proposal for the chosen sources. Of other sources than it was made for, the usual controls are the proposal's.
    """
    own = opened if opened is not None and opened.dataset == dataset.id else None
    kept = store.recall("draft", dataset.id) or {}
    begin = own or proposed
    if kept and (own is None or kept.get("study") == studies.study_id(own)):
        with contextlib.suppress(Refusal, KeyError):  # written by an older version: what it was made of serves as well
            begin = studies.parse(str(kept["yaml"]))
    controls = begin.controls if set(begin.sources) == set(proposed.sources) else proposed.controls
    return begin.model_copy(update={"sources": proposed.sources, "controls": controls})


def keep(store: Store, study: Study, proposed: Study, opened: Study | None) -> None:
    """Remembers a draft that is no mere proposal, so that a refresh or another browser goes on with it.

    A proposal that nobody changed is made anew: other sources have other strategies and controls. Nobody chose the
    draws that its time budget buys.
    """
    bought = {"draws": study.draws} if study.budget.minutes is not None else {}
    same = study == proposed.model_copy(update={"columns": study.columns, **bought})
    draft = {} if same else {"yaml": studies.dump(study), "study": studies.study_id(opened) if opened else ""}
    if (store.recall("draft", study.dataset) or {}) != draft:
        store.remember("draft", study.dataset, draft)


def in_minutes(home: Home, store: Store, proposed: Study) -> Study:
    """A proposal that ends within minutes: as it is where it does, else with the shortest time budget that is expected
    to finish a source's arm with draws enough for a verdict. Settled once a session: what is learnt from a run
    should not change the study on screen."""
    key = f"usual_minutes|{studies.study_id(proposed)}"
    if key not in st.session_state:
        st.session_state[key] = _usual_minutes(home, store, proposed)
    minutes = st.session_state[key]
    return proposed if minutes is None else _budgeted(proposed, proposed.draws, minutes)


def _usual_minutes(home: Home, store: Store, proposed: Study) -> float | None:
    if any(problem.severity == "error" for problem in studies.check(home, proposed)):
        return None
    if studies.estimate(home, store, proposed).seconds <= USUAL:
        return None
    for minutes in (one for one in MINUTES if 60 * one >= USUAL):
        if studies.estimate(home, store, _budgeted(proposed, proposed.draws, minutes)).judged_in_time:
            return minutes
    return None


def fit(home: Home, store: Store, study: Study, minutes: float, usual: int, opened: Study | None) -> tuple[Study, str]:
    """The study with the most draws that its estimate says fit into a time, and what that time buys, in a sentence;
    where not even few draws of all arms do, the usual draws: the cheaper comparisons come first, with few draws.

    One that is opened keeps the draws that were planned for it, as long as nothing of it is changed.
    """
    shares = len(study.per_class or study.fractions)
    if opened is not None and opened == study.model_copy(update={"draws": opened.draws}):
        wanted = len(studies.expand(home, opened))
        said = f"**{minutes:g} min**, as the study says: {opened.draws} draws × {shares} shares of every arm: "
        return opened, f"{said}{wanted} trials."
    study = _budgeted(study, study.draws, minutes)
    tried: dict[int, costs.Estimate] = {}

    def fits(draws: int) -> bool:
        tried[draws] = studies.estimate(home, store, study.model_copy(update={"draws": draws}))
        return tried[draws].seconds <= 60 * minutes

    least, most = budgets.DRAWS, 20
    if not fits(least):
        return _budgeted(study, usual, minutes), ""  # the estimate says what it buys
    while least < most:  # the most draws that still fit
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    said = f"**{minutes:g} min buy** {least} draws × {shares} shares of every arm: {tried[least].trials} trials."
    return _budgeted(study, least, minutes), said


def _budgeted(study: Study, draws: int, minutes: float) -> Study:
    return study.model_copy(
        update={"draws": draws, "budget": study.budget.model_copy(update={"minutes": float(minutes)})}
    )


def summary(guess: costs.Estimate | None, errors: Sequence[Problem]) -> str:
    """The plan in a line: trials, time, and what they can decide; else the first of what is in its way."""
    if guess is None or errors:
        more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
        return (
            f":orange[:material/error:] **{esc(short(errors[0].where, 40))}** {esc(short(errors[0].what, 120))}{more}"
        )
    todo = guess.trials - guess.sealed
    time = f"about **{about(guess.within)}**" + ("" if guess.measured else " (a guess)")
    said = [
        f"**{counted(todo, 'trial', 'trials')}**" if guess.in_time == todo else f"**{guess.in_time} of {todo} trials**",
        time,
    ]
    if guess.detectable is not None:
        said.append(f"can decide gains of **{100 * guess.detectable:.1f} points** or more")
    return " · ".join(said)


def cost(guess: costs.Estimate) -> None:
    """Time, memory and disk before anything runs, and the evidence it buys."""
    low, high = about(guess.seconds_low), about(guess.seconds_high)
    took = f"**About {about(guess.seconds)}** ({low} to {high})"
    if guess.within < guess.seconds:
        took = f"**About {about(guess.within)}**; all of it **about {about(guess.seconds)}** ({low} to {high})"
    st.markdown(f"{took} · **{guess.peak_mb / 1000:.1f} GB** memory · {size(guess.cache_bytes)} cache")
    said = f"{guess.trials} trials, {guess.sealed} of them finished already."
    if guess.prefix_rows and guess.prefix_rows_naive > guess.prefix_rows:
        said += f" {guess.prefix_rows:,} rows go through the frozen part instead of {guess.prefix_rows_naive:,}."
    st.caption(said)
    for sentence in guess.sentences:
        if "trials are to be run" not in sentence:
            st.caption(esc(sentence))


def measure(home: Home, store: Store, study: Study, guess: costs.Estimate) -> None:
    """Where the estimate is a guess: a button that has a few rows tried, and how far that is."""
    dataset = datasets.get(home, study.dataset)
    text = studies.dump(study)
    job = next((job for job in store.jobs(kinds=("measure",), limit=5) if job.payload["study_file"] == text), None)
    if job is not None and job.state in live.LIVE:
        live.follow(job)
        live.cancel_button(job)
        return
    if job is not None and job.state == "failed":
        live.failure(job)
    if not guess.measured and st.button(
        "Measure it on a few rows", icon=":material/timer:", width="stretch", key="measure",
        help="Each strategy takes a few steps on this machine, with your rows; most take some seconds.",
    ):  # fmt: skip
        store.submit("measure", {"study_file": text}, title=f"Measure for {dataset.name}", key=f"measure:{text}")
        st.rerun()


def file(study: Study) -> None:
    """The study file, and the command that does the same in a terminal."""
    text = studies.dump(study)
    with st.expander("The study file, and the same in a terminal"):
        st.code(text, language=None)  # coloured keys are too faint on white
        st.code("python -m tltools run study.yaml", language=None)
        st.download_button(
            "Download study.yaml", text, "study.yaml", "application/yaml", icon=":material/download:",
            on_click="ignore", key="study_yaml",
        )  # fmt: skip


def upload(home: Home) -> Study | None:
    """A study file from elsewhere, read and checked."""
    with st.expander("Open a study file"):
        given = st.file_uploader("study.yaml", type=["yaml", "yml"], key=state.key("study_file"))
        if given is None or not st.button("Open it", key="study_open"):
            return None
        try:
            return studies.settle(home, studies.parse(given.getvalue().decode("utf-8", "replace") + "\n"))
        except Refusal as refusal:
            widgets.problems(refusal.problems)
            return None
