"""Pictures with masks become rows: index PNG, colours with a legend, or black and white, paired by name."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools import places
from tltools.formats import Format, Read, _paired
from tltools.formats._collection import NotTaken
from tltools.formats._picture import DAMAGED, LONGEST
from tltools.records import refuse

Array = NDArray[Any]

FOLDERS = {
    "mask", "masks", "annot", "annotation", "annotations", "label", "labels", "gt", "groundtruth", "ground_truth",
    "segmentation", "segmentations", "segmentationclass", "trainannot", "testannot", "valannot", "trimaps",
}  # fmt: skip
_ENDING = re.compile(r"[_-](mask|masks|seg|segmentation|label|labels|gt|annot|l)$", re.IGNORECASE)
_LEGENDS = re.compile(r"(classes|legend|labels|label_colors|labelmap|class_dict|palette|colou?rs|names)\.(txt|csv)$")
_VOID = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown"}  # classes that are judged nowhere
_RGB = r"(\d{1,3})[\s,:;]+(\d{1,3})[\s,:;]+(\d{1,3})"
_COLOUR = re.compile(  # in hex; at the end of a line; or at its beginning, perhaps behind the number of the class
    rf"#([0-9a-f]{{6}})\b|(?<![\w]){_RGB}[\s,:;]*$|^\s*(?:\d+[\s,:;]+)?{_RGB}(?!\w)", re.IGNORECASE
)
_HOW = "Put masks as PNG beside the images (images/1.jpg, masks/1.png), and for colours a legend.txt (name 128 0 64)."


def recognise(path: Path) -> float:
    """How sure, 0..1, that a path holds pictures with masks: at least half of the pictures have one."""
    pairs, images = _pairs([name for name in _paired.names_of(path) if _paired.KIND.has(name)])
    return 0.97 if pairs and len(pairs) >= 0.5 * len(images) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a folder or zip; pictures are written below `scratch`, masks become cells.

    Raises:
        Refusal: an archive that could do harm, colours without a legend, or no pair that can be used.
    """
    with _paired.files_of(path) as files:
        pairs, images = _pairs([name for name in files.names if _paired.KIND.has(name)])
        legends = [name for name in files.names if _LEGENDS.search(PurePosixPath(name).name.lower())]
        for name in images:
            if name not in pairs:
                files.skip(name, "there is no mask for it")
        known = {*images, *pairs.values(), *legends}
        for name in files.names:
            if name not in known and not PurePosixPath(name).name.lower().startswith(("readme", "licen", "source")):
                files.skip(name, "it is neither an image with a mask nor a mask of an image")
        masks: dict[str, Array] = {}
        for name, beside in pairs.items():
            try:
                masks[name] = _decoded(files.content(beside), beside)
            except NotTaken as reason:
                files.skip(beside, str(reason))
        if not masks:
            first = f" The first: {files.skipped[0].where}: {files.skipped[0].reason}." if files.skipped else ""
            raise refuse(files.shown, f"none of the {len(pairs)} masks could be read.{first}", _HOW)
        names, codes = _meaning(files, legends, masks)

        def cell(name: str, width: int, height: int) -> str:
            if name not in masks:
                raise NotTaken("its mask could not be read")
            mask = masks[name]
            if mask.shape[:2] != (height, width):
                size = f"{mask.shape[1]} x {mask.shape[0]}"
                raise NotTaken(
                    f"its mask must be {width} x {height} pixels like the image; it is {size}, save it again"
                )
            return places.mask_cell(_smaller(codes(mask, pairs[name])), names)

        return _paired.read(files, sorted(pairs), scratch, "mask", cell)


def _pairs(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """(image -> mask, all images) of image files: masks lie in a folder that is called so, or end in "_mask"."""
    masks = [name for name in names if _is_mask(name)]
    images = [name for name in names if not _is_mask(name)]
    by_stem: dict[str, list[str]] = {}
    for name in masks:
        by_stem.setdefault(_ENDING.sub("", _paired.stem(name)), []).append(name)
    found = {name: by_stem[_paired.stem(name)] for name in images if _paired.stem(name) in by_stem}
    return {name: _paired.nearest(name, some) for name, some in found.items()}, images


def _is_mask(name: str) -> bool:
    return bool(set(_paired.folders(name)) & FOLDERS) or _ENDING.search(_paired.stem(name)) is not None


def _decoded(content: bytes, name: str) -> Array:
    """(H, W) codes, or (H, W, 3) colours where they are not all grey; in the file's own width, for all are held."""
    from PIL import Image

    lossy = name.lower().endswith((".jpg", ".jpeg"))
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "BMP", "GIF", "TIFF"]) as image:
            if image.width * image.height > 89_478_485:
                raise NotTaken("it has more than 89 million pixels; make it smaller")
            lossy = image.info.get("compression") == "jpeg"
            if lossy:
                raise OSError
            if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B", "F"):
                colours = np.asarray(image.convert("RGB"))
                grey = bool((colours == colours[..., :1]).all())
                return colours[..., 0].copy() if grey else colours
            values = np.asarray(image)
    except NotTaken:
        raise
    except DAMAGED as error:
        why = "JPEG changes the values of pixels, save masks as PNG" if lossy else str(error)[:80]
        raise NotTaken(f"it cannot be read as a mask ({why})") from None
    if image.mode != "F":
        return values.astype(np.uint8) if image.mode == "1" else values
    if not (values == values.round()).all() or abs(values).max(initial=0) > 65535:
        raise NotTaken("its values must be whole numbers, one for each class; it holds decimals, save it with 8 bits")
    return values.astype(np.int32)


