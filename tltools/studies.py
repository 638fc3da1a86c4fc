"""Studies: propose one for a dataset, check it, say what it will cost, keep it, and ask the worker to run it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tltools import costs, datasets, folds, sources, splits, trials
from tltools.artifacts import sealed
from tltools.home import Home, existing, write_bytes
from tltools.records import Dataset, Job, Problem, Refusal, Source, Split, Study, Trial, refuse
from tltools.store import Store
from tltools.study_files import dump as dump
from tltools.study_files import parse as parse
from tltools.tasks import row_classes, tasks

SPLIT_SEED = 0  # the test rows of a dataset are the same in all its studies, so that they can be compared


def study_id(study: Study) -> str:
    """16 hex digits that name a study by its content; its own name does not count."""
    content = study.model_dump(mode="json", exclude={"name"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def settle(home: Home, study: Study, folder: Path | None = None) -> Study:
    """Adds the dataset where the study names a path (relative to `folder`), so that it names an id from now on.

    Raises:
        Refusal: neither a known id nor a file, or a test part for a dataset that is stored already.
    """
    if re.fullmatch(r"[0-9a-f]{16}", study.dataset):
        datasets.get(home, study.dataset)
        if study.test is not None:  # what is stored never changes, so these rows would not be tested
            what = "belongs to a dataset that is given as a path; this one is stored already."
            raise refuse("test", what, "Give the path as dataset, or leave test out.")
        return study
    base = folder or Path.cwd()
    path, test = existing(study.dataset, base), existing(study.test, base) if study.test else None
    if path is None:
        raise refuse("dataset", f"{study.dataset!r} is neither a dataset id nor a path.", "Check the path.")
    if study.test and test is None:
        raise refuse("test", f"{study.test!r} is no path: nothing lies there.", "Check the path.")
    made = datasets.add(
        home,
        path,
        test=test,
        target=study.target,
        inputs=list(study.inputs) if study.inputs else None,
        task=study.task,
    )
    return study.model_copy(
        update={"dataset": made.id, "test": None, "target": made.target, "inputs": made.inputs, "task": made.task}
    )


def split_of(home: Home, study: Study) -> tuple[Dataset, Split]:
    """The dataset and the split that a study uses; of a cross-validation the first."""
    dataset, made = splits_of(home, study)
    return dataset, made[0]


def splits_of(home: Home, study: Study) -> tuple[Dataset, tuple[Split, ...]]:
    """The dataset and the splits that a study uses: one, or one for each of its folds.

    Raises:
        Refusal: see `datasets.split` and `folds.make`.
    """
    dataset = datasets.get(home, study.dataset)
    if study.folds is None:
        return dataset, (datasets.split(home, dataset, group=study.group, seed=SPLIT_SEED),)
    return dataset, folds.make(home, dataset, study.folds, group=study.group, seed=SPLIT_SEED)


def expand(home: Home, study: Study) -> list[Trial]:
    """All trials of a settled study, in no particular order; the planner orders them."""
    dataset, made = splits_of(home, study)
    return trials.expand(home, study, study_id(study), dataset, made)


def propose(home: Home, dataset: Dataset, chosen: list[Source]) -> Study:
    """A sensible first study: cheap and dear strategies, all controls, four label shares, five draws."""
    task = tasks()[dataset.task]
    usual = [source for source in chosen if source.pretrained]
    strategies: tuple[str, ...] = ("linear_probe", "multilayer_probe", "last_block", "full_finetune")
    if chosen and not usual:
        strategies = ("full_finetune",)  # an untrained network can only be trained
    labels = dataset.rows
    fractions = (0.1, 0.25, 0.5, 1.0) if labels >= 200 else (0.25, 0.5, 1.0)
    controls: tuple[str, ...] = ("scratch", "random_frozen", "classical") if usual or not chosen else ("classical",)
    if any(source.continues and source.columns for source in chosen):
        strategies = (*strategies, "boosted_continuation")
    if any(source.continues and not source.columns for source in chosen) and task.closed_form == "classes":
        strategies = ("zero_shot", *strategies)
    entered = [sources.serving(source, dataset).reads == "frames" for source in chosen]
    if any(entered):  # a text model behind a new input layer has strategies and a control of its own
        strategies = ("frozen_transformer",) if all(entered) else (*strategies, "frozen_transformer")
        controls = ("random_transformer", *(("classical",) if all(entered) else controls))
    return Study(
        dataset=dataset.id,
        target=dataset.target,
        inputs=dataset.inputs,
        task=dataset.task,
        sources=tuple(source.id for source in chosen),
        strategies=strategies,
        controls=controls,
        fractions=fractions,
        draws=5 if labels <= 2000 else 3,
        metric=task.metrics[0].key,
        margin=_margin(home, dataset),
        name=dataset.name,
    )


def _margin(home: Home, dataset: Dataset) -> float:
    """One point for shares; for numbers one per cent of the target's spread, rounded to one digit."""
    if tasks()[dataset.task].metrics[0].unit == "share":
        return 0.01
    spread = float(np.std(datasets.target(home, dataset)))
    return float(f"{spread / 100:.0e}") if spread > 0 else 0.01


