"""What sources and trials cost on this machine, by trying them on a few rows, in a process that does nothing else.

A trial is tried whole: its strategy runs as in a study, for one pass over few rows, with a watch in the place of the
ticket. So whatever it does is measured: adapters, norms, heads of any task, texts that are written at the end.
"""

from __future__ import annotations

import functools
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tltools import datasets, plans
from tltools.engine import autotune, classical, loop, parallel
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Encoded
from tltools.engine.features import FeatureStore
from tltools.engine.kit import EngineKit
from tltools.engine.rank import some
from tltools.home import Home
from tltools.modalities import modalities
from tltools.records import Dataset, Split, Study, Trial
from tltools.store import open_store
from tltools.strategies import strategies
from tltools.tickets import QuietTicket

LABELLED, TESTED = 128, 48  # rows that a trial is tried on
CLASSICAL = (128, 512)  # rows that the classical control is fitted on
SECONDS = 1.5  # of passes without gradients, and of steps
LIMIT = 6.0  # seconds of steps that go through several phases, after which a trial is taken to have shown enough


class Enough(Exception):
    """The watch has seen what it needs."""


class Watch(QuietTicket):
    """A ticket that notes how long steps take."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, open_store(home))
        self.begin(LIMIT)

    def begin(self, limit: float) -> None:
        """From now on steps count, until they have taken `limit` seconds."""
        self.steps: list[float] = []
        self.limit, self.begun, self._last = limit, time.perf_counter(), None

    _last: float | None  # when the last step of this epoch was over

    def working_on(self, note: str, stage: str = "") -> None:
        devices.wait(devices.best().name)
        now = time.perf_counter()
        if self._last is not None:
            self.steps.append(now - self._last)
        self._last = now

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        self._last = None  # what lies between two epochs is no step

    def check(self) -> None:
        if len(self.steps) > 2 and self._last is not None and sum(self.steps) > self.limit:
            raise Enough


class Few(EngineKit):
    """A kit of some rows of a dataset, numbered from 0, that trains for one pass and keeps nothing."""

    watch: Watch

    def __init__(self, home: Home, study: Study, dataset: Dataset, split: Split, folder: Path) -> None:
        self.watch = Watch(home)
        super().__init__(self.watch, study, dataset, split)
        share = min(1.0, LABELLED / max(1, len(self.labelled)))
        parts = datasets.draw(split, self.targets, fraction=share, per_class=None, draw=0, seed=0)
        test = np.random.default_rng(0).permutation(self.test)[:TESTED]
        rows = np.unique(np.concatenate([*parts, test]))
        train, validation, test = (np.searchsorted(rows, part) for part in (*parts, np.sort(test)))
        made = {"train": train, "validation": validation, "test": test}
        self.split = split.model_copy(update={name: tuple(part.tolist()) for name, part in made.items()})
        self.table = datasets.rows(home, dataset.id).iloc[rows].reset_index(drop=True)
        self.media = datasets.media(home, dataset.id)
        self.dataset = dataset.model_copy(update={"rows": len(rows)})
        self.targets, self.test = self.targets[rows], test
        self.labelled = np.sort(np.concatenate([train, validation]))
        self.keys = modalities()[dataset.modality].content(self.table, dataset.inputs, self.media)
        self.store = FeatureStore(replace(home, root=folder), study.budget.cache_gb, memory=self.watch.store)
        self.checkpoints = folder / "checkpoints"  # else the trial itself would go on from what it was tried on
        self.tried: dict[str, float] = {}

    @functools.cached_property
    def _read(self) -> np.ndarray:
        return np.arange(self.dataset.rows)

    def view(self, reads: str) -> Any:
        if reads not in self._views:
            self._views[reads] = datasets.view(self.dataset, self.table, self.media, reads)
        return self._views[reads]

    def train(self, training: loop.Training) -> loop.Fitted:
        """Some steps of every phase, on the watch."""
        recipe, count = training.recipe, len(training.rows.train)
        alone = len(recipe.phases) == 1
        training.recipe = replace(recipe, epochs=100 if alone else len(recipe.phases), min_steps=0, patience=0)
        self.watch.begin(SECONDS if alone else LIMIT)
        try:
            fitted = training.run()
        except Enough:
            fitted = training.at
        self.watch.limit = np.inf
        if fitted.batch:  # it was cut off, perhaps before it had looked: from then on it holds the best weights, too
            training.evaluate()
            training._step(training.batches()[0])
        steps = len(training.batches())  # more than rows make where those of a rare class stand in an epoch often
        took = self.watch.steps or [time.perf_counter() - self.watch.begun]
        each = float(np.mean(took[1:] or took))  # texts are of all lengths, and so are their steps
        self.tried = {
            "step": each * steps / count, "batch_size": recipe.batch_size, "epochs": recipe.epochs,
            "min_steps": recipe.min_steps, "patience": recipe.patience,
            "speedup": training.place.speedup, "places": parallel.room(sys.maxsize, 0.0),
        }  # fmt: skip
        self.trained = time.perf_counter()
        return fitted

    def attempt(self, trial: Trial) -> dict[str, float]:
        """Tries a trial: {"step": seconds a row, "seen": seconds a row that is only looked at, ...}."""
        knobs = {**trial.knobs, **({"rates_tried": 1} if "rates_tried" in trial.knobs else {})}
        small = trial.model_copy(update={"fraction": 1.0, "per_class": None, "knobs": knobs, "split": self.split.id})
        for _ in strategies()[trial.strategy].run(self, [small]):
            pass
        looked = len(self.labelled) + len(self.test)
        return {**self.tried, "seen": (time.perf_counter() - self.trained) / looked}


def measured(
    home: Home, study: Study, dataset: Dataset, split: Split, trials: Sequence[Trial]
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """(the rate record of the one source that trials read through, what each way of training it costs); `rates.py`."""
    with tempfile.TemporaryDirectory() as folder:
        device = torch.device(devices.best().name)
        idle = devices.peak_mb()
        kit = Few(home, study, dataset, split, Path(folder))
        started = time.perf_counter()
        backbone = kit.backbone(trials[0], "source")
        loaded = time.perf_counter()
        items = kit.view(backbone.reads)
        before = time.perf_counter()
        encoded = kit.encoded(backbone)
        encoding = time.perf_counter() - before
        setting = kit.store.setting(backbone, encoded)
        stages = len(backbone.stages)
        ways = {plans.way(trial, stages): trial for trial in trials if plans.tunes(trial, stages, kit.own is not None)}
        depths = {plans.depth(trial, stages) for trial in ways.values()}
        record = {
            "load_seconds": loaded - started,
            "encode_rows_per_second": len(items) / max(encoding, 1e-6),
            "encoded_row_bytes": _row_bytes(encoded),
            "rows_per_second": _forward_rate(backbone, encoded, setting, device),
            "stages": stages,
            "width": backbone.width,
            "memory_mb": devices.best().memory_mb,
            "idle_mb": idle,
            "peak_mb": devices.peak_mb() - idle,
            "row_bytes": {str(b): _state_bytes(backbone, encoded, b, device) for b in depths if 0 < b < stages},
        }
        found = {}
        for way, trial in sorted(ways.items(), key=lambda item: _hunger(item[1], stages)):  # a peak only grows
            found[way] = {**kit.attempt(trial), "mb": devices.peak_mb() - idle}
        return record, found


def _hunger(trial: Trial, stages: int) -> tuple[float, float]:
    """Trials that take less memory come first."""
    return -plans.depth(trial, stages), trial.knobs.get("rows_at_once") or np.inf


def classical_cost(home: Home, study: Study, dataset: Dataset, split: Split, trial: Trial) -> dict[str, Any]:
    """What the classical control costs here, as `rates.py` says."""
    with tempfile.TemporaryDirectory() as folder:
        kit = Few(home, study, dataset, split, Path(folder))
        if kit.own:
            started = time.perf_counter()
            for _ in kit.classical([trial.model_copy(update={"fraction": 1.0, "per_class": None})]):
                pass
            return {"read": 0.0, "fit": [[len(kit.labelled), time.perf_counter() - started]]}
        labelled = np.asarray([*split.train, *split.validation], np.int64)
        rows = np.random.default_rng(0).permutation(labelled)[: max(CLASSICAL)]
        items = some(datasets.items(home, dataset, dataset.modality), rows)
        targets = datasets.target(home, dataset)[rows]
        started = time.perf_counter()
        seen = classical.read(dataset.modality, items)
        read, fit = (time.perf_counter() - started) / len(rows), []
        for count in sorted({min(size, len(rows)) for size in CLASSICAL}):
            few = np.arange(count)
            started = time.perf_counter()
            one = classical.Control(dataset, kit.task, classical.pick(seen, few), targets[few], seed=0, was_read=True)
            one.outputs(classical.pick(seen, few))
            fit.append([count, time.perf_counter() - started])
        return {"read": read, "fit": fit, "once": not classical.seeded(dataset.modality, len(labelled))}


def _forward_rate(backbone: Backbone, encoded: Encoded, setting: autotune.Setting, device: torch.device) -> float:
    """Rows per second of a sweep: the median batch, so that a moment in which others compute does not count."""
    times: list[float] = []
    started = time.perf_counter()
    with setting.running(device):
        for rows in itertools.cycle(autotune.batches(backbone.reads, encoded.lengths, scale=autotune.scale_on(device))):
            if len(times) >= 3 and time.perf_counter() - started > SECONDS:
                break
            begin = time.perf_counter()
            batch = autotune.to_device(encoded.take(rows), device, channels_last=setting.channels_last)
            backbone(batch).cpu()
            times.append((time.perf_counter() - begin) / len(rows))
    return 1 / float(np.median(times))


def _state_bytes(backbone: Backbone, encoded: Encoded, boundary: int, device: torch.device) -> float:
    """Bytes of one row's activation at a boundary, in bf16; 0 where none can be kept."""
    if not backbone.resumable[boundary]:
        return 0.0
    middle = np.argsort(encoded.lengths, kind="stable")[len(encoded) // 2 :][:1]
    with torch.no_grad():
        return backbone.states(autotune.to_device(encoded.take(middle), device), boundary).numel() * 2.0


def _row_bytes(encoded: Encoded) -> float:
    sizes = [value.nbytes for value in vars(encoded).values() if isinstance(value, np.ndarray)]
    return sum(sizes) / max(len(encoded), 1)
