"""Datasets: files become rows that are profiled, stored under a hash of their content, split, and never edited."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tltools import artifacts, profiles, readings, splits, targets
from tltools.home import Home, write_json
from tltools.modalities import modalities
from tltools.records import Column, Dataset, Problem, Profile, Refusal, Skipped, Split, refuse
from tltools.splits import draw
from tltools.tasks import tasks

if TYPE_CHECKING:
    from tltools.tickets import Ticket

_ID = re.compile(r"[0-9a-f]{16}")
_LEAST_ROWS = 10
_MOST_SKIPPED = 10_000  # named one by one; more are counted
Told = readings.Told

__all__ = [
    "Draft", "add", "content_keys", "delete", "draw", "get", "ingest_job", "inspect", "items", "listing", "media",
    "profile", "read_like", "rows", "split", "stored_split", "target",
]  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A dataset before it is stored. `ready` is False while an error stands in profile.problems.

    `head` holds the first 50 rows as they will be stored; `media` the decoded images, for a preview.
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
    head: pd.DataFrame
    media: Path | None
    table: pd.DataFrame
    clusters: np.ndarray | None = None

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
    told: Told | None = None,
) -> Draft:
    """Reads and profiles files without storing a dataset; what is not said is inferred, with reasons in the profile.

    Raises:
        Refusal: the files cannot be read at all. Whatever else is wrong stands in the draft's profile.
    """
    first = Path(path).expanduser()
    second = Path(test).expanduser() if test is not None else None
    reading = readings.take(home, first, second, told)
    read = reading.read
    columns = targets.describe(read.table, ["image"] if read.media is not None else [])
    choice = targets.choose(columns, reading.shown, hint=read.target, target=target, inputs=inputs, task=task)
    shown_name = _plain(name or (first.stem if first.is_file() else first.resolve().name))
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
        before, read.table.head(50), read.media, read.table,
    )  # fmt: skip
    if any(problem.severity == "error" for problem in choice.problems) or not (choice.task and choice.modality):
        return _finished(draft)
    told("profiling", 0, 1)
    return _finished(_examined(draft, columns))


def add(
    home: Home,
    path: str | os.PathLike[str],
    *,
    test: str | os.PathLike[str] | None = None,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    task: str | None = None,
    name: str | None = None,
    told: Told | None = None,
) -> Dataset:
    """Reads, profiles and stores a dataset; the same content with the same choices is stored once.

    Raises:
        Refusal: everything that stands in the way, in one; nothing is stored then.
    """
    draft = inspect(home, path, test=test, target=target, inputs=inputs, task=task, name=name, told=told)
    errors = [problem for problem in draft.profile.problems if problem.severity == "error"]
    if errors:
        raise Refusal(*errors)
    dataset = _as_dataset(draft)
    final = home.datasets / dataset.id
    if artifacts.sealed(final):
        return get(home, dataset.id)
    if told:
        told("storing", 0, 1)
    with artifacts.building(final) as folder:
        if draft.media is not None:
            _link_used(draft.media, folder / "media", draft.table[draft.inputs[0]])
        draft.table.to_parquet(folder / "rows.parquet", index=False)
        np.save(folder / "clusters.npy", draft.clusters, allow_pickle=False)
        write_json(folder / "profile.json", draft.profile.model_dump(mode="json"))
        write_json(folder / "dataset.json", dataset.model_dump(mode="json"))
    return get(home, dataset.id)


def get(home: Home, id: str) -> Dataset:
    """Returns a stored dataset.

    Raises:
        Refusal: there is none with this id.
    """
    return Dataset.model_validate_json((_folder(home, id) / "dataset.json").read_text())


def listing(home: Home) -> list[Dataset]:
    """Returns all stored datasets, newest first."""
    if not home.datasets.is_dir():
        return []
    found = [get(home, f.name) for f in home.datasets.iterdir() if _ID.fullmatch(f.name) and artifacts.sealed(f)]
    return sorted(found, key=lambda dataset: dataset.created, reverse=True)


def profile(home: Home, id: str) -> Profile:
    """Returns the profile that was made when the dataset was added."""
    return Profile.model_validate_json((_folder(home, id) / "profile.json").read_text())


def rows(home: Home, id: str) -> pd.DataFrame:
    """Returns the rows: the user's columns, `_where` and `_part`; the index is the row number."""
    return pd.read_parquet(_folder(home, id) / "rows.parquet")


