"""Trials are sealed by a thread of their own while the next ones run: predictions, weights, card, then the manifest."""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from tltools import __version__, matching
from tltools.artifacts import building_all
from tltools.engine.kit import EngineKit
from tltools.home import json_bytes
from tltools.records import Trial
from tltools.strategies import Outcome
from tltools.trials import NOT_KEPT, finished, largest

SMALL_WEIGHTS = 4 * 2**20  # bytes; backbones up to here are kept for every trial, larger ones for draw 0 only


class Sealer:
    """Seals outcomes in the order in which they come. Those that wait while the disk is busy go to it together.

    As a context: at its end, an exception's too, whatever was put is sealed.
    """

    def __init__(self, kit: EngineKit) -> None:
        self._kit = kit
        self._waiting = deque[Outcome]()
        self._thread = ThreadPoolExecutor(1, "sealer")
        self._asked = deque[Future[None]]()

    def put(self, outcome: Outcome) -> None:
        """Seals an outcome soon; a large one now, so that no two are held in memory.

        Raises: what went wrong with an earlier one.
        """
        self._waiting.append(outcome)
        self._asked.append(self._thread.submit(self._seal))
        if bytes_of(outcome.weights) > SMALL_WEIGHTS:
            self.settle()
        while self._asked and self._asked[0].done():
            self._asked.popleft().result()

    def settle(self) -> None:
        """Waits until all that was put is sealed. Raises: what went wrong."""
        while self._asked:
            self._asked.popleft().result()

    def __enter__(self) -> Sealer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()
        if error is None:
            self.settle()

    def _seal(self) -> None:
        outcomes = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if outcomes:
            seal(self._kit, outcomes)


def seal(kit: EngineKit, outcomes: Sequence[Outcome]) -> None:
    """Writes the folders of trials together, notes in the store that they count, and tells it as events."""
    trials = [outcome.trial for outcome in outcomes]
    finals = [kit.home.trials / trial.id for trial in trials]
    again = [final for trial, final in zip(trials, finals, strict=True) if not finished(kit.home, kit.study, trial)]
    with building_all(finals, again) as folders:
        metrics = [_write(kit, outcome, folder) for outcome, folder in zip(outcomes, folders, strict=True)]
    at_once = [int(outcome.card.get("at_once", 1)) for outcome in outcomes]
    spent = [outcome.seconds / places for outcome, places in zip(outcomes, at_once, strict=True)]
    kit.ticket.seal_trials(list(zip(trials, spent, strict=True)))  # forgives earlier crashes
    shown = kit.study.metric or kit.task.metrics[0].key
    for outcome, scores, places in zip(outcomes, metrics, at_once, strict=True):
        trial = outcome.trial
        for k in range(3):
            kit.checkpoint(trial, k).clear()
        numbers = {"seconds": outcome.seconds, "at_once": places, "labels": outcome.card["n_train"]}
        if shown in scores:
            numbers["score"] = scores[shown]
        kit.ticket.event("trial_sealed", trial=trial.id, note=trial.strategy, **numbers)


def _write(kit: EngineKit, outcome: Outcome, folder: Path) -> dict[str, float]:
    """Fills a trial's folder; its scores on the test rows by metric."""
    trial = outcome.trial
    card: dict[str, Any] = dict(outcome.card)
    held = card.pop("validation_outputs", None)
    source = None if trial.source == "none" else kit.source(trial)
    truth = kit.targets[outcome.rows]
    every = {metric.key: metric.score(truth, outcome.outputs) for metric in kit.task.metrics}
    metrics = {key: score for key, score in every.items() if np.isfinite(score)}  # rows of one class have no AUROC
    weights, kept = kept_weights(trial, outcome.weights, largest(kit.study, trial))
    facts = {
        "trial": trial.model_dump(mode="json"),
        "dataset": {
            "id": kit.dataset.id,
            "name": kit.dataset.name,
            "modality": kit.dataset.modality,
            "reading": dict(kit.dataset.reading),
        },  # fmt: skip
        "task": kit.dataset.task,
        "inputs": list(kit.dataset.inputs),
        "target": kit.dataset.target,
        "source": None if source is None else source.model_dump(mode="json"),
        "classes": list(kit.dataset.classes),
        "weights": kept,
        **card,
        "curve": [dict(facts) for facts in outcome.curve],
        "seconds": outcome.seconds,
        "seconds_alone": outcome.alone,
        "peak_mb": outcome.peak_mb,
        "trainable_parameters": outcome.trainable_parameters,
        "metrics": metrics,
        "environment": environment(),
        "created": datetime.now(UTC).isoformat(),
    }
    frame = kit.task.frame(outcome.rows, truth, outcome.outputs, kit.dataset.classes)
    frame.to_parquet(folder / "predictions.parquet", index=False)
    if held is not None:
        rows = np.asarray(held["rows"])
        frame = kit.task.frame(rows, kit.targets[rows], held["outputs"], kit.dataset.classes)
        frame.to_parquet(folder / "validation.parquet", index=False)
    if weights:
        save_file({name: np.asarray(value, order="C") for name, value in weights.items()}, folder / "model.safetensors")
    if source is not None and source.family == "tabular":
        matching.remember(folder, kit.on(trial.split).learnt_columns)
    (folder / "card.json").write_bytes(json_bytes(plain(facts)))
    return metrics


def kept_weights(trial: Trial, weights: Mapping[str, Any], is_largest: bool) -> tuple[dict[str, Any], str]:
    """Small heads are always kept, what is large only for draw 0 at the largest share, or the disk would fill."""
    size = bytes_of(weights)
    if not weights:
        return {}, "not kept: the control is fitted again from its rows when it is needed"
    if size <= SMALL_WEIGHTS or (is_largest and trial.draw == 0):
        return dict(weights), "kept"
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    return (head if bytes_of(head) <= SMALL_WEIGHTS else {}), NOT_KEPT


def bytes_of(weights: Mapping[str, Any]) -> int:
    """Size of some tensors."""
    return sum(int(np.asarray(value).nbytes) for value in weights.values())


def environment() -> dict[str, str]:
    """What a result depends on beside the study: versions and the machine's kind."""
    return {
        "tltools": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }


def plain(value: Any) -> Any:
    """JSON-clean: numpy numbers become Python's, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
