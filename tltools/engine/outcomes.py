"""What a trial came to: outputs of the test rows, the tensors that make the model, and the facts of its card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tltools import datasets
from tltools.engine import adapters, heads, label_heads, loop, training_rows
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone
from tltools.engine.frame_backbone import FrameBackbone
from tltools.engine.neighbours import Neighbours
from tltools.judging import fairness, thresholds
from tltools.records import Trial
from tltools.strategies import Outcome

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit

GAP = 0.1  # of the score between training and validation rows: above it over-fitting is named


def of_probe(
    kit: EngineKit,
    trial: Trial,
    backbone: Backbone,
    head: heads.Head | Neighbours,
    outputs: np.ndarray,
    rows: np.ndarray,
    features: str,
    init: str,
) -> Outcome:
    """The outcome of a head on frozen features; `outputs` (M, K) of the test rows, `rows` (n,) that it was fitted on.

    What the head says of rows left out in turn stands for validation outputs, which it has no rows of its own for.
    """
    card: dict[str, Any] = {
        "features": features,
        "init": init,
        "init_seed": kit.study.seed,
        "n_train": len(rows),
        **head.facts(),
        "validation_score": head.loo_score,
        "temperature": head.temperature,
        "backbone_trained": False,
    }
    if (left_out := head.left_out()) is not None:
        held, said = left_out
        card |= {"validated_by": "leave_one_out", "validation_outputs": {"rows": rows[held], "outputs": said}}
    weights: dict[str, Any] = dict(head.tensors())
    if backbone.reads == "tabular":
        weights |= differing(backbone, None)
        card |= adapters.columns(backbone)
    return Outcome(trial, kit.test, outputs, weights, card, 0.0, devices.peak_mb(), head.size if len(rows) else 0)


def of_training(
    kit: EngineKit,
    trial: Trial,
    training: loop.Training,
    base: Backbone,
    scaling: tuple[float, float],
    init_seed: int,
) -> Outcome:
    """The outcome of gradient steps: the test rows are read here, once. `scaling` (centre, spread) of the targets,
    `init_seed` of the backbone's weights where they were random."""
    model, rows, fitted = training.model, training.rows, training.at
    centre, spread = scaling
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def raw(of: np.ndarray) -> np.ndarray:
        return training.predict(of).numpy()

    held = raw(rows.validation)
    temperature = _temperature(kit, held, rows.validation)

    def outputs(values: np.ndarray) -> np.ndarray:
        return kit.task.decode(values * spread + centre if kit.kind == "number" else values / temperature)

    test = outputs(raw(kit.test))
    card = {
        "features": "pooled",
        "init": training.recipe.init,
        "init_seed": init_seed if training.recipe.init == "random" else 0,
        "n_train": len(rows.train) + len(rows.validation),
        "n_validation": len(rows.validation),
        "rate_multiplier": training.multiplier,
        "steps": fitted.steps,
        "stopped_early": fitted.stopped_early,
        "temperature": temperature,
        "backbone_trained": True,
        "frozen_bottom": training.place.frozen_bottom,
        "resumed_from_stage": training.place.boundary,
        "bf16": training.place.half,
        **_scores(kit, rows, outputs(raw(rows.train)), outputs(held)),
    }
    if training.recipe.adapter:
        adapters.merge(model)
    weights = {
        # a number's scale goes into the head, so that outputs are in the target's unit
        "head.weight": model.head.weight.detach().cpu().numpy() * np.float32(spread),
        "head.bias": model.head.bias.detach().cpu().numpy() * np.float32(spread) + np.float32(centre),
        "head.mean": model.mean.cpu().numpy(),
        "head.scale": model.scale.cpu().numpy(),
        "head.temperature": np.array([temperature], np.float32),
        **differing(model.backbone, None if base.reads == "tabular" else base),
    }
    if base.reads == "tabular":
        card |= adapters.columns(base)
    if isinstance(base, FrameBackbone):
        card["frames"] = base.entry.shape()
    return Outcome(trial, kit.test, test, weights, card, 0.0, devices.peak_mb(), trainable, fitted.curve)


def by_group(kit: EngineKit, outcome: Outcome, groups: np.ndarray, worth: float) -> Outcome:
    """The outcome with thresholds of each of the groups (N,), chosen on its validation outputs; without such, as it is.

    The same rows choose and are judged by: on new rows the gap is wider than on them.
    """
    held = outcome.card.get("validation_outputs")
    if held is None:
        return outcome
    rows, said = np.asarray(held["rows"]), np.asarray(held["outputs"])
    shifts = thresholds.chosen(said, kit.targets[rows], groups[rows], worth)
    table = datasets.rows(kit.home, kit.dataset.id, *kit.study.sensitive)
    edges = {name: fairness.edges(table[name]) for name in kit.study.sensitive}
    card = {
        **outcome.card,
        "validation_outputs": {"rows": rows, "outputs": thresholds.shifted(said, groups[rows], shifts)},
        "thresholds": {
            "columns": list(kit.study.sensitive),
            "edges": {name: found for name, found in edges.items() if found is not None},
            "shifts": {name: shift.tolist() for name, shift in shifts.items()},
        },
    }
    return replace(outcome, card=card, outputs=thresholds.shifted(outcome.outputs, groups[outcome.rows], shifts))


def _scores(kit: EngineKit, rows: training_rows.Rows, seen: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """Scores of training and validation rows, the gap between them, and the validation outputs for calibration."""
    metric = kit.task.metrics[0]
    found: dict[str, Any] = {"train_score": metric.score(kit.targets[rows.train], seen)}
    if not len(rows.validation):
        return found
    found["validation_score"] = metric.score(kit.targets[rows.validation], held)
    found["validation_outputs"] = {"rows": rows.validation, "outputs": held}
    gap = found["train_score"] - found["validation_score"]
    if metric.unit == "share" and gap > GAP:
        found["overfitting"] = (
            f"{metric.title} is {100 * gap:.0f} points higher on the training rows than on the validation rows."
        )
    return found


def honest(raw: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(n, K) raw outputs of held rows, divided by the temperature that makes them honest about (n,) class codes, or
    (n, K) labels."""
    return raw * _slope(raw.double().numpy(), targets.numpy())


def _temperature(kit: EngineKit, held: np.ndarray, rows: np.ndarray) -> float:
    """The temperature that makes probabilities honest on the validation rows; 1 without them."""
    if not len(rows) or kit.kind == "number":
        return 1.0
    return 1.0 / _slope(held.astype(np.float64), kit.targets[rows])


def _slope(raw: np.ndarray, targets: np.ndarray) -> float:
    return label_heads.slope(raw, targets) if targets.ndim > 1 else heads.slope(raw, targets, np.ones(len(raw)))


def of_head(model: Any) -> dict[str, np.ndarray]:
    """The tensors of a model's head as `head.<name>`, each once, without those that it shares with its backbone."""
    seen = {id(parameter) for parameter in model.backbone.parameters()}
    found = {}
    for name, value in model.head.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            found[f"head.{name}"] = value.detach().cpu().numpy()
    return found


def differing(backbone: Backbone, base: Backbone | None) -> dict[str, np.ndarray]:
    """The tensors of a backbone that differ from where it started, as `backbone.<name>`; all of them without a base."""
    before = {} if base is None else base.core.state_dict()
    before = {name: value for name, value in before.items() if base and not name.startswith(base.fitted)}
    return {
        f"backbone.{name}": value.detach().cpu().float().numpy() if value.is_floating_point() else value.cpu().numpy()
        for name, value in backbone.core.state_dict().items()
        if name not in before or not torch.equal(value.cpu(), before[name].cpu())
    }
