"""Augmentation of image batches while they train: flip, turn, zoom, cut, light; the settings are a strategy's knobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tltools.engine.backbone import Batch


def maker(settings: Mapping[str, Any], encoded: Any, seed: int) -> Callable[[np.ndarray], Batch] | None:
    """A function that takes rows as an augmented batch; None where rows are not images."""
    if not hasattr(encoded, "raw"):
        return None
    generator = torch.Generator().manual_seed(seed)

    def take(rows: np.ndarray) -> Batch:
        return {"pixel_values": encoded.normalise(apply(encoded.raw(rows).float(), settings, generator))}

    return take


def apply(images: Tensor, settings: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) float in 0..255 -> the same shape, each image changed on its own by one resampling."""
    count = len(images)

    def spread(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = spread(float(settings.get("rotate", 0)) * math.pi / 180)
    zoom = 1 + spread(float(settings.get("scale", 0)))
    cut = torch.rand(count, generator=generator) * float(settings.get("crop", 0))
    zoom = zoom * (1 - cut)  # a cut-out window is a zoom with a shift inside what was cut
    mirror = (
        torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        if settings.get("flip")
        else torch.ones(count)
    )
    shift = torch.stack([spread(1.0) * cut, spread(1.0) * cut], 1)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = torch.cos(angle) * zoom * mirror, -torch.sin(angle) * zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = torch.sin(angle) * zoom * mirror, torch.cos(angle) * zoom
    matrix[:, :, 2] = shift
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    changed = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    light = float(settings.get("colour", 0))
    if light:
        bright, contrast = 1 + spread(light).view(-1, 1, 1, 1), 1 + spread(light).view(-1, 1, 1, 1)
        middle = changed.mean((1, 2, 3), keepdim=True)
        changed = ((changed - middle) * contrast + middle) * bright
    return changed.clamp(0, 255)
