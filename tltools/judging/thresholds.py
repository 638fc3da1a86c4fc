"""Thresholds per group: what is added to the log probabilities of its rows, so that errors fall alike on all groups.

After Hardt et al. 2016 (equalised odds by post-processing), without their random decisions: the same row always gets
the same answer, and more than two classes work. For two classes an added number is a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.judging.fairness import groups_of
from tltools.judging.remedies import LEAST
from tltools.records import refuse

Array = NDArray[Any]

OTHERS = ""  # whoever is of no group that is large enough, or of none that was seen
LEAST_OF_A_CLASS = 5  # rows of each class that a group needs for thresholds of its own
STEPS = np.round(np.arange(-3.0, 3.01, 0.1), 1)  # log odds that may be added
ROUNDS = 6


def chosen(held: Array, truth: Array, groups: Array, worth: float) -> dict[str, Array]:
    """(C,) shifts by name of group, for held-out probabilities (R, C), class codes (R,) and names of groups (R,).

    Chosen is what makes the balanced error, plus `worth` times the largest difference of true or false positive rates
    between two groups, least. One number at a time is moved, of a group or of all groups together, until none helps.
    """
    classes = held.shape[1]
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), classes), np.int64)
    np.add.at(counts, (codes, truth), 1)
    own = (counts.sum(1) >= LEAST) & (counts.min(1) >= LEAST_OF_A_CLASS)
    kept = [str(name) for name in names[own]]
    place = np.where(own[codes], (np.cumsum(own) - 1)[codes], len(kept))
    logs = _logs(held)
    parts = [(logs[place == g], truth[place == g]) for g in range(len(kept) + 1)]
    shifts = np.zeros((len(parts), classes))
    seen = np.stack([_confusion(*part, shift) for part, shift in zip(parts, shifts, strict=True)])
    least = _cost(seen, worth)
    moves = [[g] for g in range(len(kept))] + [list(range(len(parts)))]
    for _ in range(ROUNDS):
        start = least
        for group in moves:
            for k in range(1, classes):
                before = least
                for step in STEPS:
                    tried = shifts[group].copy()
                    tried[:, k] = step if len(group) == 1 else tried[:, k] + step
                    again = seen.copy()
                    again[group] = [_confusion(*parts[g], shift) for g, shift in zip(group, tried, strict=True)]
                    if (cost := _cost(again, worth)) < least - 1e-9:
                        least, best, best_seen = cost, tried, again
                if least < before:
                    shifts[group], seen = best, best_seen
        if least >= start:
            break
    return {name: shifts[g] for g, name in enumerate([*kept, OTHERS])}


def shifted(outputs: Array, groups: Array, shifts: Mapping[str, Array]) -> Array:
    """(M, C) probabilities of rows of the named groups (M,), float32, with the shifts of their groups added."""
    names = [str(name) if str(name) in shifts else OTHERS for name in groups]
    logs = _logs(outputs) + np.array([shifts[name] for name in names]).reshape(outputs.shape)
    raised = np.exp(logs - logs.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


def columns(card: Mapping[str, Any]) -> list[str]:
    """The columns that name the groups of a trial's thresholds, by its card; none for most trials."""
    return list(card.get("thresholds", {}).get("columns", ()))


def put(card: Mapping[str, Any], table: pd.DataFrame, outputs: Array) -> Array:
    """Outputs (M, C) for the rows of a table as the trial of this card gives them; most trials mind no groups.

    Raises:
        Refusal: the table lacks a column of groups.
    """
    named = columns(card)
    if not named or not len(table):
        return outputs
    if missing := [name for name in named if name not in table]:
        what = f"has thresholds per group; the column(s) {', '.join(missing)} are missing, which name the groups."
        raise refuse(f"trial {card['trial']['id']}", what, "Add them, or take a trial of another strategy.")
    known = card["thresholds"]
    shifts = {name: np.array(shift) for name, shift in known["shifts"].items()}
    return shifted(outputs, groups_of(table, named, known["edges"]), shifts)


def _logs(outputs: Array) -> Array:
    return np.log(np.maximum(np.asarray(outputs, np.float64), 1e-12))


def _confusion(logs: Array, truth: Array, shift: Array) -> Array:
    """(C, C) rows by truth and by what is said."""
    classes = len(shift)
    said = (logs + shift).argmax(1)
    return np.bincount(truth * classes + said, minlength=classes**2).reshape(classes, classes)


def _cost(seen: Array, worth: float) -> float:
    """Balanced error of all groups, and `worth` times the equalised odds difference of those with their own shifts."""
    whole = seen.sum(0)
    classes = len(whole)
    shown = whole.sum(1) > 0
    error = 1 - (np.diag(whole)[shown] / whole.sum(1)[shown]).mean()
    groups = seen[:-1]  # the last are the others
    if len(groups) < 2:
        return float(error)
    gap = 0.0
    for k in range(classes) if classes > 2 else [1]:
        true = groups[:, k, k] / groups[:, k].sum(1)
        rest = np.arange(classes) != k
        false = groups[:, rest, k].sum(1) / groups[:, rest].sum((1, 2))
        gap = max(gap, float(np.ptp(true)), float(np.ptp(false)))
    return float(error + worth * gap)
