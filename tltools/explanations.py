"""The verb `explain` of the command line: why a trial says what it says, as JSON and as lines for people."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from tltools.commands import Answer, through_job
from tltools.home import Home

MOST = 8  # words, columns or rows told of one thing


def explain(home: Home, options: Namespace) -> Answer:
    payload: dict[str, Any] = {"trial": options.trial, "what": options.what, "how": options.how}
    if options.row:
        payload["rows"] = list(options.row)
    if options.item:
        payload["items"] = [str(Path(item).resolve()) if Path(item).is_file() else item for item in options.item]
    return through_job(home, "explain", payload, f"Explain {options.trial}", lines)


def lines(result: dict[str, Any]) -> list[str]:
    """What the job "explain" found, the weightiest first."""
    if result["what"] == "forgetting":
        told = [f"{stage['cka']:.3f}  {stage['stage']}" for stage in result["stages"]]
        return [*told, *filter(None, [result["note"]])]
    said = []
    for one in result.get("columns", ())[:MOST]:
        said.append(f"{one['importance']:+.4f}  {one['column']}")
    for row in result["rows"]:
        said.append(f"row {row['row']}: {row['prediction']}, truth {row['truth']}")
        said += [f"    {line}" for line in _row(row)]
    if sanity := result.get("sanity"):
        said.append(f"random weights mark the same with a rank correlation of {sanity['likeness']:.2f}")
    return said


def _row(row: dict[str, Any]) -> list[str]:
    if "nearest" in row:
        return [f"{near['similarity']:.3f}  row {near['row']}: {near['truth']}" for near in row["nearest"]]
    if "columns" in row:
        return [f"{one['credit']:+.4f}  {one['column']} = {one['value']}" for one in row["columns"][:MOST]]
    if "words" in row:
        heavy = sorted(row["words"], key=lambda word: -abs(word[1]))[:MOST]
        return [f"{weight:+.4f}  {word}" for word, weight in heavy]
    weights = np.asarray(row["weights"])
    down, across = np.unravel_index(int(weights.argmax()), weights.shape)
    return [f"most at place {down + 1} of {len(weights)} down, {across + 1} of {weights.shape[1]} across"]
