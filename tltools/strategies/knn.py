"""Nearest neighbours: the backbone is frozen, and the training rows most like a row vote for its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="neighbours")


knn = Strategy(
    key="knn",
    title="Nearest neighbours",
    kind="transfer",
    what="The backbone stays frozen; the training rows most like a row vote for its class.",
    when="Pays where classes fall into several clusters, and says which rows a prediction rests on.",
    run=run,
    layout=layout,
    targets=("classes",),
    order=1,
)