def media(home: Home, id: str) -> Path:
    """Returns the folder with the dataset's images; it may not exist where there are none."""
    return _folder(home, id) / "media"


def clusters(home: Home, id: str) -> np.ndarray:
    """Returns (N,) int64: near-duplicate rows share a number."""
    return np.asarray(np.load(_folder(home, id) / "clusters.npy", allow_pickle=False))


def target(home: Home, dataset: Dataset) -> np.ndarray:
    """Returns (N,) class codes (int64) or numbers (float32), as the task encodes them."""
    return np.asarray(tasks()[dataset.task].encode(rows(home, dataset.id)[dataset.target], dataset.classes))


def content_keys(home: Home, dataset: Dataset) -> list[bytes]:
    """Returns sha256 of each row's inputs: equal rows have equal keys, in whatever dataset they stand."""
    modality = modalities()[dataset.modality]
    return list(modality.content(rows(home, dataset.id), dataset.inputs, media(home, dataset.id)))


def items(home: Home, dataset: Dataset, reads: str) -> Sequence[Any]:
    """Returns one item a row as a source reads it: "text" str, "image" path, "tabular" the DataFrame of inputs.

    Raises:
        Refusal: the modality cannot be read so.
    """
    return view(dataset, rows(home, dataset.id), media(home, dataset.id), reads)


def view(dataset: Dataset, table: pd.DataFrame, folder: Path, reads: str) -> Sequence[Any]:
    """Returns the items of rows that may be new ones, read like those of a dataset."""
    views = modalities()[dataset.modality].views
    if reads not in views:
        what = f"{modalities()[dataset.modality].title.lower()} cannot be read as {reads}."
        raise refuse(dataset.name, what, f"Choose a source that reads {' or '.join(views)}.")
    return views[reads](table, dataset.inputs, folder)


def read_like(home: Home, dataset: Dataset, path: str | os.PathLike[str]) -> tuple[pd.DataFrame, Path, Profile]:
    """Reads rows to predict: the input columns of a dataset, typed like its own, without a target.

    Returns the table (with `_where`, and the target where the file has it), the media folder, and a profile that
    holds problems and skipped rows.

    Raises:
        Refusal: the file cannot be read, or an input column is missing.
    """
    read = readings.take(home, Path(path).expanduser(), labelled=False).read
    table, shown = read.table, Path(path).name
    absent = [name for name in dataset.inputs if name not in table]
    if absent:
        what = f"the column(s) {', '.join(absent[:8])} are missing, which {dataset.name} has as inputs."
        raise refuse(shown, what, "Add these columns, or check the header line.")
    own = rows(home, dataset.id).head(1)
    for column in dataset.inputs:
        if own[column].dtype == float and table[column].dtype != float:
            table[column] = pd.to_numeric(table[column], errors="coerce")
        elif own[column].dtype != float and table[column].dtype == float:
            table[column] = table[column].map(lambda value: f"{value:.12g}", na_action="ignore").astype("str")
    found = Profile(rows=len(table), columns=(), problems=read.problems, skipped=read.skipped, inference=read.inference)
    return table.reset_index(drop=True), read.media or Path(), found


def delete(home: Home, id: str) -> Path:
    """Moves a dataset to the trash; returns where it lies now."""
    folder = _folder(home, id)
    home.trash.mkdir(parents=True, exist_ok=True)
    gone = home.trash / f"dataset-{id}-{time.time_ns()}"
    os.rename(folder, gone)
    return gone


