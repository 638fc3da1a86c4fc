"""The tabular network: one encoder a column; their sum goes through residual blocks.

A number enters as `standardised value x vector + bias`, a missing value as a vector of its own, a category as the
vector of its hashed value (256 slots a column). Because each column has an encoder of its own and categories are
hashed, a network pre-trained on one table carries over to another: columns that `tltools/matching.py` found to mean the
same take over encoder and statistics, new columns get fresh ones. The blocks are MLPs with pre-norm residuals
(Gorishniy et al., arXiv 2106.11959, ResNet for tables).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tltools.engine.backbone import Backbone, Batch
from tltools.records import Source

WIDTH, BLOCKS, SLOTS = 128, 3, 256
LARGEST = float(np.finfo(np.float32).max)
SHIFT = 3.0  # deviations or times of the deviation: a column that is farther off is in another unit
ENCODERS = ("columns.numbers.", "columns.categories.")  # what begins the names of their tensors


def slot(value: Any) -> int:
    """The slot of a category, the same in every table and process; 0 is "missing"."""
    if value is None or value != value:
        return 0
    return 1 + int.from_bytes(hashlib.sha256(str(value).strip().encode()).digest()[:4], "little") % (SLOTS - 1)


class NumberEncoders(nn.Module):
    """The encoders of all numeric columns: (B, columns) values, NaN where missing -> (B, width), their sum.

    Three matrix products instead of a call a column: a table of thousands of columns takes milliseconds a step. The
    weights of all columns lie in three flat tensors, which an optimiser treats as what they are: vectors.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.vector = nn.Parameter(torch.randn(columns * width) * 0.3)
        self.bias = nn.Parameter(torch.zeros(columns * width))
        self.missing = nn.Parameter(torch.randn(columns * width) * 0.3)
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def forward(self, values: Tensor) -> Tensor:
        standard, seen = self._standard(values)
        vector, bias, missing = self._rows()
        summed: Tensor = (standard * seen) @ vector
        return summed + seen @ bias + (1 - seen) @ missing

    def each(self, values: Tensor) -> Tensor:
        """(B, columns) -> (B, columns, width): what `forward` sums."""
        standard, seen = (part.unsqueeze(-1) for part in self._standard(values))
        vector, bias, missing = self._rows()
        return torch.where(seen > 0, standard * vector + bias, missing)

    def _standard(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, columns) standardised, and 1 where a value is known."""
        standard = ((torch.nan_to_num(values) - self.mean) / self.scale).clamp(-6, 6)
        return standard, torch.isfinite(values).to(standard.dtype)

    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """(columns, width) vector, bias and missing of each column."""
        vector, bias, missing = (part.view(-1, self.width) for part in (self.vector, self.bias, self.missing))
        return vector, bias, missing

    @torch.no_grad()
    def take(self, column: int, other: NumberEncoders, its: int) -> None:
        """Takes over a column of another table: what was learnt, and its statistics unless the unit is another."""
        for own, theirs in zip(self.parameters(), other.parameters(), strict=True):
            own.view(-1, self.width)[column] = theirs.view(-1, self.width)[its]
        apart = (self.mean[column] - other.mean[its]).abs() / other.scale[its]
        wider = (self.scale[column] / other.scale[its]).log().abs()
        if apart <= SHIFT and wider <= math.log(SHIFT):
            self.mean[column], self.scale[column] = other.mean[its], other.scale[its]


class Cells(nn.Module):
    """All encoders of a table: (B, columns) float, numbers before slots of categories -> (B, columns, width)."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str], width: int) -> None:
        super().__init__()
        self.columns = tuple(map(str, numbers)), tuple(map(str, categories))
        self.numbers = NumberEncoders(len(numbers), width)
        self.categories = nn.Embedding(SLOTS * len(categories), width)  # the slots of one column after the other's
        nn.init.normal_(self.categories.weight, std=0.3)

    def forward(self, values: Tensor) -> Tensor:
        numbers, categories = self._parts(values)
        return torch.cat([self.numbers.each(numbers), categories], 1)

    def _parts(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, numbers) values, and (B, categories, width) encoded."""
        numbers = len(self.numbers.mean)
        slots = values[:, numbers:].long()
        first = SLOTS * torch.arange(slots.shape[1], device=slots.device)
        return values[:, :numbers], self.categories(slots + first)

    @torch.no_grad()
    def learn(self, items: pd.DataFrame, rows: np.ndarray) -> None:
        """Takes mean and deviation of each column of numbers from the given rows."""
        for place, name in enumerate(self.columns[0]):
            seen = np.asarray(items[name].iloc[rows], dtype=np.float64)
            seen = seen[np.abs(seen) <= LARGEST]
            self.numbers.mean[place] = float(seen.mean()) if len(seen) else 0.0
            self.numbers.scale[place] = max(float(seen.std()), 1e-6) if len(seen) > 1 else 1.0


class Columns(Cells):
    """The encoders of a table, summed: (B, columns) float -> (B, WIDTH)."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        super().__init__(numbers, categories, WIDTH)
        self.names = {name: place for names in self.columns for place, name in enumerate(names)}
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, values: Tensor) -> Tensor:
        numbers, categories = self._parts(values)
        total: Tensor = self.norm(self.numbers(numbers) + categories.sum(1))
        return total

    @torch.no_grad()
    def take(self, column: str, other: Columns, its: str, numeric: bool) -> None:
        """Takes over the encoder of a column of another table, of the same kind."""
        place, there = self.names[column], other.names[its]
        if numeric:
            self.numbers.take(place, other.numbers, there)
        else:
            own, theirs = (part.categories.weight.view(-1, SLOTS, WIDTH) for part in (self, other))
            own[place] = theirs[there]


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


