"""LoRA: small low-rank adapters beside every frozen linear layer (peft), at about ten times the fine-tuning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import TRAINING, head_rate, rate, training


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=float(knobs["head_rate"]), part="adapters")


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        knobs = trial.knobs
        recipe = Recipe(
            phases=(layout(kit.stages(trial), knobs),),
            head_start="probe",
            adapter={"r": int(knobs["rank"]), "alpha": float(knobs["alpha"]), "dropout": float(knobs["dropout"])},
            **training(knobs),
        )
        yield kit.finetune(trial, recipe)


lora = Strategy(
    key="lora",
    title="LoRA",
    kind="transfer",
    what="The backbone is frozen; small low-rank adapters beside its linear layers and a new head are trained.",
    when="Pays when memory is short or the tuned file must be small; on a CPU it saves little time.",
    run=run,
    layout=layout,
    knobs=(
        Number(key="rank", title="Rank", default=8, low=1, high=64, integer=True, help="Width of the adapters."),
        Number(key="alpha", title="Alpha", default=16, low=1, high=256, help="Weight of the adapters: alpha / rank."),
        Number(
            key="dropout", title="Dropout", default=0.05, low=0.0, high=0.5, help="Share of adapter inputs dropped."
        ),
        rate(1e-3, "Learning rate of the adapters."),
        head_rate(1e-3),
        *TRAINING,
    ),
    families=("transformers",),
    targets=("classes", "number", "labels", "places"),
    order=4,
)
