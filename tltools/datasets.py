"""Datasets: files become rows that are profiled, stored under a hash of their content, split, and never edited."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tltools import artifacts, readings, splits
from tltools.drafts import Draft, as_dataset, as_json, inspect
from tltools.home import Home, write_json
from tltools.modalities import modalities
from tltools.records import Dataset, Profile, Refusal, Split, plain_name, refuse
from tltools.splits import draw
from tltools.tasks import tasks

if TYPE_CHECKING:
    from tltools.tickets import Ticket

_ID = re.compile(r"[0-9a-f]{16}")
Told = readings.Told

__all__ = [
    "Draft", "add", "columns", "content_keys", "delete", "draw", "get", "groups", "ingest_job", "inspect", "items",
    "keep_split", "listing", "media", "profile", "read_like", "rows", "split", "stored_split", "target",
]  # fmt: skip


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
    dataset = as_dataset(draft)
    final = home.datasets / dataset.id
    if artifacts.sealed(final):
        return get(home, dataset.id)
    if told:
        told("storing", 0, 1)
    with artifacts.building(final) as folder:
        if draft.media is not None:
            _link_used(draft.media, folder / "media", draft.table[draft.inputs[0]])
        draft.table.to_parquet(folder / "rows.parquet", index=False)
        np.save(folder / "clusters.npy", np.asarray(draft.clusters, np.int64), allow_pickle=False)
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
    """Returns all stored datasets, newest first, without those that are damaged or being deleted."""
    if not home.datasets.is_dir():
        return []
    found = []
    for folder in home.datasets.iterdir():
        with contextlib.suppress(OSError, ValueError):  # a Refusal is a ValueError; one of them must not hide the rest
            found.append(get(home, folder.name))
    return sorted(found, key=lambda dataset: dataset.created, reverse=True)


def profile(home: Home, id: str) -> Profile:
    """Returns the profile that was made when the dataset was added."""
    return Profile.model_validate_json((_folder(home, id) / "profile.json").read_text())


def rows(home: Home, id: str, *columns: str) -> pd.DataFrame:
    """Returns the rows: `columns`, or the user's, `_where` and `_part`; the index is the row number."""
    return pd.read_parquet(_folder(home, id) / "rows.parquet", columns=list(columns) or None)


def columns(home: Home, id: str) -> list[str]:
    """Returns the names of the user's columns, read or not."""
    import pyarrow.parquet as pq

    names = pq.read_schema(_folder(home, id) / "rows.parquet").names
    return [name for name in names if not name.startswith("_")]


def media(home: Home, id: str) -> Path:
    """Returns the folder with the dataset's files; it may not exist where there are none."""
    return _folder(home, id) / "media"


def clusters(home: Home, id: str) -> np.ndarray:
    """Returns (N,) int64: near-duplicate rows share a number."""
    return np.asarray(np.load(_folder(home, id) / "clusters.npy", allow_pickle=False))


def target(home: Home, dataset: Dataset) -> np.ndarray:
    """Returns (N,) class codes (int64) or numbers (float32), or (N, C) labels (uint8), as the task encodes them."""
    column = rows(home, dataset.id, dataset.target)[dataset.target]
    return np.asarray(tasks()[dataset.task].encode(column, dataset.classes))


def content_keys(home: Home, dataset: Dataset) -> list[bytes]:
    """Returns sha256 of each row's inputs and how they are read: equal keys mean equal items, in whatever dataset."""
    modality = modalities()[dataset.modality]
    keys = modality.content(rows(home, dataset.id), dataset.inputs, media(home, dataset.id))
    if not dataset.reading:
        return list(keys)
    how = json.dumps(dataset.reading, sort_keys=True).encode()
    return [hashlib.sha256(key + how).digest() for key in keys]


