"""JSON Lines and a JSON list of objects: flat fields become columns, nested ones are named and left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tltools.formats import asking
from tltools.formats._cells import RawTable, headers, listed
from tltools.formats._encoding import decide
from tltools.formats._json import loads
from tltools.records import Problem, Skipped, refuse


class _Bad(ValueError):
    """A value that JSON does not have, or a key that stands twice."""


def read(path: Path, shown: str) -> RawTable:
    """Reads JSON Lines, or one JSON list of objects.

    Raises:
        Refusal: not JSON, too large, or no line holds an object.
    """
    limits = asking.get().limits
    encoding = decide(path, shown)
    skipped: list[Skipped] = []
    columns: dict[str, list[str | None]] = {}
    nested: dict[str, int] = {}
    places: list[int] = []
    with path.open(encoding=encoding.name, errors=encoding.errors) as file:
        for place, found in _objects(path, file, shown, limits.json_bytes):
            if isinstance(found, str):
                skipped.append(Skipped(where=f"{shown}, line {place}", reason=found))
                continue
            for key, value in _flat(found, nested).items():
                if key not in columns:
                    columns[key] = [None] * len(places)
                columns[key].append(value)
            places.append(place)
            for values in columns.values():
                if len(values) < len(places):
                    values.append(None)
            if len(places) > limits.rows or len(columns) > limits.columns or len(places) * len(columns) > limits.cells:
                what = (
                    f"at most {limits.rows:,} rows, {limits.columns:,} columns and {limits.cells:,} cells can be read."
                )
                raise refuse(shown, what, "Add a sample of the rows.")
    if not places:
        first = f" (line 1 {skipped[0].reason})" if skipped else ""
        raise refuse(
            shown, f"no line holds a JSON object{first}.", 'Write one object a line: {"text": "...", "label": "..."}.'
        )
    if len(places) == 1 and not skipped and asking.get().labelled:
        what = "must hold an object for each row; it holds one object for all."
        raise refuse(shown, what, "Write a list of them, as df.to_json('data.json', orient='records') does.")
    names, problems = headers(list(columns), shown)
    problems += list(encoding.problems)
    if skipped:
        what = f"{len(skipped)} line(s) are not JSON objects and were left out."
        problems.append(Problem(severity="warning", where=skipped[0].where, what=what, remedy="Correct these lines."))
    if nested:
        what = f"{len(nested)} field(s) hold lists or deep records and were left out: {listed(sorted(nested))}."
        problems.append(Problem(severity="warning", where=shown, what=what, remedy="Write them as plain fields."))
    arrays = [pa.array(values, pa.large_string()) for values in columns.values()]
    if not arrays:
        raise refuse(
            shown, "the objects have no plain fields.", 'Write one object a line: {"text": "...", "label": "..."}.'
        )
    return RawTable(names, arrays, np.asarray(places, np.int64), "line", skipped, problems, [encoding.sentence])


def _objects(path: Path, file: Any, shown: str, limit: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields (line or position, the object, or why it is none)."""
    told, size = asking.get().told, path.stat().st_size
    beginning = file.read(4096).lstrip()[:1]
    file.seek(0)
    if beginning == "[":
        if size > limit:
            raise refuse(
                shown,
                f"a JSON list may have {limit / 1e6:.0f} MB; got {size / 1e6:.0f} MB.",
                "Write JSON Lines: one object a line.",
            )
        whole = _parsed(file.read().lstrip("\ufeff"))
        if isinstance(whole, str):
            raise refuse(shown, f"the JSON list {whole}.", "Write one object a line (JSON Lines).")
        for position, found in enumerate(whole, start=1):
            yield position, found if isinstance(found, dict) else "is not an object"
        return
    done = 0
    for number, line in enumerate(file, start=1):
        done += len(line)
        if number % 20_000 == 0:
            told("reading", min(done, size), size)
        if not line.strip():
            continue
        found = _parsed(line.lstrip("\ufeff")) if len(line) <= limit else "is too long"
        yield number, found if isinstance(found, (dict, str)) else "is not an object"


def _parsed(text: str) -> Any:
    """The value, or a string that says why there is none."""
    try:
        found = loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is not valid JSON ({str(error)[:100]})"
    return "is not an object" if isinstance(found, str) else found


def _no_constant(name: str) -> Any:
    return None  # NaN and Infinity are no JSON, but pandas writes NaN for a missing cell


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Bad("a key stands twice")
    return found


def _flat(found: dict[str, Any], nested: dict[str, int]) -> dict[str, str | None]:
    flat: dict[str, str | None] = {}
    for key, value in found.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for below, plain in inner:
            name = f"{key}.{below}" if below else key
            if isinstance(plain, (dict, list)):
                nested[name] = nested.get(name, 0) + 1
            elif plain is None:
                flat[name] = None
            elif isinstance(plain, float) and plain.is_integer() and abs(plain) < 1e15:
                flat[name] = str(int(plain))
            else:
                flat[name] = str(plain)  # True and 2.5 as other writers have them
    return flat