def check(home: Home, study: Study) -> list[Problem]:
    """Everything that is wrong or doubtful with a settled study, at once; errors keep it from running."""
    problems: list[Problem] = []

    def say(severity: Any, where: str, what: str, remedy: str) -> None:
        problems.append(Problem(severity=severity, where=where, what=what, remedy=remedy))

    try:
        dataset, made = splits_of(home, study)
    except Refusal as refusal:
        return list(refusal.problems)
    tested = np.concatenate([np.asarray(split.test, np.int64) for split in made])
    _check_tested(home, study, dataset, made, say)
    try:
        arms = trials.arms(study)
    except Refusal as refusal:
        problems += refusal.problems
        arms = []
    for strategy, _ in arms:
        if why := trials.unserved(strategy, dataset.task):
            say("error", f"strategy {strategy.key}", why, "Leave it out, or choose linear_probe.")
        if strategy.twin and strategy.twin not in {one.key for one, _ in arms}:
            what = "comes without its control: whether it is the weights of the source that help, nobody could say."
            say("warning", f"strategy {strategy.key}", what, f"Add {strategy.twin} to the controls.")
        if strategy.needs_groups and not study.sensitive:
            what = "needs a column that says which group a row belongs to; the study names none as sensitive."
            say("error", f"strategy {strategy.key}", what, "Name one under sensitive, or choose linear_probe.")
    _check_numbers(study, say)
    chosen, served_any = [], False
    for source_id in study.sources:
        try:
            source = sources.get(home, source_id, dataset, study.columns.get(source_id))
        except Refusal as refusal:
            problems += refusal.problems
            continue
        chosen.append(source)
        served = [(one, sources.serving(source, dataset, one)) for one, _ in arms if one.needs_source]
        able = [(one, card) for one, card in served if trials.usable(one, card)]
        served_any |= any(one.kind == "transfer" for one, _ in able)
        ways = {card.reads: card for _, card in able} or {source.reads: source}  # one source may read rows in two ways
        cells = [sources.fit(home, way, dataset, changes=study.columns.get(source_id)) for way in ways.values()]
        if not cells[0].fits:
            instead = f"Choose {cells[0].instead}." if cells[0].instead else "Choose another source."
            say("error", f"source {source_id}", cells[0].why, instead)
        if seen := folds.learnt_of(home, source, dataset, np.unique(tested)):
            what = f"was trained on {seen} of the rows that are to be tested."
            say("error", f"source {source_id}", what, "Choose another source, or rows that it has not seen.")
        for warning in dict.fromkeys(warning for cell in cells for warning in cell.warnings):
            say("warning", f"source {source_id}", warning, "Read the verdict with this in mind.")
        for strategy, card in served:
            if (strategy, card) not in able:
                what = f"{trials.unusable(strategy, card)}; this arm is left out."
                say("note", f"strategy {strategy.key}", what, "Choose another source for it.")
    for name in [name for name in study.columns if name not in study.sources]:
        say("error", f"columns of {name}", "are changed, but it is none of the sources.", "Leave them out.")
    transfer = [strategy for strategy, _ in arms if strategy.kind == "transfer" and strategy.needs_source]
    if transfer and chosen and not served_any:
        what = f"must hold one that can work with {', '.join(source.id for source in chosen)}; none can."
        say("error", "strategies", what, "Choose another strategy, or another source.")
    if not study.sources:
        say("error", "sources", "must name at least one source model.", "Choose one on the source screen.")
    if not study.strategies:
        say("error", "strategies", "must name at least one strategy.", "Start with linear_probe.")
    if not study.controls:
        what = "are empty: without a control nobody can say whether transfer helps."
        say("warning", "controls", what, "Keep scratch, random_frozen and classical.")
    _check_columns(home, study, dataset, say)
    _check_labels(home, study, dataset, made[0], say)
    return problems + (folds.problems(home, study, dataset, made) if study.folds else [])


