"""Columns of two tables that mean the same: matched by name, kind and distribution, with reasons, changed by hand.

Names are compared by their pairs of letters without case and signs: the mean of Dice's coefficient (2 common pairs
through all pairs) and of the share of the shorter name, so that abbreviations count; names whose digits differ do not.
Values are compared within a kind: numbers by the mean distance of 21 quantiles (Wasserstein) through the spread from
the 10th to the 90th of them, categories by the share that both distributions have in common. Each column is matched
once, so that the matches are surest together (assignment problem); those below 0.55 are dropped.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tltools import datasets
from tltools.fits import Match
from tltools.home import Home, json_bytes
from tltools.records import Dataset, Problem, Record, Refusal, Source

NAME, VALUES = 0.6, 0.4  # how much name and values count where both are known
ALONE = 0.65  # values alone, at their best: where they are like those of no other column
LEAD = 4.0  # values that are a quarter more alike than those of any other column count in full
LEAST = 0.55  # below it nothing is matched
DOUBTFUL = 0.7  # below it a match should be looked at
FILE = "columns.json"  # in a trial's folder
LEVELS = 200  # categories of a column that are compared
Changes = Mapping[str, str | None]  # column -> the source's column, or None: it starts new


class Column(Record):
    """What is compared of a column; values are empty where every cell is missing."""

    name: str
    numeric: bool
    quantiles: tuple[float, ...] = ()  # 21 of the cells of a number
    shares: dict[str, float] = {}  # of the cells of a category, by value in small letters


def columns_of(table: pd.DataFrame) -> list[Column]:
    """What is compared of the columns of a table: numbers as float, everything else as categories."""
    return [_column(str(name), table[name]) for name in table.columns]


def _column(name: str, cells: pd.Series) -> Column:
    known = cells.dropna()
    if pd.api.types.is_numeric_dtype(cells):
        quantiles = np.quantile(known.to_numpy(float), np.linspace(0, 1, 21)) if len(known) else ()
        return Column(name=name, numeric=True, quantiles=tuple(map(float, quantiles)))
    levels = known.astype(str).str.strip().str.lower().value_counts(normalize=True)[:LEVELS]
    return Column(name=name, numeric=False, shares={str(level): float(share) for level, share in levels.items()})


def proposed(new: Sequence[Column], known: Sequence[Column]) -> tuple[Match, ...]:
    """One match for each column of `new`, in its order, with a column of `known` or none."""
    found: dict[str, Match] = {}
    for numeric in (True, False):
        ours, theirs = ([c for c in side if c.numeric == numeric] for side in (new, known))
        found |= {match.column: match for match in _matched(ours, theirs)}
    return tuple(found[column.name] for column in new)


def _matched(ours: Sequence[Column], theirs: Sequence[Column]) -> list[Match]:
    """Matches of columns of one kind."""
    if not theirs:
        return [_new(column.name) for column in ours]
    names, alike = names_alike([c.name for c in ours], [c.name for c in theirs]), values_alike(ours, theirs)
    lead = alike - np.maximum(_next_best(alike), _next_best(alike.T).T)
    both = np.where(np.isnan(alike), names, NAME * names + VALUES * alike)
    sure = np.fmax(both, ALONE * alike * np.clip(LEAD * lead, 0, 1))
    # columns of one name belong together, however sure others are
    from scipy.optimize import linear_sum_assignment

    pairs = dict(zip(*linear_sum_assignment(sure + (names == 1), maximize=True), strict=True))
    found = []
    for place, column in enumerate(ours):
        there = pairs.get(place)
        if there is None or sure[place, there] < LEAST:
            found.append(_new(column.name))
            continue
        why = _why(names[place, there], alike[place, there])
        found.append(Match(column=column.name, source=theirs[there].name, sure=float(sure[place, there]), why=why))
    return found


def _new(column: str) -> Match:
    return Match(column=column, source=None, sure=0.0, why="nothing like it there: starts new")


def _why(name: float, values: float) -> str:
    """The reason for a match, of the likeness of name and values."""
    said = "same name" if name == 1 else "similar name" if name >= 0.4 else "another name"
    return said if np.isnan(values) else f"{said}, values {100 * values:.0f} % alike"


def names_alike(ours: Sequence[str], theirs: Sequence[str]) -> np.ndarray:
    """(ours, theirs) from 0 to 1: how alike names are; 1 only where they are the same but for case and signs."""
    plain = [[_plain(name) for name in side] for side in (ours, theirs)]
    pairs = sorted({pair for side in plain for name in side for pair in _pairs(name)})
    place = {pair: k for k, pair in enumerate(pairs)}
    held = [np.zeros((len(side), len(pairs)), np.float32) for side in plain]
    for table, side in zip(held, plain, strict=True):
        for row, name in zip(table, side, strict=True):
            row[[place[pair] for pair in _pairs(name)]] = 1.0
    common, (mine, its) = held[0] @ held[1].T, (table.sum(1) for table in held)
    dice = 2 * common / (mine[:, None] + its)
    alike = 0.99 * (dice + common / np.minimum(mine[:, None], its)) / 2
    digits = [np.array(["".join(re.findall(r"\d", name)) for name in side], object) for side in plain]
    numbered = (digits[0] != "")[:, None] & (digits[1] != "") & (digits[0][:, None] != digits[1])
    same = np.array(plain[0], object)[:, None] == np.array(plain[1], object)
    return np.where(same, 1.0, np.where(numbered, 0.0, alike))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower()) or name


def _pairs(name: str) -> set[str]:
    """Pairs of letters that follow each other; the beginning and the end count as letters."""
    return {first + second for first, second in zip(f"^{name}", f"{name}$", strict=True)}


def values_alike(ours: Sequence[Column], theirs: Sequence[Column]) -> np.ndarray:
    """(ours, theirs) from 0 to 1: how alike the values of columns of one kind are; NaN where they are not known."""
    found = np.full((len(ours), len(theirs)), np.nan)
    there = [j for j, its in enumerate(theirs) if its.quantiles]
    grid = np.array([theirs[j].quantiles for j in there])
    for i, mine in enumerate(ours):
        if mine.quantiles and there:
            found[i, there] = _near(np.array(mine.quantiles), grid)
        for j, its in enumerate(theirs) if mine.shares else ():
            if its.shares:
                found[i, j] = sum(min(share, its.shares.get(level, 0.0)) for level, share in mine.shares.items())
    return found


def _near(mine: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(n,) likeness of (21,) quantiles with each of (n, 21)."""
    distance = np.abs(grid - mine).mean(1)
    spread = (_spread(grid) + _spread(mine[None])) / 2
    return np.where(spread > 0, np.clip(1 - distance / np.where(spread > 0, spread, 1.0), 0, 1), distance == 0)


