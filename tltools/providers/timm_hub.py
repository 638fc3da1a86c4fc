"""Image backbones with pre-trained weights from timm's pages on the hub: `timm/<name>`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tltools import hub
from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.providers import _curated as curated
from tltools.records import Source, refuse


def card(home: Home, source_id: str) -> Source:
    known = hub.installed(home, source_id) or curated.cards().get(source_id)
    if known:
        return known
    commit, config, _ = hub.look(home, source_id)
    if "architecture" not in config:
        raise refuse(source_id, "is not a timm model: its config.json names no architecture.", "Try it as hf/...")
    facts = config.get("pretrained_cfg", {})
    return Source(
        id=source_id,
        name=source_id.removeprefix("timm/"),
        provider="timm",
        reads="image",
        family="timm",
        architecture=config["architecture"],
        image_size=int(facts.get("input_size", [3, 224, 224])[-1]),
        mean=tuple(facts["mean"]) if "mean" in facts else None,
        std=tuple(facts["std"]) if "std" in facts else None,
        pretraining=str(facts.get("tag") or "see its page on the hub"),
        licence=str(facts.get("license") or "see its page on the hub"),
        revision=commit,
    )


def search(home: Home, query: str) -> Sequence[Source]:
    names = hub.find(home, query, author="timm")
    return tuple(curated.cards().get(name) or _stub(name) for name in names if name.startswith("timm/"))


def _stub(name: str) -> Source:
    """A card before the model was looked at; choosing it asks the hub for the rest."""
    plain = name.removeprefix("timm/")
    return Source(id=name, name=plain, provider="timm", reads="image", family="timm", architecture=plain.split(".")[0])


def fetch(home: Home, source: Source, told: Told) -> Path:
    return hub.download(home, source.id, source, told)


timm_hub = Provider(
    key="timm",
    title="timm (images)",
    sources=lambda home: curated.of_provider(home, "timm"),
    search=search,
    card=card,
    fetch=fetch,
    order=2,
)
