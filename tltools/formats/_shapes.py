"""Boxes and outlines by image, whatever tool wrote them: corners in shares, masks drawn, what does not fit named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tltools.formats import _paired
from tltools.formats._archive import readable
from tltools.formats._collection import NotTaken
from tltools.formats._json import loads
from tltools.formats._picture import LONGEST
from tltools.records import Problem, refuse

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Array = NDArray[Any]
Box = tuple[str, float, float, float, float]  # class, x0, y0, x1, y1 in pixels, or in shares
Points = Sequence[tuple[float, float]]

_LEAST = 1e-3  # of a side in shares: a smaller box is none
_FINER = 4  # times that an outline is drawn larger
MOST_CLASSES = 254  # that a mask of bytes can hold beside the background and what is judged nowhere


@dataclass
class Boxes:
    """Boxes by image name (None: their file could not be read), the classes, and the files that were read.

    `outlines` has, as far as the files draw them, the rings of points of the boxes, in the order of the boxes.
    """

    in_pixels: bool
    of: dict[str, list[Box] | None] = field(default_factory=dict)
    outlines: dict[str, dict[int, list[Points]]] = field(default_factory=dict)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)  # width and height that the file says
    parts: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    kept: int = 0  # boxes that `shares` gave
    cut: Counter[str] = field(default_factory=Counter)  # those that it cut off, by image
    gone: Counter[str] = field(default_factory=Counter)  # those that it left out

    def add(self, name: str, label: str, rings: Sequence[Points], drawn: bool) -> None:
        """Takes one object: the box around its points, and these as its outline where they were `drawn` as one."""
        points = [point for ring in rings for point in ring]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        held = self.of.get(name)
        if held is None:
            held = self.of[name] = []
        if drawn:
            self.outlines.setdefault(name, {})[len(held)] = list(rings)
        held.append((label, min(xs), min(ys), max(xs), max(ys)))

    @property
    def outlined(self) -> bool:
        """Whether every object has an outline, so that masks can be drawn."""
        return all(len(self.outlines.get(name, ())) == len(boxes or ()) for name, boxes in self.of.items()) and bool(
            self.outlines
        )

    def name_classes(self) -> None:
        """Takes the labels of all boxes as the classes, beside those that the files list."""
        found = {box[0] for boxes in self.of.values() for box in boxes or ()}
        self.classes = [*self.classes, *sorted(found - set(self.classes))] if found else []

    def shares(self, name: str, width: int, height: int) -> Array:
        """(n, 5) class and corners in shares of the image; what lies outside is cut off or left out, and counted."""
        across, down = self._size(name, width, height)
        if self.in_pixels and width != height and (across, down) == (height, width):
            what = f"its boxes are for {across:g} x {down:g} pixels, but upright it has {width} x {height}"
            raise NotTaken(f"{what}; save the picture upright, without a mark that turns it, and mark it again")
        kept = []
        for label, *corners in self.of[name] or ():
            box = np.array(corners, np.float64) / [across, down, across, down]
            inside = np.clip(box, 0, 1)
            if not np.isfinite(box).all() or inside[2] - inside[0] < _LEAST or inside[3] - inside[1] < _LEAST:
                self.gone[name] += 1
                continue
            self.cut[name] += bool(np.abs(inside - box).max() > 0.01)
            kept.append([self.classes.index(label), *inside])
        self.kept += len(kept)
        return np.array(kept, np.float64).reshape(len(kept), 5)

    def misfits(self, shown: str) -> list[Problem]:
        """One warning for all boxes that were cut off, and one for all left out; each names the first image.

        Raises:
            Refusal: no box is left.
        """
        found = []
        for counts, what in ((+self.cut, "pass the border of the image and were cut off"),
                             (self.gone, "lie outside the image or have no area and were left out")):  # fmt: skip
            if not counts:
                continue
            where = f"{shown}, {readable(next(iter(counts)))}"
            more = f", in {len(counts):,} images of which this is the first" if len(counts) > 1 else ""
            what = f"{counts.total():,} box(es) {what}{more}."
            found.append(Problem(severity="warning", where=where, what=what, remedy="Correct them."))
        if not self.kept:
            unit = "pixels" if self.in_pixels else "shares of the image from 0 to 1"
            where, what = (found[-1].where, found[-1].what) if self.gone else (shown, "no image with a box was taken.")
            raise refuse(where, f"no box is left: {what}", f"Give boxes that lie in their image, here in {unit}.")
        return found

    def mask(self, name: str, width: int, height: int) -> Array:
        """(H, W) uint8 at the size at which the picture is kept: 0 is no object, k the k-th class; later ones on top.

        An outline holds the pixels whose middles lie within it: it is drawn finer, and the middles are taken.
        """
        from PIL import Image, ImageDraw

        across, down = self._size(name, width, height)
        smaller = min(1.0, LONGEST / max(width, height))
        wide, high = max(1, round(width * smaller)), max(1, round(height * smaller))
        image = Image.new("L", (wide * _FINER, high * _FINER))
        draw = ImageDraw.Draw(image)
        for place, rings in self.outlines.get(name, {}).items():
            code = 1 + self.classes.index((self.of[name] or [])[place][0])
            for ring in rings:
                points = np.array(ring, np.float64) / [across, down]
                if np.isfinite(points).all() and len(points) >= 3:
                    inside = np.clip(points, -1, 2) * image.size
                    draw.polygon([(float(x), float(y)) for x, y in inside], fill=code)
        return np.asarray(image)[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER]

    def _size(self, name: str, width: int, height: int) -> tuple[float, float]:
        return self.sizes.get(name, (float(width), float(height))) if self.in_pixels else (1.0, 1.0)


def corners(x0: float, y0: float, x1: float, y1: float) -> Points:
    """A rectangle as its four points."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def turned(points: Points, degrees: float, about: tuple[float, float], aspect: float = 1.0) -> Points:
    """Points turned clockwise as they are seen; `aspect` is the width of a unit across in units down."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved = [((x - about[0]) * aspect, y - about[1]) for x, y in points]
    return [(about[0] + (x * cosine - y * sine) / aspect, about[1] + x * sine + y * cosine) for x, y in moved]


def in_pairs(values: Sequence[Any]) -> Points:
    """x, y, x, y ... as points.

    Raises:
        ValueError: an odd number of values, fewer than three points, or something else than numbers.
    """
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"an outline must have three points or more, as pairs; got {len(values)} numbers")
    numbers = [float(value) for value in values]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def rooted(content: bytes) -> Element:
    """The root of an XML file from a stranger; entities and document types are not read.

    Raises:
        NotTaken: it declares any, or is not well-formed.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException, ElementTree

    try:
        return ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise NotTaken("it declares entities, which no file of boxes needs; save it without DOCTYPE") from None
    except (ParseError, ValueError, LookupError) as error:
        raise NotTaken(f"it is not well-formed XML ({str(error)[:80]}); export it again") from None


def loaded(text: str) -> Any:
    """What a JSON file holds.

    Raises:
        NotTaken: it is not JSON.
    """
    try:
        return loads(text)
    except RecursionError:
        raise NotTaken("it is nested too deeply for JSON; export it again") from None
    except ValueError as error:
        raise NotTaken(f"it is not valid JSON ({str(error)[:80]}); export it again") from None


def warn_left(files: _paired.Files, name: str, left: Counter[str]) -> None:
    """Names shapes that are neither boxes nor outlines."""
    if left:
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        files.warn(name, f"only boxes and polygons are read; left out: {said}.", "Draw boxes or polygons.")
