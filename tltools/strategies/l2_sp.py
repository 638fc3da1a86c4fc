"""L2-SP: full fine-tuning with a pull of the weights towards where the source left them (arXiv 1802.01483)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import AUGMENTATION, TRAINING, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]))


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        plan = (layout(kit.stages(trial), trial.knobs),)
        yield kit.finetune(trial, Recipe(phases=plan, anchor=float(trial.knobs["anchor"]), **training(trial.knobs)))


l2_sp = Strategy(
    key="l2_sp",
    title="L2-SP",
    kind="transfer",
    what="Everything is trained, but source weights are pulled back towards where they started.",
    when="Pays with few labels and a source close to the target; the gain fades as labels grow.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="anchor",
            title="Pull",
            default=0.01,
            low=0.0,
            high=10.0,
            help="Strength of the pull towards the source's weights.",
        ),
        rate(1e-4, convolutional=1e-3, tables=3e-4),
        head_rate(1e-3),
        *TRAINING,
        *AUGMENTATION,
    ),
    targets=("classes", "number", "labels", "places"),
    order=8,
)
