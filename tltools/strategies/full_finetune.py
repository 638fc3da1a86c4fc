"""Full fine-tuning: every weight of the backbone and a new head are trained at one rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import AUGMENTATION, TRAINING, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(phases=(layout(kit.stages(trial), trial.knobs),), **training(trial.knobs))
        yield kit.finetune(trial, recipe)


full_finetune = Strategy(
    key="full_finetune",
    title="Full fine-tuning",
    kind="transfer",
    what="Everything is trained: the whole backbone and a new head.",
    when="Pays with many labels; with few it may forget more than it learns.",
    run=run,
    layout=layout,
    knobs=(rate(1e-4, convolutional=1e-3, tables=3e-4), head_rate(1e-3), *TRAINING, *AUGMENTATION),
    targets=("classes", "number", "labels", "places"),
    order=6,
)
