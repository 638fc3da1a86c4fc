"""The loop that trains: one function, any backbone, any recipe; resumable to the bit on a CPU.

What is not trained costs nothing: it has no gradients, no optimiser state, stays in eval mode, and below the boundary
it is not even computed when the cached activations are there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine.backbone import Backbone, Batch
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.device import Device
from tltools.strategies import Layout, Recipe
from tltools.tickets import Ticket

EVALUATE_EVERY = 20  # optimiser steps at least between two evaluations: with 4 steps an epoch, more would be waste
CLIP = 1.0  # of the gradient's norm


class Feed(Protocol):
    """Where batches come from: rows of the dataset by number."""

    lengths: np.ndarray  # (N,) cost of every row of the dataset

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[Batch, Tensor | None]:
        """(batch, cached activations at the boundary or None), on the device."""


class Tuned(nn.Module):
    """A backbone and a linear head on standardised features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(backbone.width))
        self.register_buffer("scale", torch.ones(backbone.width))

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, K) raw outputs, float32; with `states`, stages below `boundary` are not computed."""
        pooled = self.backbone(batch) if states is None else self.backbone.resume(batch, states, boundary)
        return self.head((pooled - self.mean) / self.scale)


@dataclass
class Fitted:
    """What training came to."""

    validation_loss: float
    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    stopped_early: bool = False
    train_loss: float = math.nan


Loss = Callable[[Tensor, Tensor, Mapping[str, float]], Tensor]


def train(
    model: Tuned,
    feed: Feed,
    recipe: Recipe,
    *,
    targets: Tensor,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    loss: Loss,
    boundary: int,
    multiplier: float,
    seed: int,
    device: Device,
    half: bool,
    ticket: Ticket,
    checkpoint: Checkpoint,
    frozen_bottom: int = 0,
    told: Callable[[int, int, dict[str, float]], None] = lambda done, total, facts: None,
) -> Fitted:
    """Trains `model` in place and leaves it with the weights of the best validation loss.

    `targets` (N,) of the whole dataset; `boundary` stages are answered from the cache when the feed has them;
    `multiplier` scales all rates; stages below `frozen_bottom` are left out whatever the layouts say. With too few
    rows to validate, training goes on to the end and the last weights are kept.
    """
    torch.manual_seed(seed)
    per_epoch = max(1, math.ceil(len(train_rows) / recipe.batch_size))
    epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch), len(recipe.phases))
    every = max(1, math.ceil(EVALUATE_EVERY / per_epoch))
    ends = [round(epochs * (i + 1) / len(recipe.phases)) for i in range(len(recipe.phases))]
    fitted, waited, first = Fitted(math.inf), 0, 0
    best: dict[str, Tensor] = {}
    optimiser: torch.optim.AdamW | None = None
    phase = -1
    anchors = (
        {name: value.detach().clone() for name, value in model.backbone.named_parameters()} if recipe.anchor else {}
    )
    saved = checkpoint.load()
    if saved is not None:
        first, phase = saved.epoch, _phase(ends, saved.epoch)
        optimiser = arrange(model, recipe.phases[phase], recipe, multiplier, frozen_bottom)
        fitted, best, waited = saved.restore(model, optimiser, Fitted(**saved.fitted))
    started = time.monotonic()
    for epoch in range(first, epochs):
        if _phase(ends, epoch) != phase or optimiser is None:
            phase, waited = _phase(ends, epoch), 0
            optimiser = arrange(model, recipe.phases[phase], recipe, multiplier, frozen_bottom)
        total = 0.0
        for rows in batches(train_rows, feed.lengths, recipe.batch_size, seed, epoch):
            ticket.check()
            set_rates(optimiser, schedule(fitted.steps, per_epoch * epochs, recipe.warmup))
            batch, states = feed.take(rows, training=True)
            with device.autocast(half):
                raw = model(batch, states, boundary)
                each = loss(raw.float(), targets[rows].to(device.name), {"smoothing": recipe.smoothing})
            value = each.mean()
            if anchors:
                value = value + recipe.anchor / 2 * pull(model, anchors)
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], CLIP)
            optimiser.step()
            total += float(each.detach().mean()) * len(rows)
            fitted.steps += 1
        fitted.train_loss = total / len(train_rows)
        last = epoch + 1 == epochs
        if (epoch + 1) % every == 0 or last or epoch + 1 in ends:
            facts = {"epoch": epoch + 1.0, "train_loss": fitted.train_loss, "seconds": time.monotonic() - started}
            if len(validation_rows):
                raw = predict(model, feed, validation_rows, boundary, device, half)
                facts["validation_loss"] = float(loss(raw, targets[validation_rows], {}).mean())
            fitted.curve.append(facts)
            told(epoch + 1, epochs, facts)
            found = facts.get("validation_loss", -float(epoch))  # without validation the newest is the best
            if found < fitted.validation_loss or not best:
                fitted.validation_loss, waited = found, 0
                best = {n: p.detach().clone() for n, p in model.state_dict().items() if _moves(model, n)}
            else:
                waited += 1
            if recipe.patience and waited >= recipe.patience and len(validation_rows):
                fitted.stopped_early = True
                if phase + 1 == len(recipe.phases):
                    break
        checkpoint.save(epoch + 1, model, optimiser, vars(fitted), best, waited)
    model.load_state_dict(best, strict=False)
    model.eval()
    return fitted


def arrange(model: Tuned, layout: Layout, recipe: Recipe, multiplier: float, frozen_bottom: int) -> torch.optim.AdamW:
    """Freezes and opens parameters as a layout says, sets the modes, and makes the optimiser for what is open."""
    backbone = model.backbone
    norms = backbone.norm_parameters() if layout.part == "norms" else set()
    groups: list[dict[str, Any]] = [_group([*model.head.parameters()], layout.head * multiplier, recipe.weight_decay)]
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    for stage, rate in enumerate(layout.rates):
        if rate <= 0 or stage < frozen_bottom:
            continue
        own = backbone.stage_parameters(stage)
        if layout.part == "norms":
            own = {name: p for name, p in own.items() if name in norms}
        elif layout.part == "adapters":
            own = {name: p for name, p in own.items() if "lora_" in name}
        for parameter in own.values():
            parameter.requires_grad = True
        matrices = [p for p in own.values() if p.dim() > 1]
        vectors = [p for p in own.values() if p.dim() <= 1]  # norms and biases are not decayed
        groups += [_group(matrices, rate * multiplier, recipe.weight_decay), _group(vectors, rate * multiplier, 0.0)]
    model.train()
    for i, stage_ in enumerate(backbone.stages):
        if i < len(layout.rates) and layout.rates[i] > 0 and i >= frozen_bottom:
            continue
        for module in stage_.modules:
            module.eval()  # a frozen prefix is a pure function of the row: no dropout, fixed statistics
    if recipe.init == "source":
        for module in backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # with few rows, fresh batch statistics are worse than the source's
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def _group(parameters: Sequence[nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": rate, "initial_lr": rate, "weight_decay": decay}


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Scales every group's own rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor


def schedule(step: int, total: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; in (0, 1]."""
    ramp = max(1, round(warmup * total))
    return (step + 1) / ramp if step < ramp else max(1e-3, (total - step) / max(1, total - ramp))


