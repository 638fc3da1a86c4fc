"""Fine-tuning: steps per second and time to a validation loss, against transformers' `Trainer` with its defaults."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
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
        codes = datasets.target(home, dataset)

        def tuned() -> Run:
            (outcome,) = strategies()[trial.strategy].run(kit, [trial])
            curve = [(facts["seconds"], facts["validation_loss"]) for facts in outcome.curve]
            return Run(curve, outcome.card["steps"], float((outcome.outputs.argmax(1) == codes[outcome.rows]).mean()))

        def trainer() -> Run:
            return _trainer(home, datasets.items(home, dataset, "text"), codes, train, validation, kit.test, epochs)

        tuned()  # the machine's setting is found once
        runs: dict[str, list[Run]] = {"tltools": [], "Trainer": []}
        for k in range(rounds):
            for who, work in (("tltools", tuned), ("Trainer", trainer))[:: 1 if k % 2 == 0 else -1]:
                runs[who].append(work())
        return _figures(runs, len(train))


@dataclass(frozen=True)
class Run:
    """One training: (training seconds, validation loss) after each epoch, steps, and accuracy on the test rows."""

    curve: list[tuple[float, float]]
    steps: int
    score: float

    @property
    def pace(self) -> float:
        """Steps per second; evaluations are not counted."""
        return self.steps / self.curve[-1][0]

    def reached(self, loss: float) -> float | None:
        """Training seconds at the end of the first epoch whose loss is as low; None when there is none."""
        return next((seconds for seconds, found in self.curve if found <= loss), None)


def _trainer(
    home: Home, texts: Any, codes: np.ndarray, train: np.ndarray, validation: np.ndarray, test: np.ndarray, epochs: int
) -> Run:
    folder = sources.fetch(home, sources.get(home, ground.MINILM))
    with tempfile.TemporaryDirectory() as output:
        said, facts = baselines.trainer_text(
            folder, [texts[i] for i in train], codes[train], [texts[i] for i in test], classes=int(codes.max()) + 1,
            frozen=False, epochs=epochs, output=Path(output), batch_size=BATCH,
            held=([texts[i] for i in validation], codes[validation]),
        )  # fmt: skip
    return Run(facts["curve"], facts["steps"], float((said == codes[test]).mean()))


def _figures(runs: dict[str, list[Run]], rows: int) -> list[Figure]:
    pace = {who: median(run.pace for run in found) for who, found in runs.items()}
    loss = median(min(found for _, found in run.curve) for run in runs["Trainer"])
    figures = [
        Figure(
            f"steps per second: {who}", pace[who], "steps/s", note=f"{found[0].steps} steps of {BATCH} of {rows} rows"
        )
        for who, found in runs.items()
    ]
    figures.append(Figure("steps per second: against the Trainer", pace["tltools"] / pace["Trainer"], "times", 1.5))
    held = f"validation loss {loss:.3f}, the Trainer's best; evaluations not counted"
    for who, found in runs.items():
        figures.append(Figure(f"score on the test rows: {who}", median(run.score for run in found), "accuracy"))
        there = [seconds for run in found if (seconds := run.reached(loss)) is not None]
        if len(there) > len(found) / 2:
            figures.append(Figure(f"seconds to that loss: {who}", median(there), "s", note=held))
        else:
            figures.append(Figure(f"rounds in which {who} reached that loss", len(there), "rounds", note=held))
    return figures
