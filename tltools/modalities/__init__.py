"""The room of modalities: what kind of thing a row is, how it is recognised, profiled, shown and turned into input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltools import registry
from tltools.records import Column, Problem

if TYPE_CHECKING:
    import pandas as pd

# (rows, input columns, media folder) -> one item per row; what an item is, the key of `views` says
View = Callable[["pd.DataFrame", Sequence[str], Path], Sequence[Any]]


@dataclass(frozen=True)
class Modality:
    """A modality's card."""

    key: str
    title: str
    recognise: Callable[[Sequence[Column]], float]  # columns without the target -> how sure, 0..1
    inputs: Callable[[Sequence[Column]], tuple[str, ...]]  # which columns to read, by default
    numbers: Callable[[pd.DataFrame, Sequence[str], Path], Mapping[str, float]]  # facts for the profile
    problems: Callable[[pd.DataFrame, Sequence[str], Path], Sequence[Problem]]  # what is wrong with the rows
    content: Callable[[pd.DataFrame, Sequence[str], Path], Sequence[bytes]]  # per row: bytes that decide equality
    clusters: Callable[
        [pd.DataFrame, Sequence[str], Path], Any
    ]  # (N,) int64: rows that are (near) duplicates share one
    views: Mapping[str, View]  # what a source reads ("text", "image", "tabular") -> the items
    order: int = 0


def modalities() -> dict[str, Modality]:
    """Returns every modality of the room by key."""
    return registry.members(__name__, Modality)
