"""One reading of the files a person names, kept for a day, so that changing the target costs no second one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tltools.formats import BY_PATH, UPLOADED, Asking, Format, Read, asking, formats
from tltools.formats._cells import as_names
from tltools.formats._magic import head_of, looks_like
from tltools.home import Home, existing, write_json
from tltools.records import Problem, Refusal, Skipped, plain_name, refuse

_VERSION = 8  # raise when the readers change what they return
_KEPT_SECONDS = 24 * 3600
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Reading:
    """What the files came to; `files` are the paths as people know them."""

    read: Read
    shown: str


def take(
    home: Home, path: Path, test: Path | None = None, told: Told | None = None, numbers: frozenset[str] | None = None
) -> Reading:
    """Reads a file or folder, and a second one as its test part; an equal reading of the last day is taken again.

    numbers: of rows to predict, the columns that hold numbers in the dataset whose rows they are like.

    Raises:
        Refusal: a path does not exist, or its content cannot be read.
    """
    _forget_old(home)
    first = _one(home, named(path), told, numbers)
    if test is None:
        return Reading(first, plain_name(path.name))
    second = _one(home, named(test), told, numbers)
    return Reading(_together(first, second, path, test), plain_name(f"{path.name} + {test.name}"))


def named(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder that a person names.

    Raises:
        Refusal: nothing lies there.
    """
    there = existing(path)
    if there is None:
        raise refuse(os.fspath(path), "there is no such file or folder.", "Check the path.")
    return there


def _one(home: Home, path: Path, told: Told | None, numbers: frozenset[str] | None) -> Read:
    if not os.access(path, os.R_OK):
        raise refuse(str(path), "this file cannot be read (no permission).", "Change its permissions.")
    drafts = home.root / "drafts"
    kept = drafts / _key(path, numbers)
    if (kept / "read.json").exists():
        return _load(kept)
    form = _format_of(path)
    drafts.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=drafts, prefix=".reading-"))
    uploaded = path.resolve().is_relative_to(home.uploads.resolve())
    ask = Asking(UPLOADED if uploaded else BY_PATH, told or Asking().told, numbers)
    token = asking.set(ask)
    try:
        read = form.read(path, scratch / "media")
        _save(scratch, read)
        try:
            os.rename(scratch, kept)
        except OSError:  # somebody else read the same at the same time
            shutil.rmtree(scratch, ignore_errors=True)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    finally:
        asking.reset(token)
    return _load(kept)


def _format_of(path: Path) -> Format:
    if not path.is_dir() and path.stat().st_size == 0:
        raise refuse(path.name, "the file is empty.", "Add a file with content.")
    sure = {key: form.recognise(path) for key, form in formats().items()}
    best = max(sure, key=lambda key: sure[key])
    if sure[best] > 0:
        return formats()[best]
    known = ", ".join(sorted({extension for form in formats().values() for extension in form.extensions}))
    found = looks_like(head_of(path)) if path.is_file() else None
    what = f"it is {found[0]}, which is not read." if found else "no reader knows this kind of file."
    raise refuse(path.name, what, found[1] if found else f"Add a folder of images or sounds, or one of {known}.")


def _key(path: Path, numbers: frozenset[str] | None) -> str:
    like = numbers if numbers is None else sorted(numbers)
    seen = hashlib.sha256(f"{_VERSION} {like} {path.resolve()}".encode("utf-8", "surrogateescape"))
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        status = file.lstat()
        seen.update(
            f"{file.name} {status.st_size} {status.st_mtime_ns} {status.st_ino}".encode("utf-8", "surrogateescape")
        )
    return seen.hexdigest()[:32]


def _save(folder: Path, read: Read) -> None:
    read.table.to_parquet(folder / "rows.parquet", index=False)
    if read.written is not None:
        read.written.to_parquet(folder / "written.parquet", index=False)
    card: dict[str, Any] = {
        "media": read.media is not None,
        "column": read.column,
        "target": read.target,
        "problems": [problem.model_dump() for problem in read.problems],
        "skipped": [one.model_dump() for one in read.skipped],
        "inference": list(read.inference),
    }
    write_json(folder / "read.json", card)


