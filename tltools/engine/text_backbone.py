"""Text source models: any transformers encoder or decoder, tokens in, one vector a text out.

Encoders are pooled by the mean over tokens, as sentence-transformers does. Causal decoders are recognised by a dry
run (a later token must not change an earlier state) and pooled by a mean weighted with the position, because only late
states have seen the text (SGPT, arXiv 2202.08904).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import torchvision_operators
from tltools.engine.backbone import Backbone, Batch, weights_file
from tltools.records import Source, refuse

MAX_TOKENS = 128  # a longer text is cut: the memory of a batch grows with its longest text


class Tokens:
    """Texts as ragged token ids."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray, pad: int) -> None:
        self._ids, self._offsets, self._pad = ids, offsets, pad
        self.lengths: np.ndarray = np.diff(offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> Batch:
        """`input_ids` and `attention_mask` (B, L), padded on the right to the longest of the batch."""
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=1))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : lengths[place]] = self._ids[self._offsets[row] : self._offsets[row + 1]]
        mask = np.arange(width)[None, :] < lengths[:, None]
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


class TextBackbone(Backbone):
    """See the module's text."""

    reads = "text"

    def __init__(self, source: Source, core: nn.Module, tokenizer: Any, limit: int) -> None:
        super().__init__(source, core, f"text|{limit}|{tokenizer.__class__.__name__}|{tokenizer.vocab_size}")
        self.tokenizer = tokenizer
        self.limit = limit
        self.causal = False

    def encode(self, items: Sequence[Any]) -> Tokens:
        texts = [str(item) for item in items]
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        parts: list[np.ndarray] = []
        for start in range(0, len(texts), 10_000):  # bounded memory, also for a million rows
            found = self.tokenizer(texts[start : start + 10_000], truncation=True, max_length=self.limit)["input_ids"]
            found = [ids or [self.pad] for ids in found]  # an empty text still needs one token
            offsets[start + 1 : start + 1 + len(found)] = [len(ids) for ids in found]
            parts.append(np.concatenate([np.asarray(ids, dtype=np.int32) for ids in found]))
        ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
        return Tokens(ids, offsets.cumsum(), self.pad)

    @property
    def pad(self) -> int:
        for found in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0):
            if found is not None:
                return int(found)
        return 0

    def sample(self, rows: int, length: int) -> Batch:
        ids = torch.arange(rows * length).reshape(rows, length) % max(min(90, self.tokenizer.vocab_size - 5), 1) + 5
        return {"input_ids": ids, "attention_mask": torch.ones(rows, length, dtype=torch.long)}

    def _run(self, batch: Batch) -> Any:
        return self.core(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        return self._pool_stage(output[0], batch)

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        weights = batch["attention_mask"].to(states.device, torch.float32)
        if self.causal:
            weights = weights * torch.arange(1, weights.shape[1] + 1, device=weights.device)
        summed = torch.einsum("bld,bl->bd", states.float(), weights)
        return summed / weights.sum(1, keepdim=True).clamp(min=1.0)

    def _before_dry_run(self) -> None:
        """Sets `causal` by changing the last token and looking at the first state."""
        batch = self.sample(2, 7)
        changed = {**batch, "input_ids": batch["input_ids"].clone()}
        changed["input_ids"][:, -1] -= 1
        first, second = self._run(batch)[0][:, 0], self._run(changed)[0][:, 0]
        self.causal = bool(torch.equal(first, second))
        self.preprocessing += "|causal" if self.causal else "|mean"


def build(source: Source, folder: Path, random: bool) -> TextBackbone:
    """Builds a transformers text model from a local folder; nothing is downloaded, no code of the folder is run."""
    torchvision_operators.ensure()
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.use_cache = False
    if random:
        core = AutoModel.from_config(config, attn_implementation="sdpa" if _sdpa(config) else "eager")
    else:
        weights_file(folder)
        core, report = AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        lacking = [key for key in report["missing_keys"] if "pooler" not in key and "position_ids" not in key]
        if lacking:
            what = f"lacks {len(lacking)} tensors of {config.model_type}, among them {', '.join(sorted(lacking)[:3])}."
            raise refuse(source.id, what, "Save the model with `save_pretrained` and add it again.")
    if getattr(config, "is_encoder_decoder", False):
        core = core.get_encoder()
    if getattr(core, "pooler", None) is not None:
        core.pooler = None  # trained for another task; the mean over tokens is what is used
    positions = getattr(config, "max_position_embeddings", None) or 512
    limit = min(int(source.options.get("max_tokens", MAX_TOKENS)), source.max_length or positions, positions)
    backbone = TextBackbone(source, core.float().eval(), tokenizer, limit)
    backbone.find_stages()
    return backbone


def _sdpa(config: Any) -> bool:
    from transformers import AutoModel

    kind = type(config)
    model = AutoModel._model_mapping.get(kind, None)
    return bool(getattr(model, "_supports_sdpa", False))
