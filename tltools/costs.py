"""What a study will cost before it runs: rows through prefixes, seconds, memory, and what its test part can decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from tltools import plans, rates, trials
from tltools.home import Home
from tltools.judging import folds
from tltools.judging.needed import detectable
from tltools.plans import Counts
from tltools.records import Dataset, Problem, Record, Source, Split, Study, Trial
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
    raw: dict[str, float]  # seconds and peak_mb before what past studies have taught, for later ones to learn from
    measured: bool  # on this machine, all of it; else the time is a guess
    cache_bytes: int
    trials: int
    sealed: int  # trials that an earlier study has finished already
    prefix_rows: int  # pushed through a frozen prefix
    prefix_rows_naive: int  # the same, one trial at a time
    detectable: float | None  # gain in metric units that the test part can decide
    sentences: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()  # that it cannot run here


def rate_key(source: Source) -> str:
    """Under which key of the store's memory "rate" the measured rates of a source lie."""
    whole = "|whole" if source.classifies and source.answers else ""
    return f"{source.id}|{'frames' if source.reads == 'frames' else source.image_size or ''}{whole}"


def ways_key(source: Source, dataset: Dataset) -> str:
    """Under which key of the store's memory "ways" lies what training a source on a dataset costs."""
    return f"{rate_key(source)}|{dataset.id}"


def forward_rate(store: Store, source: Source) -> tuple[float, bool]:
    """(rows per second of a forward pass, whether it was measured here)."""
    known = store.recall("rate", rate_key(source))
    return float({**rates.guess(source), **(known or {})}["rows_per_second"]), bool(known)


def unmeasured(
    home: Home, store: Store, dataset: Dataset, wanted: Sequence[Trial]
) -> list[tuple[Source | None, list[Trial]]]:
    """The sources, and the trials that read through each, of which this machine does not know what they cost on the
    dataset; None in the place of a source: the classical control."""
    task, found = tasks()[dataset.task], list[tuple[Source | None, list[Trial]]]()
    for name in dict.fromkeys(plans.reader(trial) for trial in wanted if trial.source != "none"):
        own = [trial for trial in wanted if plans.reader(trial) == name]
        source = trials.card(home, own[0], dataset)
        stages = int((store.recall("rate", rate_key(source)) or {}).get("stages", 0))
        ways = store.recall("ways", ways_key(source, dataset))
        headed = bool(task.dense or task.written)
        needed = {plans.way(trial, stages) for trial in own if stages and plans.tunes(trial, stages, headed)}
        if not stages or ways is None or not needed <= set(ways):
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
    known = {
        name: {**(store.recall("rate", rate_key(source)) or {}),
               "ways": store.recall("ways", ways_key(source, dataset)) or {}}
        for name, source in cards.items()
    }  # fmt: skip
    classical = store.recall("classical", dataset.id) or rates.CLASSICAL[dataset.modality]
    raw = rates.seconds(todo, cards, known, counts, classical)
    past = store.memories("estimate")
    factor, low, high = rates.correction(past)
    memory, *_ = rates.correction(past, "peak_mb")
    alone, beside = (rates.peak_mb(todo, cards, known, counts, alone=one) for one in (True, False))
    hungriest = max(alone, min(beside, _room(known) / memory))  # no training begins beside another without room
    stages = {name: int(known[name].get("stages", plans.STAGES)) for name in cards}
    kept = not tasks()[dataset.task].objects  # heads for places and texts read their backbone anew in every trial
    shared, naive = plans.rows_shared(plans.prefixes(todo, stages, counts)) if kept else (0, 0)
    widths = {name: int(known[name].get("width", 512)) for name in cards} if kept else {}
    asked = len({trial.draw for trial in wanted})
    draws = _draws_in_time(study, asked, raw * factor)
    gain = _detectable(study, counts, draws) if draws and row_classes(dataset) else None
    said = [f"{len(todo)} of {len(wanted)} trials are to be run."]
    measured = not unmeasured(home, store, dataset, todo)
    if not measured:
        said.append("Not all of this was measured on this machine yet, so the time is a guess.")
    if raw * factor > LONG and study.budget.minutes is None:
        said.append(_where_it_goes(todo, cards, known, counts))
    if draws < asked:
        covers = f"about {draws}" if draws else "not even one"
        said.append(
            f"The time budget of {study.budget.minutes:g} min covers {covers} of {asked} "
            f"{'folds' if study.folds else 'draws'}: the run stops there, judges what is finished, and can be run on."
        )
    if gain is not None:
        said.append(f"Gains of {100 * gain:.1f} points or more will probably be decided; smaller may stay open.")
    return Estimate(
        seconds=raw * factor,
        seconds_low=raw * low,
        seconds_high=raw * high,
        peak_mb=hungriest * memory,
        raw={"seconds": raw, "peak_mb": hungriest},
        measured=measured,
        cache_bytes=sum(counts.rows * 4 * width for width in widths.values()),
        trials=len(wanted),
        sealed=len(wanted) - len(todo),
        prefix_rows=shared,
        prefix_rows_naive=naive,
        detectable=gain,
        sentences=tuple(said),
        problems=_too_large(todo, cards, known, counts, memory) if measured else (),
    )


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
    what = f"needs about {wanted / 1e3:.1f} GB; this machine has {room / FITS / 1e3:.1f}."
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


def _detectable(study: Study, counts: Counts, draws: int) -> float:
    if study.folds is None:
        return detectable(counts.test, draws)
    return folds.detectable(counts.rows, study.folds.k, max(draws, 2))


def _draws_in_time(study: Study, asked: int, seconds: float) -> int:
    """Draws, or folds, that the study's time budget covers, 0 to `asked`: the planner works draw by draw."""
    if study.budget.minutes is None or seconds <= 60 * study.budget.minutes:
        return asked
    return int(asked * 60 * study.budget.minutes / seconds)
