"""LabelMe JSON, one file an image: rectangles and polygons; the picture inside a file is passed over."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._shapes import Boxes, Points, corners, loaded, warn_left


def labelme(files: _paired.Files, jsons: list[str], images: list[str]) -> Boxes:
    """Boxes of LabelMe's files; an image is found by `imagePath`, else by the name of the file."""
    found, known = Boxes(in_pixels=True), _paired.Named(images)
    for name in jsons:
        try:
            read = loaded(files.text(name))
            if not isinstance(read, dict) or not isinstance(read.get("shapes"), list):
                raise NotTaken('it must have a list "shapes", as LabelMe writes it, and has none')
        except NotTaken as reason:
            files.skip(name, str(reason))
            continue
        found.used.add(name)
        path = str(read.get("imagePath") or "")
        there = known.find(path, name) or known.find(_paired.stem(name), name)
        if there is None:
            files.skip(name, f"it names the image {path[:80]}, which is not there")
            continue
        if found.of.get(there) is not None:
            files.skip(name, f"its image {there} has a file of shapes already; keep one of the two")
            continue
        found.of[there] = []
        size = [read.get("imageWidth"), read.get("imageHeight")]
        if all(isinstance(one, int | float) and 0 < one < 1e6 for one in size):
            found.sizes[there] = (float(size[0] or 0), float(size[1] or 0))
        left: Counter[str] = Counter()
        for number, shape in enumerate(read["shapes"], start=1):
            try:
                label, kind, points = _shape(shape)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                what = f"shape {number} cannot be read ({str(error)[:60]}) and was left out."
                files.warn(name, what, "Correct its label and points, or draw it again.")
                continue
            if kind == "rectangle":
                (x0, y0), (x1, y1) = points[0], points[-1] if len(points) == 2 else points[2]
                found.add(there, label, [corners(x0, y0, x1, y1)], drawn=False)
            elif kind == "polygon":
                found.add(there, label, [points], drawn=True)
            else:
                left[kind] += 1
        warn_left(files, name, left)
    found.name_classes()
    return found


def _shape(shape: Any) -> tuple[str, str, Points]:
    """(label, kind, points) of a shape.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it has no label, or not the points of its kind.
    """
    label, kind = str(shape["label"]).strip(), str(shape.get("shape_type") or "polygon")
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not label:
        raise ValueError("it has no label")
    if kind == "rectangle" and len(points) not in (2, 4) or kind == "polygon" and len(points) < 3:
        raise ValueError(f"a {kind} of {len(points)} points")
    return label, kind, points
