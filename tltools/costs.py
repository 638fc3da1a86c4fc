"""What a study will cost before it runs: rows through prefixes, seconds, memory, and what its test part can decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf, log
from typing import Any, Literal

import numpy as np

from tltools import budgets, datasets, plans, rates, row_sizes, sources, trials
from tltools.fits import weights_of
from tltools.home import Home
from tltools.judging import folds
from tltools.judging.needed import detectable
from tltools.plans import Counts
from tltools.records import Dataset, Problem, Record, Refusal, Source, Split, Study, Trial
from tltools.store import Store
from tltools.strategies import strategies
from tltools.tasks import row_classes, tasks

LONG = 20 * 60  # seconds from which on it is said where they go
FITS = 0.9  # of the memory of a device; the rest is for other programs


class Estimate(Record):
    """What a study will cost, before it runs."""

    seconds: float
    seconds_low: float
    seconds_high: float
    peak_mb: float
    alone_mb: float  # the same with one training at a time
    raw: dict[str, float]  # seconds and peak_mb before what past studies have taught, for later ones to learn from
    measured: bool  # on this machine, all of it; else the time is a guess
    cache_bytes: int
    trials: int
    sealed: int  # trials that an earlier study has finished already
    in_time: int  # of the others, those that the time budget is expected to cover; all of them without one
    judged_in_time: bool  # that a source's arm is among them, in draws enough for a verdict
    within: float  # seconds that pass until it stops: no more than the time budget
    prefix_rows: int  # pushed through a frozen prefix
    prefix_rows_naive: int  # the same, one trial at a time
    detectable: float | None  # gain in metric units that the test part can decide
    sentences: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()  # that it cannot run here


def network_key(source: Source) -> str:
    """What a source is for facts that do not hang on the rows that it reads."""
    whole = "|whole" if source.classifies and source.answers else ""
    return f"{source.id}|{'frames' if source.reads == 'frames' else source.image_size or ''}{whole}"


def rate_key(source: Source, dataset_id: str) -> str:
    """Under which key of the store's memory "rate" lies what a source costs on a dataset."""
    return f"{network_key(source)}|{dataset_id}"


def rate(store: Store, source: Source, dataset: Dataset) -> tuple[dict[str, Any], Literal["here", "elsewhere", ""]]:
    """(what a source costs on a dataset, whether that is known from its rows, from those of others, or guessed)."""
    size = row_sizes.size(source, dataset, datasets.profile(store.home, dataset.id).numbers)
    guess, known = rates.guess(source, size), store.recall("rate", rate_key(source, dataset.id)) or {}
    if "rows_per_second" in known:
        return guess | known, "here"
    other = _nearest(store, source, size)
    return guess | other | known, "elsewhere" if other else ""


def _nearest(store: Store, source: Source, size: float) -> dict[str, Any]:
    """What a source costs on rows of such a size, by the nearest that its weights have read: of another dataset, or
    more or fewer tokens of each text; {} where they never read any."""
    found: dict[float, dict[str, Any]] = {}
    _, _, way = network_key(source).partition("|")
    for fact in store.memories("rate"):
        network, _, dataset_id = fact["key"].rpartition("|")
        name, _, same = network.partition("|")
        if (weights_of(name), same) == (weights_of(source.id), way) and "rows_per_second" in fact:
            with suppress(Refusal):  # of a dataset that was deleted
                other = datasets.get(store.home, dataset_id)
                numbers = datasets.profile(store.home, dataset_id).numbers
                read = source if name == source.id else sources.get(store.home, name)
                read = read.model_copy(update={"reads": source.reads})
                ratio = size / row_sizes.size(read, other, numbers)
                found[abs(log(ratio))] = rates.elsewhere(fact, ratio)
    return found[min(found)] if found else {}


def unmeasured(
    home: Home, store: Store, dataset: Dataset, wanted: Sequence[Trial]
) -> list[tuple[Source | None, list[Trial]]]:
    """The sources, and the trials that read through each, of which this machine does not know what they cost on the
    dataset; None in the place of a source: the classical control."""
    task, found = tasks()[dataset.task], list[tuple[Source | None, list[Trial]]]()
    for name in dict.fromkeys(plans.reader(trial) for trial in wanted if trial.source != "none"):
        own = [trial for trial in wanted if plans.reader(trial) == name]
        source = trials.card(home, own[0], dataset)
        known = store.recall("rate", rate_key(source, dataset.id)) or {}
        stages, headed = int(known.get("stages", 0)), bool(task.dense or task.written)
        needed = {plans.way(trial, stages) for trial in own if stages and plans.tunes(trial, stages, headed)}
        if "ways" not in known or not needed <= set(known["ways"]):
            found.append((source, own))
    controls = [trial for trial in wanted if trial.strategy == "classical"]
    if controls and store.recall("classical", dataset.id) is None:
        found.append((None, controls))
    return found


