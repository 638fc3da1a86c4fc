"""Questions with answers that stand in their context become rows: SQuAD's JSON, JSON Lines, CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tltools import answers
from tltools.formats import Format, Read, _csv_text, _squad, asking
from tltools.formats._layout import PART_COLUMNS
from tltools.formats._squad import Asked
from tltools.records import Problem, Refusal, plain_name, refuse

START = 65_536  # bytes that tell what a file is
TOLD = 20  # refusals that are told at once
TABLES, RECORDS = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json")


def recognise(path: Path) -> float:
    """How sure, 0..1: by the keys of SQuAD, or where records have question and context and answers that stand in it."""
    if not path.is_file() or path.suffix.lower() not in (*TABLES, *RECORDS):
        return 0.0
    with path.open("rb") as file:
        text = file.read(START).decode("utf-8-sig", "replace")
    if path.suffix.lower() == ".json" and text.lstrip().startswith("{") and re.search(r'"(paragraphs|qas)"\s*:', text):
        return 0.99
    try:
        rows = list(_fields(text) if path.suffix.lower() in TABLES else _objects(text))
    except csv.Error:
        return 0.0
    if not rows or not all({"context", "question"} <= set(row) for row in rows):
        return 0.0
    stands = [_stands(row) for row in rows if row.get("answer") or row.get("answers")]
    if not stands:
        return 0.96 * all(set(row) <= {*_squad.COLUMNS, *PART_COLUMNS} for row in rows)
    return 0.96 * (sum(stands) >= len(stands) / 2)


def read(path: Path, scratch: Path) -> Read:
    """Reads a file of questions; the target holds the words of the row, its accepted answers, and where they stand.

    Raises:
        Refusal: everything that is not as it must be, each with its place, up to a number of them.
    """
    limits, shown = asking.get().limits, plain_name(path.name)
    if path.suffix.lower() in TABLES:
        found, refused = _of_rows(_table(path, shown))
    else:
        if path.stat().st_size > limits.json_bytes:
            got = f"a JSON file may have {limits.json_bytes / 1e6:.0f} MB; got {path.stat().st_size / 1e6:.0f} MB."
            raise refuse(shown, got, "Add a part of it.")
        content = path.read_bytes()
        if path.suffix.lower() == ".json" and content.decode("utf-8-sig", "replace").lstrip().startswith("{"):
            found, refused = _squad.documents(_squad.parsed(content, shown), shown)
        else:
            found, refused = _of_rows(_records(content, shown))
    if len(found) > limits.rows:
        what = f"at most {limits.rows:,} questions can be read; got {len(found):,}."
        raise refuse(shown, what, "Add a sample of them.")
    parts = [part for one in found if (part := one.part)]
    rows, notes = _judged(found, [*refused, *_squad.twice(found)], shown)
    table = pd.DataFrame(rows).astype({answers.COLUMN: "str", "answers": "str"})
    if table["title"].nunique() < 2:
        table = table.drop(columns="title")
    unanswered = sum(one.impossible for one in found)
    said = [f"{len(table):,} questions on {len({one.context for one in found}):,} contexts, "
            f"{unanswered:,} of them without an answer."]  # fmt: skip
    if parts:
        said.append("A column says which part each question belongs to; it is kept to.")
    return Read(table=table, target="answers", problems=tuple(notes), inference=tuple(said))


def _fields(text: str) -> Iterator[Mapping[str, str]]:
    """The first records of a table as text, under the delimiter that its first line has most often; the last may be
    cut."""
    line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=line.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    return ({str(name).strip().lower(): str(cell) for name, cell in row.items()} for row in rows)


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The first objects of JSON Lines or of a list of objects, as far as they are whole."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield found


def _stands(row: Mapping[str, Any]) -> bool:
    """Whether a record's first answer stands in its context."""
    try:
        one = _squad.record(row, "")
    except Refusal:
        return False
    return bool(one.answers) and one.answers[0][0].strip() in one.context


