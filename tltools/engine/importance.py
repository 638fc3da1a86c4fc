"""What columns of a table are worth: to the score of the model, and to what it says of single rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tltools import datasets
from tltools.engine.trial_model import TrialModel
from tltools.judging import thresholds
from tltools.tickets import Ticket

PREDICTIONS = {"text": 1_500, "tabular": 300_000}  # about how many an answer may cost, by what the model reads
REPEATS = 3
DRAWS = 200  # orders of the columns at most, and as few as that give no answer:
LEAST_DRAWS = 8
CELLS = 2_000_000  # of all mixed rows of one row together: a table of thousands of columns has none


def permuted(ticket: Ticket, model: TrialModel) -> dict[str, Any]:
    """Permutation importance on the test rows: what the score loses when a column is shuffled among them."""
    names = list(model.dataset.inputs)
    repeats = REPEATS if len(names) <= 100 and model.reads == "tabular" else 1
    budget = _budget(model) // (len(names) * repeats)
    stored = model.stored()["row"].to_numpy()
    rows = stored[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), max(20, budget), 1000)).astype(int))]
    whole, media = datasets.rows(model.home, model.dataset.id), datasets.media(model.home, model.dataset.id)
    table = whole.iloc[rows].reset_index(drop=True)
    truth = datasets.target(model.home, model.dataset)[rows]
    metric = model.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0

    def score(changed: pd.DataFrame) -> float:
        outputs = model.outputs(datasets.view(model.dataset, changed, media, model.reads))
        return metric.score(truth, thresholds.put(model.card, changed, outputs))

    whole_score, random = score(table), np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        ticket.check()
        ticket.progress("shuffling columns", k, len(names), note=name)
        drops = [
            sign * (whole_score - score(table.assign(**{name: table[name].to_numpy()[random.permutation(len(table))]})))
            for _ in range(repeats)
        ]
        found.append({"column": name, "importance": float(np.mean(drops)), "low": min(drops), "high": max(drops)})
    found.sort(key=lambda one: -float(one["importance"]))
    return {"kind": "columns", "metric": metric.key, "score": whole_score, "test_rows": len(rows), "columns": found}


def shared(model: TrialModel, row: pd.DataFrame, rows: int) -> dict[str, Any] | None:
    """What each column adds to what is said of one row: Shapley values by sampling (Strumbelj and Kononenko 2014).

    row: a table of one row; rows: how many are asked for. In each draw the row's cells take the place of those of a
    training row, one column after another in a random order; a column is credited with what its turn adds. So the
    credits add up to `end - start`, `start` being what is said of the training rows on average: exactly, whatever the
    number of draws. `error` is the standard error of a credit. None: the table has too many columns for it.
    """
    names = list(model.dataset.inputs)
    steps = len(names) + 1
    draws = min(DRAWS, _budget(model) // (max(rows, 1) * steps), CELLS // (len(names) * steps))
    if draws < LEAST_DRAWS:
        return None
    random = np.random.default_rng(0)
    whole, media = datasets.rows(model.home, model.dataset.id), datasets.media(model.home, model.dataset.id)
    known = whole.iloc[random.choice(model.rows(), draws)]
    both = pd.concat([row[names], known[names]], ignore_index=True)
    turn = random.permuted(np.tile(np.arange(len(names)), (draws, 1)), axis=1)  # of each column in each draw
    mixed = {
        name: both[name].take(np.where(np.arange(steps) > turn[:, k, None], 0, 1 + np.arange(draws)[:, None]).ravel())
        for k, name in enumerate(names)
    }
    table = pd.DataFrame({name: cells.reset_index(drop=True) for name, cells in mixed.items()})
    outputs = model.outputs(datasets.view(model.dataset, table, media, model.reads)).astype(np.float64)
    said = outputs.reshape(draws, steps, -1)
    said = said[:, :, int(said[0, -1].argmax())]
    gains = np.take_along_axis(np.diff(said, axis=1), turn, 1)  # (draws, columns)
    credits, errors = gains.mean(0), gains.std(0, ddof=1) / np.sqrt(draws)
    credited: list[dict[str, Any]] = [
        {"column": name, "value": _cell(row[name].iloc[0]), "credit": float(credits[k]), "error": float(errors[k])}
        for k, name in enumerate(names)
    ]
    credited.sort(key=lambda one: -abs(one["credit"]))
    return {"columns": credited, "start": float(said[:, 0].mean()), "end": float(said[0, -1]), "draws": draws}


def _budget(model: TrialModel) -> int:
    return PREDICTIONS.get(model.reads, 1_500)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:60]
