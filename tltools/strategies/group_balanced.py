"""Group-balanced probe: the linear probe with every pair of group and class counting the same, as if drawn evenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="group_balanced")


group_balanced = Strategy(
    key="group_balanced",
    title="Group-balanced probe",
    kind="transfer",
    what="The linear probe with every pair of group and class counting the same, as if drawn evenly.",
    when="Pays where a group is small and the model should serve it as well as the large ones.",
    run=run,
    layout=layout,
    targets=("classes",),
    needs_groups=True,
    order=11,
)
