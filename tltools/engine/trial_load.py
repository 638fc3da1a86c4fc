"""Tries a user's weights on their architecture: reads a card on stdin, prints the completed card or the problems."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tltools.engine import weights
from tltools.engine.builders import builder
from tltools.engine.weights import weights_file
from tltools.records import Refusal, Source, refuse


def try_weights(folder: Path, source: Source) -> Source:
    """Builds the backbone from the folder and returns the card with what was learnt.

    Raises:
        Refusal: unknown architecture, or every key that does not fit.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            weights.header(path)
    if source.family == "timm":
        _must_be_timm(source)
    backbone = builder(source)(source, folder, False)
    return source.model_copy(
        update={
            "parameters": sum(p.numel() for p in backbone.core.parameters()),
            "megabytes": round(weights_file(folder).stat().st_size / 1e6, 1),
            "image_size": getattr(backbone, "size", None),
        }
    )


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
