"""CVAT for images (XML 1.1): boxes, polygons and masks of its images; what else it draws is counted and left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._layout import PARTS
from tltools.formats._shapes import Boxes, corners, in_pairs, rooted, turned, warn_left

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SHAPES = {"box", "polygon", "mask", "polyline", "points", "ellipse", "cuboid", "skeleton", "tag"}


def cvat(files: _paired.Files, xmls: list[str], images: list[str]) -> Boxes:
    """Boxes of CVAT's files; the attribute `subset` of an image says its part."""
    found, known = Boxes(in_pixels=True), _paired.Named(images)
    for name in xmls:
        try:
            root = rooted(files.content(name))
            if root.tag != "annotations":
                raise NotTaken(f"its root must be <annotations>; it is <{root.tag[:40]}>, export CVAT for images 1.1")
            if root.find("track") is not None:
                raise NotTaken("it is CVAT for video; export CVAT for images 1.1")
        except NotTaken as reason:
            files.skip(name, str(reason))
            continue
        found.used.add(name)
        listed = [(one.findtext("name") or "").strip() for one in root.iter("label")]
        found.classes += [one for one in dict.fromkeys(listed) if one and one not in found.classes]
        left: Counter[str] = Counter()
        for one in root.iter("image"):
            shown = one.get("name", "")
            there = known.find(shown, name)
            if there is None:
                files.skip(name, f"it names the image {shown[:80]}, which is not there")
            elif found.of.get(there) is not None:
                files.skip(name, f"it names the image {shown[:80]} twice; the first was taken")
            else:
                _image(one, there, found, files, name, left)
        warn_left(files, name, left)
    found.name_classes()
    return found


def _image(one: Element, there: str, found: Boxes, files: _paired.Files, name: str, left: Counter[str]) -> None:
    found.of[there] = []
    found.parts[there] = PARTS.get(one.get("subset", "").lower(), "")
    try:
        size = (float(one.get("width", "nan")), float(one.get("height", "nan")))
    except ValueError:
        size = (0.0, 0.0)
    if min(size) > 0:
        found.sizes[there] = size
    for number, shape in enumerate(one, start=1):
        label = shape.get("label", "").strip()
        try:
            if shape.tag not in _SHAPES:
                continue
            if not label:
                raise ValueError("it has no label")
            if shape.tag == "box":
                x0, y0, x1, y1 = (float(shape.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
                degrees = float(shape.get("rotation", "0"))
                points = turned(corners(x0, y0, x1, y1), degrees, ((x0 + x1) / 2, (y0 + y1) / 2))
                found.add(there, label, [points], drawn=bool(degrees))
            elif shape.tag == "polygon":
                values = shape.attrib["points"].replace(";", ",").split(",")
                found.add(there, label, [in_pairs(values)], drawn=True)
            elif shape.tag == "mask":
                x, y, w, h = (float(shape.attrib[key]) for key in ("left", "top", "width", "height"))
                found.add(there, label, [corners(x, y, x + w, y + h)], drawn=False)
            else:
                left[shape.tag] += 1
        except (KeyError, ValueError) as error:
            what = f"shape {number}, a {shape.tag}, cannot be read ({str(error)[:60]}) and was left out."
            files.warn(f"{name}, image {one.get('name', '')[:80]}", what, "Correct it, or draw it again.")
