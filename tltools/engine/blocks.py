"""One block of features on disk: an append-only file of rows and an index that says which content each row belongs to.

`rows.bin` holds the rows one after another; `index.bin` holds one fixed-size record per row (content key, where, how
long, checksum) and is written after the rows it speaks of. Whatever a killed writer left behind the last record is cut
off by the next one; a row that a power cut or a bad disk has damaged fails its checksum and counts as missing. So the
index is the manifest, nothing has to be sealed, and appending is safe while others read.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from tltools.home import write_json

Array = NDArray[Any]

FORMAT = 1  # of blocks on disk; part of their names
RECORD = np.dtype([("key", "S32"), ("offset", "<u8"), ("units", "<u4"), ("checksum", "<u4")])


class Block:
    """A snapshot of one block, for reading; `Writer` appends to the same folder.

    A unit is the smallest piece of a row: a row of `units` n has the shape `(n, *unit_shape)` when the block is ragged,
    and `unit_shape` when it is not (n = 1).
    """

    def __init__(self, folder: Path) -> None:
        """Raises: FileNotFoundError when the block does not exist."""
        self.folder = folder
        self.meta: dict[str, Any] = json.loads((folder / "block.json").read_text())
        self.unit_shape: tuple[int, ...] = tuple(self.meta["unit_shape"])
        self.ragged: bool = self.meta["ragged"]
        self.dtype = np.dtype(self.meta["dtype"])
        self._unit = int(np.prod(self.unit_shape, dtype=np.int64))
        self.records = read_records(folder)
        rows = folder / "rows.bin"
        size = rows.stat().st_size // self.dtype.itemsize if rows.is_file() else 0
        self._data: Array = np.memmap(rows, self.dtype, "r", shape=(size,)) if size else np.zeros(0, self.dtype)
        (folder / "used").touch()
        whole = self.records["offset"] + self.records["units"].astype(np.uint64) * np.uint64(self._unit)
        self.records = self.records[whole <= len(self._data)]
        self._order = np.argsort(self.records["key"], kind="stable")
        self._checked = np.zeros(len(self.records), bool)

    def find(self, keys: Array) -> Array:
        """(N,) content keys (dtype S32) -> (N,) positions of their latest records; -1 where there is none."""
        if not len(self.records):
            return np.full(len(keys), -1, np.int64)
        ordered = self.records["key"][self._order]
        after = np.searchsorted(ordered, keys, side="right") - 1
        found = self._order[np.maximum(after, 0)]
        return np.where(self.records["key"][found] == keys, found, -1)

    def sound(self, positions: Array) -> Array:
        """(N,) positions -> (N,) bool: present, and equal to what was written. Each record is summed once."""
        good = positions >= 0
        for i in np.flatnonzero(good):
            at = positions[i]
            if not self._checked[at]:
                good[i] = zlib.crc32(self._flat(at).data) == self.records["checksum"][at]
                self._checked[at] = good[i]
        return good

    def take(self, positions: Array) -> Array:
        """(N,) positions of a block that is not ragged -> (N, *unit_shape) copy."""
        offsets = self.records["offset"][positions].astype(np.int64) // self._unit
        table = self._data[: len(self._data) // self._unit * self._unit].reshape(-1, *self.unit_shape)
        return np.asarray(table[offsets])

    def row(self, position: int) -> Array:
        """One row, (n, *unit_shape) when ragged, as a view of the file."""
        shape = (int(self.records["units"][position]), *self.unit_shape) if self.ragged else self.unit_shape
        return self._flat(position).reshape(shape)

    def units(self, positions: Array) -> Array:
        """(N,) int64 lengths of the rows."""
        return self.records["units"][positions].astype(np.int64)

    def _flat(self, position: int) -> Array:
        start = int(self.records["offset"][position])
        return self._data[start : start + int(self.records["units"][position]) * self._unit]


class Writer:
    """Appends rows to a block, which it makes when there is none. Only the holder of the block's lock may open one."""

    def __init__(self, folder: Path, *, unit_shape: Sequence[int], ragged: bool, dtype: str, about: Mapping[str, Any]):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "block.json").is_file():
            shape = [int(n) for n in unit_shape]
            write_json(folder / "block.json", {**about, "unit_shape": shape, "ragged": ragged, "dtype": dtype})
        self._dtype = np.dtype(dtype)
        self._pending: list[tuple[bytes, Array, int]] = []
        records = read_records(folder)
        self._rows = _open_at(folder / "rows.bin", _end(records, folder) * self._dtype.itemsize)
        self._index = _open_at(folder / "index.bin", len(records) * RECORD.itemsize)
        self._at = _end(records, folder)
        self._committed = time.monotonic()

    def add(self, key: bytes, row: Array, units: int = 1) -> None:
        """Queues one row; `commit` writes what is queued."""
        self._pending.append((key, np.ascontiguousarray(row, self._dtype), units))

    def commit(self, *, at_least: int = 1, seconds: float = 0.0) -> None:
        """Writes the queued rows, then their records, when there are `at_least` and the last commit is so long ago."""
        if len(self._pending) < at_least or time.monotonic() - self._committed < seconds:
            return
        records = np.zeros(len(self._pending), RECORD)
        for i, (key, row, units) in enumerate(self._pending):
            records[i] = (key, self._at, units, zlib.crc32(row.data))
            self._rows.write(row.data)
            self._at += row.size
        self._rows.flush()
        self._index.write(records.tobytes())
        self._index.flush()
        self._pending.clear()
        self._committed = time.monotonic()

    def close(self) -> None:
        """Commits, and brings both files to the disk."""
        self.commit()
        for file in (self._rows, self._index):
            os.fsync(file.fileno())
            file.close()


