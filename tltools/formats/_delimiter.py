"""How a text table is cut into fields: delimiter, escape sign and header, decided on the first 64 KB, with reasons."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", "^": "caret", "~": "tilde", " ": "blanks"}
_NAME = re.compile(r"[^\W\d][\w.%()/-]*( [\w.%()/-]+)?")  # one word or two
_NONE = ("", "?", "NA")
TITLE = "The first line stands alone over the table and was taken as its title."
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?%?")


@dataclass(frozen=True)
class Dialect:
    """How to read the records: a `delimiter` of None means one column, " " any run of blanks and tabs."""

    delimiter: str | None
    escape: str | None = None
    quoted: bool = True

    def records(self, lines: Iterable[str], strict: bool = False) -> Any:
        """Returns a csv reader (an iterator of field lists with `line_num`) over lines that keep their ends; a `strict`
        one raises csv.Error where a quote does not close a whole field."""
        quoting: Any = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        if self.delimiter == " ":
            lines = (line.replace("\t", " ") for line in lines)
        delimiter = self.delimiter or "\x1f"
        return csv.reader(
            lines, delimiter=delimiter, escapechar=self.escape, quoting=quoting, skipinitialspace=True, strict=strict
        )


def sniff(sample: list[str], tabs_expected: bool) -> tuple[Dialect, str]:
    """Decides on delimiter and escape sign from the first lines (with their ends); returns a sentence of why."""
    escapes = [None, "\\"] if any('\\"' in line for line in sample) else [None]
    scored: list[tuple[float, Dialect, int]] = []
    for escape in escapes:
        for delimiter in [",", ";", "\t", "|", "^", "~"]:
            dialect = Dialect(delimiter, escape)
            score, width = _score(dialect, sample)
            if delimiter == "\t" and tabs_expected:
                score += 0.2
            scored.append((score - (0.01 if escape else 0.0), dialect, width))
    score, dialect, width = max(scored, key=lambda item: item[0])
    if score >= 0.6 and width >= 2:
        word = NAMES[dialect.delimiter or ","]
        return dialect, f"Cut at each {word}: that gives {width} fields on nearly every line."
    if (named := _header_says(sample)) is not None:
        return Dialect(named), f"Cut at each {NAMES[named]}, as in the first line; the lines differ in their fields."
    widths = {len(line.split()) for line in sample if line.strip()}
    if len(widths) == 1 and (width := widths.pop()) >= 2 and len(sample) >= 3 and _short_tokens(sample):
        return Dialect(" "), f"Cut at blanks: every line has {width} short fields and no other delimiter."
    return Dialect(None), "No delimiter was found: the file is read as one column."


def above(sample: list[str]) -> int:
    """How many first lines stand above a table that no delimiter was found for, 0 for none: four in five records have
    three fields or more, all as many, and the first has not."""
    for delimiter in ",;\t|":
        try:
            widths = [len(record) for record in Dialect(delimiter).records(sample) if record]
        except csv.Error:
            continue
        width, count = Counter(widths).most_common(1)[0]
        if width >= 3 and width != widths[0] and count >= max(3, 0.8 * len(widths)):
            return widths.index(width)
    return 0


def _header_says(sample: list[str]) -> str | None:
    """The sign that parts names in the first line and stands in most lines, though not equally often."""
    for delimiter in ",;\t|":
        fields = [field.strip().strip('"') for field in sample[0].split(delimiter)]
        if len(fields) < 2 or not all(_NAME.fullmatch(field) for field in fields):
            continue
        if sum(delimiter in line for line in sample) >= 0.8 * len(sample):
            return delimiter
    return None


def _short_tokens(sample: list[str]) -> bool:
    tokens = [token for line in sample[:200] for token in line.split()]
    numeric = sum(NUMBER.fullmatch(token) is not None for token in tokens)
    return sum(map(len, tokens)) / max(1, len(tokens)) <= 8 and numeric >= 0.2 * len(tokens)


def _score(dialect: Dialect, sample: list[str]) -> tuple[float, int]:
    """Returns (0..1: how regular and clean the records are, their usual width)."""
    try:
        records = [record for record in dialect.records(sample) if any(field.strip() for field in record)][:500]
    except csv.Error:
        return 0.0, 1
    if not records:
        return 0.0, 1
    widths = Counter(len(record) for record in records)
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    if width < 2 or len(records[0]) not in (width, width - 1, width + 1):
        return 0.0, width
    fields = [field.strip() for record in records if len(record) == width for field in record]
    # a foreign delimiter or half a quote inside most fields says that the cut is at the wrong sign
    foreign = [sign for sign in ";\t|" if sign != dialect.delimiter]
    dirty = sum(field.count('"') % 2 == 1 or any(sign in field for sign in foreign) for field in fields)
    regular = count / len(records)
    return regular * (1 - dirty / len(fields)), width


def has_header(records: list[list[str]]) -> tuple[bool, str]:
    """Says whether the first record names the columns, and why. `records` are the first few hundred."""
    first, rest = [field.strip() for field in records[0]], records[1:]
    if not rest:
        return True, "The only line was taken as the header."
    if len(rest[0]) == len(first) + 1:
        return True, "The first line has one field less than the rows, as where rows are named."
    numeric = [i for i, field in enumerate(first) if NUMBER.fullmatch(field)]
    if numeric:
        values = [first[i] for i in numeric]
        if _counts_up(values):
            return True, "The first line counts up, as column names do."
        below = [i for i in numeric if _mostly_numbers(record[i] for record in rest if i < len(record))]
        if below or len(numeric) == len(first):
            return False, "The first line holds numbers like the lines below it, so the columns have no names."
    named = [i for i, field in enumerate(first) if field not in _NONE]
    if not numeric and any(_mostly_numbers(record[i] for record in rest if i < len(record)) for i in named):
        return True, "The first line names columns that hold numbers below it."
    if (again := _comes_again(first, rest)) and not any([f.strip() for f in record] == first for record in rest):
        return False, f'"{again[:40]}" of the first line comes again below it, so the columns have no names.'
    if any(len(field) > 80 for field in first):
        return False, "The first line is too long for names, so the columns have no names."
    if len(first) == 1 and len(first[0].split()) > 3:
        return False, "The first line reads like the lines below it, so the column has no name."
    return True, "The first line was taken as the names of the columns."


def _comes_again(first: list[str], rest: list[list[str]]) -> str:
    """A field of the first line that is a value of its column, "" for none. Columns of few values tell best: of those a
    header names some that are no value, be it that one of its names is a value elsewhere."""
    again, absent = [], 0
    for i, field in enumerate(first):
        values = [record[i].strip() for record in rest if i < len(record)]
        if field and field in values:
            again.append(field)
        elif field and len(values) >= 10 and len(set(values)) <= 0.2 * len(values):
            absent += 1
    return again[0] if len(again) > absent else ""


def is_title(first: list[str], second: list[str]) -> bool:
    """Whether the first of two lines is a title over a table: one filled field over a line that fills all."""
    filled = sum(bool(field.strip()) for field in first)
    return len(first) == len(second) > 2 and filled == 1 and all(field.strip() for field in second)


def _mostly_numbers(fields: Iterator[str]) -> bool:
    values = [field.strip() for field in fields if field.strip() not in _NONE]
    return bool(values) and sum(NUMBER.fullmatch(value) is not None for value in values) >= 0.9 * len(values)


def _counts_up(values: list[str]) -> bool:
    if len(values) < 2 or not all(value.isdecimal() and len(value) < 10 for value in values):
        return False
    numbers = [int(value) for value in values]
    steps = {later - earlier for earlier, later in zip(numbers, numbers[1:], strict=False)}
    if len(steps) != 1 or steps <= {0}:
        return False
    if numbers[0] in (0, 1) and steps == {1}:
        return True
    return len(numbers) >= 3 and min(numbers) >= 1800 and max(numbers) <= 2100 and min(steps) > 0
