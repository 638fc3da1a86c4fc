"""What is wrong or doubtful with a study before it runs: errors keep it from running, warnings and notes are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tltools import datasets, folds, sources, splits, trials
from tltools.home import Home
from tltools.records import Dataset, Problem, Refusal, Source, Split, Study
from tltools.strategies import Strategy
from tltools.tasks import Metric, row_classes, tasks

FEW_TESTED = 50  # test rows, below which only large differences can be decided


def problems(home: Home, study: Study, dataset: Dataset, made: Sequence[Split]) -> list[Problem]:
    """Everything about a settled study at once. made: its splits, one, or one for each of its folds."""
    arms: list[Strategy] = []
    found = list(_tested(home, study, dataset, made))
    try:
        arms = [strategy for strategy, _ in trials.arms(study)]
    except Refusal as refusal:
        found += refusal.problems
    found += _strategies(study, dataset, arms)
    found += _numbers(study)
    found += _sources(home, study, dataset, made, arms)
    found += _missing(study)
    found += _metric(study, dataset)
    found += _stored(study, dataset)
    found += _columns(home, study, dataset)
    found += _labels(home, study, dataset, made[0])
    return found + (folds.problems(home, study, dataset, tuple(made)) if study.folds else [])


def _error(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="error", where=where, what=what, remedy=remedy)


def _warning(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="warning", where=where, what=what, remedy=remedy)


def _judged_by(study: Study, dataset: Dataset) -> Metric | None:
    known = {metric.key: metric for metric in tasks()[dataset.task].metrics}
    return known.get(study.metric or next(iter(known)))


def _tested(home: Home, study: Study, dataset: Dataset, made: Sequence[Split]) -> Iterator[Problem]:
    """Every test part must have rows, and such that the metric can score them."""
    metric = _judged_by(study, dataset)
    where, remedy = ("folds", "Use a smaller k") if study.folds else ("test part", "Add rows to it")
    truth = datasets.target(home, dataset)
    for number, split in enumerate(made, 1):
        part = truth[np.asarray(split.test, np.int64)]
        what = "" if len(part) > 1 else f"has {len(part)} row(s), of which no spread can be told."
        if what or (what := metric.lacking(part) if metric and metric.lacking else ""):
            one = f"fold {number} " if study.folds else ""
            yield _error(where, one + what, f"{remedy}, or choose another metric." if len(part) > 1 else f"{remedy}.")
            return


def _strategies(study: Study, dataset: Dataset, arms: Sequence[Strategy]) -> Iterator[Problem]:
    keys = {strategy.key for strategy in arms}
    for strategy in arms:
        where = f"strategy {strategy.key}"
        if why := trials.unserved(strategy, dataset.task):
            yield _error(where, why, "Leave it out, or choose linear_probe.")
        if strategy.twin and strategy.twin not in keys:
            what = "comes without its control: whether it is the weights of the source that help, nobody could say."
            yield _warning(where, what, f"Add {strategy.twin} to the controls.")
        if strategy.needs_groups and not study.sensitive:
            what = "needs a column that says which group a row belongs to; the study names none as sensitive."
            yield _error(where, what, "Name one under sensitive, or choose linear_probe.")


def _numbers(study: Study) -> Iterator[Problem]:
    if not 2 <= study.draws <= 50:
        yield _error("draws", f"must be from 2 to 50; got {study.draws}.", "Set 5.")
    if study.per_class is None and not study.fractions:
        yield _error("fractions", "must name at least one share of the labels.", "Set [0.1, 0.25, 0.5, 1.0].")
    if study.per_class == ():
        yield _error("per_class", "must name at least one number of labels.", "Set [8, 64], or leave it out.")
    for fraction in study.fractions if study.per_class is None else ():
        if not 0 < fraction <= 1:
            yield _error("fractions", f"must be above 0 and at most 1; got {fraction:g}.", "Set [0.1, 1.0].")
    for count in study.per_class or ():
        if count < 1:
            yield _error("per_class", f"must be at least 1; got {count}.", "Set [8, 64].")
    if not 0 <= study.margin < float("inf"):
        yield _error("margin", f"must be 0 or more; got {study.margin:g}.", "Set 0.01.")
    if not 0 <= study.seed < 2**31:
        yield _error("seed", f"must be from 0 to 2147483647; got {study.seed}.", "Set 0.")


def _sources(
    home: Home, study: Study, dataset: Dataset, made: Sequence[Split], arms: Sequence[Strategy]
) -> Iterator[Problem]:
    tested = np.unique(np.concatenate([np.asarray(split.test, np.int64) for split in made]))
    users = [strategy for strategy in arms if strategy.needs_source]
    chosen, served = [], False
    for source_id in study.sources:
        try:
            source = sources.get(home, source_id, dataset, study.columns.get(source_id))
        except Refusal as refusal:
            yield from refusal.problems
            continue
        chosen.append(source.id)
        cards = [(one, sources.serving(source, dataset, one)) for one in users]
        able = [(one, card) for one, card in cards if trials.usable(one, card)]
        served |= any(one.kind == "transfer" for one, _ in able)
        yield from _fit(home, study, dataset, source, [card for _, card in able])
        if seen := folds.learnt_of(home, source, dataset, tested):
            what = f"was trained on {seen} of the rows that are to be tested."
            yield _error(f"source {source_id}", what, "Choose another source, or rows that it has not seen.")
        for strategy, card in cards:
            if (strategy, card) not in able:
                what = f"{trials.unusable(strategy, card)}; this arm is left out."
                remedy = "Choose another source for it."
                yield Problem(severity="note", where=f"strategy {strategy.key}", what=what, remedy=remedy)
    if chosen and not served and any(strategy.kind == "transfer" for strategy in users):
        what = f"must hold one that can work with {', '.join(chosen)}; none can."
        yield _error("strategies", what, "Choose another strategy, or another source.")


def _fit(home: Home, study: Study, dataset: Dataset, source: Source, cards: Sequence[Source]) -> Iterator[Problem]:
    """Whether a source reads the rows; cards: the ways in which its strategies have them read."""
    where, changes = f"source {source.id}", study.columns.get(source.id)
    ways = {card.reads: card for card in cards} or {source.reads: source}
    cells = [sources.fit(home, way, dataset, changes=changes) for way in ways.values()]
    if not cells[0].fits:
        instead = f"Choose {cells[0].instead}." if cells[0].instead else "Choose another source."
        yield _error(where, cells[0].why, instead)
    for warning in dict.fromkeys(warning for cell in cells for warning in cell.warnings):
        yield _warning(where, warning, "Read the verdict with this in mind.")


def _missing(study: Study) -> Iterator[Problem]:
    for name in [name for name in study.columns if name not in study.sources]:
        yield _error(f"columns of {name}", "are changed, but it is none of the sources.", "Leave them out.")
    if not study.sources:
        yield _error("sources", "must name at least one source model.", "Choose one on the source screen.")
    if not study.strategies:
        yield _error("strategies", "must name at least one strategy.", "Start with linear_probe.")
    if not study.controls:
        what = "are empty: without a control nobody can say whether transfer helps."
        yield _warning("controls", what, "Keep scratch, random_frozen and classical.")


def _metric(study: Study, dataset: Dataset) -> Iterator[Problem]:
    metric = _judged_by(study, dataset)
    if metric is None:
        known = ", ".join(one.key for one in tasks()[dataset.task].metrics)
        yield _error("metric", f"{study.metric!r} is not a metric of {dataset.task}.", f"Choose from {known}.")
    elif metric.per_cent and 1 <= study.margin < float("inf"):  # no gain is as large: all arms would be neutral
        what = f"must be below 1, as {metric.key} is a share from 0 to 1; got {study.margin:g}."
        yield _error("margin", what, "Set 0.01.")


def _stored(study: Study, dataset: Dataset) -> Iterator[Problem]:
    """What a study asks of its dataset must be what was stored."""
    for field in ("target", "task", "inputs"):
        asked, stored = getattr(study, field), getattr(dataset, field)
        if asked is not None and asked != stored:
            shown = [", ".join(value) if isinstance(value, tuple) else repr(value) for value in (asked, stored)]
            what = f"is {shown[0] or 'empty'}, but the dataset was stored with {shown[1]}."
            yield _error(field, what, "Add the dataset again with this choice, or leave the field out.")


def _columns(home: Home, study: Study, dataset: Dataset) -> Iterator[Problem]:
    grouped = study.group and not study.folds  # folds tell it themselves
    if grouped and (torn := splits.without_giants(datasets.groups(home, dataset, study.group))[1]):
        what = f"{study.group!r} has {torn} value(s) with too many rows to lie in one part: these are torn apart."
        remedy = "Judge by cross-validation with so few folds that each holds the largest, give some of them as the"
        remedy += " test part, or group by a column of smaller groups: scores are too good."
        yield _warning("group", what, remedy)
    columns = datasets.columns(home, dataset.id)
    for name in study.sensitive:
        if name not in columns:
            yield _error("sensitive", f"there is no column {name!r}.", f"The columns are {', '.join(columns[:20])}.")


def _labels(home: Home, study: Study, dataset: Dataset, split: Split) -> Iterator[Problem]:
    targets = datasets.target(home, dataset)
    if study.per_class is None:
        yield from _shares(study, dataset, split, targets)
    elif not row_classes(dataset):
        yield _error("per_class", "needs rows of one class each.", "Use fractions instead.")
    else:
        pool = np.concatenate([np.asarray(split.train, np.int64), np.asarray(split.validation, np.int64)])
        counts = np.bincount(targets[pool], minlength=len(dataset.classes))
        scarce = int(counts.argmin())
        for wanted in study.per_class:
            if wanted > counts[scarce]:
                has = f"{dataset.classes[scarce]!r} has {counts[scarce]} to train on."
                yield _warning("per_class", f"asks for {wanted} labels a class; {has}", "All its rows are used.")
    if len(split.test) < FEW_TESTED and not study.folds:
        what = f"has {len(split.test)} rows, so only large differences can be decided."
        instead = "" if set(dataset.parts) - {"", "train"} else " judge by folds, which test every row,"
        yield _warning("test part", what, f"Add test rows,{instead} or expect “not enough evidence”.")


def _shares(study: Study, dataset: Dataset, split: Split, targets: np.ndarray) -> Iterator[Problem]:
    shares = sorted({fraction for fraction in study.fractions if 0 < fraction <= 1})
    labels = [splits.labels(split, targets, fraction=share) for share in shares]
    if labels and labels[0] < 2 * max(1, len(row_classes(dataset))):
        what = f"{shares[0]:g} of {len(split.train) + len(split.validation)} labels is {labels[0]} rows."
        yield _warning("fractions", what, "Use larger shares; such trials are mostly chance.")
    if len(set(labels)) < len(labels):
        what = f"come to {', '.join(map(str, labels))} rows, as each class keeps one; some are the same."
        yield _warning("fractions", what, "Use larger shares.")
