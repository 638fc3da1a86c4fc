"""CreateML's JSON, which Roboflow exports, too: a list of images, each box by its middle and sides in pixels."""

from __future__ import annotations

from typing import Any

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._shapes import Boxes, Points, corners, loaded

_IMAGE, _BOXES = ("image", "imagefilename"), ("annotations", "annotation")


def createml(files: _paired.Files, jsons: list[str], images: list[str]) -> Boxes:
    """Boxes of CreateML's files; an image is found by its name, nearest to the file that names it."""
    found, known = Boxes(in_pixels=True), _paired.Named(images)
    for name in jsons:
        try:
            read = loaded(files.text(name))
            if not isinstance(read, list):
                raise NotTaken("it must be a list of images, as CreateML has it, and is none; export it again")
        except NotTaken as reason:
            files.skip(name, str(reason))
            continue
        found.used.add(name)
        for number, one in enumerate(read, start=1):
            where = f"{name}, record {number}"
            held = one if isinstance(one, dict) else {}
            called = next((held[key] for key in _IMAGE if key in held), None)
            boxes = next((held[key] for key in _BOXES if key in held), None)
            if not isinstance(called, str) or not isinstance(boxes, list):
                files.skip(where, 'it must have "image" and a list "annotations"; write both')
                continue
            there = known.find(called, name)
            if there is None or found.of.get(there) is not None:
                why = "is not there" if there is None else "was named before; the first was taken"
                files.skip(where, f"it names the image {called[:80]}, which {why}")
                continue
            found.of[there] = []
            for count, box in enumerate(boxes, start=1):
                try:
                    label, points = _box(box)
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    what = f"annotation {count} cannot be read ({str(error)[:60]}) and was left out."
                    files.warn(where, what, "Correct its label and coordinates.")
                    continue
                found.add(there, label, [points], drawn=False)
    found.name_classes()
    return found


def _box(box: Any) -> tuple[str, Points]:
    """(label, corners) of an annotation.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it has no label, or not four numbers.
    """
    label = str(box["label"]).strip()
    x, y, w, h = (float(box["coordinates"][key]) for key in ("x", "y", "width", "height"))
    if not label:
        raise ValueError("it has no label")
    w, h = max(w, 0.0), max(h, 0.0)  # a side below zero is none
    return label, corners(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
