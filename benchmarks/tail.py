"""Tail: an epoch of the last block from cached activations, against the same loop with the whole forward pass."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks import baselines, ground
from benchmarks.figures import Figure
from tltools import studies
from tltools.engine import training_rows
from tltools.engine.backbone import Backbone
from tltools.engine.kit import EngineKit
from tltools.home import Home
from tltools.plans import Plan
from tltools.records import Study, Trial
from tltools.strategies import Outcome, strategies
from tltools.tickets import QuietTicket

TITLE = "Tail: an epoch of the last block from cached activations"
FULL: dict[str, Any] = {"rows": 2000, "epochs": 2, "a_class": 150, "rounds": 5}
QUICK: dict[str, Any] = {"rows": 1000, "epochs": 1, "a_class": 60, "rounds": 3}
NOTHING_KEPT = Plan(order=(), decisions=(), rows=0, rows_naive=0)


def run(data: Path | None, *, rows: int, epochs: int, a_class: int, rounds: int) -> list[Figure]:
    """Texts through MiniLM and images through a convolutional network; one trial each, all labels, draw 0."""
    with ground.fresh_home() as home:
        texts = ground.add(home, ground.texts(data, rows))
        knobs = {"epochs": epochs, "min_steps": 0, "patience": 0}
        found = _pair(home, ground.study_of(texts, [{"last_block": knobs}]), "MiniLM-L6 on texts", rounds)
        if data is not None:  # the untrained network that comes along has nothing to keep
            images, source = ground.pictures(home, data, a_class)
            study = ground.study_of(images, [{"last_block": knobs}], source)
            found += _pair(home, study, "MobileNetV2 0.35 on images", rounds)
        return found


def _pair(home: Home, study: Study, name: str, rounds: int) -> list[Figure]:
    dataset, split = studies.split_of(home, study)
    trial = next(t for t in studies.expand(home, study) if t.draw == 0)
    cached, whole = (EngineKit(QuietTicket(home), study, dataset, split) for _ in range(2))
    whole.follow(NOTHING_KEPT)
    seconds: dict[str, list[float]] = {"cached": [], "whole": []}
    losses = {}
    _trained(cached, trial)  # writes the activations, and finds the machine's setting
    for k in range(rounds):
        pair = [("cached", cached), ("whole", whole)]
        for who, kit in pair if k % 2 == 0 else reversed(pair):
            outcome = _trained(kit, trial)
            seconds[who].append(outcome.curve[-1]["seconds"] / outcome.curve[-1]["epoch"])
            losses[who] = outcome.curve[-1]["train_loss"]
    ratio = median(seconds["whole"]) / median(seconds["cached"])
    allowed = _allowed(cached, trial)
    count = len(cached.draw(trial)[0])
    return [
        Figure(f"{name}: epoch with the whole forward pass", median(seconds["whole"]), "s", note=f"{count} rows"),
        Figure(
            f"{name}: epoch from the boundary", median(seconds["cached"]), "s",
            note=f"training loss {losses['cached']:.4f}, with the whole pass {losses['whole']:.4f}",
        ),
        Figure(f"{name}: times faster", ratio, "times", note=f"the FLOPs allow {allowed:.2f} times"),
        Figure(f"{name}: share of what the FLOPs allow", 100 * ratio / allowed, "%", 85.0),
    ]  # fmt: skip


def _trained(kit: EngineKit, trial: Trial) -> Outcome:
    """The trial once more, as the strategy does it; what was learnt is thrown away."""
    (outcome,) = strategies()[trial.strategy].run(kit, [trial])
    return outcome


def _allowed(kit: EngineKit, trial: Trial) -> float:
    """FLOPs of the training steps of an epoch with the whole forward pass, by those from the boundary: counted."""
    base = kit.backbone(trial, "source").twin()
    layout = strategies()[trial.strategy].layout(len(base.stages), trial.knobs)
    for i, stage in enumerate(base.stages):
        for module in stage.modules:
            module.requires_grad_(i >= layout.boundary)
    head, encoded = nn.Linear(base.width, 2), kit.encoded(base)
    order = training_rows.batches(kit.draw(trial)[0], encoded.lengths, int(trial.knobs["batch_size"]), seed=1, epoch=0)
    whole = tail = 0.0
    for rows in order[:20]:
        batch = encoded.take(rows)
        with torch.no_grad():
            states = base.states(batch, layout.boundary)
        whole += baselines.flops(lambda batch=batch: _step(base, head, batch, None, 0))
        tail += baselines.flops(
            lambda batch=batch, states=states: _step(base, head, batch, states, layout.boundary)  # type: ignore[misc]
        )
    return whole / tail


def _step(base: Backbone, head: nn.Linear, batch: Any, states: torch.Tensor | None, boundary: int) -> None:
    pooled = base(batch) if states is None else base.resume(batch, states, boundary)
    head(pooled).sum().backward()
