"""Group DRO: the linear probe whose rows weigh more the worse their pair of group and class is served (1911.08731)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="group_dro")


group_dro = Strategy(
    key="group_dro",
    title="Group DRO",
    kind="transfer",
    what="The linear probe, fitted again and again with more weight on the pair of group and class served worst.",
    when="Pays where the worst served group matters more than the average row.",
    run=run,
    layout=layout,
    targets=("classes",),
    needs_groups=True,
    order=12,
)
