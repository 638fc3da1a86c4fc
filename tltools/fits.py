"""Whether a source model serves a dataset, or why not; which columns of a table it knows, and which classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tltools.records import Record, Source

MOST_TOKENS = 128  # of a text that are read where a source says no other limit: memory grows with the longest text
TOKENS_A_WORD = 1.3  # of English text in word pieces; other languages have more


def tokens_read(source: Source) -> int:
    """Tokens of a text that a source reads, at most."""
    most = int(source.options.get("max_tokens", MOST_TOKENS))
    return min(most, source.max_length or most)


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
    columns: tuple[Match, ...] = ()  # own/ tables: one for each column that is read
    new_input: bool = False  # True: only through a new input layer, so for strategies that train one
    knows: bool = False  # True: its own head says all classes of the dataset, so it can be asked as it is
