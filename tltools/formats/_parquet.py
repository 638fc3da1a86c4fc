"""Parquet files: typed columns in, the same cells as from any other table out; nested ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tltools.formats import asking
from tltools.formats._cells import RawTable, headers, listed
from tltools.records import Problem, refuse


def read(path: Path, shown: str) -> RawTable:
    """Reads a Parquet file.

    Raises:
        Refusal: not Parquet, damaged, too large, or without a readable column.
    """
    import pyarrow.parquet as pq

    limits = asking.get().limits
    try:
        file = pq.ParquetFile(path)
        rows, width = file.metadata.num_rows, len(file.schema_arrow)
        if rows > limits.rows or rows * width > limits.cells or width > limits.columns:
            most = f"{limits.rows:,} rows, {limits.columns:,} columns and {limits.cells:,} cells"
            what = f"at most {most} can be read; got {rows:,} x {width:,}."
            raise refuse(shown, what, "Add a sample of the rows.")
        table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        if hasattr(error, "problems"):
            raise
        what = f"must be a Parquet file; it cannot be read ({str(error).splitlines()[0][:120]})."
        raise refuse(shown, what, "Write it again: df.to_parquet('data.parquet').") from error
    names, columns, left_out = [], [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        text = _as_text(column)
        if text is None:
            left_out.append(f"{name} ({column.type})"[:60])
        elif name != "__index_level_0__":
            names.append(name)
            columns.append(text)
    if not columns:
        raise refuse(shown, "there is no column of numbers or text.", "Write plain columns.")
    unique, problems = headers(names, shown)
    if left_out:
        what = f"{len(left_out)} column(s) hold lists, records or bytes and were left out: {listed(left_out)}."
        problems.append(
            Problem(
                severity="warning", where=shown, what=what, remedy="Write them as plain columns of numbers or text."
            )
        )
    return RawTable(unique, columns, np.arange(1, table.num_rows + 1), "row", problems=problems)


def _as_text(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_float16(kind):  # pyarrow reckons with no halves
        column, kind = column.cast(pa.float32()), pa.float32()
    if pa.types.is_floating(kind):
        finite = pc.is_finite(column)
        column = pc.if_else(pc.fill_null(finite, False), column, pa.scalar(None, kind))
        whole = pc.all(pc.equal(column, pc.round(column))).as_py()
        small = (pc.max(pc.abs(column)).as_py() or 0) < 1e15
        return column.cast(pa.int64() if whole and small else pa.float64()).cast(pa.large_string())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        seconds = column.cast(pa.timestamp("s"), safe=False)
        days = pc.all(pc.equal(seconds, pc.floor_temporal(seconds, unit="day"))).as_py()
        return pc.strftime(seconds, format="%Y-%m-%d" if days else "%Y-%m-%d %H:%M:%S")
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "True", "False").cast(pa.large_string())  # as other writers have it
    plain = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    if plain or pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return column.cast(pa.large_string())
    return None
