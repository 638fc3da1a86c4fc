"""Questions on contexts, with the places of their answers: SQuAD's JSON (1.1, 2.0), and records one a line or a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltools.formats._json import loads
from tltools.formats._layout import PART_COLUMNS, PARTS
from tltools.records import Refusal, refuse

COLUMNS = ("context", "question", "answer", "answers", "answer_start", "is_impossible", "id", "title")
LAYOUT = 'Write {"data": [{"paragraphs": [{"context": "...", "qas": [{"question": "...", "answers": [...]}]}]}]}.'
_YES = ("true", "yes", "1")


@dataclass(frozen=True)
class Asked:
    """One question as it was read; `answers` are texts and where they begin in the context, if that is said."""

    where: str
    context: str
    question: str
    answers: tuple[tuple[str, int | None], ...]
    impossible: bool  # said to have no answer
    id: str = ""
    title: str = ""
    part: str = ""


def parsed(content: bytes, shown: str) -> Any:
    """What a JSON file holds.

    Raises:
        Refusal: it is not UTF-8, or not JSON.
    """
    try:
        return loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise refuse(shown, f"must be UTF-8, and byte {error.start} is not.", "Save it as UTF-8.") from error
    except RecursionError as error:
        raise refuse(shown, "must be JSON, and this is nested too deeply.", LAYOUT) from error
    except ValueError as error:
        raise refuse(shown, f"must be JSON, and this is not ({error}).", "Write the file again as JSON.") from error


def documents(read: Any, shown: str) -> tuple[list[Asked], list[Refusal]]:
    """The questions of a SQuAD file, and a refusal for each paragraph or question that is not as it must be.

    Raises:
        Refusal: the file has no list "data", or no question at all.
    """
    found: list[Asked] = []
    refused: list[Refusal] = []
    if not isinstance(read, dict) or not isinstance(read.get("data"), list):
        raise refuse(shown, 'must have a list of articles under "data", and has none.', LAYOUT)
    for number, article in enumerate(read["data"], start=1):
        title = str(article.get("title") or "") if isinstance(article, dict) else ""
        for where, paragraph in _listed(article, "paragraphs", f"{shown}, article {number}", refused):
            for asked, question in _listed(paragraph, "qas", where, refused):
                try:
                    found.append(_asked(question, paragraph, asked, title))
                except Refusal as refusal:
                    refused.append(refusal)
    if not found and not refused:
        raise refuse(shown, "must hold at least one question, and has none.", LAYOUT)
    return found, refused


def record(row: Mapping[str, Any], where: str) -> Asked:
    """The question of a line or row with context and question, and perhaps an answer.

    Raises:
        Refusal: a field is not of its kind.
    """
    given = row.get("answers", row.get("answer"))
    if isinstance(given, dict):  # as Hugging Face has it: {"text": [...], "answer_start": [...]}
        texts, starts = (_as_list(given.get(name)) for name in ("text", "answer_start"))
        pairs = list(zip(texts, starts, strict=True)) if len(texts) == len(starts) else [(text, None) for text in texts]
    elif isinstance(given, list):
        pairs = [(one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None) for one in given]
    else:
        pairs = [] if given is None or not str(given).strip() else [(str(given), row.get("answer_start"))]
    answers = tuple((_text(text, "answer", where), _start(start, where)) for text, start in pairs)
    impossible = str(row.get("is_impossible") or "").strip().lower() in _YES or not answers
    context, question = (_text(row.get(name), name, where) for name in ("context", "question"))
    part = next((PARTS.get(str(row[name]).lower(), "") for name in PART_COLUMNS if name in row), "")
    return Asked(where, context, question, answers, impossible, str(row.get("id") or ""), str(row.get("title") or ""),
                 part)  # fmt: skip


def _as_list(value: Any) -> list[Any]:
    """A list as it is; a single value as a list of one, and nothing as none."""
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def _listed(found: Any, key: str, where: str, refused: list[Refusal]) -> Iterator[tuple[str, Any]]:
    """(where, each element) of the list under a key; its name without the s counts."""
    held = found.get(key) if isinstance(found, dict) else None
    if not isinstance(held, list):
        refused.append(refuse(where, f'must have a list under "{key}", and has none.', LAYOUT))
        return
    word = {"paragraphs": "paragraph", "qas": "question"}[key]
    yield from ((f"{where}, {word} {number}", one) for number, one in enumerate(held, start=1))


def _asked(found: Any, paragraph: Mapping[str, Any], where: str, title: str) -> Asked:
    context = _text(paragraph.get("context"), "context", where)
    if not isinstance(found, dict):
        raise refuse(where, "must be a record with a question, and is none.", LAYOUT)
    held = found.get("answers") or []
    if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
        raise refuse(where, 'must have a list of {"text", "answer_start"} under "answers".', LAYOUT)
    answers = [(_text(one.get("text"), "answer", where), _start(one.get("answer_start"), where)) for one in held]
    impossible, question = found.get("is_impossible") is True, _text(found.get("question"), "question", where)
    return Asked(where, context, question, tuple(answers), impossible, str(found.get("id") or ""), title)


def _text(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        got = "nothing" if value is None else "an empty text" if isinstance(value, str) else f"{value!r:.40}"
        raise refuse(where, f"the {name} must be a text of at least one word; got {got}.", f"Write the {name}.")
    return value


def _start(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = float(str(value))  # with a point where a column has gaps, as pandas writes it
        if number != int(number):
            raise ValueError(value)
        return int(number)
    except (ValueError, OverflowError):
        what = f"answer_start must be a whole number of letters; got {str(value)[:40]!r}."
        raise refuse(where, what, "Write how many letters of the context stand before the answer.") from None


def twice(found: Sequence[Asked]) -> list[Refusal]:
    """A refusal for each id that a question has already."""
    first: dict[str, str] = {}
    refused = []
    for one in found:
        if one.id and one.id in first:
            what = f"every id must be given once; {one.id[:40]!r} is that of {first[one.id]} too."
            refused.append(refuse(one.where, what, "Give the question an id of its own, or take it out."))
        first.setdefault(one.id, one.where)
    return refused


def located(context: str, text: str, start: int | None) -> int | None:
    """At which letter an answer begins: where it says, else at its nearest (or first) occurrence; None: nowhere."""
    if start is not None and start >= 0 and context.startswith(text, start):
        return start
    places = (one.start() for one in re.finditer(f"(?={re.escape(text)})", context))
    return min(places, key=lambda place: abs(place - (start or 0)), default=None)
