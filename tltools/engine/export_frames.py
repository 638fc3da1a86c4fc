"""The lines of an exported script that give frames of files to a language model, and what of one its folder needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltools.engine.frame_backbone import FrameBackbone

Facts = dict[str, Any]

FEATURES = """\
def features(paths):  # neighbouring frames are joined, standardised and enter where words would
    rows = [frames(path) for path in paths]
    rows = [np.pad(row, ((0, -len(row) % facts["joined"]), (0, 0))) for row in rows]
    x = torch.tensor(np.stack([row.reshape(-1, facts["joined"] * row.shape[1]) for row in rows])).float()
    x = (x - body["entry.mean"]) / body["entry.scale"] @ body["entry.linear.weight"].T + body["entry.linear.bias"]
    last = model(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2], dtype=torch.long))[0]
    weight = torch.{weight}[:, None]
    return (last * weight).sum(1) / weight.sum()
"""


def written(backbone: FrameBackbone, config: Any, folder: Path) -> Facts:
    """Writes the configuration of the language model; returns the facts for the script."""
    config.save_pretrained(folder)
    encoder = bool(getattr(config, "is_encoder_decoder", False))
    return {"kind": "frames", "joined": backbone.joined, "causal": backbone.causal, "encoder": encoder}


def steps(facts: Facts) -> list[str]:
    """The function that gives the features of files."""
    return [FEATURES.replace("{weight}", "arange(1.0, x.shape[1] + 1)" if facts["causal"] else "ones(x.shape[1])")]