def kinds(items: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the columns of numbers, and of categories."""
    numeric = [str(name) for name in items.columns if pd.api.types.is_numeric_dtype(items[name])]
    return tuple(numeric), tuple(str(name) for name in items.columns if name not in numeric)


def values_of(items: Any, numbers: Sequence[str], categories: Sequence[str]) -> np.ndarray:
    """(N, columns) float32: numbers as they are (NaN missing), then the slots of categories."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that counts as missing
        columns = [np.asarray(items[name], dtype=np.float32) for name in numbers]
    columns += [np.array([slot(value) for value in items[name]], dtype=np.float32) for name in categories]
    return np.stack(columns, axis=1) if columns else np.zeros((len(items), 0), dtype=np.float32)


class Rows:
    """Table rows as one float array; see `values_of`."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.lengths = np.ones(len(values), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Batch:
        return {"values": torch.from_numpy(self.values[rows])}


class TabularBackbone(Backbone):
    """See the module's text. Its columns are known only when a table is fitted; until then the core of an own/ source
    is the network of the source's own table."""

    reads = "tabular"

    def __init__(self, source: Source) -> None:
        super().__init__(source, nn.Identity(), "table|1")
        self.numbers: tuple[str, ...] = ()
        self.categories: tuple[str, ...] = ()
        self.shared: tuple[str, ...] = ()  # columns whose encoder came from the source

    def know(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        """Makes an untrained network for a table of such columns."""
        self.numbers, self.categories = tuple(numbers), tuple(categories)
        self.core = TableNet(self.numbers, self.categories)
        self.preprocessing = f"table|1|{self.numbers}|{self.categories}"
        self._prints.clear()
        self.find_stages()

    def as_trial(self, card: Mapping[str, Any]) -> None:
        self.know(card["columns"]["numbers"], card["columns"]["categories"])  # statistics are among the weights

    def fit_items(self, items: pd.DataFrame, rows: np.ndarray) -> None:
        """Makes the network for a table: its columns, their statistics from the training rows, the source's weights."""
        before = self.core
        self.know(*kinds(items))
        assert isinstance(self.core, TableNet)
        self.core.columns.learn(items, rows)
        if isinstance(before, TableNet):
            self._take_over(self.core, before)

    def _take_over(self, new: TableNet, before: TableNet) -> None:
        """Copies what the source learnt on its own table: all blocks and norms, the encoders of matched columns."""
        learnt = {k: v for k, v in before.state_dict().items() if not k.startswith(ENCODERS)}
        new.load_state_dict(learnt, strict=False)
        for column, its in self.source.columns.items():
            new.columns.take(column, before.columns, its, numeric=column in self.numbers)
        self.shared = tuple(self.source.columns)

    def encode(self, items: Any) -> Rows:
        return Rows(values_of(items, self.numbers, self.categories))

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
    """The untrained tabular network; `fit_items` or `as_trial` must be called before it is used."""
    return TabularBackbone(source)
