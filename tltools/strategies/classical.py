"""Control: what one would do without a network: TF-IDF, colour and edge histograms, gradient boosting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(), head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.classical(trials)


classical = Strategy(
    key="classical",
    title="Classical",
    kind="control",
    what="The usual method without a network: TF-IDF for texts, colours and edges for images, boosting for tables.",
    when="Shows whether a network is needed at all.",
    run=run,
    layout=layout,
    needs_source=False,
    targets=("classes", "number", "labels", "places"),
    order=20,
)
