"""Everything worth knowing of a dataset, found once: sizes, balance, missing cells, copies, leaks; all told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tltools.judging import leakage
from tltools.modalities import Strings, modalities
from tltools.records import Column, Dataset, Problem, Profile
from tltools.tasks import row_classes, tasks

_MOST_WORDS = 400  # of a row, from its beginning, that are looked at for leaks
_MOST_LABELS = 20  # of several labels, that are looked at for leaks
_NO_FOLDER = Path("/nonexistent")


@dataclass(frozen=True)
class Findings:
    """A profile, and the clusters (N,) int64 of near-duplicate rows that were found on the way."""

    profile: Profile
    clusters: np.ndarray


def examine(
    table: pd.DataFrame, dataset: Dataset, columns: Sequence[Column], media: Path | None, before: Profile
) -> Findings:
    """Profiles the rows of a dataset. `before` holds what reading and choosing have already found."""
    modality, task = modalities()[dataset.modality], tasks()[dataset.task]
    folder = media or _NO_FOLDER
    target = table[dataset.target]
    codes = np.asarray(task.encode(target, dataset.classes))
    clusters = np.asarray(modality.clusters(table, dataset.inputs, folder))
    keys = modality.content(table, dataset.inputs, folder)
    numbers = dict(modality.numbers(table, dataset.inputs, folder))
    classes: dict[str, int] = {}
    if row_classes(dataset):
        classes = {str(name): int(count) for name, count in target.value_counts().items()}
    elif task.several:
        classes = _named(dataset, codes.sum(0, dtype=np.int64))
    elif task.dense:
        classes = _named(dataset, task.dense.counted(codes, len(dataset.classes))) if task.dense.counted else {}
    elif task.written:
        numbers |= task.written.numbers(codes)
    elif not task.objects:
        values = target.astype(float)
        numbers |= {
            "target_min": float(values.min()),
            "target_mean": float(values.mean()),
            "target_max": float(values.max()),
            "target_std": float(values.std(ddof=0)),
        }
    answers = () if task.objects else _answers(dataset, codes)
    if task.objects or task.several:  # truths of places, texts and several labels are compared as they are written
        codes = pd.factorize(target)[0]
    twins, copies = _copies(table, keys, codes, clusters, worded=modalities()[dataset.modality].strings is not None)
    numbers |= copies
    problems = [
        *before.problems,
        *task.problems(target, dataset),
        *modality.problems(table, dataset.inputs, folder),
        *twins,
        *_parts(table, dataset, clusters),
        *_columns(table, dataset, columns),
        *(_leaks(table, dataset, answers) if answers else ()),
    ]
    profile = before.model_copy(
        update={
            "rows": len(table),
            "columns": tuple(columns),
            "classes": classes,
            "numbers": {name: float(value) for name, value in numbers.items() if np.isfinite(value)},
            "problems": in_order(problems),
        }
    )
    return Findings(profile, clusters)


def _named(dataset: Dataset, counts: np.ndarray) -> dict[str, int]:
    """Counts (C,) by name of their class, the largest first."""
    return {dataset.classes[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable")}


def in_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Errors first, then warnings, then notes; each said once."""
    rank = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: rank[problem.severity]))


def _note(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="note", where=where, what=what, remedy=remedy)


def _warning(where: str, what: str, remedy: str) -> Problem:
    return Problem(severity="warning", where=where, what=what, remedy=remedy)


