"""Which builder makes a source's backbone: by its family, by what it reads, and by whether it answers as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tltools.engine import (
    audio_backbone,
    classifiers,
    detectors,
    frame_backbone,
    image_backbone,
    tabular_backbone,
    text_backbone,
)
from tltools.engine.backbone import Backbone
from tltools.records import Source, refuse

KINDS = {"image": image_backbone, "text": text_backbone, "frames": frame_backbone, "audio": audio_backbone}


def builder(source: Source) -> Callable[[Source, Path, bool], Backbone]:
    """What builds a source's backbone: (source, folder, random) -> Backbone.

    Raises:
        Refusal: none does.
    """
    if source.family == "tabular":
        return tabular_backbone.build
    if source.answers:
        return classifiers.build if source.classifies else detectors.build
    if source.reads in KINDS:
        build: Callable[[Source, Path, bool], Backbone] = KINDS[source.reads].build
        return build
    raise refuse(source.id, f"reads {source.reads}, which needs a family of its own.", "Choose another source.")
