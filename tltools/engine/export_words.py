"""The lines of an exported script that tag the words of texts, and how far its tags are from those that were sealed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tltools import places
from tltools.engine.trial_model import TrialModel

TAGS = """\
names = facts["tags"]
follows = [[to[0] != "I" or one != "O" and one[2:] == to[2:] for to in names] for one in names]  # I- within its entity


def tags(text, spans, scores):  # a word has the scores of its first token; one beyond the limit of tokens is O
    first = {begin: place for place, (begin, end) in reversed(list(enumerate(spans))) if end}
    at, best, back = 0, None, []
    for word in text.split(" "):
        place = next((first[k] for k in range(at - 1, at + len(word)) if k in first), None)
        own = [0.0] + [-1e3] * (len(names) - 1) if place is None else scores[place]
        before = [0.0 if name == "O" else -1e9 for name in names] if best is None else best
        ways = [max((before[k], k) for k in range(len(names)) if follows[k][to]) for to in range(len(names))]
        best, at = [way + score for (way, _), score in zip(ways, own)], at + len(word) + 1
        back.append([k for _, k in ways])
    said = [max(range(len(names)), key=best.__getitem__)]
    for step in reversed(back[1:]):
        said.append(step[said[-1]])
    return " ".join(names[code] for code in reversed(said))
"""

READ = """\
found, asked = [], {"truncation": True, "max_length": facts["max_length"], "return_offsets_mapping": True}
with torch.inference_mode():
    for start in range(0, len(items), 32):
        texts = items[start : start + 32]
        batch = tokenizer(texts, padding=True, return_tensors="pt", **asked)
        states = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        states = F.layer_norm(states, states.shape[2:], head["norm.weight"], head["norm.bias"])
        raw = F.linear(states, head["last.weight"], head["last.bias"])
        found += map(tags, texts, batch["offset_mapping"].tolist(), raw.tolist())
table["prediction"] = found  # the tags of the words, with blanks between them
table.to_csv(sys.argv[2], index=False)
"""

STEPS = {"words": [TAGS, READ]}


def differences(model: TrialModel, stored: list[str], out: Path) -> np.ndarray:
    """(1,) share of the words of all texts whose tag in the script's table is not that of the sealed cell."""
    names = places.tag_names(model.dataset.classes)
    again = pd.read_csv(out, keep_default_na=False)["prediction"].str.split(" ")
    before = [[names[code] for code in places.tags_of(cell, model.dataset.classes)] for cell in stored]
    if [len(tags) for tags in before] != [len(tags) for tags in again]:
        return np.ones(1)
    return np.mean(np.concatenate(before) != np.concatenate(again.tolist()), keepdims=True)
