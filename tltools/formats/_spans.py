"""Texts with marked spans of characters: records of doccano, Prodigy, spaCy and Label Studio, cut to words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tltools.formats._collection import NotTaken
from tltools.formats._label_studio import Marked
from tltools.formats._layout import PART_COLUMNS, PARTS
from tltools.formats._tagged import Sentence

Spans = list[tuple[int, int, str]]
"""First character, the one after the last, and the type."""

KEYS = ("spans", "entities", "label", "labels")
_WORD = re.compile(r"\w+|[^\w\s]")  # does not look at the spans, or the cut would tell where they are
_STARTS, _ENDS = ("start", "start_offset"), ("end", "end_offset")


def is_record(row: Any) -> bool:
    """Says whether a parsed value is a text with a list of spans, which may be empty."""
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        return False
    held = [row[key] for key in KEYS if key in row]
    return any(isinstance(one, list) and all(_looks_like_one(span) for span in one) for one in held)


def record(row: Any, where: str) -> Sentence:
    """The sentence of one record of JSON Lines or of a list.

    Raises:
        NotTaken: it has no text or spans, was rejected, or a span is not as it must be.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise NotTaken('it must have a "text"; write {"text": "...", "spans": [...]}')
    if row.get("answer") in ("reject", "ignore"):
        raise NotTaken(f"its annotator said {row['answer']}")
    given = next((row[key] for key in KEYS if isinstance(row.get(key), list)), None)
    if given is None:
        raise NotTaken(f'it must have a list of spans under one of {", ".join(KEYS)}; write "spans": [] for none')
    part = next((PARTS.get(str(row[key]).lower(), "") for key in PART_COLUMNS if key in row), "")
    return sentence(row["text"], [_span(one) for one in given], where, part)


def task(one: Marked) -> Sentence:
    """The sentence of one task of Label Studio.

    Raises:
        NotTaken: it shows no text, or a span is not as it must be.
    """
    texts = [value for value in one.data.values() if isinstance(value, str)]
    own = one.data.get("text")
    text: str = own if isinstance(own, str) else max(texts, key=len, default="")
    spans = []
    for _, kind, value in one.results:
        if kind != "labels":
            continue
        labels = value.get("labels") or [None]
        if not isinstance(labels, list):
            raise NotTaken(f'a span must have a list under "labels"; this has {str(labels)[:40]}, export it again')
        first, end, label = _span({**value, "label": labels[0]})
        said = value.get("text")
        if isinstance(said, str) and said.strip() != text[max(first, 0) : end].strip():
            raise NotTaken(
                f"its span {first} to {end} must read {said[:40]!r}, as it says; "
                f"its text has {text[max(first, 0) : end][:40]!r} there, export it again"
            )
        spans.append((first, end, label))
    return sentence(text, spans, one.where)


def sentence(text: str, spans: Spans, where: str, part: str = "") -> Sentence:
    """Cuts a text to words and punctuation; a span that begins or ends within a word takes the whole word.

    Raises:
        NotTaken: no word, or a span that is empty, reaches beyond the text, or overlaps another.
    """
    words = list(_WORD.finditer(text))
    if not words:
        raise NotTaken("its text is empty")
    entities: list[tuple[int, int, str]] = []
    for first, end, label in sorted(dict.fromkeys(spans)):
        if not 0 <= first < end <= len(text):
            raise NotTaken(
                f"its span {first} to {end} ({label}) must lie within its {len(text)} characters; correct it"
            )
        inside = [k for k, word in enumerate(words) if word.start() < end and word.end() > first]
        if not inside:
            raise NotTaken(f"its span {first} to {end} ({label}) must hold a word; it holds none, take it out")
        if entities and inside[0] < entities[-1][1]:
            raise NotTaken(
                f"its span {first} to {end} ({label}) overlaps the one before ({entities[-1][2]}); keep one of the two"
            )
        entities.append((inside[0], inside[-1] + 1, label))
    return Sentence(tuple(word.group() for word in words), tuple(entities), where, part)


def _looks_like_one(span: Any) -> bool:
    if isinstance(span, list):
        return len(span) == 3 and isinstance(span[0], int) and isinstance(span[1], int) and isinstance(span[2], str)
    return isinstance(span, Mapping) and any(key in span for key in _STARTS) and any(key in span for key in _ENDS)


def _span(one: Any) -> tuple[int, int, str]:
    """(first, end, type) of a span as a list or a record."""
    if isinstance(one, Mapping):
        one = [
            next((one[key] for key in _STARTS if key in one), None),
            next((one[key] for key in _ENDS if key in one), None),
            one.get("label"),
        ]
    if not isinstance(one, list) or len(one) != 3 or not all(type(place) is int for place in one[:2]):
        raise NotTaken(f"a span must have start, end and label; this is {str(one)[:60]}, correct it")
    label = re.sub(r"\s+", "_", str(one[2] or "").strip())
    if not label:
        raise NotTaken(f"its span {one[0]} to {one[1]} has no label; give it one")
    return one[0], one[1], label
