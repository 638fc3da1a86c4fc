"""Whether a source model serves a dataset, or why not; and which columns of a table it knows."""

from __future__ import annotations

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
