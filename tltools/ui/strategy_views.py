"""Strategies on screen: cards with the picture of what is trained, knobs, the augmentation preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from tltools import augmentation, costs, datasets, folds, plans, sources
from tltools.home import Home
from tltools.modalities import modalities
from tltools.records import Dataset, Folds, Source, Study
from tltools.store import Store
from tltools.strategies import Strategy, strategies
from tltools.study_files import arm, defaults
from tltools.tasks import tasks
from tltools.trials import unserved, unusable, usable
from tltools.ui import state, strips, study_draft, widgets

_FOLDS = "cross-validation"
_DRAWS = 50  # the most that a study may have
Chosen = dict[str, dict[str, Any]]  # strategy key -> the knobs that differ from the defaults


def augmented(dataset: Dataset) -> bool:
    """Whether rows may be changed while a network trains on them."""
    files = modalities()[dataset.modality].files
    return files is not None and files.augmented


def stages(store: Store, source: Source | None, dataset: Dataset) -> int:
    """Blocks of a backbone: as it was measured here, else a usual number."""
    return int(costs.rate(store, source, dataset)[0]["stages"]) if source else plans.STAGES


def given(study: Study, which: str) -> Chosen:
    """The strategies or controls of a study with the knobs that it sets."""
    return dict(arm(entry) for entry in getattr(study, which))


def entries(chosen: Chosen) -> tuple[str | dict[str, dict[str, Any]], ...]:
    """Back to how a study file says it."""
    return tuple({key: knobs} if knobs else key for key, knobs in chosen.items())


def hindered(chosen_sources: Sequence[Source], dataset: Dataset) -> dict[str, str]:
    """Why each transfer strategy cannot be chosen; empty where it can."""
    found = {}
    for strategy in (one for one in strategies().values() if one.kind == "transfer"):
        served = [sources.serving(source, dataset, strategy) for source in chosen_sources]
        found[strategy.key] = ""
        if why := unserved(strategy, dataset.task):
            found[strategy.key] = f"It {why}"
        elif not any(usable(strategy, source) for source in served):
            found[strategy.key] = f"It {unusable(strategy, served[0])}."
    return found


def untouched(proposed: Study, hindrances: Mapping[str, str]) -> Study:
    """The study that this screen shows of a proposal until something is changed by hand."""
    on, twins = given(proposed, "strategies"), given(proposed, "controls")
    chosen = {key: on[key] for key, why in hindrances.items() if key in on and not why}
    return proposed.model_copy(update={"strategies": entries(chosen), "controls": entries(with_twins(twins, chosen))})


def cards(
    store: Store, chosen_sources: Sequence[Source], start: Chosen, dataset: Dataset, hindrances: Mapping[str, str]
) -> Chosen:
    """Transfer strategies as cards, three in a row; returns those that are on, with their knobs."""
    transfer = [strategies()[key] for key in hindrances]
    count = stages(store, chosen_sources[0] if chosen_sources else None, dataset)
    found: Chosen = {}
    for at in range(0, len(transfer), 3):
        for column, strategy in zip(st.columns(3), transfer[at : at + 3], strict=False):
            with column:
                usual = defaults(strategy, chosen_sources[0] if chosen_sources else None, dataset)
                knobs = _card(strategy, usual, start, count, dataset, hindrances[strategy.key])
                if knobs is not None:
                    found[strategy.key] = knobs
    return found


def _card(
    strategy: Strategy, usual: dict[str, Any], start: Chosen, count: int, dataset: Dataset, why: str
) -> dict[str, Any] | None:
    fits = not why
    with st.container(border=True, height="stretch", key=f"strategy_{strategy.key}"):
        on = st.toggle(
            strategy.title, value=fits and strategy.key in start, key=state.key(f"on_{strategy.key}"), disabled=not fits
        )
        drawn = st.container()
        solved = tasks()[dataset.task].closed_form is not None
        what, when = strategy.by_steps if strategy.by_steps and not solved else (strategy.what, strategy.when)
        st.caption(f"{why} {what}".lstrip())
        st.caption(f"_{when}_")
        if strategy.needs_groups and fits:
            st.caption("Needs a column under “Groups to report on”.")
        known = [knob for knob in strategy.knobs if augmented(dataset) or knob.key not in augmentation.KEYS]
        knobs = dict(start.get(strategy.key, {}))
        if known and fits:
            with st.popover("Knobs", icon=":material/tune:", type="tertiary"):
                knobs = widgets.knobs(known, knobs, usual, lambda name: state.key(f"knob_{strategy.key}_{name}"))
        complete = usual | knobs
        with drawn:
            strips.draw(strategy.layout(count, complete), solved=solved, own_head=strategy.own_head)
    return knobs if on and fits else None


def with_twins(controls: Chosen, chosen: Chosen) -> Chosen:
    """Controls with the twins of the strategies that are chosen, and with no others."""
    every, wanted = ({strategies()[key].twin for key in keys} - {""} for keys in (strategies(), chosen))
    return {key: knobs for key, knobs in controls.items() if key not in every} | {
        key: controls.get(key, {}) for key in sorted(wanted)
    }


def controls(start: Chosen) -> Chosen:
    """Controls always run; their knobs may be turned. Returns all of the usual ones that the study keeps."""
    known = [one for one in strategies().values() if one.kind == "control" and (one.key in start or not start)]
    st.markdown(
        ":material/lock: **Controls always run**, so that a gain means something: "
        + "; ".join(f"**{one.title.lower()}**" for one in known)
        + "."
    )
    with st.expander("What the controls do"):
        for one in known:
            st.markdown(f"**{one.title}.** {one.what} {one.when}")
    return {key: start.get(key, {}) for key in start} or {one.key: {} for one in known}


def design(home: Home, dataset: Dataset, proposed: Study) -> tuple[dict[str, Any], float | None]:
    """Shares of the labels; draws, time or folds; the rarer settings: (fields of the study, minutes or None)."""
    left, right = st.columns(2, gap="large")
    with left:
        fields = _shares(proposed)
    minutes = None
    with right:
        whole = not set(dataset.parts) - {"", "train"} and dataset.rows <= folds.MOST_ROWS
        usual = _FOLDS if proposed.folds and whole else "time" if proposed.budget.minutes else "draws"
        by = st.segmented_control(
            "Evidence by", ["draws", "time", *([_FOLDS] if whole else [])], default=usual,
            required=True, key=state.key("evidence_by"),
            help="Say how often each share is drawn anew, how long it may take, or that all rows are tested in turn.",
        )  # fmt: skip
        fields["folds"] = None
        if by == _FOLDS:
            fields |= {"folds": _folds(proposed.folds or Folds()), "adaptive": False}
        elif by == "time":
            asked = float(proposed.budget.minutes or 5)
            minutes = float(
                st.select_slider(
                    "Time budget (minutes)", sorted({*study_draft.MINUTES, asked}), asked, key=state.key("minutes"),
                    format_func=lambda count: f"{count:g}",
                )
            )  # fmt: skip
            fields["draws"] = proposed.draws
        else:
            fields["draws"] = int(
                st.slider(
                    "Draws", 2, _DRAWS, min(max(proposed.draws, 2), _DRAWS), key=state.key("draws"),
                    help="How often each share is drawn anew, with another seed: luck is measured, not guessed.",
                )
            )  # fmt: skip
            fields["adaptive"] = st.toggle(
                "Stop arms early once they are decided", proposed.adaptive, key=state.key("adaptive"),
                help="From 3 draws on, an arm whose verdict holds at 0.1 % over the whole study needs no more draws.",
            )  # fmt: skip
    with st.expander("Metric, margin, groups"):
        fields |= _rarer(dataset, datasets.columns(home, dataset.id), proposed)
    return fields, minutes


def _folds(asked: Folds) -> Folds:
    st.caption(
        "Pays below a few hundred rows: every row is tested once a repeat, by models that never saw it, where a locked "
        "fifth would be too small to decide. In return no row stays locked away for a last check."
    )
    repeats, k = st.columns(2)
    with repeats:
        chosen = int(st.number_input("Repeats", 1, 20, asked.repeats, key=state.key("fold_repeats")))
    with k:
        return Folds(repeats=chosen, k=int(st.number_input("Folds", 2, 20, asked.k, key=state.key("fold_count"))))


def _shares(proposed: Study) -> dict[str, Any]:
    kept = proposed.per_class is not None and st.toggle(
        f"Labels per class, as in the study: {', '.join(map(str, proposed.per_class or ()))}",
        value=True,
        key=state.key("keep_per_class"),
    )
    if kept:
        return {"per_class": proposed.per_class, "fractions": proposed.fractions}
    steps = sorted({0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, *proposed.fractions})
    picked = st.pills(
        "Shares of the labels", [f"{step:g}" for step in steps], selection_mode="multi", key=state.key("fractions"),
        default=[f"{fraction:g}" for fraction in proposed.fractions],
        format_func=lambda text: f"{100 * float(text):g} %",
        help="Each arm is trained at each share, so that the report can say what labels are worth.",
    )  # fmt: skip
    return {"per_class": None, "fractions": tuple(sorted(float(text) for text in picked)) or (1.0,)}


def _rarer(dataset: Dataset, stored: Sequence[str], proposed: Study) -> dict[str, Any]:
    metrics = {metric.key: metric.title for metric in tasks()[dataset.task].metrics}
    no_groups = {dataset.target, *(() if modalities()[dataset.modality].cells else dataset.inputs)}
    named = [name for name in (*proposed.sensitive, proposed.group) if name is not None]
    # what a study names is never dropped, not even a wrong name
    columns = list(dict.fromkeys([name for name in stored if name not in no_groups] + named))
    left, right = st.columns(2, gap="large")
    with left:
        keys = list(metrics)
        at = keys.index(proposed.metric) if proposed.metric in keys else 0
        metric = st.selectbox("Metric", keys, index=at, format_func=lambda key: metrics[key], key=state.key("metric"))
        shares = tasks()[dataset.task].metrics[keys.index(metric)].unit == "share"
        margin = st.number_input(
            "Margin: the gain below which nobody cares" + (" (0.01 = one point)" if shares else ""),
            0.0, 1e9, float(proposed.margin), step=0.005 if shares else float(proposed.margin or 0.1),
            format="%.3f" if shares else "%.4g", key=state.key("margin"),
        )  # fmt: skip
    with right:
        sensitive = st.multiselect(
            "Groups to report on", columns, proposed.sensitive, key=state.key("sensitive"), disabled=not columns,
            help="Scores per group, and how each arm moved the gap between groups.",
        )  # fmt: skip
        group = st.selectbox(
            "Rows that belong together (patient, shop)", [None, *columns], [None, *columns].index(proposed.group),
            key=state.key("group"), disabled=not columns,
            format_func=lambda name: "near-duplicates only" if name is None else name,
            help="Such rows are never split between training and test.",
        )  # fmt: skip
        seed = st.number_input("Seed", 0, 2**31 - 1, proposed.seed, key=state.key("seed"))
    said = metric if proposed.metric or metric != keys[0] else None  # left out stays left out: else it is another study
    return {
        "metric": said, "margin": float(margin), "sensitive": tuple(sensitive), "group": group, "seed": int(seed),
    }  # fmt: skip


def pictures_changed(chosen: Chosen, pictures: Sequence[Path]) -> None:
    """The user's own images as the strategies that augment will see them."""
    settings = next((knobs for knobs in chosen.values() if any(knobs.get(key) for key in augmentation.KEYS)), None)
    if not pictures or settings is None:
        return
    st.subheader("Augmentation, on your images", anchor=False)
    shown = [path for path in pictures[:4] if path.is_file()]
    turns = [augmentation.preview(shown, settings, seed=seed) for seed in range(2)]
    with st.container(horizontal=True, gap="small"):
        for k, path in enumerate(shown):
            st.image(str(path), caption="as it is", width=96, alt="An image of the dataset")
            for turn in turns:
                st.image(turn[k], caption="changed", width=96, alt="The same image, as training sees it")
