"""A text transformer that reads frames (spectrograms, patches): a new input layer before its blocks (arXiv 2103.05247).

Frames of a row are joined until there are no more than the transformer reads as tokens, standardised by the training
rows, and each becomes one vector in the place of a word's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import text_backbone
from tltools.engine.backbone import Batch
from tltools.engine.text_backbone import TextBackbone
from tltools.modalities import Framed
from tltools.records import Source

ENTRY = "entry."  # what begins the names of the new layer's tensors


class Frames:
    """Rows as frames, uint8 (N, T, F): every row of a dataset has as many."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.lengths: np.ndarray = np.full(len(values), values.shape[1], np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Batch:
        """`frames` (B, T, F) uint8 and `attention_mask` (B, T) of ones."""
        mask = torch.ones(len(rows), self.values.shape[1], dtype=torch.long)
        return {"frames": torch.from_numpy(self.values[rows]), "attention_mask": mask}


class Entry(nn.Module):
    """(B, T, F) frames, standardised, to (B, T, D) vectors as large as those of words."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, words: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(width, words.shape[1])
        self.size = float(words.detach().float().square().mean().sqrt())
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.draw()

    def draw(self) -> None:
        """Draws the weights anew."""
        nn.init.normal_(self.linear.weight, std=self.size / math.sqrt(self.linear.in_features))
        nn.init.zeros_(self.linear.bias)

    def forward(self, frames: Tensor) -> Tensor:
        found: Tensor = self.linear((frames.float() - self.mean) / self.scale)
        return found


class Entered(nn.Module):
    """A transformer behind its new input layer."""

    def __init__(self, entry: Entry, body: nn.Module) -> None:
        super().__init__()
        self.entry, self.body = entry, body

    def forward(self, frames: Tensor, mask: Tensor) -> Any:
        return self.body(inputs_embeds=self.entry(frames), attention_mask=mask)


class FrameBackbone(TextBackbone):
    """See the module's text. Its input layer is made when the rows are known: by `fit_items`, or by `enter`."""

    reads = "frames"
    fitted = (ENTRY,)

    def __init__(self, text: TextBackbone) -> None:
        super().__init__(text.source, text.core, text.tokenizer, text.limit, text.longest)
        self.body: Any = text.core
        self.causal, self.joined = text.causal, 1

    def fit_items(self, items: Sequence[Framed], rows: np.ndarray) -> None:
        """Makes the input layer for frames such as these, standardised by those of the given rows."""
        first = items[0].frames()
        joined = math.ceil(len(first) / self.limit)
        self.enter(first.shape[1] * joined, joined)
        seen = self.encode([items[row] for row in rows]).values.reshape(-1, first.shape[1] * joined)
        entry = self.entry
        entry.mean.copy_(torch.from_numpy(seen.mean(0, dtype=np.float64).astype(np.float32)))
        entry.scale.copy_(torch.from_numpy(seen.std(0, dtype=np.float64).clip(min=1.0).astype(np.float32)))

    def enter(self, width: int, joined: int) -> None:
        """Makes an input layer for `joined` frames a token, of `width` numbers together."""
        self.joined = joined
        self.core = Entered(Entry(width, self.body.get_input_embeddings().weight), self.body).eval()
        self.preprocessing = f"frames|{self.limit}|{joined}|{width}|{'causal' if self.causal else 'mean'}"
        self._prints.clear()
        self.find_stages()

    @property
    def entry(self) -> Entry:
        """The new input layer."""
        assert isinstance(self.core, Entered), "fit_items or enter makes the input layer"
        return self.core.entry

    def as_trial(self, card: Mapping[str, Any]) -> None:
        self.enter(**card["frames"])

    def shape(self) -> dict[str, int]:
        """What `enter` must be told to make the same input layer again."""
        return {"width": self.entry.linear.in_features, "joined": self.joined}

    def input_parameters(self) -> set[str]:
        """Names of the parameters of the input layer, the norms and the positions."""
        found = {name for name, _ in self.core.named_parameters() if name.startswith(ENTRY)}
        for name, module in self.core.named_modules():
            place = isinstance(module, nn.Embedding) and ("position" in name or name.endswith("wpe"))
            if place or "norm" in type(module).__name__.lower():
                found |= {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
        return found

    def encode(self, items: Sequence[Framed]) -> Frames:  # type: ignore[override]
        rows = [self._joined(item.frames()) for item in items]
        return Frames(np.stack(rows) if rows else np.zeros((0, 1, self.shape()["width"]), np.uint8))

    def _joined(self, frames: np.ndarray) -> np.ndarray:
        """(T, F) -> (ceil(T / joined), joined * F); what is filled up is silent."""
        missing = -len(frames) % self.joined
        return np.pad(frames, ((0, missing), (0, 0))).reshape(-1, self.joined * frames.shape[1])

    def sample(self, rows: int, length: int) -> Batch:
        width = self.shape()["width"]
        frames = torch.arange(rows * length * width, dtype=torch.float32).reshape(rows, length, width) % 7
        return {"frames": frames, "attention_mask": torch.ones(rows, length, dtype=torch.long)}

    def _run(self, batch: Batch) -> Any:
        return self.core(batch["frames"], batch["attention_mask"])

    def _before_dry_run(self) -> None:
        """Whether it is causal is known."""


def build(source: Source, folder: Path, random: bool) -> FrameBackbone:
    """Builds a text model to be put behind an input layer; see `text_backbone.build`."""
    return FrameBackbone(text_backbone.build(source, folder, random))
