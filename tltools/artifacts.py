"""Folders that are written once and then only read: built beside their place, sealed by a manifest, renamed in.

The manifest `sealed.json` is written last, so its presence means "complete"; it holds size and sha256 of every file.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from tltools.home import json_bytes, sync_folder
from tltools.records import Problem

MANIFEST = "sealed.json"
KEPT = 30 * 86_400.0  # seconds that uploads, the trash and checkpoints nobody went on from are kept
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)  # what a rename says of a place that is taken; Windows: the last
_MANY = 500  # files; above it they are flushed together


def sealed(folder: Path) -> bool:
    """Tells whether a folder is complete."""
    return (folder / MANIFEST).is_file()


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """Lends a temporary folder; on a clean exit it is sealed and renamed to `final`.

    When another process sealed the same content first, its folder is kept: content addresses make both equal.
    After an exception nothing is left behind.
    """
    with building_all([final]) as (folder,):
        yield folder


@contextmanager
def building_all(finals: Sequence[Path], instead: Collection[Path] = ()) -> Iterator[list[Path]]:
    """As `building`, a temporary folder each, sealed together: the disk is waited for about as often as for one.

    instead: those of them that take the place of a sealed folder, which has less.
    """
    parts = [final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.part" for final in finals]
    try:
        for part in parts:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
        yield parts
        _seal(parts)
        for part, final in zip(parts, finals, strict=True):
            if final in instead and sealed(final):
                os.rename(final, final.with_name(part.name + ".old"))
            _put_in_place(part, final)
            shutil.rmtree(final.with_name(part.name + ".old"), ignore_errors=True)
        for parent in {final.parent for final in finals}:
            sync_folder(parent)
    finally:
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)


def _put_in_place(temporary: Path, final: Path) -> None:
    """Renames a sealed folder to its place, or leaves the sealed one that is there.

    An unsealed folder in our place is the rest of something that died. Only one process at a time removes such rests,
    and looks once more before: else it might remove what another one has put there in between.
    """
    for _ in range(100):
        try:
            os.rename(temporary, final)  # refused where a folder with content is
            return
        except OSError as error:
            if sealed(final):
                return
            if error.errno not in _TAKEN:
                raise
        with FileLock(final.parent / ".removing-rests.lock"):
            if not sealed(final):
                shutil.rmtree(final, ignore_errors=True)
    raise OSError(f"{final} is taken again and again")


def verify(folder: Path) -> list[Problem]:
    """Compares a sealed folder with its manifest; an empty list means that every byte is as it was written."""
    if not sealed(folder):
        return [_broken(folder, "has no manifest, so it is not complete")]
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        return [_broken(folder / MANIFEST, "cannot be read")]
    problems = []
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            problems.append(_broken(path, "is gone"))
        elif path.stat().st_size != size or _sha256(path) != digest:
            problems.append(_broken(path, "is not what was written"))
    return problems


def sweep_leftovers(parent: Path, older_than: float = 86_400.0) -> int:
    """Removes what interrupted builders left in a folder of artifacts (age in seconds); returns how many. A folder
    that was put aside for its successor, which never came, goes back to its place. Nobody may be building meanwhile."""
    for aside in parent.glob(".*.part.old"):
        final = parent / aside.name[1:].rsplit(".", 3)[0]
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, final)
    return _sweep(parent.glob(".*.part"), older_than)


def sweep_old(parent: Path, older_than: float) -> int:
    """Removes folders that nothing was written into for so many seconds; returns how many."""
    return _sweep(parent.glob("*/"), older_than)


def _sweep(folders: Iterable[Path], older_than: float) -> int:
    removed = 0
    for folder in folders:
        try:
            old = time.time() - folder.stat().st_mtime > older_than
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _seal(folders: Sequence[Path]) -> None:
    """Brings all files to the disk, then a manifest into each folder. The first flush takes most of the files along."""
    held = {folder: sorted(folder.rglob("*")) for folder in folders}
    if sum(map(len, held.values())) > _MANY and hasattr(os, "sync"):
        os.sync()  # one flush of everything is cheaper than thousands of single ones
    else:
        for path in itertools.chain.from_iterable(held.values()):
            _flush(path)
    for folder, paths in held.items():
        files = {p.relative_to(folder).as_posix(): [p.stat().st_size, _sha256(p)] for p in paths if p.is_file()}
        (folder / MANIFEST).write_bytes(json_bytes({"files": files}))
    for folder in folders:
        _flush(folder / MANIFEST)
        _flush(folder)


def _flush(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
    else:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(path: Path, what: str) -> Problem:
    return Problem(severity="error", where=str(path), what=f"{what}.", remedy="Remove the folder; it is made again.")