def split(
    home: Home,
    dataset: Dataset,
    *,
    group: str | None = None,
    seed: int = 0,
    test_share: float = 0.2,
    validation_share: float = 0.15,
) -> Split:
    """Makes and stores the split: the user's parts kept, stratified, grouped by near-duplicates or by a column.

    Raises:
        Refusal: no such column, shares out of range, or a part would be empty.
    """
    if not (0 < test_share < 1 and 0 < validation_share < 1 and test_share + validation_share < 0.9):
        what = (
            f"shares must be above 0 and leave a tenth to train; got test {test_share}, validation {validation_share}."
        )
        raise refuse("split", what, "Set 0.2 and 0.15.")
    table = rows(home, dataset.id)
    if group is not None and group not in table:
        raise refuse(
            dataset.name,
            f'there is no column "{group}" to group by.',
            f"The columns are: {', '.join(map(str, table))}.",
        )
    if group is None:
        groups = clusters(home, dataset.id)
    else:
        groups = pd.factorize(table[group].astype("str").fillna("\0missing"))[0].astype(np.int64)
    parts = splits.make(
        target(home, dataset),
        groups,
        table["_part"].to_numpy(object),
        seed=seed,
        test_share=test_share,
        validation_share=validation_share,
    )
    for part in ("train", "validation", "test"):
        if not len(getattr(parts, part)):
            what = f"the {part} part would be empty." + (f' "{group}" has too few values.' if group else "")
            raise refuse(dataset.name, what, "Add rows, or group by another column.")
    made = splits.record(dataset.id, parts, seed=seed, grouped_by=group or "duplicates")
    path = home.splits / f"{made.id}.json"
    if not path.exists():
        write_json(path, made.model_dump(mode="json"))
    return made


def stored_split(home: Home, id: str) -> Split:
    """Returns a stored split.

    Raises:
        Refusal: there is none with this id.
    """
    path = home.splits / f"{id}.json"
    if not _ID.fullmatch(id) or not path.is_file():
        raise refuse("split", f'there is no split "{id[:40]}".', "Make it again from its dataset.")
    return Split.model_validate_json(path.read_text())


