"""Sweep: rows per second through a frozen backbone, against the libraries' own defaults and against the bf16 peak."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import baselines, ground
from benchmarks.figures import Figure
from tltools import datasets, sources
from tltools.engine.backbone import Backbone, Encoded, load_backbone
from tltools.engine.features import FeatureStore
from tltools.home import Home
from tltools.store import Store, open_store

TITLE = "Sweep: rows per second through a frozen backbone"
FULL: dict[str, Any] = {"rows": 2000, "long_rows": 512, "a_class": 200, "rounds": 5}
QUICK: dict[str, Any] = {"rows": 800, "long_rows": 192, "a_class": 60, "rounds": 3}
TOKENS = 128
AGREE = 0.05  # largest difference of a feature, relative to the largest feature, that bf16 may make


def run(data: Path | None, *, rows: int, long_rows: int, a_class: int, rounds: int) -> list[Figure]:
    """Texts as they are, texts of 128 tokens, images; tokenising or decoding is part of it for everybody."""
    with ground.fresh_home() as home:
        backbone = load_backbone(home, sources.get(home, ground.MINILM))
        folder = sources.fetch(home, backbone.source)
        short = ground.texts(data, rows)["text"].tolist()
        found = _texts(home, backbone, folder, short, "short texts", rounds)
        long = lengthened(backbone, short, long_rows)
        found += _texts(home, backbone, folder, long, f"texts of {TOKENS} tokens", rounds)
        found += _share_of_peak(home, backbone, long, rounds)
        return found + _images(home, data, a_class, rounds)


def lengthened(backbone: Backbone, texts: list[str], count: int) -> list[str]:
    """`count` texts of exactly as many tokens as the backbone reads: real texts put together."""
    tokens, found = backbone.encode(texts).lengths - 2, []
    turn = itertools.cycle(range(len(texts)))
    while len(found) < count:
        chosen: list[int] = []
        while sum(tokens[chosen]) < TOKENS - 2:
            chosen.append(next(turn))
        found.append(" ".join(texts[i] for i in chosen))
    assert (backbone.encode(found).lengths == TOKENS).all(), "every text must fill the whole length"
    return found


def swept(home: Home, store: Store, backbone: Backbone, encode: Callable[[], Encoded], rows: int) -> np.ndarray:
    """(rows, D): one sweep by tltools into a feature store that holds nothing yet, its write to disk included."""
    keys = [f"{time.perf_counter_ns()}-{i}".encode().ljust(32, b"\0")[:32] for i in range(rows)]
    return np.asarray(FeatureStore(home, memory=store).pooled(backbone, encode, keys, np.arange(rows)))


def _texts(home: Home, backbone: Backbone, folder: Path, texts: list[str], name: str, rounds: int) -> list[Figure]:
    store, lengths = open_store(home), backbone.encode(texts).lengths.tolist()
    with ground.elsewhere(text_rivals, folder, texts, lengths) as rivals:
        ours = partial(swept, home, store, backbone, lambda: backbone.encode(texts), len(texts))
        times, answers = _turns(ours, rivals, rounds)
    return _against(name, times, answers, len(texts))


def text_rivals(folder: Path, texts: list[str], lengths: list[int]) -> dict[str, Callable[[], np.ndarray]]:
    """What the libraries offer for texts."""
    pipeline, sentences = baselines.pipeline(folder), baselines.sentences(folder)
    return {
        "transformers pipeline, its default batch of 1": lambda: baselines.piped(pipeline, texts, lengths, 1),
        "transformers pipeline, batches of 32": lambda: baselines.piped(pipeline, texts, lengths, 32),
        "sentence-transformers encode, its defaults": lambda: np.asarray(sentences.encode(texts)),
    }


def image_rivals(
    architecture: str, size: int, mean: Sequence[float], std: Sequence[float], paths: list[str]
) -> dict[str, Callable[[], np.ndarray]]:
    """What timm offers; the weights do not matter to its speed."""
    import timm

    plain = timm.create_model(architecture, num_classes=0).eval()
    transform = baselines.timm_transform(size, mean, std)
    return {"timm evaluation loop, batches of 32": lambda: baselines.embed_images(plain, transform, paths)}


def _turns(
    ours: Callable[[], np.ndarray], rivals: Mapping[str, Callable[[], tuple[float, np.ndarray]]], rounds: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    ours()  # measures precision and format, once a machine; later sweeps recall them
    return ground.turns({"tltools": lambda: ground.timed(ours), **rivals}, rounds)


def _images(home: Home, data: Path | None, a_class: int, rounds: int) -> list[Figure]:
    dataset, source = ground.pictures(home, data, a_class)
    backbone = load_backbone(home, sources.get(home, source))
    paths = [str(path) for path in datasets.items(home, dataset, "image")]
    store, architecture = open_store(home), backbone.source.architecture.removeprefix("timm/")
    ours = partial(swept, home, store, backbone, lambda: backbone.encode(paths), len(paths))
    with ground.elsewhere(image_rivals, architecture, backbone.size, backbone.mean, backbone.std, paths) as rivals:
        times, answers = _turns(ours, rivals, rounds)
    # the two resize differently (tltools squeezes, timm crops), so outputs are not compared here
    return _against(
        f"images ({backbone.source.architecture}, {backbone.size} pixels)", times, answers, len(paths), None
    )


def _against(
    name: str, times: dict[str, float], answers: dict[str, np.ndarray], rows: int, agree: float | None = AGREE
) -> list[Figure]:
    """Rates of all, and how many times tltools is faster than each other; they must have computed the same."""
    ours = answers["tltools"]
    found = [Figure(f"{name}: {who}", rows / seconds, "rows/s") for who, seconds in times.items()]
    for who, seconds in times.items():
        if who == "tltools":
            continue
        assert answers[who].shape[0] == ours.shape[0] == rows, f"{who} did not read the same rows"
        note = ""
        if agree is not None:
            note = f"features differ by at most {_difference(ours, answers[who]):.3f} of the largest"
        found.append(Figure(f"{name}: against {who}", seconds / times["tltools"], "times", 2.0, note=note))
    return found


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of unit-length features, relative to the largest: some of the others normalise."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (ours, theirs))
    return float(np.abs(a - b).max() / np.abs(b).max())


def _share_of_peak(home: Home, backbone: Backbone, texts: list[str], rounds: int) -> list[Figure]:
    encoded, store = backbone.encode(texts), open_store(home)
    rates, peaks = [], []
    for _ in range(rounds):
        peaks.append(baselines.matmul_peak())
        started = time.perf_counter()
        swept(home, store, backbone, lambda: encoded, len(texts))
        rates.append(len(texts) / (time.perf_counter() - started))
    flops = baselines.flops(lambda: backbone(encoded.take(np.arange(4)))) / 4
    setting = FeatureStore(home, memory=store).setting(backbone, None)
    reached, peak = median(rates) * flops, median(peaks)
    return [
        Figure("bf16 matrix product, 2048 x 2048 x 2048", peak / 1e9, "GFLOP/s"),
        Figure(
            f"sweep at {TOKENS} tokens", reached / 1e9, "GFLOP/s",
            note=f"{flops / 1e9:.2f} GFLOP a row, counted; {setting.precision}; without tokenising",
        ),
        Figure(f"sweep at {TOKENS} tokens: share of the peak", 100 * reached / peak, "%", 50.0),
    ]  # fmt: skip