def read_records(folder: Path) -> Array:
    """The whole records of a block's index; a half-written last one is left out."""
    path = folder / "index.bin"
    content = path.read_bytes() if path.is_file() else b""
    return np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)


def add_time(folder: Path, rows: int, seconds: float) -> None:
    """Notes beside a block how long a pass took that wrote into it; only the holder of its lock may."""
    before = _times(folder)
    write_json(folder / "time.json", {"rows": before["rows"] + rows, "seconds": before["seconds"] + seconds})


def row_seconds(folder: Path) -> float | None:
    """Seconds a row of the passes that wrote a block; None where none was timed."""
    known = _times(folder)
    return known["seconds"] / known["rows"] if known["rows"] else None


def lock(features: Path, name: str) -> FileLock:
    """The lock of a block; it lies outside the block's folder, so that it outlives the block."""
    (features / "locks").mkdir(parents=True, exist_ok=True)
    return FileLock(features / "locks" / f"{name}.lock")


def block_bytes(folder: Path) -> int:
    """Size of a block on disk; 0 where there is none."""
    return sum(path.stat().st_size for path in (folder / "rows.bin", folder / "index.bin") if path.is_file())


def evict(features: Path, trash: Path, *, down_to: int, keep: set[str]) -> list[str]:
    """Removes the blocks that were used longest ago until at most `down_to` bytes are left; returns their names.

    A block that somebody writes is passed over. Somebody who reads one goes on reading: a removed file lives until it
    is closed (where the system refuses to move an open folder, as Windows does, the block is passed over).
    """
    blocks = [path.parent for path in features.glob("*/block.json")]
    sizes = {folder: block_bytes(folder) for folder in blocks}
    total, gone = sum(sizes.values()), []
    for folder in sorted(blocks, key=_used):
        if total <= down_to:
            break
        if folder.name in keep:
            continue
        try:
            with lock(features, folder.name).acquire(timeout=0):
                trash.mkdir(parents=True, exist_ok=True)
                grave = trash / f"features-{folder.name}-{time.time_ns()}"
                os.replace(folder, grave)
        except (Timeout, OSError):
            continue
        shutil.rmtree(grave, ignore_errors=True)
        total -= sizes[folder]
        gone.append(folder.name)
    return gone


def _times(folder: Path) -> dict[str, float]:
    try:
        return dict(json.loads((folder / "time.json").read_text()))
    except FileNotFoundError:
        return {"rows": 0, "seconds": 0.0}


def _used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except OSError:
        return 0.0


def _end(records: Array, folder: Path) -> int:
    """First free element of rows.bin: behind the last record."""
    if not len(records):
        return 0
    unit = int(np.prod(json.loads((folder / "block.json").read_text())["unit_shape"], dtype=np.int64))
    return int((records["offset"] + records["units"].astype(np.uint64) * np.uint64(unit)).max())


def _open_at(path: Path, size: int) -> Any:
    """Opens a file for appending behind `size` bytes, cutting off or padding what a killed writer left."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file
