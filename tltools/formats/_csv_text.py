"""Tables as text (CSV, TSV, blanks ...): one pass gives fields, exact line numbers and ragged rows."""

from __future__ import annotations

import csv
import io
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from tltools.formats import Limits, asking
from tltools.formats._cells import RawTable, headers
from tltools.formats._delimiter import TITLE, Dialect, above, has_header, is_title, sniff
from tltools.formats._encoding import Encoding, decide
from tltools.records import Problem, Skipped, refuse

_CHUNK = 50_000
_SAMPLE_CHARACTERS = 65_536


class _OpenQuote(ValueError):
    """A quote that is opened and never closed; holds the line where its record begins."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def read(path: Path, shown: str) -> RawTable:
    """Reads a text table that people know as `shown`.

    Raises:
        Refusal: not text, too large, a quote is never closed, or most rows have another width than the header.
    """
    encoding = decide(path, shown)
    csv.field_size_limit(asking.get().limits.field_bytes)
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
        text = file.read(_SAMPLE_CHARACTERS)
        cut = bool(file.read(1))
    sample = list(io.StringIO(text, newline=""))
    lines = [line for line in (sample[:-1] if cut and len(sample) > 1 else sample) if line.strip()]
    if not lines:
        raise refuse(shown, "the file holds only blank lines.", "Add a file with a header line and rows.")
    told_by_excel = lines[0].strip().lower().removeprefix("sep=") if lines[0].lower().startswith("sep=") else ""
    if len(told_by_excel) == 1:
        dialect, why = Dialect(told_by_excel), f'The first line says that "{told_by_excel}" parts the fields.'
    else:
        dialect, why = sniff(lines, tabs_expected=path.suffix.lower() in (".tsv", ".tab"))
    if dialect.delimiter is None and (count := above(lines)):
        what = f"{count} line(s) stand above the table, with another number of fields than the lines below."
        raise refuse(f"{shown}, line 1", what, "Take them out, so that the file begins with the names of the columns.")
    try:
        raw = _parse(path, shown, encoding, dialect, bool(told_by_excel))
    except _OpenQuote as found:
        raw = _without_quotes(path, shown, encoding, dialect, found.line)
    raw.inference[:0] = [encoding.sentence, why]
    raw.problems[:0] = list(encoding.problems)
    raw.comma_is_decimal = dialect.delimiter != ","
    return raw


def _without_quotes(path: Path, shown: str, encoding: Encoding, dialect: Dialect, line: int) -> RawTable:
    """Quotes that are never closed may be plain signs (5" pipe): taken so where every line then has the same width."""
    plain = Dialect(dialect.delimiter, None, quoted=False)
    remedy = 'Close it, or double it ("") where it is meant as a sign, and add the file again.'
    if not _even(path, encoding, plain):
        if not _is_open(path, encoding, line):  # no quote, then: a field went beyond what is read
            most = f"{asking.get().limits.field_bytes / 1e6:g} MB"
            what = f"a field is too large: at most {most} are read, and it holds more."
            raise refuse(f"{shown}, line {line}", what, "Shorten it, or part its text into several rows.")
        raise refuse(f"{shown}, line {line}", "a quote is opened here and never closed.", remedy)
    raw = _parse(path, shown, encoding, plain, False)
    what = "a quote is opened here and never closed; all quotes in the file were read as plain signs."
    raw.problems.append(Problem(severity="warning", where=f"{shown}, line {line}", what=what, remedy=remedy))
    return raw


def _even(path: Path, encoding: Encoding, plain: Dialect) -> bool:
    """Whether every line has the same number of fields when quotes are plain signs."""
    try:
        with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
            widths = {len(record) for record in islice(plain.records(file), 100_000) if record}
    except csv.Error:
        return False  # a field of more than a megabyte, quotes or not
    return len(widths) == 1 and (plain.delimiter is None or widths != {1})


def _parse(path: Path, shown: str, encoding: Encoding, dialect: Dialect, skip_first: bool) -> RawTable:
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
        reader = dialect.records(file)
        chunks = _chunks(reader, file, path, shown, encoding, dialect)
        first, ends = next(chunks)
        kept = [(record, end) for record, end in zip(first, ends, strict=True) if any(f.strip() for f in record)]
        if not kept:
            raise refuse(shown, "the first lines are blank.", "Add a file with a header line and rows.")
        before = kept.pop(0)[1] if skip_first and len(kept) > 1 else 0
        title = len(kept) > 2 and is_title(kept[0][0], kept[1][0])
        before = kept.pop(0)[1] if title else before
        named, why = has_header([record for record, _ in kept[:300]])
        body = (
            [record for record, _ in kept[1:300]] if named and len(kept) > 1 else [record for record, _ in kept[:300]]
        )
        width = _usual_width(body, kept[0][0] if named else [])
        table = _Assembly(shown, width, asking.get().limits)
        fields = [field.strip() for field in kept[0][0]] if named else [""] * width
        if named and len(fields) == width - 1:
            fields = ["row_name", *fields]
        if named and len(fields) > width and not any(fields[width:]):
            fields = fields[:width]
        if named and len(fields) != width:
            what = f"the header names {len(fields)} columns, but most rows have {width} fields."
            raise refuse(f"{shown}, line {kept[0][1]}", what, "Give the header and the rows the same number of fields.")
        start = kept[0][1] if named else before
        table.header = kept[0][0] if named else None
        table.take([r for r, e in zip(first, ends, strict=True) if e > start], [e for e in ends if e > start], start)
        for records, ends in chunks:
            table.take(records, ends, table.last_line)
        newlines = file.newlines
    names, problems = headers(fields, shown)
    raw = table.finish(names)
    raw.problems += problems
    raw.inference += [TITLE, why] if title else [why]
    if isinstance(newlines, tuple):
        said = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
        raw.inference.append(f"Line ends are mixed ({', '.join(said[n] for n in newlines)}); each was taken as an end.")
    return raw


def _usual_width(records: list[list[str]], header: list[str]) -> int:
    widths = [len(record) for record in records]
    usual = max(set(widths), key=lambda width: (widths.count(width), width))
    trailing = usual > 1 and all(not record[-1].strip() for record in records if len(record) == usual)
    named = len(header) >= usual and header[usual - 1].strip()
    # "a,b,c," on every line: a trailing delimiter, not a column
    return usual - 1 if trailing and not named else usual


def _chunks(reader: Any, file: TextIO, path: Path, shown: str, encoding: Encoding, dialect: Dialect) -> Any:
    """Yields (records, the line on which each ends).

    Two quotes that are plain signs swallow all lines between them: where a field goes over several lines and holds the
    delimiter, the file is looked at without quotes, once.
    """
    told, size = asking.get().told, max(1, path.stat().st_size)
    trusted = not dialect.quoted
    while True:
        records: list[list[str]] = []
        ends: list[int] = []
        before = reader.line_num
        try:
            for record in islice(reader, _CHUNK):
                line = ends[-1] if ends else before
                if not trusted and reader.line_num > line + 1 and _swallowed(record, dialect):
                    plain = Dialect(dialect.delimiter, None, quoted=False)
                    if _even(path, encoding, plain) and not _sound(path, encoding, dialect):
                        raise _OpenQuote(line + 1)
                    trusted = True
                records.append(record)
                ends.append(reader.line_num)
        except csv.Error as error:
            line = (ends[-1] if ends else before) + 1
            if "field larger" in str(error):
                raise _OpenQuote(line) from error
            raise refuse(
                f"{shown}, line {line}", f"cannot be read as a table ({error}).", "Correct this line."
            ) from error
        if not records:
            return
        last_start = (ends[-2] if len(ends) > 1 else before) + 1
        if ends[-1] > last_start and len(records) < _CHUNK and _is_open(path, encoding, last_start):
            raise _OpenQuote(last_start)
        told("reading", min(size, file.buffer.tell()), size)
        yield records, ends


def _swallowed(record: list[str], dialect: Dialect) -> bool:
    return dialect.delimiter is not None and any("\n" in f and dialect.delimiter in f for f in record)


def _sound(path: Path, encoding: Encoding, dialect: Dialect) -> bool:
    """Whether every quote opens or closes a whole field, and three such fields or more go over lines: no chance."""
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
        try:
            records = islice(dialect.records(file, strict=True), 100_000)
            return sum(_swallowed(record, dialect) for record in records) >= 3
        except csv.Error:
            return False


def _is_open(path: Path, encoding: Encoding, start: int) -> bool:
    """Says whether the quotes from line `start` to the end of the file are odd in number."""
    quotes = 0
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as again:
        for line in islice(again, start - 1, None):
            quotes += line.count('"')
    return quotes % 2 == 1


class _Assembly:
    """Collects records into Arrow columns chunk by chunk: a million rows never stand in Python objects at once."""

    def __init__(self, shown: str, width: int, limits: Limits) -> None:
        self.shown, self.width, self.limits = shown, width, limits
        self.columns: list[list[Any]] = [[] for _ in range(width)]
        self.places: list[np.ndarray] = []
        self.rows = 0
        self.ragged: list[Skipped] = []
        self.ragged_count = 0
        self.repeated_headers = 0
        self.header: list[str] | None = None
        self.last_line = 0
        if width > limits.columns:
            what = f"at most {limits.columns:,} columns can be read; got {width:,}."
            raise refuse(shown, what, "Keep the columns that matter, or turn the table by 90 degrees.")

    def take(self, records: list[list[str]], ends: list[int], before: int) -> None:
        starts = [before + 1, *[end + 1 for end in ends[:-1]]]
        self.last_line = ends[-1] if ends else before
        width = self.width
        if self.header in records or any(len(record) != width for record in records):
            fitting = [(r, s) for r, s in map(self._fit, records, starts) if r is not None]
            records, starts = [r for r, _ in fitting], [s for _, s in fitting]
        if not records:
            return
        self.rows += len(records)
        if self.rows > self.limits.rows or self.rows * width > self.limits.cells:
            what = f"at most {self.limits.rows:,} rows and {self.limits.cells:,} cells can be read; the file has more."
            raise refuse(self.shown, what, "Add a sample of the rows.")
        for column, values in zip(self.columns, zip(*records, strict=True), strict=True):
            column.append(pa.array(values, pa.large_string()))
        self.places.append(np.asarray(starts, np.int64))

    def _fit(self, record: list[str], line: int) -> tuple[list[str] | None, int]:
        if record == self.header:
            self.repeated_headers += 1
            return None, line
        if len(record) > self.width and not any(field.strip() for field in record[self.width :]):
            record = record[: self.width]
        if len(record) == self.width:
            return record, line
        if not any(field.strip() for field in record):
            return None, line  # a blank line is no row
        self.ragged_count += 1
        if len(self.ragged) < 10_000:
            reason = f"has {len(record)} fields where {self.width} are expected"
            self.ragged.append(Skipped(where=f"{self.shown}, line {line}", reason=reason))
        return None, line

    def finish(self, names: list[str]) -> RawTable:
        problems: list[Problem] = []
        if self.ragged_count > 0.5 * self.rows:
            total = self.ragged_count + self.rows
            what = f"{self.ragged_count:,} of {total:,} rows have another number of fields than the header."
            raise refuse(
                self.ragged[0].where, what, "Put quotes around fields that hold the delimiter, or use Parquet."
            )
        if self.ragged_count:
            what = f"{self.ragged_count:,} row(s) have another number of fields than the header and were left out."
            remedy = "Put quotes around fields that hold the delimiter; the list of skipped rows names the lines."
            problems.append(Problem(severity="warning", where=self.ragged[0].where, what=what, remedy=remedy))
        if self.repeated_headers:
            what = f"the header line comes again {self.repeated_headers} time(s); these lines were left out."
            problems.append(Problem(severity="note", where=self.shown, what=what, remedy="Nothing needs to be done."))
        columns = [pa.chunked_array(column, pa.large_string()) for column in self.columns]
        places = np.concatenate(self.places) if self.places else np.empty(0, np.int64)
        return RawTable(names, columns, places, "line", list(self.ragged), problems)
