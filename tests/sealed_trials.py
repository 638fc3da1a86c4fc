"""A home with a few sealed trials of every kind, made once a test run: small data, few steps, real models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tltools import datasets, studies
from tltools.artifacts import sealed
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Study, Trial
from tltools.store import open_store
from tltools.tickets import QuietTicket

NOTES = Path(__file__).resolve().parents[1] / "tltools" / "samples" / "film_notes.csv"
INPUTS = ["weight", "size", "colour"]
SHORT = {"epochs": 1, "min_steps": 6, "batch_size": 8}


@dataclass
class Sealed:
    """The home, and its trials by name: "text/linear_probe" is the one at the largest share of the labels."""

    home: Home
    trials: dict[str, Trial] = field(default_factory=dict)
    studies: dict[str, str] = field(default_factory=dict)

    def id(self, name: str) -> str:
        return self.trials[name].id


def make(home: Home) -> Sealed:
    """Runs the studies."""
    made = Sealed(home)
    folder = home.root.parent / "given"
    folder.mkdir()
    text = datasets.add(home, texts(folder), target="sentiment", inputs=["text"])
    _run(made, "text", dataset=text.id, sources=("bundled/minilm-l6",), per_class=(4, 10),
         strategies=("linear_probe", "prototype", "knn", {"last_block": SHORT}, {"setfit": {"texts": 64}}),
         controls=("classical",))  # fmt: skip
    image = datasets.add(home, pictures(folder))
    _run(made, "image", dataset=image.id, sources=("bundled/tiny-resnet",), strategies=({"full_finetune": SHORT},),
         controls=("classical",))  # fmt: skip
    own = f"own/{made.id('image/full_finetune')}"
    _run(made, "own", dataset=image.id, sources=(own,), strategies=("multilayer_probe", "zero_shot"),
         controls=({"scratch": SHORT},))  # fmt: skip
    table = datasets.add(home, cells(folder), target="kind", inputs=INPUTS, task="classification")
    _run(made, "table", dataset=table.id, sources=("bundled/table-net",), strategies=({"full_finetune": SHORT},),
         controls=("random_frozen", "classical"))  # fmt: skip
    _run(made, "sentences", dataset=table.id, sources=("bundled/minilm-l6",), strategies=("multilayer_probe",),
         controls=())  # fmt: skip
    number = datasets.add(home, folder / "cells.csv", target="price", inputs=INPUTS, task="regression")
    _run(made, "number", dataset=number.id, sources=("bundled/table-net",), strategies=({"full_finetune": SHORT},),
         controls=("classical",))  # fmt: skip
    return made


def _run(made: Sealed, name: str, **fields: Any) -> None:
    study = Study(**fields, draws=2 if name == "table" else 1, name=name)
    made.studies[name] = studies.save(made.home, study)
    engine.run_one(QuietTicket(made.home, open_store(made.home)), made.studies[name])
    for trial in studies.expand(made.home, study):
        assert sealed(made.home.trials / trial.id)
        largest = trial.per_class in (None, max(fields.get("per_class") or (0,)))
        if trial.draw == 0:
            made.trials[f"{name}/{trial.strategy}" if largest else f"{name}/{trial.strategy}/few"] = trial


def texts(folder: Path) -> Path:
    """60 film notes of at most 100 characters; one holds quotes and a line break, one begins like a formula."""
    table = pd.read_csv(NOTES)[["text", "sentiment"]]
    table = table[table["text"].str.len() < 100]
    table = pd.concat([part.head(30) for _, part in table.groupby("sentiment")]).reset_index(drop=True)
    table.loc[3, "text"] = 'He said "no, never",\nand left'
    table.loc[4, "text"] = "=SUM(A1:A9) is more fun than this film"
    table.to_csv(folder / "texts.csv", index=False)
    return folder / "texts.csv"


def pictures(folder: Path) -> Path:
    """60 pictures of bars, see there."""
    return bars(folder / "bars")


def bars(folder: Path, count: int = 60, names: tuple[str, str] = ("lying", "standing"), seed: int = 0) -> Path:
    """Pictures of bars, by turns of the second and the first class, with noise; some are JPEG."""
    random = np.random.default_rng(seed)
    for k in range(count):
        pixels = random.integers(0, 90, (24, 32, 3), dtype=np.uint8)
        at = int(random.integers(4, 18))
        if k % 2:
            pixels[at : at + 5, :] += 150
        else:
            pixels[:, at : at + 5] += 150
        path = folder / names[1 - k % 2] / f"{k:02d}.{'jpg' if k % 3 == 0 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def cells(folder: Path) -> Path:
    """80 rows of numbers and categories, with missing cells; `kind` and `price` hang on weight and colour."""
    random = np.random.default_rng(1)
    weight, size = random.normal(5, 2, 80), random.normal(0, 1e-4, 80)
    colour = random.choice(["red", "dark blue", "grün"], 80)
    kind = np.where(weight + 2 * (colour == "red") > 5.5, "heavy", "light")
    price = np.round(10 * weight + 20 * (colour == "red") + random.normal(0, 1, 80), 3)
    table = pd.DataFrame({"weight": weight, "size": size, "colour": colour, "kind": kind, "price": price})
    table.loc[::11, "weight"] = np.nan
    table.loc[5::13, "colour"] = None
    table.to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"