def _meaning(
    files: _paired.Files, legends: list[str], masks: dict[str, Array]
) -> tuple[list[str], Callable[[Array, str], Array]]:
    """(class names, what turns a decoded mask into codes (H, W) uint8) by the legend, or by the values themselves."""
    listed = _legend(files.text(legends[0]), f"{files.shown}, {legends[0]}") if legends else []
    coloured = {name for name, mask in masks.items() if mask.ndim == 3}
    names = [name for name, _ in listed if name.lower() not in _VOID]
    if coloured:
        colours: dict[tuple[int, ...], str] = {}
        for name, colour in listed:
            if colour is not None and colours.setdefault(colour, name) != name:
                what = f"a colour must stand for one class; {colour} stands for {colours[colour]} and {name}."
                raise refuse(f"{files.shown}, {legends[0]}", what, "Give each class a colour of its own.")
        if not colours:
            what = (
                f"{len(coloured)} masks are coloured, the first {sorted(coloured)[0]}, and no legend names the colours."
            )
            raise refuse(files.shown, what, _HOW)
        files.inference.append(f'"{legends[0]}" says which colour is which of {len(names)} classes.')
        return names, lambda mask, name: _by_colour(mask, colours, names)
    values = sorted(set().union(*(np.unique(mask).tolist() for mask in masks.values())))
    if not listed and set(values) <= {0, 255} or not listed and set(values) <= {0, 1}:
        files.inference.append("The masks are black and white: white is the foreground.")
        return ["background", "foreground"], lambda mask, name: (mask > 0).astype(np.uint8)
    files.judge_names(legends[0] if legends else "", [name for name, _ in listed])
    if not listed:
        names = [f"class {value}" for value in values if value != places.IGNORED]
        kept = [value for value in values if value != places.IGNORED]
        if len(names) > 200:
            what = f"at most 200 classes are read; the masks have {len(names)} different values."
            raise refuse(files.shown, what, "Save the index of the class as the value of a pixel.")
        files.warn("", "no file names the classes, so they are called by their values.", "Add a classes.txt.")
        table = {value: code for code, value in enumerate(kept)}
    else:
        table = {code: names.index(name) for code, (name, _) in enumerate(listed) if name in names}
        table |= {code: places.IGNORED for code, (name, _) in enumerate(listed) if name not in names}
        files.inference.append(f'"{legends[0]}" names {len(names)} classes; the value of a pixel is the place in it.')
    return names, lambda mask, name: _by_value(mask, table, len(listed) or len(table))


def _by_value(mask: Array, table: dict[int, int], count: int) -> Array:
    found = np.full(mask.shape, places.IGNORED, np.uint8)
    for value in np.unique(mask).tolist():
        if value == places.IGNORED:
            continue
        if value not in table:
            raise NotTaken(f"its mask has the value {value}, but only {count} classes are named; correct one of them")
        found[mask == value] = table[value]
    return found


def _by_colour(mask: Array, colours: dict[tuple[int, ...], str], names: list[str]) -> Array:
    wide = mask if mask.ndim == 3 else np.repeat(mask[..., None], 3, 2)
    found = np.full(mask.shape[:2], places.IGNORED, np.uint8)
    flat = wide.reshape(-1, 3).astype(np.int64) @ np.array([65536, 256, 1])
    for value in np.unique(flat).tolist():
        colour = (value >> 16, value >> 8 & 255, value & 255)
        if colour not in colours:
            raise NotTaken(f"its mask has the colour {colour}, which the legend does not name; add it there")
        if colours[colour] in names:
            found.reshape(-1)[flat == value] = names.index(colours[colour])
    return found


def _legend(text: str, where: str) -> list[tuple[str, tuple[int, ...] | None]]:
    """(class name, colour or None) of the lines of a legend: "0 sky", "sky 128 128 128", "#80ff00 sky", CVAT's
    "sky:128,128,128::".

    Raises:
        Refusal: a colour beyond 255.
    """
    found: list[tuple[str, tuple[int, ...] | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare, match = re.sub(r"[\s,;]+", ",", line.strip().lower()), _COLOUR.search(line)
        remark = bare.startswith(("name,r,g,b", "class,r,g,b", "//")) or (bare.startswith("#") and match is None)
        if not bare or remark:
            continue
        colour = None
        if match:
            hexed, *parts = match.groups()
            colour = tuple(bytes.fromhex(hexed)) if hexed else tuple(int(part) for part in parts if part)
            if max(colour) > 255:
                what = f"line {number}: a colour must have three numbers from 0 to 255; got {max(colour)}."
                raise refuse(where, what, "Correct it.")
            line = line[: match.start()] + " " + line[match.end() :]
        name = re.sub(r"^\s*\d+[\s,:;=]+(?=\S)", "", line).strip(" \t,:;=\"'")
        if name:
            found.append((name, colour))
    return found


def _smaller(mask: Array) -> Array:
    """A mask at the size at which its picture is kept."""
    from PIL import Image

    if max(mask.shape) <= LONGEST:
        return mask
    image = Image.fromarray(mask)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.NEAREST)
    return np.asarray(image)


MASKS = Format(
    key="masks",
    title="Images with masks",
    extensions=(".zip",),
    recognise=recognise,
    read=read,
    order=21,
)