def batches(rows: np.ndarray, lengths: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Random batches of rows of similar length: shuffled, sorted within chunks of 16 batches, shuffled again.

    The order depends on (seed, epoch) alone, so a resumed run sees the same batches.
    """
    random = np.random.default_rng([seed, epoch])
    order = rows[random.permutation(len(rows))]
    found: list[np.ndarray] = []
    for start in range(0, len(order), 16 * size):
        chunk = order[start : start + 16 * size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        found += [chunk[i : i + size] for i in range(0, len(chunk), size)]
    if len(found) > 1 and len(found[-1]) == 1:
        found[-2] = np.concatenate([found[-2], found.pop()])  # batch statistics of one row are none
    return [found[i] for i in random.permutation(len(found))]


def predict(model: Tuned, feed: Feed, rows: np.ndarray, boundary: int, device: Device, half: bool) -> Tensor:
    """(len(rows), K) raw outputs in the order of `rows`, float32 on the CPU; batches sorted by length."""
    was = model.training
    modes = [(module, module.training) for module in model.modules()] if was else []
    model.eval()
    order = np.argsort(feed.lengths[rows], kind="stable")
    found: list[Tensor] = []
    with torch.inference_mode(), device.autocast(half):
        for start in range(0, len(order), 64):
            batch, states = feed.take(rows[order[start : start + 64]], training=False)
            found.append(model(batch, states, boundary).float().cpu())
    for module, mode in modes:
        module.training = mode
    raw = torch.empty(len(rows), found[0].shape[1] if found else 0)
    raw[torch.from_numpy(order)] = torch.cat(found)
    return raw.clone()


def pull(model: Tuned, anchors: Mapping[str, Tensor]) -> Tensor:
    """Squared distance of the trained source weights from where they started (L2-SP, arXiv 1802.01483)."""
    return torch.stack(
        [(p - anchors[name]).square().sum() for name, p in model.backbone.named_parameters() if p.requires_grad]
    ).sum()


def _phase(ends: Sequence[int], epoch: int) -> int:
    return next((i for i, end in enumerate(ends) if epoch < end), len(ends) - 1)


def _moves(model: Tuned, name: str) -> bool:
    """Whether a tensor changes in training: open parameters, and statistics of a network that is trained whole."""
    parameters = dict(model.named_parameters())
    return parameters[name].requires_grad if name in parameters else "running_" in name or "num_batches" in name
