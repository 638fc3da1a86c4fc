"""Budget: a study that needs far longer than its time budget ends in time, with a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import ground
from benchmarks.figures import Figure
from tltools import reports
from tltools.records import Budget

TITLE = "Budget: a study ends in the time that it is given"
FULL: dict[str, Any] = {"rows": 2000, "minutes": (1.0, 3.0, 10.0)}
QUICK: dict[str, Any] = {"rows": 2000, "minutes": (1.0,)}
OVER = 10.0  # percent


def run(data: Path | None, *, rows: int, minutes: tuple[float, ...]) -> list[Figure]:
    """Probe, full fine-tuning and both cheap controls at four shares in ten draws, each budget in a new home."""
    return [figure for budget in minutes for figure in _once(data, rows, budget)]


def _once(data: Path | None, rows: int, minutes: float) -> list[Figure]:
    with ground.fresh_home() as home:
        dataset = ground.add(home, ground.texts(data, rows))
        study = ground.study_of(
            dataset, ["linear_probe", "full_finetune"], controls=("random_frozen", "classical"),
            fractions=(0.1, 0.25, 0.5, 1.0), draws=10, budget=Budget(minutes=minutes),
        )  # fmt: skip
        seconds, cost = ground.timed(lambda: ground.run(home, study))
        report = reports.load(home, cost["study"])
        note = f"{cost['trials_run']} of {cost['trials']} trials; {report.headline}"
        return [
            Figure(f"{minutes:g} min: time taken", seconds, "s", 60 * minutes * (1 + OVER / 100), "at most", note=note),
            Figure(f"{minutes:g} min: verdicts", len(report.verdicts), "verdicts", 1),
        ]
