"""Pictures with boxes become rows: COCO, VOC, YOLO, CVAT, LabelMe, Label Studio, VIA or CreateML beside the images."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from tltools import places
from tltools.formats import Format, Read, _label_studio, _paired, _via
from tltools.formats import _archive as archives
from tltools.formats._boxes import coco, voc, yolo
from tltools.formats._collection import NotTaken
from tltools.formats._createml import createml
from tltools.formats._cvat import cvat
from tltools.formats._labelme import labelme
from tltools.formats._layout import PARTS
from tltools.formats._shapes import MOST_CLASSES, Boxes
from tltools.records import Problem, refuse

_HOW = "Put an XML (Pascal VOC) or text (YOLO, with classes.txt) beside each image, or one COCO JSON for all."
_CLASS_LISTS = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt", "names.txt")
_BY_THE_WAY = ("readme", "licen", "source", "labelmap", "obj.data")  # files that exports add, and nobody misses
_READERS = {
    "coco": coco, "createml": createml, "labelme": labelme, "label_studio": _label_studio.label_studio, "via": _via.via,
}  # fmt: skip
START = 65_536  # bytes that tell what a file is


def recognise(path: Path) -> float:
    """How sure, 0..1, that a path holds pictures with boxes, by the names of its files and how some of them start."""
    names = _paired.names_of(path)
    images = {_paired.stem(name) for name in names if _paired.KIND.has(name)}
    if not images:
        return 0.0
    for ending in (".xml", ".txt"):
        beside = {_paired.stem(name) for name in names if name.lower().endswith(ending)}
        if len(images & beside) >= 0.5 * len(images):
            return 0.98
    told = [name for name in names if name.lower().endswith((".json", ".xml", ".csv"))]
    return 0.98 if any(_tool(_start(path, name)) for name in told) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a folder or zip; pictures are written below `scratch`, boxes become cells, outlines masks beside them.

    Raises:
        Refusal: an archive that could do harm, no class names, or no picture with a readable file of boxes.
    """
    with _paired.files_of(path) as files:
        images = sorted(name for name in files.names if _paired.KIND.has(name))
        beside = sorted(set(files.names) - set(images))
        lists = _part_lists(files, beside)
        found = _found(files, images, [name for name in beside if name not in lists])
        for name in beside:
            end = PurePosixPath(name).name.lower()
            if name not in found.used and name not in lists and not end.startswith(_BY_THE_WAY):
                files.skip(name, "it is neither an image nor a file of boxes of one")
        for name in images:
            if name not in found.of:
                files.skip(name, "no file says which boxes it has")
        if not found.classes:
            wrong = [f"{one.where}: {one.reason}." for one in files.skipped]
            wrong += [f"{one.where}: {one.what}" for one in files.problems]
            raise refuse(files.shown, f"there is no box in it.{f' The first: {wrong[0]}' if wrong else ''}", _HOW)

        def cell(name: str, width: int, height: int) -> str:
            if found.of[name] is None:
                raise NotTaken("its file of boxes could not be read")
            return places.boxes_cell(found.shares(name, width, height), found.classes)

        made = _paired.read(files, [name for name in images if name in found.of], scratch, "boxes", cell)
        made = replace(made, problems=(*made.problems, *found.misfits(files.shown)))
    said = {archives.readable(name): part for name, part in found.parts.items() if part}
    listed = {stem: part for part, stems in lists.values() for stem in stems}
    where = made.table["_where"].map(lambda name: listed.get(_paired.stem(name), said.get(name, "")))
    made.table["_part"] = np.where(where != "", where, made.table["_part"])
    return _with_masks(made, found, files.shown)


def _found(files: _paired.Files, images: list[str], beside: list[str]) -> Boxes:
    """What the files beside the images say, read as the tool writes that most of them are of."""
    jsons = [name for name in beside if name.lower().endswith(".json")]
    if jsons:
        tools = Counter(filter(None, (_tool(files.content(name)[:START]) for name in jsons)))
        return _READERS[max(tools, key=lambda one: tools[one], default="coco")](files, jsons, images)
    tables = [name for name in beside if name.lower().endswith(".csv") and _tool(files.content(name)[:START])]
    if tables:
        return _via.via(files, tables, images)
    xmls = [name for name in beside if name.lower().endswith(".xml")]
    drawn = [name for name in xmls if _tool(files.content(name)[:START]) == "cvat"]
    if drawn:
        return cvat(files, drawn, images)
    if pairs := _pairs(images, xmls):
        return voc(files, pairs, images)
    lists = [name for one in _CLASS_LISTS for name in beside if PurePosixPath(name).name.lower() == one]
    return yolo(files, _pairs(images, [n for n in beside if n.lower().endswith(".txt") and n not in lists]), lists,
                images)  # fmt: skip