def _table(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    """(where, record) of a table as text; cells are taken as they are written."""
    raw = _csv_text.read(path, shown)
    names = [name.strip().lower() for name in raw.names]
    columns = [column.to_pylist() for column in raw.columns]
    for place, cells in zip(raw.places, zip(*columns, strict=True), strict=True):
        yield f"{shown}, {raw.place_word} {place}", dict(zip(names, cells, strict=True))


def _records(content: bytes, shown: str) -> Iterator[tuple[str, Any]]:
    """(where, record) of JSON Lines or of one list."""
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from ((f"{shown}, record {k}", one) for k, one in enumerate(_squad.parsed(content, shown), start=1))
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield f"{shown}, line {number}", _squad.parsed(line, f"{shown}, line {number}")


def _of_rows(rows: Iterator[tuple[str, Any]]) -> tuple[list[Asked], list[Refusal]]:
    found, refused = [], []
    for where, row in rows:
        try:
            if not isinstance(row, dict):
                raise refuse(where, "must be a record with context, question and answer, and is none.", "Write one.")
            found.append(_squad.record(row, where))
        except Refusal as refusal:
            refused.append(refusal)
    return found, refused


def _judged(found: Sequence[Asked], refused: list[Refusal], shown: str) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The rows, and what was mended in them.

    Raises:
        Refusal: all that were found, and where an answer is missing or does not stand in its context.
    """
    rows, moved, within = [], [], list[tuple[str, answers.Truth]]()
    for one in found:
        truth, told = answers.Truth((), (), ()), asking.get().labelled
        try:
            truth, mended = _truth(one)
            moved += [one.where] * mended
            within += [(one.where, truth)] if truth.spans and all(_cuts(truth)) else []
        except Refusal as refusal:
            refused += [refusal] if told else []
        rows.append({answers.COLUMN: " ".join(truth.words) or answers.joined(one.question, one.context),
                     "answers": answers.truth_cell(truth) if told and truth.words else None, "title": one.title,
                     "_where": one.where, "_part": one.part})  # fmt: skip
    if asking.get().labelled and not refused and all(one.impossible for one in found):
        refused = [refuse(shown, "at least one question must have an answer; none has.", "Add answers.")]
    if refused:
        more = len(refused) - TOLD
        told_of = [problem for refusal in refused[:TOLD] for problem in refusal.problems]
        left = refuse(shown, f"{more} more question(s) must be corrected.", "Correct these first.").problems
        raise Refusal(*told_of, *(left if more > 0 else ()))
    notes = []
    if moved:
        what = f"{len(moved)} answer(s) do not begin where answer_start says; the nearest place that does was taken."
        notes.append(Problem(severity="warning", where=moved[0], what=what, remedy="Correct answer_start."))
    if within:
        (where, first), *_ = within
        what = f"{len(within)} question(s) have no answer of whole words, the first {first.texts[0][:40]!r} in "
        what += f"{_whole(first, 0)[:40]!r}; whole words are said, so none of them can match exactly"
        nothing = sum(not any(_shared(truth)) for _, truth in within)
        what += f", and {nothing} cannot score above 0." if nothing else "."
        remedy = "Extend these answers to whole words, or take their scores as they are."
        notes.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    return rows, notes


def _truth(one: Asked) -> tuple[answers.Truth, bool]:
    """The truth of a question, and whether an answer was moved.

    An answer that begins or ends within a word is learned as the words that hold it, as BERT's run_squad.py maps it,
    and scored by its own letters, as SQuAD's evaluation script does: that forgives signs and articles, but no letters.
    """
    text = answers.joined(one.question, one.context)
    words, ends = tuple(text.split(" ")), [found.span() for found in re.finditer(r"\S+", one.context)]
    shift, moved, spans, texts = answers.begin(text), False, [], []
    if one.answers and one.impossible:
        raise refuse(one.where, "a question must have answers or be impossible, not both.", "Take one of the two out.")
    if not one.answers and not one.impossible:
        raise refuse(one.where, 'a question must have an answer, or "is_impossible": true.', "Add one of the two.")
    for given, start in one.answers:
        told = given.strip()
        said = None if start is None else start + len(given) - len(given.lstrip())
        at = _squad.located(one.context, told, said)
        if at is None:
            what = f"an answer must stand in its context word for word; {told[:60]!r} does not."
            raise refuse(one.where, what, "Copy the answer out of the context.")
        moved |= said is not None and at != said
        inside = [k for k, (first, end) in enumerate(ends) if first < at + len(told) and end > at]
        spans.append((inside[0] + shift, inside[-1] + 1 + shift))
        texts.append(told)
    return answers.Truth(words, tuple(spans), tuple(texts)), moved


def _whole(truth: answers.Truth, k: int) -> str:
    return " ".join(truth.words[slice(*truth.spans[k])])


def _cuts(truth: answers.Truth) -> Iterator[bool]:
    """Whether each accepted answer begins or ends within a word; signs around it count for no word."""
    for k, text in enumerate(truth.texts):
        yield re.sub(r"\W", "", _whole(truth, k)) != re.sub(r"\W", "", text)


def _shared(truth: answers.Truth) -> Iterator[bool]:
    """Whether each accepted answer shares a word with the words that it stands in."""
    for k, text in enumerate(truth.texts):
        yield bool(set(re.sub(r"[^\w\s]", "", text).split()) & set(re.sub(r"[^\w\s]", "", _whole(truth, k)).split()))


SQUAD = Format(
    key="squad",
    title="Questions and answers (SQuAD)",
    extensions=(".json", ".jsonl", ".csv"),
    recognise=recognise,
    read=read,
    order=16,
)
