"""Studies: propose one for a dataset, check it, say what it will cost, keep it, and ask the worker to run it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from tltools import costs, datasets, folds, sources, study_checks, trials
from tltools.artifacts import sealed
from tltools.home import Home, existing, write_bytes
from tltools.records import Dataset, Job, Problem, Refusal, Source, Split, Study, Trial, refuse
from tltools.store import Store
from tltools.study_files import dump as dump
from tltools.study_files import parse as parse
from tltools.tasks import tasks

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
    fractions = (0.1, 0.25, 0.5, 1.0) if labels >= 200 else (0.25, 0.5, 0.75, 1.0)  # four make a curve
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
    try:
        dataset, made = splits_of(home, study)
    except Refusal as refusal:
        return list(refusal.problems)
    return study_checks.problems(home, study, dataset, made)


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
