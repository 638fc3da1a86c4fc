"""Does an explanation owe anything to what was learnt? The same model with random weights is explained beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tltools import datasets
from tltools.engine import heads, trial_model
from tltools.engine.trial_model import NeuralModel
from tltools.tickets import Ticket

Array = NDArray[np.float64]

ROWS = 500  # training rows that the new head learns from
EXPLAINED = 3  # rows whose explanations are compared


def unlearned(model: NeuralModel, ticket: Ticket) -> NeuralModel:
    """The model of a trial with random weights in its backbone and a head solved for on some of its training rows: what
    it looks at, the architecture and the rows alone bring about (Adebayo et al. 2018)."""
    twin = NeuralModel(model.home, model.card, trial_model.random_like(model), model.head)
    rows = model.rows()
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), ROWS)).astype(np.int64))]
    features = twin.features(trial_model.picked(datasets.items(model.home, model.dataset, model.reads), rows), ticket)
    targets = datasets.target(model.home, model.dataset)[rows]
    if model.task.closed_form == "classes":
        head = heads.ridge_classifier(features, targets, len(model.dataset.classes))
    else:
        head = heads.ridge_regression(features, targets)
    twin.head = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in head.tensors().items()}
    return twin


def likeness(ours: Sequence[Array], random: Sequence[Array]) -> float:
    """Mean rank correlation of the size of the weights of explanations, row by row: 1 = the same, 0 = unrelated. A row
    on which either is flat, or that has no words at all, counts as unrelated."""
    return float(np.mean([_alike(np.abs(one), np.abs(other)) for one, other in zip(ours, random, strict=True)]))


def _alike(one: Array, other: Array) -> float:
    flat = any(not x.size or np.ptp(x) == 0 for x in (one, other))
    return 0.0 if flat else float(spearmanr(one, other).statistic)
