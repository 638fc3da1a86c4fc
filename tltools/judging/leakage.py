"""Target leakage: does one column, or one word, all but give the answer away by itself?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_ROWS = 20_000  # rows that are looked at; more change nothing in the answer
_BINS = 64


@dataclass(frozen=True)
class Leak:
    """A column that predicts the target by itself. `skill`: 0 = no better than guessing, 1 = always right."""

    column: str
    skill: float
    by_absence: bool  # True: whether the cell is filled says it already


def suspects(
    columns: Mapping[str, np.ndarray], target: np.ndarray, *, least: float = 0.85, seed: int = 0
) -> list[Leak]:
    """Returns the columns whose skill is at least `least`, strongest first.

    `columns`: (N,) float64 (missing: NaN) or object arrays of strings (missing: None); `target` (N,) int64 codes or
    floats. Skill is cross-fitted on two halves: chance-corrected balanced accuracy, or R2 for numbers.
    """
    rows = len(target)
    if rows < 20:
        return []
    random = np.random.default_rng(seed)
    chosen = random.permutation(rows)[:_ROWS]
    halves = np.arange(len(chosen)) % 2
    wanted = target[chosen]
    found = []
    for name, values in columns.items():
        codes, missing = _codes(values[chosen])
        skill = _skill(codes, wanted, halves)
        if skill >= least:
            absence = _skill(missing.astype(np.int64), wanted, halves) if 0 < missing.sum() < len(missing) else 0.0
            found.append(Leak(name, float(skill), bool(absence >= 0.9 * skill)))
    return sorted(found, key=lambda leak: (-leak.skill, leak.column))


def telling_words(words: Sequence[frozenset[str]], target: np.ndarray, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (word, class name) where a word stands in nearly all rows of one class and nearly nowhere else.

    The most frequent come first, words of one count by their letters: sets have no order that lasts.
    """
    everywhere: Counter[str] = Counter()
    by_class: dict[int, Counter[str]] = {}
    for found, code in zip(words, target.tolist(), strict=True):
        everywhere.update(found)
        by_class.setdefault(code, Counter()).update(found)
    sizes = Counter(target.tolist())
    telling = []
    for code, counts in by_class.items():
        if sizes[code] < 20 or len(sizes) < 2:
            continue
        for word, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:50]:
            if count >= 0.8 * sizes[code] and count >= 0.98 * everywhere[word]:
                telling.append((word, names[code]))
    return telling


def _codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Small codes for the values (quantile bins of numbers; missing is a value too), and which are missing."""
    if values.dtype == np.float64:
        missing = np.isnan(values)
        present = values[~missing]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1))) if len(present) else np.empty(0)
        codes = (
            np.searchsorted(edges[1:-1], values, side="right") if len(edges) > 2 else np.zeros(len(values), np.int64)
        )
        if 2 < len(edges) <= _BINS:  # few distinct values: each is a bin of its own
            codes = np.searchsorted(edges, values, side="right")
        elif len(edges) == 2:
            codes = (values > edges[0]).astype(np.int64)
        return np.where(missing, len(edges) + 1, codes).astype(np.int64), missing
    missing = np.array([value is None or value != value for value in values])
    texts = np.where(missing, "\0", values).astype(str)
    return np.unique(texts, return_inverse=True)[1].astype(np.int64), missing


def _skill(codes: np.ndarray, target: np.ndarray, halves: np.ndarray) -> float:
    """Fits on each half, predicts the other."""
    known = int(codes.max()) + 1
    if known < 2:
        return 0.0
    if target.dtype.kind == "f":
        return _skill_of_numbers(codes, target.astype(np.float64), halves, known)
    classes = int(target.max()) + 1
    present = np.bincount(target, minlength=classes)
    right = np.zeros(classes)
    for half in (0, 1):
        fit, judge = halves == half, halves != half
        counts = np.zeros((known, classes))
        np.add.at(counts, (codes[fit], target[fit]), 1.0)
        guess = (counts / np.maximum(1, np.bincount(target[fit], minlength=classes))).argmax(1)
        guess[counts.sum(1) == 0] = int(present.argmax())
        hit = guess[codes[judge]] == target[judge]
        right += np.bincount(target[judge][hit], minlength=classes)
    share = float((right[present > 0] / present[present > 0]).mean())
    chance = 1.0 / int((present > 0).sum())
    return (share - chance) / (1 - chance) if chance < 1 else 0.0


def _skill_of_numbers(codes: np.ndarray, target: np.ndarray, halves: np.ndarray, known: int) -> float:
    spread = float(((target - target.mean()) ** 2).sum())
    if spread == 0:
        return 0.0
    left = 0.0
    for half in (0, 1):
        fit, judge = halves == half, halves != half
        count = np.bincount(codes[fit], minlength=known)
        total = np.bincount(codes[fit], weights=target[fit], minlength=known)
        mean = np.where(count > 0, total / np.maximum(count, 1), target[fit].mean())
        left += float(((target[judge] - mean[codes[judge]]) ** 2).sum())
    return 1 - left / spread
