"""Near-duplicates: token sets by MinHash bands, pictures by their likeness, links that become clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDE = 32  # pixels of the small grey pictures that are compared
_NEAR = 10  # pictures that each one is compared with in full
_CUT = 0.92  # correlation of a cut picture with the window that it was cut from
_SET_APART = 0.25  # how much less than to the fifth most alike picture the difference to it is
_HASHES, _PER_BAND = 48, 4  # two sets with Jaccard 0.7 meet in some band with probability 0.97


class Links:
    """Rows that belong together; the cluster of a row is the smallest row it is linked to, directly or not."""

    def __init__(self, rows: int) -> None:
        self._above = np.arange(rows, dtype=np.int64)

    def find(self, row: int) -> int:
        above = self._above
        while above[row] != row:
            above[row] = above[above[row]]
            row = int(above[row])
        return row

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._above[high] = low

    def clusters(self) -> np.ndarray:
        """Returns (N,) int64: the smallest row of each row's cluster."""
        above = self._above
        while True:
            higher = above[above]
            if np.array_equal(higher, above):
                return above.copy()
            above = self._above = higher


def equal(keys: Sequence[bytes] | Sequence[str] | np.ndarray) -> np.ndarray:
    """Returns (N,) int64 clusters of rows with equal keys."""
    first: dict[Any, int] = {}
    return np.fromiter((first.setdefault(key, row) for row, key in enumerate(keys)), np.int64, len(keys))


def similar_sets(tokens: np.ndarray, offsets: np.ndarray, threshold: float, links: Links) -> None:
    """Links rows whose token sets have a Jaccard similarity of at least `threshold`.

    `tokens` (T,) uint64 holds the distinct tokens of row after row; `offsets` (N + 1,) where each row begins. Rows
    without tokens are left alone.
    """
    sizes = np.diff(offsets)
    rows = np.flatnonzero(sizes)
    if len(rows) < 2:
        return
    signature = _signatures(tokens, offsets[rows])
    pairs = _meetings(signature, rows)
    at = np.full(len(sizes), -1, np.int64)
    at[rows] = np.arange(len(rows))
    for start in range(0, len(pairs), 200_000):
        block = pairs[start : start + 200_000]
        agreement = (signature[at[block[:, 0]]] == signature[at[block[:, 1]]]).mean(1)
        for one, other in block[agreement >= threshold - 0.2]:
            first = tokens[offsets[one] : offsets[one + 1]]
            second = tokens[offsets[other] : offsets[other + 1]]
            both = len(np.intersect1d(first, second, assume_unique=True))
            if both >= threshold * (len(first) + len(second) - both):
                links.join(int(one), int(other))


