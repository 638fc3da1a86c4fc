"""Linear probe: the backbone is frozen, one linear layer is solved for in closed form, or a head trained by steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, features="pooled")


linear_probe = Strategy(
    key="linear_probe",
    title="Linear probe",
    kind="transfer",
    what="The backbone stays frozen; one new linear layer on its features is solved for exactly.",
    when="Pays with few labels, and shows within seconds what the source knows about your task.",
    by_steps=(
        "The backbone stays frozen; a new head on its features is trained by gradient steps.",
        "Pays with few labels: what lies below the head is computed once.",
    ),
    run=run,
    layout=layout,
    targets=("classes", "number", "labels", "places"),
    order=0,
)
