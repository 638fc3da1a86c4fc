"""The room of formats: files become rows. One file per family of formats."""

from __future__ import annotations

from collections.abc import Callable
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
    image columns hold paths relative to `media`.
    """

    table: pd.DataFrame
    media: Path | None = None  # folder with the decoded, re-encoded media files
    target: str | None = None  # set where the format itself says it (class folders)
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    inference: tuple[str, ...] = ()  # sentences: encoding, delimiter, layout


@dataclass(frozen=True)
class Format:
    """A format's card."""

    key: str
    title: str
    extensions: tuple[str, ...]  # shown beside the drop zone, lower case with the dot
    recognise: Callable[[Path], float]  # by name and magic: how sure, 0..1; must not read more than 64 KB
    read: Callable[[Path, Path], Read]  # (file or folder, scratch folder for media) -> rows
    order: int = 0


def formats() -> dict[str, Format]:
    """Returns every format of the room by key."""
    return registry.members(__name__, Format)
