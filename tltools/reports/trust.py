"""How far the probabilities of an arm can be trusted, on the test rows of its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.home import Home
from tltools.judging import calibration
from tltools.records import refuse
from tltools.reports.cards import trial_card
from tltools.reports.views import scored

Array = NDArray[Any]

FEWEST = 20  # rows that were not learnt from, on which a temperature is fitted


@dataclass(frozen=True)
class _Said:
    """What a trial said of its test rows, and of rows that it neither learnt from nor is tested on."""

    rows: Array  # (M,) row numbers
    truth: Array  # (M,)
    outputs: Array  # (M, C)
    held_truth: Array  # (n,)
    held: Array  # (n, C)


def trust(home: Home, tested: Sequence[Sequence[str]], level: float = 0.9) -> dict[str, Any]:
    """How far the probabilities of an arm can be trusted, by its trials as `views.tested_by` has them: of several
    trials each row counts as the trial said that tested it, mended by what that trial held out.

    {"bins": DataFrame, "ece", "ece_low", "ece_high", "held": which rows the next two rest on, in words,
    "temperature" (of several trials the median) and "ece_after" (None without enough such rows), "conformal": {"level",
    "coverage", "mean_size"} | None, "refused": why one of them is None, a sentence each, "abstain": DataFrame of
    coverage and accuracy}

    Raises:
        Refusal: the trials predict numbers, or one of them is not sealed.
    """
    repeats = [[_said(home, trial) for trial in repeat] for repeat in tested]
    every = [one for repeat in repeats for one in repeat]
    in_turn = (trial_card(home, tested[0][0]) or {}).get("validated_by") == "leave_one_out"
    kind = "labelled rows, each left out in turn" if in_turn else "validation rows"
    fewest, refused = min(len(one.held) for one in every), []
    few = fewest or "none"  # as that of an arm which learnt from all that have labels
    truth = _in_order(repeats[0], [one.truth for one in repeats[0]])
    outputs = _together(repeats, [one.outputs for one in every])
    error, low, high = calibration.ece_interval(outputs, truth, replicates=200)
    at, after = None, None
    if fewest >= FEWEST:
        at = [calibration.temperature(one.held, one.held_truth) for one in every]
        mended = [calibration.rescale(one.outputs, by) for one, by in zip(every, at, strict=True)]
        after = calibration.ece(_together(repeats, mended), truth)
    else:
        refused.append(f"No temperature is fitted: that takes {FEWEST} {kind}, and this arm has {few}.")
    sets = [calibration.conformal(one.held, one.held_truth, one.outputs, one.truth, level) for one in every]
    known = [one for one in sets if one is not None]
    promised = None
    if len(known) == len(every):
        rows = [len(one.sets) for one in known]
        coverage = float(np.average([one.coverage for one in known], weights=rows))
        size = float(np.average([one.mean_size for one in known], weights=rows))
        promised = {"level": level, "coverage": coverage, "mean_size": size}
    else:
        least = math.ceil(level / (1 - level) - 1e-9)
        refused.append(f"No list of classes is promised: that takes {least} {kind}, and this arm has {few}.")
    curve = pd.DataFrame(calibration.abstain(outputs, truth))
    return {
        "bins": pd.DataFrame([vars(one) for one in calibration.reliability(outputs, truth)]),
        "ece": error,
        "ece_low": low,
        "ece_high": high,
        "held": kind,
        "temperature": None if at is None else float(np.median(at)),
        "ece_after": after,
        "abstain": curve.iloc[np.unique(np.linspace(0, len(curve) - 1, min(200, len(curve))).astype(int))],
        "conformal": promised,
        "refused": refused,
    }


def _said(home: Home, trial: str) -> _Said:
    classes, rows, truth, outputs = scored(home, trial)
    if not classes:
        raise refuse(f"trial {trial}", "predicts numbers, which have no probabilities.", "Choose a classification.")
    _, _, held_truth, held = scored(home, trial, "validation")
    return _Said(rows, truth, outputs, held_truth, held)


def _together(repeats: Sequence[Sequence[_Said]], values: Sequence[Array]) -> Array:
    """(R, M, C) of what each trial has in (M_trial, C), the rows of each repeat in order; of one repeat (M, C)."""
    rest = iter(values)
    stacked = [_in_order(repeat, [next(rest) for _ in repeat]) for repeat in repeats]
    return stacked[0] if len(stacked) == 1 else np.stack(stacked)


def _in_order(repeat: Sequence[_Said], values: Sequence[Array]) -> Array:
    order = np.argsort(np.concatenate([one.rows for one in repeat]), kind="stable")
    found: Array = np.concatenate(values)[order]
    return found
