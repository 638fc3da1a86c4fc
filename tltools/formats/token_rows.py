"""Tables with one tagged word a row become sentences: a column for the sentence, one for the word, one for its tag."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tltools.entities import spans
from tltools.formats import Format, Read, _conll, _csv_text, asking
from tltools.formats._cells import RawTable
from tltools.formats._layout import PART_COLUMNS, PARTS
from tltools.formats._tagged import Sentence, table
from tltools.records import Problem, plain_name, refuse

START = 65_536  # bytes that tell what a file is
SAMPLE = 2_000  # rows that tell which column has the tags
ENDINGS = (".csv", ".tsv", ".txt")
# names of columns by their letters alone, likelier ones first
_SENTENCE = (
    "sentence", "sentenceid", "sentid", "sentenceidx", "sentenceindex", "sentencenumber", "sentencenum", "sentenceno",
)  # fmt: skip
_WORD = ("word", "token", "words", "tokens")
_TAG = (
    "tag", "nertag", "nertags", "ner", "label", "labels", "tags", "entity", "entitytag", "bio", "biotag", "iob",
    "iobtag", "namedentity", "target",
)  # fmt: skip
_BESIDE = ("", "pos", "postag", "unnamed", "index", "lemma", "chunk")  # of a table to predict, where no tags are


class _Columns(NamedTuple):
    """Names of the columns; "" for tags that are not there."""

    sentence: str
    word: str
    tag: str


def recognise(path: Path) -> float:
    """How sure, 0..1: by the names of the columns, the tags in one of them, and rows that share a sentence."""
    if not path.is_file() or path.suffix.lower() not in ENDINGS:
        return 0.0
    with path.open("rb") as file:
        text = file.read(START).decode("utf-8-sig", "replace")
    line = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=line.count))
    try:
        first = [{str(name): str(cell or "") for name, cell in row.items()} for row in rows][:SAMPLE]
    except csv.Error:
        return 0.0
    columns = _columns(rows.fieldnames or (), first)
    if columns is None:
        return 0.0
    named = [row[columns.sentence].strip() for row in first]
    return 0.97 if any(not one or one == before for before, one in zip(named, named[1:], strict=False)) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a table; a sentence is named in each of its rows, or in its first alone.

    Raises:
        Refusal: no such columns, a row without word or sentence, or a tag of no known scheme; rows are words here, so
            they may be as many as cells.
    """
    shown, ask = plain_name(path.name), asking.get()
    held = asking.set(replace(ask, limits=replace(ask.limits, rows=ask.limits.cells)))
    try:
        raw = _csv_text.read(path, shown)
    finally:
        asking.reset(held)
    if raw.skipped:
        one = raw.skipped[0]
        remedy = "Correct it: without this row its sentence would lack a word."
        raise refuse(one.where, f"a row must have as many fields as the header, and this {one.reason}.", remedy)
    sample = zip(*(column.slice(0, SAMPLE).to_pylist() for column in raw.columns), strict=True)
    columns = _columns(raw.names, [dict(zip(raw.names, cells, strict=True)) for cells in sample])
    if columns is None or not (columns.tag or not ask.labelled):
        what = "must have a column for the sentence, one for the word and one for its tag, such as B-PER or O."
        raise refuse(shown, what, "Name them sentence_id, word and tag.")
    found, problems = _sentences(raw, columns, shown)
    made, told = table(found, shown, "Mark entities as B- and I- and their type.")
    said = [*raw.inference, f'The column "{columns.sentence}" says which words are a sentence.', told]
    if made["_part"].any():
        said.append("A column says which part each sentence belongs to; it is kept to.")
    target = "tags" if "tags" in made else None
    return Read(made, target=target, problems=(*raw.problems, *problems), inference=tuple(said))


def _columns(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> _Columns | None:
    """Which columns a table has, by their names and, for tags, by what half of their cells are; None where it is
    another table."""
    letters: dict[str, str] = {}
    for name in names:
        letters.setdefault(re.sub(r"[^a-z]", "", name.lower()), name)
    sentence = next((letters[one] for one in _SENTENCE if one in letters), "")
    word = next((letters[one] for one in _WORD if one in letters), "")
    if not rows or not sentence or not word:
        return None
    tags = [letters[one] for one in _TAG if one in letters]
    for tag in tags:
        if sum(_conll.TAG.fullmatch(row[tag].strip()) is not None for row in rows) >= 0.5 * len(rows):
            return _Columns(sentence, word, tag)
    others = set(letters) - {*_SENTENCE, *_WORD, *_BESIDE}
    return None if others else _Columns(sentence, word, "")


def _sentences(raw: RawTable, columns: _Columns, shown: str) -> tuple[list[Sentence], list[Problem]]:
    """The sentences of a table, and what is odd about their names."""
    sentence = raw.names.index(columns.sentence)
    each = _everywhere(raw.columns[sentence].to_pylist())
    found: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    current, began, part = "", "", ""
    runs: Counter[str] = Counter()
    again = ""  # where a sentence first comes again

    def end() -> None:
        if words:
            found.append(Sentence(tuple(words), tuple(spans(tags)), began, part))
            words.clear()
            tags.clear()

    for place, (name, word, tag, of) in zip(raw.places.tolist(), _rows(raw, columns), strict=True):
        if not (name or word or tag):
            continue
        where = f"{shown}, line {place}"
        if not name and (each or not current):
            how = "every row names its sentence" if each else "the first row of a sentence names it"
            remedy = "Write the sentence into this row."
            raise refuse(where, f'the column "{columns.sentence}" must not be empty, for {how}.', remedy)
        if not word:
            raise refuse(where, f'the column "{columns.word}" must hold a word; it is empty.', "Write it, or "
                         "take the row out.")  # fmt: skip
        if columns.tag:
            _conll.judge_tag(tag, where)
        if name and name != current:
            end()
            current, began, part = name, where, PARTS.get(of.lower(), "")
            runs[name] += 1
            again = again or (where if runs[name] > 1 else "")
        words.append(re.sub(r"\s+", "\N{NO-BREAK SPACE}", word))
        tags.append(tag or "O")
    end()
    if not again:
        return found, []
    count = runs.total() - len(runs)
    what = f"{count:,} sentence(s) are named as an earlier one; rows that stand together were taken as one sentence."
    remedy = "Put the rows of a sentence together where they were mixed; else nothing needs to be done."
    return found, [Problem(severity="warning", where=again, what=what, remedy=remedy)]


def _everywhere(names: list[str]) -> bool:
    """Whether a column names the sentence in every row: two rows below each other have the same."""
    bare = [name.strip() for name in names]
    return any(one and one == before for before, one in zip(bare, bare[1:], strict=False))


def _rows(raw: RawTable, columns: _Columns) -> Iterator[tuple[str, str, str, str]]:
    """(sentence, word, tag, part) of each row, without blanks around them; "" for what has no column."""
    part = next((name for name in raw.names if name.strip().lower() in PART_COLUMNS), "")
    wanted = [raw.names.index(name) if name else None for name in (*columns, part)]
    for number in range(raw.columns[0].num_chunks):
        count = len(raw.columns[0].chunk(number))
        cells = [[""] * count if k is None else raw.columns[k].chunk(number).to_pylist() for k in wanted]
        for name, word, tag, of in zip(*cells, strict=True):
            yield name.strip(), word.strip(), tag.strip(), of.strip()


TOKEN_ROWS = Format(
    key="token_rows",
    title="Tagged words, one a row of a table",
    extensions=(".csv", ".tsv"),
    recognise=recognise,
    read=read,
    order=16,
)
