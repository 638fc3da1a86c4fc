"""Thresholds per group: the linear probe, its probabilities moved by group until errors fall alike on all groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return (kit.by_group(outcome, float(outcome.trial.knobs["gap_worth"])) for outcome in kit.probe(trials))


group_thresholds = Strategy(
    key="group_thresholds",
    title="Thresholds per group",
    kind="transfer",
    what="The linear probe with a threshold for each group, chosen on rows left out so that errors fall alike on all.",
    when="Pays where the gap must narrow without training again, and every row to be predicted names its group.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="gap_worth", title="A point of the gap is worth", default=0.25, low=0.01, high=10.0, logarithmic=True,
            help="Points of balanced accuracy that one point less between groups may cost; too many, and one answer "
            "for everybody wins.",
        ),
    ),
    targets=("classes",),
    needs_groups=True,
    order=13,
)  # fmt: skip
