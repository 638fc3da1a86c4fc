"""Tables and folders that used to be read wrong without a word."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image

from tltools import datasets
from tltools.formats import _delimiter, tables
from tltools.home import Home
from tltools.records import Dataset


def read(path: Path) -> pd.DataFrame:
    """The table of a file as the formats read it."""
    return tables.read(path, path.parent / "media").table.drop(columns=["_where", "_part"], errors="ignore")


def pictures(folder: Path, count: int) -> Path:
    (folder / "images").mkdir(parents=True)
    for k in range(count):
        Image.fromarray(np.full((16, 16, 3), 5 * k, np.uint8)).save(folder / "images" / f"{k}.png")
    return folder


@pytest.mark.parametrize("lines", [",filename,label", "label_number,filename,label", "label,filename"])
def test_labels_are_joined_by_names_and_not_by_numbers_that_look_like_them(
    home: Home, tmp_path: Path, lines: str
) -> None:
    folder, order = pictures(tmp_path / "set", 30), np.random.default_rng(0).permutation(30)
    names = lines.split(",")
    rows = [
        ",".join({"filename": f"{k}.png", "label": str(k % 2)}.get(name, str(row)) for name in names)
        for row, k in enumerate(order)
    ]
    (folder / "labels.csv").write_text("\n".join([lines, *rows]) + "\n")
    dataset = datasets.add(home, folder, target="label")
    table = datasets.rows(home, dataset.id)
    assert len(table) == 30
    for where, label in zip(table["_where"], table["label"], strict=True):
        assert int(float(label)) == int(Path(where).stem) % 2, where


@pytest.mark.parametrize("sign", ["\t", ","])
def test_two_quotes_that_are_plain_signs_swallow_no_rows(tmp_path: Path, sign: str) -> None:
    rows = [["text", "label"], *[[f"a fine day number {k}", "pos" if k % 2 else "neg"] for k in range(200)]]
    rows[50][0], rows[90][0] = '"so it begins', 'and then they said "wow'
    path = tmp_path / "reviews.tsv"
    path.write_text("\n".join(sign.join(row) for row in rows) + "\n")
    found = tables.read(path, tmp_path / "media")
    assert len(found.table) == 200 and found.table["text"][49].lstrip('"') == "so it begins"
    assert any("read as plain signs" in problem.what for problem in found.problems)


def test_a_quoted_text_over_several_lines_stays_one(tmp_path: Path) -> None:
    rows = [f'"first, line {k}\nsecond, line",{"ab"[k % 2]}' for k in range(40)]
    (tmp_path / "notes.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    table = read(tmp_path / "notes.csv")
    assert len(table) == 40 and table["text"][3] == "first, line 3\nsecond, line"


def test_quoted_texts_whose_lines_look_like_rows_stay_whole(tmp_path: Path) -> None:
    rows = [f'"Main Street {k},\n{k} ""Old"" Town",{"ab"[k % 2]}' for k in range(40)]
    (tmp_path / "places.csv").write_text("\n".join(["address,label", *rows]) + "\n")
    table = read(tmp_path / "places.csv")
    assert len(table) == 40 and table["address"][3] == 'Main Street 3,\n3 "Old" Town' and table["label"][3] == "b"


@pytest.mark.parametrize(
    "text",
    [
        "temperature,rain\n" + "".join(f"{k}.5,{'rain' if k % 3 else 'dry'}\n" for k in range(40)),
        "a,b c,y\n" + "".join(f"{k},{k % 7},{'xy'[k % 2]}\n" for k in range(40)),
        "word,kind\n" + "".join(f"w{k},{'noun' if k % 2 else 'verb'}\n" for k in range(40)) + "word,noun\n",
    ],
)
def test_a_header_that_is_a_value_too_stays_the_header(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    assert list(read(tmp_path / "table.csv").columns) == text.split("\n")[0].split(",")


@pytest.mark.parametrize(
    "rows",
    [
        [["?", "a"], *[[str(k), "ab"[k % 2]] for k in range(40)]],
        [["p", "x", "n"], *[[("p", "e")[k % 2], ("x", "y", "z")[k % 3], f"n{k}"] for k in range(60)]],
        [["vhigh", "low", "4"], *[[("vhigh", "med")[k % 2], ("low", "high")[k % 3 == 0], str(k)] for k in range(30)]],
    ],
)
def test_rows_without_a_header_are_all_rows(rows: list[list[str]]) -> None:
    assert not _delimiter.has_header(rows)[0]


def test_a_title_over_a_table_is_no_header(tmp_path: Path) -> None:
    rows = [[k, k % 5, "ab"[k % 2]] for k in range(30)]
    (tmp_path / "r.csv").write_text("My report,,\nsize,weight,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    book = openpyxl.Workbook()
    for row in [["My report"], ["size", "weight", "label"], *rows]:
        book.active.append(row)
    book.save(tmp_path / "r.xlsx")
    for name in ("r.csv", "r.xlsx"):
        table = read(tmp_path / name)
        assert list(table.columns) == ["size", "weight", "label"] and len(table) == 30, name


def test_a_workbook_is_read_whole_whatever_it_says_of_its_size(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["a", "b", "c", "label"], *[[k, k + 1, k + 2, "xy"[k % 2]] for k in range(30)]]:
        book.active.append(row)
    book.save(tmp_path / "whole.xlsx")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as old, zipfile.ZipFile(tmp_path / "stale.xlsx", "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("sheet1.xml"):
                assert b'ref="A1:D31"' in content
                content = content.replace(b'ref="A1:D31"', b'ref="A1:B12"')
            new.writestr(info, content)
    assert read(tmp_path / "stale.xlsx").shape == (30, 4)


def test_a_cover_before_the_table_of_a_workbook_is_passed_over(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Sales of 2021"])
    table = book.create_sheet("rows")
    for row in [["a", "label"], *[[k % 7, "xy"[k % 2]] for k in range(12)]]:
        table.append(row)
    book.save(tmp_path / "sales.xlsx")
    assert read(tmp_path / "sales.xlsx").shape == (12, 2)


@pytest.mark.parametrize(
    ("sign", "cells", "largest"),
    [
        (";", [str(k) for k in range(98)] + ["12,5", "97,25"], 97.25),
        (",", [str(k) for k in range(98)] + ['"1,250"', '"2,400"'], 2400.0),
        (";", ["722.700"] * 99 + ["1.200.000"], 1_200_000.0),
    ],
)
def test_a_spelling_that_fits_all_numbers_comes_before_one_that_leaves_some_out(
    tmp_path: Path, sign: str, cells: list[str], largest: float
) -> None:
    lines = [f"{cell}{sign}{'ab'[k % 2]}" for k, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join([f"price{sign}label", *lines]) + "\n")
    price = read(tmp_path / "t.csv")["price"]
    assert price.notna().all() and price.max() == largest


def test_codes_with_zeros_in_front_stay_codes_wherever_they_stand(tmp_path: Path) -> None:
    cells = [str(10_000 + k) for k in range(3000)] + ["02149"]
    (tmp_path / "t.csv").write_text("\n".join(["code,label", *[f"{c},{'ab'[k % 2]}" for k, c in enumerate(cells)]]))
    assert read(tmp_path / "t.csv")["code"].iloc[-1] == "02149"


def test_tagged_sentences_of_two_words_are_texts(home: Home, tmp_path: Path) -> None:
    (tmp_path / "s.conll").write_text("".join(f"call O\n{('Rome', 'Oslo')[k % 2]} B-X\n\n" for k in range(200)))
    dataset: Dataset = datasets.add(home, tmp_path / "s.conll")
    assert (dataset.modality, dataset.task, dataset.inputs) == ("text", "tagging", ("words",))
    assert datasets.items(home, dataset, "text")[0] == "call Rome"


def test_marks_for_missing_among_numbers_are_told_and_plain_outliers_are_not(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.integers(20, 90, 200).astype(float) for name in ("age", "pulse", "kept", "years")})
    table.loc[[7, 9], "age"], table.loc[5, "pulse"] = -999.0, 9999.0
    table.loc[3, "kept"], table.loc[4, "years"] = 250.0, 99.0  # a number of its own, and an age
    table["sex"], table["ward"] = ["f", "F", "m", "M"] * 50, ["A", "B"] * 100
    table.assign(died=["yes", "no"] * 100).to_csv(tmp_path / "rows.csv", index=False)
    told = datasets.inspect(home, tmp_path / "rows.csv").profile.problems
    (marks,) = [one for one in told if "marks for missing" in one.what]
    assert marks.severity == "warning" and marks.where == "rows.csv, line 7"
    assert re.findall(r"(\w+) \((-?\d+) in (\d) cells", marks.what) == [("age", "-999", "2"), ("pulse", "9999", "1")]
    (spelt,) = [one.what for one in told if "capitals alone" in one.what]
    assert spelt == "categories differ in capitals alone: sex (F, f); sex (M, m)."
