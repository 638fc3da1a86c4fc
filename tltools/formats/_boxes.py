"""Files of boxes: COCO JSON, Pascal VOC XML and YOLO texts become boxes by image, and what is wrong is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._json import whole
from tltools.formats._layout import PARTS
from tltools.formats._shapes import Box, Boxes, Points, corners, in_pairs, loaded, rooted
from tltools.records import refuse

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc(files: _paired.Files, xmls: Mapping[str, str], images: list[str]) -> Boxes:
    """Boxes of Pascal VOC files, by image."""
    found = Boxes(in_pixels=True)
    for image, name in xmls.items():
        found.used.add(name)
        found.of[image] = None
        try:
            root = rooted(files.content(name))
            size = [root.findtext(f"size/{side}") for side in ("width", "height")]
            if all(size) and all(float(one or 0) > 0 for one in size):
                found.sizes[image] = (float(size[0] or 0), float(size[1] or 0))
            boxes: list[Box] = []
            for one in root.iter("object"):
                label = (one.findtext("name") or "").strip()
                if not label:
                    raise ValueError("an object has no name")
                x0, y0, x1, y1 = (float(one.findtext(f"bndbox/{key}") or "nan") for key in _CORNERS)
                boxes.append((label, x0, y0, x1, y1))
        except (NotTaken, ValueError) as error:
            files.skip(name, str(error) if isinstance(error, NotTaken) else f"it is no Pascal VOC file ({error})")
            continue
        found.of[image] = boxes
    found.name_classes()
    return found


def yolo(files: _paired.Files, texts: Mapping[str, str], lists: list[str], images: list[str]) -> Boxes:
    """Boxes of YOLO texts, by image: class number, middle x, middle y, width, height in shares, or an outline.

    Raises:
        Refusal: no file names the classes, and the numbers are no small whole numbers.
    """
    found = Boxes(in_pixels=False, used=set(lists))
    names = _names(files, lists[0]) if lists else []
    numbers: dict[str, list[tuple[int, Points, bool]]] = {}
    for image, name in texts.items():
        found.used.add(name)
        found.of[image] = None
        try:
            lines = enumerate(files.text(name).splitlines(), 1)
            numbers[image] = [_line(number, line.split(), names) for number, line in lines if line.strip()]
        except (ValueError, OverflowError) as error:
            files.skip(name, f"it is no YOLO file ({str(error)[:110]})")
    if not names:
        highest = max((code for rows in numbers.values() for code, _, _ in rows), default=-1)
        if highest >= 1000:
            raise refuse(
                files.shown, f"class numbers reach {highest} and no file names the classes.", "Add a classes.txt."
            )
        names = [f"class {code}" for code in range(highest + 1)]
        if names:
            files.warn("", "no file names the classes, so they are called by their numbers.", "Add a classes.txt.")
    for image, rows in numbers.items():
        found.of[image] = []
        for code, points, drawn in rows:
            found.add(image, names[code], [points], drawn)
    found.classes = list(dict.fromkeys(names)) if any(found.of.values()) else []
    return found


def _line(number: int, cells: list[str], names: list[str]) -> tuple[int, Points, bool]:
    """(class number, points, whether they are an outline) of a line.

    Raises:
        ValueError: other numbers than a box or an outline has, or a class that is not named.
    """
    outline = len(cells) >= 7 and len(cells) % 2 == 1
    if len(cells) not in (5, 6) and not outline:
        raise ValueError(f"line {number} must be: class x y width height; got {len(cells)} cells")
    try:
        first, *values = (float(cell) for cell in cells)
    except ValueError:
        raise ValueError(f"line {number} must hold numbers; got {' '.join(cells)[:40]}") from None
    if first != first // 1:
        raise ValueError(f"line {number} must begin with the whole number of a class; got {cells[0]}")
    code = int(first)
    if code < 0 or (names and code >= len(names)):
        raise ValueError(f"line {number} has the class {code}, but {len(names)} classes are named")
    shares = values if outline else values[:4]
    if max(shares) > 2:
        raise ValueError(f"line {number} must hold shares of the image from 0 to 1; got {max(shares):g}")
    if outline:
        return code, in_pairs(values), True
    x, y, w, h = shares
    w, h = max(w, 0.0), max(h, 0.0)  # a side below zero is none
    return code, corners(x - w / 2, y - h / 2, x + w / 2, y + h / 2), False


def coco(files: _paired.Files, jsons: list[str], images: list[str]) -> Boxes:
    """Boxes of COCO files; an image is found by its name, with or without folders, nearest to the file that names it.

    The name of a file may say a part (instances_val2017.json); a category that only stands above others is no class.
    """
    found, known = Boxes(in_pixels=True), _paired.Named(images)
    before: set[tuple[Any, ...]] = set()  # objects of earlier files
    for name in jsons:
        try:
            read = loaded(files.text(name))
            pictures, kinds, objects = read["images"], read["categories"], read["annotations"]
            labels = {_key(kind["id"]): str(kind["name"]).strip() for kind in kinds}
            by_id = {_key(one["id"]): str(one["file_name"]) for one in pictures}
            sizes = {_key(one["id"]): (float(one["width"]), float(one["height"])) for one in pictures if "width" in one}
            _judge_ids(pictures, "images")
            _judge_ids(kinds, "categories")
            above = {kind.get("supercategory") for kind in kinds} - {one.get("category_id") for one in objects}
            bare = labels.keys() - {_key(one.get("category_id")) for one in objects}
        except (NotTaken, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            why = (
                f"{error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {str(error)[:100]}"
            )
            files.skip(name, f"it is no COCO file ({why})")
            continue
        files.judge_names(name, list(labels.values()))
        found.used.add(name)
        used = [label for key, label in labels.items() if not (key in bare and label in above)]
        found.classes += [label for label in dict.fromkeys(used) if label not in found.classes]
        part = next((PARTS[word] for word in re.findall(r"[a-z]+", _paired.stem(name).lower()) if word in PARTS), "")
        places: dict[Any, str] = {}
        for key, file in by_id.items():
            there = known.find(file, name)
            if there is None:
                files.skip(name, f"it names the image {file[:80]}, which is not there")
                continue
            places[key] = there
            found.of.setdefault(there, [])
            found.parts[there] = part
            if key in sizes:
                found.sizes[there] = sizes[key]
        wrong, odd, twice, seen, here = 0, 0, 0, set[str](), list[tuple[Any, ...]]()
        for one in objects:
            try:
                image = _key(one["image_id"])
                if image not in by_id:
                    raise KeyError(image)
                label, (rings, drawn) = labels[_key(one["category_id"])], _rings(one)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
                wrong += 1
                continue
            odd += not drawn and isinstance(one.get("segmentation"), list) and any(one["segmentation"])
            own = repr(one.get("id"))
            if "id" in one and own in seen:
                twice += 1
            elif image in places:
                here.append((places[image], label, tuple(map(tuple, rings))))
                if here[-1] not in before:
                    found.add(places[image], label, rings, drawn)
            seen.add(own)
        same = sum(one in before for one in here)
        before |= set(here)
        if wrong:
            files.warn(name, f"{wrong} annotation(s) name no image or class of the file or have no bbox; left out.",
                       "Correct image_id, category_id and bbox.")  # fmt: skip
        if odd:
            files.warn(name, f"{odd} annotation(s) have an outline that cannot be read; their bbox was taken.",
                       "Write each ring of segmentation as x, y, x, y ... of three points or more.")  # fmt: skip
        if same:
            files.warn(name, f"{same} object(s) stand in an earlier file, too, and were taken once.",
                       "Keep one file for each picture.")  # fmt: skip
        if twice:
            files.warn(name, f"{twice} annotation(s) have the id of an earlier one and were left out.",
                       "Give each annotation an id of its own.")  # fmt: skip
    if not any(found.of.values()):
        found.classes = []
    return found


def _key(value: Any) -> Any:
    """An id, whether it is written as a number or as text."""
    return str(value) if isinstance(value, int) else value


def _judge_ids(records: list[dict[str, Any]], what: str) -> None:
    """Sees that no id stands twice, for then nobody knows which one is meant.

    Raises:
        ValueError: one does.
    """
    seen: set[Any] = set()
    for one in records:
        if one["id"] in seen:
            raise ValueError(f"two {what} have the id {one['id']}, give each its own")
        seen.add(one["id"])


def _rings(one: Mapping[str, Any]) -> tuple[list[Points], bool]:
    """(the points of an object ring by ring, whether they are an outline): polygons that can be read, else the bbox.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: no bbox and no polygon, or not of numbers.
    """
    drawn = one.get("segmentation")
    try:
        rings = [in_pairs(ring) for ring in drawn] if isinstance(drawn, list) else []
    except (TypeError, ValueError, OverflowError):
        if not one.get("bbox"):
            raise
        rings = []
    if one.get("bbox"):
        x, y, w, h = (float(value) for value in one["bbox"])
        return (rings or [corners(x, y, x + max(w, 0.0), y + max(h, 0.0))]), bool(rings)
    if not rings:
        raise KeyError("bbox")
    return rings, True


def _names(files: _paired.Files, name: str) -> list[str]:
    """Class names of a list: one a line, or `names:` of a YAML as a list or by number.

    Raises:
        Refusal: the YAML is none, or has no names.
    """
    text = files.text(name)
    if not name.lower().endswith((".yaml", ".yml")):
        listed = [line.strip() for line in text.splitlines() if line.strip()]
        files.judge_names(name, listed)
        return listed
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError):  # a date such as 2023-02-30
        read = None
    names = read.get("names") if isinstance(read, dict) else None
    if isinstance(names, dict) and names and all(isinstance(key, int) and 0 <= key < 10_000 for key in names):
        names = [names.get(key, f"class {key}") for key in range(max(names) + 1)]
    if not isinstance(names, list) or not names or not all(isinstance(one, str | int | float) for one in names):
        what = "must be YAML with the class names as a list or by number under names; it is not."
        raise refuse(f"{files.shown}, {name}", what, "Write names: [cat, dog].")
    listed = [whole(str(one)).strip() for one in names]
    files.judge_names(name, listed)
    return listed