def _signatures(tokens: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(rows, _HASHES) uint32: the smallest hash of each row's tokens, for each hash function (multiply-shift)."""
    random = np.random.default_rng(20240229)
    factors = random.integers(1, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = random.integers(0, 2**63, _HASHES, dtype=np.uint64)
    signature = np.empty((len(starts), _HASHES), np.uint32)
    for column, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
        hashed = ((tokens * factor + shift) >> np.uint64(32)).astype(np.uint32)
        signature[:, column] = np.minimum.reduceat(hashed, starts)
    return signature


def _meetings(signature: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(P, 2) pairs of rows that meet in a band: neighbours in its order, and each with the first of its bucket."""
    found = []
    for start in range(0, _HASHES, _PER_BAND):
        band = np.ascontiguousarray(signature[:, start : start + _PER_BAND]).view(np.uint64)
        key = band[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ band[:, 1]
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        head = np.maximum.accumulate(np.where(np.r_[True, ~same], np.arange(len(order)), 0))
        later = np.flatnonzero(same) + 1
        found.append(np.stack([rows[order[later - 1]], rows[order[later]]], 1))
        far = later[head[later] < later - 1]
        found.append(np.stack([rows[order[head[far]]], rows[order[far]]], 1))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs, axis=0)


def similar_pictures(
    small: np.ndarray, links: Links, limit: int, alike: float = 0.99, *, cropped: bool = False
) -> None:
    """Links pictures that are the same but for size, brightness and compression; with `cropped` also cut ones.

    `small` (N, SIDE * SIDE): grey. `alike` is the correlation from which two are the same; flat ones are left alone.
    Only pictures whose coarse versions are among each other's most alike are compared. A cut picture is laid over the
    windows of the other one: where a window fits much better than the whole, and much better than on the pictures
    that are next in likeness, it was cut from there. Above `limit` rows the most alike are looked for among neighbours
    in several orders, so that some are missed.
    """
    small = small.reshape(-1, SIDE, SIDE).astype(np.float32)
    pictures = _unit(small)
    near = _nearest(_unit(small.reshape(-1, 8, SIDE // 8, 8, SIDE // 8).mean((2, 4))), limit)
    whole = np.stack([np.einsum("ij,ij->i", pictures, pictures[near[:, k]]) for k in range(near.shape[1])], 1)
    links_found = whole >= alike
    if cropped and len(small) > 2:
        windows = np.array([(pictures[near[row]] @ _windows(small[row]).T).max(1) for row in range(len(small))])
        links_found |= _cut(windows, whole)
    for row, k in zip(*np.nonzero(links_found & (near != np.arange(len(small))[:, None])), strict=True):
        links.join(int(row), int(near[row, k]))


def _unit(small: np.ndarray) -> np.ndarray:
    """(N, D): centred, at length 1; what is flat becomes zero."""
    flat = small.reshape(len(small), -1)
    centred = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 2.0 * np.sqrt(flat.shape[1]), centred / np.maximum(length, 1e-9), 0).astype(np.float32)


def _nearest(coarse: np.ndarray, limit: int) -> np.ndarray:
    """(N, up to _NEAR) rows that are most alike to each, most alike first."""
    rows = len(coarse)
    count = min(_NEAR, max(rows - 1, 1))
    if rows <= limit:
        found = []
        for start in range(0, rows, 256):
            likeness = coarse[start : start + 256] @ coarse.T
            likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = -2
            best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            order = np.argsort(-np.take_along_axis(likeness, best, 1), axis=1, kind="stable")
            found.append(np.take_along_axis(best, order, 1))
        return np.concatenate(found) if found else np.empty((0, count), np.int64)
    parts = []
    for direction in np.random.default_rng(20240229).normal(size=(_NEAR, coarse.shape[1])):
        order = np.argsort(coarse @ direction.astype(np.float32), kind="stable")
        beside = np.empty((rows, 8), np.int64)
        for k, step in enumerate((-4, -3, -2, -1, 1, 2, 3, 4)):
            beside[order, k] = order[np.clip(np.arange(rows) + step, 0, rows - 1)]
        parts.append(beside)
    candidates = np.concatenate(parts, 1)
    likeness = np.stack([np.einsum("ij,ij->i", coarse, coarse[column]) for column in candidates.T], 1)
    likeness[candidates == np.arange(rows)[:, None]] = -2
    best = np.argsort(-likeness, axis=1, kind="stable")[:, : 3 * count]
    return np.take_along_axis(candidates, best, 1)


def _windows(small: np.ndarray) -> np.ndarray:
    """(W, SIDE * SIDE) unit pictures: the parts of a small picture that somebody may have cut out."""
    from PIL import Image

    image = Image.fromarray(small)
    cut = []
    for share in (0.95, 0.9):
        for across, down in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
            left, top = (1 - share) * SIDE * across, (1 - share) * SIDE * down
            box = (left, top, left + share * SIDE, top + share * SIDE)
            cut.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)))
    return _unit(np.stack(cut))


def _cut(windows: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(N, K) whether the k-th most alike picture is a part of the picture of a row; both likenesses (N, K)."""
    others = np.sort(windows, axis=1)[:, max(0, windows.shape[1] - 5)][
        :, None
    ]  # a picture may have been cut four times
    distinct = (1 - windows) < _SET_APART * (1 - np.minimum(others, 0.98))
    return (windows >= _CUT) & (1 - windows < 0.5 * (1 - whole)) & distinct
