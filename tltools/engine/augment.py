"""Augmentation of image batches while they train; `tltools/augmentation.py` draws what is done, this does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tltools import augmentation
from tltools.augmentation import Changes
from tltools.engine.backbone import Batch


def maker(settings: Mapping[str, Any], encoded: Any) -> Callable[[np.ndarray], Batch] | None:
    """A function that takes rows as an augmented batch; None where rows are not images.

    It draws from torch's random state, which is in every checkpoint: a resumed run sees the same changes.
    """
    if not hasattr(encoded, "raw"):
        return None

    def take(rows: np.ndarray) -> Batch:
        random = np.random.default_rng(int(torch.randint(2**31, ())))
        changes = augmentation.drawn(settings, len(rows), random)
        return {"pixel_values": encoded.normalise(apply(encoded.raw(rows).float(), changes))}

    return take


def moved(pixels: Tensor, changes: Changes) -> Tensor:
    """(B, 3, H, W) normalised pictures, changed, in their memory format; beyond their edge lies the middle colour."""
    matrix, contrast, brightness = (
        torch.from_numpy(part).to(pixels.device) for part in (changes.matrix, changes.contrast, changes.brightness)
    )
    grid = functional.affine_grid(matrix, list(pixels.shape), align_corners=False)
    changed = functional.grid_sample(pixels, grid, align_corners=False)
    changed = changed * contrast.view(-1, 1, 1, 1) + (brightness - 1).view(-1, 1, 1, 1)
    wide = pixels.is_contiguous(memory_format=torch.channels_last)
    return changed.contiguous(memory_format=torch.channels_last) if wide else changed


def apply(images: Tensor, changes: Changes) -> Tensor:
    """(B, 3, H, W) float in 0..255 -> the same shape: one resampling, then light."""
    grid = functional.affine_grid(torch.from_numpy(changes.matrix), list(images.shape), align_corners=False)
    changed = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    middle = changed.mean((1, 2, 3), keepdim=True)
    contrast, brightness = (torch.from_numpy(v).view(-1, 1, 1, 1) for v in (changes.contrast, changes.brightness))
    return (((changed - middle) * contrast + middle) * brightness).clamp(0, 255)
