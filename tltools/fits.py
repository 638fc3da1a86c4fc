"""Whether a source model serves a dataset, or why not; how much of a row it reads; and which classes it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tltools.records import Record, Source, refuse

MOST_TOKENS = 128  # of a text that are read where a source says no other limit: memory grows with the longest text
POSITIONS = 512  # of tokens, of a network that does not say how many it has
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)  # tokens that it is offered to read
LEAST_TOKENS = 8  # of a text that are read: the marks around it, and some of its words
TOKENS_A_WORD = 1.3  # of English text in word pieces; other languages have more


def tokens_read(source: Source, asked: int = 0) -> int:
    """Tokens of a text that a source reads, at most; asked: by a task, of a source that was not told its own number."""
    most = int(source.options.get("max_tokens", max(MOST_TOKENS, asked)))
    return min(most, source.max_length or most)


def most_tokens(source: Source) -> int:
    """Tokens of a text that a source could be told to read, at most."""
    return source.positions or source.max_length or POSITIONS


def weights_of(source_id: str) -> str:
    """The id of the source whose weights one has: what stands behind @ says only how much of a text is read."""
    return source_id.partition("@")[0]


def told_tokens(source: Source, said: str) -> Source:
    """The card of a source that is to read another number of tokens of each text, as its id says behind @.

    Raises:
        Refusal: it reads no texts, or `said` is no number of tokens that its network has positions for.
    """
    plain, most = weights_of(source.id), most_tokens(source)
    if source.reads != "text":
        what = f"reads {source.reads}: only of texts it can be said how many tokens are read."
        raise refuse(f"{plain}@{said[:20]}", what, f"Write {plain}.")
    if not re.fullmatch(r"[1-9][0-9]{0,6}", said) or not LEAST_TOKENS <= int(said) <= most:
        what = f"must read from {LEAST_TOKENS} to {most:,} tokens of a text, for which its network has positions."
        raise refuse(f"{plain}@{said[:20]}", what, f"Write {plain}@{most}, or less.")
    tokens = int(said)
    return source.model_copy(
        update={
            "id": f"{plain}@{tokens}",
            "name": f"{source.name}, {tokens:,} tokens",
            "max_length": max(source.max_length or 0, tokens),
            "options": {**source.options, "max_tokens": tokens},
        }
    )


def pixels_read(source: Source, side: int) -> int | None:
    """Pixels to which a picture is squeezed, each way; `side`: those that a task asks for, 0 for none. What answers a
    task by a head of its own stays with the size that it was made for."""
    return side if side and source.reads == "image" and not source.answers else source.image_size


def class_name(name: str) -> str:
    """The name of a class without what says nothing: case, underscores, blanks around and between its words."""
    return " ".join(name.replace("_", " ").casefold().split())


def class_places(known: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Where each of the wanted classes stands among the known ones, by its name as it is written, or else by
    `class_name`; None where one is not there, or two have one name."""
    ways: tuple[Callable[[str], str], ...] = (str, class_name)
    for way in ways:
        there, asked = [way(name) for name in known], [way(name) for name in wanted]
        if all(there.count(name) == asked.count(name) == 1 for name in asked):
            return tuple(there.index(name) for name in asked)
    return None


class Match(Record):
    """A column of a dataset and the column of a source's table that means the same."""

    column: str
    source: str | None  # None: nothing there means the same, and the column starts new
    sure: float  # from 0 to 1; see `tltools/matching.py`
    why: str


class Fit(Record):
    """One cell of source model x dataset: fits, or why not, and the nearest that does."""

    source: str
    fits: bool
    why: str
    instead: str | None = None
    warnings: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()  # tokens that it could be told to read, where more of the rows would be read then
    columns: tuple[Match, ...] = ()  # own/ tables: one for each column that is read
    new_input: bool = False  # True: only through a new input layer, so for strategies that train one
    knows: bool = False  # True: its own head says all classes of the dataset, so it can be asked as it is
