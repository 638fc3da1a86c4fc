"""The room of providers: where source models come from. No torch here: a provider knows cards and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tltools import registry
from tltools.home import Home
from tltools.records import Source

Told = Callable[[int, int], None]  # (bytes done, bytes in all); called while a download goes on


@dataclass(frozen=True)
class Provider:
    """A provider's card. Source ids start with `key` + "/"."""

    key: str
    title: str
    sources: Callable[[Home], Sequence[Source]]  # what can be chosen without asking a network
    search: Callable[[Home, str], Sequence[Source]]  # free search; [] where there is none; Refusal when offline
    card: Callable[[Home, str], Source]  # source id -> card; Refusal when unknown
    fetch: Callable[[Home, Source, Told], Path]  # -> local folder with weights and configuration, complete and checked
    order: int = 0


def providers() -> dict[str, Provider]:
    """Returns every provider of the room by key."""
    return registry.members(__name__, Provider)
