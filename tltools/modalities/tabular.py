"""Table rows: numbers and categories."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tltools.fits import tokens_read
from tltools.modalities import Modality, Reading
from tltools.modalities.text import as_texts
from tltools.records import Column, Problem, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_WRITTEN = 1_000  # rows at least, where there are as many, whose length as text is looked at
# what missing values are written as where a cell must hold a number
_CODES = tuple(sign * (10**digits - 1) for digits in (2, 3, 4, 5, 6) for sign in (-1, 1)) + (-9,)
_PIECE = re.compile(r"[^\W\d_]{1,6}|\d{1,2}|[^\w\s]|_")  # about the word pieces of a row: within a sixth of MiniLM's


def recognise(columns: Sequence[Column]) -> float:
    """How sure, 0..1: the weight of numbers and categories against text columns."""
    texts = sum(column.kind in ("text", "sequence") for column in columns)
    others = sum(column.kind in ("number", "category") for column in columns)
    return 0.95 * others / (others + 4 * texts) if others else 0.05


def inputs(columns: Sequence[Column]) -> tuple[str, ...]:
    """All numbers and categories; identifiers, constants, dates and free texts are left out."""
    return tuple(column.name for column in columns if column.kind in ("number", "category"))


def numbers(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Mapping[str, float]:
    """How many columns of each sort, the share of missing cells, and how long rows are as text: `pieces_0` to
    `pieces_100` are tenths of the rows by about how many tokens they take."""
    import numpy as np

    frame = rows[list(names)]
    numeric = sum(frame[name].dtype == float for name in names)
    written = sentences(frame.iloc[:: max(1, len(frame) // _WRITTEN)], names, media, {})
    pieces = [2 + len(_PIECE.findall(text)) for text in written] or [0]
    tenths = range(0, 101, 10)
    return {f"pieces_{k}": float(found) for k, found in zip(tenths, np.percentile(pieces, tenths), strict=True)} | {
        "number_columns": float(numeric),
        "category_columns": float(len(names) - numeric),
        "missing_share": float(frame.isna().to_numpy().mean()) if frame.size else 0.0,
    }


def problems(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[Problem]:
    """More columns than rows, empty rows, categories with very many values."""
    frame = rows[list(names)]
    found = []
    if len(names) > len(rows):
        what = f"there are more input columns ({len(names):,}) than rows ({len(rows):,})."
        remedy = "Expect wide intervals; strongly regularised models are the ones to trust."
        found.append(Problem(severity="note", where="the table", what=what, remedy=remedy))
    empty = frame.isna().all(axis=1)
    if empty.any():
        where = str(rows.loc[empty, "_where"].iloc[0])
        what = f"{int(empty.sum())} row(s) are missing in every input column, the first is {where}."
        found.append(Problem(severity="warning", where=where, what=what, remedy="Fill them in or leave them out."))
    many = [name for name in names if frame[name].dtype != float and frame[name].nunique() > 100]
    if many:
        what = f"{len(many)} category column(s) have more than 100 values: {', '.join(many[:6])}."
        remedy = "Group rare values, or leave the column out of the inputs if it is a name or a code."
        found.append(Problem(severity="note", where=many[0], what=what, remedy=remedy))
    found += _codes(rows, names) + _spelt(frame)
    return found


def _codes(rows: pd.DataFrame, names: Sequence[str]) -> list[Problem]:
    """Numbers such as -999 that stand far from all others of their column, as marks for missing do."""
    import numpy as np

    said, first = [], len(rows)
    for name in names:
        if rows[name].dtype != float:
            continue
        values = rows[name].to_numpy(float)
        marked = np.isin(values, _CODES)
        others = values[~marked & ~np.isnan(values)]
        if not marked.any() or not len(others):
            continue
        low, high = others.min(), others.max()
        for code in np.unique(values[marked]):
            if max(low - code, code - high) > high - low:
                at = np.flatnonzero(values == code)
                first = min(first, int(at[0]))
                said.append(f"{name} ({code:.0f} in {len(at):,} cells, others {low:.4g} to {high:.4g})")
    if not said:
        return []
    what = f"numbers stand far from all others of their column, as marks for missing do: {'; '.join(said[:4])}"
    what += f" and {len(said) - 4} more." if said[4:] else "."
    remedy = "Empty these cells if they mean missing; read as numbers they mislead most models."
    return [Problem(severity="warning", where=str(rows["_where"].iloc[first]), what=what, remedy=remedy)]


def _spelt(frame: pd.DataFrame) -> list[Problem]:
    """Categories that differ in capitals alone: each is a value of its own to a model."""
    said = []
    for name in frame:
        if frame[name].dtype == float:
            continue
        values = frame[name].dropna().drop_duplicates().astype("str")
        alike = values.groupby(values.str.casefold()).agg(sorted)
        said += [f"{name} ({', '.join(one[:4])})" for one in alike if len(one) > 1]
    if not said:
        return []
    what = f"categories differ in capitals alone: {'; '.join(said[:4])}"
    what += f" and {len(said) - 4} more." if said[4:] else "."
    return [Problem(severity="note", where="the table", what=what, remedy="Write them alike if they are one category.")]


def doubts(source: Source, classes: Sequence[str], numbers: Mapping[str, float]) -> Iterator[str]:
    """That rows as text rarely win, and how many are cut."""
    if source.reads == "text":
        yield "Table rows as text rarely beat gradient boosting beyond a few hundred rows; the control will tell."
        yield from _cut(source, numbers)


def _cut(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    """Of rows as text; `pieces_0`, `pieces_10` ... are tenths of the rows by their length."""
    import numpy as np

    tenths = [numbers.get(f"pieces_{k}", 0.0) for k in range(0, 101, 10)]
    read = tokens_read(source)
    cut = 1 - float(np.interp(read, tenths, np.linspace(0, 1, 11)))
    if cut >= 0.01:
        share = "all" if cut == 1 else f"about {100 * cut:.0f} % of the"
        yield (
            f"It reads {read} tokens of a row as text: {share} rows are longer, and their last columns are "
            "not read. Leave out columns, or let it read more tokens."
        )


def content(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[bytes]:
    """Per row: sha256 of the input values with their column names, and of the form that `sentences` gives them."""
    head = "\x1f".join(("2", *names))
    columns = [as_texts(rows[name], "\x00") for name in names]
    return [
        hashlib.sha256("\x1f".join((head, *cells)).encode("utf-8", "surrogatepass")).digest()
        for cells in zip(*columns, strict=True)
    ]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where all input values agree, numbers to six digits.

    Tables of few columns or few values repeat rows by nature, and equal rows there are no copies: with fewer than
    five columns, or where most rows have a twin, every row stands alone.
    """
    import numpy as np
    import pandas as pd

    alone = np.arange(len(rows), dtype=np.int64)
    if len(names) < 5 or not len(rows):
        return alone
    whole = np.zeros(len(rows), np.uint64)
    for name in names:
        column = rows[name]
        values = _six_digits(column.to_numpy(float)) if column.dtype == float else column.fillna("\0").to_numpy(object)
        hashed = pd.util.hash_array(values, categorize=True)
        whole = (whole * np.uint64(0x9E3779B97F4A7C15)) ^ (hashed + np.uint64(0x632BE59BD9B4E019))
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return alone if len(first) < 0.5 * len(rows) else first[inverse].astype(np.int64)


def frame(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> pd.DataFrame:
    """Returns the input columns: numbers as float64, categories as strings, missing cells as NaN."""
    return rows[list(names)].reset_index(drop=True)


def sentences(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[str]:
    """Returns each row as "age 39, workclass State-gov"; missing cells are left out. Words between the cells would
    push the last columns of a wide table beyond what a source reads."""
    columns = [(f"{name} ", as_texts(rows[name])) for name in names]
    return [
        ", ".join(label + cell for (label, _), cell in zip(columns, cells, strict=True) if cell)
        for cells in zip(*(texts for _, texts in columns), strict=True)
    ]


def _six_digits(values: np.ndarray) -> np.ndarray:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(values))))
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    rounded = np.round(values * scale) / scale
    return np.where(np.isnan(rounded), np.inf, rounded) + 0.0  # one value for missing, one for both zeros


TABULAR = Modality(
    key="tabular",
    title="Table rows",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    doubts=doubts,
    cells=True,
    views={"tabular": frame, "text": sentences, "frames": frame},
    said={
        "text": "Rows reach it as text: “column value, column value ...”.",
        "frames": "Fits as a frozen language model; new input layer for the cells of a row.",
    },
    order=30,
)
