"""Texts with marked spans become sentences of tagged words: JSON of Label Studio, JSON Lines of doccano and Prodigy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tltools.formats import Format, Read, _label_studio, _spans, _squad, asking
from tltools.formats._collection import NotTaken, skip_problems
from tltools.formats._json import loads
from tltools.formats._tagged import Sentence, table
from tltools.records import Problem, Skipped, plain_name, refuse

START = 65_536  # bytes that tell what a file is
ENDINGS = (".json", ".jsonl", ".ndjson")


def recognise(path: Path) -> float:
    """How sure, 0..1: an export of Label Studio with labels of a text, or records of a text and its spans."""
    if not path.is_file() or path.suffix.lower() not in ENDINGS:
        return 0.0
    with path.open("rb") as file:
        text = file.read(START).decode("utf-8-sig", "replace").lstrip()
    if _label_studio.recognised(text):
        return 0.97 if '"labels"' in text and '"start"' in text else 0.0
    rows = list(_first(text))
    told = [row for row in rows if _spans.is_record(row)]
    marked = any(row[key] for row in told for key in _spans.KEYS if isinstance(row.get(key), list))
    return 0.97 if marked and len(told) >= 0.5 * len(rows) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a file; a text whose spans are not as they must be is left out and named.

    Raises:
        Refusal: not UTF-8 or not JSON, too large, or no text with a span that can be used.
    """
    shown, limits = plain_name(path.name), asking.get().limits
    if path.stat().st_size > limits.json_bytes:
        got = f"a JSON file may have {limits.json_bytes / 1e6:.0f} MB; got {path.stat().st_size / 1e6:.0f} MB."
        raise refuse(shown, got, "Add a part of it.")
    content = path.read_bytes()
    skipped: list[Skipped] = []
    found: list[Sentence] = []
    problems: list[Problem] = []
    if _label_studio.recognised(content[:START].decode("utf-8-sig", "replace")):
        marked, skipped, several = _label_studio.tasks(_squad.parsed(content, shown), shown)
        rows: Iterator[tuple[str, Any]] = ((one.where, one) for one in marked)
        problems += _label_studio.told_several(several, shown)
    else:
        rows = _records(content, shown, skipped)
    for where, row in rows:
        try:
            found.append(_spans.task(row) if isinstance(row, _label_studio.Marked) else _spans.record(row, where))
        except NotTaken as reason:
            skipped.append(Skipped(where=where, reason=str(reason)))
    problems += skip_problems(shown, skipped)
    if not any(one.entities for one in found):
        first = f" The first that was left out: {skipped[0].where}: {skipped[0].reason}." if skipped else ""
        raise refuse(shown, f"no text has a span that can be used.{first}", "Mark spans and export them again.")
    made, said = table(found, shown, "Mark spans and export them again.")
    how = "Texts are cut to words and signs; a span that begins or ends within a word takes the whole word."
    return Read(made, target="tags", problems=tuple(problems), skipped=tuple(skipped), inference=(said, how))


def _records(content: bytes, shown: str, skipped: list[Skipped]) -> Iterator[tuple[str, Any]]:
    """(where, record) of a list, or of lines; a line that is no JSON is skipped."""
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from ((f"{shown}, record {k}", one) for k, one in enumerate(_squad.parsed(content, shown), start=1))
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(shown, f"must be UTF-8, and byte {error.start} is not.", "Save it as UTF-8.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{shown}, line {number}"
        try:
            yield where, loads(line)
        except (ValueError, RecursionError) as error:
            skipped.append(Skipped(where=where, reason=f"it is not valid JSON ({str(error)[:60]}); write it again"))


def _first(text: str) -> Iterator[Any]:
    """The first records of JSON Lines or of a list, as far as they are whole."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            one, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield one


SPANS = Format(
    key="spans",
    title="Texts with marked spans (Label Studio, doccano, Prodigy)",
    extensions=(".json", ".jsonl"),
    recognise=recognise,
    read=read,
    order=17,
)
