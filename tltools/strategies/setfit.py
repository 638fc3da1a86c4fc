"""SetFit: a text encoder is tuned on pairs of texts until classes lie apart; class means are its head (2209.11055)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Switch, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Recipe, Strategy
from tltools.strategies._knobs import BATCH_SIZE, WEIGHT_DECAY, rate


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(float(knobs["learning_rate"]),) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    for trial in trials:
        recipe = Recipe(
            phases=(layout(kit.stages(trial), trial.knobs),),
            batch_size=int(trial.knobs["batch_size"]),
            weight_decay=float(trial.knobs["weight_decay"]),
            patience=0,
        )
        yield kit.contrast(trial, recipe, texts=int(trial.knobs["texts"]), names=bool(trial.knobs["names"]))


setfit = Strategy(
    key="setfit",
    title="SetFit",
    kind="transfer",
    what="The text encoder is tuned on pairs until classes lie apart; a text then belongs to the nearest class mean.",
    when="Pays with about 8 to 64 labels a class and a source that was trained to compare sentences.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="texts", title="Texts read", default=1280, low=2, high=1_000_000, integer=True, logarithmic=True,
            help="At most, again and again, each 12 times at most; all texts of a batch are compared with one another.",
        ),
        Switch(
            key="names", title="Class names as texts", default=False,
            help="“This text is about NAME.” is a row more of each class. Pays with few labels where names tell what "
            "a text is about; misleads where they do not, and is left out where one has no word.",
        ),
        rate(1e-4),
        BATCH_SIZE.model_copy(update={"default": 32}),
        WEIGHT_DECAY,
    ),
    reads=("text",),
    families=("transformers",),
    targets=("classes",),
    order=9,
)  # fmt: skip
