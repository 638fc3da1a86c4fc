"""Labels in a report: how many an arm saves against the control, and what more of them would bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.judging import curves, folds
from tltools.judging.bootstrap import means
from tltools.records import VerdictWord
from tltools.reports.figures import who
from tltools.reports.readings import ArmKey, Readings, Share
from tltools.reports.words import WORDS

Array = NDArray[Any]
Replicates = dict[tuple[ArmKey, Share], Array]

REPLICATES = 400  # of the curves' joint bootstrap


def curve_replicates(found: Readings) -> Replicates:
    """(REPLICATES,) joint bootstrap of every cell's mean score: rows and draws are resampled together for all."""
    made: Replicates = {}
    by_draws: dict[tuple[int, ...], list[tuple[ArmKey, Share]]] = {}
    for key, cell in found.cells.items():
        if len(cell.values) >= 2:
            by_draws.setdefault(tuple(cell.draws), []).append(key)
    strata = found.truth if found.truth.dtype.kind == "i" else None
    for keys in by_draws.values():
        stacked = np.stack([found.cells[key].scores() for key in keys]).astype(np.float32)
        if found.design:
            again = folds.replicates(stacked[:, :, 0], found.design, REPLICATES)
        else:
            again = means(stacked, replicates=REPLICATES, strata=strata)
        made |= {key: again[:, k] for k, key in enumerate(keys)}
    return made


def saved_rows(
    found: Readings,
    again: Replicates,
    titles: Mapping[ArmKey, str],
    labels: Mapping[Share, int],
    judged: Mapping[tuple[ArmKey, Share], VerdictWord],
) -> list[dict[str, Any]]:
    """Labels saved by every transfer arm at every share, against the best control at each number of labels.

    An interval of labels is of one arm and share alone; `judged` has the words that the study says of all together. A
    row is `sure` where both say the same: labels are saved, or lost, only where the gain is positive, or negative.
    """
    controls = {arm for arm, _ in again if arm.kind == "control"}
    shares = [share for share in found.shares() if any((arm, share) in again for arm in controls)]
    whole = [arm for arm in controls if all((arm, share) in again for share in shares)]
    if not whole or not shares:
        return []
    points = np.array([[found.cells[arm, s].scores().mean() for s in shares] for arm in whole])
    replicates = np.stack([np.stack([again[arm, s] for s in shares], axis=1) for arm in whole], axis=1)
    control = curves.control_curve([labels[s] for s in shares], points, replicates)
    made = []
    for (arm, share), replicate in again.items():
        if arm.kind != "transfer":
            continue
        cell = found.cells[arm, share]
        one = curves.labels_saved(control, labels[share], float(cell.scores().mean()), replicate)
        made.append(
            who(cell)
            | {"title": titles[arm], "n_train": labels[share], "multiplier": one.multiplier, "low": one.low}
            | {"high": one.high, "bound": one.bound, "labels_saved": one.labels_saved, "because": one.because}
            | {"at_most": one.at_most, **_sure(one, judged.get((arm, share)))}
        )
    return sorted(made, key=lambda row: (row["title"], row["n_train"]))


def _sure(one: curves.LabelsSaved, word: VerdictWord | None) -> dict[str, Any]:
    """{"sure": whether the verdict bears out what the interval says, "because": with what it says instead}."""
    saves = one.low is not None and (one.low > 1 or one.bound == "at_least")
    side = "positive" if saves else "negative" if one.high is not None and one.high < 1 else None
    if side is None or word == side:
        return {"sure": side is not None, "because": one.because}
    said = f"A leaning only: by its gain with as many labels it is {WORDS.get(word or '', 'not judged')}."
    return {"sure": False, "because": f"{one.because} {said}".strip()}


def more_labels(found: Readings, again: Replicates, arm: ArmKey, labels: Mapping[Share, int]) -> curves.Advice | None:
    """What more labels would bring to an arm, in the metric's unit."""
    shares = [share for share in found.shares() if (arm, share) in again]
    if len(shares) < curves.FEWEST_POINTS:
        return None
    best = 1.0 if found.metric.unit == "share" else 0.0
    errors = np.array([best - found.cells[arm, share].scores().mean() for share in shares])
    replicates = np.stack([best - again[arm, share] for share in shares], axis=1)
    if (errors < 0).any():
        return None
    return curves.more_labels([labels[share] for share in shares], errors, replicates)