def items(home: Home, dataset: Dataset, reads: str) -> Sequence[Any]:
    """Returns one item a row as a source reads it: "text" str, "image" path or `modalities.Drawn`, "tabular" the
    DataFrame of inputs.

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
    return views[reads](table, dataset.inputs, folder, dataset.reading)


def read_like(
    home: Home, dataset: Dataset, path: str | os.PathLike[str]
) -> tuple[pd.DataFrame, pd.DataFrame, Path, Profile]:
    """Reads rows to predict: the input columns of a dataset, typed like its own, without a target.

    Returns the table that a model reads (with `_where`), the cells as they stand in the file, the media folder, and a
    profile that holds problems and skipped rows.

    Raises:
        Refusal: the file cannot be read, or an input column is missing.
    """
    own = rows(home, dataset.id).head(1)
    numbers = frozenset(str(name) for name in own.columns if own[name].dtype == float and name != dataset.target)
    read = readings.take(home, readings.named(path), numbers=numbers).read
    table, shown = read.table, plain_name(Path(path).name)
    absent = [name for name in dataset.inputs if name not in table]
    if absent:
        what = f"the column(s) {', '.join(absent[:8])} are missing, which {dataset.name} has as inputs."
        raise refuse(shown, what, "Add these columns, or check the header line.")
    found = Profile(rows=len(table), columns=(), problems=read.problems, skipped=read.skipped, inference=read.inference)
    written = table if read.written is None else read.written
    return table, written, read.media or Path(), found


def delete(home: Home, id: str) -> Path:
    """Moves a dataset to the trash, which a worker that starts empties of what lay there for `artifacts.KEPT` seconds;
    returns where it lies now."""
    folder = _folder(home, id)
    home.trash.mkdir(parents=True, exist_ok=True)
    gone = home.trash / f"dataset-{id}-{time.time_ns()}"
    os.rename(folder, gone)
    os.utime(gone)  # from now on, not from when it was made
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
    _folder(home, dataset.id)  # what was split may have been deleted since
    return keep_split(home, _made(home, dataset.id, group, seed, test_share, validation_share))


@functools.lru_cache(maxsize=4)  # a screen asks several times a click, and what is stored never changes
def _made(home: Home, id: str, group: str | None, seed: int, test_share: float, validation_share: float) -> Split:
    dataset = get(home, id)
    parts = splits.make(
        target(home, dataset),
        groups(home, dataset, group),
        rows(home, id, "_part")["_part"].to_numpy(object),
        seed=seed,
        test_share=test_share,
        validation_share=validation_share,
    )
    for part in ("train", "validation", "test"):
        if not len(getattr(parts, part)):
            what = f"the {part} part would be empty." + (f' "{group}" has too few values.' if group else "")
            raise refuse(dataset.name, what, "Add rows, or group by another column.")
    return splits.record(id, parts, seed=seed, grouped_by=group or "duplicates")


def groups(home: Home, dataset: Dataset, column: str | None = None) -> np.ndarray:
    """(N,) int64 groups of rows that no split tears apart: those of a column, else near-duplicates.

    Raises:
        Refusal: no such column.
    """
    if column is None:
        return clusters(home, dataset.id)
    names = columns(home, dataset.id)
    if column not in names:
        what = f'there is no column "{column}" to group by.'
        raise refuse(dataset.name, what, f"The columns are: {', '.join(names)}.")
    values = rows(home, dataset.id, column)[column]
    return pd.factorize(values.astype("str").fillna("\0missing"))[0].astype(np.int64)


def keep_split(home: Home, made: Split) -> Split:
    """Stores a split, once, and returns it."""
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
    """The job "ingest": adds what a screen or the terminal named, tells how far it is, and stops when asked.

    With `payload["look"]` the files are only read and decoded, which is kept for a day, and `jobs/<id>/draft.json` says
    what was found: a screen shows a preview without decoding a stranger's files in its own process. With
    `payload["sample"]` a sample is added.
    """

    def told(stage: str, done: int, total: int) -> None:
        ticket.check()
        ticket.progress(stage, done, total)

    asked = {key: payload.get(key) for key in ("test", "target", "inputs", "task", "name")}
    if payload.get("sample"):
        from tltools import samples

        return {"dataset": samples.add(ticket.home, payload["sample"], told).id}
    if payload.get("look"):
        draft = inspect(ticket.home, payload["path"], told=told, **asked)
        if ticket.job is not None:
            write_json(ticket.home.jobs / ticket.job.id / "draft.json", as_json(draft))
        return {"ready": draft.ready}
    return {"dataset": add(ticket.home, payload["path"], told=told, **asked).id}


def _folder(home: Home, id: str) -> Path:
    folder = home.datasets / id if _ID.fullmatch(id) else None
    if folder is None or not artifacts.sealed(folder):
        raise refuse("dataset", f'there is no dataset "{id[:40]}".', "Look at the list of datasets, or add it again.")
    return folder


def _link_used(source: Path, folder: Path, names: pd.Series) -> None:
    for name in names.unique():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, folder / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(source / name, folder / name)