def _spread(grid: np.ndarray) -> np.ndarray:
    """(n,) from the 10th to the 90th per cent of (n, 21) quantiles; the whole range where most cells are one value."""
    middle = grid[:, 18] - grid[:, 2]
    return np.where(middle > 0, middle, grid[:, -1] - grid[:, 0])


def _next_best(alike: np.ndarray) -> np.ndarray:
    """For each cell the largest other one of its row; 0 where there is none."""
    held = np.nan_to_num(np.pad(alike, ((0, 0), (0, 2))))
    order = np.sort(held, 1)
    return np.where(np.nan_to_num(alike) == order[:, -1:], order[:, -2:-1], order[:, -1:])


# --- a source and a dataset -----------------------------------------------------------------------------------------


def between(home: Home, source: Source, dataset: Dataset, changes: Changes | None = None) -> tuple[Match, ...]:
    """The matches of a dataset's columns with those of the table that an own/ source learnt from, as a study changes
    them.

    Raises:
        Refusal: a change names a column that is not there, one of another kind, or one twice.
    """
    found = _proposed(home, dataset.id, source.id)
    return changed(found, changes, _of_dataset(home, dataset.id), known(home, source.id), source.id)


def remember(folder: Path, learnt: Sequence[Column]) -> None:
    """Writes beside a trial what is compared of the columns that it learnt from, so that it can be a source."""
    (folder / FILE).write_bytes(json_bytes([column.model_dump() for column in learnt]))


