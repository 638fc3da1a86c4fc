"""Multi-layer probe: as the linear probe, on the pooled features of every block (Head2Toe-like, arXiv 2201.03529)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, features="layers")


multilayer_probe = Strategy(
    key="multilayer_probe",
    title="Multi-layer probe",
    kind="transfer",
    what="The backbone stays frozen; one linear layer reads the features of all its blocks.",
    when="Pays when the target task is unlike the source task, so that middle blocks know more than the last.",
    run=run,
    layout=layout,
    order=1,
)