def _load(folder: Path) -> Read:
    card = json.loads((folder / "read.json").read_text())
    return Read(
        pd.read_parquet(folder / "rows.parquet"),
        folder / "media" if card["media"] else None,
        card["target"],
        tuple(Problem(**problem) for problem in card["problems"]),
        tuple(Skipped(**one) for one in card["skipped"]),
        tuple(card["inference"]),
        card["column"],
        pd.read_parquet(written) if (written := folder / "written.parquet").exists() else None,
    )


def _forget_old(home: Home) -> None:
    drafts = home.root / "drafts"
    if not drafts.is_dir():
        return
    for folder in drafts.iterdir():
        try:
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue  # another process was faster


def _together(first: Read, second: Read, path: Path, test: Path) -> Read:
    """One table of both; the second is the test part. Columns must agree in name; their types are made to."""
    missing = [name for name in first.table.columns if name not in second.table.columns]
    extra = [name for name in second.table.columns if name not in first.table.columns]
    if len(missing) >= len(first.table.columns) - 2:  # only ours agree
        what = f"its columns have nothing in common with those of {path.name}."
        raise refuse(test.name, what, "Give the test part the same columns.")
    notes = []
    if missing or extra:
        what = f"the columns differ from those of {path.name}: without {', '.join(missing[:6]) or 'none'}; "
        what += f"in addition {', '.join(extra[:6]) or 'none'}. Only what both have is kept."
        notes.append(
            Problem(severity="warning", where=test.name, what=what, remedy="Give both files the same columns.")
        )
    names = [name for name in first.table.columns if name in second.table.columns]
    one, two = first.table[names].copy(), second.table[names].copy()
    for name in names:
        if (one[name].dtype == float) != (two[name].dtype == float):
            one[name], two[name] = _alike(one[name], two[name])
    if first.column != second.column:
        raise refuse(
            test.name,
            f"must be of the same kind as {path.name}.",
            "Give images with images, sounds with sounds, tables with tables.",
        )
    if one["_where"].iloc[0].split(",")[0] == two["_where"].iloc[0].split(",")[0] and path.name != test.name:
        one["_where"] = plain_name(path.name) + "/" + one["_where"]
        two["_where"] = plain_name(test.name) + "/" + two["_where"]
    two["_part"] = "test"
    said = [f"{plain_name(test.name)} is the test part."]
    media = _joined_media(first.media, second.media)
    return replace(
        first,
        table=pd.concat([one, two], ignore_index=True),
        media=media,
        problems=(*first.problems, *second.problems, *notes),
        skipped=(*first.skipped, *second.skipped),
        inference=(*first.inference, *said),
    )


def _alike(one: pd.Series, two: pd.Series) -> tuple[pd.Series, pd.Series]:
    """A column of numbers in one file and of names in the other: both as names, unless one of them is empty."""
    if one.isna().all():
        return one.astype(two.dtype), two
    if two.isna().all():
        return one, two.astype(one.dtype)
    return as_names(one), as_names(two)


def _joined_media(first: Path | None, second: Path | None) -> Path | None:
    """Both media folders in one, by links; equal pictures have equal names, so nothing can clash."""
    if first is None or second is None or first == second:
        return first
    both = first.parent.parent / f"{first.parent.name}-{second.parent.name[:8]}" / "media"
    if not both.exists():
        half = Path(tempfile.mkdtemp(dir=first.parent.parent, prefix=".joining-"))
        link_tree(first, half / "media")
        link_tree(second, half / "media")
        try:
            os.rename(half, both.parent)
        except OSError:
            shutil.rmtree(half, ignore_errors=True)
    return both


def link_tree(source: Path, target: Path) -> None:
    """Copies a folder of files by hard links, or truly where the file system has none."""

    def link(old: str, new: str) -> None:
        if os.path.exists(new):
            return
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)

    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)


__all__ = ["Reading", "Refusal", "link_tree", "named", "take"]
