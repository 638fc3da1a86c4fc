"""Norm tuning: only normalisation weights and biases are trained (BitFit-like), at ten times the usual rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import TRAINING, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]), part="norms")


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(phases=(layout(kit.stages(trial), trial.knobs),), head_start="probe", **training(trial.knobs))
        yield kit.finetune(trial, recipe)


norm_tuning = Strategy(
    key="norm_tuning",
    title="Norms and biases",
    kind="transfer",
    what="Only normalisation weights, biases and the new head are trained; every matrix keeps what the source knew.",
    when="Pays when the target data differ in style more than in content, and when the tuned file must be small.",
    run=run,
    layout=layout,
    knobs=(rate(1e-3, "Learning rate of norms and biases."), head_rate(1e-3), *TRAINING),
    targets=("classes", "number", "labels", "places"),
    order=3,
)
