"""What augmentation does to an image: the numbers for training (the engine) and for the preview (the screens) alike.

The settings are a strategy's knobs: flip (on/off), rotate (degrees), scale, crop, colour (shares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KEYS = ("flip", "rotate", "scale", "crop", "colour")


@dataclass(frozen=True)
class Changes:
    """Drawn changes of some images: `matrix` (N, 2, 3) maps output to input places, both from -1 to 1 over the image;
    `contrast` (N,) spreads the pixels about their mean, then `brightness` (N,) multiplies them."""

    matrix: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray


def drawn(settings: Mapping[str, Any], count: int, random: np.random.Generator) -> Changes:
    """Draws the changes of `count` images, each on its own."""

    def spread(limit: float) -> np.ndarray:
        return random.uniform(-1, 1, count) * limit

    def setting(key: str) -> float:
        return float(settings.get(key) or 0)

    angle = spread(np.deg2rad(setting("rotate")))
    cut = random.uniform(0, 1, count) * setting("crop")
    zoom = (1 + spread(setting("scale"))) * (1 - cut)  # a cut-out window is a zoom with a shift inside what was cut
    mirror = np.where(random.random(count) < 0.5, -1.0, 1.0) if settings.get("flip") else np.ones(count)
    matrix = np.empty((count, 2, 3), np.float32)
    matrix[:, 0] = np.stack([np.cos(angle) * zoom * mirror, -np.sin(angle) * zoom, spread(1) * cut], 1)
    matrix[:, 1] = np.stack([np.sin(angle) * zoom * mirror, np.cos(angle) * zoom, spread(1) * cut], 1)
    light = setting("colour")
    return Changes(matrix, (1 + spread(light)).astype(np.float32), (1 + spread(light)).astype(np.float32))


def preview(paths: Sequence[Path], settings: Mapping[str, Any], *, seed: int = 0, size: int = 128) -> list[Any]:
    """One changed picture (PIL, size x size) for each image file, as training would see it."""
    changes = drawn(settings, len(paths), np.random.default_rng(seed))
    return [_changed(path, changes, i, size) for i, path in enumerate(paths)]


def _changed(path: Path, changes: Changes, i: int, size: int) -> Any:
    from PIL import Image

    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    mirrored = np.pad(pixels, ((size, size), (size, size), (0, 0)), mode="symmetric")  # what lies beyond the edge
    (a, b, shift), (c, d, drop) = changes.matrix[i].astype(float)
    half = size / 2  # places from -1 to 1 become pixels; the middle image of the mirrored nine begins at `size`
    across = half * (shift + 1 - a - b) + size
    down = half * (drop + 1 - c - d) + size
    affine = (a, b, across, c, d, down)
    turned = Image.fromarray(mirrored).transform(
        (size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    values = np.asarray(turned, np.float32)
    middle = values.mean()
    lit = ((values - middle) * changes.contrast[i] + middle) * changes.brightness[i]
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))
