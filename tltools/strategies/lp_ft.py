"""LP-FT: first the linear probe, then everything at rates that fall towards the input (arXiv 2202.10054)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import AUGMENTATION, TRAINING, decay, falling, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    rates = falling(stages, float(knobs["learning_rate"]), float(knobs["layer_decay"]))
    return Layout(rates=rates, head=float(knobs["head_rate"]))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(phases=(layout(kit.stages(trial), trial.knobs),), head_start="probe", **training(trial.knobs))
        yield kit.finetune(trial, recipe)


lp_ft = Strategy(
    key="lp_ft",
    title="LP-FT",
    kind="transfer",
    what="The head starts at the linear probe's solution, then everything is trained, lower blocks more slowly.",
    when="Pays when new data may drift from the training data: a ready head does not distort the features.",
    run=run,
    layout=layout,
    knobs=(rate(1e-4, convolutional=1e-3, tables=3e-4), head_rate(1e-4), decay(0.9), *TRAINING, *AUGMENTATION),
    order=5,
)
