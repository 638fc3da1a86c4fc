"""Sequences: one or more columns of long words over a small alphabet (DNA, protein, events), read as k-mers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tltools import kmers
from tltools.modalities import Modality, Reading, Strings
from tltools.modalities.text import alike, content, joined
from tltools.records import Column, Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TERMS = ({"analyzer": "char", "ngram_range": (1, 4)},)
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
_RARE = 4_000  # different k-mers from which on two unlike sequences share hardly any


def recognise(columns: Sequence[Column]) -> float:
    """How sure, 0..1: the weight of columns of sequences against all others."""
    sequences = sum(column.kind == "sequence" for column in columns)
    others = sum(column.kind in ("number", "category") for column in columns)
    texts = sum(column.kind == "text" for column in columns)
    return 0.95 * sequences / (sequences + 0.25 * others + texts) if sequences else 0.0


def inputs(columns: Sequence[Column]) -> tuple[str, ...]:
    """All columns of sequences, in their order."""
    return tuple(column.name for column in columns if column.kind == "sequence")


def reading(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Reading:
    """Letters of the alphabet, k and step, from which letters there are and how long the sequences are."""
    import numpy as np

    texts = joined(rows, names)
    letters = kmers.letters_of([cell for name in names for cell in rows[name].dropna().astype(str)])
    return kmers.reading_of(len(letters), float(np.median([len(text) for text in texts] or [0])))


def as_read(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[str]:
    """Returns each row's sequence as k-mers with blanks between."""
    return [kmers.kmers(text, reading) for text in joined(rows, names)]


@dataclass(frozen=True)
class Words:
    """A sequence as its k-mers, letter by letter."""

    text: str
    reading: Reading

    def frames(self) -> np.ndarray:
        """Returns (T, 27 k) uint8: the letters of each k-mer; see `kmers.lit`."""
        return kmers.lit(kmers.kmers(self.text, self.reading).split(), int(self.reading["k"]))


def windows(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[Words]:
    """Returns each row's sequence, to be read k-mer by k-mer."""
    return [Words(text, reading) for text in joined(rows, names)]


def numbers(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Mapping[str, float]:
    """Letters per row and of the alphabet."""
    import numpy as np

    lengths = np.array([len(text) for text in joined(rows, names)] or [0])
    return {
        "letters_median": float(np.median(lengths)),
        "letters_max": float(lengths.max()),
        "alphabet": reading(rows, names, media)["letters"],
    }


def problems(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[Problem]:
    """Empty ones, and how the sequences are read."""
    texts, places, where = joined(rows, names), rows["_where"].tolist(), ", ".join(names)
    found = []
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        what = f"{len(empty)} row(s) have no sequence at all, the first in {places[empty[0]]}."
        remedy = "Fill them in or leave them out: nothing can be learned from them."
        found.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    chosen = reading(rows, names, media)
    example = next((kmers.kmers(text[:12], chosen) for text in texts if text.strip()), "")
    how = "overlapping" if chosen["step"] == 1 and chosen["k"] > 1 else "adjacent"
    what = f"sequences over {chosen['letters']:.0f} letters; text sources read them as {how} words of"
    what += f" {chosen['k']:.0f} letter(s) ({chosen['k']:.0f}-mers): {example} ..."
    reach = kmers.LONG * chosen["step"]
    if longer := sum(len(text) > reach for text in texts):
        what += f" Of {longer} longer than {reach:.0f} letters they may read the beginning only."
    return [*found, Problem(severity="note", where=where, what=what, remedy="Nothing needs to be done.")]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where 70 % of their `words` agree."""
    return alike(words(rows, names))


def words(rows: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """Returns the overlapping k-mers of each row, of a k at which sequences that are not related share hardly any."""
    letters = max(2, int(reading(rows, names, Path())["letters"]))
    rare = {"k": float(math.ceil(math.log(_RARE) / math.log(letters))), "step": 1.0}
    return [kmers.kmers(text, rare).split() for text in joined(rows, names)]


def exported(reads: str) -> str:
    """The front end as code, for a script that has `items` and `facts`."""
    code = inspect.getsource(kmers.kmers).replace("Mapping[str, float]", "dict[str, float]")
    if reads == "text":
        return f'{code}\n\nitems = [kmers(item, facts["reading"]) for item in items]\n'
    lit = inspect.getsource(kmers.lit).replace("Sequence[str]", "list[str]")
    return f"{code}\n\n{lit}\n\n{_FRAMES}" if reads == "frames" else ""


_FRAMES = """\
def frames(text):  # its k-mers, letter by letter
    return lit(kmers(text, facts["reading"]).split(), int(facts["reading"]["k"]))
"""


SEQUENCE = Modality(
    key="sequence",
    title="Sequences",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    views={"sequence": joined, "text": as_read, "frames": windows},
    said={
        "text": "Each sequence reaches it as short words (k-mers); unless it was pre-trained on such, expect little: "
        "the control of k-mer counts will tell.",
        "frames": "Fits as a frozen language model; new input layer for the letters of each k-mer.",
    },
    reading=reading,
    strings=Strings(
        terms=TERMS, strengths=STRENGTHS, described="k-mer counts (1 to 4)", words=words, exported=exported
    ),
    order=12,
)
