"""transformers backbones from the hub, `hf/<organisation>/<name>`; no code of a repository is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tltools import hub
from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.providers import _curated as curated
from tltools.records import Source, refuse


def repository(source_id: str) -> str:
    return source_id.removeprefix("hf/")


def card(home: Home, source_id: str) -> Source:
    known = hub.installed(home, source_id) or curated.cards().get(source_id)
    if known:
        return known
    commit, config, _ = hub.look(home, repository(source_id))
    return from_config(source_id, "hf", config).model_copy(update={"revision": commit})


def from_config(source_id: str, provider: str, config: dict[str, Any]) -> Source:
    """A card from a transformers config.json.

    Raises:
        Refusal: it asks for code of its own, or names no model type.
    """
    if "auto_map" in config:
        raise refuse(
            source_id, "asks for code of its own to be run, which tltools never does.", "Choose another model."
        )
    if "model_type" not in config:
        raise refuse(
            source_id, "is not a transformers model: its config.json names no model_type.", "Try it as timm/..."
        )
    sees = "image_size" in config or "num_channels" in config
    return Source(
        id=source_id,
        name=source_id.split("/")[-1],
        provider=provider,
        reads="image" if sees else "text",
        family="transformers",
        architecture=str(config["model_type"]),
        image_size=config["image_size"] if isinstance(config.get("image_size"), int) else None,
        max_length=config.get("max_position_embeddings"),
    )


def search(home: Home, query: str) -> Sequence[Source]:
    names = hub.find(home, query)
    return tuple(curated.cards().get(f"hf/{name}") or _stub(name) for name in names)


def _stub(name: str) -> Source:
    """A card before the model was looked at; choosing it asks the hub for the rest."""
    return Source(
        id=f"hf/{name}", name=name, provider="hf", reads="text", family="transformers", architecture="not known yet"
    )


def fetch(home: Home, source: Source, told: Told) -> Path:
    return hub.download(home, repository(source.id), source, told)


huggingface = Provider(
    key="hf",
    title="Hugging Face (texts, images)",
    sources=lambda home: curated.of_provider(home, "hf"),
    search=search,
    card=card,
    fetch=fetch,
    order=3,
)
