"""Study: all arms, draws and shares of the labels, against a Trainer per trial."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import baselines, ground
from benchmarks.figures import Figure
from tltools import datasets, sources, studies
from tltools.home import Home
from tltools.records import Dataset, Split, Study, Trial

TITLE = "Study: all arms, draws and shares of the labels"
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
FULL: dict[str, Any] = {"rows": 2000, "draws": 5, "sampled": 5, "rounds": 1, "last": {}}
QUICK: dict[str, Any] = {"rows": 1000, "draws": 3, "sampled": 1, "rounds": 1, "last": {}}
PROBES = ("linear_probe", "multilayer_probe")
CONTROLS = ("random_frozen", "classical")
EPOCHS = 3  # of the Trainer
ALIKE = {"epochs": EPOCHS, "min_steps": 0, "patience": 0, "hold_out": False}  # as the Trainer trains the last block
WARM_ROWS = 120
Made = Callable[[Home], tuple[Dataset, str]]


@dataclass(frozen=True)
class Rows:
    """What everybody reads: inputs and codes of the whole dataset, the draws, and the locked test rows."""

    dataset: Dataset
    split: Split
    items: Any
    codes: np.ndarray
    test: np.ndarray

    def drawn(self, fraction: float, draw: int) -> np.ndarray:
        """Training and validation rows of a draw, ascending: the rows that a trial of tltools may use."""
        both = datasets.draw(self.split, self.codes, fraction=fraction, draw=draw, seed=0)
        return np.sort(np.concatenate(both))


def run(data: Path | None, *, rows: int, draws: int, sampled: int, rounds: int, last: dict[str, Any]) -> list[Figure]:
    """Texts against the Trainer: with as many epochs of the last block, and as everybody gets it, which is until the
    validation rows gain no more.

    sampled: draws that the Trainer really trains; the rest of its time is extrapolated, and said so.
    last: knobs of the last block, where they are not those that everybody gets.
    """
    table = ground.texts(data, rows)
    warm_up(data)
    return _against_trainer(lambda home: (ground.add(home, table), ground.MINILM), draws, sampled, rounds, last)


def warm_up(data: Path | None) -> None:
    """A tiny study: whoever comes first would pay for everybody's imports."""
    few = ground.texts(data, WARM_ROWS)
    ours(lambda home: (ground.add(home, few), ground.MINILM), 1, strategies=PROBES, controls=CONTROLS)


def ours(made: Made, draws: int, **fields: Any) -> tuple[float, Scores]:
    """Runs the study in a home where nothing was ever run; (seconds of the study, its scores)."""
    with ground.fresh_home() as home:
        dataset, source = made(home)
        study = ground.study_of(dataset, source=source, fractions=FRACTIONS, draws=draws, **fields)
        seconds, _ = ground.timed(lambda: ground.run(home, study))
        return seconds, Scores.of(home, study)


@dataclass(frozen=True)
class Scores:
    """Which test rows each trial got right: (strategy, fraction, draw) -> (M,) bool in the order of `test`."""

    test: np.ndarray
    right: dict[tuple[str, float, int], np.ndarray]

    @classmethod
    def of(cls, home: Home, study: Study) -> Scores:
        """Read from the predictions that the study sealed."""
        right = {}
        for trial in studies.expand(home, study):
            frame = pd.read_parquet(home.trials / trial.id / "predictions.parquet").sort_values("row")
            right[_key(trial)] = (frame["prediction"].astype(str) == frame["truth"].astype(str)).to_numpy()
        return cls(frame["row"].to_numpy(), right)

    def beside(self, other: Scores, strategy: str, fraction: float) -> tuple[float, float, float, float]:
        """(own accuracy, the other's, their difference, its standard error over the test rows), over common draws."""
        assert (self.test == other.test).all(), "both must predict the same test rows"
        draws = [key for key in other.right if key[:2] == (strategy, fraction)]
        mine, theirs = (np.mean([one.right[key] for key in draws], 0) for one in (self, other))
        gap = mine - theirs
        return float(mine.mean()), float(theirs.mean()), float(gap.mean()), float(gap.std() / len(gap) ** 0.5)