def _pairs(images: list[str], others: list[str]) -> dict[str, str]:
    """The file of each image that is named like it; of several the one whose folders are most like."""
    by_stem: dict[str, list[str]] = {}
    for name in others:
        by_stem.setdefault(_paired.stem(name), []).append(name)
    return {one: _paired.nearest(one, by_stem[_paired.stem(one)]) for one in images if _paired.stem(one) in by_stem}


def _with_masks(made: Read, found: Boxes, shown: str) -> Read:
    """Adds a column of masks where every object has an outline, and says what became of outlines."""
    if not found.outlines:
        return made
    what, remedy = "outlines became the boxes around them", "Nothing needs to be done."
    if found.outlined and len(found.classes) <= MOST_CLASSES:
        names = {archives.readable(name): name for name in found.of}
        rows = zip(made.table["_where"], made.table["width"], made.table["height"], strict=True)
        background = "background" if "background" not in found.classes else "no object"
        made.table["mask"] = [
            places.mask_cell(found.mask(names[where], int(width), int(height)), [background, *found.classes])
            for where, width, height in rows
        ]
        what += ", and masks where the target is the column mask"
        remedy = "Name mask as the target for segmentation."
    note = Problem(severity="note", where=shown, what=f"{what}.", remedy=remedy)
    return Read(made.table, made.media, made.target, (*made.problems, note), made.skipped, made.inference, made.column)


def _part_lists(files: _paired.Files, names: list[str]) -> dict[str, tuple[str, list[str]]]:
    """(part, stems of its images) of lists of images: ImageSets/Main/train.txt, or a train.txt of image paths."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        if not name.lower().endswith(".txt"):
            continue
        stem, sets = _paired.stem(name).lower(), "imagesets" in _paired.folders(name)
        part = PARTS.get(stem, "")
        if not part and not sets:
            continue
        lines = [line.split() for line in files.text(name).splitlines() if line.strip()]
        if sets:
            held = [_paired.stem(line[0]) for line in lines if line[-1] != "-1"] if part else []
            found[name] = (part, held)
        elif lines and all(_paired.KIND.has(line[-1]) for line in lines):
            found[name] = (part, [_paired.stem(line[-1].replace("\\", "/")) for line in lines])
    if any(held for _, held in found.values()):
        files.inference.append("Lists of images say which part each image belongs to; they are kept to.")
    return found


def _start(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            with (path / name).open("rb") as file:
                return file.read(START)
        with archives.slashed(path) as archive, archive.open(name) as entry:
            return entry.read(START)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return b""


def _tool(start: bytes) -> str:
    """Which tool wrote a JSON, XML or CSV file of shapes, by its first bytes; "" for none that is known."""
    text = start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return "cvat" if re.search(r"<annotations[\s>]", text) else ""
    if not text.startswith(("{", "[")):
        return "via" if all(column in text.partition("\n")[0] for column in _via.COLUMNS) else ""
    if "_via_settings" in text or re.search(r'"filename"\s*:', text) and re.search(r'"regions"\s*:\s*[\[{]', text):
        return "via"
    if re.search(r'"coordinates"\s*:\s*\{', text) and re.search(r'"image(filename)?"\s*:', text):
        return "createml"
    if re.search(r'"(rectangle|polygon)labels"\s*:', text) and _label_studio.recognised(text):
        return "label_studio"
    if re.search(r'"shapes"\s*:\s*\[', text):
        return "labelme"
    return "coco" if re.search(r'"(images|annotations|categories)"\s*:', text) and text.startswith("{") else ""


BOXES = Format(
    key="boxes",
    title="Images with boxes (COCO, Pascal VOC, YOLO, CVAT, LabelMe, Label Studio, VIA, CreateML)",
    extensions=(".zip",),
    recognise=recognise,
    read=read,
    order=22,
)
