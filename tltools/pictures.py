"""A picture as people and models see it: upright, RGB, 8 bits a channel. Exports carry these functions."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def plain(image: Image.Image) -> Image.Image:
    """An opened picture of any mode, upright and as RGB; transparency is laid on white.

    Raises:
        ValueError: its values cannot be taken for brightness.
    """
    image.load()  # which turns a TIFF
    turned = ImageOps.exif_transpose(image)
    if turned.mode[0] in "IF":
        packed = getattr(image, "tag_v2", {}).get(258) == (12,)  # bits of a TIFF
        tops = [1, 255, 65535] if turned.mode == "F" else [4095] if packed else [255, 65535]
        return Image.fromarray(grey(np.asarray(turned), tops)).convert("RGB")
    if turned.mode == "La":  # nothing else can be made of it
        turned = turned.convert("LA")
    if turned.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in turned.info:
        layered = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    return turned.convert("RGB")


def grey(values: np.ndarray, tops: list[int]) -> np.ndarray:
    """(H, W) numbers -> (H, W) uint8, what is no number black: white is the first of `tops` that no value is above.

    A file whose values were never scaled is told so from one that fills its bits. The picture's own maximum is not
    taken: it would make dark and bright pictures alike.

    Raises:
        ValueError: values below 0 or above the last of `tops`.
    """
    numbers = np.nan_to_num(values.astype(np.float32))
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    if low < 0 or high > tops[-1]:
        said = f"its values go from {low:g} to {high:g} and must go from 0 to {' or '.join(map(str, tops))}"
        raise ValueError(f"{said}; scale all images alike and save them again")
    return (numbers * (255 / min(top for top in tops if high <= top)) + 0.5).astype(np.uint8)
