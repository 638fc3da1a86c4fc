"""The lines of an exported script that hear clips one by one with a sound model, so that nothing is padded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltools.engine.audio_backbone import AudioBackbone, Patches, Waves, Whispers

# how a kind reads a clip into `given`; what of an activation (1, places, width) it pools; how it pools the last one
WAVES = """\
        clip = np.pad(clip, (0, max(0, facts["shortest"] - len(clip))))
        given = listen(clip, sampling_rate=facts["rate"], return_tensors="pt")["input_values"]
"""
WHISPERS = """\
        given = listen(clip, sampling_rate=facts["rate"], return_tensors="pt", max_length=facts["step"] * places)
        given, hears = given["input_features"], min(places, max(1, -(-len(clip) // facts["step"])))
"""
PATCHES = """\
        given = listen(clip, sampling_rate=facts["rate"], return_tensors="pt")["input_values"]
"""
WINDOW = """\
places = facts["places"]  # of the encoder that hear as much as clips last here; the rest of its 30 s is left out
model.config.max_source_positions = model.embed_positions.num_embeddings = places
"""

FEATURES = """\
def features(paths):
    found = []
    for path in paths:
        clip = samples(path)
{given}        out = model(given)
        found.append(torch.cat([{layers}{last}], 1))
    return torch.cat(found)
"""
KINDS: dict[type[AudioBackbone], tuple[str, str, str, str]] = {  # what stands before, given, an activation, the last
    Waves: ("", WAVES, "x.mean(1)", "out[0].mean(1)"),
    Whispers: (WINDOW, WHISPERS, "x[:, :hears].mean(1)", "out[0][:, :hears].mean(1)"),
    Patches: ("", PATCHES, "x.mean(1)", "out.pooler_output"),
}


def written(backbone: AudioBackbone, config: Any, seconds: float, folder: Path) -> dict[str, Any]:
    """Writes configuration and feature extractor; returns the facts for the script."""
    config.save_pretrained(folder)
    backbone.extractor.save_pretrained(folder)
    hears = next(kind.__name__ for kind in KINDS if isinstance(backbone, kind))
    facts = {"kind": "audio", "hears": hears, "encoder": False, "rate": backbone.rate}
    if isinstance(backbone, Waves):
        facts["shortest"] = backbone.samples_of(1)
    if isinstance(backbone, Whispers):
        facts |= {"encoder": True, "step": backbone.step, "places": backbone.every(seconds)}
    return facts


def _parts(facts: dict[str, Any]) -> tuple[str, str, str, str]:
    return next(parts for kind, parts in KINDS.items() if kind.__name__ == facts["hears"])


def given(facts: dict[str, Any]) -> str:
    """The lines that make `given` of a `clip`."""
    return _parts(facts)[1]


def steps(facts: dict[str, Any]) -> list[str]:
    """The lines that define `features(paths)`, after those that read a file."""
    before, read, pooled, last = _parts(facts)
    layers = f"*({pooled} for x in seen.values()), " if facts["layers"] else ""
    filled = FEATURES.replace("{given}", read).replace("{layers}", layers).replace("{last}", last)
    return [*filter(None, [before]), filled]
