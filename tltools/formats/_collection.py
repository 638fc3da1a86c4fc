"""Collections of files become rows: a folder or zip of class folders, or of files and a table of labels.

What is in the files (pictures, sounds) a `Kind` says: its words, its endings, and how one file is decoded.
"""

from __future__ import annotations

import os
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from tltools.formats import Asking, Limits, Read, _label_tables, asking
from tltools.formats import _archive as archives
from tltools.formats._cells import listed
from tltools.formats._layout import PART_COLUMNS, PARTS, understand
from tltools.records import Problem, Skipped, plain_name, refuse

_LABEL_FILES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".jsonl", ".json")


class NotTaken(ValueError):
    """A file that is not taken; its text is the reason."""


@dataclass(frozen=True)
class Decoded:
    """A stored file: its path below the media folder, its facts in the order of the kind's, and what was changed."""

    path: str
    facts: tuple[float, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """What the files of a collection are."""

    column: str  # with the stored names; called as the modality that reads it
    word: str  # one of them, in sentences
    endings: tuple[str, ...]  # lower case, those that can only be refused included
    facts: tuple[str, ...]  # columns of numbers that decoding finds
    how: str  # what a good collection looks like
    decode: Callable[[bytes, Path, Limits], Decoded]  # raises NotTaken

    def has(self, name: str) -> bool:
        """Says whether a name ends as files of this kind do."""
        return name.lower().endswith(self.endings)


@dataclass(frozen=True)
class Collection:
    """The files of a folder or an archive: their names, and how to get the bytes of one."""

    shown: str
    names: list[str]
    content: Callable[[str], bytes]
    refused: tuple[Skipped, ...] = ()


def recognise(path: Path, kind: Kind) -> float:
    """How sure, 0..1, that a path is a collection of this kind: the more of its files are, the surer."""
    if path.is_dir():
        names: list[str] = []
        for number, (_, _, files) in enumerate(os.walk(path)):
            names += files
            if number > 2_000:
                break
    elif path.suffix.lower() == ".zip":
        try:
            with archives.slashed(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError, OSError):
            return 0.5  # damaged: the reader says how
    else:
        return 0.4 if kind.has(path.name) else 0.0  # text under such a name is no table
    ours = sum(map(kind.has, names))
    return 0.85 + 0.1 * ours / len(names) if ours else 0.1 + 0.1 * path.is_file()


def read(path: Path, scratch: Path, kind: Kind) -> Read:
    """Reads a folder or zip; decoded files are written below `scratch`.

    Raises:
        Refusal: an archive that could do harm, no file of the kind, or files without any label.
    """
    labelled, word = asking.get().labelled, kind.word
    if path.is_file() and kind.has(path.name) and labelled:
        raise refuse(path.name, f"one {word} is no dataset{_unread(path, scratch, kind)}.", kind.how)
    with opened(path, kind) as collection:
        files = [name for name in collection.names if kind.has(name)]
        if not files:
            some = listed(sorted({PurePosixPath(n).suffix.lower() or n for n in collection.names}))
            what = f"there is no {word} in it; found {some or 'nothing'}."
            raise refuse(collection.shown, what, _table_instead(collection) or kind.how)
        skipped = list(collection.refused)
        labels = [n for n in collection.names if n.lower().endswith(_LABEL_FILES) and not _is_read_me(n)]
        layout = understand(files, word)
        described, label_files, label_notes = _label_tables.find(collection, labels, files, skipped)
        if described is None and labelled and not any(layout.classes.values()):
            what = f"the {word}s lie in no class folders, and no table names their labels."
            raise refuse(collection.shown, what, kind.how)
        done, reasons, remarks = decode_all(collection, files, scratch, kind)
    others = set(collection.names) - set(files) - label_files
    skipped += [Skipped(where=n, reason=f"it is no {word}") for n in sorted(others) if not _is_read_me(n)]
    skipped += [Skipped(where=archives.readable(name), reason=reason) for name, reason in reasons.items()]
    taken = [n for n in files if n in done]
    table = pd.DataFrame(
        [(done[n].path, layout.classes[n], *done[n].facts, archives.readable(n), layout.parts[n]) for n in taken],
        columns=[kind.column, "label", *kind.facts, "_where", "_part"],
    ).astype(dict.fromkeys(kind.facts, float))
    target: str | None = "label"
    if described is not None:
        table, target, unlabelled = _join(
            table, described, skipped, kind, {archives.readable(name) for name in reasons}
        )
        label_notes += unlabelled
    if table.empty:
        first = f" The first: {skipped[0].where}: {skipped[0].reason}." if skipped else ""
        raise refuse(collection.shown, f"none of the {len(files)} {word}s could be used.{first}", kind.how)
    problems = [
        *skip_problems(collection.shown, skipped),
        *remark_notes(collection.shown, remarks, word),
        *label_notes,
    ]
    empty = table["label"].eq("") if target == "label" and "label" in table else None
    if empty is not None and empty.any():
        table = table.assign(label=table["label"].mask(empty))
    inference = layout.inference if described is None else ()
    return Read(table, scratch, target, tuple(problems), tuple(skipped), inference, kind.column)


def _unread(path: Path, scratch: Path, kind: Kind) -> str:
    """What is wrong with a single file beside that it is no dataset, so that nobody collects a thousand such."""
    limits = asking.get().limits
    if why := _barred(path, path.resolve().parent, limits.entry_bytes):
        return f", and {why}"
    try:
        kind.decode(path.read_bytes(), scratch, limits)
    except NotTaken as reason:
        return f"; and this one: {reason}"
    return ""


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[Collection]:
    """Opens a folder, a zip or a single file of a kind."""
    shown = plain_name(path.name)
    if path.is_file() and kind.has(shown):
        yield Collection(shown, [shown], lambda name: path.read_bytes())
        return
    if path.is_dir():
        files, refused = _walk(path)
        yield Collection(shown, list(files), lambda name: files[name].read_bytes(), refused)
        return
    with archives.opened(path) as (archive, infos):
        by_name = {i.filename: i for i in infos if not archives.is_system_file(i.filename)}
        yield Collection(shown, list(by_name), lambda name: archives.content(archive, by_name[name], path.name))


def _walk(root: Path) -> tuple[dict[str, Path], tuple[Skipped, ...]]:
    """Files below a folder by their shown names, sorted, without hidden ones; links that lead out of it are refused."""
    limits, refused = asking.get().limits, []
    found: dict[str, Path] = {}
    inside = root.resolve()
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder) / file
            name = plain_name(path.relative_to(root).as_posix())
            if file.startswith(".") or archives.is_system_file(name):
                continue
            if why := _barred(path, inside, limits.entry_bytes):
                refused.append(Skipped(where=name, reason=why))
                continue
            if name in found:
                refused.append(Skipped(where=name, reason="another file's name differs only where neither is UTF-8"))
                continue
            found[name] = path
            if len(found) > limits.entries:
                raise refuse(
                    root.name, f"at most {limits.entries:,} files are read; the folder has more.", "Add a part of it."
                )
    return found, tuple(refused)


