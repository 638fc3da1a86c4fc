"""Cells that hold several labels: recognised, cut at their separator, written one way, or joined from 0/1 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from tltools.records import refuse

BETWEEN = "|"  # separates labels in a stored cell; "" is a row without any label
SEPARATORS = ("|", ";", ",")  # as files have them
HELD = 0.05  # of the cells have a comma before it counts as a separator
SEVERAL, REPEATED, OFTEN = 0.2, 0.9, 3.0  # see `labels_in`
_ON, _OFF = {"1", "true", "yes", "y", "x"}, {"0", "false", "no", "n", "-"}


def separator(cells: Sequence[str]) -> str:
    """The first of | and ; that any cell has, else a comma that at least a twentieth of the cells have; "" for none."""
    counts = {one: sum(one in cell for cell in cells) for one in SEPARATORS}
    return next((one for one, n in counts.items() if n > (HELD * len(cells) if one == "," else 0)), "")


def parts(cell: str, between: str = BETWEEN) -> list[str]:
    """The labels of a cell, without blanks around them, each once; a separator inside a label became "/"."""
    found = cell.split(between) if between else [cell]
    return list(dict.fromkeys(name.strip().replace(BETWEEN, "/") for name in found if name.strip()))


def cell(names: Sequence[str]) -> str:
    """Labels as a stored cell, sorted."""
    return BETWEEN.join(sorted(names))


def written(values: pd.Series) -> pd.Series:
    """A column of cells with any separator -> stored cells; missing stays missing."""
    plain = values.map(lambda value: f"{value:.12g}" if isinstance(value, float) else str(value), na_action="ignore")
    between = separator(list(plain.dropna()))
    return plain.map(lambda one: cell(parts(one, between)), na_action="ignore").astype("str")


def labels_in(values: pd.Series) -> int:
    """How many labels a column of texts is made of where its cells plainly hold several; else 0.

    Plainly: a fifth of the cells hold more than one, cells differ in how many they hold (or one name of two parts,
    "Doe, John", would be taken for two labels), nine in ten parts of such cells stand in another cell too, and a label
    has three rows on average.
    """
    cells = Counter(str(value) for value in values.dropna())
    between = separator(list(cells))
    cut = {one: parts(one, between) for one in cells} if between else {}
    rows, several = sum(cells.values()), sum(n for one, n in cells.items() if len(cut.get(one, ())) > 1)
    if not rows or several < SEVERAL * rows or len({len(found) for found in cut.values()}) < 2:
        return 0
    stands_in = Counter(name for found in cut.values() for name in found)
    uses = [stands_in[name] > 1 for found in cut.values() if len(found) > 1 for name in found]
    often = sum(n * len(cut[one]) for one, n in cells.items()) / len(stands_in)
    return len(stands_in) if sum(uses) >= REPEATED * len(uses) and often >= OFTEN else 0


def joined(table: pd.DataFrame, asked: str) -> pd.DataFrame:
    """A table with the 0/1 columns that `asked` names ("a,b,c") as one column of that name; else as it is.

    An empty cell is a 0 where its column writes no 0; else the row's labels are not known, and its cell is missing.

    Raises:
        Refusal: a column holds something else than 0 and 1, true and false, yes and no, or x.
    """
    names = [name.strip() for name in asked.split(",")]
    if asked in table or len(names) < 2 or not set(names) <= set(table):
        return table
    held, unknown = [], pd.Series(False, table.index)
    for name in names:
        texts = table[name].map(lambda one: f"{one:g}" if isinstance(one, float) else str(one), na_action="ignore")
        marks = texts.str.strip().str.lower()
        strange = marks[marks.notna() & ~marks.isin(_ON | _OFF)]
        if len(strange):
            what = f"must hold 0 or 1, as a label does; got {str(strange.iloc[0])[:40]!r}."
            raise refuse(f'column "{name}"', what, "Name columns of 0 and 1, or one column of labels.")
        if marks.isin(_OFF).any():
            unknown |= marks.isna()
        held.append(marks.isin(_ON))
    cells = [
        cell([n.replace(BETWEEN, "/") for n, on in zip(names, row, strict=True) if on])
        for row in zip(*held, strict=True)
    ]
    made = pd.Series(cells, table.index, dtype="str").mask(unknown)
    return table.drop(columns=names).assign(**{asked: made})
