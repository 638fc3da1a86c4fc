"""What a source model was not made for in a dataset: what its modality doubts, and rows or classes that it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tltools import row_sizes
from tltools.fits import class_name
from tltools.modalities import modalities
from tltools.records import Dataset, Source
from tltools.tasks import tasks


def found(source: Source, dataset: Dataset, numbers: Mapping[str, float]) -> Iterator[str]:
    """Sentences on where a source and a dataset do not match; numbers: those of the dataset's profile."""
    if source.reads == "frames":
        yield (
            "It has read texts only and stays frozen behind a new input layer: this often does not help; the control "
            "with random frozen weights will tell."
        )
    if not source.pretrained:
        yield (
            "It has learnt nothing yet, so nothing is transferred: a study says what its architecture learns from your "
            "rows, and makes a source of your own of it."
        )
    yield from _known(source, dataset)
    tokens, pixels = row_sizes.limits(source, tasks()[dataset.task])
    read = source.model_copy(update={"options": {**source.options, "max_tokens": tokens}, "image_size": pixels})
    yield from modalities()[dataset.modality].doubts(read, dataset.classes, numbers)


def _known(source: Source, dataset: Dataset) -> Iterator[str]:
    """What it may have learnt of the very rows or classes before."""
    seen = {class_name(name) for name in source.classes_seen}
    both = sorted(name for name in dataset.classes if class_name(name) in seen)
    if both and source.trained_on != dataset.id:
        yield f"Its source task already knew {', '.join(both[:4])}: frozen scores are optimistic."
    if source.trained_on == dataset.id:
        yield "It was trained on this very dataset: a gain here says nothing about new data."
