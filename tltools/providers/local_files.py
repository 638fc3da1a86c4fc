"""The user's own weights: a transformers folder, or a safetensors file with a timm architecture: `local/<name>`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tltools.artifacts import sealed
from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.records import Source, refuse


def listing(home: Home) -> Sequence[Source]:
    found = sorted((home.sources / "local").glob("*/source.json"))
    return tuple(Source.model_validate_json(path.read_text()) for path in found if sealed(path.parent))


def card(home: Home, source_id: str) -> Source:
    known = {source.id: source for source in listing(home)}
    if source_id not in known:
        raise refuse(
            source_id,
            f"is not known; there {'are ' + ', '.join(known) if known else 'is no local source yet'}.",
            "Add it with `python -m tltools sources add PATH --name NAME`.",
        )
    return known[source_id]


def fetch(home: Home, source: Source, told: Told) -> Path:
    folder = home.sources / source.id
    if not sealed(folder):
        raise refuse(source.id, "is no longer on this machine.", "Add it again.")
    return folder


local_files = Provider(
    key="local",
    title="My files",
    sources=listing,
    search=lambda home, query: (),
    card=card,
    fetch=fetch,
    order=1,
)
