"""VGG Image Annotator: rectangles and polygons of its projects and of its annotations as JSON and CSV (VIA 1 and 2)."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._json import loads
from tltools.formats._shapes import Boxes, Points, corners, loaded, warn_left
from tltools.records import refuse

COLUMNS = ("filename", "region_shape_attributes", "region_attributes")  # of its CSV, those that are read
_USUAL = ("class", "classname", "label", "category", "name", "object", "type")  # attributes that are the class, in turn
_ALONE = "object"  # the class where no region has an attribute


@dataclass(frozen=True)
class _Region:
    """One region as it is written: its place for people, its shape and its attributes."""

    where: str
    shape: Any
    attributes: Any


@dataclass(frozen=True)
class _Image:
    """One image: what the file calls it, and its regions."""

    file: str
    where: str
    called: str
    regions: tuple[_Region, ...]


def via(files: _paired.Files, names: list[str], images: list[str]) -> Boxes:
    """Boxes of VIA's files, JSON or CSV; the class is the one attribute of the regions, or the one named so.

    Raises:
        Refusal: regions have several attributes, and no name says which is the class.
    """
    found, known = Boxes(in_pixels=True), _paired.Named(images)
    read: list[_Image] = []
    for name in names:
        try:
            text = files.text(name)
            table = name.lower().endswith(".csv")
            read += list(_of_table(files, text, name) if table else _of_project(files, loaded(text), name))
        except (NotTaken, csv.Error) as reason:
            files.skip(name, str(reason))
            continue
        found.used.add(name)
    key = _class_key(files, read)
    left: dict[str, Counter[str]] = {name: Counter() for name in names}
    for one in read:
        there = known.find(one.called, one.file)
        if there is None or found.of.get(there) is not None:
            why = "is not there" if there is None else "was named before; the first was taken"
            files.skip(one.where, f"it names the image {one.called[:80]}, which {why}")
            continue
        found.of[there] = []
        for region in one.regions:
            try:
                kind, points = _shape(region.shape)
                if points:
                    found.add(there, _label(region.attributes, key), [points], drawn=kind == "polygon")
                else:
                    left[one.file][kind] += 1
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                what = f"the region cannot be read ({str(error)[:80]}) and was left out."
                files.warn(region.where, what, "Give it one class, or draw it again.")
    for name, kinds in left.items():
        warn_left(files, name, kinds)
    found.name_classes()
    return found


def _of_project(files: _paired.Files, read: Any, name: str) -> Iterator[_Image]:
    """The images of a project, or of annotations exported as JSON; VIA 1 numbers its regions, VIA 2 lists them.

    Raises:
        NotTaken: it is neither.
    """
    if isinstance(read, dict) and "_via_img_metadata" in read:
        read = read["_via_img_metadata"]
    if not isinstance(read, dict) or not read:
        raise NotTaken("it must have images and their regions as VIA 2 writes them; export the annotations as JSON")
    for key, image in read.items():
        regions = image.get("regions", ()) if isinstance(image, dict) else None
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(listed, list | tuple) or not isinstance(image.get("filename"), str):
            files.skip(f"{name}, image {key[:80]}", 'it must have "filename" and "regions"; write both')
            continue
        where = f"{name}, image {image['filename'][:80]}"
        held = [one if isinstance(one, dict) else {} for one in listed]
        yield _Image(name, where, image["filename"], tuple(
            _Region(f"{where}, region {number}", one.get("shape_attributes"), one.get("region_attributes"))
            for number, one in enumerate(held, start=1)
        ))  # fmt: skip


def _of_table(files: _paired.Files, text: str, name: str) -> Iterator[_Image]:
    """The images of annotations exported as CSV: a row a region, or one without a region.

    Raises:
        NotTaken: a column is missing.
        csv.Error: it is no CSV.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip().lstrip("#") for cell in next(lines, [])]
    if missing := [column for column in COLUMNS if column not in header]:
        raise NotTaken(f"it must have the column {missing[0]}; export the annotations as CSV again")
    places = [header.index(column) for column in COLUMNS]
    held: dict[str, list[_Region]] = {}
    first: dict[str, str] = {}
    for cells in lines:
        where = f"{name}, line {lines.line_num}"
        if not cells:
            continue
        if len(cells) != len(header):
            files.skip(where, f"it must have {len(header)} cells as the header; it has {len(cells)}, correct it")
            continue
        called, shape, attributes = (cells[place] for place in places)
        regions = held.setdefault(called, [])
        first.setdefault(called, where)
        if shape.strip() not in ("", "{}"):
            regions.append(_Region(where, _object(shape), _object(attributes)))
    yield from (_Image(name, first[called], called, tuple(regions)) for called, regions in held.items())


def _object(cell: str) -> Any:
    """What a cell holds as JSON; the text itself where it is none, which the region is then left out for."""
    try:
        return loads(cell)
    except (ValueError, RecursionError):
        return cell


def _class_key(files: _paired.Files, read: list[_Image]) -> str:
    """The attribute of regions that is their class; "" where no region has any.

    Raises:
        Refusal: there are several, and none of them is called as a class is.
    """
    counts: Counter[str] = Counter()
    for region in (region for one in read for region in one.regions if isinstance(region.attributes, dict)):
        counts.update(key for key, value in region.attributes.items() if _value(value))
    keys = list(counts)
    if not keys:
        if any(one.regions for one in read):
            what = f"no region has an attribute, so all are of one class, called {_ALONE}."
            files.warn("", what, "Give the regions an attribute class where there are several.")
        return ""
    if len(keys) == 1:
        return keys[0]
    plain = {"".join(filter(str.isalnum, key.lower())): key for key in reversed(keys)}
    usual = next((plain[name] for name in _USUAL if name in plain), None)
    listed = ", ".join(key[:40] for key in keys[:8])
    if usual is None:
        what = f"regions have {len(keys)} attributes ({listed}), and none is called class, label, name or type."
        raise refuse(files.shown, what, "Call the attribute with the class of a region class, and export again.")
    files.warn("", f"regions have {len(keys)} attributes ({listed}); {usual} was taken for the class.",
               "Call another one class where it is not.")  # fmt: skip
    return usual


def _value(value: Any) -> str:
    """An attribute as text: what was written or chosen, or the one box that was ticked; "" for none or several."""
    if isinstance(value, Mapping):
        ticked = [str(key) for key, on in value.items() if on]
        return ticked[0].strip() if len(ticked) == 1 else ""
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _label(attributes: Any, key: str) -> str:
    """The class of a region.

    Raises:
        ValueError: it has none.
    """
    label = _value(attributes.get(key)) if key and isinstance(attributes, dict) else "" if key else _ALONE
    if not label:
        raise ValueError(f"it must have one {key}")
    return label


def _shape(shape: Any) -> tuple[str, Points]:
    """(kind, points) of a region; no points of kinds that are not read.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is no shape, or has not the numbers of its kind.
    """
    if not isinstance(shape, dict):
        raise ValueError("it has no shape")
    kind = str(shape["name"])
    if kind == "rect":
        x, y, w, h = (float(shape[side]) for side in ("x", "y", "width", "height"))
        return kind, corners(x, y, x + max(w, 0.0), y + max(h, 0.0))
    if kind != "polygon":
        return kind, ()
    xs, ys = ([float(value) for value in shape[axis]] for axis in ("all_points_x", "all_points_y"))
    if len(xs) < 3:
        raise ValueError(f"a polygon of {len(xs)} points")
    return kind, list(zip(xs, ys, strict=True))