def _key(trial: Trial) -> tuple[str, float, int]:
    return trial.strategy, float(trial.fraction or 0), trial.draw


def rows_of(home: Home, made: Made) -> tuple[Rows, str]:
    dataset, source = made(home)
    split = datasets.split(home, dataset, seed=studies.SPLIT_SEED)
    items, codes = datasets.items(home, dataset, dataset.modality), datasets.target(home, dataset)
    return Rows(dataset, split, items, codes, np.sort(np.asarray(split.test, np.int64))), source


def _against_trainer(made: Made, draws: int, sampled: int, rounds: int, last: dict[str, Any]) -> list[Figure]:
    ways = {"as the Trainer trains": ALIKE, "by its defaults": last}
    runs = {
        way: partial(ours, made, draws, strategies=(*PROBES, {"last_block": knobs}), controls=CONTROLS)
        for way, knobs in ways.items()
    }
    seconds, answers = ground.turns(runs, rounds)
    with ground.fresh_home() as home:
        rows, source = rows_of(home, made)
        folder = sources.fetch(home, sources.get(home, source))
        spent: dict[str, float] = {"linear_probe": 0.0, "last_block": 0.0}
        right: dict[tuple[str, float, int], np.ndarray] = {}
        for fraction, draw, strategy in product(FRACTIONS, range(sampled), spent):
            took, said = ground.timed(lambda one=(fraction, draw), name=strategy: _trainer(folder, rows, one, name))
            spent[strategy] += took / sampled * draws
            right[strategy, fraction, draw] = said == rows.codes[rows.test]
        classical, _ = ground.timed(lambda: tfidf(rows, draws))
    total = 3 * spent["linear_probe"] + spent["last_block"] + classical
    note = "both probes and the random backbone count as a frozen Trainer run each"
    if sampled < draws:
        note += f"; extrapolated from {sampled} of {draws} draws at every share"
    found = [Figure(f"texts: a Trainer per trial, backbone frozen, {EPOCHS} epochs", total, "s", note=note)]
    theirs = Scores(rows.test, right)
    for way in ways:
        trials = f"{5 * draws * len(FRACTIONS)} trials in a home that is new"
        found += [
            Figure(f"texts: tltools, {way}", seconds[way], "s", note=trials),
            Figure(f"texts: against the Trainer, {way}", total / seconds[way], "times", 20.0),
            scored(f"texts, {way}", answers[way], theirs, "last_block", "Trainer"),
        ]
    return [*found, scored("texts", answers["by its defaults"], theirs, "linear_probe", "Trainer")]


def _trainer(folder: Path, rows: Rows, one: tuple[float, int], strategy: str) -> np.ndarray:
    """Predictions of the test rows; a head alone needs a higher rate than the default, or it learns nothing."""
    drawn, last = rows.drawn(*one), strategy == "last_block"
    with tempfile.TemporaryDirectory() as output:
        said, _ = baselines.trainer_text(
            folder, [rows.items[i] for i in drawn], rows.codes[drawn], [rows.items[i] for i in rows.test],
            classes=len(rows.dataset.classes), frozen=True, unfreeze_last=int(last), epochs=EPOCHS,
            learning_rate=2e-4 if last else 1e-2, output=Path(output),
        )  # fmt: skip
    return said


def tfidf(rows: Rows, draws: int) -> None:
    """The classical control as an expert writes it: words are counted and a head is fitted anew for every draw."""
    for fraction, draw in product(FRACTIONS, range(draws)):
        baselines.tfidf(rows.items, rows.codes, rows.drawn(fraction, draw), rows.test)


def scored(name: str, ours: Scores, theirs: Scores, strategy: str, who: str) -> Figure:
    """At all labels: ours may be below theirs by no more than noise."""
    mine, other, gap, error = ours.beside(theirs, strategy, 1.0)
    said = "equal within noise" if abs(gap) <= 1.96 * error else "beyond noise"
    return Figure(
        f"{name}, {strategy}: accuracy above the {who}'s, upper end of the 95 % interval",
        100 * (gap + 1.96 * error), "points", 0.0,
        note=f"tltools {100 * mine:.1f}, {who} {100 * other:.1f} on the same test rows; {said}",
    )  # fmt: skip
