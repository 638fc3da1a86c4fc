"""What can be said of a source before any training, beside its scores: is it below the classical control on the
labelled rows, and how far from them are the rows that it was trained on?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tltools import datasets
from tltools.engine import classical
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, load_backbone
from tltools.engine.features import FeatureStore
from tltools.judging import domains, ranking
from tltools.judging.gain import SURE
from tltools.judging.verdict import compare
from tltools.records import Dataset, Refusal, Source
from tltools.reports import words
from tltools.tasks import tasks
from tltools.tickets import Ticket

Array = NDArray[Any]

ROWS = 1_000  # labelled rows that are compared
MARGIN = 0.01
FAR = 0.9  # share of rows of which a straight line tells whether they are source rows, from which it is called far


class Yardstick:
    """The classical control on some labelled rows, each predicted by a fit without it: five folds, once a dataset."""

    def __init__(self, ticket: Ticket, dataset: Dataset, rows: Array, targets: Array) -> None:
        self.kind = tasks()[dataset.task].closed_form
        self.rows = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), ROWS)).astype(np.int64))
        self.targets = targets[self.rows]
        self.values: Array | None = None
        self.method = ""
        if self.kind in ("classes", "number") and len(np.unique(self.targets)) > 1:
            self.values = self._values(ticket, dataset, rows[self.rows])

    def _values(self, ticket: Ticket, dataset: Dataset, rows: Array) -> Array:
        items = datasets.items(ticket.home, dataset, dataset.modality)
        seen = classical.read(dataset.modality, classical.pick(items, rows))
        outputs, folds = np.zeros((len(rows), tasks()[dataset.task].width(dataset)), np.float32), _folds(self.targets)
        for k in range(classical.FOLDS):
            ticket.check()
            out, rest = np.flatnonzero(folds == k), np.flatnonzero(folds != k)
            if len(out) and len(rest):
                kept = classical.pick(seen, rest)
                fitted = classical.Control(
                    dataset, tasks()[dataset.task], kept, self.targets[rest], seed=k, was_read=True
                )
                outputs[out] = fitted.outputs(classical.pick(seen, out))
                self.method = fitted.method
        return self._scores(outputs[:, 0] if self.kind == "number" else outputs.argmax(1))

    def _scores(self, said: Array) -> Array:
        """(n,) hits, or for numbers what the squared error leaves of 1 in units of the variance: their mean is R2."""
        if self.kind == "classes":
            return (said == self.targets).astype(np.float64)
        return np.asarray(1 - (said - self.targets) ** 2 / self.targets.var(), np.float64)

    def against(self, features: Array) -> dict[str, Any] | None:
        """The gain of a source's frozen features over the classical control, both on rows left out, with its interval:
        {"gain", "low", "high", "p_worse", "method", "rows"}; None where the task has no such heads. features: (n, D).

        The source's head learns from all other rows, the control from four fifths of them: a source that is below it
        here is so with the better cards.
        """
        if self.values is None:
            return None
        kept = features[self.rows]
        left_out = ranking.left_out_number if self.kind == "number" else ranking.left_out_classes
        said = left_out(kept, self.targets)
        classes = self.targets if self.kind == "classes" else None
        found = compare(self._scores(said)[None], self.values[None], MARGIN, classes=classes)
        numbers = {"gain": found.gain, "low": found.low, "high": found.high, "p_worse": found.p_worse}
        return {key: round(value, 6) for key, value in numbers.items()} | {
            "method": self.method, "rows": len(self.rows),
        }  # fmt: skip


def _folds(targets: Array) -> Array:
    """(n,) a fold of each row: the rows of a class, or of like numbers, go to all folds in turn."""
    random = np.random.default_rng(0)
    folds = np.empty(len(targets), np.int64)
    folds[np.lexsort((random.random(len(targets)), targets))] = np.arange(len(targets)) % classical.FOLDS
    return folds


def distance(
    ticket: Ticket, store: FeatureStore, source: Source, dataset: Dataset, items: Any, features: Array
) -> dict[str, Any] | None:
    """How far the rows are from those that a source of one's own was trained on, in its own features; None where these
    are not known, or no longer here. items, features: (n,) rows of the dataset as the source reads them, and (n, D)
    their pooled features. Tables are compared in the columns that both have: any other would tell them apart."""
    if source.trained_on is None or source.trained_on == dataset.id:
        return None
    try:
        own = datasets.get(ticket.home, source.trained_on)
        known = datasets.items(ticket.home, own, source.reads)
    except Refusal:
        return None
    train = np.asarray(datasets.split(ticket.home, own).train, np.int64)
    rows = train[np.unique(np.linspace(0, len(train) - 1, min(len(train), domains.ROWS)).astype(np.int64))]
    known, backbone = classical.pick(known, rows), load_backbone(ticket.home, source)
    if source.reads == "tabular":
        ours = items[list(source.columns)]
        backbone.fit_items(ours, np.arange(len(ours)))
        features = _read(backbone, ours)
        theirs = _read(backbone, known[list(source.columns.values())].set_axis(ours.columns, axis=1))
    else:
        keys = datasets.content_keys(ticket.home, own)
        keys = [keys[row] for row in rows]
        backbone.to(devices.best().name)
        theirs = store.pooled(backbone, lambda: store.encode(backbone, known), keys, np.arange(len(rows)), ticket)
    return {"dataset": own.name, **asdict(domains.apart(theirs, features))}


def _read(backbone: Backbone, table: pd.DataFrame) -> Array:
    """(n, D) pooled features of the rows of a table."""
    with torch.inference_mode():
        pooled: torch.Tensor = backbone(backbone.encode(table).take(np.arange(len(table))))
    return pooled.numpy()


def sentences(row: dict[str, Any], numbers: bool) -> dict[str, Any]:
    """What a ranking row's findings say in words: {"beside": frozen features and the classical control, "doubts":
    warnings of negative transfer, "apart": how far the source's own rows are}."""
    found, near = row.get("against_classical"), row.get("domain")
    return {
        "beside": _beside(found, numbers) if found else "",
        "doubts": [_doubt(found)] if found and found["p_worse"] >= SURE else [],
        "apart": _apart(near) if near else "",
    }


def _beside(found: dict[str, Any], numbers: bool) -> str:
    scale, unit = (1.0, "of R2") if numbers else (100.0, "points of balanced accuracy")
    low, high = (f"{scale * found[key]:+.3g}".replace("-", "−") for key in ("low", "high"))
    side = "above" if found["gain"] >= 0 else "below"
    return (
        f"On {found['rows']:,} labelled rows, each left out, a linear layer on its features is "
        f"{abs(scale * found['gain']):.3g} {unit} {side} {found['method']} (95 % interval {low} to {high})."
    )


def _doubt(found: dict[str, Any]) -> str:
    return (
        f"Negative transfer is likely while it stays frozen: on your labelled rows a linear layer on its features is "
        f"worse than {found['method']} ({words.probability(found['p_worse'])} sure)."
    )


def _apart(near: dict[str, Any]) -> str:
    how = "look unlike each other to it" if near["told"] >= FAR else "are not far apart for it"
    return (
        f"Your rows and those of {near['dataset']}, on which it was trained, {how}: a straight line tells "
        f"{100 * near['told']:.0f} % of them apart (50 % is chance; proxy A-distance {near['a_distance']:.2f} of 2, "
        f"MMD {near['mmd']:.2f}, p {near['p_value']:.3f})."
    )
