"""The curated list of hub models: cards with size, input, pre-training data, licence and known bias."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tltools import hub
from tltools.home import Home
from tltools.records import Source


@functools.cache
def cards() -> dict[str, Source]:
    """All curated cards by id."""
    entries = json.loads((Path(__file__).with_name("curated.json")).read_text())
    return {entry["id"]: Source(provider=entry["id"].split("/")[0], **entry) for entry in entries}


def of_provider(home: Home, provider: str) -> tuple[Source, ...]:
    """A provider's curated cards and what else of it lies on this machine, with `installed` as it is now."""
    found = {key: hub.installed(home, key) or card for key, card in cards().items() if card.provider == provider}
    for path in home.sources.glob(f"{provider}-*/source.json"):
        card = Source.model_validate_json(path.read_text())
        found.setdefault(card.id, card)
    return tuple(found.values())
