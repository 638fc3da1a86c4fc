"""The feature store: what a frozen backbone says of a row is computed once, kept on disk, and shared by every study.

A block holds one kind of output of one backbone: `pooled` vectors, the pooled outputs of all stages (`layers`), or the
activations that leave a boundary. Its name is a hash of the weights below the boundary, the preprocessing and the
precision; its rows are found by the content of the input, so labels, splits and row order play no role, appended rows
compute alone, and two datasets that share rows share their features. One pass writes every kind that is asked for.

Pooled vectors and layers are kept in 32 bits; activations in bf16 (half the bytes, range of fp32). Predictions made
from a block and from a fresh forward pass agree within `TOLERANCE`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from tltools import costs
from tltools.engine import autotune, stepping
from tltools.engine.autotune import Memory, Setting
from tltools.engine.blocks import FORMAT, Block, add_time, block_bytes, evict, lock, row_seconds
from tltools.engine.boundaries import BoundaryReader
from tltools.engine.stepping import Steps
from tltools.engine.sweep import Sweep, Want
from tltools.home import Home
from tltools.records import refuse

if TYPE_CHECKING:
    from tltools.engine.backbone import Backbone, Encoded
    from tltools.tickets import Ticket

Array = NDArray[Any]

TOLERANCE = {
    "float32": 1e-3,
    "bfloat16": 5e-2,
}  # of a class probability, cached against fresh, by precision of the pass


RATE_ROWS = 64  # a sweep of fewer rows says little about speed


class FeatureStore:
    """Features on disk, under a budget. One per job; any number of processes may share the folder.

    `encoded` may be given as a function that makes it: it is called only when a row is missing.
    `rows_computed` counts rows pushed through a backbone, `rows_found` rows read back, by this object.
    """

    def __init__(self, home: Home, cache_gb: float = 4.0, *, memory: Memory | None = None, dataset: str = "") -> None:
        """dataset: the id of that whose rows are read, by which the rate of a sweep is kept; "" keeps none."""
        self._home = home
        self._budget = int(cache_gb * 1e9)
        self._memory, self._dataset = memory, dataset
        self._settings: dict[str, Setting] = {}
        self._steps: dict[str, Steps] = {}
        self._open: dict[str, Block] = {}
        self._expected: dict[str, set[Want]] = {}
        self._encoding: dict[str, float] = {}  # seconds a row, by what encoding depends on
        self.rows_computed = 0
        self.rows_found = 0

    def encode(self, backbone: Backbone, items: Sequence[Any]) -> Encoded:
        """Items as the backbone reads them; how long a row takes counts as part of reading it."""
        started = time.monotonic()
        encoded = backbone.encode(items)
        self._encoding[encoding_of(backbone)] = (time.monotonic() - started) / max(len(encoded), 1)
        return encoded

    def reading(self, backbone: Backbone, rows: int, wants: Mapping[Want, int]) -> float | None:
        """Seconds that one trial takes to read so many rows by itself: to encode them, and to pass as many of them as
        each of `wants` needs, whose blocks are there, whoever wrote them. None where a pass was never timed."""
        encoding, found = self._encoding.get(encoding_of(backbone), 0.0), [0.0]
        for want, passed in wants.items():  # one pass serves them all: the longest
            each = row_seconds(self.folder(self._name(backbone, want, self.setting(backbone, None))))
            if each is None:
                return None
            found.append((each - encoding) * passed)
        return rows * encoding + max(found)

    def pooled(
        self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes], rows: Array,
        ticket: Ticket | None = None,
    ) -> Array:  # fmt: skip
        """(len(rows), D) float32: the pooled output of each row; keys: content key of every row of the dataset."""
        return self._vectors("pooled", backbone, encoded, keys, rows, ticket)

    def layers(
        self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes], rows: Array,
        ticket: Ticket | None = None,
    ) -> tuple[Array, tuple[slice, ...]]:  # fmt: skip
        """(len(rows), sum D_i) float32: the pooled output of every stage, and the columns of each stage."""
        edges = np.concatenate([[0], np.cumsum(backbone.stage_widths)]).tolist()
        columns = tuple(slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True))
        return self._vectors("layers", backbone, encoded, keys, rows, ticket), columns

    def boundary(
        self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes], rows: Array,
        boundary: int, ticket: Ticket | None = None,
    ) -> BoundaryReader:  # fmt: skip
        """A reader of the activations that leave stage `boundary` - 1 of each row.

        Raises: Refusal when they do not fit into the budget, or the backbone cannot go on from there.
        """
        if not _resumable(backbone, boundary):
            good = ", ".join(str(i) for i in range(1, len(backbone.stages)) if backbone.resumable[i]) or "none"
            raise refuse("boundary", f"must be one of {good}; got {boundary}.", "Choose another, or train everything.")
        rows = np.asarray(rows, np.int64)
        with self._complete(backbone, encoded, keys, rows, (boundary,), ticket) as blocks:
            block = blocks[boundary]
            self.rows_found += len(rows)
            return BoundaryReader(block, rows, block.find(_keys(keys, rows)))

    def sweep(
        self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes], rows: Array,
        wants: Iterable[Want], ticket: Ticket | None = None,
    ) -> int:  # fmt: skip
        """Computes what is missing of all `wants` in one pass; returns the number of rows that it took."""
        before = self.rows_computed
        with self._complete(backbone, encoded, keys, np.asarray(rows, np.int64), tuple(wants), ticket):
            return self.rows_computed - before

    def expect(self, backbone: Backbone, wants: Iterable[Want]) -> None:
        """Says what will be asked of a backbone later, so that the first pass over its rows writes it as well."""
        good = {want for want in wants if not isinstance(want, int) or _resumable(backbone, want)}
        self._expected.setdefault(backbone.fingerprint(len(backbone.stages)), set()).update(good)

    def missing(self, backbone: Backbone, keys: Sequence[bytes], rows: Array, want: Want) -> int:
        """How many of the rows' contents a sweep would compute."""
        unique = np.unique(_keys(keys, np.asarray(rows, np.int64)))
        return int((~self._sound(self._name(backbone, want, self.setting(backbone, None)), unique)).sum())

    def setting(self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded] | None) -> Setting:
        """Precision and memory format of this backbone here, and why; measured on first use."""
        key = costs.network_key(backbone.source)
        known = self._settings.get(key)
        if known is not None:
            autotune.arrange(backbone, known)
            return known
        known = autotune.choose(backbone, encoded, self._memory)
        if encoded is not None:  # a setting that was not measured for want of rows is not kept
            self._settings[key] = known
        return known

    def steps(self, backbone: Backbone, encoded: Encoded) -> Steps:
        """How this backbone's training steps are taken here; measured on first use."""
        key, setting = costs.network_key(backbone.source), self.setting(backbone, encoded)
        if key not in self._steps:
            self._steps[key] = stepping.choose(backbone, encoded, setting, self._memory)
        return self._steps[key]

    def remember_in(self, memory: Memory) -> None:
        """From now on what was measured is kept there."""
        self._memory = memory

    def bytes_on_disk(self) -> int:
        """Size of all blocks."""
        return sum(block_bytes(path.parent) for path in self._home.features.glob("*/block.json"))

    def _vectors(
        self, want: Want, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes],
        rows: Array, ticket: Ticket | None,
    ) -> Array:  # fmt: skip
        rows = np.asarray(rows, np.int64)
        with self._complete(backbone, encoded, keys, rows, (want,), ticket) as blocks:
            self.rows_found += len(rows)
            return blocks[want].take(blocks[want].find(_keys(keys, rows)))

    @contextmanager
    def _complete(
        self, backbone: Backbone, encoded: Encoded | Callable[[], Encoded], keys: Sequence[bytes], rows: Array,
        wants: Sequence[Want], ticket: Ticket | None,
    ) -> Iterator[dict[Want, Block]]:  # fmt: skip
        """Blocks in which no row is missing; while they are made complete, nobody else may write or remove them."""
        if self._memory is None and ticket is not None:
            self._memory = ticket.store
        setting = self.setting(backbone, encoded)
        names = {want: self._name(backbone, want, setting) for want in dict.fromkeys(wants)}
        unique, first = np.unique(_keys(keys, rows), return_index=True)
        with ExitStack() as stack:
            if not all(self._sound(name, unique).all() for name in names.values()):
                later = self._expected.get(backbone.fingerprint(len(backbone.stages)), set()) - set(wants)
                names |= {want: self._name(backbone, want, setting) for want in later}
                for name in sorted(names.values()):  # one order for everybody, so that no two wait for each other
                    stack.enter_context(_held(lock(self._home.features, name), ticket))
                    self._open.pop(name, None)
                absent = {want: ~self._sound(name, unique) for want, name in names.items()}
                if any(mask.any() for mask in absent.values()):
                    sweep = Sweep(self, backbone, autotune.made(encoded), setting, names, ticket, optional=later)
                    self.rows_computed += sweep.run(unique, rows[first], absent)
                    self._remember_rate(backbone, sweep)
                    self._note_time(backbone, sweep, names.values())
                    for name in names.values():
                        self._open.pop(name, None)
            yield {want: self._opened(names[want]) for want in wants}

    def _remember_rate(self, backbone: Backbone, sweep: Sweep) -> None:
        """Estimates speak of what this machine has done: the rate of a sweep of some length is kept."""
        if self._memory is not None and self._dataset and sweep.rows >= RATE_ROWS:
            key = costs.rate_key(backbone.source, self._dataset)
            known = self._memory.recall("rate", key) or {}
            self._memory.remember("rate", key, {**known, "rows_per_second": sweep.rows / max(sweep.seconds, 1e-9)})

    def _note_time(self, backbone: Backbone, sweep: Sweep, names: Iterable[str]) -> None:
        """What reading cost lies beside what was read, so that a study that finds it there counts it, too."""
        seconds = sweep.seconds + sweep.rows * self._encoding.get(encoding_of(backbone), 0.0)
        for folder in filter(Path.is_dir, map(self.folder, names)):  # what did not fit has none
            add_time(folder, sweep.rows, seconds)

    def _opened(self, name: str) -> Block:
        if name not in self._open:
            self._open[name] = Block(self._home.features / name)
        return self._open[name]

    def _sound(self, name: str, unique: Array) -> Array:
        """(U,) bool: which contents the block holds, undamaged."""
        try:
            block = self._opened(name)
        except FileNotFoundError:
            return np.zeros(len(unique), bool)
        return block.sound(block.find(unique))

    def _name(self, backbone: Backbone, want: Want, setting: Setting) -> str:
        depth = want if isinstance(want, int) else len(backbone.stages)
        kind = "states" if isinstance(want, int) else want
        parts = [FORMAT, kind, depth, backbone.fingerprint(depth), setting.precision]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def make_room(self, coming: int, names: Iterable[str], *, must: bool) -> None:
        """Removes what was used longest ago until `coming` bytes fit beside the blocks `names`.

        Raises: Refusal when they do not fit and `must` is set.
        """
        features, mine = self._home.features, set(names)
        kept = sum(block_bytes(features / name) for name in mine)
        if must and coming + kept > self._budget:
            raise refuse(
                "budget: cache_gb",
                f"must be at least {(coming + kept) / 1e9:.2f} for these activations; got {self._budget / 1e9:.2f}.",
                "Raise it, or choose a strategy that trains fewer or no stages.",
            )
        evict(features, self._home.trash, down_to=max(self._budget - coming, 0), keep=mine)

    def folder(self, name: str) -> Path:
        """Where the block of this name lies."""
        return self._home.features / name


@contextmanager
def _held(mutex: FileLock, ticket: Ticket | None) -> Iterator[None]:
    """Waits for a lock, asking the ticket now and then whether to go on waiting."""
    while True:
        try:
            mutex.acquire(timeout=0.5, poll_interval=0.05)
            break
        except Timeout:
            if ticket:
                ticket.check()
                ticket.progress("waiting for another run that reads the same features", 0, 0)
    try:
        yield
    finally:
        mutex.release()


def encoding_of(backbone: Backbone) -> str:
    """What encoding depends on beside the items: equal of backbones that share encoded rows."""
    return f"{backbone.source.id}|{backbone.preprocessing}"


def _resumable(backbone: Backbone, boundary: int) -> bool:
    return 0 < boundary < len(backbone.stages) and backbone.resumable[boundary]


def _keys(keys: Sequence[bytes], rows: Array) -> Array:
    """(N,) S32: the content keys of the rows."""
    return np.array([keys[row] for row in rows], "S32")
