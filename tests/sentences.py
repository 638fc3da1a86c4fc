"""Generated sentences in which people and towns are tagged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

PEOPLE = ["Anna Berg", "Tom Hale", "Ida Cole", "Ben Stone", "Eva Lind", "Max Frost", "Lea Brook", "Jon Park"]
TOWNS = ["Oslo", "New York", "Lima", "Cape Town", "Bergen", "Rome", "San Diego", "Kyoto"]
FRAMES = [
    "{p} lives in {t} now",
    "yesterday {p} left {t} by train",
    "in {t} nobody knows {p}",
    "{p} and {q} met in {t}",
]
CLASSES = ("LOC", "PER")


def conll(count: int, seed: int, mark: str = "") -> str:
    """So many tagged sentences, each another."""
    random, lines = np.random.default_rng(seed), []
    for k in range(count):
        chosen = {"p": (random.choice(PEOPLE), "PER"), "q": (random.choice(PEOPLE), "PER"),
                  "t": (random.choice(TOWNS), "LOC")}  # fmt: skip
        for part in f"{FRAMES[k % 4]} {k} {seed}".split(" "):
            text, kind = chosen[part[1]] if part.startswith("{") else (part, "")
            for i, word in enumerate(str(text).split(" ")):
                lines.append(f"{mark}{word}\t" + (f"{'BI'[i > 0]}-{kind}" if kind else "O"))
        lines.append("")
    return "\n".join(lines) + "\n"


def written(folder: Path) -> Path:
    """A zip with a training and a test part."""
    with zipfile.ZipFile(folder / "towns.zip", "w") as archive:
        archive.writestr("towns_train.conll", conll(72, 1, "en:"))
        archive.writestr("towns_test.conll", conll(24, 2, "en:"))
        archive.writestr("notes.md", "where it is from")
    return folder / "towns.zip"
