"""The lines of an exported script that give frames or cells to a language model, and what of one its folder needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltools.engine import export_tables
from tltools.engine.entries import CellEntry
from tltools.engine.frame_backbone import FrameBackbone

Facts = dict[str, Any]

FRAMES = """\
def features(given):  # neighbouring frames are joined, standardised and enter where words would
    rows = [frames(one) for one in given]
    rows = [np.pad(row, ((0, -len(row) % facts["joined"]), (0, 0))) for row in rows]
    rows = [torch.tensor(row.reshape(-1, facts["joined"] * row.shape[1])[: facts["limit"]]) for row in rows]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
    x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).float()
    x = (x - body["entry.mean"]) / body["entry.scale"] @ body["entry.linear.weight"].T + body["entry.linear.bias"]
"""

TOKENS = """\
def features(rows):  # the cells of neighbouring columns are joined and enter where words would
    x = torch.stack(list(cells(rows, "entry", body["entry.categories.weight"].shape[1])), 1)
    x = F.pad(x, (0, 0, 0, -x.shape[1] % facts["joined"])).unflatten(1, (-1, facts["joined"])).sum(2)
    mask = torch.ones(x.shape[:2])
"""

POOLED = """\
    last = model(inputs_embeds=x, attention_mask=mask.long())[0]
    weight = mask[:, :, None]{causal}
    return (last * weight).sum(1) / weight.sum(1)
"""


def written(backbone: FrameBackbone, config: Any, folder: Path) -> Facts:
    """Writes the configuration of the language model; returns the facts for the script."""
    config.save_pretrained(folder)
    encoder = bool(getattr(config, "is_encoder_decoder", False))
    facts = {"kind": "frames", "limit": backbone.limit, "causal": backbone.causal, "encoder": encoder}
    facts |= backbone.entry.shape()
    return facts | {"kind": "cells"} if isinstance(backbone.entry, CellEntry) else facts


def steps(facts: Facts) -> list[str]:
    """The functions that give the features of files, strings or rows."""
    pooled = POOLED.replace("{causal}", " * torch.arange(1.0, x.shape[1] + 1)[:, None]" if facts["causal"] else "")
    return [export_tables.CELLS, TOKENS + pooled] if facts["kind"] == "cells" else [FRAMES + pooled]
