"""Ranks source models for a dataset before any training: one feature pass each, several scores, and where to cut.

Labels of the training and validation part are used, never those of the test part. What each score is worth, independent
audits doubt; so the static baseline (bigger first) stands beside, the agreement of the scores is told, and estimates
are kept so that a later gain can be held against them.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools import datasets, evidence, sources, splits
from tltools.engine import device as devices
from tltools.engine import outlook, source_heads
from tltools.engine.backbone import Backbone, load_backbone
from tltools.engine.features import FeatureStore, encoding_of
from tltools.judging import ranking
from tltools.records import Dataset, Refusal, Source, refuse
from tltools.tasks import tasks
from tltools.tickets import Ticket

Array = NDArray[Any]
Scores = dict[str, float]

ROWS = 2_000  # at most so many labelled rows are looked at
WIDE = 1_024  # features wider than this are projected before they are scored


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """The job: {"dataset": id, "sources": [ids], "cache_gb": 4.0} -> {"ranking": [...], "depth": {...}, ...}.

    Without "sources", every installed source that fits. A row of the ranking has the scores on the last stage, the same
    on the mean of all stages (`*_layers`), the place by size (`static`) and the combined place (`rank`, 1 = best); a
    source that cannot be loaded has a `problem` instead. `depth` says per source how good each stage is.

    Raises: Refusal when there is no source to rank, or no label or number a row to rank by.
    """
    dataset = datasets.get(ticket.home, payload["dataset"])
    task = tasks()[dataset.task]
    if task.objects:
        what = f"are ranked by a label or a number a row, which rows of {task.title.lower()} have not."
        raise refuse("sources", what, "Run a study with the sources that you would compare.")
    candidates = _candidates(ticket, dataset, payload.get("sources"))
    rows, targets = labelled_rows(ticket, dataset)
    store = FeatureStore(ticket.home, float(payload.get("cache_gb", 4.0)), memory=ticket.store, dataset=dataset.id)
    ticket.progress("ranking sources", 0, len(candidates), note="the classical control")
    yardstick = outlook.Yardstick(ticket, dataset, rows, targets)
    found: list[dict[str, Any]] = []
    depth: dict[str, Any] = {}
    for i, source in enumerate(candidates):
        ticket.progress("ranking sources", i, len(candidates), note=source.name)
        try:
            row, stages = examine(ticket, store, dataset, source, rows, targets, yardstick)
        except Refusal as refusal:
            found.append({"source": source.id, "problem": str(refusal)})
            continue
        found.append(row)
        depth[source.id] = stages
    ticket.progress("ranking sources", len(candidates), len(candidates))
    ordered = placed(found, sources.static_order(candidates))
    for row in ordered:
        if "problem" not in row:
            ticket.store.remember("ranking", f"{dataset.id}|{row['source']}", {"dataset": dataset.id, **row})
    return {"ranking": ordered, "depth": depth, "rows": len(rows), "agreement": _known(evidence.agreement(found))}


def labelled_rows(ticket: Ticket, dataset: Dataset) -> tuple[Array, Array]:
    """(n,) rows of the training and validation part, at most `ROWS`, stratified; and their targets."""
    split = datasets.split(ticket.home, dataset)
    pool = np.sort(np.concatenate([split.train, split.validation]).astype(np.int64))
    every = datasets.target(ticket.home, dataset)
    if len(pool) > ROWS:
        kinds, random = splits.strata(every[pool]), np.random.default_rng(0)
        turn = np.empty(len(pool))  # the share of its class that comes before a row, in random order
        for kind in np.unique(kinds):
            own = np.flatnonzero(kinds == kind)
            turn[own] = (random.permutation(len(own)) + random.random(len(own))) / len(own)
        pool = np.sort(pool[np.argsort(turn)[:ROWS]])
    if every.ndim > 1:  # of several labels the rarest of a row: what a split keeps in shares, too
        every = splits.strata(every)
    return pool, every[pool]


def examine(
    ticket: Ticket, store: FeatureStore, dataset: Dataset, source: Source, rows: Array, targets: Array,
    yardstick: outlook.Yardstick,
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """One feature pass over the rows, then all scores: the ranking row and the depth probe of one source.

    Raises: Refusal when the source cannot be had or does not fit.
    """
    started = time.monotonic()
    fit = sources.fit(ticket.home, source, dataset)
    if not fit.fits:
        raise refuse(source.id, fit.why, f"Use {fit.instead}." if fit.instead else "Choose another source model.")
    if fit.new_input:
        what = "has no features of these rows before its new input layer is trained, so it cannot be ranked."
        raise refuse(source.id, what, "Run the frozen transformer beside its control.")
    backbone = load_backbone(ticket.home, source)
    items = some(datasets.items(ticket.home, dataset, source.reads), rows)
    with devices.seeded(0):  # of a table, columns that the source does not know start new
        backbone.fit_items(items, np.arange(len(rows)))
    backbone.to(devices.best().name)
    keys = datasets.content_keys(ticket.home, dataset)
    keys = [keys[row] for row in rows]
    everywhere, encoded = np.arange(len(rows)), functools.cache(lambda: store.encode(backbone, items))
    store.sweep(backbone, encoded, keys, everywhere, ("pooled", "layers"), ticket)
    layers, columns = store.layers(backbone, encoded, keys, everywhere, ticket)
    ticket.check()
    last = store.pooled(backbone, encoded, keys, everywhere, ticket)
    numbers = dataset.classes == ()
    row: dict[str, Any] = {"source": source.id, **{k: _known(v) for k, v in scores(last, targets, numbers).items()}}
    ticket.check()
    mean = layer_mean(layers, columns)
    row |= {f"{name}_layers": _known(value) for name, value in scores(mean, targets, numbers).items()}
    row["seconds"] = round(time.monotonic() - started, 3)
    row["warnings"] = list(fit.warnings)
    row["against_classical"] = yardstick.against(last)
    row["domain"] = outlook.distance(ticket, store, source, dataset, items, last)

    def read(other: Backbone) -> Array:
        """What it pools, which is `last`, or of a network with its head its logits: one more pass."""
        same = encoding_of(other) == encoding_of(backbone)
        again = encoded if same else lambda: store.encode(other, items)
        return store.pooled(other, again, keys, everywhere, ticket)

    row |= source_heads.examine(ticket.home, dataset, backbone, read, targets)
    row |= outlook.sentences(row, numbers)
    return row, depth_probe(backbone, layers, columns, targets, numbers)


def scores(features: Array, targets: Array, numbers: bool) -> Scores:
    """The four scores of (n, D) features; for numbers, the H-score is that of equally full bins."""
    features = narrow(features)
    if numbers:
        return {
            "loo_ridge": ranking.loo_ridge_number(features, targets),
            "knn": ranking.knn_number(features, targets),
            "logme": ranking.logme(features, targets, classes=False),
            "h_score": ranking.h_score(features, ranking.bins(targets)),
        }
    return {
        "loo_ridge": ranking.loo_ridge(features, targets),
        "knn": ranking.knn(features, targets),
        "logme": ranking.logme(features, targets),
        "h_score": ranking.h_score(features, targets),
    }


def layer_mean(layers: Array, columns: Sequence[slice]) -> Array:
    """The mean of the stages, each scaled to the same spread; side by side where they differ in width.

    Side by side and divided by sqrt(width) has the mean of the stages' Gram matrices, so the two are one idea.
    """
    parts = [layers[:, c] - layers[:, c].mean(0) for c in columns]
    parts = [part / max(float(np.sqrt((part**2).mean())), 1e-12) for part in parts]
    if len({part.shape[1] for part in parts}) == 1:
        return np.asarray(np.mean(parts, axis=0))
    return np.concatenate([part / math.sqrt(part.shape[1]) for part in parts], axis=1)


def narrow(features: Array) -> Array:
    """Features of at most `WIDE` columns: a Gaussian projection, the same for equal widths, keeps distances."""
    width = features.shape[1]
    if width <= WIDE:
        return features
    project = np.random.default_rng(width).standard_normal((width, WIDE)).astype(np.float32) / math.sqrt(WIDE)
    return np.asarray(features @ project)


def depth_probe(
    backbone: Backbone, layers: Array, columns: Sequence[slice], targets: Array, numbers: bool
) -> dict[str, Any]:
    """How well a probe on each stage does (leave-one-out), and which stages to keep.

    `keep` counts the stages, bottom first, up to the earliest one that is as good as the best within one standard
    error: what lies above adds nothing for this task, so it is what to train or to cut.
    """
    score: Callable[[Array, Array], float] = ranking.loo_ridge_number if numbers else ranking.loo_ridge
    values = [score(narrow(layers[:, c]), targets) for c in columns]
    stages = [
        {"stage": i, "name": stage.name, "score": _known(value), "parameters": stage.parameters}
        for i, (stage, value) in enumerate(zip(backbone.stages, values, strict=True))
    ]
    if all(math.isnan(value) for value in values):
        return {"stages": stages, "keep": len(stages), "sentence": "The stages cannot be told apart on these rows."}
    best = float(np.nanmax(values))
    slack = math.sqrt(max(best * (1 - best), 1e-4) / len(targets)) if 0 < best < 1 else 0.01
    keep = next(i for i, value in enumerate(values) if value >= best - slack) + 1
    top = f"stage {keep} of {len(stages)} ({stages[keep - 1]['name']})"
    if keep == len(stages):
        said = (
            f"The features get better up to the last stage, {top}: a probe on top of everything is the place to start."
        )
    else:
        said = f"Up to {top} the features get better; train or cut what lies above it."
    return {"stages": stages, "keep": keep, "sentence": said}


def placed(found: Sequence[Mapping[str, Any]], static: Sequence[str]) -> list[dict[str, Any]]:
    """The rows, best first, with `static` and `rank`; those with a problem last and without a rank."""
    good = [row for row in found if "problem" not in row]
    size = {source: place for place, source in enumerate(static, start=1)}
    if not good:
        return [{**row, "static": size.get(row["source"]), "rank": None} for row in found]
    tables = evidence.tables(good)
    mean = ranking.combine(tables) if tables else np.zeros(len(good))
    order = sorted(range(len(good)), key=lambda i: (mean[i], -(good[i]["loo_ridge"] or 0.0), size[good[i]["source"]]))
    rows = [
        {**good[i], "static": size[good[i]["source"]], "rank": place, "mean_rank": round(float(mean[i]), 3)}
        for place, i in enumerate(order, start=1)
    ]
    return rows + [{**row, "static": size.get(row["source"]), "rank": None} for row in found if "problem" in row]


def some(items: Any, rows: Array) -> Any:
    """The items of some rows: a part of a table, or a list."""
    return items.iloc[rows] if hasattr(items, "iloc") else [items[int(row)] for row in rows]


def _candidates(ticket: Ticket, dataset: Dataset, named: Sequence[str] | None) -> list[Source]:
    if named:
        return [sources.get(ticket.home, name, dataset) for name in dict.fromkeys(named)]
    fitting = {fit.source for fit in sources.fits(ticket.home, dataset) if fit.fits and not fit.new_input}
    listed = [source.id for source in sources.listing(ticket.home) if source.installed and source.id in fitting]
    found = [sources.get(ticket.home, name, dataset) for name in listed]
    if not found:
        raise refuse("sources", "no installed source model fits this dataset.", "Add or download one.")
    return found


def _known(value: float) -> float | None:
    """JSON has no NaN: what is not a number is null."""
    return None if math.isnan(value) else round(float(value), 6)
