"""Tables of labels beside files: which ones they are, and which of their columns names the files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from tltools.formats import _archive as archives
from tltools.formats import _roboflow, asking
from tltools.formats._cells import as_names, typed
from tltools.formats._layout import PART_COLUMNS, PARTS
from tltools.records import Problem, Refusal, Skipped, refuse

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
    found: list[_Labels] = []
    for label_file in labels:
        table, problems = _read_labels(collection, label_file)
        named = None if table is None else _naming_column(table, files, label_file)
        if table is not None and named is not None and len(table.columns) > 2:  # beside the names and `_where`
            column, texts, matched = named
            rest = table.drop(columns=column).assign(
                _file=matched.reindex(table.index), _named=texts.reindex(table.index)
            )
            found.append(_Labels(label_file, column, rest, problems))
    if not found:
        return None, set(), []
    first = max(found, key=lambda one: one.table["_file"].nunique())
    taken = [one for one in found if one.joins(first)] if first.part else [first]
    where = f"{collection.shown}/{first.file}"
    if asking.get().labelled and {"xmin", "ymin", "xmax", "ymax"} <= {str(name).lower() for name in first.table}:
        what = "it holds a box a row, and boxes are not read from tables."
        raise refuse(where, what, "Export them as COCO JSON, Pascal VOC or YOLO.")
    shown = ", ".join(f'"{one.file}"' for one in taken)
    note = f'{shown} {"holds" if len(taken) == 1 else "hold"} the labels: the column "{first.column}" names the files.'
    notes = [Problem(severity="note", where=where, what=note, remedy="Nothing needs to be done.")]
    return _joined(taken), {one.file for one in taken}, [*(p for one in taken for p in one.problems), *notes]


@dataclass(frozen=True)
class _Labels:
    """A table whose `column` named the files; what else it has stands beside `_file`."""

    file: str
    column: str
    table: pd.DataFrame
    problems: list[Problem]

    @property
    def part(self) -> str:
        """Which part its name or its folders say that it is of: train.csv, test/metadata.csv; "" for none."""
        words = re.split(r"[^a-z]+", self.file.rpartition(".")[0].lower())
        return next((PARTS[word] for word in reversed(words) if word in PARTS), "")

    def joins(self, other: _Labels) -> bool:
        """Whether it is the same table of another part. A table of no part may be of guesses, for a submission."""
        return bool(self.part) and self.column == other.column and set(self.table) == set(other.table)


def _joined(tables: Sequence[_Labels]) -> pd.DataFrame:
    """One table of several, which says the part of each row where no column of theirs does."""
    if len(tables) == 1:
        return tables[0].table
    mixed = [name for name in tables[0].table if len({one.table[name].dtype == float for one in tables}) > 1]
    alike = [one.table.assign(**{name: as_names(one.table[name]) for name in mixed}) for one in tables]
    if not any(str(name).lower() in PART_COLUMNS for name in tables[0].table):
        alike = [table.assign(split=one.part) for one, table in zip(tables, alike, strict=True)]
    return pd.concat(alike, ignore_index=True)


def _naming_column(table: pd.DataFrame, files: list[str], own: str) -> tuple[str, pd.Series, pd.Series] | None:
    """(the column that names the files, its cells as texts, the file that each names) of the table of labels `own`:
    half of its cells must, from its folder or from the outermost one. Names with their endings come before bare stems,
    which numbers of rows and of classes may look like; then comes the column that names most different files."""
    from tltools.formats._label_studio import names_in

    folder = PurePosixPath(own).parent
    whole = _keys(files, lambda path: (str(path), path.name))
    stems = _keys(files, lambda path: (str(path.with_suffix("")), path.stem))
    best: tuple[tuple[bool, int], tuple[str, pd.Series, pd.Series]] | None = None
    for column in table.columns:
        values = table[column].dropna()
        if not len(values) or str(column).startswith("_"):
            continue
        texts = values.map(lambda v: str(int(v)) if isinstance(v, float) and v.is_integer() else str(v))
        plain = texts.str.replace("\\", "/").str.removeprefix("./")
        for by_name, known in ((True, whole), (False, {**stems, **whole})):
            matched = plain.map(
                lambda text, known=known: next(
                    (known[one] for one in (str(folder / text), text, *names_in(text)) if one in known), None
                )
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