def _copies(
    table: pd.DataFrame, keys: Sequence[bytes], codes: np.ndarray, clusters: np.ndarray, worded: bool
) -> tuple[list[Problem], dict[str, float]]:
    """Equal rows, equal rows with unequal targets, and near-duplicates; worded: rows are of words."""
    places = table["_where"]
    first: dict[bytes, int] = {}
    original = np.fromiter((first.setdefault(key, row) for row, key in enumerate(keys)), np.int64, len(keys))
    repeated = original != np.arange(len(original))
    if worded:  # those without one are alike in nothing but that: each has a cluster of its own, and they are told
        repeated &= clusters == clusters[original]
    equal = np.flatnonzero(repeated)
    near = int(len(clusters) - len(np.unique(clusters))) - len(equal)
    found = []
    quarrel = equal[codes[equal] != codes[original[equal]]]
    if len(quarrel):
        one = quarrel[0]
        what = f"{len(quarrel)} row(s) have the same input as another row but another target, the first: "
        what += f"{places.iloc[one]} against {places.iloc[original[one]]}."
        found.append(
            _warning(str(places.iloc[one]), what, "Correct the targets, or accept that no model can be right on both.")
        )
    if len(equal):
        one = equal[0]
        what = f"{len(equal)} row(s) repeat the input of another row, the first: "
        what += f"{places.iloc[one]} repeats {places.iloc[original[one]]}."
        found.append(
            _note(
                str(places.iloc[one]), what, "Copies stay in one part of the split, so they cannot flatter the score."
            )
        )
    if near > 0:
        own = np.flatnonzero((clusters != np.arange(len(clusters))) & (original == np.arange(len(original))))
        one = own[0] if len(own) else int(np.flatnonzero(clusters != np.arange(len(clusters)))[0])
        what = f"{near} row(s) are nearly the same as another one, for example "
        what += f"{places.iloc[one]} and {places.iloc[clusters[one]]}."
        remedy = (
            "They stay in one part of the split, so they cannot flatter the score. Where rows belong together that "
        )
        remedy += "look less alike (of a burst, a site, a patient), choose their column on the strategy screen."
        found.append(_note(str(places.iloc[one]), what, remedy))
    return found, {"duplicates": float(len(equal)), "near_duplicates": float(max(0, near))}


def _parts(table: pd.DataFrame, dataset: Dataset, clusters: np.ndarray) -> list[Problem]:
    """Rows of the user's own test part that have a twin outside it; classes that only one side has."""
    test = (table["_part"] == "test").to_numpy()
    if not test.any():
        test = (table["_part"] == "validation").to_numpy()
    if not test.any() or test.all():
        return []
    found = []
    twins = np.flatnonzero(test & np.isin(clusters, clusters[~test]))
    if len(twins):
        one = twins[0]
        other = np.flatnonzero(~test & (clusters == clusters[one]))[0]
        places = table["_where"]
        what = f"{len(twins)} of {int(test.sum())} test rows have a (near) copy among the other rows, for example "
        what += f"{places.iloc[one]} and {places.iloc[other]}; scores on them are too good."
        found.append(
            _warning(str(places.iloc[one]), what, "Take the copies out of one side, or let the split be made here.")
        )
    if row_classes(dataset):
        values = table[dataset.target]
        only_test = sorted(set(values[test]) - set(values[~test]))
        if only_test:
            some = ", ".join(only_test[:6])
            what = f"{len(only_test)} class(es) stand only in the test part and cannot be learned: {some}."
            found.append(_warning(f'column "{dataset.target}"', what, "Add rows of them to train, or leave them out."))
        only_train = sorted(set(values[~test]) - set(values[test]))
        if only_train:
            what = f"{len(only_train)} class(es) have no row in the test part: {', '.join(only_train[:6])}."
            found.append(
                _warning(f'column "{dataset.target}"', what, "Nothing can be said of how well they are predicted.")
            )
    return found


