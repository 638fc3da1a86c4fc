"""Ranking by one feature pass: the real bundled model on the sample texts, and the parts on made-up features."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import texts
from tltools import datasets, evidence, samples, sources
from tltools.engine import heads, rank
from tltools.engine.backbone import load_backbone
from tltools.engine.features import TOLERANCE, FeatureStore
from tltools.home import Home
from tltools.records import Refusal
from tltools.store import open_store
from tltools.tickets import QuietTicket


@pytest.fixture
def ticket(home: Home) -> QuietTicket:
    return QuietTicket(home, open_store(home))


def test_the_bundled_model_is_ranked_probed_and_cached(ticket: QuietTicket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank, "ROWS", 120)
    home = ticket.home
    dataset = samples.add(home, "film-notes")
    asked = {"dataset": dataset.id, "sources": ["bundled/minilm-l6", "bundled/tiny-resnet"]}
    result = rank.run(ticket, asked)
    first, second = result["ranking"]
    assert first["source"] == "bundled/minilm-l6" and first["rank"] == 1 and first["static"] in (1, 2)
    assert 0.5 < first["loo_ridge"] <= 1 and first["h_score"] > 0 and first["logme"] < 0
    assert second["rank"] is None and "reads image" in second["problem"]
    assert len(result["depth"]["bundled/minilm-l6"]["stages"]) == 7
    assert ticket.store.memories("ranking")[0]["loo_ridge"] == first["loo_ridge"]

    test = set(datasets.split(home, dataset).test)
    rows, targets = rank.labelled_rows(ticket, dataset)
    assert not test & set(rows.tolist()) and len(rows) == 120 and abs(targets.mean() - 0.5) < 0.1

    source = sources.get(home, "bundled/minilm-l6")
    backbone, every = load_backbone(home, source), datasets.content_keys(home, dataset)
    encoded, keys = backbone.encode(datasets.items(home, dataset, "text")), every
    store = FeatureStore(home, memory=ticket.store)
    cached = store.pooled(backbone, encoded, keys, rows)
    assert store.rows_computed == 0, "the ranking has read these rows already"
    with torch.inference_mode():
        fresh = torch.cat([backbone(encoded.take(part)) for part in np.array_split(rows, 8)]).numpy()
    precision = store.setting(backbone, encoded).precision
    one, two = (heads.ridge_classifier(x[:80], targets[:80], 2).outputs(x[80:]) for x in (cached, fresh))
    assert np.abs(one - two).max() < TOLERANCE[precision]

    reader = store.boundary(backbone, encoded, keys, rows[:24], 6)
    batch = encoded.take(rows[:24])
    with torch.inference_mode():
        resumed = backbone.resume(batch, reader.take(rows[:24]), 6).numpy()
    spread = fresh.std()
    assert np.abs(resumed - fresh[:24]).mean() < 0.05 * spread


def test_scores_of_numbers_and_of_stages_of_unequal_width() -> None:
    random = np.random.default_rng(0)
    layers = random.standard_normal((80, 12)).astype(np.float32)
    target = layers[:, 5] * 2 + 0.1 * random.standard_normal(80)
    found = rank.scores(layers, target, True)
    assert found["loo_ridge"] > 0.9 and set(found) == set(evidence.KEPT)
    columns = (slice(0, 4), slice(4, 12))
    assert rank.layer_mean(layers, columns).shape == (80, 12)
    assert rank.layer_mean(layers, (slice(0, 6), slice(6, 12))).shape == (80, 6)


def test_wide_features_are_projected_and_keep_their_distances() -> None:
    x = np.random.default_rng(1).standard_normal((30, 3000)).astype(np.float32)
    y = rank.narrow(x)
    assert y.shape == (30, rank.WIDE)
    ratio = np.linalg.norm(y[:1] - y[1:], axis=1) / np.linalg.norm(x[:1] - x[1:], axis=1)
    assert np.abs(ratio - 1).max() < 0.2


def test_places_are_those_of_the_combination_and_problems_come_last() -> None:
    def row(name: str, value: float | None) -> dict[str, object]:
        return {"source": name, **{f"{k}{s}": value for k in evidence.KEPT for s in ("", "_layers")}}

    found = [row("a", 0.2), {"source": "x", "problem": "no"}, row("b", 0.9), row("c", None)]
    ordered = rank.placed(found, ["c", "a", "b", "x"])
    assert [r["source"] for r in ordered] == ["b", "a", "c", "x"]
    assert [r["rank"] for r in ordered] == [1, 2, 3, None]
    assert [r["static"] for r in ordered] == [3, 2, 1, 4]
    assert math.isnan(evidence.agreement([row("a", 0.1)]))


def test_nothing_to_rank_is_refused(ticket: QuietTicket, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = samples.add(ticket.home, "film-notes")
    monkeypatch.setattr(sources, "listing", lambda home, query="": [])
    with pytest.raises(Refusal, match="no installed source"):
        rank.run(ticket, {"dataset": dataset.id})


def test_rows_without_a_label_or_number_are_not_ranked_by_and_that_is_said(ticket: QuietTicket, tmp_path: Path) -> None:
    dataset = datasets.add(ticket.home, texts.written(tmp_path, 60, 1))
    with pytest.raises(Refusal, match="rows of translation have not"):
        rank.run(ticket, {"dataset": dataset.id})
