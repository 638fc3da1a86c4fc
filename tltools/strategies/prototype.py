"""Prototypes: the backbone is frozen, and a row belongs to the class whose mean of features is nearest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="prototypes")


prototype = Strategy(
    key="prototype",
    title="Prototypes",
    kind="transfer",
    what="The backbone stays frozen; a row belongs to the class whose mean of features is nearest.",
    when="Pays with a handful of labels a class, where a fitted layer would follow chance.",
    run=run,
    layout=layout,
    targets=("classes",),
    order=0,
)
