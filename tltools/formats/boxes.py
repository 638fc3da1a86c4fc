"""Pictures with boxes become rows: COCO JSON, Pascal VOC XML, or YOLO texts beside the images."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from tltools import places
from tltools.formats import Format, Read, _paired
from tltools.formats._boxes import Boxes, coco, voc, yolo
from tltools.formats._collection import NotTaken
from tltools.formats._layout import PARTS
from tltools.records import refuse

_HOW = "Put an XML (Pascal VOC) or text (YOLO, with classes.txt) beside each image, or one COCO JSON for all."
_CLASS_LISTS = ("classes.txt", "obj.names", "labels.txt", "names.txt", "data.yaml", "dataset.yaml")


def recognise(path: Path) -> float:
    """How sure, 0..1, that a path holds pictures with boxes, by the names of its files and the start of a JSON."""
    names = _paired.names_of(path)
    images = {_paired.stem(name) for name in names if _paired.KIND.has(name)}
    if not images:
        return 0.0
    for ending in (".xml", ".txt"):
        beside = {_paired.stem(name) for name in names if name.lower().endswith(ending)}
        if len(images & beside) >= 0.5 * len(images):
            return 0.98
    return 0.98 if any(_is_coco(path, name) for name in names if name.lower().endswith(".json")) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a folder or zip; pictures are written below `scratch`, boxes become cells.

    Raises:
        Refusal: an archive that could do harm, no class names, or no picture with a readable file of boxes.
    """
    with _paired.files_of(path) as files:
        images = sorted(name for name in files.names if _paired.KIND.has(name))
        beside = [name for name in files.names if name not in set(images)]
        jsons = [name for name in beside if name.lower().endswith(".json")]
        by_stem = {
            ending: {_paired.stem(n): n for n in beside if n.lower().endswith(ending)} for ending in (".xml", ".txt")
        }
        lists = [name for name in beside if PurePosixPath(name).name.lower() in _CLASS_LISTS]
        parts = _parts(files, beside)
        found: Boxes
        if jsons:
            found = coco(files, jsons, images)
        elif len(set(by_stem[".xml"]) & {_paired.stem(name) for name in images}):
            found = voc(files, by_stem[".xml"], images)
        else:
            found = yolo(files, {s: n for s, n in by_stem[".txt"].items() if n not in lists}, lists, images)
        for name in beside:
            end = PurePosixPath(name).name.lower()
            if name not in found.used and name not in parts.lists and not end.startswith(("readme", "licen", "source")):
                files.skip(name, "it is neither an image nor a file of boxes of one")
        for name in images:
            if name not in found.of:
                files.skip(name, "no file says which boxes it has")
        if not found.classes:
            raise refuse(files.shown, "there is no box in it.", _HOW)

        def cell(name: str, width: int, height: int) -> str:
            if found.of[name] is None:
                raise NotTaken("its file of boxes could not be read")
            return places.boxes_cell(found.shares(name, width, height, files), found.classes)

        made = _paired.read(files, [name for name in images if name in found.of], scratch, "boxes", cell)
    if parts.of:
        where = made.table["_where"].map(lambda name: parts.of.get(_paired.stem(name), ""))
        made.table["_part"] = np.where(where != "", where, made.table["_part"])
    return made


class _Parts:
    """Which part each stem belongs to by lists such as ImageSets/Main/train.txt, and these lists."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self.lists: set[str] = set()


def _parts(files: _paired.Files, names: list[str]) -> _Parts:
    found = _Parts()
    for name in names:
        stem = _paired.stem(name).lower()
        if not name.lower().endswith(".txt") or "imagesets" not in _paired.folders(name):
            continue
        found.lists.add(name)
        if stem in PARTS:
            lines = [line.split() for line in files.text(name).splitlines()]
            found.of |= {_paired.stem(line[0]): PARTS[stem] for line in lines if line and line[-1] != "-1"}
    if found.of:
        files.inference.append("The lists in ImageSets say which part each image belongs to; they are kept to.")
    return found


def _is_coco(path: Path, name: str) -> bool:
    try:
        if path.is_dir():
            with (path / name).open("rb") as file:
                start = file.read(65_536)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                start = file.read(65_536)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return False
    return any(word in start for word in (b'"images"', b'"annotations"', b'"categories"'))


BOXES = Format(
    key="boxes",
    title="Images with boxes (COCO, Pascal VOC, YOLO)",
    extensions=(".zip",),
    recognise=recognise,
    read=read,
    order=22,
)
