"""Boosted continuation: trees learnt on one's own source table are continued on the rows of this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Number, Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(), head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.boost(trials)


boosted_continuation = Strategy(
    key="boosted_continuation",
    title="Boosted continuation",
    kind="transfer",
    what="Gradient boosting learns on the source's own table, then adds trees for the rows of this one.",
    when="For tables with matched columns and the same classes; the classical control is the one to beat.",
    run=run,
    layout=layout,
    knobs=(
        Number(
            key="trees", title="Trees", default=120, low=1, high=2000, integer=True, logarithmic=True,
            help="On the source's table, and again as many on this one; per class where there are three or more.",
        ),
        Number(
            key="learning_rate", title="Learning rate", default=0.05, low=1e-3, high=1.0, logarithmic=True,
            help="How much each tree adds, as in the classical control by default.",
        ),
    ),
    reads=("tabular",),
    families=("tabular",),
    targets=("classes", "number"),
    continues=True,
    order=5,
)  # fmt: skip
