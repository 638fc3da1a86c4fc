"""Datasets to try without a file: texts written for this purpose, and those that ship with scikit-learn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltools import datasets
from tltools.home import Home
from tltools.records import Dataset, refuse

if TYPE_CHECKING:
    import pandas as pd

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """A sample's card."""

    key: str
    title: str
    modality: str
    task: str
    rows: int
    note: str  # one sentence: what it is, and what it is good for
    target: str
    inputs: tuple[str, ...] | None  # None: inferred
    write: Callable[[Path], Path]  # folder -> the file or folder to add


def add(home: Home, key: str, told: datasets.Told | None = None) -> Dataset:
    """Adds a sample as a dataset, through the same way as any file; a second time nothing is stored again.

    Raises:
        Refusal: there is no sample with this key.
    """
    if key not in SAMPLES:
        raise refuse("sample", f'there is no sample "{key}".', f"Choose one of {', '.join(SAMPLES)}.")
    sample = SAMPLES[key]
    with tempfile.TemporaryDirectory() as folder:
        path = sample.write(Path(folder))
        return datasets.add(
            home, path, target=sample.target, inputs=sample.inputs, task=sample.task, name=sample.title, told=told
        )


def _written(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return Path(shutil.copy(_HERE / name, folder))

    return write


def _digits(wanted: range) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        found = load_digits()
        for number, (picture, digit) in enumerate(zip(found.images, found.target, strict=True)):
            if digit in wanted:
                path = folder / "digits" / str(digit) / f"{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = (picture * (255 / 16)).round().astype(np.uint8)
                # 32 pixels a side: an 8 x 8 picture is hard to see on a screen
                Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(path)
        return folder / "digits"

    return write


def _table(loader: str, target: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import sklearn.datasets

        found: Any = getattr(sklearn.datasets, loader)(
            as_frame=True, **({"scaled": False} if "diabetes" in loader else {})
        )
        table: pd.DataFrame = found.data.copy()
        names = getattr(found, "target_names", None)
        values = found.target
        table[target] = [str(names[value]) for value in values] if names is not None else values
        path = folder / f"{loader.removeprefix('load_')}.csv"
        table.to_csv(path, index=False)
        return path

    return write


_ALL = (
    Sample(
        "city-desk", "City desk", "text", "classification", 288,
        "Messages to a town hall, written for this purpose: which of six desks should answer?",
        "desk", ("message",), _written("city_desk.csv"),
    ),
    Sample(
        "film-notes", "Film notes", "text", "classification", 326,
        "Short notes on films, written for this purpose: did the writer like it? Irony makes it hard.",
        "sentiment", ("text",), _written("film_notes.csv"),
    ),
    Sample(
        "digits", "Digits", "image", "classification", 1797,
        "Handwritten digits 0 to 9 from scikit-learn, as small grey pictures.",
        "label", None, _digits(range(10)),
    ),
    Sample(
        "digits-low", "Digits 0 to 4", "image", "classification", 901,
        "Half of the digits: the source task of the image demonstration.",
        "label", None, _digits(range(5)),
    ),
    Sample(
        "digits-high", "Digits 5 to 9", "image", "classification", 896,
        "The other half of the digits: the target task of the image demonstration.",
        "label", None, _digits(range(5, 10)),
    ),
    Sample(
        "wine", "Wine", "tabular", "classification", 178,
        "Thirteen chemical measures of wines from three growers; from scikit-learn.",
        "grower", None, _table("load_wine", "grower"),
    ),
    Sample(
        "breast-cancer", "Breast cancer", "tabular", "classification", 569,
        "Thirty measures of cell nuclei: benign or malignant? From scikit-learn.",
        "diagnosis", None, _table("load_breast_cancer", "diagnosis"),
    ),
    Sample(
        "diabetes", "Diabetes", "tabular", "regression", 442,
        "Ten measures of patients, and how far the disease had gone a year later; from scikit-learn.",
        "progression", None, _table("load_diabetes", "progression"),
    ),
    Sample(
        "film-ratings", "Film ratings", "text", "regression", 326,
        "The film notes again, with the rating from 0 to 10 as the number to predict.",
        "rating", ("text",), _written("film_notes.csv"),
    ),
)  # fmt: skip
SAMPLES: dict[str, Sample] = {sample.key: sample for sample in _ALL}
