"""Near-duplicates: token sets by MinHash bands, pictures by fingerprints, links that become clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDE = 32  # pixels of the small grey pictures that are compared
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


def similar_pictures(small: np.ndarray, links: Links, limit: int, alike: float = 0.99) -> None:
    """Links images whose fingerprints nearly agree and whose small pictures (N, SIDE * SIDE) do so too.

    `alike` is the correlation from which two pictures are nearly the same; flat ones are left alone. Above `limit`
    rows only neighbours in the order of each quarter of the fingerprint are compared.
    """
    small = small.astype(np.float32)
    centred = small - small.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    pictures = np.where(length > 2.0 * SIDE, centred / np.maximum(length, 1e-9), 0)
    hashes = _fingerprints(small)
    rows = len(hashes)
    if rows > limit:  # comparing all with all would take minutes: only those that share a quarter of the fingerprint
        for quarter in range(4):
            key = (hashes >> np.uint64(16 * quarter)) & np.uint64(0xFFFF)
            order = np.argsort(key, kind="stable")
            for step in range(1, 9):
                same = key[order][step:] == key[order][:-step]
                _verify(order[:-step][same], order[step:][same], hashes, pictures, links, alike)
        return
    for start in range(0, rows, 256):
        block = hashes[start : start + 256, None] ^ hashes[None, start:]
        one, other = np.nonzero(np.bitwise_count(block) <= 6)
        later = other > one
        _verify(one[later] + start, other[later] + start, hashes, pictures, links, alike)


def _fingerprints(small: np.ndarray) -> np.ndarray:
    """(N, 1024) grey pictures -> (N,) uint64: is each of 8 x 8 fields brighter than its right neighbour?"""
    rows = small.reshape(-1, 8, SIDE // 8, SIDE).mean(2)
    edges = np.linspace(0, SIDE, 10).astype(int)
    fields = np.stack([rows[:, :, a:b].mean(2) for a, b in zip(edges[:-1], edges[1:], strict=True)], 2)
    bits = (fields[:, :, 1:] > fields[:, :, :-1] + 0.5).reshape(-1, 64)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _verify(
    one: np.ndarray, other: np.ndarray, hashes: np.ndarray, pictures: np.ndarray, links: Links, least: float
) -> None:
    close = np.bitwise_count(hashes[one] ^ hashes[other]) <= 6
    one, other = one[close], other[close]
    for start in range(0, len(one), 20_000):
        a, b = one[start : start + 20_000], other[start : start + 20_000]
        alike = np.einsum("ij,ij->i", pictures[a], pictures[b]) >= least
        for first, second in zip(a[alike], b[alike], strict=True):
            links.join(int(first), int(second))
