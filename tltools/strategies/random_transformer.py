"""Control: a transformer with random frozen weights, its input layer, norms, positions and head trained alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Outcome, Strategy
from tltools.strategies.frozen_transformer import KNOBS, entering, layout


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return entering(kit, trials, "random")


random_transformer = Strategy(
    key="random_transformer",
    title="Random transformer",
    kind="control",
    what="The same architecture with random frozen weights; input layer, norms, positions and head trained alike.",
    when="Shows what a frozen transformer gains from language, and not from its shape and the new layers.",
    run=run,
    layout=layout,
    knobs=KNOBS,
    reads=("frames",),
    families=("transformers",),
    order=23,
)
