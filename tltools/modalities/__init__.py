"""The room of modalities: what kind of thing a row is, how it is recognised, profiled, shown and turned into input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from tltools import registry
from tltools.records import Column, Problem, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

Reading = Mapping[str, float]  # how the rows of one dataset are read, where that is chosen from its data
Reader = Literal["picture", "describe", "samples", "frames"]  # the function by which an exported script reads files
# (rows, input columns, media folder, reading) -> one item per row; what an item is, the key of `views` says
View = Callable[["pd.DataFrame", Sequence[str], Path, Reading], Sequence[Any]]


@runtime_checkable
class Drawn(Protocol):
    """An item of the view "image" that is no path of a picture, but can be drawn as one."""

    def picture(self) -> Image.Image:
        """Returns the item as an RGB picture."""
        ...


@runtime_checkable
class Framed(Protocol):
    """An item of the view "frames", which holds such, or else is a table whose cells are frames."""

    def frames(self) -> np.ndarray:
        """Returns (T, F) uint8: frames in their order, each of F numbers."""
        ...


@runtime_checkable
class Heard(Protocol):
    """An item of the view "audio"."""

    @property
    def seconds(self) -> float:
        """At most so long is any clip of the dataset."""
        ...

    def samples(self, rate: int) -> np.ndarray:
        """Returns (N,) float32 from -1 to 1: the clip at so many samples a second."""
        ...


@dataclass(frozen=True)
class Exported:
    """What an exported script needs to turn a user's file into what the model reads, without tltools."""

    imports: tuple[str, ...]  # lines beside the standard library's, numpy and pandas
    packages: tuple[str, ...]  # that its requirements name
    endings: tuple[str, ...]  # of the files that it takes from a folder
    code: str  # defines `fault(path)`, why a file cannot be read or "", and `picture(path)`, an RGB picture,
    # `describe(paths)`, (N, D) numbers, `samples(path)`, a wave, or `frames(path)`, (T, F) uint8
    opened: str = ""  # the part of it that opens a picture upright, `opened(path)`, and `fault`


@dataclass(frozen=True)
class Files:
    """What the other floors must know of rows that are files."""

    one: str  # "an image": one of them in sentences
    many: str
    endings: tuple[str, ...]  # of files that a person may hand in
    facts: tuple[str, ...]  # columns of numbers that decoding adds: never inputs
    telling: str  # what to do where such a fact alone tells the target
    draw: Callable[[Path, Reading], Image.Image]  # a stored file as the RGB picture that people and models see
    describe: Callable[[Sequence[Any]], np.ndarray]  # items -> (N, D) float32: what the classical control reads
    described: str  # in words
    exported: Callable[[Reader], Exported]
    augmented: bool = False  # they may be turned, cut and coloured while a network trains
    plays: bool = False  # the browser can play a stored file


@dataclass(frozen=True)
class Strings:
    """What the other floors must know of rows that are strings: texts, sequences."""

    terms: tuple[Mapping[str, Any], ...]  # what the classical control counts: arguments of scikit-learn's vectoriser
    strengths: tuple[float, ...]  # of its logistic regression (C); of several the best by cross-validation
    described: str  # in words
    words: Callable[[pd.DataFrame, Sequence[str]], list[list[str]]]  # near-duplicates share most; none tells a class
    exported: Callable[[str], str]  # what the model reads -> lines of a script that turn joined cells into it


def none(source: Source, classes: Sequence[str], numbers: Mapping[str, float]) -> Iterable[str]:
    """The doubts of a modality that has none."""
    return ()


def as_read(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Reading:
    """The reading of most modalities: nothing is chosen from the data."""
    return {}


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
    views: Mapping[
        str, View
    ]  # what a source reads ("text", "image", "tabular", "frames") -> the items; its own key is one
    said: Mapping[str, str] = field(default_factory=dict)  # for other views than its own: a sentence on what is read
    reading: Callable[[pd.DataFrame, Sequence[str], Path], Reading] = as_read  # chosen once, when a dataset is added
    doubts: Callable[[Source, Sequence[str], Mapping[str, float]], Iterable[str]] = (
        none  # (source, classes, numbers of the profile) -> sentences on what the source was not made for
    )
    cells: bool = False  # a row is its cells: each column says something by itself
    files: Files | None = None  # where a row is a file
    strings: Strings | None = None  # where a row is a string
    order: int = 0


def modalities() -> dict[str, Modality]:
    """Returns every modality of the room by key."""
    return registry.members(__name__, Modality)


def kinds_of_files() -> dict[str, Files]:
    """Returns, by key, what is to be known of the modalities whose rows are files."""
    return {key: modality.files for key, modality in modalities().items() if modality.files is not None}
