"""Control: the same architecture from random weights, with the same tuning effort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import AUGMENTATION, TRAINING, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        plan = (layout(kit.stages(trial), trial.knobs),)
        yield kit.finetune(trial, Recipe(phases=plan, init="random", **training(trial.knobs)))


scratch = Strategy(
    key="scratch",
    title="From scratch",
    kind="control",
    what="The same architecture, trained from random weights with the same number of steps and rates tried.",
    when="Shows what the labels alone teach: a gain over it is owed to the source.",
    run=run,
    layout=layout,
    knobs=(rate(5e-4, convolutional=1e-3), head_rate(1e-3), *TRAINING, *AUGMENTATION),
    targets=("classes", "number", "labels", "places"),
    order=22,
)