@functools.lru_cache(maxsize=64)
def known(home: Home, source_id: str) -> tuple[Column, ...]:
    """The columns that an own/ source learnt from."""
    found = json.loads((home.trials / source_id.removeprefix("own/") / FILE).read_text())
    return tuple(Column.model_validate(each) for each in found)


@functools.lru_cache(maxsize=64)
def _of_dataset(home: Home, dataset_id: str) -> tuple[Column, ...]:
    """The input columns of a stored table, without the rows of a given test part."""
    table = datasets.rows(home, dataset_id)
    return tuple(columns_of(table.loc[table["_part"] != "test", list(datasets.get(home, dataset_id).inputs)]))


@functools.lru_cache(maxsize=256)
def _proposed(home: Home, dataset_id: str, source_id: str) -> tuple[Match, ...]:
    return proposed(_of_dataset(home, dataset_id), known(home, source_id))


def changed(
    found: Sequence[Match], changes: Changes | None, new: Sequence[Column], known: Sequence[Column], source: str
) -> tuple[Match, ...]:
    """The matches with the user's changes; what is matched by hand is free of other proposals.

    Raises:
        Refusal: see `between`.
    """
    changes = changes or {}
    ours, theirs = {column.name: column for column in new}, {column.name: column for column in known}
    problems: list[Problem] = []

    def wrong(column: str, what: str, remedy: str) -> None:
        problems.append(Problem(severity="error", where=f"columns of {source}, {column}", what=what, remedy=remedy))

    by_hand = [its for its in changes.values() if its is not None]
    for column, its in changes.items():
        if column not in ours:
            wrong(column, "is no input column of the dataset.", f"The columns are {', '.join([*ours][:20])}.")
        elif its is not None and its not in theirs:
            wrong(column, f"is matched with {its!r}, which the source's table lacks.", _choose(theirs))
        elif its is not None and theirs[its].numeric != ours[column].numeric:
            kinds = ["categories", "numbers"]
            what = f"holds {kinds[ours[column].numeric]}, but {its!r} holds {kinds[theirs[its].numeric]}."
            wrong(column, what, "Match columns of one kind.")
        elif by_hand.count(its or "") > 1:
            wrong(column, f"is matched with {its!r}, as another column is.", "Match each column of the source once.")
    if problems:
        raise Refusal(*problems)
    made = []
    for match in found:
        if match.column in changes:
            its = changes[match.column]
            by = "matched by hand" if its else "dropped by hand: starts new"
            match = (
                match
                if match.source == its
                else Match(column=match.column, source=its, sure=float(its is not None), why=by)
            )
        elif match.source in by_hand:
            match = _new(match.column)
        made.append(match)
    return tuple(made)


def _choose(theirs: Mapping[str, Any]) -> str:
    return f"Choose from {', '.join([*theirs][:20])}."


def told(matches: Sequence[Match], table: str) -> tuple[str, list[str]]:
    """How many columns are shared with the source's table, for people; and what to be careful with."""
    shared = [match for match in matches if match.source is not None]
    said = f"Knows {len(shared)} of {len(matches)} columns from {table}"
    said += "." if len(shared) == len(matches) else f"; {len(matches) - len(shared)} start new."
    warnings = []
    if 2 * len(shared) < len(matches):
        warnings.append("It knows fewer than half of the columns: most of what the network reads starts new.")
    doubtful = [f"{match.column} with {match.source}" for match in shared if match.sure < DOUBTFUL]
    if doubtful:
        more = f" and {len(doubtful) - 4} more" if len(doubtful) > 4 else ""
        warnings.append(f"Look at these matches of columns: {', '.join(doubtful[:4])}{more}.")
    return said, warnings
