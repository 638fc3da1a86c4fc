"""Runs a study: cheap evidence first, every trial sealed as it ends, judged again after each group."""

from __future__ import annotations

import math
import platform
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from tltools import __version__, costs, reports, studies
from tltools.artifacts import building, sealed
from tltools.engine import planner, torchvision_operators
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.kit import EngineKit
from tltools.home import write_json
from tltools.plans import Counts, Plan
from tltools.records import Trial, refuse
from tltools.strategies import Outcome, strategies
from tltools.tickets import BudgetSpent, Ticket, TimedTicket

JUDGING = 1.0  # seconds kept back for the last judging, until one was timed
SMALL_WEIGHTS = 4 * 2**20  # bytes; backbones up to here are kept for every trial, larger ones for draw 0 only


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """The job "study": payload {"study": id, "first": [ids that must be done before]}; see `run_one`."""
    torchvision_operators.ensure()
    for study_id in payload.get("first", ()):
        run_one(ticket, study_id)
    return run_one(ticket, payload["study"])


def run_one(ticket: Ticket, study_id: str) -> dict[str, Any]:
    """Runs what is not sealed yet of a study, within its time budget, and judges it all; returns what it cost."""
    started = time.monotonic()
    study = studies.load(ticket.home, study_id)
    dataset, split = studies.split_of(ticket.home, study)
    wanted = studies.expand(ticket.home, study)
    guess = studies.estimate(ticket.home, ticket.store, study)
    todo = [trial for trial in wanted if not sealed(ticket.home.trials / trial.id)]
    timed = TimedTicket(ticket, started + 60 * study.budget.minutes if study.budget.minutes else math.inf)
    kit = EngineKit(timed, study, dataset, split)
    counts = Counts(len(split.train), len(split.validation), len(split.test), len(dataset.classes))
    _look_into(kit, todo)
    work = planner.plan(ticket.store, ticket.home, todo, counts, study.budget.cache_gb)
    kit.follow(work)
    run = _work_off(kit, timed, work, len(wanted))
    if todo and not run and len(todo) == len(wanted):
        what = f"of {study.budget.minutes:g} min was over before the first trial was finished."
        raise refuse("time budget", what, "Run the study on (what was computed is kept), or give it more minutes.")
    seconds = time.monotonic() - started
    actual = {
        "actual_seconds": seconds,
        "actual_peak_mb": max((peak_of(ticket.home, trial) for trial in todo), default=0.0),
        "raw_seconds": guess.seconds,
        "raw_peak_mb": guess.peak_mb,
        "estimated_seconds": guess.seconds,
        "estimated_peak_mb": guess.peak_mb,
        "prefix_rows_computed": kit.store.rows_computed,
        "prefix_rows_naive": guess.prefix_rows_naive,
        "cache_bytes": kit.store.bytes_on_disk(),
        "trials_run": run,
    }
    if run and run == len(todo):  # a study cut short says nothing about its estimate
        ticket.store.remember("estimate", study_id, actual)
    ticket.progress("judging", len(wanted), len(wanted))
    reports.judge(ticket.home, ticket.store, study_id)
    return {"study": study_id, "trials": len(wanted), "left_out": len(todo) - run, **actual}


def _look_into(kit: EngineKit, todo: Sequence[Trial]) -> None:
    """A plan speaks of the stages of a source, so one that was never measured on this machine is opened first."""
    memory = kit.ticket.store
    for name in dict.fromkeys(trial.source for trial in todo if trial.source != "none"):
        key = costs.rate_key(kit.source(name))
        known = memory.recall("rate", key) or {}
        if "stages" not in known:
            backbone = kit.backbone(name, "source")
            memory.remember("rate", key, {**known, "stages": len(backbone.stages), "width": backbone.width})