def ingest_job(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """The job "ingest": adds what a screen or the terminal named, tells how far it is, and stops when asked."""

    def told(stage: str, done: int, total: int) -> None:
        ticket.check()
        ticket.progress(stage, done, total)

    asked = {key: payload.get(key) for key in ("test", "target", "inputs", "task", "name")}
    return {"dataset": add(ticket.home, payload["path"], told=told, **asked).id}


def _folder(home: Home, id: str) -> Path:
    folder = home.datasets / id if _ID.fullmatch(id) else None
    if folder is None or not artifacts.sealed(folder):
        raise refuse("dataset", f'there is no dataset "{id[:40]}".', "Look at the list of datasets, or add it again.")
    return folder


def _examined(draft: Draft, columns: Sequence[Column]) -> Draft:
    """Takes out rows without a target, types the target, and profiles what is left."""
    assert draft.target is not None and draft.task is not None and draft.modality is not None
    table, lost = _with_target(draft.table, draft.target, draft.task, draft.origin)
    before = draft.profile
    if lost:
        what = f"{len(lost)} row(s) were left out: {lost[0].reason}."
        trouble = Problem(
            severity="warning",
            where=lost[0].where,
            what=what,
            remedy="Fill in the targets, or go on without these rows.",
        )
        before = before.model_copy(
            update={"skipped": (*before.skipped, *lost), "problems": (*before.problems, trouble)}
        )
    classes = tasks()[draft.task].classes(table[draft.target])
    draft = _changed(draft, table=table, rows=len(table), classes=tuple(classes), head=table.head(50), profile=before)
    errors = _too_little(draft)
    if errors:
        update = {"problems": profiles.in_order((*before.problems, *errors)), "rows": len(table)}
        return _changed(draft, profile=before.model_copy(update=update))
    parts = {str(part): int(count) for part, count in table["_part"].value_counts().items()}
    draft = _changed(draft, parts=parts)
    if lost:
        columns = targets.describe(table, [column.name for column in columns if column.kind == "image"])
    findings = profiles.examine(table, _as_dataset(draft, hashed=False), columns, draft.media, before)
    return _changed(draft, profile=findings.profile, clusters=findings.clusters)


def _with_target(table: pd.DataFrame, target: str, task: str, shown: str) -> tuple[pd.DataFrame, list[Skipped]]:
    """Rows that have a target, which becomes names for classes and float64 for numbers; and why the others are out."""
    values = table[target]
    if task == "regression" and values.dtype != float:
        values = pd.to_numeric(values, errors="coerce")
        strange = values.isna() & table[target].notna()
        if strange.sum() > 0.05 * max(1, len(table)):
            where = f'{table.loc[strange, "_where"].iloc[0]}, column "{target}"'
            what = f'must be a number; got "{str(table.loc[strange, target].iloc[0])[:40]}" ({int(strange.sum())} such cells).'
            raise refuse(where, what, "Choose classification, or another target column.")
    elif task == "classification" and values.dtype == float:
        values = values.map(lambda value: f"{value:.12g}", na_action="ignore").astype("str")
    gone = values.isna()
    lost = [
        Skipped(where=str(where), reason=f'the target "{target}" is {"no number" if had else "empty"}')
        for where, had in zip(table.loc[gone, "_where"], table.loc[gone, target].notna(), strict=True)
    ]
    return table.assign(**{target: values})[~gone].reset_index(drop=True), lost


def _too_little(draft: Draft) -> list[Problem]:
    """What makes a dataset useless for judging: too few rows, one class, a class for each row."""
    assert draft.target is not None
    where, found = f'{draft.origin}, column "{draft.target}"', []

    def error(what: str, remedy: str) -> None:
        found.append(Problem(severity="error", where=where, what=what, remedy=remedy))

    if not draft.rows:
        error("every row lacks its target.", "Fill the column in, or name another target.")
    elif draft.rows < _LEAST_ROWS:
        error(f"at least {_LEAST_ROWS} rows with a target are needed; got {draft.rows}.", "Add rows.")
    elif draft.classes or draft.task == "classification":
        counts = draft.table[draft.target].value_counts()
        if len(counts) == 1:
            error(f'at least two classes are needed; every row says "{counts.index[0]}".', "Add rows of another class.")
        elif len(counts) > 0.5 * draft.rows:
            what = f"{draft.rows} rows have {len(counts)} different values, so nearly every row is a class of its own."
            error(what, "Name another target, or choose regression if it is a number.")
        elif (counts >= 3).sum() < 2:
            error("at least two classes need three rows each; got " + _counted(counts) + ".", "Add rows.")
    elif draft.table[draft.target].nunique() < 2:
        error("the target must vary; it is the same in every row.", "Name another target.")
    if draft.rows and (draft.table["_part"] == "test").all():
        error("every row belongs to the test part.", "Add training rows.")
    return found


def _counted(counts: pd.Series) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.head(6).items())


def _as_dataset(draft: Draft, hashed: bool = True) -> Dataset:
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
    )


def _fingerprint(draft: Draft) -> str:
    """sha256 of rows, pictures (their names are hashes), parts, target, inputs and task; not of names and places."""
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


def _link_used(source: Path, folder: Path, names: pd.Series) -> None:
    for name in names.unique():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, folder / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(source / name, folder / name)


def _changed(draft: Draft, **values: Any) -> Draft:
    return Draft(**{**draft.__dict__, **values})


def _finished(draft: Draft) -> Draft:
    """Errors first, and at most so many skipped rows that the profile stays readable."""
    known = draft.profile
    skipped = known.skipped[:_MOST_SKIPPED]
    if len(known.skipped) > _MOST_SKIPPED:
        more = f"{len(known.skipped) - _MOST_SKIPPED:,} more rows or files were left out"
        skipped = (*skipped, Skipped(where=draft.origin, reason=more))
    return _changed(
        draft, profile=known.model_copy(update={"problems": profiles.in_order(known.problems), "skipped": skipped})
    )


def _plain(name: str) -> str:
    """A shown name: no control or direction marks, at most 255 bytes."""
    kept = "".join(char for char in name if char.isprintable()).strip() or "dataset"
    return kept.encode("utf-8", "replace")[:255].decode("utf-8", "ignore")
