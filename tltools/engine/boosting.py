"""Boosting continued: trees of a source's own table, through its matched columns, then more trees on a trial's rows.

The second trees start from what the first say, as gradient boosting starts from any first model (Friedman 2001,
algorithm 1, with the source's trees as F_0 instead of a constant). Learner and settings are those of the control's
trees, so that only the start differs from them. scikit-learn continues a fit (`warm_start`) on the same rows only; so
both fits see the source's and the trial's rows together, and weights say whose turn it is. What is not its turn weighs
next to nothing, not nothing: rows without weight would not take part in finding bins, which must be the same both
times.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tltools import datasets
from tltools.engine import classical, classical_tables
from tltools.engine import device as devices
from tltools.fits import class_places
from tltools.home import Home
from tltools.records import Dataset, Source, Trial, refuse
from tltools.reports import trial_card
from tltools.strategies import Knobs, Outcome
from tltools.tasks import Task

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit

Rows = tuple[pd.DataFrame, np.ndarray]
GRID = 200  # values of a number in a fit; the learner has room for 255
NOTHING = 1e-9


def outcome(kit: EngineKit, trial: Trial, seed: int) -> Outcome:
    """What one trial of the strategy came to."""
    kit.ticket.check()
    started = time.monotonic()
    rows, learnt = (
        np.sort(np.concatenate(kit.draw(trial))),
        learnt_rows(kit.home, kit.source(trial), kit.dataset),
    )
    table, targets = kit.view("tabular"), kit.targets[rows]
    fitted = Continued(kit.dataset, kit.task, learnt, table.iloc[rows], targets, trial.knobs, seed)
    outputs = fitted.outputs(table.iloc[kit.test])
    facts = {"method": fitted.method, "n_train": len(rows), "n_source": len(learnt[1]), "weights": classical.REFITTED}
    return Outcome(trial, kit.test, outputs, {}, facts, time.monotonic() - started, devices.peak_mb(), 0)


class Continued(classical.Fitted):
    """Trees that go on from a source's; its model is a pipeline as a control's is."""

    def __init__(
        self,
        dataset: Dataset,
        task: Task,
        learnt: Rows,
        train: pd.DataFrame,
        targets: np.ndarray,
        knobs: Knobs,
        seed: int,
    ) -> None:
        """learnt: rows of the source's table, see `learnt_rows`; train: (n,) rows of the dataset's inputs, with their
        targets."""
        from sklearn.pipeline import Pipeline

        super().__init__(dataset, task)
        if self.one_class(targets):
            return
        theirs, codes = learnt
        if self.kind == "classes":
            shown = np.isin(codes, targets)
            theirs, codes = theirs[shown], codes[shown]
        both, truth = pd.concat([theirs, train], ignore_index=True)[train.columns], np.concatenate([codes, targets])
        categories = classical_tables.Categories().fit(both)
        table, own = snapped(categories.transform(both)), np.arange(len(truth)) >= len(codes)
        trees = continued(self.kind, len(targets), seed, int(knobs["trees"]), float(knobs["learning_rate"]))
        self.method = "boosting continued"
        if self.kind == "classes" and set(targets.tolist()) - set(codes.tolist()):
            self.method = "boosting; the source's rows lack a class"
        else:
            with classical.few_threads(len(truth)):
                trees.fit(table, truth, sample_weight=_weights(self.kind, truth, ~own))
            trees.set_params(max_iter=2 * int(knobs["trees"]))
        with classical.few_threads(len(truth)):
            trees.fit(table, truth, sample_weight=_weights(self.kind, truth, own))
        self.model = Pipeline([("categories", categories), ("trees", trees)])


def continued(kind: str | None, rows: int, seed: int, trees: int, rate: float) -> Any:
    """Boosting that goes on where it stopped when it is fitted again; bins for every value that `snapped` leaves."""
    return classical_tables.trees(kind, rows, seed).set_params(
        max_iter=trees, learning_rate=rate, early_stopping=False, warm_start=True, max_bins=255,
        **({"class_weight": None} if kind == "classes" else {}),
    )  # fmt: skip


def snapped(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers moved to the nearest of at most 200 quantiles of their column, so that every value is a bin of its own
    whatever the weights are; thresholds lie between them, so rows to predict are taken as they are."""
    return table.apply(lambda cells: cells if cells.dtype != float else _nearest(cells.to_numpy(float, copy=True)))


def _nearest(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    if len(np.unique(values[known])) > GRID:
        grid = np.unique(np.quantile(values[known], np.linspace(0, 1, GRID)))
        values[known] = grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, values[known])]
    return values


def _weights(kind: str | None, targets: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(n,) weights: rows whose turn it is weigh 1 on average, each class the same; the others next to nothing."""
    from sklearn.utils.class_weight import compute_sample_weight

    found = np.full(len(targets), NOTHING)
    found[turn] = compute_sample_weight("balanced", targets[turn]) if kind == "classes" else 1.0
    return found


def learnt_rows(home: Home, source: Source, dataset: Dataset) -> Rows:
    """(n,) rows that an own/ source learnt from, as columns of the dataset (missing where not matched), and their
    targets in its terms; rows of a class that the dataset lacks are left out.

    Raises:
        Refusal: the source's table is gone.
    """
    card = trial_card(home, source.id.removeprefix("own/"))
    if card is None:
        raise refuse(source.id, "is no longer on this machine.", "Run its study again.")
    trial = Trial.model_validate(card["trial"])
    theirs, split = datasets.get(home, trial.dataset), datasets.stored_split(home, trial.split)
    targets = datasets.target(home, theirs)
    drawn = datasets.draw(
        split, targets, fraction=trial.fraction, per_class=trial.per_class, draw=trial.draw, seed=trial.seed
    )
    rows = np.sort(np.concatenate(drawn))
    if theirs.classes:
        places = class_places(theirs.classes, dataset.classes)
        assert places is not None, "or the source would not continue"
        codes = np.full(len(theirs.classes), -1)
        codes[list(places)] = np.arange(len(places))
        rows = rows[codes[targets[rows]] >= 0]
        targets = codes[targets]
    items: Any = datasets.items(home, theirs, "tabular")
    table = items.iloc[rows]
    known = {name: table[its].to_numpy() for name, its in source.columns.items()}
    ours: Any = datasets.items(home, dataset, "tabular")
    return pd.DataFrame(known).reindex(columns=ours.columns), targets[rows]
