"""A text transformer that reads frames, or cells of a table, behind a new input layer (arXiv 2103.05247)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import text_backbone
from tltools.engine.backbone import Batch, Encoded
from tltools.engine.entries import CellEntry, Entry, entry_for, of_shape
from tltools.engine.text_backbone import TextBackbone
from tltools.records import Source

ENTRY = "entry."  # what begins the names of the new layer's tensors


class Entered(nn.Module):
    """A transformer behind its new input layer."""

    def __init__(self, entry: Entry, body: nn.Module) -> None:
        super().__init__()
        self.entry, self.body = entry, body

    def forward(self, frames: Tensor, mask: Tensor) -> Any:
        return self.body(inputs_embeds=self.entry(frames), attention_mask=mask)


class FrameBackbone(TextBackbone):
    """See the module's text. Its input layer (`entries.py`) is made when the rows are known: by `fit_items`, or by
    `as_trial`."""

    reads = "frames"
    fitted = (ENTRY,)

    def __init__(self, text: TextBackbone) -> None:
        super().__init__(text.source, text.core, text.tokenizer, text.limit, text.longest)
        self.body: Any = text.core
        self.causal = text.causal

    def fit_items(self, items: Any, rows: np.ndarray) -> None:
        """Makes the input layer for items such as these, standardised by those of the given rows."""
        self.enter(entry_for(self._words, items, rows, self.limit))

    def as_trial(self, card: Mapping[str, Any]) -> None:
        self.enter(of_shape(self._words, card["frames"]))

    @property
    def _words(self) -> Tensor:
        words: Tensor = self.body.get_input_embeddings().weight
        return words

    def enter(self, entry: Entry) -> None:
        """Puts an input layer before the transformer."""
        self.core = Entered(entry, self.body).eval()
        self.preprocessing = f"frames|{self.limit}|{entry.shape()}|{'causal' if self.causal else 'mean'}"
        self._prints.clear()
        self.find_stages()

    @property
    def entry(self) -> Entry:
        """The new input layer."""
        assert isinstance(self.core, Entered), "fit_items or as_trial makes the input layer"
        return self.core.entry

    def input_parameters(self) -> set[str]:
        """Names of the parameters of the input layer, the norms and the positions."""
        found = {name for name, _ in self.core.named_parameters() if name.startswith(ENTRY)}
        for name, module in self.core.named_modules():
            place = isinstance(module, nn.Embedding) and ("position" in name or name.endswith("wpe"))
            if place or "norm" in type(module).__name__.lower():
                found |= {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
        return found

    def encode(self, items: Any) -> Encoded:  # type: ignore[override]
        return self.entry.encode(items, self.limit)

    def sample(self, rows: int, length: int) -> Batch:
        frames = self.entry.sample(rows, length)
        tokens = self.entry(frames).shape[1]
        return {"frames": frames, "attention_mask": torch.ones(rows, tokens, dtype=torch.long)}

    def _places(self, batch: Batch) -> int | None:
        return None if isinstance(self.entry, CellEntry) else super()._places(batch)

    def _run(self, batch: Batch) -> Any:
        return self.core(batch["frames"], batch["attention_mask"])

    def _before_dry_run(self) -> None:
        """Whether it is causal is known."""


def build(source: Source, folder: Path, random: bool) -> FrameBackbone:
    """Builds a text model to be put behind an input layer; see `text_backbone.build`."""
    return FrameBackbone(text_backbone.build(source, folder, random))