def _check_tested(home: Home, study: Study, dataset: Dataset, made: Sequence[Split], say: Any) -> None:
    """Every test part must have rows, and such that the metric can score them."""
    known = {metric.key: metric for metric in tasks()[dataset.task].metrics}
    metric = known.get(study.metric or next(iter(known)))
    where, remedy = ("folds", "Use a smaller k") if study.folds else ("test part", "Add rows to it")
    truth = datasets.target(home, dataset)
    for split in made:
        part = truth[np.asarray(split.test, np.int64)]
        what = "" if len(part) > 1 else f"has {len(part)} row(s), of which no spread can be told."
        if what or (what := metric.lacking(part) if metric and metric.lacking else ""):
            one = f"fold {made.index(split) + 1} " if study.folds else ""
            say("error", where, one + what, f"{remedy}, or choose another metric." if len(part) > 1 else f"{remedy}.")
            return


def _check_numbers(study: Study, say: Any) -> None:
    if not 2 <= study.draws <= 50:
        say("error", "draws", f"must be from 2 to 50; got {study.draws}.", "Set 5.")
    if study.per_class is None and not study.fractions:
        say("error", "fractions", "must name at least one share of the labels.", "Set [0.1, 0.25, 0.5, 1.0].")
    if study.per_class == ():
        say("error", "per_class", "must name at least one number of labels.", "Set [8, 64], or leave it out.")
    for fraction in study.fractions if study.per_class is None else ():
        if not 0 < fraction <= 1:
            say("error", "fractions", f"must be above 0 and at most 1; got {fraction:g}.", "Set [0.1, 1.0].")
    for count in study.per_class or ():
        if count < 1:
            say("error", "per_class", f"must be at least 1; got {count}.", "Set [8, 64].")
    if not 0 <= study.margin < float("inf"):
        say("error", "margin", f"must be 0 or more; got {study.margin:g}.", "Set 0.01.")
    if not 0 <= study.seed < 2**31:
        say("error", "seed", f"must be from 0 to 2147483647; got {study.seed}.", "Set 0.")


def _check_columns(home: Home, study: Study, dataset: Dataset, say: Any) -> None:
    metrics = {metric.key: metric for metric in tasks()[dataset.task].metrics}
    metric = metrics.get(study.metric or next(iter(metrics)))
    if metric is None:
        what = f"{study.metric!r} is not a metric of {dataset.task}."
        say("error", "metric", what, f"Choose from {', '.join(metrics)}.")
    elif metric.per_cent and 1 <= study.margin < float("inf"):  # no gain is as large: all arms would be neutral
        what = f"must be below 1, as {metric.key} is a share from 0 to 1; got {study.margin:g}."
        say("error", "margin", what, "Set 0.01.")
    for field in ("target", "task", "inputs"):
        asked, stored = getattr(study, field), getattr(dataset, field)
        if asked is not None and asked != stored:
            shown = [", ".join(value) if isinstance(value, tuple) else repr(value) for value in (asked, stored)]
            what = f"is {shown[0] or 'empty'}, but the dataset was stored with {shown[1]}."
            say("error", field, what, "Add the dataset again with this choice, or leave the field out.")
    if study.group:
        torn = splits.without_giants(datasets.groups(home, dataset, study.group))[1]
        if torn and not study.folds:  # folds tell it themselves
            what = f"{study.group!r} has {torn} value(s) with too many rows to lie in one part: these are torn apart."
            remedy = (
                "Judge by cross-validation with so few folds that each holds the largest, give some of them as the "
            )
            say(
                "warning",
                "group",
                what,
                remedy + "test part, or group by a column of smaller groups: scores are too good.",
            )
    columns = datasets.columns(home, dataset.id)
    for name in study.sensitive:
        if name not in columns:
            say("error", "sensitive", f"there is no column {name!r}.", f"The columns are {', '.join(columns[:20])}.")


