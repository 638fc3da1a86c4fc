"""New input layers of a text transformer: frames, or the cells of a table, to vectors in the place of words'.

Frames of a row (columns of a spectrogram, patches, k-mers by their letters) go through a linear layer, standardised by
the training rows. Cells go through the encoders of the tabular network, a token each, as in the feature tokenizer of
arXiv 2106.11959: value x vector + bias of its column, the vector of a category, the column's own vector where the value
is missing. Neighbours are joined until there are no more tokens than the transformer reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tltools.engine.backbone import Batch
from tltools.engine.tabular_backbone import Cells, Rows, kinds, values_of
from tltools.modalities import Framed

FITTING = 95  # per cent of the training rows that are read whole; what is longer is cut, or few long rows blur all


class Frames:
    """Rows as frames: uint8 (N, T, F), filled up behind each row's own (N,) lengths."""

    def __init__(self, values: np.ndarray, lengths: np.ndarray) -> None:
        self.values, self.lengths = values, lengths

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Batch:
        """`frames` (B, T, F) uint8, T that of the longest, and `attention_mask` (B, T)."""
        lengths = self.lengths[rows]
        longest = int(lengths.max(initial=1))
        mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
        return {"frames": torch.from_numpy(self.values[rows, :longest]), "attention_mask": torch.from_numpy(mask)}


class FrameEntry(nn.Module):
    """(B, T, F) frames, standardised, to (B, T, D) vectors as large as those of words."""

    mean: Tensor
    scale: Tensor

    def __init__(self, words: Tensor, width: int, joined: int) -> None:
        super().__init__()
        self.joined = joined
        self.linear = nn.Linear(width, words.shape[1])
        self.size, self.energy = size_of(words), float(width)  # energy: mean square of a standardised frame
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.draw()

    @classmethod
    def made(cls, words: Tensor, items: Sequence[Framed], rows: np.ndarray, limit: int) -> FrameEntry:
        """An input layer for frames such as these, standardised by those of the given rows."""
        found = [items[row].frames() for row in rows]
        whole = float(np.percentile([len(frames) for frames in found], FITTING))
        joined = math.ceil(whole / limit)
        made = cls(words, found[0].shape[1] * joined, joined)
        seen = np.concatenate([_joined(frames, joined) for frames in found])
        spread = seen.std(0, dtype=np.float64)
        scale = spread.clip(min=1.0)
        made.mean.copy_(torch.from_numpy(seen.mean(0, dtype=np.float64).astype(np.float32)))
        made.scale.copy_(torch.from_numpy(scale.astype(np.float32)))
        made.energy = max(float(np.square(spread / scale).sum()), 1.0)
        made.draw()
        return made

    def draw(self) -> None:
        """Draws the weights anew."""
        nn.init.normal_(self.linear.weight, std=self.size / math.sqrt(self.energy))
        nn.init.zeros_(self.linear.bias)

    def shape(self) -> dict[str, Any]:
        """What `of_shape` must be told to make the same layer again."""
        return {"width": self.linear.in_features, "joined": self.joined}

    def encode(self, items: Sequence[Framed], limit: int) -> Frames:
        """Each row's frames, joined, and cut where there are more than `limit`."""
        found = [_joined(item.frames(), self.joined)[:limit] for item in items]
        lengths = np.array([len(frames) for frames in found], np.int64)
        values = np.zeros((len(found), int(lengths.max(initial=1)), self.linear.in_features), np.uint8)
        for row, frames in enumerate(found):
            values[row, : len(frames)] = frames
        return Frames(values, lengths)

    def sample(self, rows: int, length: int) -> Tensor:
        """A tiny batch for the dry run."""
        width = self.linear.in_features
        return torch.arange(rows * length * width, dtype=torch.float32).reshape(rows, length, width) % 7

    def forward(self, frames: Tensor) -> Tensor:
        found: Tensor = self.linear((frames.float() - self.mean) / self.scale)
        return found


class TokenRows(Rows):
    """Rows of a table, each of as many tokens."""

    def __init__(self, values: np.ndarray, tokens: int) -> None:
        super().__init__(values)
        self.lengths = np.full(len(values), tokens, np.int64)

    def take(self, rows: np.ndarray) -> Batch:
        mask = torch.ones(len(rows), int(self.lengths.max(initial=1)), dtype=torch.long)
        return {"frames": torch.from_numpy(self.values[rows]), "attention_mask": mask}


class CellEntry(Cells):
    """(B, columns) values to (B, T, D) vectors as large as those of words, one a cell, or the sum of `joined`."""

    def __init__(self, words: Tensor, numbers: Sequence[str], categories: Sequence[str], joined: int) -> None:
        super().__init__(numbers, categories, words.shape[1])
        self.joined, self.size = joined, size_of(words)
        self.draw()

    @classmethod
    def made(cls, words: Tensor, items: pd.DataFrame, rows: np.ndarray, limit: int) -> CellEntry:
        """An input layer for the columns of a table, standardised by the given rows."""
        made = cls(words, *kinds(items), joined=math.ceil(items.shape[1] / limit))
        made.learn(items, rows)
        return made

    def draw(self) -> None:
        """Draws the weights anew."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=self.size / math.sqrt(self.joined))

    def shape(self) -> dict[str, Any]:
        """What `of_shape` must be told to make the same layer again."""
        numbers, categories = self.columns
        return {"numbers": list(numbers), "categories": list(categories), "joined": self.joined}

    def encode(self, items: pd.DataFrame, limit: int) -> TokenRows:
        """The table as numbers."""
        return TokenRows(values_of(items, *self.columns), math.ceil(sum(map(len, self.columns)) / self.joined))

    def sample(self, rows: int, length: int) -> Tensor:
        """A tiny batch for the dry run; a row has as many cells, whatever `length` is."""
        columns = sum(map(len, self.columns))
        return (torch.arange(rows * columns, dtype=torch.float32) % 5).reshape(rows, columns)

    def forward(self, values: Tensor) -> Tensor:
        cells = super().forward(values)
        filled = nn.functional.pad(cells, (0, 0, 0, -cells.shape[1] % self.joined))
        return filled.reshape(len(cells), -1, self.joined, cells.shape[2]).sum(2)


Entry = FrameEntry | CellEntry


def entry_for(words: Tensor, items: Any, rows: np.ndarray, limit: int) -> Entry:
    """A new input layer for the items of the view "frames", fitted to the given rows of them.

    words: (V, D) the table of words whose place it takes; limit: tokens of a row at most.
    """
    if isinstance(items, pd.DataFrame):
        return CellEntry.made(words, items, rows, limit)
    return FrameEntry.made(words, items, rows, limit)


def of_shape(words: Tensor, shape: Mapping[str, Any]) -> Entry:
    """An input layer of the `shape` of another."""
    return CellEntry(words, **shape) if "categories" in shape else FrameEntry(words, **shape)


def size_of(words: Tensor) -> float:
    """The root mean square of the numbers in a table of words."""
    return float(words.detach().float().square().mean().sqrt())


def _joined(frames: np.ndarray, joined: int) -> np.ndarray:
    """(T, F) -> (ceil(T / joined), joined * F); what is filled up is silent."""
    return np.pad(frames, ((0, -len(frames) % joined), (0, 0))).reshape(-1, joined * frames.shape[1])
