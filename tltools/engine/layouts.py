"""What a layout of a strategy trains: the tuned model, its open and frozen parts, their rates and schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine.backbone import Backbone, Batch
from tltools.engine.frame_backbone import FrameBackbone
from tltools.engine.heads import Head
from tltools.strategies import Layout, Recipe

RARE_ROWS = 5000  # labelled texts below which the word table stays frozen: most of its words never occur in them
SOUND_BATCH = 16  # rows from which on batch statistics are worth learning in stages that are trained


class Tuned(nn.Module):
    """A backbone and a linear head on standardised features."""

    mean: Tensor
    scale: Tensor
    sound_batch = SOUND_BATCH

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(backbone.width))
        self.register_buffer("scale", torch.ones(backbone.width))

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, K) raw outputs, float32; with `states`, stages below `boundary` are not computed."""
        raw: Tensor = self.head((self.pooled(batch, states, boundary) - self.mean) / self.scale)
        return raw

    def pooled(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, D) features that the head reads, as `forward`."""
        return self.backbone.resume(batch, states, boundary) if states is not None else self.backbone(batch)

    def take_head(self, head: Head) -> None:
        """Takes over a closed-form head; its temperature goes into its weights."""
        temperature = np.float32(head.temperature)
        start = {"mean": head.mean, "scale": head.scale, "head.weight": head.weight / temperature,
                 "head.bias": head.bias / temperature}  # fmt: skip
        self.load_state_dict({name: torch.from_numpy(value) for name, value in start.items()}, strict=False)


def frozen_bottom(base: Backbone, recipe: Recipe, rows: int) -> int:
    """Stages that are never trained: the word table, while there are few texts for it to learn from."""
    return int(base.reads == "text" and rows < RARE_ROWS and recipe.init == "source")


def opened(model: Tuned, layout: Layout, frozen_bottom: int) -> set[str]:
    """Names of the tensors of `model` that a layout trains; statistics of a network trained whole are in `kept`."""
    found = {f"head.{name}" for name, _ in model.head.named_parameters()}
    found = {name for name in found if "lora_" in name} or found  # a head with adapters is frozen otherwise
    some = model.backbone.norm_parameters() if layout.part == "norms" else set()
    if layout.part == "inputs" and isinstance(model.backbone, FrameBackbone):
        some = model.backbone.input_parameters()
    for stage, rate in enumerate(layout.rates):
        if rate <= 0 or stage < frozen_bottom:
            continue
        for name in model.backbone.stage_parameters(stage):
            if layout.part == "all" or name in some or (layout.part == "adapters" and "lora_" in name):
                found.add(f"backbone.core.{name}")
    return found


def kept(name: str, moving: set[str]) -> bool:
    """Whether a tensor of the state changes in training and so belongs to the best weights and to checkpoints."""
    return name in moving or "running_" in name or "num_batches" in name


def arrange(
    model: Tuned, layout: Layout, recipe: Recipe, multiplier: float, frozen_bottom: int
) -> torch.optim.Optimizer:
    """Freezes and opens parameters as a layout says, sets the modes, and makes the optimiser for what is open."""
    backbone, names = model.backbone, opened(model, layout, frozen_bottom)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in names
    shared = {id(parameter) for parameter in backbone.parameters()}  # tables of words, which the backbone's rate moves
    head = [parameter for parameter in model.head.parameters() if id(parameter) not in shared]
    groups = _groups(head, layout.head * multiplier, recipe.weight_decay)
    decay = 0.0 if recipe.anchor else recipe.weight_decay  # what is pulled to where it started is not pulled to zero
    for stage, rate in enumerate(layout.rates):
        own = [p for p in backbone.stage_parameters(stage).values() if p.requires_grad]
        groups += _groups(own, rate * multiplier, decay)
    set_modes(model, layout, recipe, frozen_bottom)
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def set_modes(model: Tuned, layout: Layout, recipe: Recipe, frozen_bottom: int) -> bool:
    """Sets what trains to training and the rest to evaluation; says whether a norm then reads its own batch."""
    trained = [stage >= frozen_bottom and rate > 0 for stage, rate in enumerate(layout.rates)]
    model.train()
    # what the core does itself between its modules, as BART drops parts of words, it does at the bottom
    model.backbone.train(trained[0] or model.backbone.own_loss)
    for stage, learns in zip(model.backbone.stages, trained, strict=True):
        for module in stage.modules:
            module.train(learns)  # a frozen prefix is a pure function of the row: no dropout, fixed statistics
    for module in model.backbone.modules():
        small = recipe.smallest < model.sound_batch or layout.part != "all"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and small and _knows(module):
            module.eval()  # statistics of a few rows are worse than the source's
    norms = (module for module in model.backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return any(norm.training for norm in norms)


def _knows(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    """Whether a norm has ever seen data: a new one says mean 0 and variance 1 of everything."""
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and bool((mean != 0).any() or (variance != 1).any())


def _groups(parameters: list[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """Norms and biases (vectors) do not decay: there is no reason to pull them to zero."""
    matrices, vectors = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
    common = {"lr": rate, "initial_lr": rate}
    return [{"params": matrices, "weight_decay": decay, **common}, {"params": vectors, "weight_decay": 0.0, **common}]


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Scales every group's own rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor


def schedule(step: int, total: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; in (0, 1]."""
    ramp = max(1, round(warmup * total))
    return (step + 1) / ramp if step < ramp else max(1e-3, (total - step) / max(1, total - ramp))
