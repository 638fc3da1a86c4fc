"""Cached activations at a boundary: batches of them as a backbone resumes, from the disk or a GPU's own memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tltools.engine.blocks import Block
from tltools.engine.device import Device, moved

Array = NDArray[Any]

AT_ONCE = 256  # rows that go to a GPU together


class BoundaryReader:
    """Activations of some rows, read from the disk batch by batch, as the backbone's `resume` wants them."""

    def __init__(self, block: Block, rows: Array, positions: Array) -> None:
        order = np.argsort(rows, kind="stable")
        self._rows, self._positions, self._block = rows[order], positions[order], block
        self._held: tuple[Array, Array, Tensor] | None = None  # rows, first units, all units and one of zeros

    def hold(self, rows: Array, device: Device) -> None:
        """Keeps these rows in a GPU's memory from now on, where they fit into what it can spare: they are read in every
        epoch. Other rows, and all rows on a CPU, come from the disk."""
        if not (room := device.spare(0.0)):
            return
        rows, one = np.unique(rows), self._block.unit_shape
        positions = self._of(rows)
        firsts = np.concatenate([[0], np.cumsum(self._block.units(positions))])
        if 2 * firsts[-1] * np.prod(one, dtype=np.float64) > room:
            return
        units = torch.zeros(int(firsts[-1]) + 1, *one, dtype=torch.bfloat16, device=device.name)
        for start in range(0, len(rows), AT_ONCE):
            some = [self._block.row(int(position)).reshape(-1, *one) for position in positions[start : start + AT_ONCE]]
            units[firsts[start] : firsts[min(start + AT_ONCE, len(rows))]] = moved(
                _half(np.concatenate(some)), device.name
            )
        self._held = rows, firsts, units

    def take(self, rows: Array, *, device: torch.device | None = None, half: bool = False) -> Tensor:
        """Activations of these dataset rows: (B, T, D) padded with zeros behind each row's own tokens, or (B, C, H, W).

        half: leave them in bf16 (for autocast) instead of fp32.
        Raises: KeyError for a row that the reader was not made for.
        """
        rows = np.asarray(rows, np.int64)
        if self._held is not None and np.isin(rows, self._held[0]).all():
            states = self._from_memory(rows, *self._held)
        else:
            states = self._from_disk(self._of(rows))
            states = states if device is None else moved(states, device)
        return states if half else states.float()

    def _from_memory(self, rows: Array, known: Array, firsts: Array, units: Tensor) -> Tensor:
        at = np.searchsorted(known, rows)
        if not self._block.ragged:
            return units[moved(torch.from_numpy(at), units.device)]
        counts = firsts[at + 1] - firsts[at]
        places = np.arange(int(counts.max(initial=0)))
        wanted = np.where(places < counts[:, None], firsts[at][:, None] + places, len(units) - 1)
        return units[moved(torch.from_numpy(wanted), units.device)]

    def _from_disk(self, positions: Array) -> Tensor:
        if not self._block.ragged:
            return _half(self._block.take(positions))
        units = self._block.units(positions)
        stored = np.zeros((len(positions), int(units.max(initial=0)), *self._block.unit_shape), np.uint16)
        for i, position in enumerate(positions):
            stored[i, : units[i]] = self._block.row(int(position))
        return _half(stored)

    def _of(self, rows: Array) -> Array:
        """(B,) positions of these rows in the block."""
        at = np.minimum(np.searchsorted(self._rows, rows), max(len(self._rows) - 1, 0))
        if len(rows) and (not len(self._rows) or (self._rows[at] != rows).any()):
            raise KeyError("the reader was made for other rows")
        return self._positions[at]

    def __len__(self) -> int:
        return len(self._rows)


def _half(stored: Array) -> Tensor:
    """Stored activations as the bf16 numbers that they are."""
    return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)
