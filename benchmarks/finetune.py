"""Fine-tuning: steps per second and time to a validation loss, against transformers' `Trainer` with its defaults."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import baselines, ground
from benchmarks.figures import Figure
from tltools import datasets, sources, studies
from tltools.engine.kit import EngineKit
from tltools.home import Home
from tltools.strategies import strategies
from tltools.tickets import QuietTicket

TITLE = "Full fine-tuning against transformers' Trainer"
FULL: dict[str, Any] = {"rows": 2000, "epochs": 3, "rounds": 3}
QUICK: dict[str, Any] = {"rows": 600, "epochs": 2, "rounds": 1}
BATCH = 8  # the Trainer's default


def run(data: Path | None, *, rows: int, epochs: int, rounds: int) -> list[Figure]:
    """The same rows, batches of the same size, the same number of epochs; each with its own default rates.

    The loss aimed at is the Trainer's best, so the Trainer reaches it by its own measure.
    """
    with ground.fresh_home() as home:
        dataset = ground.add(home, ground.texts(data, rows))
        knobs = {"epochs": epochs, "min_steps": 0, "patience": 0, "batch_size": BATCH}
        study = ground.study_of(dataset, [{"full_finetune": knobs}])
        _, split = studies.split_of(home, study)
        trial = next(t for t in studies.expand(home, study) if t.draw == 0)
        kit = EngineKit(QuietTicket(home), study, dataset, split)
        train, validation = kit.draw(trial)
        texts, codes = datasets.items(home, dataset, "text"), datasets.target(home, dataset)
        (_warm,) = strategies()[trial.strategy].run(kit, [trial])  # the machine's setting is found once
        ours: list[list[tuple[float, float]]] = []
        theirs: list[list[tuple[float, float]]] = []
        scores: dict[str, list[float]] = {"tltools": [], "Trainer": []}
        for k in range(rounds):
            for who in ("tltools", "Trainer") if k % 2 == 0 else ("Trainer", "tltools"):
                if who == "tltools":
                    (outcome,) = strategies()[trial.strategy].run(kit, [trial])
                    ours.append([(facts["seconds"], facts["validation_loss"]) for facts in outcome.curve])
                    scores[who].append(_accuracy(codes[outcome.rows], outcome.outputs.argmax(1)))
                else:
                    curve, said = _trainer(home, texts, codes, train, validation, kit.test, epochs)
                    theirs.append(curve)
                    scores[who].append(_accuracy(codes[kit.test], said))
        steps = math.ceil(len(train) / BATCH) * epochs
        return _figures(ours, theirs, scores, steps, len(train))


def _trainer(
    home: Home, texts: Any, codes: np.ndarray, train: np.ndarray, validation: np.ndarray, test: np.ndarray, epochs: int
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """((training seconds, validation loss) after each epoch, predictions of the test rows)."""
    folder = sources.fetch(home, sources.get(home, ground.MINILM))
    with tempfile.TemporaryDirectory() as output:
        said, facts = baselines.trainer_text(
            folder, [texts[i] for i in train], codes[train], [texts[i] for i in test], classes=int(codes.max()) + 1,
            frozen=False, epochs=epochs, output=Path(output), batch_size=BATCH,
            held=([texts[i] for i in validation], codes[validation]),
        )  # fmt: skip
    return facts["curve"], said


def _figures(
    ours: list[list[tuple[float, float]]], theirs: list[list[tuple[float, float]]], scores: dict[str, list[float]],
    steps: int, rows: int,
) -> list[Figure]:  # fmt: skip
    a, b = (median(steps / curve[-1][0] for curve in curves) for curves in (ours, theirs))
    target = median(min(loss for _, loss in curve) for curve in theirs)
    reach = [_reached(curve, target) for curve in ours], [_reached(curve, target) for curve in theirs]
    found = [
        Figure("steps per second: tltools", a, "steps/s", note=f"{rows} rows, batches of {BATCH}"),
        Figure("steps per second: Trainer", b, "steps/s"),
        Figure("steps per second: against the Trainer", a / b, "times", 1.5),
        Figure("score on the test rows: tltools", median(scores["tltools"]), "accuracy"),
        Figure("score on the test rows: Trainer", median(scores["Trainer"]), "accuracy"),
    ]
    held = f"validation loss {target:.3f}, the Trainer's best; evaluations not counted"
    for who, times in zip(("tltools", "Trainer"), reach, strict=True):
        there = [time for time in times if time is not None]
        if len(there) > len(times) / 2:
            found.append(Figure(f"seconds to that loss: {who}", median(there), "s", note=held))
        else:
            found.append(Figure(f"rounds in which {who} reached that loss", len(there), "rounds", note=held))
    return found


def _reached(curve: list[tuple[float, float]], target: float) -> float | None:
    """Training seconds at the end of the first epoch whose loss is as low; None when there is none."""
    return next((seconds for seconds, loss in curve if loss <= target), None)


def _accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    return float((truth == said).mean())
