"""What annotation tools write, whole and broken: read to the exact rows, or named with file, place and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.annotated_pictures import PICTURES as DRAWN
from tests.annotated_pictures import Case
from tests.annotated_texts import TEXTS, chosen, task
from tests.bad_files import archive, picture
from tests.exported_pictures import EXPORTED
from tltools import places
from tltools.formats import Format, Read, formats
from tltools.records import Refusal

PICTURES = DRAWN | EXPORTED


def best(path: Path) -> Format:
    """The reader that is surest of a path."""
    return max(formats().values(), key=lambda form: form.recognise(path))


def told(found: Read) -> str:
    skipped = [f"{one.where}: {one.reason}" for one in found.skipped]
    assert all(one.where and one.what and one.remedy for one in found.problems)
    return "\n".join([*(f"{one.where} {one.what} {one.remedy}" for one in found.problems), *skipped])


def refused(one: Case, form: Format, path: Path, scratch: Path) -> None:
    with pytest.raises(Refusal) as caught:
        form.read(path, scratch)
    assert all(problem.where and problem.what and problem.remedy for problem in caught.value.problems)
    for word in one.said:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", PICTURES)
def test_shapes_are_read_to_the_exact_boxes_or_named(name: str, tmp_path: Path) -> None:
    one = PICTURES[name]
    path = archive("given.zip", one.files)(tmp_path)
    form = best(path)
    assert form.key == one.reader
    if one.rows is None:
        refused(one, form, path, tmp_path / "media")
        return
    found = form.read(path, tmp_path / "media")
    rows = {w: json.loads(cell)["boxes"] for w, cell in zip(found.table["_where"], found.table["boxes"], strict=True)}
    assert rows.keys() == one.rows.keys()
    for where, boxes in one.rows.items():
        assert [box[0] for box in rows[where]] == [box[0] for box in boxes]
        assert np.allclose([box[1:] for box in rows[where]], [box[1:] for box in boxes], atol=1e-5)
    for word in one.said:
        assert word in told(found)
    if one.parts:
        assert dict(zip(found.table["_where"], found.table["_part"], strict=True)) == one.parts
    assert ("mask" in found.table) == one.masks
    if one.masks:  # the outlines here are rectangles, so each mask is its box filled
        for cell, boxes in zip(found.table["mask"], rows.values(), strict=True):
            wanted = np.zeros((20, 24), int)
            for label, x0, y0, x1, y1 in boxes:
                wanted[round(20 * y0) : round(20 * y1), round(24 * x0) : round(24 * x1)] = label == "dog"
            assert np.array_equal(places.mask_of(cell, ["background", "dog"]) == 1, wanted)


@pytest.mark.parametrize("name", TEXTS)
def test_spans_and_choices_are_read_to_the_exact_cells_or_named(name: str, tmp_path: Path) -> None:
    one = TEXTS[name]
    path = tmp_path / one.name
    path.write_bytes(one.content)
    form = best(path)
    assert form.key == one.reader
    if one.rows is None:
        with pytest.raises(Refusal) as caught:
            form.read(path, tmp_path / "media")
        assert all(problem.where and problem.what and problem.remedy for problem in caught.value.problems)
        assert all(word in str(caught.value) for word in one.said)
        return
    found = form.read(path, tmp_path / "media")
    assert len(found.table) == len(one.rows)
    for row, wanted in zip(found.table.to_dict("records"), one.rows, strict=True):
        if isinstance(wanted, dict):
            assert {key: row[key] for key in wanted} == wanted
        else:
            assert (row["words"], json.loads(row["tags"])["tags"]) == wanted
    for word in one.said:
        assert word in told(found)


CHOSEN = [task(chosen("cat"), image="/data/upload/3/0a1b2c3d-1.png"), task(chosen("dog"), image="s3://b/2.png")]
ONE_HOT = "filename, cat, dog\n1.png, 1, 0\n"
LABELLED: dict[str, tuple[dict[str, bytes], str, dict[str, str], str]] = {
    "Label Studio": (
        {"1.png": picture(seed=1), "2.png": picture(seed=2), "export.json": json.dumps(CHOSEN).encode()},
        "tone", {"1.png": "cat", "2.png": "dog"}, "",
    ),
    "Label Studio, a missing picture": (
        {"1.png": picture(seed=1), "export.json": json.dumps(CHOSEN).encode()},
        "tone", {"1.png": "cat"}, 'there is no image "s3://b/2.png"',
    ),
    "Roboflow": (
        {"train/1.png": picture(seed=1), "train/_classes.csv": ONE_HOT.encode(),
         "valid/1.png": picture(seed=2), "valid/_classes.csv": ONE_HOT.replace("1, 0", "1, 1").encode()},
        "labels", {"train/1.png": "cat", "valid/1.png": "cat|dog"}, "",
    ),
    "Roboflow, no label": (
        {"1.png": picture(seed=1), "_classes.csv": ONE_HOT.replace("1, 0", "0, 0").encode()},
        "labels", {"1.png": ""}, "",
    ),
    "Roboflow, a strange cell": (
        {"1.png": picture(seed=1), "2.png": picture(seed=2), "_classes.csv": (ONE_HOT + "2.png, 2, 0\n").encode()},
        "labels", {"1.png": "cat"}, "_classes.csv, line 3: it must have a name and 2 cells of 0 or 1",
    ),
    "Roboflow, a missing picture": (
        {"1.png": picture(seed=1), "_classes.csv": (ONE_HOT + "9.png, 0, 1\n").encode()},
        "labels", {"1.png": "cat"}, '_classes.csv, line 3: there is no image "9.png"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_whole_pictures_are_read_or_named(name: str, tmp_path: Path) -> None:
    entries, target, wanted, said = LABELLED[name]
    path = archive("given.zip", entries)(tmp_path)
    form = best(path)
    found = form.read(path, tmp_path / "media")
    assert (form.key, found.target) == ("images", target)
    assert dict(zip(found.table["_where"], found.table[target], strict=True)) == wanted
    assert said in told(found)


WHOLE = ["CVAT: subsets", "LabelMe: a polygon", "Label Studio: a turned rectangle", "COCO: outlines", "YOLO: outlines",
         "VOC: CVAT's folders", "VIA: a project", "VIA: a table", "CreateML: Roboflow's parts"]  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_of_shapes_that_is_cut_anywhere_is_read_or_refused(name: str, tmp_path: Path) -> None:
    one = PICTURES[name]
    for tenth in range(10):
        cut = {k: v if k.endswith(".png") else v[: len(v) * tenth // 10] for k, v in one.files.items()}
        path = archive(f"{tenth}.zip", cut)(tmp_path)
        try:
            found = best(path).read(path, tmp_path / f"media{tenth}")
            assert len(found.table) and all(one.where and one.reason for one in found.skipped)
        except Refusal as refusal:
            assert all(path.name in problem.where and problem.remedy for problem in refusal.problems)


def test_there_are_at_least_120_files() -> None:
    assert len(PICTURES) + len(TEXTS) + len(LABELLED) >= 120
