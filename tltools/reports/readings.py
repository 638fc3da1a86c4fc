"""What the judge reads of a study: sealed predictions and cards, as row-wise scores paired by draw and row."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from tltools.artifacts import sealed
from tltools.home import Home
from tltools.judging.calibration import ece, ece_by_chance
from tltools.judging.folds import Design
from tltools.records import Dataset, Folds, Problem, Trial
from tltools.strategies import strategies
from tltools.tasks import Metric, row_classes, tasks

Array = NDArray[Any]


@dataclass(frozen=True)
class ArmKey:
    """An arm: a source with a strategy and its knobs."""

    kind: str
    source: str
    strategy: str
    knobs: str  # JSON, so that two settings of one strategy are two arms


@dataclass(frozen=True, order=True)
class Share:
    """How many labels a trial had: a fraction, or a number per class."""

    size: float
    per_class: bool

    @property
    def fraction(self) -> float | None:
        return None if self.per_class else self.size

    @property
    def per_class_count(self) -> int | None:
        return int(self.size) if self.per_class else None


@dataclass
class Cell:
    """One arm at one share: its sealed draws. Arrays are in the order of the test rows.

    Of a cross-validation the draws are its folds, and each has one value: the mean over the rows that it tests. What
    was said of the rows is kept by repeat, each row as said by the fold that tests it; only of whole repeats.
    """

    arm: ArmKey
    share: Share
    asked: int = 0  # draws that the study asks for
    unfit: int = 0  # of them were run, but left out: `Readings.problems` says why
    trials: dict[int, Trial] = field(default_factory=dict)  # draw -> trial
    cards: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: dict[int, Array] = field(default_factory=dict)  # (M,) pseudo-values, higher is better
    others: dict[str, dict[int, Array]] = field(default_factory=dict)  # the same by other metrics
    outputs: dict[int, Array] = field(default_factory=dict)  # of a fold, until its repeat is put together: its rows'
    said: dict[int, Array] = field(default_factory=dict)  # draw or repeat -> (M,) predicted codes, or numbers
    sure: dict[int, Array] = field(default_factory=dict)  # (M,) probability of the predicted class
    ece: dict[int, float] = field(default_factory=dict)
    ece_by_chance: dict[int, float] = field(default_factory=dict)

    @property
    def draws(self) -> list[int]:
        return sorted(self.values)

    def scores(self, draws: Sequence[int] | None = None) -> Array:
        """(draws, M)."""
        return np.stack([self.values[draw] for draw in (self.draws if draws is None else draws)])


@dataclass
class Readings:
    """Everything read: cells by arm and share, the test rows and their truth."""

    metric: Metric
    folds: Folds | None = None  # set where draws are folds
    others: Sequence[Metric] = ()  # that cells are scored by, too
    one_value: bool = True  # False: rows have no class or number of their own, but several labels, or places
    rows: Array = field(default_factory=lambda: np.empty(0, np.int64))  # (M,) numbers of the test rows, of all folds
    truth: Array = field(default_factory=lambda: np.empty(0))  # (M,) codes or numbers; of several labels (M, C)
    scale: float | None = None  # how far one unseen row could move a score
    cells: dict[tuple[ArmKey, Share], Cell] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def design(self) -> Design | None:
        """How the judge is to take the scores: None for draws by test rows."""
        return Design(self.folds.k, len(self.rows)) if self.folds else None

    def widening(self, repeats: int) -> float | None:
        """How much more the variance of rows counts over so many repeats; None for draws. See `judging.fairness`."""
        return self.design.widening(repeats) if self.design else None

    def of_kind(self, kind: str, share: Share) -> dict[ArmKey, Cell]:
        """The arms of a kind that have at least one sealed draw at a share."""
        return {arm: cell for (arm, at), cell in self.cells.items() if at == share and arm.kind == kind and cell.values}

    def shares(self) -> list[Share]:
        return sorted({share for (_, share), cell in self.cells.items() if cell.values})


def read(
    home: Home,
    dataset: Dataset,
    metric: Metric,
    trials: Iterable[Trial],
    folds: Folds | None = None,
    others: Sequence[Metric] = (),
) -> Readings:
    """Reads all sealed trials; those that are not sealed are only counted, those that do not fit are named."""
    task, parts = tasks()[dataset.task], dict[str, tuple[Array, Array]]()
    found = Readings(metric, folds, others, one_value=not (task.objects or task.several))
    for trial in sorted(trials, key=lambda trial: trial.draw):  # else as the study names its arms
        key, share = key_of(trial)
        cell = found.cells.setdefault((key, share), Cell(key, share))
        cell.asked += 1
        folder = home.trials / trial.id
        if sealed(folder):
            _add(found, cell, trial, folder, dataset, parts)
    if parts:
        found.rows, found.truth = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
        if folds:  # each row comes once a repeat
            found.rows, first = np.unique(found.rows, return_index=True)
            found.truth = found.truth[first]
            for cell in found.cells.values():
                _put_together(found, cell, parts, bool(row_classes(dataset)))
        found.scale = scale_of(metric, found.truth, len(row_classes(dataset)))
    return found


def key_of(trial: Trial) -> tuple[ArmKey, Share]:
    """Where a trial stands in `Readings.cells`."""
    return arm_of(trial), share_of(trial)


def arm_of(trial: Trial) -> ArmKey:
    return ArmKey(trial.kind, trial.source, trial.strategy, json.dumps(trial.knobs, sort_keys=True))


def share_of(trial: Trial) -> Share:
    if trial.per_class is not None:
        return Share(float(trial.per_class), True)
    return Share(float(trial.fraction if trial.fraction is not None else 1.0), False)


def _add(
    found: Readings, cell: Cell, trial: Trial, folder: Path, dataset: Dataset, parts: dict[str, tuple[Array, Array]]
) -> None:
    """Adds a sealed trial to its cell; parts: the test rows and their truth by split, as the first trial has them."""
    classes, objects, several = row_classes(dataset), tasks()[dataset.task].objects, tasks()[dataset.task].several
    if own := objects or several:
        table = pd.read_parquet(folder / "predictions.parquet")
        rows, (truth, outputs) = table["row"].to_numpy(np.int64), own.read_frame(table, dataset.classes)
    else:
        rows, truth, outputs = predictions(folder / "predictions.parquet", classes)
    where = f"trial {trial.id} ({_title(trial.strategy)}, {trial.source}, draw {trial.draw})"
    same = np.array_equal(rows, parts.setdefault(trial.split, (rows, truth))[0])
    if not same or not (objects or np.isfinite(outputs).all()):
        what = "its predictions are not finite." if same else "it was scored on other rows."
        remedy = "It is left out; lower its learning rate or run the study again."
        found.problems.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
        cell.unfit += 1
        return
    scores = _scores(found.metric, truth, outputs, found.folds)
    if not np.isfinite(scores).all():  # `studies.check` keeps such test parts out
        what = f"its test rows have no {found.metric.title}."
        found.problems.append(Problem(severity="warning", where=where, what=what, remedy="Choose another metric."))
        cell.unfit += 1
        return
    cell.trials[trial.draw] = trial
    cell.cards[trial.draw] = json.loads((folder / "card.json").read_text())
    cell.values[trial.draw] = scores
    for other in found.others:
        again = _scores(other, truth, outputs, found.folds)
        if np.isfinite(again).all():
            cell.others.setdefault(other.key, {})[trial.draw] = again
    if found.folds and not own:
        cell.outputs[trial.draw] = outputs
    elif not own:
        _keep(cell, trial.draw, truth, outputs, bool(classes))


def _put_together(found: Readings, cell: Cell, parts: dict[str, tuple[Array, Array]], classes: bool) -> None:
    """Keeps what the folds of each whole repeat said, as if one model had said it of all rows."""
    assert found.folds is not None
    for repeat in range(found.folds.repeats):
        draws = range(repeat * found.folds.k, (repeat + 1) * found.folds.k)
        if all(draw in cell.outputs for draw in draws):
            order = np.argsort(np.concatenate([parts[cell.trials[draw].split][0] for draw in draws]))
            outputs = np.concatenate([cell.outputs[draw] for draw in draws])[order]
            _keep(cell, repeat, found.truth, outputs, classes)
    cell.outputs.clear()


def _keep(cell: Cell, at: int, truth: Array, outputs: Array, classes: bool) -> None:
    """Keeps what was said of the test rows in a draw or a repeat: outputs (M, C) probabilities, or (M, 1) numbers."""
    cell.said[at] = outputs.argmax(1).astype(np.int32) if classes else outputs[:, 0]
    if classes:
        cell.sure[at] = outputs.max(1).astype(np.float32)
        cell.ece[at], cell.ece_by_chance[at] = ece(outputs, truth), ece_by_chance(outputs)


def _scores(metric: Metric, truth: Array, outputs: Array, folds: Folds | None) -> Array:
    """(M,) scores of rows; of a fold (1,), their mean."""
    values = metric.influence or metric.per_row
    assert values is not None, f"{metric.key} needs per_row or influence"
    scores = values(truth, outputs)
    return scores.mean(keepdims=True) if folds else scores


def predictions(path: Path, classes: Sequence[str]) -> tuple[Array, Array, Array]:
    """(row numbers (M,), truth as codes or numbers (M,), outputs (M, C) or (M, 1)) of a file of predictions."""
    with parquet.ParquetFile(path, pre_buffer=False) as file:  # `read_table` takes twice as long over a small file
        table = file.read(use_threads=False)  # threads would only wait
    rows = table["row"].to_numpy().astype(np.int64)
    if not classes:
        truth = table["truth"].to_numpy().astype(np.float64)
        return rows, truth, table["prediction"].to_numpy().astype(np.float64)[:, None]
    encoded = table["truth"].cast(pa.string()).combine_chunks().dictionary_encode()
    places = {name: code for code, name in enumerate(classes)}
    codes = np.array([places[str(name)] for name in encoded.dictionary.to_pylist()], np.int64)
    outputs = np.stack([table[f"p_{k}"].to_numpy() for k in range(len(classes))], axis=1)
    return rows, codes[encoded.indices.to_numpy()], outputs


def scale_of(metric: Metric, truth: Array, classes: int) -> float | None:
    """How far one unseen test row could move a score of shares: its weight, averaged over the classes, or over the
    labels where rows have several; None where no such weight is known."""
    labels = truth.ndim > 1 and metric.influence is not None  # a mean over labels, and not over rows
    if metric.unit != "share" or not (classes or labels):
        return None
    if metric.key == "accuracy":
        return 1.0
    counts = truth.sum(0, dtype=np.int64) if labels else np.bincount(truth, minlength=classes)
    if not counts.any():
        return None
    weights = len(truth) / ((counts > 0).sum() * counts[counts > 0])
    return float(np.sqrt((weights**2).mean()))


def _title(key: str) -> str:
    return strategies()[key].title if key in strategies() else key


def titles(cells: Iterable[Cell]) -> dict[ArmKey, str]:
    """How arms are called for people: strategy, and the source where it has one; id and knobs where two are alike."""
    found: dict[ArmKey, str] = {}
    cells = list(cells)
    cards = [(cell.arm.source, card.get("source") or {}) for cell in cells for card in cell.cards.values()]
    named = {source: card["name"] for source, card in cards if card.get("name")}  # also of arms that have not begun
    methods: dict[ArmKey, set[str]] = defaultdict(set)  # of a control, by draw and share one or the other
    for cell in cells:
        title = _title(cell.arm.strategy)
        if cell.arm.source == "none":
            methods[cell.arm] |= {card["method"] for card in cell.cards.values() if card.get("method")}
            method = " or ".join(sorted(methods[cell.arm])) or title
            found[cell.arm] = f"{method[0].upper()}{method[1:]}"
        else:
            found[cell.arm] = f"{title} of {named.get(cell.arm.source, cell.arm.source)}"
    plain = dict(found)
    for arm, name in plain.items():
        namesakes = [other for other, title in plain.items() if title == name and other != arm]
        if apart := _apart(arm, namesakes):
            found[arm] = f"{name} ({', '.join(apart)})"
    return found


def _apart(arm: ArmKey, namesakes: Sequence[ArmKey]) -> list[str]:
    """In what an arm differs from its namesakes: its source, its knobs."""
    own, others = json.loads(arm.knobs), [json.loads(other.knobs) for other in namesakes]
    source = [arm.source] if any(other.source != arm.source for other in namesakes) else []
    return source + [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in own.items()
        if any(other.get(key) != value for other in others)
    ]