def _work_off(kit: EngineKit, timed: TimedTicket, work: Plan, total: int) -> int:
    """Runs and seals trials group by group, judging now and then; returns how many.

    With a time budget, a trial is left out when one like it took longer than what is left, and the last one stops
    where it stands; time to judge is kept back.
    """
    groups = [list(group) for group in work.order]
    before = total - sum(map(len, groups))
    early, looked = set[Any](), 0
    done, judged, took = before, -math.inf, defaultdict[tuple[Any, ...], float](float)
    end = timed.until
    timed.until = end - JUDGING
    for group in groups:
        card = strategies()[group[0].strategy]
        if (draw := group[0].draw) > looked and len(group) == 1:  # gradient trials come draw by draw: one look each
            early, looked = reports.decided_early(kit.home, kit.study), draw
        if len(group) == 1 and reports.key_of(group[0]) in early:
            timed.event("note", trial=group[0].id, note="not needed: its arm is decided, or cannot be the best control")
            continue
        if took[_like(group[0])] > timed.left:
            timed.event("note", trial=group[0].id, note=f"left out: the time budget has {timed.left:.0f} s left")
            continue
        timed.progress(card.title, done, total, note=group[0].source)
        try:
            for outcome in card.run(kit, group):
                seal(kit, outcome)
                done += 1
                took[_like(outcome.trial)] = outcome.seconds
                timed.progress(card.title, done, total, note=group[0].source)
                timed.check()
        except BudgetSpent:
            timed.event("note", note="the time budget is over; what is finished is judged")
            break
        if time.monotonic() - judged > 10 and done > before:  # a first verdict within seconds, then it sharpens
            begun = time.monotonic()
            reports.judge(timed.home, timed.store, group[0].study)
            judged = time.monotonic()
            timed.until = end - max(JUDGING, 2 * (judged - begun))
    return done - before


def _like(trial: Trial) -> tuple[Any, ...]:
    """What makes two trials take about the same time."""
    return trial.source, trial.strategy, str(trial.knobs), trial.fraction, trial.per_class


def seal(kit: EngineKit, outcome: Outcome) -> None:
    """Writes a trial's folder: predictions, weights, card, then the manifest that makes it count."""
    trial, home = outcome.trial, kit.home
    card: dict[str, Any] = dict(outcome.card)
    held = card.pop("validation_outputs", None)
    source = None if trial.source == "none" else kit.source(trial.source)
    truth = kit.targets[outcome.rows]
    weights, kept = kept_weights(trial, outcome.weights, largest(kit, trial))
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
        "peak_mb": outcome.peak_mb,
        "trainable_parameters": outcome.trainable_parameters,
        "metrics": {metric.key: metric.score(truth, outcome.outputs) for metric in kit.task.metrics},
        "environment": environment(),
        "created": datetime.now(UTC).isoformat(),
    }
    with building(home.trials / trial.id) as folder:
        frame = kit.task.frame(outcome.rows, truth, outcome.outputs, kit.dataset.classes)
        frame.to_parquet(folder / "predictions.parquet", index=False)
        if held is not None:
            rows = np.asarray(held["rows"])
            frame = kit.task.frame(rows, kit.targets[rows], held["outputs"], kit.dataset.classes)
            frame.to_parquet(folder / "validation.parquet", index=False)
        if weights:
            save_file(
                {name: np.asarray(value, order="C") for name, value in weights.items()}, folder / "model.safetensors"
            )
        write_json(folder / "card.json", plain(facts))
    kit.ticket.seal_trial(trial, outcome.seconds)  # also forgives the job its earlier crashes
    kit.ticket.store.count_test_read(kit.dataset.id, trial.id)
    for k in range(3):
        Checkpoint(home.jobs / "checkpoints" / f"{trial.id}-{k}").clear()
    score = facts["metrics"][kit.study.metric or kit.task.metrics[0].key]
    kit.ticket.event("trial_sealed", trial=trial.id, note=trial.strategy, score=score, seconds=outcome.seconds)


def kept_weights(trial: Trial, weights: Mapping[str, Any], is_largest: bool) -> tuple[dict[str, Any], str]:
    """Small heads are always kept, what is large only for draw 0 at the largest share, or the disk would fill."""
    size = sum(int(np.asarray(value).nbytes) for value in weights.values())
    if not weights:
        return {}, "not kept: the control is fitted again from its rows when it is needed"
    if size <= SMALL_WEIGHTS or (is_largest and trial.draw == 0):
        return dict(weights), "kept"
    why = "not kept: only draw 0 at the largest share of the labels keeps a model of this size"
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    return (head if sum(int(np.asarray(value).nbytes) for value in head.values()) <= SMALL_WEIGHTS else {}), why


def largest(kit: EngineKit, trial: Trial) -> bool:
    """Whether a trial uses the largest share of the labels in its study."""
    if trial.per_class is not None:
        return trial.per_class == max(kit.study.per_class or (0,))
    return trial.fraction == max(kit.study.fractions)


def environment() -> dict[str, str]:
    """What a result depends on beside the study: versions and the machine's kind."""
    return {
        "tltools": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }


def peak_of(home: Any, trial: Trial) -> float:
    """Peak memory of a sealed trial in MB; 0 when it is not sealed."""
    card = reports.trial_card(home, trial.id)
    return float(card["peak_mb"]) if card else 0.0


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
