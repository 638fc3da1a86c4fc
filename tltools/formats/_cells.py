"""Cells as text become typed columns: blanks trimmed, missing marks, numbers in their many spellings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tltools.formats import asking
from tltools.records import Problem, Skipped, refuse

MISSING = (
    "", "?", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NAN", "NULL", "null", "Null", "<NA>",
    "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NULL!", "NaT",
)  # fmt: skip
# these may be honest category names, so they count as missing only where everything else is a number
PERHAPS_MISSING = (
    "None", "none", "-", "--", ".", "..", "unknown", "Unknown", "missing", "Missing",
    "inf", "-inf", "Inf", "-Inf", "Infinity", "-Infinity",
)  # fmt: skip

_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})*(\.\d+)?$"
_BLANKS = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}'\N{RIGHT SINGLE QUOTATION MARK}"  # in Paris, Warsaw and Zurich
_PERCENT = rf"^[+-]?(\d+[.,]?\d*|[.,]\d+)[{_BLANKS}]?%$"
_BLANK = rf"^[+-]?([1-9]\d{{0,2}}([{_BLANKS}]\d{{3}})+|\d+)([.,]\d+)?$"
_MONEY = r"^[+-]?{0} ?(\d{{1,3}}(,\d{{3}})+|\d+)(\.\d+)?$"
_EURO = rf"^[+-]?(\d{{1,3}}([.{_BLANKS}]\d{{3}})+|\d+)(,\d+)?[{_BLANKS}]?€$"
_UNPARTED = tuple((sign, "") for sign in _BLANKS)
# (pattern, what is exchanged to come to the plain spelling, how to say it); tried in this order
SPELLINGS: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    (_PLAIN, (), ""),
    (_COMMA, ((".", ""), (",", ".")), "numbers with a decimal comma"),
    (_THOUSANDS, ((",", ""),), "commas part thousands"),
    (_PERCENT, (("%", ""), *_UNPARTED, (",", ".")), "numbers with a percent sign, kept as per cent"),
    (_BLANK, (*_UNPARTED, (",", ".")), "blanks part thousands"),
    (_EURO, (("€", ""), *_UNPARTED, (".", ""), (",", ".")), "amounts in €"),
    *((_MONEY.format(f"[{sign}]"), ((sign, ""), (" ", ""), (",", "")), f"amounts in {sign}") for sign in "$£€"),
)
_BEGINS = "0123456789+-.,$£€"
_CODE = r"^(0\d+|[+-]?\d{16,})$"  # 00123 and long digit strings are names of things, not amounts
BEYOND = 1e150  # the squares and sums of larger numbers are infinite


@dataclass
class RawTable:
    """A table as text, before typing. `places` (N,) holds the line or row number of each record."""

    names: list[str]
    columns: list[Any]  # pyarrow string arrays, plain or chunked
    places: np.ndarray
    place_word: str  # "line" or "row"
    skipped: list[Skipped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    inference: list[str] = field(default_factory=list)
    comma_is_decimal: bool = True  # False: the comma separates fields, so "1,234" is a thousand


def typed(raw: RawTable, shown: str) -> pd.DataFrame:
    """Returns the typed table: numbers as float64, all else as strings with missing cells; adds to raw.problems.

    Rows to predict are typed as those of their dataset, whatever their own cells look like.

    Raises:
        Refusal: there are no rows or no columns.
    """
    numbers = asking.get().numbers
    if not len(raw.places):
        what = f"has {len(raw.names)} column(s) ({listed(raw.names)}) but no rows below their names."
        remedy = "Add at least 10 rows." if numbers is None else "Add a line for each row to predict."
        raise refuse(shown, what, remedy)
    columns: dict[str, Any] = {}
    spelled: dict[str, list[str]] = {}
    for name, column in zip(raw.names, raw.columns, strict=True):
        text = _cleaned(column)
        if numbers is None:
            values, how = _typed_column(name, text, raw, shown)
        else:
            values, how = _all_numbers(name, text, raw, shown) if name in numbers else (text, "")
        columns[name] = values.to_pandas()
        if how:
            spelled.setdefault(how, []).append(name)
    for how, names in spelled.items():
        raw.inference.append(f"{listed(names)}: {how}.")
    table = pd.DataFrame(columns)
    table["_where"] = where_column(shown, raw.place_word, raw.places)
    return table


def written(raw: RawTable, shown: str) -> pd.DataFrame:
    """Returns the cells as they stand in the file, to be given back with what is predicted of them."""
    table = pd.DataFrame({name: column.to_pandas() for name, column in zip(raw.names, raw.columns, strict=True)})
    table["_where"] = where_column(shown, raw.place_word, raw.places)
    return table


def where_column(shown: str, word: str, places: np.ndarray) -> Any:
    """Returns "reviews.csv, line 14" for every row."""
    numbers = pc.cast(pa.array(places), pa.string())
    return pc.binary_join_element_wise(pa.scalar(f"{shown}, {word}"), numbers, " ").to_pandas()


def listed(names: list[str], most: int = 6) -> str:
    """Returns "a, b, c and 12 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def as_names(values: pd.Series) -> pd.Series:
    """A column of numbers as names, whole ones without a point; any other as it is."""
    if values.dtype != float:
        return values
    return values.map(lambda value: f"{value:.12g}", na_action="ignore").astype("str")


