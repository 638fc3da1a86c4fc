"""A dataset before it is stored: read, inferred, profiled, and refused with everything that stands in the way."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tltools import label_sets, profiles, readings, targets
from tltools.home import Home
from tltools.modalities import kinds_of_files, modalities
from tltools.records import Column, Dataset, Problem, Profile, Refusal, Skipped, plain_name, refuse
from tltools.tasks import tasks

_LEAST_ROWS = 10
_MOST_SKIPPED = 10_000  # named one by one; more are counted


@dataclass(frozen=True)
class Draft:
    """A dataset before it is stored. `ready` is False while an error stands in profile.problems.

    `sample` holds at most 50 rows as they will be stored, from everywhere; `media` the decoded files, for a preview.
    """

    name: str
    modality: str | None
    task: str | None
    target: str | None
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    rows: int
    parts: dict[str, int]
    origin: str
    profile: Profile
    sample: pd.DataFrame
    media: Path | None
    table: pd.DataFrame
    clusters: np.ndarray | None = None
    reading: Mapping[str, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """True when `add` with the same choices will store it."""
        return not any(problem.severity == "error" for problem in self.profile.problems)


def inspect(
    home: Home,
    path: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    task: str | None = None,
    name: str | None = None,
    told: readings.Told | None = None,
) -> Draft:
    """Reads and profiles files without storing a dataset; what is not said is inferred, with reasons in the profile.

    Raises:
        Refusal: the files cannot be read at all. Whatever else is wrong stands in the draft's profile.
    """
    first = readings.named(path)
    second = readings.named(test) if test is not None else None
    reading = readings.take(home, first, second, told)
    read = reading.read
    of_several = target is not None and target not in read.table
    if target is not None:
        read = replace(read, table=label_sets.joined(read.table, target))
    columns = targets.describe(read.table, [read.column], target if of_several else None)
    choice = targets.choose(columns, reading.shown, hint=read.target, target=target, inputs=inputs, task=task)
    shown_name = _plain(plain_name(name or (first.stem if first.is_file() else first.resolve().name)))
    told = told or (lambda stage, done, total: None)
    before = Profile(
        rows=len(read.table),
        columns=columns,
        problems=(*read.problems, *choice.problems),
        skipped=read.skipped,
        inference=(*read.inference, *choice.inference),
    )
    draft = Draft(
        shown_name, choice.modality, choice.task, choice.target, choice.inputs, (), len(read.table), {}, reading.shown,
        before, _some(read.table), read.media, read.table,
    )  # fmt: skip
    if choice.task is None or choice.target is None:
        return _finished(draft)
    told("profiling", 0, 1)
    try:
        return _finished(_examined(draft, columns))
    except Refusal as found:  # the choice does not go with the rows: shown beside everything else
        known = before.model_copy(update={"problems": (*before.problems, *found.problems)})
        return _finished(replace(draft, profile=known))


def _examined(draft: Draft, columns: Sequence[Column]) -> Draft:
    """Takes out rows without a target, types the target, and profiles what is left."""
    assert draft.target is not None and draft.task is not None
    table, lost = _with_target(draft.table, draft.target, draft.task, draft.origin)
    before = draft.profile
    if lost:
        what = f"{len(lost)} row(s) were left out: {lost[0].reason}."
        trouble = Problem(
            severity="warning",
            where=lost[0].where,
            what=what,
            remedy=_filled(draft),
        )
        before = before.model_copy(
            update={"skipped": (*before.skipped, *lost), "problems": (*before.problems, trouble)}
        )
    classes = tasks()[draft.task].classes(table[draft.target])
    draft = replace(draft, table=table, rows=len(table), classes=tuple(classes), sample=_some(table), profile=before)
    errors = _too_little(draft)
    if errors or not draft.ready or draft.modality is None:
        update = {"problems": profiles.in_order((*before.problems, *errors)), "rows": len(table)}
        return replace(draft, profile=before.model_copy(update=update))
    parts = {str(part): int(count) for part, count in table["_part"].value_counts().items()}
    reading = modalities()[draft.modality].reading(table, draft.inputs, draft.media or Path())
    draft = replace(draft, parts=parts, reading=reading)
    if lost:
        columns = targets.describe(table, [column.name for column in columns if column.kind in kinds_of_files()])
    findings = profiles.examine(table, as_dataset(draft, hashed=False), columns, draft.media, before)
    return replace(draft, profile=findings.profile, clusters=findings.clusters)


def _filled(draft: Draft) -> str:
    """What to do with rows that have no target: of several labels, none may apply, and a cell can say so."""
    assert draft.target is not None and draft.task is not None
    none = ""
    if tasks()[draft.task].several and draft.target in draft.table:
        between = label_sets.separator(list(draft.table[draft.target].dropna().astype("str"))) or label_sets.BETWEEN
        none = f' (where no label applies, write "{between}" alone)'
    return f"Fill in the targets{none}, or go on without these rows."


def _with_target(table: pd.DataFrame, target: str, task: str, shown: str) -> tuple[pd.DataFrame, list[Skipped]]:
    """Rows that have a target, which becomes names for classes and float64 for numbers; and why the others are out."""
    values, kind = table[target], tasks()[task].closed_form
    if kind == "number" and values.dtype != float:
        values = pd.to_numeric(values, errors="coerce")
        strange = values.isna() & table[target].notna()
        if strange.sum() > 0.05 * max(1, len(table)):
            where = f'{table.loc[strange, "_where"].iloc[0]}, column "{target}"'
            example = str(table.loc[strange, target].iloc[0])[:40]
            what = f'must be a number; got "{example}" ({int(strange.sum())} such cells).'
            raise refuse(where, what, "Choose classification, or another target column.")
    elif several := tasks()[task].several:
        values = several.stored(values)
    elif kind == "classes" and values.dtype == float:
        values = values.map(lambda value: f"{value:.12g}", na_action="ignore").astype("str")
    gone = values.isna()
    lost = [
        Skipped(where=str(where), reason=f'the target "{target}" is {"no number" if had else "empty"}')
        for where, had in zip(table.loc[gone, "_where"], table.loc[gone, target].notna(), strict=True)
    ]
    return table.assign(**{target: values})[~gone].reset_index(drop=True), lost


def _too_little(draft: Draft) -> list[Problem]:
    """What makes a dataset useless for judging: too few rows, one class, a class for each row."""
    assert draft.target is not None and draft.task is not None
    where, found = f'{draft.origin}, column "{draft.target}"', []

    def error(what: str, remedy: str) -> None:
        found.append(Problem(severity="error", where=where, what=what, remedy=remedy))

    if not draft.rows:
        error("every row lacks its target.", "Fill the column in, or name another target.")
    elif draft.rows < _LEAST_ROWS:
        error(f"at least {_LEAST_ROWS} rows with a target are needed; got {draft.rows}.", "Add rows.")
    elif tasks()[draft.task].closed_form == "classes":
        counts = draft.table[draft.target].value_counts()
        if len(counts) == 1:
            error(f'at least two classes are needed; every row says "{counts.index[0]}".', "Add rows of another class.")
        elif len(counts) > 0.5 * draft.rows:
            what = f"{draft.rows} rows have {len(counts)} different values, so nearly every row is a class of its own."
            error(what, "Name another target, or choose regression if it is a number.")
        elif (counts >= 3).sum() < 2:
            error("at least two classes need three rows each; got " + _counted(counts) + ".", "Add rows.")
    elif tasks()[draft.task].closed_form == "number" and draft.table[draft.target].nunique() < 2:
        error("the target must vary; it is the same in every row.", "Name another target.")
    if draft.rows and (draft.table["_part"] == "test").all():
        error("every row belongs to the test part.", "Add training rows.")
    return found


def _counted(counts: pd.Series) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.head(6).items())


def as_dataset(draft: Draft, hashed: bool = True) -> Dataset:
    """Makes the record; `hashed=False` leaves out the id, which costs a pass over all cells."""
    assert draft.target is not None and draft.task is not None and draft.modality is not None
    fingerprint = _fingerprint(draft) if hashed else "0" * 64
    return Dataset(
        id=fingerprint[:16],
        fingerprint=fingerprint,
        name=draft.name,
        modality=draft.modality,
        task=draft.task,
        target=draft.target,
        inputs=draft.inputs,
        classes=draft.classes,
        rows=draft.rows,
        parts=draft.parts,
        origin=draft.origin,
        created=datetime.now(UTC),
        reading=dict(draft.reading),
    )


def _some(table: pd.DataFrame) -> pd.DataFrame:
    """At most 50 rows, evenly from the first to the last: files often come class by class."""
    return table.iloc[:: max(1, -(-len(table) // 50))]


def as_json(draft: Draft) -> dict[str, Any]:
    """What a screen shows of a draft before anything is stored; `sample` holds some of its rows.

    Long cells are cut, but for masks and boxes, which are drawn.
    """
    some = draft.sample[[name for name in draft.sample if not str(name).startswith("_")]].iloc[:, :60]
    shown = some.astype("object").where(some.notna(), None)
    dense = draft.task is not None and tasks()[draft.task].dense is not None  # such cells are drawn, so kept whole
    return {
        "name": draft.name,
        "modality": draft.modality,
        "task": draft.task,
        "target": draft.target,
        "inputs": list(draft.inputs),
        "classes": list(draft.classes),
        "rows": draft.rows,
        "parts": draft.parts,
        "ready": draft.ready,
        "reading": dict(draft.reading),
        "media": None if draft.media is None else str(draft.media),
        "profile": draft.profile.model_dump(mode="json"),
        "sample": [
            [
                cell
                if cell is None or isinstance(cell, float)
                else str(cell)[: None if dense and name == draft.target else 300]
                for name, cell in zip(shown.columns, row, strict=True)
            ]
            for row in shown.to_numpy().tolist()
        ],
        "columns": [str(name) for name in shown.columns],
    }


def _fingerprint(draft: Draft) -> str:
    """sha256 of rows, files (their names are hashes), parts, target, inputs and task; not of names and places."""
    choices = [draft.modality, draft.task, draft.target, list(draft.inputs), list(draft.classes)]
    seen = hashlib.sha256(json.dumps(choices).encode())
    for name in draft.table:
        if name == "_where":
            continue
        column = draft.table[name]
        seen.update(f"\n{name} {len(column)}\n".encode())
        if column.dtype == float:
            seen.update((column.to_numpy(np.float64) + 0.0).tobytes())
        else:
            cells = ("\0" if value is None or value != value else str(value) for value in column.tolist())
            seen.update("\x1f".join(cells).encode("utf-8", "surrogatepass"))
    return seen.hexdigest()


def _finished(draft: Draft) -> Draft:
    """Errors first, and at most so many skipped rows that the profile stays readable."""
    known = draft.profile
    skipped = known.skipped[:_MOST_SKIPPED]
    if len(known.skipped) > _MOST_SKIPPED:
        more = f"{len(known.skipped) - _MOST_SKIPPED:,} more rows or files were left out"
        skipped = (*skipped, Skipped(where=draft.origin, reason=more))
    return replace(
        draft, profile=known.model_copy(update={"problems": profiles.in_order(known.problems), "skipped": skipped})
    )


def _plain(name: str) -> str:
    """A shown name: no control or direction marks, at most 255 bytes."""
    kept = "".join(char for char in name if char.isprintable()).strip() or "dataset"
    return kept.encode("utf-8", "replace")[:255].decode("utf-8", "ignore")