def _columns(table: pd.DataFrame, dataset: Dataset, columns: Sequence[Column]) -> list[Problem]:
    """Constant, empty and half-empty columns, and identifiers; one problem for each sort, not for each column."""
    from tltools.formats._cells import listed

    rows, found = len(table), []
    files = modalities()[dataset.modality].files
    ours = files.facts if files else ()
    others = [column for column in columns if column.name != dataset.target and column.name not in ours]
    empty = [column.name for column in others if column.missing == rows]
    constant = [column.name for column in others if column.kind == "constant" and column.missing < rows]
    holes = [column for column in others if column.name in dataset.inputs and 0.4 * rows < column.missing < rows]
    if empty:
        what = f"{len(empty)} column(s) are empty: {listed(empty)}."
        found.append(_note(empty[0], what, "They are not read."))
    if constant:
        what = f"{len(constant)} column(s) hold one value only: {listed(constant)}."
        found.append(_note(constant[0], what, "Nothing can be learned from them, so they are not read."))
    if holes:
        said = listed([f"{column.name} ({100 * column.missing / rows:.0f} %)" for column in holes])
        what = f"{len(holes)} input column(s) miss more than 40 % of their cells: {said}."
        found.append(_warning(holes[0].name, what, "Check that they are missing by chance; else leave them out."))
    names = [column.name for column in others if column.kind == "id" and column.name in dataset.inputs]
    if names:
        what = f"{len(names)} input column(s) look like identifiers: {listed(names)}."
        found.append(
            _warning(names[0], what, "Leave them out of the inputs: they hold no knowledge that carries over.")
        )
    return found


Answer = tuple[str, np.ndarray, tuple[str, ...]]  # (what it is called, (N,) codes or numbers, names by code or ())


def _answers(dataset: Dataset, codes: np.ndarray) -> list[Answer]:
    """What an input could give away: the target, or each of the most frequent labels, whose absence has no name."""
    if codes.ndim == 1:
        return [("the target", codes, dataset.classes)]
    most = np.argsort(-codes.sum(0, dtype=np.int64), kind="stable")[:_MOST_LABELS]
    return [(f'the label "{dataset.classes[k]}"', codes[:, k].astype(np.int64), ("", dataset.classes[k])) for k in most]


def _leaks(table: pd.DataFrame, dataset: Dataset, answers: Sequence[Answer]) -> list[Problem]:
    """Inputs that predict the target by themselves; facts of files and single words that do."""
    strings, files = modalities()[dataset.modality].strings, modalities()[dataset.modality].files
    words = _telling_words(table, dataset, answers, strings) if strings else []
    if strings and len(dataset.inputs) == 1:  # that the one text tells the target is what is hoped for
        return words
    names = files.facts if files else dataset.inputs
    values = {n: _values(table[n]) for n in names if n in table and n != dataset.target}
    found = []
    for asked, leak in [(asked, leak) for asked, codes, _ in answers for leak in leakage.suspects(values, codes)]:
        way = f"{100 * leak.skill:.0f} % of the way to certainty"
        if files:
            what = f"the {leak.column} of {files.one} alone tells {asked} ({way})."
            found.append(_warning(leak.column, what, files.telling))
            continue
        how = "whether it is filled or not alone tells" if leak.by_absence else "it alone tells"
        what = f"{how} {asked} ({way}): leakage is suspected."
        remedy = f'If it is not known at the time of prediction, leave "{leak.column}" out of the inputs.'
        found.append(_warning(f'column "{leak.column}"', what, remedy))
    if len(found) > 20:
        what = f"{len(found) - 20} more columns tell the target alone."
        found = [*found[:20], _warning("the table", what, "Check where the target comes from.")]
    return [*words, *found]


def _values(column: pd.Series) -> np.ndarray:
    return np.asarray(column.to_numpy(float) if column.dtype == float else column.to_numpy(object, na_value=None))


def _telling_words(table: pd.DataFrame, dataset: Dataset, answers: Sequence[Answer], strings: Strings) -> list[Problem]:
    if not dataset.classes:
        return []
    step = max(1, len(table) // 5_000)
    words = [frozenset(found[:_MOST_WORDS]) for found in strings.words(table.iloc[::step], dataset.inputs)]
    told = [pair for _, codes, names in answers for pair in leakage.telling_words(words, codes[::step], names)]
    found = [(word, name) for word, name in told if name]
    by_class = Counter(name for _, name in found)
    problems = []
    for name in by_class:
        telling = [word for word, other in found if other == name][:5]
        what = f'nearly every row of the class "{name}", and hardly any other, holds: {", ".join(telling)}.'
        remedy = "If this comes from how the data was collected, take it out: else it is learned instead of the task."
        problems.append(_warning(", ".join(dataset.inputs), what, remedy))
    return problems
