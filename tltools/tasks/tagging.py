"""Tagging: entities in the words of a sentence; truth and outputs are tags (W,) as places in `places.tag_names`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import places
from tltools.entities import Span, spans
from tltools.records import Column, Dataset, Problem
from tltools.tasks import Dense, Metric, Task
from tltools.tasks import _entity_scores as scores

Array = NDArray[Any]

RARE = 10  # entities of a class below which a judgement on it is mostly luck
NO_WORD = -1  # target where a sentence has no word
NOTHING = -1e4  # the score of every tag where there is no word, as backbones of texts write it


def recognise(column: Column) -> float:
    """1 where the target column holds tags as the formats write them."""
    return float(bool(column.examples) and column.examples[0].startswith(places.TAGS))


def classes(target: pd.Series) -> tuple[str, ...]:
    """Types of entities, in the order of the file's list."""
    return places.classes_of(list(target.dropna()))


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) object array of tags (W,) int64."""
    return places.as_rows([places.tags_of(cell, names) for cell in target])


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Types of which there are hardly any entities."""
    seen: Counter[int] = Counter()
    for row in encode(target, dataset.classes):
        seen.update((code - 1) // 2 for code in row if code % 2)
    rare = [name for place, name in enumerate(dataset.classes) if seen[place] < RARE]
    if not rare:
        return []
    what = f"fewer than {RARE} entities are {', '.join(rare[:5])}{' and more' if len(rare) > 5 else ''}."
    where = f"target column {str(target.name)!r}"
    return [Problem(severity="warning", where=where, what=what, remedy="Tag more; the score leans on luck there.")]


def width(dataset: Dataset) -> int:
    """O, and the first and further words of each type."""
    return len(places.tag_names(dataset.classes))


def tensors(truth: Array, shape: tuple[int, ...]) -> Array:
    """(N, W) int64, filled up with `NO_WORD` to the longest sentence."""
    found = np.full((len(truth), max(map(len, truth), default=1)), NO_WORD, np.int64)
    for row, tags in enumerate(truth):
        found[row, : len(tags)] = tags
    return found


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Cross entropy, mean over the words of a row: raw (B, W, K), target (B, W) -> (B,)."""
    import torch

    smoothing = float(options.get("smoothing", 0.0))
    each = torch.nn.functional.cross_entropy(
        raw.transpose(1, 2), target, ignore_index=NO_WORD, label_smoothing=smoothing, reduction="none"
    )
    return each.sum(1) / (target != NO_WORD).sum(1).clamp(min=1)


def decode(raw: Array) -> Array:
    """Raw scores (M, W, K) -> (M,) object array of tags (W,): of the sequences that entities can have, the best.

    A word within an entity follows the first or another word of one of its type; by Viterbi's algorithm.
    """
    there: Array = np.any(raw > NOTHING, axis=2)
    scores = np.where(there[..., None], raw, 0.0)
    codes = np.arange(raw.shape[2])
    within = (codes > 0) & (codes % 2 == 0)
    follows = ~within | (codes == codes[:, None]) | (codes == codes[:, None] + 1)  # (tag, the next one)
    best = np.where(within, -np.inf, scores[:, 0])
    back = np.zeros((raw.shape[1], *best.shape), np.int64)
    for word in range(1, raw.shape[1]):
        paths = np.where(follows, best[:, :, None], -np.inf)
        back[word] = paths.argmax(1)
        best = paths.max(1) + scores[:, word]
    tags, rows = np.zeros(raw.shape[:2], np.int64), np.arange(len(raw))
    tags[:, -1] = best.argmax(1)
    for word in range(raw.shape[1] - 1, 0, -1):
        tags[:, word - 1] = back[word][rows, tags[:, word]]
    return places.as_rows([row[:length] for row, length in zip(tags, there.sum(1), strict=True)])


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as cells that hold tags."""
    table = {"row": np.asarray(rows, np.int64), "truth": [places.tags_cell(tags, names) for tags in truth]}
    return pd.DataFrame(table | {"prediction": [places.tags_cell(tags, names) for tags in outputs]})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M,), outputs (M,)) of a table of predictions."""
    return encode(table["truth"], names), encode(table["prediction"], names)


def entity_f1(truth: Array, outputs: Array) -> float:
    """Strict micro F1 of entities: first word, last word and type must agree (the rules of CoNLL and seqeval)."""
    return scores.f1(scores.counts(_spans(truth), _spans(outputs)))


def entity_f1_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the F1: the score, and the first-order effect of one more sentence like this one."""
    table = scores.counts(_spans(truth), _spans(outputs))
    return scores.f1(table) + scores.f1_influence(table)


def no_entity(truth: Array) -> str:
    """Why such rows have no entity F1."""
    return "" if any(np.any(tags > 0) for tags in truth) else "has no sentence with an entity."


def word_accuracy(truth: Array, outputs: Array) -> float:
    """Share of the words, of all rows together, whose tag is right."""
    return float(np.mean(np.concatenate([a == b for a, b in zip(truth, outputs, strict=True)])))


def word_accuracy_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of the accuracy, a ratio of two sums over rows: long sentences weigh more."""
    right = np.array([float(np.sum(a == b)) for a, b in zip(truth, outputs, strict=True)])
    words = np.array([float(len(tags)) for tags in truth])
    share = right.sum() / words.sum()
    return np.asarray(share + (right - share * words) / words.mean())


def _spans(rows: Array) -> list[list[Span]]:
    most = max((int(tags.max(initial=0)) for tags in rows), default=0)
    names = places.tag_names([str(k) for k in range((most + 1) // 2)])
    return [spans([names[code] for code in tags]) for tags in rows]


def counted(truth: Array, classes: int) -> Array:
    """(C,) entities of each type."""
    found = np.array([span[2] for row in _spans(truth) for span in row], np.int64)
    return np.bincount(found, minlength=classes)


def by_class(truth: Array, outputs: Array, names: Sequence[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Each type, most entities first: entities of the truth, entities said, precision, recall and strict F1."""
    right, said = _spans(truth), _spans(outputs)
    made = []
    for code, name in enumerate(names):
        own = [[[span for span in row if span[2] == str(code)] for row in side] for side in (right, said)]
        made.append((name, *scores.shares(scores.counts(*own))))
    table = pd.DataFrame(made, columns=["class", "entities", "said", "precision", "recall", "F1"])
    return table.sort_values("entities", ascending=False, kind="stable", ignore_index=True)


TAGGING = Task(
    key="tagging",
    title="Tagging of words",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form=None,
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric("entity_f1", "Entity F1", True, "share", entity_f1, influence=entity_f1_influence, lacking=no_entity),
        Metric("word_accuracy", "Word accuracy", True, "share", word_accuracy, influence=word_accuracy_influence),
    ),
    by_class=by_class,
    dense=Dense(
        head="WordHead",
        tensors=tensors,
        counted=counted,
        read_frame=read_frame,
        classical="word_shapes",
        draws="words",
        cell=places.tags_cell,
        levels=1,
        batch=32,
    ),
    order=5,
)
