"""Reweighting: the linear probe, its rows weighted until group and class say nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="reweighted")


reweighting = Strategy(
    key="reweighting",
    title="Reweighting",
    kind="transfer",
    what="The linear probe on rows weighted until group and class say nothing of each other (Kamiran and Calders).",
    when="Pays where classes are unevenly spread over groups and the gap between groups should narrow.",
    run=run,
    layout=layout,
    targets=("classes",),
    needs_groups=True,
    order=10,
)
