"""Gradual unfreezing: from the top down, one more block at a time, each group slower than the one above (ULMFiT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import TRAINING, decay, falling, head_rate, rate, training


def phases(stages: int, knobs: Knobs) -> tuple[Layout, ...]:
    """One layout a phase: the top block alone, then one group more each time, in equal steps down to the bottom."""
    count = min(int(knobs["phases"]), stages)
    full = falling(stages, float(knobs["learning_rate"]), float(knobs["layer_decay"]))
    opened = sorted({max(1, round(stages * (k + 1) / count)) for k in range(count)})
    return tuple(Layout((0.0,) * (stages - n) + full[stages - n :], float(knobs["head_rate"])) for n in opened)


def layout(stages: int, knobs: Knobs) -> Layout:
    return phases(stages, knobs)[-1]


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(phases=phases(kit.stages(trial), trial.knobs), head_start="probe", **training(trial.knobs))
        yield kit.finetune(trial, recipe)


gradual_unfreezing = Strategy(
    key="gradual_unfreezing",
    title="Gradual unfreezing",
    kind="transfer",
    what="Training starts with the top blocks and goes down in phases; lower blocks learn more slowly.",
    when="Pays when full fine-tuning is unstable, mostly on texts.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="phases",
            title="Phases",
            default=3,
            low=2,
            high=12,
            integer=True,
            help="In how many steps the backbone is opened.",
        ),
        rate(2e-4, convolutional=1e-3, tables=3e-4),
        head_rate(5e-4),
        decay(0.7),
        *TRAINING,
    ),
    targets=("classes", "number", "labels", "places"),
    order=7,
)
