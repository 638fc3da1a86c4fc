"""Heads: probes and controls over all draws and shares of the labels, against an expert's scikit-learn loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import baselines, ground
from benchmarks.figures import Figure
from benchmarks.study import CONTROLS, FRACTIONS, PROBES, Made, Rows, Scores, ours, rows_of, scored, tfidf, warm_up
from tltools import sources
from tltools.engine.backbone import Backbone, load_backbone
from tltools.home import Home

TITLE = "Heads: probes and controls against an expert's loop"
FULL: dict[str, Any] = {"rows": 2000, "draws": 5, "a_class": 400, "rounds": 3}
QUICK: dict[str, Any] = {"rows": 1000, "draws": 3, "a_class": 60, "rounds": 2}


def run(data: Path | None, *, rows: int, draws: int, a_class: int, rounds: int) -> list[Figure]:
    """Texts and images, and what the machine allows: how many times faster it multiplies in bf16 than in fp32."""
    table = ground.texts(data, rows)
    warm_up(data)
    gain = baselines.matmul_peak() / baselines.matmul_peak(kind=torch.float32)
    found = [Figure("bf16 matrix product against fp32", gain, "times", note="2048 x 2048 x 2048")]
    texts: Made = lambda home: (ground.add(home, table), ground.MINILM)  # noqa: E731
    found += _against_expert("texts", texts, draws, rounds, CONTROLS, gain)
    if data is not None:
        pictures: Made = lambda home: ground.pictures(home, data, a_class)  # noqa: E731
        found += _against_expert("images", pictures, draws, rounds, ("random_frozen",), gain)
    return found


def _against_expert(
    name: str, made: Made, draws: int, rounds: int, controls: tuple[str, ...], gain: float
) -> list[Figure]:
    contenders = {
        "tltools": lambda: _study(made, draws, controls),
        "as it comes": lambda: _expert(made, draws, controls, tuned=False),
        "by 5-fold CV": lambda: _expert(made, draws, controls, tuned=True),
    }
    seconds, answers = ground.turns(contenders, rounds)
    trials = f"{(len(PROBES) + len(controls)) * draws * len(FRACTIONS)} trials"
    mine = seconds.pop("tltools")
    found = [Figure(f"{name}, heads only: tltools", mine, "s", note=f"{trials} in a home that is new")]
    for who, took in seconds.items():
        found.append(Figure(f"{name}, heads only: expert, strength {who}", took, "s", note=trials))
        found.append(Figure(f"{name}, heads only: against the expert, strength {who}", took / mine, "times", 3.0))
    _, embedded = answers["as it comes"]
    limit = seconds["as it comes"] / (embedded / gain)
    note = f"the expert's embedding took {embedded:.1f} s; were it faster by what bf16 gains, and all else free"
    found.append(Figure(f"{name}, heads only: the most that bf16 allows", limit, "times", note=note))
    scores, tuned = answers["tltools"][0], answers["by 5-fold CV"][0]
    return found + [scored(name, scores, tuned, strategy, "expert") for strategy in PROBES]


def _study(made: Made, draws: int, controls: tuple[str, ...]) -> tuple[float, tuple[Scores, float]]:
    seconds, scores = ours(made, draws, strategies=PROBES, controls=controls)
    return seconds, (scores, 0.0)


def _expert(made: Made, draws: int, controls: tuple[str, ...], tuned: bool) -> tuple[float, tuple[Scores, float]]:
    """Embeds once, fp32, all layers in one pass; then scikit-learn for every draw and share. (seconds, (its scores,
    seconds of the embedding)); the networks are there already."""
    with ground.fresh_home() as home:
        rows, source = rows_of(home, made)
        card = sources.get(home, source)
        made_of = {init: load_backbone(home, card, init=init) for init in ("source", "random")}
        started = time.perf_counter()
        layers = {init: _layers(home, rows, made_of[init]) for init in made_of}
        embedded = time.perf_counter() - started
        every = [(fraction, draw) for fraction in FRACTIONS for draw in range(draws)]
        right = {}
        width = made_of["source"].width
        tables = {"linear_probe": layers["source"][:, -width:], "multilayer_probe": layers["source"],
                  "random_frozen": layers["random"][:, -width:]}  # fmt: skip
        for strategy, table in tables.items():
            said = baselines.sklearn_loop(table, rows.codes, [rows.drawn(*one) for one in every], rows.test, tuned)
            for one, found in zip(every, said, strict=True):
                right[strategy, *one] = found == rows.codes[rows.test]
        if "classical" in controls:
            tfidf(rows, draws)
        return time.perf_counter() - started, (Scores(rows.test, right), embedded)


def _layers(home: Home, rows: Rows, backbone: Backbone) -> np.ndarray:
    """(N, sum of widths) float32 by the library itself; tltools only lends the network with its weights."""
    if rows.dataset.modality == "text":
        folder = sources.fetch(home, backbone.source)
        return baselines.text_layers(folder, backbone.core, rows.items)
    transform = baselines.timm_transform(backbone.size, backbone.mean, backbone.std)
    return baselines.image_layers(backbone.core, transform, [str(path) for path in rows.items])
