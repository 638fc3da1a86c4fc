"""Scale: cost per row and peak memory as rows grow, and cost as draws grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import ground
from benchmarks.figures import Figure

TITLE = "Scale: rows and draws grow"
FULL: dict[str, Any] = {"rows": (1_000, 10_000, 100_000), "draws": (2, 10)}
QUICK: dict[str, Any] = {"rows": (1_000, 10_000), "draws": (2, 10)}
FLAT = 1.25  # times; what counts as flat
MOST_MB = 3_000.0  # of the job


def run(data: Path | None, *, rows: tuple[int, ...], draws: tuple[int, ...]) -> list[Figure]:
    """Linear probe and the classical control through a real worker, a new home for every size."""
    found = [_once(data, count, draws[0]) for count in rows]
    figures = []
    for count, (ingest, cost) in zip(rows, found, strict=True):
        figures += [
            Figure(f"{count} rows: taking them in", 1000 * ingest / count, "ms a row"),
            Figure(f"{count} rows: the study", 1000 * cost["actual_seconds"] / count, "ms a row"),
            Figure(f"{count} rows: peak memory of the job", cost["actual_peak_mb"], "MB", MOST_MB, "at most"),
        ]
    small, large = found[0][1], found[-1][1]
    ratio = f"{rows[-1]} rows against {rows[0]}"
    per_row = (large["actual_seconds"] / rows[-1]) / (small["actual_seconds"] / rows[0])
    memory = large["actual_peak_mb"] / small["actual_peak_mb"]
    figures += [
        Figure(f"{ratio}: cost per row", per_row, "times", FLAT, "at most"),
        Figure(f"{ratio}: peak memory", memory, "times", FLAT, "at most"),
    ]
    for count in draws[1:]:
        _, more = _once(data, rows[0], count)
        figures.append(
            Figure(f"{count} draws against {draws[0]}, {rows[0]} rows: seconds",
                   more["actual_seconds"] / small["actual_seconds"], "times", note="prefix rows are the same")
        )  # fmt: skip
    return figures


def grown(data: Path | None, rows: int) -> pd.DataFrame:
    """`rows` different texts: real ones, and beyond their number halves of two real ones of the same label."""
    real = ground.texts(data, rows)
    by_label = [group["text"].str.split() for _, group in real.groupby("label", sort=True)]
    labels = sorted(real["label"].unique())
    made, step = [(text, label) for text, label in zip(real["text"], real["label"], strict=True)], 0
    seen = set(real["text"])
    while len(made) < rows:
        words, label = by_label[step % len(by_label)], labels[step % len(by_label)]
        place, step = step // len(by_label), step + 1
        first, second = place % len(words), (place + 1 + place // len(words)) % len(words)
        a, b = words.iloc[first], words.iloc[second]
        text = " ".join([*a[: (len(a) + 1) // 2], *b[len(b) // 2 :]])
        if text not in seen:
            seen.add(text)
            made.append((text, label))
    return pd.DataFrame(made[:rows], columns=["text", "label"])


def _once(data: Path | None, rows: int, draws: int) -> tuple[float, dict[str, Any]]:
    """(seconds to take the rows in, what the study cost) in a home of its own."""
    table = grown(data, rows)
    with ground.fresh_home() as home, ground.worker(home) as submit:
        ingest, dataset = ground.timed(lambda: ground.add(home, table))
        study = ground.study_of(dataset, ["linear_probe"], controls=("classical",), draws=draws)
        return ingest, ground.ended(home, submit(study))
