"""Last block: everything below stays frozen and is computed once; the top block and a new head are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import BRIEF, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    open_blocks = min(int(knobs["blocks"]), stages)
    rates = (0.0,) * (stages - open_blocks) + (float(knobs["learning_rate"]),) * open_blocks
    return Layout(rates=rates, head=float(knobs["head_rate"]))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(phases=(layout(kit.stages(trial), trial.knobs),), head_start="probe", **training(trial.knobs))
        yield kit.finetune(trial, recipe)


last_block = Strategy(
    key="last_block",
    title="Last block",
    kind="transfer",
    what="Only the top block and a new head are trained; what lies below is frozen and computed once.",
    when="Pays with some hundred labels: a little adaptation, little risk, and little time.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="blocks",
            title="Blocks trained",
            default=1,
            low=1,
            high=8,
            integer=True,
            help="How many blocks from the top are trained.",
        ),
        rate(2e-4, convolutional=1e-3, tables=3e-4),
        head_rate(1e-3),
        *BRIEF,
    ),
    targets=("classes", "number", "labels", "places"),
    order=2,
)
