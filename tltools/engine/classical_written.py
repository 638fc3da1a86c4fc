"""What one would write without a network: the first words of a text, or its words looked up in a learned dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tltools.engine import plain_rules
from tltools.engine.plain_rules import Rule, cut
from tltools.places import as_rows
from tltools.tasks import _written_scores as scores

TRIED = 500  # training rows on which ways to cut are compared
ROUNDS = 10  # of expectation and maximisation
NOTHING = ""  # the word that references have without a reason in the text (IBM's NULL)


def lead_words(items: Sequence[Any], truth: np.ndarray) -> Rule:
    """A rule for summaries: the first sentences or the first words, about as many words as references have.

    Which of the two it is, is what serves the training rows better.
    """
    known = {"most": max(1, round(float(np.mean([len(text.split()) for text in truth]))))}
    some = np.linspace(0, len(truth) - 1, min(TRIED, len(truth))).astype(np.int64)
    ways = {"sentences": plain_rules.first_sentences, "words": plain_rules.first_words}
    rouge = scores.ROUGE_L.score
    best = max(ways, key=lambda way: rouge(truth[some], as_rows([ways[way](str(items[row]), known) for row in some])))
    return Rule(known, ways[best], f"the first {best} of the text")


def word_dictionary(items: Sequence[Any], truth: np.ndarray) -> Rule:
    """A rule for translations: each word by its likeliest one (IBM model 1), in the same order."""
    known = _dictionary([cut(str(item).lower()) for item in items], [cut(str(text)) for text in truth])
    return Rule({"words": known}, plain_rules.word_by_word, "each word by a learned dictionary")


def _dictionary(texts: Sequence[list[str]], references: Sequence[list[str]]) -> dict[str, str]:
    """Word -> its likeliest word of the references, by IBM model 1: every word of a reference comes from one word of
    the text or from none, how likely is learned by expectation and maximisation."""
    names: dict[str, int] = {NOTHING: 0}
    words: dict[str, int] = {}
    pairs, owners, owner = [], [], 0  # (word of the text, word of the reference), and which word of a reference it is
    for text, reference in zip(texts, references, strict=True):
        here = np.array([0, *(names.setdefault(word, len(names)) for word in text)])
        there = np.array([words.setdefault(word, len(words)) for word in reference], np.int64)
        pairs.append(np.stack([np.tile(here, len(there)), np.repeat(there, len(here))]))
        owners.append(owner + np.repeat(np.arange(len(there)), len(here)))
        owner += len(there)
    places, belongs = np.concatenate(pairs, 1), np.concatenate(owners)
    kinds, kind = np.unique(places[0] * len(words) + places[1], return_inverse=True)
    source, target = kinds // len(words), kinds % len(words)
    likely = np.ones(len(kinds))
    for _ in range(ROUNDS):
        each = likely[kind]
        share = each / np.bincount(belongs, each, owner)[belongs]
        counts = np.bincount(kind, share, len(kinds))
        likely = counts / np.bincount(source, counts, len(names))[source]
    order = np.lexsort((target, -likely))
    by_source, said = list(names), list(words)
    found: dict[str, str] = {}
    for k in order.tolist():
        found.setdefault(by_source[source[k]], said[target[k]])
    return found
