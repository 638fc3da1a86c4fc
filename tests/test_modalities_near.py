"""Near-duplicates and items of each modality: what counts as a copy, what does not, and that it stays fast.

Run alone: python -m pytest tests/test_modalities_near.py
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from tltools.formats import Limits, _picture
from tltools.modalities import image, modalities, tabular, text
from tltools.modalities._near import Links, equal, similar_pictures
from tltools.records import Column

NOWHERE = Path("/nonexistent")


def texts(values: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {"text": pd.Series(values, dtype="str"), "_where": [f"t, line {i}" for i in range(len(values))]}
    )


def test_texts_that_differ_in_a_word_or_in_signs_are_one_cluster() -> None:
    table = texts([
        "The harbour was quiet at dawn and nobody saw the boat leave.",
        "the harbour was quiet at dawn, and nobody saw the boat leave",
        "The harbour was very quiet at dawn and nobody saw the boat leave.",
        "An entirely different sentence about bread and the price of flour.",
        "Yes", "yes!", "No", "", "", None,
    ])  # fmt: skip
    assert text.clusters(table, ["text"], NOWHERE).tolist() == [0, 0, 0, 3, 4, 4, 6, 7, 8, 9]


def test_text_clusters_are_found_in_a_large_heap_in_seconds() -> None:
    random = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(5_000)])
    values = [" ".join(words[random.integers(0, 5_000, 20)]) for _ in range(20_000)]
    for i in range(200):
        values[i + 10_000] = values[i].replace(values[i].split()[7], "other")
    started = time.monotonic()
    found = text.clusters(texts(values), ["text"], NOWHERE)
    assert time.monotonic() - started < 20
    assert (found[10_000:10_200] == np.arange(200)).mean() >= 0.97
    assert len(np.unique(found)) >= 20_000 - 200


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab c", max_size=12), max_size=20))
def test_clusters_name_their_smallest_row(values: list[str]) -> None:
    found = text.clusters(texts(list(values)), ["text"], NOWHERE)
    assert all(found[row] <= row and found[found[row]] == found[row] for row in range(len(values)))


def test_links_join_transitively() -> None:
    links = Links(6)
    for one, other in [(4, 5), (1, 4), (2, 3)]:
        links.join(one, other)
    assert links.clusters().tolist() == [0, 1, 2, 2, 1, 1]
    assert equal(["a", "b", "a"]).tolist() == [0, 1, 0]


def test_pictures_are_known_again_smaller_brighter_and_recompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    names = []
    for i in range(12):
        rough = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (200, 150), Image.Resampling.BICUBIC
        )
        rough.save(tmp_path / f"{i}.png")
        names.append(f"{i}.png")
    first = Image.open(tmp_path / "0.png")
    first.resize((90, 70)).save(tmp_path / "small.png")
    ImageEnhance.Brightness(first).enhance(0.8).save(tmp_path / "dark.png")
    first.save(tmp_path / "worse.jpg", quality=40)
    names += ["small.png", "dark.png", "worse.jpg", "3.png"]
    table = pd.DataFrame({"image": names, "_where": names})
    found = modalities()["image"].clusters(table, ["image"], tmp_path)
    assert found.tolist() == [*range(12), 0, 0, 0, 3]
    monkeypatch.setattr(image, "NEAR_LIMIT", 3)  # the partial search of large collections
    assert modalities()["image"].clusters(table, ["image"], tmp_path).tolist() == [*range(12), 0, 0, 0, 3]


def test_a_picture_cut_out_of_another_is_known_and_look_alikes_are_not(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    names = []
    for i in range(40):
        rough = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((240, 180), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
        names.append(f"{i}.png")
    for i in range(20):
        with Image.open(tmp_path / f"{i}.png") as image:
            left, top = [(0, 0), (12, 0), (0, 9), (6, 4)][i % 4]
            image.crop((left, top, left + 228, top + 171)).save(tmp_path / f"cut{i}.jpg", quality=70)
        names.append(f"cut{i}.jpg")
    found = modalities()["image"].clusters(pd.DataFrame({"image": names, "_where": names}), ["image"], tmp_path)
    assert (found[40:] == np.arange(20)).mean() >= 0.9 and (found[:40] == np.arange(40)).all()

    digits = np.stack([np.kron(picture, np.ones((4, 4))) * 15.9 for picture in load_digits().images[:600]])
    linked = {}
    for cropped in (False, True):
        links = Links(len(digits))
        similar_pictures(digits, links, 30_000, cropped=cropped)
        linked[cropped] = len(digits) - len(np.unique(links.clusters()))
    assert linked[True] <= linked[False] + 2, "digits look alike, but none was cut out of another"


def test_placeholders_and_flat_images_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "grey").save(tmp_path / "flat.png")
    names = ["flat.png"] * 3
    table = pd.DataFrame({"image": names, "_where": ["a/1.png", "a/2.png", "b/3.png"]})
    said = " ".join(problem.sentence() for problem in modalities()["image"].problems(table, ["image"], tmp_path))
    assert "3 times" in said and "placeholder" in said and "one colour" in said and "a/1.png" in said


@pytest.mark.parametrize(
    ("tops", "dark"), [((4095, 4095, 1023), "above 16 of 255"), ((4095, 4095, 65535), ""), ((8191, 900), "above 32")]
)
def test_pictures_of_few_bits_in_sixteen_are_told_where_all_are_dark(
    tops: tuple[int, ...], dark: str, tmp_path: Path
) -> None:
    names = []
    for k, top in enumerate(tops):
        deep, values = io.BytesIO(), np.linspace(0, top, 480 + 24 * k).astype(np.uint16)
        Image.fromarray(values.reshape(-1, 24)).save(deep, "PNG")
        names.append(_picture.decode(deep.getvalue(), tmp_path, Limits()).path)
    table = pd.DataFrame({"image": names, "_where": names})
    found = [one for one in modalities()["image"].problems(table, ["image"], tmp_path) if "dark" in one.what]
    assert [dark in one.what and "by 16 or 64" in one.remedy for one in found] == [True] * bool(dark)


def test_equal_rows_are_one_cluster_unless_most_rows_repeat() -> None:
    names = [f"c{i}" for i in range(6)]
    rows = pd.DataFrame(np.arange(60.0).reshape(10, 6), columns=names)
    rows.loc[7] = rows.loc[2]
    rows.loc[7, "c0"] += 1e-9
    assert tabular.clusters(rows, names, NOWHERE).tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 8, 9]
    same = pd.DataFrame(np.ones((10, 6)), columns=names)
    assert tabular.clusters(same, names, NOWHERE).tolist() == list(range(10))
    assert tabular.clusters(rows, names[:3], NOWHERE).tolist() == list(range(10))


def test_rows_as_text_leave_out_missing_cells() -> None:
    rows = pd.DataFrame({"age": [39.0, np.nan], "rate": [0.25, 1e7], "job": pd.Series(["clerk", None], dtype="str")})
    views = modalities()["tabular"].views
    assert views["text"](rows, ["age", "rate", "job"], NOWHERE, {}) == [
        "age 39, rate 0.25, job clerk",
        "rate 10000000",
    ]
    assert views["tabular"](rows, ["age", "job"], NOWHERE, {}).shape == (2, 2)


def test_texts_of_several_columns_are_joined() -> None:
    rows = pd.DataFrame({"title": pd.Series(["A", None], dtype="str"), "body": ["b", "c"]})
    assert modalities()["text"].views["text"](rows, ["title", "body"], NOWHERE, {}) == ["A . b", "c"]


@pytest.mark.parametrize("key", ["text", "image", "tabular"])
def test_equal_content_has_equal_keys_and_other_content_others(key: str) -> None:
    rows = pd.DataFrame({"x": ["one", "two", "one"], "n": [1.0, 2.0, 1.0], "_where": ["a", "b", "c"]})
    names = ["x", "n"] if key == "tabular" else ["x"]
    keys = list(modalities()[key].content(rows, names, NOWHERE))
    assert keys[0] == keys[2] != keys[1] and len(keys[0]) == 32


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        (["text"], "text"),
        (["text", "number"], "text"),
        (["text", *["number"] * 9], "tabular"),
        (["number", "category"], "tabular"),
        (["image", "number", "text"], "image"),
    ],
)
def test_the_surest_modality_wins(kinds: list[str], wanted: str) -> None:
    columns = [Column(name=f"c{i}", kind=kind, missing=0, distinct=9) for i, kind in enumerate(kinds)]  # type: ignore[arg-type]
    rooms = modalities()
    assert max(rooms, key=lambda key: rooms[key].recognise(columns)) == wanted
    assert rooms[wanted].inputs(columns)
