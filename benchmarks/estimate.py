"""Estimate: predicted time and peak memory, after a dry run, beside what different small studies came to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import ground
from benchmarks.figures import Figure
from tltools import samples, studies
from tltools.home import Home
from tltools.records import Study
from tltools.store import open_store

TITLE = "Estimate: predicted against actual"
FULL: dict[str, Any] = {"rows": 500, "count": 12}
QUICK: dict[str, Any] = {"rows": 250, "count": 12}
NET = "bundled/table-net"
TINY = "bundled/tiny-resnet"
TEXTS: tuple[dict[str, Any], ...] = (
    {"strategies": ["linear_probe"], "fractions": (0.25, 1.0), "draws": 3},
    {"strategies": ["last_block"], "fractions": (1.0,)},
    {"strategies": ["linear_probe", "multilayer_probe"], "fractions": (0.1, 0.5, 1.0), "draws": 5},
    {"strategies": [{"full_finetune": {"epochs": 3, "min_steps": 0}}], "fractions": (0.5,)},
    {"strategies": [{"lora": {"epochs": 3, "min_steps": 0}}], "fractions": (0.5,)},
    {"strategies": ["linear_probe"], "controls": ("random_frozen", "classical"), "draws": 5},
    {"strategies": [{"norm_tuning": {"epochs": 4, "min_steps": 0}}], "fractions": (0.5,)},
    {"strategies": ["linear_probe", {"last_block": {"blocks": 2, "epochs": 4}}], "fractions": (0.5, 1.0)},
)
SAMPLES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("wine", NET, {"strategies": [{"full_finetune": {"epochs": 20}}]}),
    ("breast-cancer", NET, {"strategies": [{"full_finetune": {"epochs": 20}}], "controls": ("classical",)}),
    ("digits-low", TINY, {"strategies": [{"full_finetune": {"epochs": 3, "min_steps": 0}}], "fractions": (0.5,)}),
    ("diabetes", NET, {"strategies": [{"full_finetune": {"epochs": 20}}], "metric": "r2"}),
)


def run(data: Path | None, *, rows: int, count: int) -> list[Figure]:
    """`count` studies in one home through a real worker, each predicted just before; texts never share a row, so no
    study finds the features of another."""
    with ground.fresh_home() as home, ground.worker(home) as submit:
        store, found = open_store(home), []
        for name, study in _studies(home, data, rows, count):
            asked = store.submit("measure", {"study_file": studies.dump(study)}, title=name, key=name)
            ground.ended(home, asked)
            guess = studies.estimate(home, store, study)
            actual = ground.ended(home, submit(study))
            found.append((name, guess.seconds, actual["actual_seconds"], guess.peak_mb, actual["actual_peak_mb"]))
    return _figures(found)


def _studies(home: Home, data: Path | None, rows: int, count: int) -> list[tuple[str, Study]]:
    table = ground.texts(data, rows * len(TEXTS))
    each = len(table) // len(TEXTS)
    found = []
    for i, fields in enumerate(TEXTS[: max(1, count - len(SAMPLES))]):
        dataset = ground.add(home, table.iloc[i * each : (i + 1) * each].reset_index(drop=True), f"texts-{i}")
        found.append((f"texts, {_arms(fields)}", ground.study_of(dataset, **fields)))
    for key, source, fields in SAMPLES:
        found.append((f"{key}, {_arms(fields)}", ground.study_of(samples.add(home, key), source=source, **fields)))
    return found[:count]


def _arms(fields: dict[str, Any]) -> str:
    arms = [next(iter(arm)) if isinstance(arm, dict) else arm for arm in fields["strategies"]]
    return " + ".join([*arms, *fields.get("controls", ())])


def _figures(found: list[tuple[str, float, float, float, float]]) -> list[Figure]:
    """Of each study its errors, and how many lie within the bars."""
    figures = []
    for name, said_s, was_s, said_mb, was_mb in found:
        note = f"{said_s:.1f} s predicted, {was_s:.1f} s actual; {said_mb:.0f} MB predicted, {was_mb:.0f} MB actual"
        figures.append(Figure(f"{name}: time, predicted by actual", 100 * said_s / was_s, "%", note=note))
        figures.append(Figure(f"{name}: peak memory, predicted by actual", 100 * said_mb / was_mb, "%"))
    least = round(0.75 * len(found))
    time = sum(abs(said / was - 1) <= 0.25 for _, said, was, _, _ in found)
    memory = sum(abs(said / was - 1) <= 0.15 for _, _, _, said, was in found)
    of = f"of {len(found)}"
    return [
        Figure("studies whose time was predicted within 25 %", time, "studies", least, note=of),
        Figure("studies whose peak memory was predicted within 15 %", memory, "studies", least, note=of),
        *figures,
    ]
