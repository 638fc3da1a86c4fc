"""Formulas of the metrics of answers, as SQuAD's own script has them: normalised texts, exact match, F1 of words."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_SIGNS = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> list[str]:
    """The words that count: in small letters, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_SIGNS)).split()


def exact(truth: list[str], told: list[str]) -> float:
    """1 where both are the same words in the same order."""
    return float(truth == told)


def f1(truth: list[str], told: list[str]) -> float:
    """F1, 0..1, of two bags of words; where one has none, 1 if both have none."""
    if not truth or not told:
        return float(truth == told)
    common = sum((Counter(truth) & Counter(told)).values())
    return 2 * common / (len(truth) + len(told))


def best(score: Callable[[list[str], list[str]], float], accepted: Sequence[str], told: str) -> float:
    """The best score that an answer has with any accepted one; with none accepted, that of saying nothing."""
    known = [words for words in map(normalised, accepted) if words] or [[]]
    return max(score(words, normalised(told)) for words in known)
