"""The verbs `sources`, `sources rank` and `sources add` of the command line, as JSON and as lines for people."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import yaml

from tltools import datasets, evidence, own_weights, sources
from tltools.commands import Answer, columns, through_job
from tltools.home import Home
from tltools.records import refuse
from tltools.store import open_store


def listed(home: Home, options: Namespace) -> Answer:
    cards = sources.listing(home)
    if options.dataset is None:
        entries = [source.model_dump(mode="json") for source in cards]
        lines = [
            f"{s.id:55} {_size(s.parameters):>8}  {'here' if s.installed else 'hub':5} {s.pretraining}" for s in cards
        ]
        return 0, {"sources": entries}, lines
    dataset = datasets.get(home, options.dataset)
    by_id = {source.id: source for source in cards}
    store = open_store(home)
    ranked, doubts = evidence.rankings(store, dataset.id), evidence.warnings(store, dataset.id)
    entries, lines = [], []
    for cell in sources.fits(home, dataset):
        row = ranked.get(cell.source)
        warned = [*cell.warnings, *doubts.get(cell.source, ())]
        entries.append(
            {**by_id[cell.source].model_dump(mode="json"), **cell.model_dump(), "warnings": warned}
            | {"rank": row and row.get("rank"), "ranking": row}
        )
        said = [
            cell.why,
            f"Instead: {cell.instead}." if cell.instead else "",
            *warned,
            *(str((row or {}).get(key, "")) for key in ("own_head", "apart")),
        ]
        place = f"rank {row['rank']}" if row and row.get("rank") else ""
        lines.append(f"{'fits' if cell.fits else 'no  '} {place:8} {cell.source:50} {' '.join(filter(None, said))}")
        lines += columns(cell.columns)
    held = evidence.track(store)
    answer = {"dataset": dataset.id, "sources": entries, "agreement": _known(evidence.agreement([*ranked.values()]))}
    return 0, answer | {"track_record": held and asdict(held)}, lines + ([held.sentence()] if held else [])


def rank(home: Home, options: Namespace) -> Answer:
    payload: dict[str, Any] = {"dataset": datasets.get(home, options.dataset).id}
    if options.source:
        payload["sources"] = list(options.source)

    def lines(result: dict[str, Any]) -> list[str]:
        said = []
        for row in result["ranking"]:
            scores = ", ".join(f"{key} {row[key]:.3f}" for key in evidence.KEPT if row.get(key) is not None)
            found = [
                row.get("problem") or scores,
                row.get("beside"),
                *row.get("doubts", ()),
                row.get("own_head"),
                row.get("apart"),
            ]
            depth = (result["depth"].get(row["source"]) or {}).get("sentence", "")
            said.append(f"{row['rank'] or '-':>4}  {row['source']:50} {' '.join(filter(None, [*found, depth]))}")
        return said

    return through_job(home, "rank", payload, "Rank sources", lines)


def add(home: Home, options: Namespace) -> Answer:
    source = sources.add(
        home,
        options.path,
        name=options.name,
        architecture=options.architecture,
        mean=own_weights.three_numbers("--mean", options.mean),
        std=own_weights.three_numbers("--std", options.std),
        image_size=options.size,
        options=_builder_options(options.option),
        classes=[name.strip() for name in options.classes.split(",")] if options.classes else (),
    )
    return 0, source.model_dump(mode="json"), [f"{source.id}: {_size(source.parameters)} parameters, checked."]


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _size(parameters: int | None) -> str:
    return "?" if parameters is None else f"{parameters / 1e6:.1f} M"


def _builder_options(pairs: list[str]) -> dict[str, str | float | int | bool]:
    found: dict[str, str | float | int | bool] = {}
    for pair in pairs:
        name, mark, text = pair.partition("=")
        if not mark or not name.isidentifier():
            raise refuse("--option", f"must be NAME=VALUE; got {pair!r}.", "Write pad_type=same.")
        value = yaml.safe_load(text)
        number = float(text) if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", text) else value
        if not isinstance(number, str | float | int | bool):
            raise refuse("--option", f"{name} must be a word or a number; got {text!r}.", "Write bn_eps=0.001.")
        found[name] = number
    return found
