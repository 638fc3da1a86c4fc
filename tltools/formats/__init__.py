"""The room of formats: files become rows. One file per family of formats."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tltools import registry
from tltools.records import Problem, Skipped

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Read:
    """What a file came to. `table` has the user's columns, and these of ours:

    `_where` (str): "reviews.csv, line 14" or "train/ants/1.jpg"; `_part` (str): "train", "validation", "test" or "";
    the column `column` holds paths relative to `media`.
    """

    table: pd.DataFrame
    media: Path | None = None  # folder with the decoded, re-encoded media files
    target: str | None = None  # set where the format itself says it (class folders)
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    inference: tuple[str, ...] = ()  # sentences: encoding, delimiter, layout
    column: str = ""  # the one with the media files, named as the modality that reads it
    written: pd.DataFrame | None = None  # of a table to predict: its cells as they stand in the file, and `_where`


@dataclass(frozen=True)
class Format:
    """A format's card."""

    key: str
    title: str
    extensions: tuple[str, ...]  # shown beside the drop zone, lower case with the dot
    recognise: Callable[[Path], float]  # by name and magic: how sure, 0..1; must not read more than 64 KB
    read: Callable[[Path, Path], Read]  # (file or folder, scratch folder for media) -> rows
    order: int = 0


@dataclass(frozen=True)
class Limits:
    """How much one reading may take. Uploads are held to the defaults; files added by path are trusted for size."""

    entries: int = 20_000  # files in an archive
    archive_bytes: int = 2_000_000_000  # of an archive, unpacked
    entry_bytes: int = 50_000_000  # of one file in an archive
    rows: int = 1_000_000
    columns: int = 20_000
    cells: int = 30_000_000
    field_bytes: int = 1_000_000
    json_bytes: int = 50_000_000
    pixels: int = 89_478_485  # Pillow's own limit, here an error
    seconds: float = 60.0  # of one sound


@dataclass(frozen=True)
class Asking:
    """Who asks for a reading: the limits, and whom to tell how far it is (stage, done, total)."""

    limits: Limits = Limits()
    told: Callable[[str, int, int], None] = lambda stage, done, total: None
    numbers: frozenset[str] | None = None  # of rows to predict: the columns with numbers; all others hold names

    @property
    def labelled(self) -> bool:
        """Whether a dataset is added; rows to predict need no class, and a single file will do."""
        return self.numbers is None


UPLOADED = Limits()
BY_PATH = Limits(
    entries=200_000, archive_bytes=50_000_000_000, entry_bytes=500_000_000, rows=5_000_000, cells=150_000_000
)
asking: ContextVar[Asking] = ContextVar("asking", default=Asking())  # noqa: B039 - frozen, so sharing it is safe


def formats() -> dict[str, Format]:
    """Returns every format of the room by key."""
    return registry.members(__name__, Format)
