"""Files as VGG Image Annotator and CreateML write them for pictures of 24 x 20 pixels, and what they must come to."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from tests.annotated_pictures import DOG, HALF, RING, case

RECT = {"name": "rect", "x": 6, "y": 5, "width": 12, "height": 10}
TWO = {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}
POLYGON = {"name": "polygon", "all_points_x": [x for x, _ in RING], "all_points_y": [y for _, y in RING]}
KIND = {"kind": "dog"}
CIRCLE = {"name": "circle", "cx": 9, "cy": 9, "r": 4}
ELLIPSE = {"name": "ellipse", "cx": 9, "cy": 9, "rx": 4, "ry": 2}


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {"kind": "dog"}}


def image(*regions: Any, name: str = "1.png", **other: Any) -> dict[str, Any]:
    return {f"{name}1234": {"filename": name, "size": 1234, "regions": regions, "file_attributes": {}} | other}


def project(*images: dict[str, Any]) -> dict[str, Any]:
    held = {key: one for each in images for key, one in each.items()}
    return {"_via_settings": {"ui": {}}, "_via_img_metadata": held, "_via_attributes": {"region": {}, "file": {}}}


def table(*rows: tuple[str, Any, Any], header: str = "filename") -> str:
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow([header, "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
                    "region_attributes"])  # fmt: skip
    for name, shape, attributes in rows:
        lines.writerow([name, 1234, "{}", 1, 0, json.dumps(shape), json.dumps(attributes)])
    return written.getvalue()


VIA = {
    "a project": case({"1.png": None, "via.json": project(image(region()))}, {"1.png": DOG}),
    "annotations": case({"1.png": None, "via.json": image(region())}, {"1.png": DOG}),
    "numbered regions": case({"1.png": None, "via.json": image(regions={"0": region(), "1": region()})},
                             {"1.png": DOG * 2}),
    "a table": case({"1.png": None, "via.csv": table(("1.png", RECT, KIND), ("1.png", RECT, KIND))},
                    {"1.png": DOG * 2}),
    "a table of VIA 1": case({"1.png": None, "via.csv": table(("1.png", POLYGON, KIND), header="#filename")},
                             {"1.png": DOG}, masks=True),
    "polygons": case({"1.png": None, "via.json": image(region(POLYGON))}, {"1.png": DOG}, masks=True),
    "no regions": case(
        {"1.png": None, "2.png": None, "via.json": image(region()) | image(name="2.png")}, {"1.png": DOG, "2.png": []}
    ),
    "no regions in a table": case(
        {"1.png": None, "2.png": None, "via.csv": table(("1.png", RECT, KIND), ("2.png", {}, {}))},
        {"1.png": DOG, "2.png": []},
    ),
    "circles and ellipses": case(
        {"1.png": None, "via.json": image(region(), region(CIRCLE), region(ELLIPSE), region(ELLIPSE))},
        {"1.png": DOG},
        "via.json only boxes and polygons are read; left out: 1 circle, 2 ellipse",
    ),
    "no attribute": case(
        {"1.png": None, "via.json": image({"shape_attributes": RECT, "region_attributes": {}})},
        {"1.png": [["object", *HALF]]},
        "no region has an attribute, so all are of one class, called object",
    ),
    "several attributes": case(
        {"1.png": None, "via.json": image(region(pose="left", Class="dog", cut="no"))},
        {"1.png": DOG},
        "regions have 3 attributes (pose, Class, cut); Class was taken for the class",
    ),
    "several attributes, none a class": case(
        {"1.png": None, "via.json": image(region(pose="left", what="dog"))},
        None,
        "regions have 2 attributes (pose, what), and none is called class, label, name or type",
        "Call the attribute with the class of a region class",
    ),
    "a ticked box": case(
        {"1.png": None, "via.json": image(region(kind={"dog": True}), region(kind={"dog": True, "cat": True}))},
        {"1.png": DOG},
        "via.json, image 1.png, region 2 the region cannot be read (it must have one kind)",
    ),
    "no class": case(
        {"1.png": None, "via.csv": table(("1.png", RECT, KIND), ("1.png", RECT, {"kind": ""}))},
        {"1.png": DOG},
        "via.csv, line 3 the region cannot be read (it must have one kind) and was left out. Give it one class",
    ),
    "two parts": case(
        {
            "train/1.png": None,
            "train/via_region_data.json": image(region()),
            "val/1.png": None,
            "val/via_region_data.json": image(region(kind="cat")),
        },
        {"train/1.png": DOG, "val/1.png": [["cat", *HALF]]},
        parts={"train/1.png": "train", "val/1.png": "validation"},
    ),
    "past the border": case(
        {"1.png": None, "via.json": image(region(RECT | {"width": 90}))},
        {"1.png": [["dog", 0.25, 0.25, 1, 0.75]]},
        "pass the border",
    ),
    "no area": case({"1.png": None, "via.json": image(region(), region(RECT | {"width": -4}))}, {"1.png": DOG},
                    "have no area"),
    "two points": case(
        {"1.png": None, "via.json": image(region(), region(TWO))},
        {"1.png": DOG},
        "region 2 the region cannot be read (a polygon of 2 points)",
    ),
    "more x than y": case(
        {"1.png": None, "via.json": image(region(), region(POLYGON | {"all_points_y": [1, 2]}))},
        {"1.png": DOG},
        "image 1.png, region 2 the region cannot be read",
    ),
    "no numbers": case({"1.png": None, "via.json": image(region(), region(RECT | {"x": "left"}), region(None), 7)},
                       {"1.png": DOG}, "region 2 the", "region 3 the", "region 4 the"),
    "a cell that is no JSON": case(
        {"1.png": None, "via.csv": table(("1.png", RECT, KIND)) + '1.png,1,{},1,1,{"name,{}\n'},
        {"1.png": DOG},
        "via.csv, line 3 the region cannot be read (it has no shape)",
    ),
    "a cell too few": case(
        {"1.png": None, "via.csv": table(("1.png", RECT, KIND)) + "1.png,1\n"},
        {"1.png": DOG},
        "via.csv, line 3: it must have 7 cells as the header; it has 2, correct it",
    ),
    "a missing picture": case(
        {"1.png": None, "via.json": image(region()) | image(region(), name="gone.png")},
        {"1.png": DOG},
        "via.json, image gone.png: it names the image gone.png, which is not there",
    ),
    "a picture twice": case(
        {"1.png": None, "a.json": image(region()), "b.json": image(region())},
        {"1.png": DOG},
        "b.json, image 1.png: it names the image 1.png, which was named before; the first was taken",
    ),
    "an image that is none": case(
        {"1.png": None, "via.json": image(region()) | {"x": {"filename": 7, "regions": []}, "y": 3}},
        {"1.png": DOG},
        'via.json, image x: it must have "filename" and "regions"',
        "via.json, image y: ",
    ),
    "half written": case({"1.png": None, "via.json": json.dumps(project(image(region())))[:-9]}, None,
                         "via.json: it is not valid JSON"),
    "nothing drawn": case({"1.png": None, "via.json": project(image())}, None, "there is no box in it"),
}  # fmt: skip


def marked(*boxes: Any, name: str = "1.png") -> dict[str, Any]:
    return {"image": name, "annotations": boxes}


def box(label: Any = "dog", **other: Any) -> dict[str, Any]:
    return {"label": label, "coordinates": {"x": 12, "y": 10, "width": 12, "height": 10} | other}


CREATEML = {
    "Roboflow's parts": case(
        {
            f"{part}/{name}": content
            for part in ("train", "valid", "test")
            for name, content in (("1.png", None), ("_annotations.createml.json", [marked(box())]))
        }
        | {"README.roboflow.txt": "x"},
        {f"{part}/1.png": DOG for part in ("train", "valid", "test")},
        parts={"train/1.png": "train", "valid/1.png": "validation", "test/1.png": "test"},
    ),
    "Apple's names": case(
        {"1.png": None, "a.json": [{"imagefilename": "1.png", "annotation": [box()]}]}, {"1.png": DOG}
    ),
    "no boxes": case({"1.png": None, "2.png": None, "a.json": [marked(name="2.png"), marked(box())]},
                     {"1.png": DOG, "2.png": []}),
    "past the border": case({"1.png": None, "a.json": [marked(box(x=21, width=18))]},
                            {"1.png": [["dog", 0.5, 0.25, 1, 0.75]]}, "pass the border"),
    "no area": case({"1.png": None, "a.json": [marked(box(), box(height=-1))]}, {"1.png": DOG}, "have no area"),
    "no label": case({"1.png": None, "a.json": [marked(box(), box(" "), {"coordinates": box()["coordinates"]})]},
                     {"1.png": DOG}, "a.json, record 1 annotation 2 cannot be read (it has no label)",
                     "annotation 3 cannot be read ('label')"),
    "no numbers": case(
        {"1.png": None, "a.json": [marked(box(), box(x="left"), KIND, {"label": "dog", "coordinates": 3}, 7)]},
        {"1.png": DOG},
        *(f"a.json, record 1 annotation {number} cannot be read" for number in range(2, 6)),
    ),
    "a number beyond": case({"1.png": None, "a.json": [marked(box(), box(x=10**400))]}, {"1.png": DOG},
                            "annotation 2 cannot be read"),
    "a missing picture": case({"1.png": None, "a.json": [marked(box()), marked(box(), name="gone.png")]},
                              {"1.png": DOG}, "a.json, record 2: it names the image gone.png, which is not there"),
    "a picture twice": case({"1.png": None, "a.json": [marked(box())] * 2}, {"1.png": DOG},
                            "a.json, record 2: it names the image 1.png, which was named before"),
    "records that are none": case(
        {"1.png": None, "a.json": [marked(box()), 7, {"image": "1.png"}]},
        {"1.png": DOG},
        'a.json, record 2: it must have "image" and a list "annotations"; write both',
        "a.json, record 3: ",
    ),
    "no list": case({"1.png": None, "a.json": marked(box())}, None, "a.json: it must be a list of images"),
    "half written": case({"1.png": None, "a.json": json.dumps([marked(box())])[:-9]}, None,
                         "a.json: it is not valid JSON"),
}  # fmt: skip

EXPORTED = {
    f"{tool}: {name}": one for tool, cases in (("VIA", VIA), ("CreateML", CREATEML)) for name, one in cases.items()
}