def estimate(
    home: Home, store: Store, study: Study, dataset: Dataset, split: Split, wanted: Sequence[Trial]
) -> Estimate:
    """Adds up what is not sealed yet. The interval is wide until this machine has run such studies."""
    todo = [trial for trial in wanted if not trials.finished(home, study, trial)]
    counts = Counts(len(split.train), len(split.validation), len(split.test), len(dataset.classes))
    readers = {plans.reader(trial): trial for trial in todo if trial.source != "none"}
    cards = {name: trials.card(home, trial, dataset) for name, trial in readers.items()}
    known = {name: rate(store, source, dataset)[0] for name, source in cards.items()}
    classical = store.recall("classical", dataset.id) or rates.CLASSICAL[dataset.modality]
    raw = rates.seconds(todo, cards, known, counts, classical)
    measured = not unmeasured(home, store, dataset, todo)
    past = [one for one in store.memories("estimate") if one.get("measured") == measured]  # guesses err otherwise
    factor, low, high = rates.correction(past)
    memory, *_ = rates.correction(past, "peak_mb")
    control = _control_mb(store, dataset, counts, todo)
    alone, beside = (rates.peak_mb(todo, cards, known, counts, alone=one, control=control) for one in (True, False))
    hungriest = max(alone, min(beside, _room(known) / memory))  # no training begins beside another without room
    stages = {name: int(known[name]["stages"]) for name in cards}
    kept = not tasks()[dataset.task].objects  # heads for places and texts read their backbone anew in every trial
    shared, naive = plans.rows_shared(plans.prefixes(todo, stages, counts)) if kept else (0, 0)
    widths = {name: int(known[name]["width"]) for name in cards} if kept else {}
    asked = len({trial.draw for trial in wanted})
    bought = _bought(
        study, todo, known, counts, lambda some: factor * rates.seconds(some, cards, known, counts, classical)
    )
    waiting = {trial.id for trial in todo}
    ended = [trial for trial in wanted if trial.id not in waiting] + list(bought)
    draws = asked if len(bought) == len(todo) else budgets.draws(ended)
    verdict = draws >= min(budgets.JUDGED, max(asked, 1))
    gain = _detectable(home, study, dataset, split, draws) if verdict and row_classes(dataset) else None
    said = [f"{len(todo)} of {len(wanted)} trials are to be run."]
    if not measured:
        said.append("Not all of this was measured on this machine yet, so the time is a guess.")
    if raw * factor > LONG and study.budget.minutes is None:
        said.append(_where_it_goes(todo, cards, known, counts))
    if len(bought) < len(todo):
        said.append(budgets.sentence(study, bought, todo))
        said.append("The run stops in time, judges what is finished, and can be run on.")
        if not verdict:
            said.append("Too little for a verdict, which takes two draws of a source's arm: give it more minutes.")
    if gain is not None:
        said.append(f"Gains of {100 * gain:.1f} points or more will probably be decided; smaller may stay open.")
    return Estimate(
        seconds=raw * factor,
        seconds_low=raw * low,
        seconds_high=raw * high,
        peak_mb=hungriest * memory,
        alone_mb=alone * memory,
        raw={"seconds": raw, "peak_mb": hungriest},
        measured=measured,
        cache_bytes=sum(counts.rows * 4 * width for width in widths.values()),
        trials=len(wanted),
        sealed=len(wanted) - len(todo),
        in_time=len(bought),
        judged_in_time=budgets.draws(ended) >= budgets.DRAWS,
        within=raw * factor if study.budget.minutes is None else min(raw * factor, 60 * study.budget.minutes),
        prefix_rows=shared,
        prefix_rows_naive=naive,
        detectable=gain,
        sentences=tuple(said),
        problems=_too_large(todo, cards, known, counts, memory) if measured else (),
    )


