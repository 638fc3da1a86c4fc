"""The tabular network: one encoder a column, found by the column's name; their sum goes through residual blocks.

A number enters as `standardised value x vector + bias`, a missing value as a vector of its own, a category as the
vector of its hashed value (256 slots a column). Because encoders are keyed by column name and categories are hashed,
a network pre-trained on one table carries over to another: columns with the same name keep their encoder and their
statistics, new columns get fresh ones. The blocks are MLPs with pre-norm residuals (Gorishniy et al., arXiv
2106.11959, ResNet for tables).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tltools.engine.backbone import Backbone, Batch
from tltools.records import Source

WIDTH, BLOCKS, SLOTS = 128, 3, 256


def slug(column: str) -> str:
    """A column's name as a parameter name: letters, digits and a short hash."""
    plain = "".join(c if c.isalnum() else "_" for c in column.strip().lower())[:40]
    return f"{plain}_{hashlib.sha256(column.strip().lower().encode()).hexdigest()[:6]}"


def slot(value: Any) -> int:
    """The slot of a category, the same in every table and process; 0 is "missing"."""
    if value is None or value != value:
        return 0
    return 1 + int.from_bytes(hashlib.sha256(str(value).strip().encode()).digest()[:4], "little") % (SLOTS - 1)


class NumberEncoder(nn.Module):
    """What belongs to one numeric column; `NumberEncoders` computes with all of them at once."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(WIDTH) * 0.3)
        self.bias = nn.Parameter(torch.zeros(WIDTH))
        self.missing = nn.Parameter(torch.randn(WIDTH) * 0.3)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))


class NumberEncoders(nn.ModuleDict):
    """The encoders of all numeric columns by slug: (B, columns) values, NaN where missing -> (B, WIDTH), their sum.

    Three matrix products instead of a call a column: a table of thousands of columns takes milliseconds a step.
    """

    def forward(self, values: Tensor) -> Tensor:
        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(encoder, name) for encoder in self.values()])

        known = torch.isfinite(values)
        standard = ((torch.nan_to_num(values) - stacked("mean")) / stacked("scale")).clamp(-6, 6)
        seen = known.to(standard.dtype)
        summed: Tensor = (standard * seen) @ stacked("vector")
        return summed + seen @ stacked("bias") + (1 - seen) @ stacked("missing")


class Columns(nn.Module):
    """All encoders of a table; forward sums them: (B, columns) float -> (B, WIDTH)."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        super().__init__()
        self.numbers = NumberEncoders({slug(name): NumberEncoder() for name in numbers})
        self.categories = nn.ModuleDict({slug(name): nn.Embedding(SLOTS, WIDTH) for name in categories})
        for weight in self.categories.parameters():
            nn.init.normal_(weight, std=0.3)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        total: Tensor = torch.zeros(values.shape[0], WIDTH, device=values.device)
        if len(self.numbers):
            total = total + self.numbers(values[:, : len(self.numbers)])
        for i, encoder in enumerate(self.categories.values(), start=len(self.numbers)):
            total = total + encoder(values[:, i].long())
        return self.norm(total)


class Block(nn.Module):
    """x + MLP(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 2 * WIDTH)
        self.narrow = nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.dropout(torch.relu(self.widen(self.norm(x)))))


class TableNet(nn.Module):
    """Columns, then blocks, then a norm."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        super().__init__()
        self.columns = Columns(numbers, categories)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        x = self.columns(values)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Rows:
    """Table rows as one float array: numbers as they are (NaN missing), categories as slots."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.lengths = np.ones(len(values), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Batch:
        return {"values": torch.from_numpy(self.values[rows])}


class TabularBackbone(Backbone):
    """See the module's text. Its columns are known only when the first table is fitted."""

    reads = "tabular"

    def __init__(self, source: Source) -> None:
        super().__init__(source, nn.Identity(), "table|1")
        self.numbers: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.shared: tuple[str, ...] = ()  # columns whose encoder came from the source

    def fit_items(self, items: pd.DataFrame, rows: np.ndarray) -> None:
        """Makes the network for a table: its columns, their statistics from the training rows, the source's weights."""
        numeric = [name for name in items.columns if pd.api.types.is_numeric_dtype(items[name])]
        self.numbers = tuple(map(str, numeric))
        self.categories = tuple(str(name) for name in items.columns if name not in numeric)
        self.core = TableNet(self.numbers, self.categories)
        own = self.core.state_dict()
        for name in numeric:
            seen = np.asarray(items[name].iloc[rows], dtype=np.float64)
            seen = seen[np.isfinite(seen)]
            own[f"columns.numbers.{slug(str(name))}.mean"].fill_(float(seen.mean()) if len(seen) else 0.0)
            own[f"columns.numbers.{slug(str(name))}.scale"].fill_(
                max(float(seen.std()), 1e-6) if len(seen) > 1 else 1.0
            )
        kept = {key: value for key, value in self.carried.items() if key in own and own[key].shape == value.shape}
        for key, value in kept.items():
            own[key].copy_(value)
        names = {slug(name): name for name in (*self.numbers, *self.categories)}
        self.shared = tuple(
            dict.fromkeys(
                names[key.split(".")[2]] for key in kept if key.count(".") >= 3 and key.split(".")[2] in names
            )
        )
        self.preprocessing = f"table|1|{self.numbers}|{self.categories}"
        self._prints.clear()
        self.find_stages()

    def encode(self, items: Any) -> Rows:
        numbers = [np.asarray(items[name], dtype=np.float32) for name in self.numbers]
        slots = [np.array([slot(value) for value in items[name]], dtype=np.float32) for name in self.categories]
        columns = [*numbers, *slots]
        return Rows(np.stack(columns, axis=1) if columns else np.zeros((len(items), 0), dtype=np.float32))

    def sample(self, rows: int, length: int) -> Batch:
        values = torch.arange(rows * (len(self.numbers) + len(self.categories)), dtype=torch.float32) % 5
        return {"values": values.reshape(rows, -1)}

    def _run(self, batch: Batch) -> Tensor:
        found: Tensor = self.core(batch["values"])
        return found

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        found: Tensor = output
        return found

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        return states


def build(source: Source, folder: Path, random: bool) -> TabularBackbone:
    """The untrained tabular network; `fit_items` must be called before it is used. An own/ source brings weights."""
    return TabularBackbone(source)
