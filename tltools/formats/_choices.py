"""Choices of Label Studio as a table: a column for what each task shows, and one for what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tltools import label_sets
from tltools.formats import _label_studio, _squad
from tltools.formats._cells import RawTable
from tltools.records import refuse


def raw(content: bytes, shown: str) -> tuple[RawTable, tuple[str, ...]]:
    """(cells as text, the columns of choices); several choices of one task stand in one cell.

    Raises:
        Refusal: not UTF-8, not JSON, or no task that somebody annotated.
    """
    marked, skipped, several = _label_studio.tasks(_squad.parsed(content, shown), shown)
    if not marked:
        first = f" The first: {skipped[0].where}: {skipped[0].reason}." if skipped else ""
        raise refuse(shown, f"no task is annotated.{first}", "Annotate the tasks and export them again.")
    rows: list[dict[str, str | None]] = []
    controls: dict[str, None] = {}
    for one in marked:
        row = {key: _cell(value) for key, value in one.data.items() if not isinstance(value, dict | list)}
        for control, kind, value in one.results:
            if kind == "choices" and isinstance(value.get("choices"), list):
                name = control if control not in one.data else f"{control} chosen"
                controls[name] = None
                row[name] = label_sets.cell([str(each).replace(label_sets.BETWEEN, "/") for each in value["choices"]])
        rows.append(row)
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in controls]
    names += controls
    arrays = [pa.array([row.get(name) for row in rows], pa.large_string()) for name in names]
    numbers = np.array([_number(one.where) for one in marked], np.int64)
    problems = _label_studio.told_several(several, shown)
    return RawTable(names, arrays, numbers, "task", skipped, problems, [_said(controls)]), tuple(controls)


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(where: str) -> int:
    return int(where.rpartition(" ")[2])


def _said(controls: Sequence[str] | dict[str, None]) -> str:
    names = ", ".join(f'"{name}"' for name in controls)
    return f"An export of Label Studio; chosen were {names}." if names else "A short export of Label Studio."
