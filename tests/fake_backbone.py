"""A tiny backbone with linear stages, in the shape of the engine's own, for tests of what is built on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tltools.engine.stages import Stage
from tltools.records import Source


class FakeEncoded:
    """Items as lists of numbers: a "text" is a list of tokens, an "image" a list of 12 pixel values."""

    def __init__(self, reads: str, items: Sequence[str]) -> None:
        self.reads, self.items = reads, items
        self.lengths = np.array([len(item) if reads == "text" else 1 for item in items], np.int64)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Sequence[int]) -> dict[str, Any]:
        ids = [[ord(letter) % 50 + 1 for letter in self.items[row]] for row in rows]
        if self.reads == "image":
            pixels = torch.tensor([(row * 12)[:12] for row in ids], dtype=torch.float32) / 50
            return {"pixels": pixels.reshape(len(rows), 3, 2, 2)}
        width = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


class Layer(nn.Module):
    """A linear map of the features and a tanh, whatever the shape."""

    def __init__(self, width: int, reads: str) -> None:
        super().__init__()
        self.linear, self.reads = nn.Linear(width, width), reads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.reads == "text":
            return torch.tanh(self.linear(x))
        return torch.tanh(self.linear(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class FakeBackbone(nn.Module):
    """Three stages: an embedding, then two linear ones with tanh; pooled = mean over tokens or pixels."""

    def __init__(self, reads: str = "text", seed: int = 0, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.source = Source(
            id=f"local/fake-{reads}", name="fake", provider="local", reads=reads, family="transformers",
            architecture="fake", image_size=2,
        )  # fmt: skip
        self.reads, self.width, self.passes, self.preprocessing = reads, width, 0, "none"
        self.embed: nn.Module = nn.Embedding(60, width) if reads == "text" else nn.Conv2d(3, width, 1)
        self.one, self.two = Layer(width, reads), Layer(width, reads)
        self.stages = tuple(Stage(n, (m,), 1) for n, m in self.named_children())
        self.resumable = (True, True, True, False)
        self.stage_widths = (width, width, width)

    def encode(self, items: Sequence[str]) -> FakeEncoded:
        return FakeEncoded(self.reads, items)

    def fingerprint(self, boundary: int) -> str:
        parts = [b"fake"] + [
            value.detach().numpy().tobytes()
            for module in (self.embed, self.one, self.two)[:boundary]
            for value in module.state_dict().values()
        ]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def _steps(self, batch: dict[str, Any], states: torch.Tensor | None, start: int, stop: int) -> list[torch.Tensor]:
        found = []
        for stage in range(start, stop):
            if stage == 0:
                states = self.embed(batch["input_ids"] if self.reads == "text" else batch["pixels"])
            else:
                states = (self.one, self.two)[stage - 1](states)
            found.append(states)
        return found

    def _pool(self, batch: dict[str, Any], states: torch.Tensor) -> torch.Tensor:
        if self.reads == "text":
            mask = batch["attention_mask"][..., None].to(states.dtype)
            return (states * mask).sum(1) / mask.sum(1)
        return states.mean((2, 3))

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        self.passes += 1
        return self._pool(batch, self._steps(batch, None, 0, 3)[-1])

    def forward_stages(self, batch: dict[str, Any]) -> list[torch.Tensor]:
        self.passes += 1
        return [self._pool(batch, states) for states in self._steps(batch, None, 0, 3)]

    def states(self, batch: dict[str, Any], boundary: int) -> torch.Tensor:
        return self._steps(batch, None, 0, boundary)[-1]

    def resume(self, batch: dict[str, Any], states: torch.Tensor, boundary: int) -> torch.Tensor:
        steps = self._steps(batch, states, boundary, 3)
        return self._pool(batch, steps[-1] if steps else states)
