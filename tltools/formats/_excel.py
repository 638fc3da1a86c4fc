"""Excel workbooks (.xlsx): the first sheet that holds a table, with the values that a person sees in it."""

from __future__ import annotations

import datetime
import zipfile
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import pyarrow as pa

from tltools.formats import asking
from tltools.formats._archive import content, readable
from tltools.formats._cells import RawTable, headers
from tltools.formats._delimiter import TITLE, has_header, is_title
from tltools.formats._magic import head_of, looks_like
from tltools.records import Problem, refuse

_RATIO = 200  # sheets of equal cells pack well; more than this is a bomb


def read(path: Path, shown: str) -> RawTable:
    """Reads an Excel workbook.

    Raises:
        Refusal: not a workbook, damaged, too large, or without a table.
    """
    import openpyxl

    _judge(path, shown)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        for sheet in sheets:
            rows = _rows(sheet, shown)
            if len(rows) > 1:  # a line alone is a cover
                break
        else:
            raise refuse(shown, "no sheet holds a table.", "Put a header and rows into the first sheet.")
        others = [other.title for other in sheets if other is not sheet]
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        ParseError,
        OSError,
        EOFError,
    ) as error:
        if hasattr(error, "problems"):
            raise
        what = f"must be an Excel workbook; it cannot be read ({str(error)[:120]})."
        raise refuse(shown, what, "Open it in a spreadsheet program and save it as CSV.") from error
    raw = _assemble(rows, shown)
    raw.inference.append(f'The sheet "{sheet.title}" was read.')
    if others:
        what = f"the workbook has {len(others)} more sheet(s), which were not read."
        raw.problems.append(
            Problem(severity="note", where=shown, what=what, remedy="Put the sheet that matters first.")
        )
    return raw


def _judge(path: Path, shown: str) -> None:
    found = looks_like(head_of(path))
    if found is None or found[0] != "a zip archive":
        what = f"must be an Excel workbook; its first bytes are {'those of ' + found[0] if found else 'not of one'}."
        raise refuse(shown, what, found[1] if found else "Save the sheet as .xlsx or CSV.")
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.file_size > 1_000_000 and info.file_size > _RATIO * max(1, info.compress_size):
                    what = f'its part "{readable(info.filename)}" unpacks to more than {_RATIO} times its size.'
                    raise refuse(shown, what, "Save the sheet as CSV and add that.")
                small_xml = info.filename.endswith(".xml") and info.file_size < 100_000_000
                if small_xml and b"<!DOCTYPE" in content(archive, info, shown)[:4096]:
                    raise refuse(shown, "holds a document type, which workbooks do not have.", "Save it as CSV.")
    except (zipfile.BadZipFile, ValueError) as error:
        if hasattr(error, "problems"):
            raise
        raise refuse(shown, f"must be an Excel workbook; it is damaged ({error}).", "Save it again.") from error


def _rows(sheet: Any, shown: str) -> list[tuple[int, list[str]]]:
    """(row number, cells as text) of every row that is not blank."""
    limits = asking.get().limits
    rows: list[tuple[int, list[str]]] = []
    cells = 0
    sheet.reset_dimensions()  # what a workbook says of its size may be of an earlier state
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        texts = [_text(value) for value in values]
        while texts and not texts[-1]:
            texts.pop()
        if not texts:
            continue
        cells += len(texts)
        if len(rows) > limits.rows or cells > limits.cells or len(texts) > limits.columns:
            what = f"at most {limits.rows:,} rows and {limits.cells:,} cells can be read; the sheet has more."
            raise refuse(shown, what, "Add a sample of the rows.")
        rows.append((number, texts))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "seconds")
    return str(value).strip()


def _assemble(rows: list[tuple[int, list[str]]], shown: str) -> RawTable:
    width = max(len(texts) for _, texts in rows)
    title = len(rows) > 2 and is_title(rows[0][1] + [""] * (width - len(rows[0][1])), rows[1][1])
    rows = rows[1:] if title else rows
    filled = [texts + [""] * (width - len(texts)) for _, texts in rows]
    named, why = has_header(filled[:300])
    names, problems = headers(filled[0] if named else [""] * width, shown)
    body = filled[1:] if named else filled
    numbers = [number for number, _ in (rows[1:] if named else rows)]
    columns = (
        [pa.array(values, pa.large_string()) for values in zip(*body, strict=True)]
        if body
        else [pa.array([], pa.large_string())] * width
    )
    return RawTable(
        names, columns, np.asarray(numbers, np.int64), "row", [], problems, [TITLE, why] if title else [why]
    )