def _barred(file: Path, inside: Path, most: int) -> str:
    """Why a file of a folder is not read; "" where it is."""
    try:
        target, status = file.resolve(), file.stat()
    except (OSError, RuntimeError):
        return "it is a link that leads nowhere" if file.is_symlink() else "it cannot be opened"
    if not target.is_relative_to(inside):
        return "it is a link that leads out of the folder"
    if not stat.S_ISREG(status.st_mode):  # a pipe is waited for without end
        return "it is a pipe or a device, not a file"
    if status.st_size > most:
        return f"it takes {status.st_size / 1e6:,.0f} MB; at most {most / 1e6:.0f} MB are read, make it smaller"
    return ""


def decode_all(
    collection: Collection, names: list[str], media: Path, kind: Kind
) -> tuple[dict[str, Decoded], dict[str, str], Counter[str]]:
    """(decoded files, reasons of those that are not taken, remarks and how often) by name."""
    ask: Asking = asking.get()
    done: dict[str, Decoded] = {}
    reasons: dict[str, str] = {}
    remarks: Counter[str] = Counter()

    def one(content: bytes) -> Decoded | str:
        try:
            return kind.decode(content, media, ask.limits)
        except NotTaken as reason:
            return str(reason)

    # an archive can be read by one thread only; decoding and encoding release the lock
    with warnings.catch_warnings(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of large images; the limit here is an error
        seen = 0
        for block in _blocks(collection, names):
            for name, result in zip(block, pool.map(one, block.values()), strict=True):
                if isinstance(result, str):
                    reasons[name] = result
                else:
                    done[name] = result
                    remarks.update(result.remarks)
            seen += len(block)
            ask.told(f"decoding {kind.word}s", seen, len(names))
    return done, reasons, remarks


def _blocks(collection: Collection, names: list[str]) -> Iterator[dict[str, bytes]]:
    """The files by name, at most 64 and little more than 100 MB at a time: uncompressed ones are large."""
    block: dict[str, bytes] = {}
    held = 0
    for name in names:
        block[name] = collection.content(name)
        held += len(block[name])
        if len(block) == 64 or held > 100_000_000:
            yield block
            block, held = {}, 0
    if block:
        yield block


def _join(
    table: pd.DataFrame, described: pd.DataFrame, skipped: list[Skipped], kind: Kind, reasons: set[str]
) -> tuple[pd.DataFrame, str | None, list[Problem]]:
    """Joins decoded files with their rows of the label table; what has no counterpart is named as skipped."""
    files = table.drop(columns=["label"]).set_index("_where")
    listed_names = described["_file"].map(lambda name: archives.readable(name) if isinstance(name, str) else name)
    missing = ~listed_names.isin(files.index)
    unnamed = missing & ~listed_names.isin(reasons)  # of a file that is there, its own reason is told
    for where, named in described.loc[unnamed, ["_where", "_named"]].itertuples(index=False):
        skipped.append(Skipped(where=str(where), reason=f'there is no {kind.word} "{named}"'))
    without = [name for name in files.index if name not in set(listed_names.dropna())]
    skipped += [Skipped(where=name, reason="the table of labels does not name it") for name in without]
    kept = described[~missing].drop(columns=["_file", "_where", "_named"])
    clash = {name: f"{name}_of_table" for name in kept.columns if name in files.columns}
    kept = kept.rename(columns=clash)
    joined = pd.concat(
        [files.loc[listed_names[~missing]].reset_index(names="_where"), kept.reset_index(drop=True)], axis=1
    )
    for column in kept.columns:
        if str(column).lower() in PART_COLUMNS and kept[column].dtype != float:
            words = joined[column].str.lower().map(PARTS)
            if words.notna().all() and words.nunique() >= 2:
                joined = joined.assign(_part=words).drop(columns=column)
    left = [c for c in joined.columns if c not in ("_where", "_part", kind.column, *kind.facts)]
    return joined, left[0] if len(left) == 1 else None, []


def skip_problems(shown: str, skipped: list[Skipped]) -> list[Problem]:
    """One warning for all files that were left out."""
    if not skipped:
        return []
    if len(skipped) == 1:
        what = f"left out: {skipped[0].reason}."
        remedy = "Correct it and add the data again, or go on without it."
        return [Problem(severity="warning", where=f"{shown}, {skipped[0].where}", what=what, remedy=remedy)]
    reasons = Counter(one.reason.split(";")[0].split("(")[0].strip() for one in skipped)
    most = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    if rest := len(skipped) - sum(count for _, count in reasons.most_common(3)):
        most += f"; {rest} x for other reasons"
    what = (
        f"{len(skipped)} file(s) or row(s) were left out ({most}), the first: {skipped[0].where}: {skipped[0].reason}."
    )
    remedy = "The list of skipped files names each with its reason; correct them and add the data again."
    return [Problem(severity="warning", where=shown, what=what, remedy=remedy)]


def remark_notes(shown: str, remarks: Counter[str], word: str) -> list[Problem]:
    """One note for all that was changed in decoding."""
    if not remarks:
        return []
    said = ", ".join(f"{count} {remark}" for remark, count in remarks.most_common())
    what = f"{word}s were made alike: {said}."
    return [Problem(severity="note", where=shown, what=what, remedy="Nothing needs to be done.")]


def _table_instead(collection: Collection) -> str:
    """How to add the tables of a folder without files of the kind; "" where it has none. Texts may be one a file."""
    tables = [n for n in collection.names if n.lower().endswith(_LABEL_FILES) and not n.lower().endswith(".txt")]
    order = ("train", "", "validation", "test")
    tables.sort(key=lambda name: order.index(PARTS.get(PurePosixPath(name).stem.lower(), "")))
    paths = [archives.readable(f"{collection.shown}/{name}") for name in tables]
    more = f", and a second one as its test part (--test {paths[-1]})" if len(paths) > 1 else ""
    return f"Add the table itself ({paths[0]}){more}." if paths else ""


def _is_read_me(name: str) -> bool:
    return PurePosixPath(name).stem.lower() in ("readme", "license", "licence", "source")
