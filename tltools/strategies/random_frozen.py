"""Control: the same architecture with random weights, frozen, under a linear probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, features="pooled", init="random")


random_frozen = Strategy(
    key="random_frozen",
    title="Random frozen",
    kind="control",
    what="The same architecture with random weights, frozen, under a linear probe.",
    when="Shows what the architecture alone is worth, without any knowledge from a source.",
    run=run,
    layout=layout,
    targets=("classes", "number", "labels", "places"),
    order=21,
)
