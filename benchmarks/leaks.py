"""How many planted copies the leak guard finds, and how many finds are copies: `python -m benchmarks.leaks DATA`.

Copies of rows of public datasets are planted: exact, re-encoded (JPEG, quality 60), cropped by 5 % of each side, or
with one token replaced. A find is right when the copy shares a cluster with its original; what was alike before
anything was planted does not count. DATA is a folder with the datasets under their usual names.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tltools import datasets
from tltools.home import Home, open_home
from tltools.modalities import modalities

DOCS = Path(__file__).resolve().parents[1] / "docs"
PLANTED = 150
Copy = Callable[[str, np.random.Generator], str]


def text_copies() -> dict[str, Copy]:
    """Ways to copy a text."""

    def reworded(text: str, random: np.random.Generator) -> str:
        words = text.split()
        words[int(random.integers(len(words)))] = "otherwise"
        return " ".join(words)

    return {"exact": lambda text, random: text, "one token replaced": reworded}


def picture_copies() -> dict[str, Callable[[Image.Image], Image.Image]]:
    """Ways to copy a picture."""

    def again(image: Image.Image) -> Image.Image:
        kept = io.BytesIO()
        image.save(kept, "JPEG", quality=60)
        return Image.open(kept).convert("RGB")

    def cropped(image: Image.Image) -> Image.Image:
        wide, high = image.size
        return image.crop((0, 0, round(0.95 * wide), round(0.95 * high)))

    return {"exact": lambda image: image, "re-encoded": again, "cropped by 5 %": cropped}


def figures(clusters: np.ndarray, before: np.ndarray, originals: np.ndarray) -> dict[str, float]:
    """Recall of the planted copies, and the share of right ones among the pairs that were linked by planting.

    clusters (N + P,): of all rows, planted ones last; before (N,): without them; originals (P,): of each planted row.
    """
    old = len(before)
    found = clusters[old:] == clusters[originals]
    # a planted row that joins the cluster of a row unlike its original is a false find; so are two old rows joined anew
    strange = (clusters[old:] < old) & ~found
    joined = sum(len(np.unique(before[clusters[:old] == c])) - 1 for c in np.unique(clusters[:old]))
    finds = int(found.sum()) + int(strange.sum()) + joined
    return {"recall": float(found.mean()), "precision": float(found.sum() / finds) if finds else 1.0}


def texts(name: str, values: list[str]) -> dict[str, dict[str, float]]:
    """The figures of each way to copy, of a list of texts."""
    random, guard, made = np.random.default_rng(0), modalities()["text"], {}
    before = guard.clusters(_table(values), ["text"], Path())
    for kind, copy in text_copies().items():
        originals = random.choice(np.flatnonzero([len(v.split()) >= 4 for v in values]), PLANTED, replace=False)
        planted = [copy(values[row], random) for row in originals]
        made[f"{name}, {kind}"] = figures(guard.clusters(_table(values + planted), ["text"], Path()), before, originals)
    return made


def pictures(name: str, home: Home, archive: Path) -> dict[str, dict[str, float]]:
    """The figures of each way to copy, of the pictures of an archive."""
    dataset = datasets.add(home, archive)
    paths = [Path(path) for path in sorted(set(datasets.items(home, dataset, "image")))]
    random, guard, made = np.random.default_rng(0), modalities()["image"], {}
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder)
        names = [path.name for path in paths]
        for path in paths:
            (media / path.name).symlink_to(path)
        before = guard.clusters(_table(names), ["text"], media)
        for kind, copy in picture_copies().items():
            originals = random.choice(len(paths), min(PLANTED, len(paths) // 2), replace=False)
            planted = []
            for row in originals:
                planted.append(f"{kind[:4]}-{row}.png")
                with Image.open(paths[row]) as image:
                    copy(image.convert("RGB")).save(media / planted[-1])
            clusters = guard.clusters(_table(names + planted), ["text"], media)
            made[f"{name}, {kind}"] = figures(clusters, before, originals)
    return made


def _table(values: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"text": values, "_where": [str(k) for k in range(len(values))]})


def main() -> None:
    """Prints the figures and writes docs/leaks.md and docs/leaks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    found: dict[str, dict[str, float]] = {}
    for name, file, column in (("mr", "mr/mr_train.csv", "text"), ("sst2", "sst2/sst2_train.csv", "sentence"),
                               ("agnews", "agnews/agnews_train.csv", "description")):  # fmt: skip
        table = pd.read_csv(data / file)
        column = column if column in table else str(table.select_dtypes(exclude="number").columns[0])
        found |= texts(name, table[column].dropna().astype(str).tolist()[:5000])
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(Path(folder))
        for name, file in (
            ("hymenoptera", "hymenoptera/hymenoptera_train.zip"),
            ("flowers", "flowers/flowers_train.zip"),
        ):
            if (data / file).exists():
                found |= pictures(name, home, data / file)
    lines = ["# Planted copies found", "", "Written by `python -m benchmarks.leaks DATA`.", "",
             "| rows, kind of copy | recall | precision |", "|---|---|---|"]  # fmt: skip
    lines += [f"| {name} | {one['recall']:.3f} | {one['precision']:.3f} |" for name, one in found.items()]
    print("\n".join(lines))
    (DOCS / "leaks.md").write_text("\n".join(lines) + "\n")
    (DOCS / "leaks.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
