"""What the judge's imaginary rows do where a class has few test rows: `python -m benchmarks.rare [--quick]`.

Near perfection arms agree on nearly every row, and what was not seen rules the interval: two imaginary rows, one won by
each arm (`tltools.judging.gain`), of which one in two is of the rare class. The first table has worlds where all rows
are about as hard, the second some where a control is wrong on a few rows of the rare class in every draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

import numpy as np

from benchmarks.judge_worlds import METRICS, Simulated, World, lapsing, lapsing_label
from tltools.judging.gain import measure

NAMES = ("balanced accuracy", "macro F1", "AUROC")
OF_LABELS = {"mean average precision": "map", "macro F1 of labels": "macro_f1"}
FEW, SHARE = (10, 50), 0.05  # rows of the rare class, and its share of the test part
ACCURACIES, LAPSES = (0.9, 0.99, 0.999), (0.5, 1, 2, 3)


def judged(simulate: Callable[[np.random.Generator], Simulated], studies: int, seed: int = 0) -> dict[str, float]:
    """ "deviation" of the gain over studies, what the judge takes it for ("error"; "bare": without the imaginary rows),
    and the shares of 95 % intervals that hold the true gain ("held", "held_bare")."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(studies):
        one = simulate(rng)
        usual, bare = (measure(*one.scores, scale=scale) for scale in (one.scale, 0.0))
        truth = one.truth[0] - one.truth[1]
        held = (way.bound(0.025) <= truth <= way.bound(0.975) for way in (usual, bare))
        found.append((usual.gain, usual.error, bare.error, *held))
    gains, error, bare, *shares = np.array(found).T
    errors = (float(np.sqrt((each**2).mean())) for each in (error, bare))
    keys = ("deviation", "error", "bare", "held", "held_bare")
    return dict(zip(keys, (float(gains.std()), *errors, *(float(share.mean()) for share in shares)), strict=True))


def even(name: str, few: int, accuracy: float, studies: int) -> dict[str, float]:
    """Figures of a world where all rows are about as hard; the true gain is half of what the control lacks."""
    world = World(5, round(few / SHARE), accuracy, "low", SHARE)
    return judged(lambda rng: METRICS[name](rng, world, (1 - accuracy) / 2), studies)


def lapses(name: str, few: int, expected: float, studies: int) -> dict[str, float]:
    """Figures of a world where the control is expected to lapse on so many of the rare rows, in every draw."""
    world, share = World(5, round(few / SHARE), 1.0, "low", SHARE), expected / few
    if name in OF_LABELS:
        return judged(lambda rng: lapsing_label(rng, OF_LABELS[name], world, share), studies)
    return judged(lambda rng: lapsing(rng, name.lower().replace(" ", "_"), world, share), studies)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="fewer studies a cell")
    studies = 40 if asked.parse_args().quick else 400
    print(f"{studies} studies a cell, 5 draws, the rare class or label has {100 * SHARE:g} % of the rows.\n")
    print("| metric | rare rows | control | deviation | standard error | without | coverage | without |")
    print("|---|---|---|---|---|---|---|---|")
    for name, few, accuracy in product(NAMES, FEW, ACCURACIES):
        one = even(name, few, accuracy, studies)
        errors = " | ".join(f"{one[key]:.4f}" for key in ("deviation", "error", "bare"))
        print(f"| {name} | {few} | {accuracy} | {errors} | {one['held']:.3f} | {one['held_bare']:.3f} |", flush=True)
    print("\nCoverage where so many rows are expected to lapse (without imaginary rows):\n")
    print(f"| metric | rare rows | {' | '.join(map(str, LAPSES))} |\n|---|---|---|---|---|---|")
    for name, few in product((*NAMES, *OF_LABELS), FEW):
        found = [lapses(name, few, expected, studies) for expected in LAPSES]
        cells = " | ".join(f"{one['held']:.3f} ({one['held_bare']:.3f})" for one in found)
        print(f"| {name} | {few} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
