"""Warm: the same study again, another label column on the same texts, and a tenth more rows."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import ground
from benchmarks.figures import Figure
from tltools import datasets
from tltools.home import Home
from tltools.records import Dataset

TITLE = "Warm: the same study again, another label, a tenth more rows"
FULL: dict[str, Any] = {"rows": 2000, "rounds": 3}
QUICK: dict[str, Any] = {"rows": 1000, "rounds": 1}
BACKBONES = 2  # the source, and its random twin


def run(data: Path | None, *, rows: int, rounds: int) -> list[Figure]:
    """Probes and a random backbone on all labels; every round in a home where nothing was ever run."""
    table = ground.texts(data, rows + rows // 10)
    found = [_once(table, len(table) - len(table) // 11) for _ in range(rounds)]
    first = found[0]
    cold, again = (median(one[name]["seconds"] for one in found) for name in ("cold", "again"))
    bar = max(0.05 * cold, 1.5)
    return [
        Figure("cold", cold, "s", note=f"{first['cold']['computed']} prefix rows computed"),
        Figure("the same again", again, "s", bar, "at most", note="bar: 5 % of the cold time or 1.5 s"),
        Figure("the same again: rows computed", first["again"]["computed"], "rows", 0, "at most"),
        Figure("another label column", median(one["label"]["seconds"] for one in found), "s"),
        Figure("another label column: rows computed", first["label"]["computed"], "rows", 0, "at most"),
        Figure("a tenth more rows", median(one["more"]["seconds"] for one in found), "s"),
        Figure(
            "a tenth more rows: rows computed", first["more"]["computed"], "rows", BACKBONES * first["new"], "at most",
            note=f"{first['new']} new rows through {BACKBONES} backbones",
        ),
    ]  # fmt: skip


def _once(table: pd.DataFrame, rows: int) -> dict[str, Any]:
    """One round: seconds and rows computed of each of the four studies."""
    table = table.assign(length=np.where(table["text"].str.len() > table["text"].str.len().median(), "long", "short"))
    with ground.fresh_home() as home:
        few = ground.add(home, table.head(rows))
        found: dict[str, Any] = {"rows": few.rows, "cold": _run(home, few), "again": _run(home, few)}
        found["label"] = _run(home, ground.add(home, table.head(rows), target="length"))
        more = ground.add(home, table)
        found["more"] = _run(home, more)
        new = set(datasets.content_keys(home, more)) - set(datasets.content_keys(home, few))
        return {**found, "new": len(new)}


def _run(home: Home, dataset: Dataset) -> dict[str, float]:
    study = ground.study_of(dataset, ["linear_probe", "multilayer_probe"], controls=("random_frozen",))
    seconds, cost = ground.timed(lambda: ground.run(home, study))
    return {"seconds": seconds, "computed": cost["prefix_rows_computed"]}
