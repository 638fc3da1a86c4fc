"""Tables of labels beside files: which one it is, and which of its columns names the files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from tltools.formats import _archive as archives
from tltools.formats import _roboflow
from tltools.formats._cells import typed
from tltools.records import Problem, Refusal, Skipped

if TYPE_CHECKING:
    from tltools.formats._collection import Collection


def find(
    collection: Collection, labels: list[str], files: list[str], skipped: list[Skipped]
) -> tuple[pd.DataFrame | None, set[str], list[Problem]]:
    """The table whose column names the files, with the full name in "_file", and its own; None for none."""
    if ours := [name for name in labels if _roboflow.is_one(name)]:
        made, left_out = _roboflow.labels(ours, collection.content, files)
        if made is not None:
            skipped += left_out
            return made, set(ours), []
    for label_file in labels:
        table, problems = _read_labels(collection, label_file)
        named = None if table is None else _naming_column(table, files)
        if table is not None and named is not None:
            column, texts, matched = named
            note = f'"{label_file}" holds the labels: its column "{column}" names the files.'
            rest = table.drop(columns=column).assign(
                _file=matched.reindex(table.index), _named=texts.reindex(table.index)
            )
            where = f"{collection.shown}/{label_file}"
            notes = [Problem(severity="note", where=where, what=note, remedy="Nothing needs to be done.")]
            return rest, {label_file}, [*problems, *notes]
    return None, set(), []


def _naming_column(table: pd.DataFrame, files: list[str]) -> tuple[str, pd.Series, pd.Series] | None:
    """(the column that names the files, its cells as texts, the file that each names) of a table of labels: half of its
    cells must. Names with their endings come before bare stems, which numbers of rows and of classes may look like;
    then comes the column that names most different files."""
    from tltools.formats._label_studio import names_in

    whole, stems = _keys(files, lambda path: (str(path), path.name)), _keys(files, lambda path: (path.stem,))
    best: tuple[tuple[bool, int], tuple[str, pd.Series, pd.Series]] | None = None
    for column in table.columns:
        values = table[column].dropna()
        if not len(values) or str(column).startswith("_"):
            continue
        texts = values.map(lambda v: str(int(v)) if isinstance(v, float) and v.is_integer() else str(v))
        plain = texts.str.replace("\\", "/").str.removeprefix("./")
        for by_name, known in ((True, whole), (False, {**stems, **whole})):
            matched = plain.map(
                lambda text, known=known: next((known[one] for one in (text, *names_in(text)) if one in known), None)
            )
            if matched.notna().mean() >= 0.5:
                rank = (by_name, int(matched.nunique()))
                if best is None or rank > best[0]:
                    best = rank, (str(column), texts, matched)
                break
    return best[1] if best else None


def _keys(files: list[str], of: Callable[[PurePosixPath], tuple[str, ...]]) -> dict[str, str | None]:
    """The files by their keys; None where two share one."""
    known: dict[str, str | None] = {}
    for name in files:
        for key in set(of(PurePosixPath(name))):
            known[key] = None if key in known and known[key] != name else name
    return known


def _read_labels(collection: Collection, name: str) -> tuple[pd.DataFrame | None, list[Problem]]:
    from tltools.formats import _choices, _csv_text, _excel, _json_lines, _label_studio, _parquet

    suffix, content = PurePosixPath(name).suffix.lower(), collection.content(name)
    if suffix == ".json" and _label_studio.recognised(content[:65_536].decode("utf-8-sig", "replace")):
        try:
            return typed(chosen := _choices.raw(content, archives.readable(name))[0], name), chosen.problems
        except Refusal:
            return None, []
    reader = {
        ".xlsx": _excel.read, ".parquet": _parquet.read, ".jsonl": _json_lines.read, ".json": _json_lines.read,
    }.get(suffix, _csv_text.read)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / f"labels{suffix}"
        unpacked.write_bytes(content)
        try:
            raw = reader(unpacked, archives.readable(name))
            return typed(raw, archives.readable(name)), raw.problems
        except Refusal:
            return None, []
