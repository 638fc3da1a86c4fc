"""Frozen transformer (FPT): a language model for other rows: input layer, norms, positions and head are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import (
    BATCH_SIZE,
    EPOCHS,
    HOLD_OUT,
    MIN_STEPS,
    PATIENCE,
    RATES_TRIED,
    ROWS_AT_ONCE,
    SMOOTHING,
    WEIGHT_DECAY,
    head_rate,
    rate,
    training,
)

KNOBS = (
    rate(1e-3, help="Learning rate of the input layer, norms and positions."), head_rate(1e-3),
    EPOCHS.model_copy(update={"default": 12}), MIN_STEPS, BATCH_SIZE, ROWS_AT_ONCE, PATIENCE, HOLD_OUT, WEIGHT_DECAY,
    SMOOTHING, RATES_TRIED.model_copy(update={"default": 3}),
)  # fmt: skip


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]), part="inputs")


def entering(kit: Kit, trials: Sequence[Trial], init: Literal["source", "random"]) -> Iterator[Outcome]:
    """The same steps whatever the frozen weights are: it is they that are compared."""
    for trial in trials:
        plan = (layout(kit.stages(trial), trial.knobs),)
        yield kit.finetune(trial, Recipe(phases=plan, init=init, **training(trial.knobs)))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return entering(kit, trials, "source")


frozen_transformer = Strategy(
    key="frozen_transformer",
    title="Frozen transformer",
    kind="transfer",
    what="A language model reads numbers, not texts: a new input layer, its norms, positions and head are trained.",
    when="An experiment (FPT): often no better than the same with random weights, which the control tells.",
    run=run,
    layout=layout,
    knobs=KNOBS,
    reads=("frames",),
    families=("transformers",),
    twin="random_transformer",
    order=5,
)
