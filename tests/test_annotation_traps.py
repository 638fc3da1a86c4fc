"""What files of masks, boxes and sounds hold beside the books: each is read right, or named with place and remedy.

Run alone: python -m pytest tests/test_annotation_traps.py
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bad_files import archive, picture
from tests.test_annotation_files import best, told
from tests.test_audio import clip, tone
from tests.test_formats_places import GREY, HALF, NAMES, boxed, coco, colours, masked, png, xml
from tltools import datasets, drafts, places
from tltools.home import Home
from tltools.records import Refusal

NAMED = b"sky 0 0 0\nroad 128 0 0\ntree 0 128 0\n"
KINDS = ("sky", "road", "tree")


def drawn(values: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(values).save(held, form, **options)
    return held.getvalue()


def turned_picture() -> bytes:
    """24 x 20 pixels as they lie in the file, and a mark that they are to be turned by 90 degrees."""
    mark = Image.Exif()
    mark[0x0112] = 6
    return drawn(np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.uint8), "JPEG", exif=mark)


def clear(values: np.ndarray) -> np.ndarray:
    return np.dstack([values, np.full(values.shape[:2], 255, np.uint8)])


def with_legend(legend: bytes, name: str = "legend.txt") -> dict[str, bytes]:
    return masked(png(colours(GREY))) | {name: legend}


CVAT = b"# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,0,0::\ntree:0,128,0::\n"
MASKS: dict[str, tuple[dict[str, bytes], tuple[str, ...] | None, str]] = {  # files, classes or None, what is said
    "16 bits": (masked(drawn(GREY.astype(np.uint16)), classes__txt=NAMES), KINDS, ""),
    "grey and clear": (masked(drawn(clear(GREY)), classes__txt=NAMES), KINDS, ""),
    "colours and clear": (masked(drawn(clear(colours(GREY))), legend__txt=NAMED), KINDS, ""),
    "an ending in capitals": ({"i/1.PNG": picture(seed=1), "masks/1.PNG": png(GREY), "classes.txt": NAMES}, KINDS, ""),
    "CVAT's legend": ({"JPEGImages/1.png": picture(seed=1), "SegmentationClass/1.png": png(colours(GREY)),
                       "labelmap.txt": CVAT}, KINDS, ""),
    "CamVid's legend": (with_legend(b"0 0 0\tsky\n128 0 0\troad\n0 128 0\ttree\n", "label_colors.txt"), KINDS, ""),
    "numbers before colours": (with_legend(b"0 0 0 0 sky\n1 128 0 0 road\n2 0 128 0 tree\n"), KINDS, ""),
    "a header with semicolons": (with_legend(b"name;r;g;b\nsky;0;0;0\nroad;128;0;0\ntree;0;128;0\n", "class_dict.csv"),
                                 KINDS, ""),
    "a header with blanks": (with_legend(b"Name, R, G, B\nsky, 0, 0, 0\nroad, 128, 0, 0\ntree, 0, 128, 0\n",
                                         "class_dict.csv"), KINDS, ""),
    "names that end in numbers": (with_legend(b"type 1 0 0 0\ntype2 128 0 0\ntype 3 0 128 0\n"),
                                  ("type 1", "type2", "type 3"), ""),
    "Windows-1252": (masked(png(GREY), classes__txt="sky\nstra\xdfe\ntree\n".encode("cp1252")),
                     ("sky", "straße", "tree"), "classes.txt it is no UTF-8 and was read as Windows-1252"),
    "UTF-16": (masked(png(GREY), classes__txt="sky\nstra\xdfe\ntree".encode("utf-16")), ("sky", "straße", "tree"), ""),
    "a name twice": (masked(png(GREY), classes__txt=b"sky\nroad\nroad\n"), ("sky", "road"),
                     "classes.txt it names road more than once; equal names are one class"),
    "two colours of one class": (with_legend(b"sky 0 0 0\nroad 128 0 0\nroad 0 128 0\n"), ("sky", "road"), ""),
    "one colour of two classes": (with_legend(NAMED + b"lane 128 0 0\n"), None,
                                  "legend.txt: a colour must stand for one class; (128, 0, 0) stands for road and"),
    "a colour beyond 255": (with_legend(b"sky 0 0 0\nroad 300 0 0\n"), None,
                            "line 2: a colour must have three numbers from 0 to 255; got 300"),
    "an empty legend": (with_legend(b"\n"), None, "no legend names the colours"),
    "JPEG": ({"images/1.png": picture(seed=1), "masks/1.jpg": drawn(colours(GREY), "JPEG"), "legend.txt": NAMED},
             None, "JPEG changes the values of pixels, save masks as PNG"),
    "a turned picture, an upright mask": (
        {"images/1.jpg": turned_picture(), "masks/1.png": png(np.rot90(GREY, -1).copy()), "classes.txt": NAMES},
        KINDS, "1 turned upright"),
    "a turned picture, a mask that lies": (
        {"images/1.jpg": turned_picture(), "masks/1.png": png(GREY), "classes.txt": NAMES}, None,
        "images/1.jpg: its mask must be 20 x 24 pixels like the image; it is 24 x 20"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_read_right_or_named(name: str, tmp_path: Path) -> None:
    entries, classes, said = MASKS[name]
    path = archive("given.zip", entries)(tmp_path)
    form = best(path)
    assert form.key == "masks"
    if classes is None:
        with pytest.raises(Refusal) as caught:
            form.read(path, tmp_path / "media")
        assert said in str(caught.value) and all(problem.remedy for problem in caught.value.problems)
        return
    found = form.read(path, tmp_path / "media")
    (cell,) = found.table["mask"]
    assert places.classes_of([cell]) == classes and said in told(found)
    upright = np.rot90(GREY, -1) if "turned" in name else GREY
    assert np.array_equal(places.mask_of(cell, classes), np.minimum(upright, len(classes) - 1))


def of_coco(**other: Any) -> dict[str, bytes]:
    return boxed("a.json", coco(**other))


def objects(*boxes: Any, image: Any = 7, kind: Any = 9) -> list[dict[str, Any]]:
    return [{"image_id": image, "category_id": kind, "bbox": box} for box in boxes]


def of_yolo(content: str | bytes, names: bytes = b"dog\n") -> dict[str, bytes]:
    return boxed("labels/1.txt", content, classes__txt=names)


def upright(width: int, height: int) -> dict[str, bytes]:
    there = [{"id": 7, "file_name": "1.jpg", "width": width, "height": height}]
    return {"1.jpg": turned_picture(), "a.json": coco(images=there).encode()}


DOG, WHOLE = ["dog", *HALF], [6, 5, 12, 10]
OTHER = of_yolo("0 .5 .5 .5 .5") | {"images/2.png": picture(seed=2)}
BOXES: dict[str, tuple[dict[str, bytes], list[list[Any]] | None, str]] = {  # files, boxes or None, what is said
    "COCO, outside": (of_coco(annotations=objects([60, 50, 9, 9], WHOLE)), [DOG], "1 box(es) lie outside the image"),
    "COCO, a side below zero": (of_coco(annotations=objects([6, 5, -3, 10], WHOLE)), [DOG], "or have no area"),
    "COCO, no box": (of_coco(annotations=objects(None, WHOLE)), [DOG], "a.json 1 annotation(s) name no image or class"),
    "COCO, numbers as text": (of_coco(annotations=objects(["6", "5", "12", "10"])), [DOG], ""),
    "COCO, ids as text": (of_coco(annotations=objects(WHOLE, image="7", kind="9")), [DOG], ""),
    "COCO, an unknown image": (of_coco(annotations=objects(WHOLE, image=8)), None,
                               "The first: given.zip, a.json: 1 annotation(s) name no image"),
    "COCO, a mark": (boxed("a.json", b"\xef\xbb\xbf" + coco().encode()), [DOG], ""),
    "COCO, a class twice": (of_coco(categories=[{"id": 3, "name": "dog"}, {"id": 9, "name": "dog"}]), [DOG],
                            "a.json it names dog more than once"),
    "COCO, classes without names": (of_coco(categories=[{"id": 9}]), None, "it is no COCO file ('name' is missing)"),
    "COCO, the folder above": (of_coco(images=[{"id": 7, "file_name": "../../1.txt"}]), None, "which is not there"),
    "COCO, Windows' folders": (of_coco(images=[{"id": 7, "file_name": "images\\1.png"}]), [DOG], ""),
    "COCO, another ending": ({"1.PNG": picture(seed=1), "a.json": coco().encode()}, [DOG], ""),
    "COCO, a copy beside it": (boxed("a.json", coco(), b__json=coco().encode()), [DOG],
                               "b.json 1 object(s) stand in an earlier file, too, and were taken once"),
    "COCO, another file for others": (
        boxed("a.json", coco(), b__json=coco(annotations=objects([0, 0, 12, 10], kind=3)).encode()),
        [DOG, ["cat", 0, 0, 0.5, 0.5]], ""),
    "COCO, turned as it is seen": (upright(20, 24) | {"a.json": coco(
        images=[{"id": 7, "file_name": "1.jpg", "width": 20, "height": 24}],
        annotations=objects([5, 6, 10, 12])).encode()}, [DOG], "1 turned upright"),
    "COCO, turned as it lies": (upright(24, 20), None,
                                "1.jpg: its boxes are for 24 x 20 pixels, but upright it has 20 x 24"),
    "VOC, turned as it lies": ({"1.jpg": turned_picture(), "1.xml": xml(("dog", 6, 5, 18, 15)).encode()}, None,
                               "1.jpg: its boxes are for 24 x 20 pixels, but upright it has 20 x 24"),
    "VOC, Latin 1": (boxed("1.xml", ('<?xml version="1.0" encoding="ISO-8859-1"?>' + xml(("ha\xdf", 6, 5, 18, 15)))
                           .encode("latin-1")), [["haß", *HALF]], ""),
    "VOC, above the image": (boxed("1.xml", xml(("dog", -6, -5, 18, 15))), [["dog", 0, 0, 0.75, 0.75]],
                             "1 box(es) pass the border"),
    "VOC, a word for a number": (boxed("1.xml", xml(("dog", "six", 5, 18, 15))), None, "1.xml: it is no Pascal VOC"),  # type: ignore[arg-type]
    "VOC, empty": (boxed("1.xml", b""), None, "1.xml: it is not well-formed XML"),
    "VOC, a size below zero": (boxed("1.xml", xml(("dog", 6, 5, 18, 15), size="<width>-24</width><height>20</height>")),
                               [DOG], ""),
    "YOLO, Windows' lines": (of_yolo(b"\xef\xbb\xbf0 .5 .5 .5 .5\r\n", b"\xef\xbb\xbfdog\r\n"), [DOG], ""),
    "YOLO, tabs": (of_yolo("0\t.5\t.5\t.5\t.5"), [DOG], ""),
    "YOLO, a class with a point": (of_yolo("0.0 .5 .5 .5 .5"), [DOG], ""),
    "YOLO, half a class": (of_yolo("0.5 .5 .5 .5 .5"), None, "line 1 must begin with the whole number of a class"),
    "YOLO, decimal commas": (of_yolo("0 .5 .5 .5 .5\n0 0,5 0,5 0,5 0,5"), None,
                             "labels/1.txt: it is no YOLO file (line 2 must hold numbers; got 0 0,5"),
    "YOLO, no number": (of_yolo("0 nan .5 .5 .5\n0 .5 .5 .5 .5"), [DOG], "or have no area"),
    "YOLO, without end": (of_yolo("0 .5 .5 inf .5"), None, "line 1 must hold shares of the image"),
    "YOLO, a class beyond all": (of_yolo("99999999999999999999 .5 .5 .5 .5"), None, "but 1 classes are named"),
    "YOLO, no width": (of_yolo("0 .5 .5 0 .5\n0 .5 .5 .5 .5"), [DOG], "or have no area"),
    "YOLO, a side below zero": (of_yolo("0 .5 .5 -.2 .5\n0 .5 .5 .5 .5"), [DOG], "or have no area"),
    "YOLO, bytes": (of_yolo(b"\x00\x01\x02\xff"), None, "labels/1.txt: it is no YOLO file"),
    "YOLO, Windows-1252": (of_yolo("0 .5 .5 .5 .5", "ha\xdf".encode("cp1252")), [["haß", *HALF]],
                           "classes.txt it is no UTF-8 and was read as Windows-1252"),
    "YOLO, a name twice": (of_yolo("1 .5 .5 .5 .5", b"dog\ndog\n"), [DOG], "it names dog more than once"),
    "YOLO, names with dashes": (boxed("1.txt", "1 .5 .5 .5 .5", data__yaml=b"names:\n- cat\n- dog\n"), [DOG], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_a_box_is_read_right_or_named(name: str, tmp_path: Path) -> None:
    entries, boxes, said = BOXES[name]
    path = archive("given.zip", entries)(tmp_path)
    form = best(path)
    assert form.key == "boxes"
    if boxes is None:
        with pytest.raises(Refusal) as caught:
            form.read(path, tmp_path / "media")
        assert said in str(caught.value) and all(problem.remedy for problem in caught.value.problems)
        return
    found = form.read(path, tmp_path / "media")
    (cell,) = found.table["boxes"]
    assert json.loads(cell)["boxes"] == boxes and said in told(found)


def test_what_is_wrong_with_one_picture_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    others = {"1.jpg": turned_picture(), "1.xml": xml(("dog", 6, 5, 18, 15)).encode()}
    others |= {"2.png": picture(seed=2), "2.xml": xml(("dog", 6, 5, 18, 15)).encode()}
    found = best(path := archive("given.zip", others)(tmp_path)).read(path, tmp_path / "media")
    assert list(found.table["_where"]) == ["2.png"] and "save the picture upright" in told(found)


# --- sounds and pictures whose table has gaps


def of_table(kind: str, cells: list[str]) -> dict[str, bytes]:
    """Files of a kind beside a table of one cell each."""
    made = {"wav": lambda k: clip(tone(200 + 40 * k, seed=k)), "png": lambda k: picture(seed=k)}[kind]
    rows = "".join(f"{k}.{kind},{cell}\n" for k, cell in enumerate(cells))
    return {f"files/{k}.{kind}": made(k) for k in range(len(cells))} | {"labels.csv": f"file,said\n{rows}".encode()}


@pytest.mark.parametrize("kind", ["wav", "png"])
@pytest.mark.parametrize("empty", ["", "   ", '""'])
def test_a_file_whose_cell_is_empty_is_left_out_and_named(home: Home, tmp_path: Path, kind: str, empty: str) -> None:
    cells = ["yes", "no"] * 6
    cells[3] = cells[8] = empty
    path = archive("given.zip", of_table(kind, cells))(tmp_path)
    said = [one for one in drafts.inspect(home, path).profile.problems if "2 row(s) were left out" in one.what]
    assert len(said) == 1 and said[0].remedy.startswith("Fill in the targets") and f"3.{kind}" in said[0].where
    assert datasets.add(home, path).rows == 10


def test_a_table_of_empty_transcripts_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"every row lacks its target\. Fill the column in"):
        datasets.add(home, archive("given.zip", of_table("wav", [""] * 12))(tmp_path))


def test_transcripts_are_no_classes_and_it_is_said(home: Home, tmp_path: Path) -> None:
    said = [f"we went to town number {k} and back" if k % 5 else "" for k in range(12)]
    with pytest.raises(Refusal, match=r'"said" cannot be a target: it holds free text'):
        datasets.add(home, archive("given.zip", of_table("wav", said))(tmp_path))


SPOKEN: dict[str, bytes] = {
    "stereo": clip(np.stack([tone(440, 1.0)] * 2, 1)),
    "six channels": clip(np.stack([tone(440, 1.0)] * 6, 1)),
    "24 bits": clip(tone(440, 1.0), 8_000, "WAV", "PCM_24"),
    "A-law": clip(tone(440, 1.0), 8_000, "WAV", "ALAW"),
    "a header without a length": clip(tone(440, 1.0))[:4] + b"\xff\xff\xff\xff" + clip(tone(440, 1.0))[8:],
}


@pytest.mark.parametrize("name", SPOKEN)
def test_sounds_as_recorders_write_them_are_heard_whole(name: str, tmp_path: Path) -> None:
    path = archive("given.zip", {"a/1.wav": SPOKEN[name], "b/2.wav": clip(tone(900, 1.0))})(tmp_path)
    found = best(path).read(path, tmp_path / "media")
    assert list(found.table["_where"]) == ["a/1.wav", "b/2.wav"] and not found.skipped
    assert np.allclose(found.table["seconds"], 1.0, atol=0.01) and set(found.table["rate"]) == {8_000}
