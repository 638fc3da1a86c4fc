"""The image reader: layouts of folders, tables of labels, and what happens to odd or damaged images.

Run alone: python -m pytest tests/test_formats_images.py
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bad_files import archive, class_folders, huge_png, picture
from tltools.formats import Asking, Read, _picture, asking, images
from tltools.records import Refusal


def read(folder: Path, entries: dict[str, bytes]) -> Read:
    return images.read(archive("photos.zip", entries)(folder), folder / "media")


def reasons(found: Read) -> dict[str, str]:
    return {one.where: one.reason for one in found.skipped}


def stored(found: Read, where: str) -> Image.Image:
    assert found.media is not None
    name = found.table.set_index("_where").loc[where, "image"]
    return Image.open(found.media / str(name))


def test_class_folders_become_labels(tmp_path: Path) -> None:
    found = read(tmp_path, class_folders())
    assert found.target == "label" and found.table["label"].value_counts().to_dict() == {"ants": 8, "bees": 8}
    assert (found.table["width"] == 24).all() and (found.table["height"] == 20).all()
    assert (found.table["_part"] == "").all()


@pytest.mark.parametrize("outer", ["", "data/", "a/b/c/"])
def test_parts_and_outer_folders_are_understood(tmp_path: Path, outer: str) -> None:
    entries = {
        f"{outer}{part}/{k}/{i}.png": picture(seed=i)
        for part in ("train", "val", "test")
        for k in "xy"
        for i in range(2)
    }
    found = read(tmp_path, entries)
    assert found.table["_part"].value_counts().to_dict() == {"train": 4, "validation": 4, "test": 4}
    assert set(found.table["label"]) == {"x", "y"}


def test_parts_below_the_classes(tmp_path: Path) -> None:
    entries = {f"{k}/{part}/{i}.png": picture(seed=i) for part in ("train", "test") for k in "xy" for i in range(2)}
    found = read(tmp_path, entries)
    assert set(found.table["_part"]) == {"train", "test"} and set(found.table["label"]) == {"x", "y"}


def test_a_folder_reads_like_its_zip(tmp_path: Path) -> None:
    for name, content in class_folders().items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    (tmp_path / "secret.png").write_bytes(picture())
    os.symlink(tmp_path / "secret.png", tmp_path / "set" / "ants" / "link.png")
    os.symlink("nothing.png", tmp_path / "set" / "ants" / "nowhere.png")
    os.symlink("round.png", tmp_path / "set" / "bees" / "round.png")
    os.mkfifo(tmp_path / "set" / "ants" / "pipe.png")
    found = images.read(tmp_path / "set", tmp_path / "media")
    zipped = read(tmp_path, class_folders())
    assert sorted(found.table["image"]) == sorted(zipped.table["image"])
    assert reasons(found) == {
        "ants/link.png": "it is a link that leads out of the folder",
        "ants/nowhere.png": "it is a link that leads nowhere",
        "ants/pipe.png": "it is a pipe or a device, not a file",
        "bees/round.png": "it is a link that leads nowhere",
    }


def test_a_zip_of_old_windows_programs_is_read(tmp_path: Path) -> None:
    path = archive("photos.zip", {name.replace("/", "\\"): held for name, held in class_folders().items()})(tmp_path)
    assert images.recognise(path) > 0.9
    found = images.read(path, tmp_path / "media")
    assert found.table["label"].value_counts().to_dict() == {"ants": 8, "bees": 8}


def test_names_in_the_old_code_page_are_read(tmp_path: Path) -> None:
    entries = {f"{name}/{i}.png": picture(seed=i) for name in ("K#fer", "Bl#te") for i in range(8)}
    path = archive("photos.zip", entries)(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"K#fer", b"K\x84fer").replace(b"Bl#te", b"Bl\x81te"))
    found = images.read(path, tmp_path / "media")
    assert found.table["label"].value_counts().to_dict() == {"Käfer": 8, "Blüte": 8}


@pytest.mark.parametrize("shape", ["name", "stem", "path"])
def test_a_table_of_labels(tmp_path: Path, shape: str) -> None:
    names = {"name": "{}.png", "stem": "{}", "path": "pictures/{}.png"}[shape]
    rows = "".join(f"{names.format(f'p{i}')},{'warm' if i % 2 else 'cold'},{i / 2}\n" for i in range(10))
    entries = {f"pictures/p{i}.png": picture(seed=i) for i in range(11)}
    found = read(tmp_path, entries | {"labels.csv": f"file,feeling,weight\n{rows}gone.png,warm,1\n".encode()})
    assert len(found.table) == 10 and found.target is None
    assert found.table.set_index("_where").loc["pictures/p3.png", "feeling"] == "warm"
    assert reasons(found) == {
        "labels.csv, line 12": 'there is no image "gone.png"',
        "pictures/p10.png": "the table of labels does not name it",
    }


def test_a_file_that_is_damaged_is_told_once_and_not_again_by_its_row(tmp_path: Path) -> None:
    entries = {f"pictures/p{i}.png": picture(seed=i) for i in range(8)}
    entries |= {"pictures/p3.png": entries["pictures/p3.png"][:60], "pictures/p5.png": b""}
    found = read(tmp_path, entries | {"labels.csv": labels_of(range(9))})
    why = reasons(found)
    assert set(why) == {"pictures/p3.png", "pictures/p5.png", "labels.csv, line 10"} and len(found.skipped) == 3
    assert "damaged" in why["pictures/p3.png"] and why["labels.csv, line 10"] == 'there is no image "p8.png"'


def labels_of(numbers: range, name: str = "p{}.png") -> bytes:
    return ("file,feeling\n" + "".join(f"{name.format(i)},{'warm' if i % 2 else 'cold'}\n" for i in numbers)).encode()


def test_a_table_of_labels_for_each_part(tmp_path: Path) -> None:
    tables = {
        "train.csv": labels_of(range(8)),
        "val.csv": labels_of(range(8, 10)),
        "test.csv": labels_of(range(10, 13)),
    }
    found = read(tmp_path, {f"pictures/p{i}.png": picture(seed=i) for i in range(13)} | tables)
    assert found.table["_part"].value_counts().to_dict() == {"train": 8, "test": 3, "validation": 2}
    assert not found.skipped and found.target == "feeling"
    assert found.table.set_index("_where").loc["pictures/p11.png", "feeling"] == "warm"


def test_a_table_of_labels_names_the_files_beside_it(tmp_path: Path) -> None:
    entries = {
        f"{part}/{i}.png": picture(seed=i + 50 * (part == "test")) for part in ("train", "test") for i in range(6)
    }
    first, second = labels_of(range(6), "{}.png"), labels_of(range(1, 7), "{}.png").replace(b"\n6.png", b"\n0.png")
    second = second.replace(b"warm", b"hot").replace(b"cold", b"mild")
    found = read(tmp_path, entries | {"train/metadata.csv": first, "test/metadata.csv": second})
    feeling = found.table.set_index("_where")["feeling"].to_dict()
    assert feeling["train/1.png"] == "warm" and feeling["test/1.png"] == "hot" and len(feeling) == 12
    assert set(found.table["_part"]) == {"train", "test"}


def test_the_table_that_names_most_files_is_taken_and_guesses_are_not(tmp_path: Path) -> None:
    entries = {f"train/p{i}.png": picture(seed=i) for i in range(9)} | {
        f"test/q{i}.png": picture(seed=i) for i in range(4)
    }
    tables = {"sample_submission.csv": labels_of(range(4), "q{}.png"), "train.csv": labels_of(range(9))}
    found = read(tmp_path, entries | tables)
    assert len(found.table) == 9 and found.table["_where"].str.startswith("train/").all()


def test_a_list_of_files_is_no_table_of_labels(tmp_path: Path) -> None:
    entries = class_folders({})
    found = read(tmp_path, entries | {"files.txt": "\n".join(["path", *entries]).encode()})
    assert set(found.table["label"]) == {"ants", "bees"} and found.target == "label"


def test_a_table_of_boxes_is_refused(tmp_path: Path) -> None:
    table = "filename,class,xmin,ymin,xmax,ymax\n" + "".join(f"{i}.png,cat,1,2,9,8\n" * 2 for i in range(8))
    with pytest.raises(Refusal, match="COCO"):
        read(tmp_path, {f"{i}.png": picture(seed=i) for i in range(8)} | {"_annotations.csv": table.encode()})


def test_what_is_not_taken_is_named_with_the_reason(tmp_path: Path) -> None:
    extra = {
        "ants/scan.dcm": b"\0" * 128 + b"DICM" + b"\0" * 90,
        "ants/empty.png": b"",
        "ants/cut.jpg": picture((64, 64), "JPEG")[:700],
        "ants/vast.png": huge_png(20_000, 20_000),
        "ants/dot.png": picture((2, 2)),
        "ants/note.txt": b"hello",
        "bees/drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "bees/photo.heic": b"\0\0\0\x18ftypheic" + b"\0" * 50,
        "bees/lie.png": b"II*\0 not a png",
        "__MACOSX/ants/._1.png": b"x",
    }
    found = read(tmp_path, class_folders(extra))
    why = reasons(found)
    assert len(found.table) == 16 and len(why) == 9
    for name, word in {
        "ants/scan.dcm": "DICOM", "ants/empty.png": "0 bytes", "ants/cut.jpg": "damaged",
        "ants/vast.png": "million pixels",
        "ants/dot.png": "2 x 2", "ants/note.txt": "no image", "bees/drawing.svg": "SVG", "bees/photo.heic": "HEIC",
        "bees/lie.png": "damaged",
    }.items():  # fmt: skip
        assert word in why[name], (name, why[name])
    (told,) = [problem.what for problem in found.problems if "9 file(s)" in problem.what]
    counts = [int(count) for count in re.findall(r"(\d+) x ", told.partition(", the first")[0])]
    assert sum(counts) == 9 and "for other reasons" in told


def test_odd_images_are_made_alike_and_it_is_said(tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray((np.arange(24 * 20, dtype=np.uint16) * 136).reshape(20, 24)).save(deep, "PNG")
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(turned, "JPEG", exif=exif)
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("blue", "green")]
    moving = io.BytesIO()
    frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    extra = {
        "ants/deep.png": deep.getvalue(),
        "ants/cmyk.jpg": picture(form="JPEG", mode="CMYK"),
        "ants/clear.png": picture(mode="RGBA"),
        "ants/grey.png": picture(mode="L"),
        "ants/turned.jpg": turned.getvalue(),
        "ants/moving.webp": moving.getvalue(),
        "ants/large.jpg": picture((1600, 900), "JPEG"),
    }
    found = read(tmp_path, class_folders(extra))
    assert not found.skipped
    said = " ".join(problem.what for problem in found.problems)
    for word in ("CMYK", "16 bits", "transparency", "turned upright", "first picture", "made smaller"):
        assert word in said
    for name in found.table["image"]:
        assert found.media is not None
        with Image.open(found.media / name) as image:
            assert image.mode == "RGB" and max(image.size) <= 768
    assert stored(found, "ants/turned.jpg").size == (20, 40)
    row = found.table.set_index("_where").loc["ants/turned.jpg"]
    assert (row["width"], row["height"]) == (20, 40)
    assert found.table.set_index("_where").loc["ants/large.jpg", "width"] == 1600
    deep_pixels = np.asarray(stored(found, "ants/deep.png"))
    assert deep_pixels.min() == 0 and deep_pixels.max() > 250
    assert np.asarray(stored(found, "ants/moving.webp"))[0, 0].tolist() == [0, 0, 255]


def test_equal_images_are_stored_once_under_names_of_their_own(tmp_path: Path) -> None:
    same = picture(seed=7)
    found = read(tmp_path, class_folders({"ants/../x.png".replace("../", ""): same, "bees/y.png": same}))
    names = found.table.set_index("_where")["image"]
    assert names["ants/x.png"] == names["bees/y.png"]
    assert "ants" not in names["ants/x.png"]


def test_names_with_markup_and_direction_marks_are_shown_as_they_are(tmp_path: Path) -> None:
    entries = class_folders(
        {
            "ants/<script>alert(1)</script>.png".replace("</", "<"): picture(seed=90),
            "bees/\u202egnp.png": picture(seed=91),
        }
    )
    found = read(tmp_path, entries)
    assert "ants/<script>alert(1)<script>.png" in set(found.table["_where"])
    assert "bees/�gnp.png" in set(found.table["_where"])


def test_images_to_predict_need_no_class(tmp_path: Path) -> None:
    token = asking.set(Asking(numbers=frozenset()))
    try:
        (tmp_path / "one.png").write_bytes(picture())
        single = images.read(tmp_path / "one.png", tmp_path / "media")
        flat = read(tmp_path, {f"{i}.png": picture(seed=i) for i in range(3)})
    finally:
        asking.reset(token)
    assert len(single.table) == 1 and len(flat.table) == 3


def test_progress_is_told(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    token = asking.set(Asking(told=lambda *words: heard.append(words)))
    try:
        read(tmp_path, class_folders(each=40))
    finally:
        asking.reset(token)
    assert heard[-1] == ("decoding images", 80, 80) and len(heard) == 2


def test_an_image_of_89_million_pixels_is_the_limit(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="10000 x 8948"):
        read(tmp_path, {f"{k}/1.png": huge_png(10_000, 8_948) for k in "ab"})


@pytest.mark.parametrize(
    "how",
    [{}, {"progressive": True}, {"subsampling": 0, "quality": 30}, {"restart_marker_rows": 1}, {"optimize": True}],
    ids=str,
)
def test_a_photo_that_needs_no_change_keeps_its_pixels_and_loses_what_is_no_picture(
    how: dict[str, int], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (37, 61, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", exif=exif, comment=b"by somebody", **how)
    found = read(tmp_path, class_folders({"ants/photo.jpg": file.getvalue() + b"<script>more</script>"}))
    kept = stored(found, "ants/photo.jpg")
    with Image.open(file) as before:
        assert np.array_equal(np.asarray(kept), np.asarray(before))
    assert kept.mode == "RGB" and found.media is not None
    (name,) = found.table.loc[found.table["_where"].str.endswith("photo.jpg"), "image"]
    content = (found.media / name).read_bytes()
    assert not any(word in content for word in (b"taken at home", b"somebody", b"script", b"Exif"))


def test_a_photo_that_is_built_in_another_way_is_written_anew(tmp_path: Path) -> None:
    whole = picture((40, 30), "JPEG")
    assert _picture._bare(whole) is not None
    for cut in range(2, len(whole)):
        made = _picture._bare(whole[:cut])
        assert made is None or made.endswith(b"\xff\xd9")
    assert _picture._bare(whole[:2] + b"\x00" + whole[2:]) is None
