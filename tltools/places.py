"""Masks, boxes and tags of words as cells of a table: JSON with the class names, so that a cell is read by itself."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MASK, BOXES, TAGS = '{"mask":', '{"boxes":', '{"tags":'  # how such cells begin
IGNORED = 255  # a pixel of the truth with this value counts nowhere


def mask_cell(mask: Array, classes: Sequence[str]) -> str:
    """A mask (H, W) uint8 of places in `classes` as a cell, with a small PNG in it."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask, np.uint8)).save(written, "PNG")
    png = base64.b64encode(written.getvalue()).decode()
    return json.dumps({"mask": png, "classes": list(classes)}, ensure_ascii=False)


def mask_of(cell: str, names: Sequence[str]) -> Array:
    """The mask (H, W) uint8 of a cell, as places in `names`; a class that is not among them is ignored."""
    from PIL import Image

    read = json.loads(cell)
    with Image.open(io.BytesIO(base64.b64decode(read["mask"])), formats=["PNG"]) as image:
        codes = np.asarray(image)
    places = np.full(256, IGNORED, np.uint8)
    for code, name in enumerate(read["classes"]):
        if name in names:
            places[code] = list(names).index(name)
    mask: Array = places[codes]
    return mask


def boxes_cell(boxes: Array, classes: Sequence[str]) -> str:
    """Boxes (n, 5 or 6) of class, x0, y0, x1, y1 in shares of the picture, and a score, as a cell."""
    named = [[classes[int(box[0])], *(round(float(value), 5) for value in box[1:])] for box in boxes]
    return json.dumps({"boxes": named, "classes": list(classes)}, ensure_ascii=False)


def boxes_of(cell: str, names: Sequence[str], columns: int = 5) -> Array:
    """The boxes (n, columns) float64 of a cell, their class as its place in `names`; other classes are left out."""
    found = [[list(names).index(box[0]), *box[1:]] for box in json.loads(cell)["boxes"] if box[0] in names]
    return np.array(found, np.float64).reshape(len(found), columns)


def tag_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The tags that words may have, in code order: O, then B- and I- of each class."""
    return ("O", *(f"{mark}-{name}" for name in classes for mark in "BI"))


def tags_cell(codes: Array, classes: Sequence[str]) -> str:
    """Tags (W,) of the words of a sentence, as places in `tag_names`, as a cell."""
    names = tag_names(classes)
    return json.dumps({"tags": " ".join(names[code] for code in codes), "classes": list(classes)}, ensure_ascii=False)


def tags_of(cell: str, names: Sequence[str]) -> Array:
    """The tags (W,) int64 of a cell, as places in `tag_names(names)`; entities of other classes are none."""
    known = {name: code for code, name in enumerate(tag_names(names))}
    return np.array([known.get(tag, 0) for tag in json.loads(cell)["tags"].split(" ")], np.int64)


def classes_of(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes of all cells, in the order in which they come."""
    found: dict[str, None] = {}
    for cell in cells:
        found |= dict.fromkeys(json.loads(cell)["classes"])
    return tuple(found)


def as_rows(elements: Sequence[Any]) -> Array:
    """(N,) object array of masks, boxes, tags or answers, also where all have one shape."""
    found = np.empty(len(elements), object)
    for i, element in enumerate(elements):
        found[i] = element
    return found
