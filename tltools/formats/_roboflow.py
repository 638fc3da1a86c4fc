"""Roboflow's `_classes.csv`: a row an image, a column of 0 and 1 a label, one file in the folder of each part."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from tltools import label_sets
from tltools.formats import _archive as archives
from tltools.records import Skipped

NAME = "_classes.csv"


def is_one(name: str) -> bool:
    """Says whether a file is called as Roboflow calls its tables of labels."""
    return PurePosixPath(name).name.lower() == NAME


def labels(
    tables: list[str], content: Callable[[str], bytes], files: list[str]
) -> tuple[pd.DataFrame | None, list[Skipped]]:
    """(a row an image with its full name, its labels and where that stands; rows that are left out and why).

    None where no table begins with a column of file names and has only 0 and 1 beside it.
    """
    known, rows, skipped = set(files), [], list[Skipped]()
    for table in tables:
        lines = csv.reader(io.StringIO(content(table).decode("utf-8-sig", "replace"), newline=""))
        header = [name.strip() for name in next(lines, [])]
        if len(header) < 2 or header[0].lower() != "filename":
            return None, []
        for number, cells in enumerate((line for line in lines if line), start=2):
            where = f"{archives.readable(table)}, line {number}"
            marks = [cell.strip() for cell in cells[1:]]
            if len(cells) != len(header) or not set(marks) <= {"0", "1"}:
                what = f"it must have a name and {len(header) - 1} cells of 0 or 1; got {','.join(cells)[:60]!r}"
                skipped.append(Skipped(where=where, reason=f"{what}, correct it"))
                continue
            own = (PurePosixPath(table).parent / cells[0].strip()).as_posix()
            held = [name for name, mark in zip(header[1:], marks, strict=True) if mark == "1"]
            cell = label_sets.cell([name.replace(label_sets.BETWEEN, "/") for name in held])
            rows.append((cell, own if own in known else None, cells[0].strip(), where))
    return pd.DataFrame(rows, columns=["labels", "_file", "_named", "_where"]).astype({"labels": "str"}), skipped
