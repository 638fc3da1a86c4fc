"""Earlier work as a source: any finished trial whose backbone was trained and kept: `own/<trial>`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tltools.artifacts import sealed
from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.records import Source, refuse


def listing(home: Home) -> Sequence[Source]:
    found: list[tuple[float, Source]] = []
    for path in home.trials.glob("*/sealed.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # one damaged or vanished trial must not hide the rest
            if (source := _card(path.parent)) is not None:
                found.append((path.stat().st_mtime, source))
    return tuple(source for _, source in sorted(found, key=lambda pair: pair[0], reverse=True))


def card(home: Home, source_id: str) -> Source:
    trial = source_id.removeprefix("own/")
    folder = home.trials / trial
    if not re.fullmatch(r"[0-9a-f]{16}", trial) or not sealed(folder):
        raise refuse(source_id, "must name a finished trial.", "Look at the trials of a study's report.")
    found = _card(folder)
    if found is None:
        raise refuse(
            source_id,
            "cannot be a source: its backbone was not trained, or its weights were not kept.",
            "Use a fine-tuned trial with the largest share of the labels, draw 0.",
        )
    return found


def _card(folder: Path) -> Source | None:
    facts = json.loads((folder / "card.json").read_text())
    if not facts.get("source") or facts.get("weights") != "kept" or not facts.get("backbone_trained"):
        return None
    base, trial = Source.model_validate(facts["source"]), facts["trial"]
    if base.reads == "frames":  # its new input layer fits no other dataset, and its blocks are as they were
        return None
    begun = base.name.removesuffix(", untrained") + (" from scratch," if trial["strategy"] == "scratch" else "")
    what = f"{trial['strategy']} on {facts['dataset']['name']}"
    return base.model_copy(
        update={
            "id": f"own/{folder.name}",
            "name": f"{begun} tuned on {facts['dataset']['name']}",
            "provider": "own",
            "pretrained": True,
            "installed": True,
            "pretraining": f"your own: {what}, {facts.get('n_train', '?')} labels",
            "classifies": False,  # its head is one of its own now
            "classes_seen": tuple(facts.get("classes", ())),
            "bias": "That of your source task; see its per-group results.",
            "task": facts["task"],
            "strategy": trial["strategy"],
            "trained_on": facts["dataset"]["id"],
            "released": None,
            "sha256": None,
        }
    )


def fetch(home: Home, source: Source, told: Told) -> Path:
    folder = home.trials / source.id.removeprefix("own/")
    if not sealed(folder):
        raise refuse(source.id, "is no longer on this machine.", "Run its study again.")
    return folder


own_models = Provider(
    key="own",
    title="My earlier trials",
    sources=listing,
    search=lambda home, query: (),
    card=card,
    fetch=fetch,
    order=1,
)
