"""Rows are locked into train, validation and test: stratified, grouped, seeded; and draws of training rows are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tltools.records import Split, refuse

_LARGEST_GROUP = 0.1  # a group with more of the rows than this cannot be kept together


@dataclass(frozen=True)
class Parts:
    """Sorted row numbers of each part, and what had to be said on the way."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    note: str


def strata(targets: np.ndarray, bins: int = 10) -> np.ndarray:
    """Returns (N,) int64: class codes as they are; numbers cut into `bins` of equal size; of several labels (N, C) the
    rarest that the row has; all else in one stratum."""
    if targets.ndim == 2:
        counts = targets.sum(0, dtype=np.int64)
        rarest = np.where(targets > 0, counts, len(targets) + 1).argmin(1)
        return np.where(targets.any(1), rarest, targets.shape[1]).astype(np.int64)
    if targets.dtype.kind == "O":
        return np.zeros(len(targets), np.int64)
    if targets.dtype.kind != "f":
        return targets.astype(np.int64)
    if len(targets) < 2 * bins:
        bins = max(1, len(targets) // 2)
    edges = np.unique(np.quantile(targets, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, targets, side="right").astype(np.int64)


def make(
    targets: np.ndarray,
    groups: np.ndarray,
    parts: np.ndarray,
    *,
    seed: int,
    test_share: float,
    validation_share: float,
) -> Parts:
    """Makes the three parts. `targets` (N,) codes or numbers, `groups` (N,) int64, `parts` (N,) of strings.

    The user's own parts are kept to; a validation part is taken out of train where there is none. Where the user
    gave train and validation only, the validation part is the locked test part.
    """
    kinds = set(np.unique(parts)) - {""}
    rows = np.arange(len(targets))
    classes = strata(targets)
    random = np.random.default_rng(seed)
    said = []
    groups, large = without_giants(groups)
    if large:
        most = f"{100 * _LARGEST_GROUP:.0f} %"
        said.append(f"{large} group(s) hold more than {most} of the rows and could not be kept together.")
    if kinds <= {"train"}:  # no part was given, or everything is called train
        shares = np.array([1 - test_share - validation_share, validation_share, test_share])
        where = _assign(classes, groups, shares, random)
        train, validation, test = (rows[where == part] for part in range(3))
        locked, validating = (f"{100 * share:.0f} %" for share in (test_share, validation_share))
        said.insert(0, f"{locked} of the rows are locked away for the test, {validating} validate.")
        return Parts(train, validation, test, " ".join(said))
    if "test" in kinds:
        test, validation = rows[parts == "test"], rows[parts == "validation"]
        said.insert(0, "The test part is the one that was given.")
    else:
        test, validation = rows[parts == "validation"], rows[:0]
        said.insert(0, "The given validation part is locked away for the test, as there is no other.")
    pool = rows[(parts == "train") | (parts == "")]
    if not len(pool):
        raise refuse(
            "split", "every row belongs to the test part, so nothing is left to train on.", "Add training rows."
        )
    if len(validation):
        said.append("The validation part is the one that was given.")
        return Parts(pool, validation, test, " ".join(said))
    where = _assign(classes[pool], groups[pool], np.array([1 - validation_share, validation_share]), random)
    said.append(f"{100 * validation_share:.0f} % of the remaining rows validate.")
    return Parts(pool[where == 0], pool[where == 1], test, " ".join(said))


def fold_numbers(targets: np.ndarray, groups: np.ndarray, k: int, seed: int | list[int]) -> np.ndarray:
    """Returns (N,) int64 from 0 to k - 1: the fold of each row. Groups stay together, the larger ones going first to
    where least lies of what they hold; then the rows of each class are dealt out, so that no fold has more than one
    above another of a class, or of all, where groups allow it. Only a group larger than a fold is torn apart. targets,
    groups: as `make`."""
    groups, _ = without_giants(groups, k)
    codes = np.unique(strata(targets), return_inverse=True)[1]
    random = np.random.default_rng(seed)
    where, held = np.full(len(codes), -1, np.int64), np.zeros((k, int(codes.max()) + 1), np.int64)
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    several = random.permutation(np.flatnonzero(sizes > 1))
    for group in several[np.argsort(-sizes[several], kind="stable")]:
        members = np.flatnonzero(inverse == group)
        own = np.bincount(codes[members], minlength=held.shape[1])
        fold = np.lexsort((random.random(k), held.sum(1), held @ own))[0]
        where[members] = fold
        held[fold] += own
    for code in range(held.shape[1]):
        left = random.permutation(np.flatnonzero((codes == code) & (where < 0)))
        places = held[:, code] + np.arange(len(left))[:, None]  # (rows, k): how many a fold would hold before this one
        last = np.broadcast_to(held.sum(1), places.shape)
        order = np.lexsort((random.random(places.size), last.ravel(), places.ravel()))[: len(left)]
        where[left] = order % k
        held[:, code] += np.bincount(where[left], minlength=k)
    return where


def fold(
    targets: np.ndarray,
    groups: np.ndarray,
    tested: np.ndarray,
    k: int,
    *,
    seed: int | list[int],
    validation_share: float,
) -> Parts:
    """The parts of one of k folds: `tested` (N,) bool rows are its test part, of the others a share validates."""
    rows, groups = np.arange(len(targets)), without_giants(groups, k)[0]
    pool, shares = rows[~tested], np.array([1 - validation_share, validation_share])
    where = _assign(strata(targets)[pool], groups[pool], shares, np.random.default_rng(seed))
    return Parts(pool[where == 0], pool[where == 1], rows[tested], "")


def record(dataset: str, parts: Parts, *, seed: int, grouped_by: str | None) -> Split:
    """Makes the record; its id is a hash of the dataset and the three parts."""
    seen = hashlib.sha256(dataset.encode())
    for rows in (parts.train, parts.validation, parts.test):
        seen.update(len(rows).to_bytes(8, "big") + rows.astype(">i8").tobytes())
    return Split(
        id=seen.hexdigest()[:16],
        dataset=dataset,
        train=tuple(parts.train.tolist()),
        validation=tuple(parts.validation.tolist()),
        test=tuple(parts.test.tolist()),
        seed=seed,
        grouped_by=grouped_by,
        note=parts.note,
    )


def draw(
    split: Split,
    targets: np.ndarray,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    draw: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (train rows, validation rows), int64 and sorted; larger shares of one draw hold the smaller ones.

    `targets` (N,) of the whole dataset. `fraction`: this share of train and of validation, in every class alike.
    `per_class`: that many labels of each class in all, a fifth of them for validation (none below five). The test
    part is never touched.

    Raises:
        Refusal: not exactly one of fraction and per_class, or out of range.
    """
    if (fraction is None) == (per_class is None):
        raise refuse("draw", "exactly one of fraction and per_class must be given.", "Give one of them.")
    if fraction is not None and not 0 < fraction <= 1:
        raise refuse("fraction", f"must be above 0 and at most 1; got {fraction}.", "Set 1.0 for all labels.")
    if per_class is not None and per_class < 1:
        raise refuse("per_class", f"must be at least 1; got {per_class}.", "Set 8.")
    if per_class is not None and (targets.dtype.kind in "fO" or targets.ndim > 1):
        raise refuse("per_class", "needs rows of one class each; these have none.", "Use fractions instead.")
    train, validation = np.asarray(split.train, np.int64), np.asarray(split.validation, np.int64)
    random = np.random.default_rng([seed, draw])
    shuffled = random.permutation(len(train)), random.permutation(len(validation))
    kinds = strata(targets)
    pools = [pool[order] for pool, order in zip((train, validation), shuffled, strict=True)]
    if fraction is not None:
        return _first_share(pools[0], kinds, fraction, least=1), _first_share(pools[1], kinds, fraction, least=0)
    assert per_class is not None
    chosen: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for kind in np.unique(kinds[np.concatenate(pools)]):
        own = [pool[kinds[pool] == kind] for pool in pools]
        held = min(len(own[1]), max(1, round(0.2 * per_class))) if per_class >= 5 else 0
        chosen[0].append(own[0][: per_class - held])
        chosen[1].append(own[1][:held])
    return np.sort(np.concatenate(chosen[0])), np.sort(np.concatenate(chosen[1]))


def labels(split: Split, targets: np.ndarray, *, fraction: float | None = None, per_class: int | None = None) -> int:
    """Labelled rows that a draw uses, validation included: the same number for every draw."""
    return sum(map(len, draw(split, targets, fraction=fraction, per_class=per_class, draw=0, seed=0)))


def _first_share(pool: np.ndarray, kinds: np.ndarray, fraction: float, least: int) -> np.ndarray:
    if fraction == 1:
        return np.sort(pool)
    taken = []
    for kind in np.unique(kinds[pool]):
        own = pool[kinds[pool] == kind]
        taken.append(own[: max(least, int(np.floor(fraction * len(own) + 0.5)))])
    return np.sort(np.concatenate(taken)) if taken else pool[:0]


def without_giants(groups: np.ndarray, k: int | None = None) -> tuple[np.ndarray, int]:
    """(groups, of which those that are too large to lie in one part, or in one of k folds, are dissolved; how many)."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    giant = sizes > (max(20, _LARGEST_GROUP * len(groups)) if k is None else -(-len(groups) // k))
    alone = len(names) + np.arange(len(groups))
    return np.where(giant[inverse], alone, inverse), int(giant.sum())


def _assign(classes: np.ndarray, groups: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns (N,) int64: the part of each row. Groups of several rows go first, each to where most is wanting."""
    rows = len(classes)
    _, codes = np.unique(classes, return_inverse=True)
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    many = int(codes.max()) + 1
    wanted = np.outer(shares, np.bincount(codes, minlength=many))
    where = np.full(rows, -1, np.int64)
    order = np.argsort(inverse, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    several = np.flatnonzero(sizes > 1)
    several = several[random.permutation(len(several))]
    for group in several[np.argsort(-sizes[several], kind="stable")]:
        members = order[starts[group] : starts[group + 1]]
        held = np.bincount(codes[members], minlength=many)
        # the part whose want, relative to its size, is eased the most; wants of other classes do not count
        gain = (wanted * held).sum(1) / (shares * held.sum())
        part = int(gain.argmax())
        where[members] = part
        wanted[part] -= held
    for code in range(many):
        left = np.flatnonzero((codes == code) & (where < 0))
        left = left[random.permutation(len(left))]
        counts = _whole_shares(np.maximum(wanted[:, code], 0), len(left), where[codes == code])
        where[left] = np.repeat(np.arange(len(shares)), counts)
    return where


def _whole_shares(wanted: np.ndarray, rows: int, placed: np.ndarray) -> np.ndarray:
    """Splits `rows` in proportion to `wanted`; each part gets one where there are enough, train (0) first."""
    if not rows:
        return np.zeros(len(wanted), np.int64)
    share = wanted / wanted.sum() * rows if wanted.sum() > 0 else np.eye(len(wanted))[0] * rows
    counts = np.floor(share).astype(np.int64)
    for part in np.argsort(-(share - counts), kind="stable")[: rows - counts.sum()]:
        counts[part] += 1
    for part in [0, len(wanted) - 1, *range(1, len(wanted) - 1)]:  # train, then test, then validation
        if counts[part] == 0 and not (placed == part).any() and counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[part] += 1
    return np.asarray(counts)
