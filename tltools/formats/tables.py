"""Tables become rows: CSV, TSV and their relatives, Parquet, Excel, JSON Lines, and a zip with one of them inside."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from tltools.formats import Format, Read, _picture, _sound, asking, formats
from tltools.formats import _archive as archives
from tltools.formats import _cells as cells
from tltools.formats._layout import PART_COLUMNS, PARTS
from tltools.formats._magic import head_of, looks_like
from tltools.records import Problem, plain_name, refuse

TEXT = (".csv", ".tsv", ".tab", ".psv", ".txt", ".data", ".dat")
JSON = (".jsonl", ".ndjson", ".json")
EXTENSIONS = (*TEXT, ".parquet", ".xlsx", *JSON)


def recognise(path: Path) -> float:
    """How sure, 0..1, that a path is a table."""
    if path.is_dir():
        return 0.0
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS:
        return 0.9
    if suffix == ".zip":
        return 0.8 if len(_tables_inside(path)) >= 1 and not _media_inside(path) else 0.0
    found = looks_like(head_of(path))
    return 0.0 if found else 0.3  # a file without a known ending may still be text


def read(path: Path, scratch: Path) -> Read:
    """Reads a table file.

    Raises:
        Refusal: the file cannot be read as a table.
    """
    if path.suffix.lower() == ".zip":
        return _read_zipped(path, scratch)
    return _read(path, plain_name(path.name))


def _read(path: Path, shown: str) -> Read:
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise refuse(shown, "the file is empty.", "Add a file with a header line and rows.")
    if suffix == ".parquet":
        from tltools.formats import _parquet

        raw = _parquet.read(path, shown)
    elif suffix == ".xlsx":
        from tltools.formats import _excel

        raw = _excel.read(path, shown)
    elif suffix in JSON:
        from tltools.formats import _json_lines

        raw = _json_lines.read(path, shown)
    else:
        from tltools.formats import _csv_text

        raw = _csv_text.read(path, shown)
    table = cells.typed(raw, shown)
    table["_part"] = ""
    if not asking.get().labelled:  # a column that names parts is one like any other
        said = tuple(raw.inference)
        return Read(table, None, None, tuple(raw.problems), tuple(raw.skipped), said, "", cells.written(raw, shown))
    for name in list(table.columns):
        if str(name).strip().lower() in PART_COLUMNS and table[name].dtype != float:
            words = table[name].str.strip().str.lower().map(PARTS)
            if words.isna().any() and words.nunique() >= 2:
                raw.problems.append(_unknown_part(table, name, words.isna()))
            if words.notna().all() and words.nunique() >= 2:
                table["_part"] = words
                table = table.drop(columns=name)
                raw.inference.append(f'The column "{name}" says which part each row belongs to; it is kept to.')
                break
    return Read(table, problems=tuple(raw.problems), skipped=tuple(raw.skipped), inference=tuple(raw.inference))


def _unknown_part(table: pd.DataFrame, name: str, unknown: pd.Series) -> Problem:
    """Says that a column of parts is not kept to, and because of which word."""
    first = table.loc[unknown, name].iloc[0]
    got = "an empty cell" if pd.isna(first) else f'"{str(first)[:40]}"'
    what = f'the column "{name}" is not kept to as that of the parts: {got} is none ({unknown.sum():,} such row(s)).'
    remedy = "Write train, validation or test into every row, or take the other rows out."
    return Problem(severity="warning", where=str(table.loc[unknown, "_where"].iloc[0]), what=what, remedy=remedy)


def _read_zipped(path: Path, scratch: Path) -> Read:
    with archives.opened(path) as (archive, infos):
        inside = [info for info in infos if _is_table(info.filename)]
        if len(inside) != 1:
            names = cells.listed([archives.readable(info.filename) for info in inside])
            what = f"must hold one table; it holds {len(inside)}: {names}."
            raise refuse(path.name, what, "Unpack it and add one file; a second one can be given as its test part.")
        info = inside[0]
        scratch.mkdir(parents=True, exist_ok=True)
        inner = PurePosixPath(info.filename)
        unpacked = scratch / f"{archives.readable(inner.stem)[:50]}{inner.suffix.lower()}"
        unpacked.write_bytes(archives.content(archive, info, path.name))
        others = [other for other in infos if other is not info and not archives.is_system_file(other.filename)]
    asking.get().told("reading", 0, 1)
    shown = f"{plain_name(path.name)}/{archives.readable(info.filename)}"
    try:
        # as the file by itself would be: it may hold tagged words, questions with answers, or texts with spans
        form = max(formats().values(), key=lambda form: form.recognise(unpacked))
        found = _read(unpacked, shown) if form is TABLES else form.read(unpacked, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    notes = []
    if others:
        names = cells.listed([archives.readable(other.filename) for other in others])
        what = f"{len(others)} other file(s) in the archive were not read: {names}."
        notes = [
            Problem(
                severity="note", where=path.name, what=what, remedy="Nothing needs to be done if they are not data."
            )
        ]
    return replace(found, problems=(*found.problems, *notes))


def _names_inside(path: Path) -> list[str]:
    try:
        with archives.slashed(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError, OSError):
        return []


def _is_table(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not archives.is_system_file(name) and not _is_read_me(name)


def _is_read_me(name: str) -> bool:
    return PurePosixPath(name).stem.lower() in ("readme", "license", "licence", "source")


def _tables_inside(path: Path) -> list[str]:
    return [name for name in _names_inside(path) if _is_table(name)]


def _media_inside(path: Path) -> bool:
    return any(name.lower().endswith((*_picture.EXTENSIONS, *_sound.EXTENSIONS)) for name in _names_inside(path))


TABLES = Format(
    key="tables",
    title="Table",
    extensions=EXTENSIONS,
    recognise=recognise,
    read=read,
    order=10,
)
