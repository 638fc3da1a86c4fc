"""Pictures of every kind: one rule for what is white, the same in tltools and in exported scripts; and TIFF.

Run alone: python -m pytest tests/test_pictures.py
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from tests.bad_files import archive, class_folders, picture
from tests.tiffs import RGB, tiff
from tltools import datasets, places
from tltools.formats import Asking, Limits, Read, _collection, _picture, asking, boxes, images, masks
from tltools.home import Home
from tltools.modalities import modalities
from tltools.records import Refusal
from tltools.ui import dataset_views

DEEP = (np.arange(24 * 20, dtype=np.uint16) * 136).reshape(20, 24)  # up to 65,144
BYTES = (DEEP >> 8).astype(np.uint8)
COLOURS = np.dstack([BYTES, BYTES[::-1], BYTES[:, ::-1]])


def saved(image: Image.Image, form: str = "TIFF", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def stacked(values: np.ndarray, bands: int) -> np.ndarray:
    return np.dstack([values] * bands)


def turned() -> bytes:
    return tiff(DEEP, order=">", turn=6)


WHITE_AT = 255 / 65535
# file -> what its red channel must hold, (H, W) uint8
READ: dict[str, tuple[bytes, np.ndarray]] = {
    "16 bits": (tiff(DEEP), np.round(DEEP * WHITE_AT)),
    "16 bits of a Mac": (tiff(DEEP, order=">"), np.round(DEEP * WHITE_AT)),
    "16 bits, turned": (turned(), np.rot90(np.round(DEEP * WHITE_AT), -1)),
    "12 bits in 16": (tiff(DEEP // 16), np.round(DEEP // 16 * WHITE_AT)),
    "8 bits in 16": (tiff(DEEP // 256), BYTES),
    "16 bits as PNG": (saved(Image.fromarray(DEEP), "PNG"), np.round(DEEP * WHITE_AT)),
    "8 bits in 16 as PNG": (saved(Image.fromarray(DEEP // 256), "PNG"), BYTES),
    "signed": (tiff((DEEP // 4).astype(np.int16)), np.round(DEEP // 4 * WHITE_AT)),
    "decimals up to 1": (tiff((BYTES / 255).astype(np.float32)), BYTES),
    "decimals up to 255": (tiff(BYTES.astype(np.float32), order=">"), BYTES),
    "decimals up to 65535": (tiff(DEEP.astype(np.float32)), np.round(DEEP * WHITE_AT)),
    "decimals with gaps": (tiff(np.where(BYTES > 90, np.nan, BYTES).astype("f4")), np.where(BYTES > 90, 0, BYTES)),
    "RGB": (tiff(COLOURS, RGB), BYTES),
    "RGB of 16 bits": (tiff(COLOURS.astype(np.uint16) * 257, RGB), BYTES),
    "RGB and infrared": (tiff(np.dstack([COLOURS, 255 - BYTES]), RGB, (0,)), BYTES),
    "RGB and two more": (tiff(np.dstack([COLOURS, BYTES, BYTES]), RGB, (0, 0)), BYTES),
    "grey, laid on white": (tiff(np.dstack([BYTES, 0 * BYTES]), extra=(2,)), np.full((20, 24), 255)),
    "grey, laid on white before": (tiff(np.dstack([BYTES, 0 * BYTES]), extra=(1,)), np.full((20, 24), 255)),
    "BigTIFF": (saved(Image.fromarray(COLOURS), big_tiff=True), BYTES),
    "two pages": (saved(Image.fromarray(COLOURS), save_all=True, append_images=[Image.new("L", (9, 9))]), BYTES),
    "LZW": (saved(Image.fromarray(COLOURS), compression="tiff_lzw"), BYTES),
    "deflate": (saved(Image.fromarray(DEEP), compression="tiff_adobe_deflate"), np.round(DEEP * WHITE_AT)),
    "BMP": (saved(Image.fromarray(COLOURS), "BMP"), BYTES),
    "PPM": (saved(Image.fromarray(COLOURS), "PPM"), BYTES),
    "PGM of 16 bits": (saved(Image.fromarray(DEEP), "PPM"), np.round(DEEP * WHITE_AT)),
}  # fmt: skip


def script() -> dict[str, Any]:
    files = modalities()["image"].files
    assert files is not None
    names: dict[str, Any] = {"np": np, "Image": Image, "ImageOps": ImageOps}
    exec(files.exported("frames").code, names)
    return names


@pytest.mark.parametrize("kind", READ)
def test_a_picture_has_the_same_pixels_here_and_in_an_exported_script(kind: str, tmp_path: Path) -> None:
    content, red = READ[kind]
    made = _picture.decode(content, tmp_path, Limits())
    (tmp_path / "given").write_bytes(content)
    exported = script()
    assert not exported["fault"](tmp_path / "given")
    with Image.open(tmp_path / made.path) as stored:
        assert stored.format == "PNG" and stored.mode == "RGB", "browsers show no TIFF"
        assert made.facts == stored.size
        assert np.array_equal(np.asarray(stored)[..., 0], red.astype(np.uint8))
        assert np.array_equal(np.asarray(stored), np.asarray(exported["picture"](tmp_path / "given")))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_a_tiff_packed_as_jpeg_is_read_in_every_mode(mode: str, tmp_path: Path) -> None:
    bands = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, (24, 20), stacked(np.full((20, 24), 180, np.uint8), bands).tobytes())
    content = saved(image, compression="jpeg")
    made = _picture.decode(content, tmp_path, Limits())
    (tmp_path / "given").write_bytes(content)
    with Image.open(tmp_path / made.path) as stored:
        assert np.array_equal(np.asarray(stored), np.asarray(script()["picture"](tmp_path / "given")))


REMARKS = {
    "16 bits": "16 bits", "decimals up to 1": "decimals", "RGB and infrared": "with 4 bands: the first 3 were taken",
    "two pages": "several pages", "grey, laid on white before": "transparency", "RGB": "",
}  # fmt: skip


@pytest.mark.parametrize("kind", REMARKS)
def test_what_was_changed_in_a_tiff_is_said(kind: str, tmp_path: Path) -> None:
    said = " ".join(_picture.decode(READ[kind][0], tmp_path, Limits()).remarks)
    assert REMARKS[kind] in said and bool(said) == bool(REMARKS[kind])


REFUSED = {
    "below zero": (tiff(DEEP.astype(np.float32) - 300), "its values go from -300 to 64844"),
    "metres": (tiff(DEEP.astype(np.float32) * 2), "must go from 0 to 1 or 255 or 65535"),
    "signed": (tiff(DEEP.astype(np.int16)), "must go from 0 to 255 or 65535; scale all images alike"),
    "13 bands": (tiff(stacked(DEEP, 13)), "13 bands, whole numbers of 16 bits: save three of them as RGB"),
    "3 bands that are not said to be RGB": (tiff(COLOURS), "must be RGB"),
    "RGB in decimals": (tiff(COLOURS.astype(np.float32), RGB), "3 bands, decimals of 32 bits"),
    "64 bits": (tiff(DEEP.astype(np.float64)), "decimals of 64 bits, save it so"),
    "cut": (tiff(COLOURS, RGB)[:900], "damaged"),
    "no directory": (b"II*\0 not a tiff", "damaged"),
    "vast": (saved(Image.new("1", (10_000, 9_000)), compression="group4"), "10000 x 9000"),
    "DICOM": (b"\0" * 128 + b"DICM" + b"\0" * 900, "it is a DICOM image; save it as TIFF or PNG, all images with one"),
    "NIfTI": (b"\0" * 344 + b"n+1\0" + b"\0" * 900, "it is a NIfTI image; save the slices"),
    "NIfTI, packed": (gzip.compress(b"\0" * 344 + b"n+1\0" + b"\0" * 900), "it is a NIfTI image; save the slices"),
    "JPEG 2000": (saved(Image.fromarray(COLOURS), "JPEG2000"), "it is a JPEG 2000 image; save it as PNG or TIFF"),
    "CZI": (b"ZISRAWFILE" + b"\0" * 90, "it is a CZI image of a microscope; export its planes"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is refused here
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_says_what_it_is_and_what_to_do(kind: str, tmp_path: Path) -> None:
    content, words = REFUSED[kind]
    with pytest.raises(_collection.NotTaken) as told:
        _picture.decode(content, tmp_path, Limits())
    assert words in str(told.value)
    (tmp_path / "given.tif").write_bytes(content)
    with pytest.raises(Refusal) as alone:
        images.read(tmp_path / "given.tif", tmp_path / "media")
    assert words in str(alone.value) and "one image is no dataset" in str(alone.value)


@pytest.mark.parametrize("kind", ["below zero", "metres", "signed"])
def test_an_exported_script_refuses_the_same_values(kind: str, tmp_path: Path) -> None:
    content, words = REFUSED[kind]
    (tmp_path / "given.tif").write_bytes(content)
    assert words in script()["fault"](tmp_path / "given.tif")


def test_a_zip_of_packed_volumes_names_them(tmp_path: Path) -> None:
    volume = gzip.compress(b"\0" * 344 + b"n+1\0" + b"\0" * 900)
    path = archive("brain.zip", {f"{k}/{i}.nii.gz": volume for k in "ab" for i in range(3)})(tmp_path)
    assert images.recognise(path) > 0.9
    with pytest.raises(Refusal, match=r"none of the 6 images.*NIfTI"):
        images.read(path, tmp_path / "media")


def place(made: Read, name: str) -> Any:
    return made.table.set_index("_where").loc[name]


def test_tiffs_in_class_folders_with_a_table_or_alone_to_predict(tmp_path: Path) -> None:
    entries = {f"{k}/{i}.tif": tiff(DEEP // (i + 1), order=">") for k in ("cell", "debris") for i in range(4)}
    path = archive("cells.zip", entries)(tmp_path)
    assert images.read(path, tmp_path / "media").table["label"].value_counts().to_dict() == {"cell": 4, "debris": 4}
    table = "file,kind\n" + "".join(f"{name},{name[:4]}\n" for name in entries)
    made = images.read(archive("t.zip", entries | {"labels.csv": table.encode()})(tmp_path), tmp_path / "media")
    assert made.target == "kind" and place(made, "cell/2.tif")["kind"] == "cell"
    (tmp_path / "new.TIFF").write_bytes(entries["cell/0.tif"])
    token = asking.set(Asking(numbers=frozenset()))
    try:
        assert len(images.read(tmp_path / "new.TIFF", tmp_path / "media").table) == 1
    finally:
        asking.reset(token)


CODES = np.zeros((20, 24), np.uint8)
CODES[4:9, 4:20], CODES[12:, :5] = 1, 2


@pytest.mark.parametrize(
    "mask",
    [
        tiff(CODES), tiff(CODES.astype(np.uint16)), tiff(CODES.astype(np.uint16), order=">"),
        tiff(CODES.astype(np.float32)), tiff(CODES.astype(np.int32)),
        saved(Image.fromarray(CODES), compression="tiff_lzw"),
    ],
    ids=["8 bits", "16 bits", "16 bits of a Mac", "decimals", "32 bits", "LZW"],
)  # fmt: skip
def test_masks_as_tiff_hold_their_classes(mask: bytes, tmp_path: Path) -> None:
    entries = {f"images/{i}.tif": tiff(DEEP) for i in range(3)} | {f"masks/{i}.tif": mask for i in range(3)}
    made = masks.read(
        archive("m.zip", entries | {"classes.txt": b"ground\ncell\nedge\n"})(tmp_path), tmp_path / "media"
    )
    found = places.mask_of(place(made, "images/1.tif")["mask"], ["ground", "cell", "edge"])
    assert np.array_equal(found, CODES)


def test_masks_of_large_classes_keep_them_apart(tmp_path: Path) -> None:
    large = CODES.astype(np.uint16) * 300
    entries = {"images/1.tif": tiff(DEEP), "masks/1.tif": tiff(large, order=">")}
    made = masks.read(archive("m.zip", entries)(tmp_path), tmp_path / "media")
    names = ["class 0", "class 300", "class 600"]
    assert np.array_equal(places.mask_of(place(made, "images/1.tif")["mask"], names), CODES)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (tiff((CODES / 2).astype(np.float32)), "its values must be whole numbers"),
        (tiff(np.full((20, 24), np.nan, np.float32)), "its values must be whole numbers"),
        (saved(Image.fromarray(CODES), compression="jpeg"), "JPEG changes the values of pixels"),
        (picture(form="JPEG"), "cannot be read as a mask"),
    ],
    ids=["shares", "no numbers", "JPEG within", "JPEG"],
)
def test_masks_that_hold_no_classes_are_named(mask: bytes, words: str, tmp_path: Path) -> None:
    entries = {f"images/{i}.tif": tiff(DEEP) for i in range(2)}
    entries |= {"masks/0.tif": tiff(CODES), "masks/1.tif": mask}
    made = masks.read(
        archive("m.zip", entries | {"classes.txt": b"ground\ncell\nedge\n"})(tmp_path), tmp_path / "media"
    )
    assert words in {one.where: one.reason for one in made.skipped}["masks/1.tif"]


def test_a_mask_with_little_on_it_is_no_zip_bomb(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    faint = np.zeros((1200, 1100), np.uint8)
    faint[5:9, 5:9] = 255
    entries = {"images/1.tif": tiff(random.integers(0, 255, faint.shape, np.uint8)), "masks/1.tif": tiff(faint)}
    assert len(masks.read(archive("m.zip", entries)(tmp_path), tmp_path / "media").table) == 1


def test_boxes_of_coco_on_a_tiff_that_is_turned(tmp_path: Path) -> None:
    told = {
        "images": [{"id": 1, "file_name": "1.tif", "width": 20, "height": 24}],
        "categories": [{"id": 7, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [5, 6, 10, 12]}],
    }
    path = archive("c.zip", {"1.tif": turned(), "a.json": json.dumps(told).encode()})(tmp_path)
    made = boxes.read(path, tmp_path / "media")
    assert places.boxes_of(place(made, "1.tif")["boxes"], ["cell"], 5).tolist() == [[0, 0.25, 0.25, 0.75, 0.75]]


def test_large_files_are_not_all_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    names = [f"a/{i}.tif" for i in range(70)]
    found = _collection.Collection("set", names, lambda name: bytes(30_000_000 if int(name[2:-4]) < 8 else 10))
    for block in _collection._blocks(found, names):
        held.append(sum(map(len, block.values())))
        assert len(block) <= 64
    assert max(held) <= 130_000_000 and len(held) == 3


def test_the_endings_that_are_read_are_those_that_may_be_handed_in() -> None:
    files = modalities()["image"].files
    assert files is not None and set(files.endings) == set(_picture.EXTENSIONS)


def test_a_folder_of_tiffs_is_told_from_a_table_beside_it(tmp_path: Path) -> None:
    entries = {name.replace(".png", ".tif"): tiff(COLOURS, RGB) for name in class_folders(each=2)}
    path = archive("t.zip", entries | {"notes.csv": b"a,b\n1,2\n"})(tmp_path)
    assert images.read(path, tmp_path / "media").target == "label"


def test_a_gallery_shows_each_class_from_everywhere_in_its_series() -> None:
    said = pd.Series(["fox"] * 60 + ["lynx"] * 3, index=range(900, 963))
    some = dataset_views._spread(said, 8)
    foxes = sorted(place for place in some if place < 60)
    assert len(some) == 8 and sum(place >= 60 for place in some) == 3
    assert foxes[-1] - foxes[0] > 30 and np.diff(foxes).min() > 1, "frames of one burst lie beside each other"


def test_rows_that_look_alike_lead_to_the_column_that_holds_them_together(home: Home, tmp_path: Path) -> None:
    one = Image.open(io.BytesIO(picture((64, 64), seed=5)))
    again = {"ants/again.jpg": saved(one, "JPEG", quality=80), "ants/first.jpg": saved(one, "JPEG", quality=95)}
    made = datasets.add(home, archive("burst.zip", class_folders(again))(tmp_path))
    (told,) = [one for one in datasets.profile(home, made.id).problems if "nearly the same" in one.what]
    assert "choose their column on the strategy screen" in told.remedy