def _bought(
    study: Study,
    todo: Sequence[Trial],
    known: Mapping[str, Mapping[str, Any]],
    counts: Counts,
    seconds: Callable[[Sequence[Trial]], float],
) -> Sequence[Trial]:
    """The trials that the study's time budget is expected to cover."""
    minutes = study.budget.minutes
    if minutes is None or seconds(todo) <= 60 * minutes:
        return todo
    return budgets.in_time(budgets.groups(study, todo, known, counts), seconds, 60 * minutes)


def _control_mb(store: Store, dataset: Dataset, counts: Counts, todo: Sequence[Trial]) -> float:
    """MB that the classical control takes, which counts the words and letters of all its texts."""
    controls = [trial for trial in todo if trial.strategy == "classical"]
    letters = datasets.profile(store.home, dataset.id).numbers.get("characters_median", 0.0)
    return rates.CONTROL_MB * letters * plans.touched(controls, counts) if controls else 0.0


def _where_it_goes(
    todo: Sequence[Trial], cards: Mapping[str, Source], known: Mapping[str, Mapping[str, Any]], counts: Counts
) -> str:
    """The two strategies that take most of a long study, and what makes it shorter."""
    each = {
        name: rates.seconds([trial for trial in todo if trial.strategy == name], cards, known, counts)
        for name in {trial.strategy for trial in todo if trial.source != "none"}
    }
    most = sorted(each, key=lambda name: -each[name])[:2]
    said = " and ".join(f"{strategies()[name].title} ({100 * each[name] / sum(each.values()):.0f} %)" for name in most)
    return f"Most of the time goes to {said}. A time budget keeps to the minutes you have, the best evidence first."


def _room(known: Mapping[str, Mapping[str, Any]]) -> float:
    """MB of the device that a job may take; without end where no source was measured."""
    return FITS * min((float(rate.get("memory_mb", inf)) for rate in known.values()), default=inf)


def _too_large(
    todo: Sequence[Trial],
    cards: Mapping[str, Source],
    known: Mapping[str, Mapping[str, Any]],
    counts: Counts,
    factor: float,
) -> tuple[Problem, ...]:
    """Names trainings that the device has no memory for, and the largest part of their batches for which it has."""
    room = _room(known)

    def needs(some: Sequence[Trial]) -> float:
        return factor * rates.peak_mb(some, cards, known, counts, alone=True)

    if (wanted := needs(todo)) <= room:
        return ()
    has = f"{room / FITS / 1e3:.1f}, of which a job may take {room / 1e3:.1f}"
    what = f"needs about {wanted / 1e3:.1f} GB; this machine has {has}."
    most = max((int(trial.knobs["batch_size"]) for trial in todo if "rows_at_once" in trial.knobs), default=1)
    for part in (2**power for power in range(most.bit_length() - 1, -1, -1)):
        if part < most and (less := needs([_in_parts(trial, part) for trial in todo])) <= room:
            remedy = f"Set “Rows at once” (rows_at_once) to {part}: the same batches in about {less / 1e3:.1f} GB."
            return (Problem(severity="error", where="memory", what=what, remedy=remedy),)
    return (Problem(severity="error", where="memory", what=what, remedy="Choose a smaller source model."),)


def _in_parts(trial: Trial, part: int) -> Trial:
    if "rows_at_once" not in trial.knobs or part >= (trial.knobs["rows_at_once"] or trial.knobs["batch_size"]):
        return trial
    return trial.model_copy(update={"knobs": {**trial.knobs, "rows_at_once": part}})


def _detectable(home: Home, study: Study, dataset: Dataset, split: Split, draws: int) -> float | None:
    """None where a gain of the study's metric is not in points, or no row is tested."""
    metrics = tasks()[dataset.task].metrics
    metric = next((one for one in metrics if one.key == study.metric), metrics[0])
    tested = np.asarray(split.test, np.int64) if study.folds is None else slice(None)
    targets = datasets.target(home, dataset)[tested]
    if not metric.per_cent or not len(targets):
        return None
    rows = len(targets) if metric.influence is None else _as_even(targets)
    if study.folds is None:
        return detectable(rows, draws)
    return folds.detectable(rows, study.folds.k, max(draws, 2))


def _as_even(targets: np.ndarray) -> int:
    """How many rows of classes of one size say as much as these, codes (N,), of a score to which each class counts
    alike: its variance goes with the sum of 1 / n over the classes, so a rare class decides what can be told."""
    sizes = np.bincount(targets)
    sizes = sizes[sizes > 0]
    return max(1, round(len(sizes) ** 2 / float((1 / sizes).sum())))
