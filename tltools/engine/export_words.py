"""The lines of an exported script that tag words of texts or find answers in them, and how far it is from sealed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tltools import answers, datasets, places
from tltools.engine import classical_dense
from tltools.engine.export_texts import OPEN
from tltools.engine.trial_model import ClassicalModel, TrialModel
from tltools.records import refuse
from tltools.tasks.question_answering import LONGEST

LIKELIEST = """\
names = facts["tags"]
follows = [[to[0] != "I" or one != "O" and one[2:] == to[2:] for to in names] for one in names]  # I- within its entity


def likeliest(scores):  # scores of each word's tags -> of the sequences that entities can have, the best
    best, back = [0.0 if name == "O" else -1e9 for name in names], []
    for own in scores:
        ways = [max((best[k], k) for k in range(len(names)) if follows[k][to]) for to in range(len(names))]
        best = [way + score for (way, _), score in zip(ways, own)]
        back.append([k for _, k in ways])
    said = [max(range(len(names)), key=best.__getitem__)]
    for step in reversed(back[1:]):
        said.append(step[said[-1]])
    return " ".join(names[code] for code in reversed(said))
"""

TAGS = """\
def tags(text, spans, scores):  # a word has the scores of its first token; one beyond the limit of tokens is O
    first = {begin: place for place, (begin, end) in reversed(list(enumerate(spans))) if end}
    at, own = 0, []
    for word in text.split(" "):
        place = next((first[k] for k in range(at - 1, at + len(word)) if k in first), None)
        own.append([0.0] + [-1e3] * (len(names) - 1) if place is None else scores[place])
        at += len(word) + 1
    return likeliest(own)
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

ANSWER = """\
def answer(text, spans, scores):  # the likeliest words of the context, at most {most}; none if "no answer" is likelier
    words, at, own = text.split(" "), 0, []
    first = {begin: place for place, (begin, end) in reversed(list(enumerate(spans))) if end}
    for word in words:  # a word has the scores of its first token; one beyond the limit of tokens has none
        place = next((first[k] for k in range(at - 1, at + len(word)) if k in first), None)
        own.append(None if place is None else scores[place])
        at += len(word) + 1
    read = [k for k in range(words.index("{separator}") + 1, len(words)) if own[k]]
    pairs = [(own[a][0] + own[b][1], a, b) for a in read for b in read if a <= b < a + {most}]
    score, begin, end = max(pairs, default=(-float("inf"), 0, 0))
    return " ".join(words[begin : end + 1]) if score > sum(own[0]) else ""
"""

FOUND = READ.replace("map(tags,", "map(answer,").replace(
    "the tags of the words, with blanks between them", "empty: none"
)
STEPS = {
    "words": [LIKELIEST, TAGS, READ],
    "answer": [
        ANSWER.replace("{most}", str(LONGEST)).replace("{separator}", answers.SEPARATOR),
        FOUND,
    ],
}

CLASSICAL_IMPORTS = """\
import numpy as np
import pandas as pd
import skops.io
"""

BY_SHAPE = """\
kept = skops.io.load(here / "model.skops", trusted=facts["trusted"])  # no code runs when it is read
found = []
for text in items:
    scores = np.full((text.count(" ") + 1, len(names)), -5e3)  # of tags that it never saw
    seen = kept["hasher"].transform(clues(text))[:, kept["used"]]
    scores[:, kept["model"].classes_] = kept["model"].predict_log_proba(seen)
    found.append(likeliest(scores.tolist()))
table["prediction"] = found  # the tags of the words, with blanks between them
table.to_csv(sys.argv[2], index=False)
"""


def by_shape(items: Sequence[str]) -> list[str]:
    """The whole script of the control of tags behind its title; `items`: its lines that read the texts."""
    lines = [inspect.getsource(part) for part in (classical_dense.shape, classical_dense.clues)]
    return [CLASSICAL_IMPORTS, OPEN, *lines, LIKELIEST, *items, BY_SHAPE]


def fitted(model: ClassicalModel) -> tuple[Any, dict[str, Any]]:
    """(what scikit-learn fitted, facts for the script) of the control of tags.

    Raises:
        Refusal: the control has seen one tag only.
    """
    known, targets, rows = model.fitted
    found = classical_dense.tag_model([known[i] for i in rows], targets[rows], model.trial.seed)
    if isinstance(found, int):
        what = "saw words of one tag only, so it always answers with that tag."
        raise refuse(f"trial {model.trial.id}", what, "Export a trial with more labels.")
    return found, {"tags": places.tag_names(model.dataset.classes)}


def as_said(model: TrialModel, stored: pd.DataFrame) -> list[str]:
    """The predictions of sealed rows as a script writes them: the tags of words, the words of an answer, or a text."""
    objects, classes = model.task.objects, model.dataset.classes
    assert objects is not None
    if model.task.written:
        return list(stored["prediction"])
    _, outputs = objects.read_frame(stored, classes)
    if told := model.task.dense and model.task.dense.told:
        items = datasets.items(model.home, model.dataset, model.reads)
        return [told(str(items[row]), said) for row, said in zip(stored["row"], outputs, strict=True)]
    names = places.tag_names(classes)
    return [" ".join(names[code] for code in places.tags_of(cell, classes)) for cell in stored["prediction"]]


def differences(model: TrialModel, stored: pd.DataFrame, out: Path) -> np.ndarray:
    """(1,) share of all words or tags that the script says otherwise than was sealed; a text that is longer or shorter
    counts as a whole."""
    again = pd.read_csv(out, keep_default_na=False)["prediction"]
    said, apart = 0, 0
    for one, other in zip(as_said(model, stored), again, strict=True):
        before, after = one.split(" "), str(other).split(" ")
        said += max(len(before), len(after))
        same = len(before) == len(after)
        apart += sum(a != b for a, b in zip(before, after, strict=True)) if same else max(len(before), len(after))
    return np.array([apart / max(said, 1)])