def headers(fields: list[str], shown: str) -> tuple[list[str], list[Problem]]:
    """Makes column names unique, filled and short; says what was renamed."""
    names: list[str] = []
    blank, double, long = [], [], []
    for position, text in enumerate(fields, start=1):
        name = " ".join(text.replace("\0", "").split())
        if not name:
            name = f"column_{position}"
            blank.append(name)
        if len(name.encode()) > 255:
            name = name.encode()[:240].decode("utf-8", "ignore")
            long.append(name[:40] + "...")
        if name in ("_where", "_part"):
            name = name[1:]
        if name in names:
            number = 2
            while f"{name}_{number}" in names or f"{name}_{number}" in fields:
                number += 1
            double.append(f"{name} -> {name}_{number}")
            name = f"{name}_{number}"
        names.append(name)
    problems = []
    if blank and len(blank) < len(fields):
        what = f"{len(blank)} column(s) have no name and were called {listed(blank)}."
        problems.append(
            Problem(severity="note", where=shown, what=what, remedy="Name them in the first line if they matter.")
        )
    if double:
        what = f"column names must differ; renamed: {listed(double)}."
        problems.append(Problem(severity="warning", where=shown, what=what, remedy="Give every column its own name."))
    if long:
        what = f"{len(long)} column name(s) are longer than 255 bytes and were cut: {listed(long, 2)}."
        problems.append(Problem(severity="note", where=shown, what=what, remedy="Use shorter names."))
    return names, problems


def _cleaned(column: Any) -> Any:
    return _without(MISSING, pc.utf8_trim_whitespace(pc.cast(column, pa.large_string())))


def _without(marks: tuple[str, ...], text: Any) -> Any:
    return pc.if_else(pc.is_in(text, pa.array(marks, text.type)), pa.scalar(None, text.type), text)


def _typed_column(name: str, text: Any, raw: RawTable, shown: str) -> tuple[Any, str]:
    sample = text.slice(0, 2000).drop_null().to_pylist() or text.drop_null().slice(0, 2000).to_pylist()
    if not sample:
        return pc.cast(text, pa.float64()), ""
    if sum(value[:1] in _BEGINS and any(c.isdigit() for c in value) for value in sample) < 0.5 * len(sample):
        return text, ""
    if pc.any(pc.match_substring_regex(text, _CODE)).as_py():
        return text, ""
    weak = _without(PERHAPS_MISSING, text)
    present, spelled = len(weak) - weak.null_count, _spelled(weak, raw.comma_is_decimal)
    if spelled[0] < present and (present < 50 or spelled[0] < 0.98 * present):
        return text, ""
    return _in_spelling(name, weak, spelled, raw, shown)


def _all_numbers(name: str, text: Any, raw: RawTable, shown: str) -> tuple[Any, str]:
    """A column that must hold numbers: in the spelling that fits most cells; the others are missing, which is told."""
    weak = _without(PERHAPS_MISSING, text)
    return _in_spelling(name, weak, _spelled(weak, raw.comma_is_decimal), raw, shown)


_Spelled = tuple[int, Any, tuple[tuple[str, str], ...], str]  # how many cells match, which, what is exchanged, in words


def _spelled(weak: Any, comma_is_decimal: bool) -> _Spelled:
    """The spelling that fits most cells; of those that fit as many, the first."""
    present, tried = len(weak) - weak.null_count, list[_Spelled]()
    for pattern, changes, how in spellings(comma_is_decimal):
        matches = pc.match_substring_regex(weak, pattern)
        tried.append((pc.sum(matches).as_py() or 0, matches, changes, how))
        if tried[-1][0] == present:
            break
    return max(tried, key=lambda one: one[0])


def _in_spelling(name: str, weak: Any, spelled: _Spelled, raw: RawTable, shown: str) -> tuple[Any, str]:
    fitting, matches, changes, how = spelled
    if fitting < len(weak) - weak.null_count:
        _tell_odd_cells(name, weak, matches, raw, shown)
        weak = pc.if_else(pc.fill_null(matches, False), weak, pa.scalar(None, weak.type))
    return _numbers(name, weak, changes, raw, shown), how


def spellings(comma_is_decimal: bool) -> tuple[tuple[str, tuple[tuple[str, str], ...], str], ...]:
    """`SPELLINGS` in the order in which they are tried: between commas, "1,234" is a thousand first."""
    plain, comma, thousands, *others = SPELLINGS
    return (plain, *((comma, thousands) if comma_is_decimal else (thousands, comma)), *others)


def _numbers(name: str, text: Any, changes: tuple[tuple[str, str], ...], raw: RawTable, shown: str) -> Any:
    plain = text
    for old, new in changes:
        plain = pc.replace_substring(plain, old, new)
    numbers = pc.cast(pc.replace_substring_regex(plain, r"^\+", ""), pa.float64())
    usable = pc.less(pc.abs(numbers), BEYOND)
    if pc.all(usable).as_py() is False:
        _tell_odd_cells(name, text, usable, raw, shown, f"are beyond {BEYOND:g}")
        numbers = pc.if_else(usable, numbers, pa.scalar(None, pa.float64()))
    return numbers


def _tell_odd_cells(name: str, text: Any, matches: Any, raw: RawTable, shown: str, why: str = "do not") -> None:
    odd = np.flatnonzero(pc.fill_null(pc.invert(matches), False).to_numpy(zero_copy_only=False))
    first = int(odd[0])
    value = str(text[first].as_py())[:40]
    what = f'"{name}" holds numbers, but {len(odd)} of its cells {why}, the first "{value}"; they are read as missing.'
    place = f"{shown}, {raw.place_word} {raw.places[first]}"
    raw.problems.append(
        Problem(
            severity="warning",
            where=place,
            what=what,
            remedy="Correct these cells, or leave the column out of the inputs.",
        )
    )
