"""What tasks share whose target is a text that is to be written: truth and outputs are texts, one a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.places import as_rows
from tltools.records import Dataset, Problem, refuse

Array = NDArray[Any]

NO_PIECE = -100  # target behind the end of a text
MANY_WORDS = 90  # of a reference, about as many as a decoder writes


def classes(target: pd.Series) -> tuple[str, ...]:
    """None: any text may be written."""
    return ()


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) object array of texts, with one blank between words.

    Raises: Refusal for a row without a text; it names the first rows.
    """
    texts = ["" if pd.isna(cell) else " ".join(str(cell).split()) for cell in target]
    if bad := [row for row, text in enumerate(texts) if not text]:
        where = ", ".join(f"row {target.index[row]}" for row in bad[:3])
        what = f"every row must hold a reference text; {len(bad)} rows do not: {where}."
        raise refuse(f"target column {str(target.name)!r}", what, "Write the texts, or remove these rows.")
    return as_rows(texts)


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Rows that are no texts to write from, references that repeat, and such as are longer than what is written."""
    where, texts = f"target column {str(target.name)!r}", encode(target, ())
    found = []
    if dataset.modality != "text":
        what = f"a text is written from texts; got rows of the kind {dataset.modality}."
        found.append(Problem(severity="error", where=where, what=what, remedy="Name a column of texts as the input."))
    different = len(set(texts.tolist()))
    if different < 0.5 * len(texts):
        what = f"{len(texts):,} rows have only {different:,} different texts."
        remedy = "If they are names of classes, choose the task classification."
        found.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    if long := sum(text.count(" ") >= MANY_WORDS for text in texts):
        what = f"{long:,} reference(s) have more than {MANY_WORDS} words, of which only the beginning is learned."
        found.append(Problem(severity="warning", where=where, what=what, remedy="Shorten them, or split the rows."))
    return found


def numbers(truth: Array) -> dict[str, float]:
    """Words of the references."""
    counts = np.array([len(text.split()) for text in truth] or [0])
    return {"reference_words_median": float(np.median(counts)), "reference_words_max": float(counts.max())}


def width(dataset: Dataset) -> int:
    """Outputs of a row: one text."""
    return 1


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Cross entropy of the next piece, mean over the pieces of a row: raw (B, T, V), target (B, T) -> (B,)."""
    import torch

    each = torch.nn.functional.cross_entropy(
        raw.transpose(1, 2), target, ignore_index=NO_PIECE, reduction="none",
        label_smoothing=float(options.get("smoothing", 0.0)),
    )  # fmt: skip
    return each.sum(1) / (target != NO_PIECE).sum(1).clamp(min=1)


def decode(raw: Array) -> Array:
    """Texts as a decoder wrote them (M,) -> with one blank between words."""
    return as_rows([" ".join(text.split()) for text in raw])


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as texts."""
    return pd.DataFrame({"row": np.asarray(rows, np.int64), "truth": list(truth), "prediction": list(outputs)})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M,), outputs (M,)) of a table of predictions."""
    return as_rows(table["truth"].tolist()), as_rows(table["prediction"].tolist())


def cell(text: str, names: Sequence[str]) -> str:
    """One output as text."""
    return text
