"""Zip archives from strangers: each entry is judged before a byte is unpacked, and none is extracted by its name."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tltools.formats import Limits, asking
from tltools.records import Refusal, refuse

NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_RATIO = 100  # of all together: one file, such as a mask with little on it, may well shrink more
_HEADER = 30  # bytes of a local file header, before name and extra field
_UTF_8 = 0x800  # the flag of a name that is not in the old code page


def slashed(path: Path) -> zipfile.ZipFile:
    """Opens a zip whose names part folders by slashes, whatever wrote it: old Windows programs write backslashes.

    Raises:
        BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError, OSError: damaged, or not there.
    """
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        if "\\" in info.filename:
            info.filename = info.filename.replace("\\", "/")
            archive.NameToInfo[info.filename] = info
    return archive


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Opens a zip whose every entry was found harmless; yields it and its files (folders left out).

    Raises:
        Refusal: damaged, encrypted, nested, too large, or an entry that would escape; nothing was written.
    """
    try:
        archive = slashed(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError) as error:
        raise refuse(path.name, f"must be a zip archive; it is damaged ({error}).", "Make the zip again.") from error
    with archive:
        infos = archive.infolist()
        _judge(path, infos, asking.get().limits)
        yield archive, [info for info in infos if not info.is_dir()]


def content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, shown: str) -> bytes:
    """Returns the bytes of one entry, counted while they stream.

    Raises:
        Refusal: the entry is damaged, or its size is not what the archive says.
    """
    pieces, size = [], 0
    try:
        with archive.open(info) as stream:
            while piece := stream.read(1 << 20):
                size += len(piece)
                if size > info.file_size:
                    raise _lying(shown, info)
                pieces.append(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        if isinstance(error, Refusal):
            raise
        what = f'the entry "{readable(info.filename)}" is damaged ({error}).'
        raise refuse(shown, what, "Make the zip again.") from error
    if size != info.file_size:
        raise _lying(shown, info)
    return b"".join(pieces)


def readable(name: str) -> str:
    """Returns an entry's name as it may be shown: no control or direction marks, at most 120 characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)[:120]


def is_system_file(name: str) -> bool:
    """Says whether a name is one that macOS or Windows adds by itself."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini") or parts[-1].startswith("._")


def _lying(shown: str, info: zipfile.ZipInfo) -> Refusal:
    what = f'the entry "{readable(info.filename)}" is not as large as the archive says.'
    return refuse(shown, what, "Make the zip again with an ordinary program.")


def _judge(path: Path, infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    shown = path.name
    files = [info for info in infos if not info.is_dir()]
    if not files:
        raise refuse(shown, "the archive is empty.", "Put one folder of images per class, or one table, into it.")
    if len(infos) > limits.entries:
        what = f"at most {limits.entries:,} files can be in an archive; got {len(infos):,}."
        raise refuse(shown, what, "Add a part of it, or give the folder's path in the terminal.")
    total = sum(info.file_size for info in files)
    if total > limits.archive_bytes:
        what = f"unpacked it would take {total / 1e9:.1f} GB; at most {limits.archive_bytes / 1e9:.0f} GB are read."
        raise refuse(shown, what, "Add a part of it.")
    if total > 1_000_000 and total > _RATIO * sum(max(1, info.compress_size) for info in files):
        most = max(files, key=lambda info: info.file_size)
        named = readable(most.filename)
        what = f'it unpacks to more than {_RATIO} times its size, most of it "{named}", as in a zip bomb.'
        raise refuse(shown, what, "Add the files themselves, in a folder, instead of the zip.")
    seen: set[str] = set()
    for info in infos:
        _judge_entry(shown, info, limits)
        if info.filename in seen:
            what = f'the name "{readable(info.filename)}" stands in the archive twice.'
            raise refuse(shown, what, "Make the zip again with distinct names.")
        seen.add(info.filename)
    _judge_offsets(path, infos)


def _judge_entry(shown: str, info: zipfile.ZipInfo, limits: Limits) -> None:
    name = info.orig_filename.replace("\\", "/")  # as it stands in the archive; zipfile cuts at a zero byte
    parts = name.split("/")
    bad = ".." in parts or name.startswith("/") or name[1:2] == ":" or any(ord(c) < 32 for c in name)
    what = remedy = ""
    if bad:
        what, remedy = (
            f'the entry "{readable(name)}" would be written outside its folder.',
            "Make the zip again from a folder.",
        )
    elif stat.S_ISLNK(info.external_attr >> 16):
        what, remedy = f'the entry "{readable(name)}" is a link.', "Put the file itself into the zip."
    elif info.flag_bits & 1:
        what, remedy = "the archive is encrypted.", "Make the zip again without a password."
    elif name.lower().endswith(NESTED) and not name.lower().endswith(".nii.gz"):  # that reader names it
        what, remedy = (
            f'there is an archive in the archive ("{readable(name)}").',
            "Unpack it and zip the files themselves.",
        )
    elif info.file_size > limits.entry_bytes:
        size = f"{info.file_size / 1e6:,.0f} MB"
        what = f'the entry "{readable(name)}" takes {size}; at most {limits.entry_bytes / 1e6:.0f} MB are read.'
        remedy = "Make the file smaller."
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        what = f'the entry "{readable(name)}" is packed in a way that cannot be read here.'
        remedy = "Make the zip again with ordinary compression."
    if what:
        raise refuse(shown, what, remedy)


def _judge_offsets(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Entries that share bytes are a bomb: Python before 3.13 does not notice."""
    end_before = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end_before:
            what = f'the entry "{readable(info.filename)}" overlaps another one, as in a zip bomb.'
            raise refuse(path.name, what, "Make the zip again with an ordinary program.")
        coding = "utf-8" if info.flag_bits & _UTF_8 else "cp437"
        end_before = (
            info.header_offset + _HEADER + len(info.orig_filename.encode(coding, "replace")) + info.compress_size
        )
    if end_before > path.stat().st_size:
        raise refuse(
            path.name, "the archive is cut off: its last entry ends behind the file.", "Copy or make it again."
        )
