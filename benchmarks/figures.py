"""A figure: what was measured, its unit, and the bar beside it; and the two documents that all figures go to."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured number. A figure with a bar says whether it is met; a missed bar is written as missed."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    side: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.side == "at least" else self.value <= self.bar

    def line(self) -> str:
        """The figure for a terminal."""
        met = {None: "", True: "  met", False: "  MISSED"}[self.met]
        bar = "" if self.bar is None else f"  ({self.side} {number(self.bar)}){met}"
        return f"{self.what}: {number(self.value)} {self.unit}{bar}{f'  [{self.note}]' if self.note else ''}"

    def row(self) -> dict[str, Any]:
        """The figure as plain numbers and words."""
        return {**asdict(self), "met": self.met}


def keep(
    docs: Path, name: str, figures: Sequence[Figure], *, title: str, command: str, load: float, note: str = ""
) -> None:
    """Puts the figures of one benchmark in the place of its earlier ones, in performance.json and performance.md.

    docs: the folder of both. load: runnable processes of the machine just before the benchmark began.
    """
    stored = docs / "performance.json"
    found: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    found[name] = {
        "title": title,
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_before": round(load, 2),
        "note": note,
        "figures": [figure.row() for figure in figures],
    }
    stored.write_text(json.dumps(found, indent=1) + "\n")
    (docs / "performance.md").write_text(page(found))


def machine() -> str:
    """The machine and its threads, in words."""
    import torch

    bf16 = "with" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "without"
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{bf16} AVX-512, torch {torch.__version__}"
    )


def page(found: dict[str, Any]) -> str:
    """The document: a table a benchmark, its command above it."""
    lines = [
        "# Performance", "",
        "Written by `python -m benchmarks`. Each figure is the median of the rounds that its benchmark takes, in which",
        "the contenders took turns in one process tree. The bar stands beside the figure, and a missed bar is written",
        "as missed.", "",
    ]  # fmt: skip
    for entry in found.values():
        note = f" {entry['note']}" if entry["note"] else ""
        lines += [f"## {entry['title']}", "", f"`{entry['command']}`", "",
                  f"{entry['date']}; {entry['machine']}; load before the start {entry['load_before']:.1f}.{note}", "",
                  "| what | figure | bar | | how |", "|---|---:|---|---|---|"]  # fmt: skip
        for row in entry["figures"]:
            bar = "" if row["bar"] is None else f"{row['side']} {number(row['bar'])} {row['unit']}"
            met = {None: "", True: "met", False: "**missed**"}[row["met"]]
            lines.append(f"| {row['what']} | {number(row['value'])} {row['unit']} | {bar} | {met} | {row['note']} |")
        lines.append("")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits that count, no exponent; whole numbers as they are."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"
