"""Files as annotation tools write them for pictures of 24 x 20 pixels, whole and broken, and what they must come to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.bad_files import picture

HALF = [0.25, 0.25, 0.75, 0.75]  # 6, 5 to 18, 15 of 24 x 20 pixels
DOG = [["dog", *HALF]]


@dataclass(frozen=True)
class Case:
    """Files of a zip (or the one file that is added), the reader that must take them, and what they come to.

    `rows` has by place what a row holds; None where the whole is refused. `said` must stand in what is told.
    """

    files: dict[str, bytes]
    reader: str
    rows: dict[str, Any] | None
    said: tuple[str, ...] = ()
    parts: dict[str, str] = field(default_factory=dict)
    masks: bool = False


def _raw(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def case(files: dict[str, Any], rows: dict[str, Any] | None, *said: str, **other: Any) -> Case:
    """A case of the picture 1.png and files of boxes; names that end in .png alone get a picture."""
    held = {name: picture(seed=len(name)) if content is None else _raw(content) for name, content in files.items()}
    return Case(held, other.pop("reader", "boxes"), rows, said, **other)


def cvat(*images: str, labels: tuple[str, ...] = (), before: str = "") -> str:
    listed = "".join(f"<label><name>{one}</name></label>" for one in labels)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{before}<annotations><version>1.1</version><meta><task><labels>{listed}'
        f"</labels></task></meta>{''.join(images)}</annotations>"
    )


def shown(*shapes: str, name: str = "1.png", more: str = "") -> str:
    return f'<image id="0" name="{name}" width="24" height="20" {more}>{"".join(shapes)}</image>'


BOX = '<box label="dog" source="manual" occluded="0" xtl="6" ytl="5" xbr="18" ybr="15" z_order="0"></box>'
POLYGON = '<polygon label="dog" points="6.0,5.0;18.0,5.0;18.0,15.0;6.0,15.0" z_order="0"></polygon>'
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'

CVAT = {
    "a box": case({"1.png": None, "annotations.xml": cvat(shown(BOX))}, {"1.png": DOG}),
    "images in a folder": case({"images/1.png": None, "annotations.xml": cvat(shown(BOX))}, {"images/1.png": DOG}),
    "a polygon": case(
        {"1.png": None, "annotations.xml": cvat(shown(POLYGON))},
        {"1.png": DOG},
        "outlines became the boxes",
        masks=True,
    ),
    "a polygon beside a box": case(
        {"1.png": None, "annotations.xml": cvat(shown(POLYGON, BOX))},
        {"1.png": DOG * 2},
        "outlines became the boxes around them.",
    ),
    "a turned box": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX.replace("z_order", 'rotation="90" z_order')))},
        {"1.png": [["dog", 7 / 24, 0.2, 17 / 24, 0.8]]},
        masks=True,
    ),
    "a mask": case(
        {
            "1.png": None,
            "annotations.xml": cvat(
                shown('<mask label="dog" rle="0, 120" left="6" top="5" width="12" height="10"></mask>')
            ),
        },
        {"1.png": DOG},
    ),
    "points and tags": case(
        {
            "1.png": None,
            "annotations.xml": cvat(
                shown(BOX, '<points label="dog" points="1,1"></points>', '<tag label="dog"></tag>')
            ),
        },
        {"1.png": DOG},
        "left out: 1 points, 1 tag",
    ),
    "a picture without a box": case(
        {"1.png": None, "2.png": None, "annotations.xml": cvat(shown(BOX), shown(name="2.png"))},
        {"1.png": DOG, "2.png": []},
    ),
    "subsets": case(
        {
            "1.png": None,
            "2.png": None,
            "annotations.xml": cvat(
                shown(BOX, more='subset="Train"'), shown(BOX, name="2.png", more='subset="Validation"')
            ),
        },
        {"1.png": DOG, "2.png": DOG},
        parts={"1.png": "train", "2.png": "validation"},
    ),
    "labels nobody drew": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX), labels=("cat", "dog"))}, {"1.png": DOG}
    ),
    "past the border": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX.replace('"18"', '"40"')))},
        {"1.png": [["dog", 0.25, 0.25, 1, 0.75]]},
        "1.png 1 box(es) pass the border",
    ),
    "outside": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, BOX.replace('"6"', '"60"').replace('"18"', '"70"')))},
        {"1.png": DOG},
        "1 box(es) lie outside",
    ),
    "no area": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, BOX.replace('"18"', '"6"')))}, {"1.png": DOG}, "have no area"
    ),
    "a corner too few": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, BOX.replace('ybr="15"', "")))},
        {"1.png": DOG},
        "image 1.png shape 2, a box, cannot be read ('ybr')",
        "Correct it",
    ),
    "no numbers": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, BOX.replace('"18"', '"wide"')))},
        {"1.png": DOG},
        "shape 2, a box, cannot be read",
    ),
    "no label": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, BOX.replace('"dog"', '""')))},
        {"1.png": DOG},
        "it has no label",
    ),
    "two points": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX, '<polygon label="dog" points="1,2;3,4"/>'))},
        {"1.png": DOG},
        "three points or more",
    ),
    "a missing picture": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX), shown(BOX, name="gone.png"))},
        {"1.png": DOG},
        "annotations.xml: it names the image gone.png, which is not there",
    ),
    "a picture twice": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX), shown(BOX))}, {"1.png": DOG}, "names the image 1.png twice"
    ),
    "another original size": case(
        {
            "1.png": None,
            "annotations.xml": cvat(shown(BOX).replace('width="24" height="20"', 'width="48" height="40"')),
        },
        {"1.png": [["dog", 0.125, 0.125, 0.375, 0.375]]},
    ),
    "video": case(
        {"1.png": None, "annotations.xml": cvat('<track id="0" label="dog"></track>')},
        None,
        "annotations.xml: it is CVAT for video; export CVAT for images 1.1",
    ),
    "half written": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX))[:250]},
        None,
        "annotations.xml: it is not well-formed XML",
        "export it again",
    ),
    "a bomb": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX), before=BOMB)},
        None,
        "annotations.xml: it declares entities",
        "save it without DOCTYPE",
    ),
    "an outer entity": case(
        {
            "1.png": None,
            "annotations.xml": cvat(shown(BOX), before='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'),
        },
        None,
        "it declares entities",
    ),
    "another encoding": case(
        {
            "1.png": None,
            "annotations.xml": cvat(shown(BOX.replace("dog", "Kötter")))
            .replace("utf-8", "iso-8859-1")
            .encode("latin-1"),
        },
        {"1.png": [["Kötter", *HALF]]},
    ),
    "a wrong encoding": case(
        {"1.png": None, "annotations.xml": cvat(shown(BOX.replace("dog", "Kötter"))).encode("latin-1")},
        None,
        "it is not well-formed XML",
    ),
    "nothing drawn": case({"1.png": None, "annotations.xml": cvat(shown())}, None, "there is no box in it"),
}


def labelme(*shapes: dict[str, Any], **other: Any) -> dict[str, Any]:
    held = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": "1.png",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 24,
    }
    return held | other


def shape(kind: str = "rectangle", points: Any = ((6, 5), (18, 15)), label: str = "dog") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


RING = [(6, 5), (18, 5), (18, 15), (6, 15)]
LABELME = {
    "a rectangle": case({"1.png": None, "1.json": labelme(shape())}, {"1.png": DOG}),
    "turned corners": case({"1.png": None, "1.json": labelme(shape(points=[(18, 15), (6, 5)]))}, {"1.png": DOG}),
    "a polygon": case({"1.png": None, "1.json": labelme(shape("polygon", RING))}, {"1.png": DOG}, masks=True),
    "no kind is a polygon": case(
        {"1.png": None, "1.json": labelme({"label": "dog", "points": RING})}, {"1.png": DOG}, masks=True
    ),
    "a picture inside": case({"1.png": None, "1.json": labelme(shape(), imageData="QUJD" * 50_000)}, {"1.png": DOG}),
    "a path of another machine": case(
        {"a/1.png": None, "a/1.json": labelme(shape(), imagePath="..\\pics\\1.png")}, {"a/1.png": DOG}
    ),
    "an older name": case({"1.png": None, "1.json": labelme(shape(), imagePath="old.jpg")}, {"1.png": DOG}),
    "no shapes": case(
        {"1.png": None, "1.json": labelme(shape()), "2.png": None, "2.json": labelme(imagePath="2.png")},
        {"1.png": DOG, "2.png": []},
    ),
    "parts by folder": case(
        {
            "train/1.png": None,
            "train/1.json": labelme(shape()),
            "val/1.png": None,
            "val/1.json": labelme(shape(label="cat")),
        },
        {"train/1.png": DOG, "val/1.png": [["cat", *HALF]]},
        parts={"train/1.png": "train", "val/1.png": "validation"},
    ),
    "a circle and a line": case(
        {"1.png": None, "1.json": labelme(shape(), shape("circle"), shape("line"))},
        {"1.png": DOG},
        "left out: 1 circle, 1 line",
    ),
    "past the border": case(
        {"1.png": None, "1.json": labelme(shape(points=[(6, 5), (40, 15)]))},
        {"1.png": [["dog", 0.25, 0.25, 1, 0.75]]},
        "pass the border",
    ),
    "no area": case(
        {"1.png": None, "1.json": labelme(shape(), shape(points=[(6, 5), (6, 15)]))}, {"1.png": DOG}, "have no area"
    ),
    "no numbers": case(
        {"1.png": None, "1.json": labelme(shape(), shape(points=[("a", 5), (6, 15)]))},
        {"1.png": DOG},
        "1.json shape 2 cannot be read",
    ),
    "a number beyond": case(
        {"1.png": None, "1.json": labelme(shape(), shape(points=[(10**400, 5), (6, 15)]))},
        {"1.png": DOG},
        "1.json shape 2 cannot be read",
    ),
    "three corners": case(
        {"1.png": None, "1.json": labelme(shape(), shape(points=[(1, 5), (6, 15), (7, 8)]))},
        {"1.png": DOG},
        "a rectangle of 3 points",
    ),
    "no label": case({"1.png": None, "1.json": labelme(shape(), shape(label=" "))}, {"1.png": DOG}, "no label"),
    "a missing picture": case(
        {"1.png": None, "1.json": labelme(shape()), "9.json": labelme(imagePath="9.png")},
        {"1.png": DOG},
        "9.json: it names the image 9.png, which is not there",
    ),
    "two files of one": case(
        {"1.png": None, "1.json": labelme(shape()), "b.json": labelme(shape())},
        {"1.png": DOG},
        "b.json: its image 1.png has a file of shapes already",
    ),
    "half written": case(
        {"1.png": None, "1.json": labelme(shape()), "2.png": None, "2.json": json.dumps(labelme(shape()))[:60]},
        {"1.png": DOG},
        "2.json: it is not valid JSON",
        "2.png: no file says which boxes it has",
    ),
    "shapes that are none": case(
        {"1.png": None, "1.json": labelme(shape()), "2.png": None, "2.json": {"shapes": "none"}},
        {"1.png": DOG},
        '2.json: it must have a list "shapes"',
    ),
}


def task(*results: dict[str, Any], image: str = "/data/upload/3/0a1b2c3d-1.png", **other: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "data": {"image": image},
        "annotations": [{"id": 5, "was_cancelled": False, "result": results}],
    } | other


def rectangle(kind: str = "rectanglelabels", **value: Any) -> dict[str, Any]:
    where = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, kind: ["dog"]}
    return {
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "original_width": 24,
        "original_height": 20,
        "value": where | value,
    }


OUTLINE = {
    "from_name": "l",
    "to_name": "i",
    "type": "polygonlabels",
    "value": {"points": [[25, 25], [75, 25], [75, 75], [25, 75]], "closed": True, "polygonlabels": ["dog"]},
}
SHORT = {"image": "/data/upload/3/0a1b2c3d-1.png", "id": 1, "annotator": 1, "annotation_id": 5, "lead_time": 2.5}

LABEL_STUDIO = {
    "rectangles": case({"1.png": None, "export.json": [task(rectangle())]}, {"1.png": DOG}),
    "the short form": case({"1.png": None, "export.json": [SHORT | {"label": [rectangle()["value"]]}]}, {"1.png": DOG}),
    "a local file": case(
        {"pics/1.png": None, "export.json": [task(rectangle(), image="/data/local-files/?d=pics/1.png")]},
        {"pics/1.png": DOG},
    ),
    "a bucket": case(
        {"1.png": None, "export.json": [task(rectangle(), image="s3://bucket/deep/1.png")]}, {"1.png": DOG}
    ),
    "an escaped name": case(
        {"a b.png": None, "export.json": [task(rectangle(), image="/data/upload/a%20b.png")]}, {"a b.png": DOG}
    ),
    "a polygon": case({"1.png": None, "export.json": [task(OUTLINE)]}, {"1.png": DOG}, masks=True),
    "a turned rectangle": case(
        {"1.png": None, "export.json": [task(rectangle(x=75, y=25, width=100 * 10 / 24, height=60, rotation=90))]},
        {"1.png": [["dog", 0.25, 0.25, 0.75, 0.75]]},
        masks=True,
    ),
    "turned without a height": case(
        {
            "1.png": None,
            "2.png": None,
            "export.json": [
                task(rectangle()),
                task(rectangle(rotation=9) | {"original_height": 0}, image="2.png"),
            ],
        },
        {"1.png": DOG, "2.png": []},
        "export.json, task 2 result 1 cannot be read",
    ),
    "turned without a size": case(
        {
            "1.png": None,
            "2.png": None,
            "export.json": [
                task(rectangle()),
                task(rectangle(rotation=9) | {"original_width": None}, image="2.png"),
            ],
        },
        {"1.png": DOG, "2.png": []},
        "a turned box needs one original_width",
        "and was left out",
    ),
    "a cancelled one first": case(
        {
            "1.png": None,
            "export.json": [
                task(rectangle())
                | {
                    "annotations": [
                        {"was_cancelled": True, "result": []},
                        {"was_cancelled": False, "result": [rectangle()]},
                    ]
                }
            ],
        },
        {"1.png": DOG},
    ),
    "two annotators": case(
        {
            "1.png": None,
            "export.json": [task(rectangle()) | {"annotations": [{"result": [rectangle()]}, {"result": []}]}],
        },
        {"1.png": DOG},
        "1 task(s) were annotated more than once",
    ),
    "nobody": case(
        {"1.png": None, "2.png": None, "export.json": [task(rectangle()), task(image="2.png", annotations=[])]},
        {"1.png": DOG},
        "export.json, task 2: nobody annotated it",
    ),
    "a brush": case(
        {
            "1.png": None,
            "export.json": [
                task(
                    rectangle(),
                    {"from_name": "b", "to_name": "i", "type": "brushlabels", "value": {"format": "rle", "rle": [1]}},
                )
            ],
        },
        {"1.png": DOG},
        "left out: 1 brush",
    ),
    "past the border": case(
        {"1.png": None, "export.json": [task(rectangle(width=90))]},
        {"1.png": [["dog", 0.25, 0.25, 1, 0.75]]},
        "pass the border",
    ),
    "no area": case({"1.png": None, "export.json": [task(rectangle(), rectangle(width=0))]}, {"1.png": DOG}, "no area"),
    "no label": case(
        {"1.png": None, "export.json": [task(rectangle(), rectangle(rectanglelabels=[]))]},
        {"1.png": DOG},
        "export.json, task 1 result 2 cannot be read",
    ),
    "no numbers": case(
        {"1.png": None, "export.json": [task(rectangle(), rectangle(x="left"))]},
        {"1.png": DOG},
        "task 1 result 2 cannot be read",
    ),
    "a missing picture": case(
        {"1.png": None, "export.json": [task(rectangle()), task(rectangle(), image="gone.png")]},
        {"1.png": DOG},
        "task 2: it names the image gone.png, which is not there",
    ),
    "a picture twice": case(
        {"1.png": None, "export.json": [task(rectangle())] * 2}, {"1.png": DOG}, "which another task has already"
    ),
    "no task": case({"1.png": None, "export.json": [task(rectangle()), 7]}, {"1.png": DOG}, "task 2: it is no task"),
    "half written": case(
        {"1.png": None, "export.json": json.dumps([task(rectangle())])[:-9]}, None, "export.json: it is not valid JSON"
    ),
}


def coco(*objects: dict[str, Any], **other: Any) -> dict[str, Any]:
    held = {
        "images": [{"id": 7, "file_name": "1.png", "width": 24, "height": 20}],
        "annotations": objects,
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }
    return held | other


def thing(id: int = 1, **other: Any) -> dict[str, Any]:
    return {"id": id, "image_id": 7, "category_id": 9, "bbox": [6, 5, 12, 10]} | other


FLAT = [6, 5, 18, 5, 18, 15, 6, 15]
ROBOFLOW = {
    "categories": [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 9, "name": "dog", "supercategory": "pets"},
    ]
}
COCO = {
    "Roboflow's parts": case(
        {
            f"{part}/{name}": content
            for part in ("train", "valid", "test")
            for name, content in (("1.png", None), ("_annotations.coco.json", coco(thing(), **ROBOFLOW)))
        }
        | {"README.roboflow.txt": "x"},
        {f"{part}/1.png": DOG for part in ("train", "valid", "test")},
        parts={"train/1.png": "train", "valid/1.png": "validation", "test/1.png": "test"},
    ),
    "CVAT's folders": case(
        {"images/default/1.png": None, "annotations/instances_default.json": coco(thing())},
        {"images/default/1.png": DOG},
    ),
    "a part by the file": case(
        {"images/1.png": None, "annotations/instances_val2017.json": coco(thing())},
        {"images/1.png": DOG},
        parts={"images/1.png": "validation"},
    ),
    "outlines": case({"1.png": None, "a.json": coco(thing(segmentation=[FLAT]))}, {"1.png": DOG}, masks=True),
    "outlines alone": case(
        {"1.png": None, "a.json": coco(thing(bbox=[], segmentation=[FLAT]))}, {"1.png": DOG}, masks=True
    ),
    "a crowd": case(
        {"1.png": None, "a.json": coco(thing(iscrowd=1, segmentation={"counts": [9, 10**9], "size": [20, 24]}))},
        {"1.png": DOG},
    ),
    "an id twice": case(
        {"1.png": None, "a.json": coco(thing(), thing())},
        {"1.png": DOG},
        "1 annotation(s) have the id of an earlier one",
    ),
    "an id that is a list": case(
        {"1.png": None, "a.json": coco(thing(), thing([2]))},  # type: ignore[arg-type]
        {"1.png": DOG * 2},
    ),
    "an image's id twice": case(
        {"1.png": None, "a.json": coco(thing(), images=[{"id": 7, "file_name": n} for n in ("1.png", "2.png")])},
        None,
        "a.json: it is no COCO file",
        "two images have the id 7",
    ),
    "a class's id twice": case(
        {"1.png": None, "a.json": coco(thing(), categories=[{"id": 9, "name": n} for n in "ab"])},
        None,
        "two categories have the id 9",
    ),
    "a class beyond": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, category_id=10))},
        {"1.png": DOG},
        "1 annotation(s) name no image or class",
    ),
    "a box of three": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, bbox=[1, 2, 3]))},
        {"1.png": DOG},
        "1 annotation(s) name no image or class of the file or have no bbox",
    ),
    "a number beyond": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, bbox=[10**400, 2, 3, 4]))}, {"1.png": DOG}, "1 annotation(s)"
    ),
    "infinite": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, bbox=[1, 2, float("inf"), 4]))},
        {"1.png": DOG},
        "lie outside the image or have no area",
    ),
    "very many": case(
        {"1.png": None, "a.json": coco(*[thing(k) for k in range(20_000)])},
        {"1.png": DOG * 20_000},
    ),
    "nested deeply": case({"1.png": None, "a.json": '{"images": ' + "[" * 100_000}, None, "nested too deeply"),
    "an odd outline": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, segmentation=[FLAT[:7]]))},
        {"1.png": DOG * 2},
        "1 annotation(s) have an outline that cannot be read",
    ),
    "an odd outline without a box": case(
        {"1.png": None, "a.json": coco(thing(), thing(2, segmentation=[FLAT[:7]], bbox=[]))},
        {"1.png": DOG},
        "1 annotation(s) name no image or class",
    ),
    "an empty outline": case({"1.png": None, "a.json": coco(thing(segmentation=[[]]))}, {"1.png": DOG}),
}

YAML = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
LINE = "1 0.5 0.5 0.5 0.5"
YOLO = {
    "Roboflow's parts": case(
        {
            f"{part}/{name}": content
            for part in ("train", "valid", "test")
            for name, content in (("images/1.png", None), ("labels/1.txt", LINE))
        }
        | {"data.yaml": YAML},
        {f"{part}/images/1.png": DOG for part in ("train", "valid", "test")},
        parts={"train/images/1.png": "train", "valid/images/1.png": "validation", "test/images/1.png": "test"},
    ),
    "one name in two parts": case(
        {
            "train/images/1.png": None,
            "train/labels/1.txt": LINE,
            "valid/images/1.png": None,
            "valid/labels/1.txt": LINE.replace("1", "0", 1),
            "data.yaml": YAML,
        },
        {"train/images/1.png": DOG, "valid/images/1.png": [["cat", *HALF]]},
    ),
    "CVAT's folders": case(
        {
            "obj.data": "classes = 2",
            "obj.names": "cat\ndog\n",
            "train.txt": "data/obj_train_data/1.png\n",
            "obj_train_data/1.png": None,
            "obj_train_data/1.txt": LINE,
        },
        {"obj_train_data/1.png": DOG},
        parts={"obj_train_data/1.png": "train"},
    ),
    "outlines": case(
        {"1.png": None, "1.txt": "1 .25 .25 .75 .25 .75 .75 .25 .75", "data.yaml": YAML}, {"1.png": DOG}, masks=True
    ),
    "an empty text": case(
        {"1.png": None, "1.txt": LINE, "2.png": None, "2.txt": "", "data.yaml": YAML}, {"1.png": DOG, "2.png": []}
    ),
    "a class beyond": case(
        {"1.png": None, "1.txt": LINE, "2.png": None, "2.txt": "2 .5 .5 .5 .5", "data.yaml": YAML},
        {"1.png": DOG},
        "2.txt: it is no YOLO file (line 1 has the class 2, but 2 classes are named",
    ),
    "no names in the YAML": case(
        {"1.png": None, "1.txt": LINE, "data.yaml": "nc: 2"}, None, "data.yaml", "names: [cat, dog]"
    ),
    "a YAML that is none": case({"1.png": None, "1.txt": LINE, "data.yaml": "names: ['cat"}, None, "must be YAML"),
    "a YAML with the 30th of February": case(
        {"1.png": None, "1.txt": LINE, "data.yaml": "names: [cat]\nmade: 2023-02-30"}, None, "must be YAML"
    ),
    "a YAML bomb": case(
        {
            "1.png": None,
            "1.txt": LINE,
            "data.yaml": "a: &a [x, x]\n"
            + "".join(
                f"{b}: &{b} [*{a}, *{a}, *{a}]\n"
                for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
            )
            + "names: [*u]\n",
        },
        None,
        "must be YAML with the class names",
    ),
    "no middle": case(
        {"1.png": None, "1.txt": LINE, "2.png": None, "2.txt": "1 nan .5 .5 .5", "data.yaml": YAML},
        {"1.png": DOG, "2.png": []},
        "lie outside the image or have no area",
    ),
}

VOC_BOX = "<object><name>dog</name><bndbox><xmin>6</xmin><ymin>5</ymin><xmax>18</xmax><ymax>15</ymax></bndbox></object>"
VOC = {
    "Roboflow's parts": case(
        {
            f"{part}/{name}": content
            for part in ("train", "valid")
            for name, content in (("1.png", None), ("1.xml", f"<annotation>{VOC_BOX}</annotation>"))
        },
        {"train/1.png": DOG, "valid/1.png": DOG},
        parts={"train/1.png": "train", "valid/1.png": "validation"},
    ),
    "CVAT's folders": case(
        {
            "JPEGImages/1.png": None,
            "Annotations/1.xml": f"<annotation>{VOC_BOX}</annotation>",
            "labelmap.txt": "dog:::",
            "ImageSets/Main/test.txt": "1\n",
        },
        {"JPEGImages/1.png": DOG},
        parts={"JPEGImages/1.png": "test"},
    ),
    "a bomb": case(
        {
            "1.png": None,
            "1.xml": f"<annotation>{VOC_BOX}</annotation>",
            "2.png": None,
            "2.xml": f"{BOMB}<annotation>&b;</annotation>",
        },
        {"1.png": DOG},
        "2.xml: it declares entities",
    ),
    "a bomb in UTF-16": case(
        {
            "1.png": None,
            "1.xml": f"<annotation>{VOC_BOX}</annotation>",
            "2.png": None,
            "2.xml": f"{BOMB}<annotation>&b;</annotation>".encode("utf-16"),
        },
        {"1.png": DOG},
        "2.xml: it declares entities",
    ),
    "a size of zero": case(
        {"1.png": None, "1.xml": f"<annotation><size><width>0</width><height>0</height></size>{VOC_BOX}</annotation>"},
        {"1.png": DOG},
    ),
}

PICTURES = {
    f"{tool}: {name}": one
    for tool, cases in (
        ("CVAT", CVAT),
        ("LabelMe", LABELME),
        ("Label Studio", LABEL_STUDIO),
        ("COCO", COCO),
        ("YOLO", YOLO),
        ("VOC", VOC),
    )
    for name, one in cases.items()
}
