"""WiSE-FT: as LP-FT, then all weights are averaged with those that training began with (arXiv 2109.01903)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Outcome, Recipe, Strategy
from tltools.strategies._knobs import AUGMENTATION, TRAINING, decay, head_rate, rate, training
from tltools.strategies.lp_ft import layout


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        plan, tuned = (layout(kit.stages(trial), trial.knobs),), float(trial.knobs["tuned"])
        yield kit.finetune(trial, Recipe(phases=plan, head_start="probe", tuned=tuned, **training(trial.knobs)))


wise_ft = Strategy(
    key="wise_ft",
    title="WiSE-FT",
    kind="transfer",
    what="As LP-FT; then every weight becomes the mean of where it began and where it ended.",
    when="Pays when new data may drift from the training data: it forgets less of what the source knew.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="tuned", title="Share of the tuned weights", default=0.5, low=0.0, high=1.0,
            help="0: the source under a linear probe; 1: what was tuned, as LP-FT.",
        ),
        rate(1e-4, convolutional=1e-3, tables=3e-4), head_rate(1e-4), decay(0.9), *TRAINING, *AUGMENTATION,
    ),
    order=6,
)  # fmt: skip
