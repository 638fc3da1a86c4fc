"""Zero-shot: the source says the classes by its own head, as it is; nothing is trained and no label is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tltools.records import Trial
from tltools.strategies import Kit, Knobs, Layout, Outcome, Strategy


def layout(stages: int, knobs: Knobs) -> Layout:
    return Layout(rates=(0.0,) * stages, head=0.0)


def run(kit: Kit, trials: Sequence[Trial]) -> Iterator[Outcome]:
    return kit.probe(trials, head="own")


zero_shot = Strategy(
    key="zero_shot",
    title="Zero-shot (source as it is)",
    kind="transfer",
    what="Nothing is trained: the source's own head says the classes, as it did on its own data.",
    when="Says what labels and training are worth, where a trial of yours or a classifier knows the classes by name.",
    run=run,
    layout=layout,
    reads=("text", "image", "audio"),
    families=("transformers", "timm"),
    targets=("classes",),
    own_head=True,
    order=0,
)
