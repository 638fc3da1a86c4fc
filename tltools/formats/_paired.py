"""Pictures of which each has a file beside it: collected, paired by name, decoded, and what is wrong with one named."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from tltools.formats import Read, _collection, _picture
from tltools.formats import _archive as archives
from tltools.formats._layout import PARTS
from tltools.records import Problem, Skipped, refuse

KIND = _collection.Kind(
    column="image",
    word="image",
    endings=_picture.ALL_IMAGES,
    facts=("width", "height"),
    how="Put pictures and a file of truth for each, named alike (images/1.jpg, masks/1.png or labels/1.txt).",
    decode=_picture.decode,
)


@dataclass
class Files:
    """The files of a folder or zip, and what is said about them on the way."""

    shown: str
    names: list[str]
    content: Callable[[str], bytes]
    skipped: list[Skipped] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    inference: list[str] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Leaves a file out."""
        self.skipped.append(Skipped(where=archives.readable(name), reason=reason))

    def warn(self, where: str, what: str, remedy: str) -> None:
        """Says what was found and mended."""
        place = f"{self.shown}, {archives.readable(where)}" if where else self.shown
        self.problems.append(Problem(severity="warning", where=place, what=what, remedy=remedy))

    def text(self, name: str) -> str:
        """A file as text: UTF-8, UTF-16 with its mark, else Windows-1252, which is said."""
        content = self.content(name)
        try:
            return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        except UnicodeDecodeError:
            self.warn(name, "it is no UTF-8 and was read as Windows-1252.", "Save it as UTF-8.")
            return content.decode("cp1252", "replace")

    def judge_names(self, name: str, classes: Sequence[str]) -> None:
        """Says which class a list of a file names twice."""
        if twice := sorted({one for one in classes if classes.count(one) > 1}):
            what = f"it names {', '.join(twice[:5])} more than once; equal names are one class."
            self.warn(name, what, "Give each class a name of its own.")


@contextmanager
def files_of(path: Path) -> Iterator[Files]:
    """Opens a folder or zip."""
    with _collection.opened(path, KIND) as found:
        yield Files(found.shown, found.names, found.content, list(found.refused))


def names_of(path: Path) -> list[str]:
    """Names of the files of a folder or zip; none of anything else."""
    if path.is_dir():
        return [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]
    if path.suffix.lower() != ".zip":
        return []
    try:
        with archives.slashed(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OverflowError, OSError):
        return []


def stem(name: str) -> str:
    """A file's name without folders and ending."""
    return PurePosixPath(name).stem


def folders(name: str) -> tuple[str, ...]:
    """The folders of a file, lower case."""
    return tuple(part.lower() for part in PurePosixPath(name).parts[:-1])


def part_of(name: str) -> str:
    """Which part the folders of a file say that it belongs to; "" where they say none."""
    return next((PARTS[folder] for folder in folders(name) if folder in PARTS), "")


def nearest(name: str, others: Sequence[str]) -> str:
    """Of several files of one stem the one whose folders are most like those of `name`."""
    return max(others, key=lambda other: (len(set(folders(other)) & set(folders(name))), other))


class Named:
    """Images by the names that files of truth call them: with or without folders, and with or without ending."""

    def __init__(self, images: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for image in images:
            for key in {PurePosixPath(image).name.lower(), stem(image).lower()}:
                self._by_name.setdefault(key, []).append(image)

    def find(self, called: str, beside: str) -> str | None:
        """The image that is called so in the file `beside`; of several the one whose folders are most like."""
        path = PurePosixPath(called.replace("\\", "/"))
        some = self._by_name.get(path.name.lower(), [])
        if not some:
            return None
        ends = [one for one in some if one == str(path) or one.endswith(f"/{str(path).lstrip('./')}")]
        return nearest((PurePosixPath(beside).parent / path).as_posix(), ends or some)


def read(files: Files, images: list[str], scratch: Path, column: str, cell: Callable[[str, int, int], str]) -> Read:
    """Decodes the images and asks for the cell of each by (name, width, height); NotTaken leaves a row out.

    Raises:
        Refusal: no row is left.
    """
    source = _collection.Collection(files.shown, files.names, files.content)
    done, reasons, remarks = _collection.decode_all(source, images, scratch, KIND)
    for name, reason in reasons.items():
        files.skip(name, reason)
    rows = []
    for name in images:
        if name not in done:
            continue
        width, height = (int(value) for value in done[name].facts)
        try:
            rows.append((done[name].path, cell(name, width, height), float(width), float(height),
                         archives.readable(name), part_of(name)))  # fmt: skip
        except _collection.NotTaken as reason:
            files.skip(name, str(reason))
    if not rows:
        first = f" The first: {files.skipped[0].where}: {files.skipped[0].reason}." if files.skipped else ""
        raise refuse(files.shown, f"none of the {len(images)} images could be used.{first}", KIND.how)
    table = pd.DataFrame(rows, columns=["image", column, "width", "height", "_where", "_part"])
    said = _collection.skip_problems(files.shown, files.skipped)
    said += _collection.remark_notes(files.shown, remarks, "image")
    return Read(table, scratch, column, (*said, *files.problems), tuple(files.skipped), tuple(files.inference), "image")
