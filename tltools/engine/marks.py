"""Pictures that are explained, and the marks laid over them: what speaks for the prediction, and what against it."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from tltools.modalities import Drawn

SIDE = 256  # pixels of the longer side of the marks


def opened(item: str | Drawn) -> Image.Image:
    """A picture by its path, or as it is drawn, in RGB."""
    if isinstance(item, Drawn):
        return item.picture()
    with Image.open(item) as image:
        return image.convert("RGB")


def overlay(weights: np.ndarray, width: int, height: int) -> str:
    """(h, w) weights -> a PNG in base64, in the shape of a picture: orange where it speaks for the prediction, blue
    where against it, the stronger the denser, else clear."""
    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    strength = weights / max(float(np.abs(weights).max()), 1e-12)
    smooth = np.asarray(Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    layer = np.zeros((*smooth.shape, 4), np.uint8)
    layer[..., :3] = np.where(smooth[..., None] > 0, (230, 97, 1), (43, 131, 186))
    layer[..., 3] = (np.abs(smooth) * 200).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(layer, "RGBA").save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()
