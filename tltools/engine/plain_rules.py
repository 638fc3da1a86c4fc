"""What controls without a network say of a text by what they know: plain functions, whose lines exports carry.

Each takes a text and what was learned as JSON holds it, and needs nothing but the standard library.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltools.answers import SEPARATOR, sentences

Known = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """What a control learned, and how it says something of a text."""

    known: Known  # as JSON holds it
    say: Callable[[str, Known], str]
    method: str  # in words


def lines(name: str) -> str:
    """The functions that a rule says something by, as lines of a script that stands alone."""
    says = next(one for one in _PARTS if one.__name__ == name)
    found = "\n\n".join(inspect.getsource(part) for part in (*_PARTS[says], says))
    return re.sub(r"\bSEPARATOR\b", f'"{SEPARATOR}"', found).replace(": Known", ": dict")


def first_words(text: str, known: Known) -> str:
    """The first words: so many."""
    return " ".join(text.split()[: known["most"]])


def first_sentences(text: str, known: Known) -> str:
    """The first sentences: as many as come closest to so many words."""
    words = text.split()
    ends = [end for _, end in sentences(words, 0)] or [0]
    return " ".join(words[: min(ends, key=lambda end: abs(end - known["most"]))])


def word_by_word(text: str, known: Known) -> str:
    """Each word by the one that is known for it; an unknown word stays as it is."""
    said = " ".join(known["words"].get(word.lower(), word) for word in cut(text))
    return re.sub(r" ([.,;:!?)\]])", r"\1", said)


def cut(text: str) -> list[str]:
    """The words and signs of a text."""
    return re.findall(r"\w+|[^\w\s]", text)


def likest_sentence(text: str, known: Known) -> str:
    """The sentence of the context that shares most with the question; "" where it shares too little."""
    score, (begin, end) = likest(text, known)
    return " ".join(text.split(" ")[begin:end]) if score >= known["least"] else ""


def likest(text: str, known: Known) -> tuple[float, tuple[int, int]]:
    """(which share of its question the likest sentence has, words weighed by how rare they are; its words)."""
    words = text.split(" ")
    asked = words.index(SEPARATOR)
    new = math.log(1 + known["seen"]) + 1
    weights = {word: known["rare"].get(word, new) for word in letters(words[:asked])}
    shares = []
    for begin, end in sentences(words, asked + 1):
        share = sum(weights.get(word, 0.0) for word in sorted(set(letters(words[begin:end]))))
        shares.append((share, begin - end, (begin, end)))
    score, _, span = max(shares, key=lambda one: one[:2])
    return round(score / max(sum(weights.values()), 1e-9), 5), span


def letters(words: Sequence[str]) -> list[str]:
    """Words in small letters, without signs."""
    return re.findall(r"\w+", " ".join(words).lower())


_PARTS: Mapping[Callable[[str, Known], str], tuple[Callable[..., Any], ...]] = {
    first_words: (),
    first_sentences: (sentences,),
    word_by_word: (cut,),
    likest_sentence: (sentences, letters, likest),
}
