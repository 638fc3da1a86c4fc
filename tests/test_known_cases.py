"""Cases whose verdict is known beforehand, run whole: a source that must do harm, and arms between which nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.test_real_data import judged
from tltools import datasets, samples, studies
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Dataset, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

TRAINING = {"learning_rate": 1e-3, "head_rate": 1e-3, "epochs": 6, "batch_size": 32, "min_steps": 0, "patience": 0}


def digits(folder: Path, home: Home, *, shuffled: bool) -> Dataset:
    """Images of 0 to 4 in class folders; `shuffled`: each in a folder that was drawn for it."""
    given = load_digits()
    rows = np.flatnonzero(given.target < 5)
    labels = given.target[rows]
    if shuffled:
        labels = np.random.default_rng(0).permutation(labels)
    for k, (row, label) in enumerate(zip(rows, labels, strict=True)):
        path = folder / str(label) / f"{k:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((given.images[row] * 15.9).astype(np.uint8)).resize((32, 32)).save(path)
    return datasets.add(home, folder)


def pretrained(home: Home, dataset: Dataset) -> str:
    """A network trained on the dataset, as a source."""
    study = Study(dataset=dataset.id, sources=("bundled/tiny-resnet",), strategies=({"full_finetune": TRAINING},),
                  controls=(), draws=1)  # fmt: skip
    key = studies.save(home, study)
    engine.run_one(QuietTicket(home, open_store(home)), key)
    (trial,) = studies.expand(home, study)
    return f"own/{trial.id}"


def test_a_source_that_learned_shuffled_labels_is_called_negative(home: Home, tmp_path: Path) -> None:
    made = {kind: digits(tmp_path / kind, home, shuffled=kind == "shuffled") for kind in ("true", "shuffled")}
    named = {kind: pretrained(home, dataset) for kind, dataset in made.items()}
    report = judged(
        home, dataset=samples.add(home, "digits-high").id, sources=tuple(named.values()), strategies=("linear_probe",),
        controls=("random_frozen", "classical"), per_class=(16, 64), draws=6,
    )  # fmt: skip

    def of(kind: str, rows: Any) -> list[dict[str, Any]]:
        return [row for row in rows if row["source"] == named[kind] and row["strategy"] == "linear_probe"]

    assert {row["verdict"] for row in of("shuffled", report.verdicts)} == {"negative"}
    assert any(sentence.startswith("Negative transfer") for sentence in report.sentences)
    means = {kind: np.mean([row["score"] for row in of(kind, report.arms)]) for kind in named}
    # 7, 3 and 6 points for the seeds 0, 1 and 2 of the two networks
    assert means["true"] > means["shuffled"] + 0.01, f"it is the labels that do the harm, not the training: {means}"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_frozen_random_weights_do_not_beat_others(home: Home, seed: int) -> None:
    report = judged(
        home, dataset=samples.add(home, "digits-high").id, sources=("bundled/tiny-resnet",),
        strategies=("linear_probe",), controls=("random_frozen",), per_class=(16, 64), draws=5, seed=seed,
    )  # fmt: skip
    assert len(report.verdicts) == 2
    assert not {row["verdict"] for row in report.verdicts} & {"positive", "negative"}
