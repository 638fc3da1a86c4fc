"""Folds: every row of a small dataset is tested once a repeat, by models that never saw it; no part is locked away.

Each fold is a split of its own (train, validation, test), so that a trial knows its rows by the id of its split, as any
other trial does. All arms of a study are trained on the same folds.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tltools import datasets, splits
from tltools.fits import weights_of
from tltools.home import Home
from tltools.records import Dataset, Folds, Problem, Source, Split, Study, Trial, refuse
from tltools.tasks import row_classes

MOST_ROWS = 5_000  # above, a locked test part of a fifth decides as well, at a fraction of the cost
VALIDATION = 0.15  # of the rows that a fold trains on


def make(home: Home, dataset: Dataset, asked: Folds, *, group: str | None, seed: int) -> tuple[Split, ...]:
    """The splits of all folds, repeat by repeat, stratified and grouped as the dataset's own split is; stored.

    Raises:
        Refusal: the dataset brings its own test part, has fewer than two rows a fold or too many, or no such column.
    """
    given = datasets.rows(home, dataset.id, "_part")["_part"].to_numpy(object)
    if own := sorted(set(given.tolist()) - {"", "train"}):
        what = f"would train on the {own[0]} part that {dataset.name} brings with it, which stays locked."
        raise refuse("folds", what, "Leave folds out, or add the dataset without its parts.")
    if not 2 * asked.k <= dataset.rows <= MOST_ROWS:
        what = f"are for {2 * asked.k} to {MOST_ROWS:,} rows; {dataset.name} has {dataset.rows:,}."
        raise refuse("folds", what, "Leave folds out: a locked test part decides as well.")
    targets, groups = datasets.target(home, dataset), datasets.groups(home, dataset, group)
    found = []
    for repeat in range(asked.repeats):
        numbers = splits.fold_numbers(targets, groups, asked.k, [seed, repeat])
        for k in range(asked.k):
            own = [seed, repeat, k]
            parts = splits.fold(targets, groups, numbers == k, asked.k, seed=own, validation_share=VALIDATION)
            note = f"Fold {k + 1} of {asked.k}, repeat {repeat + 1} of {asked.repeats}: no part is locked away."
            parts = dataclasses.replace(parts, note=note)
            made = splits.record(dataset.id, parts, seed=seed, grouped_by=group or "duplicates")
            found.append(datasets.keep_split(home, made))
    return tuple(found)


def problems(home: Home, study: Study, dataset: Dataset, made: tuple[Split, ...]) -> list[Problem]:
    """What keeps a study from being judged by its folds, and what it gives up."""
    found: list[Problem] = []

    def say(severity: Any, where: str, what: str, remedy: str) -> None:
        found.append(Problem(severity=severity, where=where, what=what, remedy=remedy))

    if study.adaptive:
        say("error", "adaptive", "cannot go with folds, which must all be run.", "Set adaptive: false.")
    if classes := row_classes(dataset):
        targets = datasets.target(home, dataset)
        held = np.stack([np.bincount(targets[list(fold.test)], minlength=len(classes)) for fold in made])
        for code in np.flatnonzero((held == 0).any(0)):
            what = f"must all test every class; {(held[:, code] == 0).sum()} of {len(made)} have no {classes[code]!r}."
            say("error", "folds", what, "Use a smaller k, or add rows of this class.")
    assert study.folds is not None
    groups = datasets.groups(home, dataset, study.group)
    if study.group is not None and (apart := _copies_apart(datasets.clusters(home, dataset.id), groups)):
        what = f"keep the groups of {study.group!r} together, but {apart} rows have a near copy in another group."
        say("warning", "folds", what, "Take the copies out; scores on them are too good.")
    if torn := splits.without_giants(groups, study.folds.k)[1]:
        what = f"{torn} group(s) of rows are larger than a fold and are torn apart: some of their rows are trained on "
        say("warning", "folds", f"{what}while others are tested.", "Use a smaller k; read scores as too good.")
    what = "of this dataset is trained on and tested, too: no row stays untouched for a last check."
    say("note", "locked test part", what, "Keep new rows for that.")
    return found


def _copies_apart(clusters: np.ndarray, groups: np.ndarray) -> int:
    """Rows whose near-duplicates are in more than one group; clusters, groups: (N,) numbers."""
    pairs = np.unique(np.stack([clusters, groups]), axis=1)
    names, count = np.unique(pairs[0], return_counts=True)
    return int(np.isin(clusters, names[count > 1]).sum())


def learnt_of(home: Home, source: Source, dataset: Dataset, tested: np.ndarray) -> int:
    """How many of some rows of a dataset an own/ source was trained on."""
    if source.trained_on != dataset.id:
        return 0
    card = json.loads((home.trials / weights_of(source.id).removeprefix("own/") / "card.json").read_text())
    split = datasets.stored_split(home, Trial.model_validate(card["trial"]).split)
    return int(np.isin(tested, [*split.train, *split.validation]).sum())
