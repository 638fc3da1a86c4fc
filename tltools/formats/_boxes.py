"""Files of boxes: COCO JSON, Pascal VOC XML and YOLO texts become boxes by image, and what is wrong is named."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tltools.formats import _paired
from tltools.records import refuse

Array = NDArray[Any]
Box = tuple[str, float, float, float, float]  # class, x0, y0, x1, y1 in pixels, or in shares

_LEAST = 1e-3  # of a side in shares: a smaller box is none


@dataclass
class Boxes:
    """Boxes by image name (None: their file could not be read), the classes, and the files that were read."""

    in_pixels: bool
    of: dict[str, list[Box] | None] = field(default_factory=dict)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)  # width and height that the file says
    classes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def shares(self, name: str, width: int, height: int, files: _paired.Files) -> Array:
        """(n, 5) class and corners in shares of the image; what lies outside is cut off or left out, and named."""
        across, down = self.sizes.get(name, (width, height)) if self.in_pixels else (1.0, 1.0)
        kept, cut, gone = [], 0, 0
        for label, *corners in self.of[name] or ():
            box = np.array(corners, np.float64) / [across, down, across, down]
            inside = np.clip(box, 0, 1)
            if not np.isfinite(box).all() or inside[2] - inside[0] < _LEAST or inside[3] - inside[1] < _LEAST:
                gone += 1
                continue
            cut += bool(np.abs(inside - box).max() > 0.01)
            kept.append([self.classes.index(label), *inside])
        if cut:
            files.warn(name, f"{cut} box(es) pass the border of the image and were cut off.", "Correct the boxes.")
        if gone:
            files.warn(
                name, f"{gone} box(es) lie outside the image or have no area and were left out.", "Correct them."
            )
        return np.array(kept, np.float64).reshape(len(kept), 5)


def voc(files: _paired.Files, xmls: dict[str, str], images: list[str]) -> Boxes:
    """Boxes of Pascal VOC files by stem."""
    found = Boxes(in_pixels=True)
    for image in images:
        name = xmls.get(_paired.stem(image))
        if name is None:
            continue
        found.used.add(name)
        found.of[image] = None
        content = files.content(name)
        if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
            files.skip(name, "it declares entities, which no file of boxes needs; save it without DOCTYPE")
            continue
        try:
            root = ElementTree.fromstring(content)
            size = [root.findtext(f"size/{side}") for side in ("width", "height")]
            if all(size) and all(float(one or 0) > 0 for one in size):
                found.sizes[image] = (float(size[0] or 0), float(size[1] or 0))
            boxes: list[Box] = []
            for one in root.iter("object"):
                label = (one.findtext("name") or "").strip()
                if not label:
                    raise ValueError("an object has no name")
                corners = [float(one.findtext(f"bndbox/{key}") or "nan") for key in ("xmin", "ymin", "xmax", "ymax")]
                boxes.append((label, *corners))  # type: ignore[arg-type]
        except (ElementTree.ParseError, ValueError) as error:
            files.skip(name, f"it is no Pascal VOC file ({str(error)[:80]})")
            continue
        found.of[image] = boxes
    found.classes = sorted({box[0] for boxes in found.of.values() for box in boxes or ()})
    return found


def yolo(files: _paired.Files, texts: dict[str, str], lists: list[str], images: list[str]) -> Boxes:
    """Boxes of YOLO texts by stem: class number, middle x, middle y, width, height in shares.

    Raises:
        Refusal: no file names the classes, and the numbers are no small whole numbers.
    """
    found = Boxes(in_pixels=False, used=set(lists))
    names = _names(files, lists[0]) if lists else []
    numbers: dict[str, list[tuple[int, Box]]] = {}
    for image in images:
        name = texts.get(_paired.stem(image))
        if name is None:
            continue
        found.used.add(name)
        found.of[image] = None
        rows: list[tuple[int, Box]] = []
        try:
            for number, line in enumerate(files.text(name).splitlines(), 1):
                cells = line.split()
                if not cells:
                    continue
                if len(cells) not in (5, 6):
                    raise ValueError(f"line {number} must be: class x y width height; got {len(cells)} cells")
                code, (x, y, w, h) = int(cells[0]), (float(cell) for cell in cells[1:5])
                if code < 0 or (names and code >= len(names)):
                    raise ValueError(f"line {number} has the class {code}, but {len(names)} classes are named")
                if max(x, y, w, h) > 2:
                    raise ValueError(
                        f"line {number} must hold shares of the image from 0 to 1; got {max(x, y, w, h):g}"
                    )
                rows.append((code, ("", x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
        except ValueError as error:
            files.skip(name, f"it is no YOLO file ({str(error)[:110]})")
            continue
        numbers[image] = rows
    if not names:
        highest = max((code for rows in numbers.values() for code, _ in rows), default=-1)
        if highest >= 1000:
            raise refuse(
                files.shown, f"class numbers reach {highest} and no file names the classes.", "Add a classes.txt."
            )
        names = [f"class {code}" for code in range(highest + 1)]
        if names:
            files.warn("", "no file names the classes, so they are called by their numbers.", "Add a classes.txt.")
    for image, rows in numbers.items():
        found.of[image] = [(names[code], *box[1:]) for code, box in rows]
    found.classes = names if any(found.of.values()) else []
    return found


def coco(files: _paired.Files, jsons: list[str], images: list[str]) -> Boxes:
    """Boxes of COCO files; an image is found by its name, with or without folders."""
    found = Boxes(in_pixels=True)
    known: dict[str, str] = {}
    for image in images:
        known |= {image: image, PurePosixPath(image).name: image}
    for name in jsons:
        try:
            read = json.loads(files.text(name))
            pictures, kinds, boxes = read["images"], read["categories"], read["annotations"]
            labels = {kind["id"]: str(kind["name"]).strip() for kind in kinds}
            by_id = {one["id"]: str(one["file_name"]).replace("\\", "/") for one in pictures}
            sizes = {one["id"]: (float(one["width"]), float(one["height"])) for one in pictures if "width" in one}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            files.skip(name, f"it is no COCO file ({type(error).__name__}: {str(error)[:60]})")
            continue
        found.used.add(name)
        found.classes += [label for label in labels.values() if label not in found.classes]
        places: dict[Any, str] = {}
        for key, file in by_id.items():
            there = known.get(file) or known.get(PurePosixPath(file).name)
            if there is None:
                files.skip(name, f"it names the image {file[:80]}, which is not there")
                continue
            places[key] = there
            found.of.setdefault(there, [])
            if key in sizes:
                found.sizes[there] = sizes[key]
        wrong = 0
        for one in boxes:
            try:
                if one["image_id"] not in by_id:
                    raise KeyError(one["image_id"])
                label, (x, y, w, h) = labels[one["category_id"]], (float(value) for value in one["bbox"])
            except (KeyError, TypeError, ValueError):
                wrong += 1
                continue
            if one["image_id"] in places:
                held = found.of[places[one["image_id"]]]
                assert held is not None
                held.append((label, x, y, x + w, y + h))
        if wrong:
            files.warn(name, f"{wrong} annotation(s) name no image or class of the file or have no bbox; left out.",
                       "Correct image_id, category_id and bbox.")  # fmt: skip
    if not any(found.of.values()):
        found.classes = []
    return found


def _names(files: _paired.Files, name: str) -> list[str]:
    """Class names of a list: one a line, or `names:` of a YAML as a list or by number."""
    text = files.text(name)
    if not name.lower().endswith(".yaml"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    inline = re.search(r"^names:\s*(\[.*?\])", text, re.MULTILINE | re.DOTALL)
    if inline:
        try:
            return [str(one) for one in ast.literal_eval(inline.group(1))]
        except (ValueError, SyntaxError):
            return [one.strip(" '\"\n") for one in inline.group(1)[1:-1].split(",")]
    below = re.search(r"^names:\s*\n((?:[ \t-].*\n?)+)", text, re.MULTILINE)
    lines = below.group(1).splitlines() if below else []
    return [re.sub(r"^\s*(-|\d+:)\s*", "", line).strip(" '\"") for line in lines if line.strip()]