def _check_labels(home: Home, study: Study, dataset: Dataset, split: Split, say: Any) -> None:
    targets = datasets.target(home, dataset)
    if study.per_class is not None:
        if not row_classes(dataset):
            say("error", "per_class", "needs rows of one class each.", "Use fractions instead.")
            return
        pool = np.concatenate([np.asarray(split.train, np.int64), np.asarray(split.validation, np.int64)])
        counts = np.bincount(targets[pool], minlength=len(dataset.classes))
        scarce = int(counts.argmin())
        for wanted in study.per_class:
            if wanted > counts[scarce]:
                what = (
                    f"asks for {wanted} labels a class; {dataset.classes[scarce]!r} has {counts[scarce]} to train on."
                )
                say("warning", "per_class", what, "All rows of that class are used.")
    else:
        shares = sorted({fraction for fraction in study.fractions if 0 < fraction <= 1})
        labels = [splits.labels(split, targets, fraction=share) for share in shares]
        if labels and labels[0] < 2 * max(1, len(row_classes(dataset))):
            what = f"{shares[0]:g} of {len(split.train) + len(split.validation)} labels is {labels[0]} rows."
            say("warning", "fractions", what, "Use larger shares; such trials are mostly chance.")
        if len(set(labels)) < len(labels):
            what = f"come to {', '.join(map(str, labels))} rows, as each class keeps one; some are the same."
            say("warning", "fractions", what, "Use larger shares.")
    if len(split.test) < 50 and not study.folds:
        what = f"has {len(split.test)} rows, so only large differences can be decided."
        instead = "" if set(dataset.parts) - {"", "train"} else " judge by folds, which test every row,"
        say("warning", "test part", what, f"Add test rows,{instead} or expect “not enough evidence”.")


def estimate(home: Home, store: Store, study: Study) -> costs.Estimate:
    """What a settled study will cost in time, memory and disk, from the rates of this machine where they are known."""
    dataset, split = split_of(home, study)
    return costs.estimate(home, store, study, dataset, split, expand(home, study))


def save(home: Home, study: Study) -> str:
    """Keeps a study as `studies/<id>/study.yaml`; the same study is kept once. Returns its id."""
    key = study_id(study)
    path = home.studies / key / "study.yaml"
    if not path.exists():
        write_bytes(path, dump(study).encode())
    return key


def load(home: Home, key: str) -> Study:
    """Returns a kept study.

    Raises:
        Refusal: there is none with this id.
    """
    path = home.studies / key / "study.yaml"
    if not re.fullmatch(r"[0-9a-f]{16}", key) or not path.is_file():
        raise refuse("study", f"there is no study {key[:40]!r}.", "See the recent studies on the home page.")
    return parse(path)


def listing(home: Home) -> list[str]:
    """Ids of all kept studies, newest first."""
    found = sorted(home.studies.glob("*/study.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in found]


def submit(home: Home, store: Store, study: Study) -> Job:
    """Keeps a study and queues its job; a live job of the same study is returned instead of a second one.

    Raises:
        Refusal: every error of `check`, or that the machine has no memory for it.
    """
    errors = [problem for problem in check(home, study) if problem.severity == "error"]
    if errors or (errors := list(estimate(home, store, study).problems)):
        raise Refusal(*errors)
    key = save(home, study)
    dataset = datasets.get(home, study.dataset)
    return store.submit("study", {"study": key}, title=study.name or dataset.name, key=key)


def progress(home: Home, study: Study) -> tuple[int, int]:
    """(sealed trials, all trials) of a settled study."""
    wanted = expand(home, study)
    return sum(sealed(home.trials / trial.id) for trial in wanted), len(wanted)
