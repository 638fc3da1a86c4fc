"""Where the loop's batches come from: encoded rows, augmentation, cached activations, the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tltools.engine import augment
from tltools.engine import device as devices
from tltools.engine.backbone import Batch, Encoded
from tltools.engine.boundaries import BoundaryReader
from tltools.strategies import Recipe


class Feed:
    """Batches of encoded rows on the device, augmented in training, with cached activations where there are any."""

    def __init__(
        self,
        encoded: Encoded,
        reader: BoundaryReader | None,
        device: devices.Device,
        channels_last: bool,
        recipe: Recipe,
    ) -> None:
        self.encoded, self.reader, self.device, self.channels_last = encoded, reader, device, channels_last
        self.lengths = np.asarray(encoded.lengths)
        self.augment = augment.maker(recipe.augmentation, encoded) if recipe.augmentation_on else None

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[Batch, Tensor | None]:
        batch = self.augment(rows) if training and self.augment is not None else self.encoded.take(rows)
        batch = {key: devices.moved(value, self.device.name) for key, value in batch.items()}
        if self.channels_last and "pixel_values" in batch:
            batch["pixel_values"] = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        if self.reader is None:
            return batch, None
        return batch, self.reader.take(rows, device=torch.device(self.device.name))
