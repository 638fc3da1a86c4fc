"""Texts of a made-up language of ten words, and what they are in another: each word has one, the last comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

WORDS = ["sun", "moon", "tree", "river", "bird", "stone", "fire", "house", "road", "child"]
OTHERS = ["Öl", "baki", "Tora", "numi", "Keß", "lapo", "ziru", "Mänto", "feko", "dau"]


def pairs(rows: int, seed: int, longest: int = 5) -> pd.DataFrame:
    """So many texts (`text`) of three words or more, with their translation (`other`): words in turned order."""
    random = np.random.default_rng(seed)
    said = [random.integers(0, len(WORDS), random.integers(3, longest + 1)) for _ in range(rows)]
    texts = [" ".join(WORDS[k] for k in one) for one in said]
    return pd.DataFrame({"text": texts, "other": [" ".join(OTHERS[k] for k in one[::-1]) for one in said]})


def written(folder: Path, rows: int, seed: int, name: str = "pairs.csv") -> Path:
    """Such a file."""
    pairs(rows, seed).to_csv(folder / name, index=False)
    return folder / name
