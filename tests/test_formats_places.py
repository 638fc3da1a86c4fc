"""Readers of pictures with masks and with boxes: good files, and broken ones that are named with file and remedy."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bad_files import archive, picture
from tltools import places
from tltools.formats import Read, boxes, images, masks
from tltools.records import Refusal

Entries = Mapping[str, bytes]
GREY = np.uint8([[0, 1], [1, 2]]).repeat(10, 0).repeat(12, 1)  # 20 high, 24 wide as `picture` makes them


def png(values: Any, mode: str | None = None, palette: bool = False, ending: str = "PNG") -> bytes:
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    if mode:
        image = image.convert(mode)
    held = io.BytesIO()
    image.save(held, ending)
    return held.getvalue()


def colours(codes: np.ndarray) -> np.ndarray:
    return np.uint8([[0, 0, 0], [128, 0, 0], [0, 128, 0]])[codes]


def masked(mask: bytes, **others: bytes) -> dict[str, bytes]:
    return {
        "images/1.png": picture(seed=1),
        "masks/1.png": mask,
        **{k.replace("__", "."): v for k, v in others.items()},
    }


def boxed(label: str, content: str | bytes, **others: bytes) -> dict[str, bytes]:
    raw = content if isinstance(content, bytes) else content.encode()
    return {"images/1.png": picture(seed=1), label: raw, **{k.replace("__", "."): v for k, v in others.items()}}


def read(folder: Path, entries: Entries, form: Any) -> Read:
    path = archive("given.zip", dict(entries))(folder)
    return form.read(path, folder / "media")


def mask_of(found: Read, row: int = 0) -> np.ndarray:
    cell = found.table["mask"].iloc[row]
    return places.mask_of(cell, places.classes_of([cell]))


def said(found: Read) -> str:
    skipped = [f"{one.where}: {one.reason}" for one in found.skipped]
    return " ".join([*(f"{one.where} {one.what} {one.remedy}" for one in found.problems), *skipped])


NAMES = b"sky\nroad\ntree\n"
GOOD_MASKS: dict[str, tuple[dict[str, bytes], tuple[str, ...], np.ndarray]] = {
    "index": (masked(png(GREY), classes__txt=NAMES), ("sky", "road", "tree"), GREY),
    "palette": (masked(png(GREY, palette=True), classes__txt=NAMES), ("sky", "road", "tree"), GREY),
    "numbered names": (masked(png(GREY), classes__txt=b"0 sky\n1 road\n2 tree\n"), ("sky", "road", "tree"), GREY),
    "void by name": (masked(png(GREY), classes__txt=b"sky\nvoid\ntree\n"), ("sky", "tree"),
                     np.choose(GREY, [0, 255, 1])),
    "void by value": (masked(png(np.where(GREY == 2, 255, GREY)), classes__txt=NAMES), ("sky", "road", "tree"),
                      np.where(GREY == 2, 255, GREY)),
    "no names": (masked(png(GREY)), ("class 0", "class 1", "class 2"), GREY),
    "grey as RGB": (masked(png(GREY.repeat(3).reshape(20, 24, 3)), classes__txt=NAMES), ("sky", "road", "tree"), GREY),
    "black and white": (masked(png(np.where(GREY > 0, 255, 0))), ("background", "foreground"), GREY > 0),
    "one bit": (masked(png(np.where(GREY > 0, 255, 0), "1")), ("background", "foreground"), GREY > 0),
    "zero and one": (masked(png(np.minimum(GREY, 1))), ("background", "foreground"), GREY > 0),
    "colours": (masked(png(colours(GREY)), legend__txt=b"sky 0 0 0\nroad 128 0 0\ntree 0 128 0\n"),
                ("sky", "road", "tree"), GREY),
    "colours in CSV": (masked(png(colours(GREY)),
                              class_dict__csv=b"name,r,g,b\nsky,0,0,0\nroad,128,0,0\ntree,0,128,0\n"),
                       ("sky", "road", "tree"), GREY),
    "colours in hex": (masked(png(colours(GREY)), legend__txt=b"#000000 sky\n#800000 road\n#008000 tree\n"),
                       ("sky", "road", "tree"), GREY),
    "colours before names": (masked(png(colours(GREY)), legend__txt=b"0 0 0 sky\n128 0 0 road\n0 128 0 tree\n"),
                             ("sky", "road", "tree"), GREY),
    "beside the image": ({"1.png": picture(seed=1), "1_mask.png": png(GREY), "classes.txt": NAMES},
                         ("sky", "road", "tree"), GREY),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD_MASKS)
def test_masks_become_places_in_a_list_of_classes(case: str, tmp_path: Path) -> None:
    entries, names, wanted = GOOD_MASKS[case]
    found = read(tmp_path, entries, masks)
    assert found.target == "mask" and found.column == "image"
    assert places.classes_of(list(found.table["mask"])) == names
    assert np.array_equal(mask_of(found), wanted)


def test_masks_of_parts_and_of_several_sizes(tmp_path: Path) -> None:
    entries = {"classes.txt": NAMES}
    for k, part in enumerate(("train", "val", "test")):
        entries |= {f"D/{part}/images/a.png": picture(seed=k), f"D/{part}/masks/a.png": png(GREY * (k == 0))}
    wide = np.zeros((30, 50), np.uint8)
    entries |= {"D/train/images/b.png": png(wide), "D/train/masks/b.png": png(wide)}
    found = read(tmp_path, entries, masks)
    assert dict(zip(found.table["_where"], found.table["_part"], strict=True)) == {
        "D/train/images/a.png": "train", "D/val/images/a.png": "validation", "D/test/images/a.png": "test",
        "D/train/images/b.png": "train",
    }  # fmt: skip
    assert [mask_of(found, k).any() for k in range(4)] == [False, True, False, False]  # sorted: test, train a, b, val
    assert {mask_of(found, k).shape for k in range(4)} == {(20, 24), (30, 50)}


OTHER = {"images/2.png": picture(seed=2), "masks/2.png": png(GREY)}
BROKEN_MASKS: dict[str, tuple[dict[str, bytes], str]] = {
    "another size": (masked(png(GREY[:10]), classes__txt=NAMES), "must be 24 x 20 pixels like the image"),
    "damaged": (masked(png(GREY)[:60], classes__txt=NAMES), "masks/1.png: it cannot be read as a mask"),
    "empty": (masked(b"", classes__txt=NAMES), "masks/1.png: it cannot be read as a mask"),
    "a value too many": (masked(png(GREY + 3), classes__txt=NAMES), "only 3 classes are named"),
    "without a mask": ({"images/1.png": picture(seed=1), "classes.txt": NAMES}, "there is no mask for it"),
    "a stranger": (masked(png(GREY), classes__txt=NAMES, notes__pdf=b"%PDF"), "notes.pdf: it is neither"),
    "an image damaged": ({"images/1.png": b"x", "masks/1.png": png(GREY), "classes.txt": NAMES}, "images/1.png: must"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_MASKS)
def test_what_is_wrong_with_a_mask_is_named_and_the_rest_is_read(case: str, tmp_path: Path) -> None:
    entries, reason = BROKEN_MASKS[case]
    found = read(tmp_path, {**OTHER, **entries}, masks)
    assert reason in said(found) and "images/2.png" in set(found.table["_where"])


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (masked(png(colours(GREY))), "no legend names the colours"),
        (masked(png(GREY)[:60]), "none of the 1 masks could be read"),
        (masked(png(GREY[:5]), classes__txt=NAMES), "none of the 1 images could be used"),
        (masked(png(colours(GREY)), legend__txt=b"sky 0 0 0\nroad 9 9 9\n"), "which the legend does not name"),
        (masked(png(np.arange(480).reshape(20, 24) % 256)), "at most 200 classes"),
    ],
)
def test_masks_that_cannot_serve_are_refused(entries: dict[str, bytes], what: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=what):
        read(tmp_path, entries, masks)


def xml(*objects: tuple[str, float, float, float, float], size: str = "<width>24</width><height>20</height>") -> str:
    each = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for n, a, b, c, d in objects
    )
    return f"<annotation><size>{size}</size>{each}</annotation>"


def coco(**other: Any) -> str:
    held: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "1.png", "width": 24, "height": 20}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 9, "bbox": [6, 5, 12, 10]}],
    }
    return json.dumps(held | other)


HALF = [0.25, 0.25, 0.75, 0.75]
GOOD_BOXES: dict[str, tuple[dict[str, bytes], tuple[str, ...], str]] = {
    "VOC": (boxed("labels/1.xml", xml(("dog", 6, 5, 18, 15))), ("dog",), "dog"),
    "VOC without a size": (boxed("labels/1.xml", xml(("dog", 6, 5, 18, 15), size="")), ("dog",), "dog"),
    "VOC of a larger original": (boxed("1.xml", xml(("dog", 60, 50, 180, 150),
                                 size="<width>240</width><height>200</height>")), ("dog",), "dog"),
    "YOLO": (boxed("labels/1.txt", "1 0.5 0.5 0.5 0.5\n", classes__txt=b"cat\ndog\n"), ("cat", "dog"), "dog"),
    "YOLO with a score": (boxed("1.txt", "1 0.5 0.5 0.5 0.5 0.9", classes__txt=b"cat\ndog"), ("cat", "dog"), "dog"),
    "YOLO without names": (boxed("labels/1.txt", "1 0.5 0.5 0.5 0.5"), ("class 0", "class 1"), "class 1"),
    "YOLO with obj.names": (boxed("1.txt", "1 .5 .5 .5 .5", obj__names=b"cat\ndog\n"), ("cat", "dog"), "dog"),
    "YOLO with inline YAML": (boxed("1.txt", "1 .5 .5 .5 .5", data__yaml=b"nc: 2\nnames: ['cat', 'dog']\n"),
                              ("cat", "dog"), "dog"),
    "YOLO with numbered YAML": (boxed("1.txt", "1 .5 .5 .5 .5", data__yaml=b"names:\n  0: cat\n  1: dog\nnc: 2\n"),
                                ("cat", "dog"), "dog"),
    "COCO": (boxed("annotations.json", coco()), ("cat", "dog"), "dog"),
    "COCO with folders": (boxed("annotations.json", coco(images=[{"id": 7, "file_name": "images/1.png"}])),
                          ("cat", "dog"), "dog"),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD_BOXES)
def test_boxes_become_shares_of_the_picture(case: str, tmp_path: Path) -> None:
    entries, names, label = GOOD_BOXES[case]
    found = read(tmp_path, entries, boxes)
    (cell,) = found.table["boxes"]
    assert found.target == "boxes" and places.classes_of([cell]) == names
    assert json.loads(cell)["boxes"] == [[label, *HALF]]


def test_lists_in_image_sets_say_the_parts_and_empty_pictures_stay(tmp_path: Path) -> None:
    entries = {f"V/JPEGImages/{k}.png": picture(seed=k) for k in range(3)}
    entries |= {f"V/Annotations/{k}.xml": xml(*[("dog", 6, 5, 18, 15)] * (k > 0)).encode() for k in range(3)}
    lists = {"train": b"0\n", "val": b"1  1\n", "test": b"2\n", "trainval": b"0\n1\n"}
    entries |= {f"V/ImageSets/Main/{part}.txt": held for part, held in lists.items()}
    found = read(tmp_path, entries, boxes)
    assert list(found.table["_part"]) == ["train", "validation", "test"] and not found.skipped
    assert [len(json.loads(cell)["boxes"]) for cell in found.table["boxes"]] == [0, 1, 1]


DOG = {"images/2.png": picture(seed=2), "labels/2.xml": xml(("dog", 6, 5, 18, 15)).encode()}
YOLO = {"images/2.png": picture(seed=2), "labels/2.txt": b"0 .5 .5 .5 .5", "classes.txt": b"cat\ndog\n"}
BROKEN_BOXES: dict[str, tuple[dict[str, bytes], str]] = {
    "past the border": (DOG | boxed("labels/1.xml", xml(("dog", 6, 5, 40, 15))), "1 box(es) pass the border"),
    "outside": (DOG | boxed("labels/1.xml", xml(("dog", 60, 50, 90, 95))), "1 box(es) lie outside the image"),
    "no area": (DOG | boxed("labels/1.xml", xml(("dog", 6, 5, 6, 15))), "have no area"),
    "not a number": (DOG | boxed("labels/1.xml", xml(("dog", float("nan"), 5, 6, 15))), "have no area"),
    "turned round": (DOG | boxed("labels/1.xml", xml(("dog", 18, 15, 6, 5))), "have no area"),
    "XML damaged": (DOG | boxed("labels/1.xml", "<annotation><obj"), "labels/1.xml: it is not well-formed XML"),
    "XML with a bomb": (DOG | boxed("labels/1.xml", '<!DOCTYPE x [<!ENTITY a "b">]><annotation/>'), "entities"),
    "XML without a name": (DOG | boxed("labels/1.xml", xml(("", 6, 5, 18, 15))), "an object has no name"),
    "no XML": (DOG | {"images/1.png": picture(seed=1)}, "images/1.png: no file says which boxes it has"),
    "no image": (DOG | {"labels/9.xml": xml().encode()}, "labels/9.xml: it is neither"),
    "a stranger": (DOG | {"notes.pdf": b"%PDF"}, "notes.pdf: it is neither"),
    "YOLO class beyond": (YOLO | boxed("labels/1.txt", "2 .5 .5 .5 .5"), "class 2, but 2 classes are named"),
    "YOLO class below": (YOLO | boxed("labels/1.txt", "-1 .5 .5 .5 .5"), "has the class -1"),
    "YOLO in pixels": (YOLO | boxed("labels/1.txt", "1 12 10 6 5"), "from 0 to 1; got 12"),
    "YOLO too short": (YOLO | boxed("labels/1.txt", "1 .5 .5"), "line 1 must be: class x y width height; got 3 cells"),
    "YOLO words": (YOLO | boxed("labels/1.txt", "cat .5 .5 .5 .5"), "labels/1.txt: it is no YOLO file"),
    "YOLO past the border": (YOLO | boxed("labels/1.txt", "1 .9 .5 .5 .5"), "1 box(es) pass the border"),
    "COCO class unknown": (boxed("a.json", coco(annotations=[
        {"image_id": 7, "category_id": 4, "bbox": [1, 1, 9, 9]},
        {"image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9]}])), "1 annotation(s) name no image or class"),
    "COCO image missing": (boxed("a.json", coco(images=[
        {"id": 7, "file_name": "1.png"}, {"id": 8, "file_name": "gone.png"}])), "gone.png, which is not there"),
    "COCO damaged beside a good one": (boxed("a.json", coco(), b__json=b'{"images": ['), "b.json: it is no COCO file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_BOXES)
def test_what_is_wrong_with_boxes_is_named_and_the_rest_is_read(case: str, tmp_path: Path) -> None:
    entries, reason = BROKEN_BOXES[case]
    found = read(tmp_path, entries, boxes)
    assert reason in said(found)
    assert sum(len(json.loads(cell)["boxes"]) for cell in found.table["boxes"]) >= 1


def test_boxes_outside_many_images_are_counted_in_one_warning_with_the_first(tmp_path: Path) -> None:
    each = xml(("dog", 6, 5, 18, 15), ("dog", 60, 50, 90, 95), ("dog", 6, 5, 40, 15)).encode()
    entries = {f"{k}.{ending}": held for k in range(30) for ending, held in (("png", picture(seed=k)), ("xml", each))}
    cut, gone = read(tmp_path, entries, boxes).problems
    assert cut.where == gone.where == "given.zip, 0.png" and cut.severity == gone.severity == "warning"
    assert cut.what.startswith("30 box(es) pass") and gone.what.startswith("30 box(es) lie")
    assert "in 30 images of which this is the first" in gone.what


AS_SHARES = {"image_id": 7, "category_id": 9, "bbox": [0.25, 0.25, 0.01, 0.01]}


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (boxed("labels/1.xml", xml()), "there is no box in it"),
        (boxed("labels/1.xml", "<a"), "there is no box in it"),
        (boxed("labels/1.txt", "9999 .5 .5 .5 .5"), "no file names the classes"),
        (boxed("a.json", '{"images": ['), "there is no box in it"),
        (boxed("a.json", coco(annotations=[])), "there is no box in it"),
        (boxed("a.json", coco(annotations=[AS_SHARES])), "1.png: no box is left: 1 box.* here in pixels"),
        (boxed("1.txt", "0 nan .5 .5 .5"), "1.png: no box is left: 1 box.* in shares of the image"),
    ],
)
def test_boxes_that_cannot_serve_are_refused(entries: dict[str, bytes], what: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=what):
        read(tmp_path, entries, boxes)


@pytest.mark.parametrize(
    ("entries", "best"),
    [
        (OTHER, masks),
        (DOG, boxes),
        (YOLO, boxes),
        (boxed("annotations.json", coco()), boxes),
        ({name.replace("/", "\\"): held for name, held in DOG.items()}, boxes),
        (boxed("truth\\a.json", coco()), boxes),
        ({f"{k}/{i}.png": picture(seed=i) for k in "ab" for i in range(3)}, images),
        ({"1.png": picture(seed=1), "labels.csv": b"file,label\n1.png,a\n"}, images),
    ],
)
def test_each_reader_knows_its_own(entries: dict[str, bytes], best: Any, tmp_path: Path) -> None:
    path = archive("given.zip", entries)(tmp_path)
    sure = {form: form.recognise(path) for form in (masks, boxes, images)}
    assert max(sure, key=lambda form: sure[form]) is best
