"""Tries a user's weights on their architecture: reads a card on stdin, prints the completed card or the problems."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tltools import sources
from tltools.engine import image_backbone, weights
from tltools.engine.builders import builder
from tltools.engine.weights import weights_file
from tltools.records import Refusal, Source, refuse


def try_weights(folder: Path, source: Source) -> Source:
    """Builds the backbone from the folder and returns the card with what was learnt.

    Raises:
        Refusal: unknown architecture, every key that does not fit, or names of classes that its head does not say.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            weights.header(path)
    if source.family == "timm":
        _must_be_timm(source)
        weights.unwrap(weights_file(folder), image_backbone.create(source).state_dict())
    backbone = builder(source)(source, folder, False)
    if source.classifies:
        source = _with_head(folder, source)
    return source.model_copy(
        update={
            "parameters": sum(p.numel() for p in backbone.core.parameters()),
            "megabytes": round(weights_file(folder).stat().st_size / 1e6, 1),
            "image_size": getattr(backbone, "size", None),
        }
    )


def _with_head(folder: Path, source: Source) -> Source:
    """The card of a classifier, or of the same source without a head where its file holds none.

    Raises:
        Refusal: as many classes are named by hand as it does not say.
    """
    whole = sources.as_whole(source)
    try:
        said = builder(whole)(whole, folder, False).width
    except Refusal:  # its body may serve all the same
        return source.model_copy(update={"classifies": False, "classes_seen": ()})
    if source.classes_seen and len(source.classes_seen) != said:
        what = f"must name the {said} classes of its head, in the order of its outputs; got {len(source.classes_seen)}."
        raise refuse("classes", what, "Look at id2label in the model's config.json.")
    return source


def _must_be_timm(source: Source) -> None:
    from difflib import get_close_matches

    from tltools.engine import torchvision_operators

    torchvision_operators.ensure()
    import timm

    names = timm.list_models()
    if source.architecture not in names:
        near = get_close_matches(source.architecture, names, n=3)
        remedy = f"Did you mean {', '.join('timm/' + name for name in near)}?" if near else "See timm.list_models()."
        raise refuse("architecture", f"timm knows no {source.architecture!r}.", remedy)


def main() -> int:
    source = Source.model_validate_json(sys.stdin.read())
    try:
        print(try_weights(Path(sys.argv[1]), source).model_dump_json())
    except Refusal as refusal:
        print(json.dumps([problem.model_dump() for problem in refusal.problems]))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
