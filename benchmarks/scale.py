"""Scale: cost per row and peak memory as rows grow, and cost as draws grow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import ground
from benchmarks.figures import Figure
from tltools import datasets

TITLE = "Scale: rows and draws grow"
FULL: dict[str, Any] = {"rows": (1_000, 10_000, 100_000), "draws": (2, 10)}
QUICK: dict[str, Any] = {"rows": (1_000, 10_000), "draws": (2, 10)}
SIDE = 32  # pixels of the pictures
FLAT = 1.25  # times; what counts as flat
MOST_MB = 3_000.0  # of the job


def run(data: Path | None, *, rows: tuple[int, ...], draws: tuple[int, ...]) -> list[Figure]:
    """Linear probe and the classical control through a real worker, a new home for every size."""
    figures = []
    for kind in ("texts", "images"):
        found = [_once(kind, data, count, draws[0]) for count in rows]
        for count, (ingest, cost) in zip(rows, found, strict=True):
            figures += [
                Figure(f"{count} {kind}: taking them in", 1000 * ingest / count, "ms a row"),
                Figure(f"{count} {kind}: the study", 1000 * cost["actual_seconds"] / count, "ms a row"),
                Figure(f"{count} {kind}: peak memory of the job", cost["actual_peak_mb"], "MB", MOST_MB, "at most"),
            ]
        small, large = found[0][1], found[-1][1]
        ratio = f"{rows[-1]} {kind} against {rows[0]}"
        per_row = (large["actual_seconds"] / rows[-1]) / (small["actual_seconds"] / rows[0])
        memory = large["actual_peak_mb"] / small["actual_peak_mb"]
        figures += [
            Figure(f"{ratio}: cost per row", per_row, "times", FLAT, "at most"),
            Figure(f"{ratio}: peak memory", memory, "times", FLAT, "at most"),
        ]
    for count in draws[1:]:
        few, many = (_once("texts", data, rows[0], number)[1]["actual_seconds"] for number in (draws[0], count))
        note = "prefix rows are the same"
        figures.append(
            Figure(f"{count} draws against {draws[0]}, {rows[0]} texts: seconds", many / few, "times", note=note)
        )
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


def drawn(rows: int, folder: Path) -> Path:
    """A folder of `rows` different pictures by class: scikit-learn's digits, and beyond their number means of two of
    the same class, one of them moved by a pixel."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    random = np.random.default_rng(0)
    for number in range(rows):
        place = number % len(found.images)
        picture, label = found.images[place], int(found.target[place])
        if number >= len(found.images):
            other = found.images[random.choice(np.flatnonzero(found.target == label))]
            weight = random.uniform(0.3, 0.7)
            picture = weight * picture + (1 - weight) * np.roll(other, random.integers(-1, 2, 2), (0, 1))
        path = folder / str(label) / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (picture * (255 / 16)).round().astype(np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
    return folder


def _once(kind: str, data: Path | None, rows: int, draws: int) -> tuple[float, dict[str, Any]]:
    """(seconds to take the rows in, what the study cost) in a home of its own."""
    with ground.fresh_home() as home, tempfile.TemporaryDirectory() as folder, ground.worker(home) as submit:
        if kind == "texts":
            table, source = grown(data, rows), ground.MINILM
            ingest, dataset = ground.timed(lambda: ground.add(home, table))
        else:
            pictures, source = drawn(rows, Path(folder)), "bundled/tiny-resnet"
            ingest, dataset = ground.timed(lambda: datasets.add(home, pictures))
        controls = ("classical", "random_frozen") if kind == "images" else ("classical",)
        study = ground.study_of(dataset, ["linear_probe"], source, controls=controls, draws=draws)
        return ingest, ground.ended(home, submit(study))
