"""The lines of an exported script that ask a classifier of transformers with its own head, and how it is told of."""

from __future__ import annotations

from typing import Any

from tltools.engine import export_sounds

Facts = dict[str, Any]

MODEL = """\
model = {network}.from_config(AutoConfig.from_pretrained(here)).float().eval()
model.load_state_dict(body)
"""

TEXTS = """\
def features(texts):  # what its own head says
    batch = tokenizer({texts}, truncation=True, max_length=facts["max_length"], padding=True, return_tensors="pt")
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
"""

PICTURES = """\
def features(paths):  # what its own head says
    pixels = torch.stack([read(path) for path in paths])
    return model((pixels - torch.tensor(facts["mean"]).view(3, 1, 1)) / torch.tensor(facts["std"]).view(3, 1, 1)).logits
"""

SOUNDS = """\
def features(paths):  # what its own head says
    found = []
    for path in paths:
        clip = samples(path)
{given}        found.append(model(given).logits)
    return torch.cat(found)
"""

FILLED_UP = """\
        given = listen(clip, sampling_rate=facts["rate"], return_tensors="pt")["input_features"]
"""


def whole(facts: Facts) -> bool:
    """Whether a script asks the head that the source brought."""
    return bool(facts["network"] != "AutoModel")


def features(facts: Facts, texts: str) -> str:
    """The lines that define `features`, after those that read a file; texts: an expression for those of a batch."""
    if facts["kind"] == "text":
        return TEXTS.replace("{texts}", texts)
    if facts["kind"] == "vision":
        return PICTURES
    given = FILLED_UP if facts["hears"] == "Whispers" else export_sounds.given(facts)
    return SOUNDS.replace("{given}", given)
