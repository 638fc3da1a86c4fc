"""How often the interval of a cross-validation holds the true gain: `python -m benchmarks.folds [--studies 400]`.

Two classifiers are trained and tested on the folds of simulated datasets, as a study does it. The true gain is that of
models trained on as many rows as a fold trains on, over many datasets and very many rows. Beside the correlated t
stands the plain t, which takes the folds for independent.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import stdtrit

from tltools.judging.folds import Design, correlated
from tltools.splits import fold_numbers

CELLS = ((60, 5, 5), (106, 5, 5), (60, 10, 3), (200, 5, 2), (200, 5, 5))  # rows, k, repeats
ARMS = (slice(0, 8), slice(4, 12))  # the columns that each arm sees
SHIFT = 0.5 * np.repeat([1.0, 0.0, 0.8], 4)  # of each column from class to class, in deviations
Rows = tuple[np.ndarray, np.ndarray]


def drawn(rng: np.random.Generator, rows: int) -> Rows:
    """(rows, 12) numbers and (rows,) codes of two classes, both among them."""
    codes = rng.integers(0, 2, rows)
    codes[:2] = 0, 1
    return rng.normal(size=(rows, 12)) + np.outer(2 * codes - 1, SHIFT), codes


def accuracy(train: Rows, test: Rows, arm: slice) -> float:
    """Share of the test rows that lie nearer to the mean of their own class."""
    (x, y), (wanted, truth) = train, test
    one, other = x[y == 0, arm].mean(0), x[y == 1, arm].mean(0)
    return float((((wanted[:, arm] - (one + other) / 2) @ (other - one) > 0) == truth).mean())


def gain(rows: int, seed: int = 0, times: int = 300) -> float:
    """The true gain of the first arm over the second, trained on so many rows."""
    rng = np.random.default_rng(seed)
    many = drawn(rng, 20_000)
    found = [[accuracy(train, many, arm) for arm in ARMS] for train in (drawn(rng, rows) for _ in range(times))]
    return float(np.subtract(*np.mean(found, axis=0)))


def coverage(rows: int, k: int, repeats: int, studies: int, seed: int = 1) -> tuple[float, float]:
    """Shares of 95 % intervals that hold the true gain: of the correlated t, and of the plain one."""
    truth, rng, held = gain(rows - rows // k), np.random.default_rng(seed), np.zeros(2)
    for study in range(studies):
        x, y = drawn(rng, rows)
        scores = []
        for repeat in range(repeats):
            where = fold_numbers(y, np.arange(rows), k, [study, repeat])
            for test in (where == fold for fold in range(k)):
                scores.append([accuracy((x[~test], y[~test]), (x[test], y[test]), arm) for arm in ARMS])
        ours, theirs = np.array(scores).T[:, :, None]
        found, apart = correlated(ours, theirs, Design(k, rows), scale=1.0), (ours - theirs).ravel()
        half = stdtrit(len(apart) - 1, 0.975) * apart.std(ddof=1) / np.sqrt(len(apart))
        held += found.bound(0.025) <= truth <= found.bound(0.975), abs(apart.mean() - truth) <= half
    return float(held[0] / studies), float(held[1] / studies)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=400)
    studies = parser.parse_args().studies
    print("| rows | cross-validation | correlated t | plain t |\n|---|---|---|---|")
    for rows, k, repeats in CELLS:
        ours, plain = coverage(rows, k, repeats, studies)
        print(f"| {rows} | {repeats} × {k}-fold | {ours:.3f} | {plain:.3f} |", flush=True)


if __name__ == "__main__":
    main()
