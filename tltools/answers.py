"""Questions and the words of a context that answer them: the text of a row, its truth and what is said, as cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from tltools.records import refuse

SEPARATOR = "|"  # the word between a question and its context
COLUMN = f"question {SEPARATOR} context"  # what the column with such texts is called
ANSWER = '{"answer":'  # how cells of answers begin

Span = tuple[int, int]
"""First word, and the word after the last, counted in the text of the row."""


class Truth(NamedTuple):
    """What is known of a row: the words of its text, and every accepted answer; none where the context holds none."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]
    texts: tuple[str, ...]


class Said(NamedTuple):
    """What is said of a row: an answer in its words, or that there is none, and how sure, 0..1."""

    span: Span | None
    score: float


def joined(question: str, context: str) -> str:
    """The text of a row: words with one blank between them, the question, the separator, the context."""
    asked = ("¦" if word == SEPARATOR else word for word in question.split())
    return " ".join([*asked, SEPARATOR, *context.split()])


def begin(text: str) -> int:
    """At which word of a row's text the context begins.

    Raises:
        Refusal: there is no question, no separator or no context.
    """
    words = text.split(" ")
    if SEPARATOR not in words[1:-1] or words[0] == SEPARATOR:
        what = f'a text must be a question, " {SEPARATOR} " and its context; got {text[:60]!r}.'
        raise refuse("question", what, f"Write: Where is Oslo? {SEPARATOR} Oslo lies in Norway.")
    return words.index(SEPARATOR) + 1


def sentences(words: list[str], first: int) -> Iterator[Span]:
    """The sentences of a text from a word on: they end at . ! or ? before a word that begins no small letter."""
    start = first
    for place in range(first, len(words)):
        ends = words[place].rstrip("\"')]”’").endswith((".", "!", "?"))
        if place + 1 == len(words) or (ends and not words[place + 1][:1].islower()):
            yield start, place + 1
            start = place + 1


def told(text: str, said: Said) -> str:
    """The words of an answer in the text of its row; "" where it is said that there is none."""
    return " ".join(text.split(" ")[slice(*said.span)]) if said.span else ""


def truth_cell(truth: Truth) -> str:
    """A truth as a cell: JSON that is read by itself."""
    held = {"answer": truth.spans, "texts": truth.texts, "words": " ".join(truth.words)}
    return json.dumps(held, ensure_ascii=False)


def truth_of(cell: str) -> Truth:
    """The truth of a cell."""
    read = json.loads(cell)
    return Truth(tuple(read["words"].split(" ")), spans_of(cell), tuple(read["texts"]))


def said_cell(said: Said) -> str:
    """What is said of a row as a cell."""
    return json.dumps({"answer": [said.span] if said.span else [], "score": said.score})


def said_of(cell: str) -> Said:
    """What a cell says of its row."""
    return Said(next(iter(spans_of(cell)), None), float(json.loads(cell)["score"]))


def spans_of(cell: str) -> tuple[Span, ...]:
    """The answers of a cell of either kind."""
    return tuple((int(first), int(after)) for first, after in json.loads(cell)["answer"])
