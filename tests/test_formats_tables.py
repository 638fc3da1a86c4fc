"""The table reader: encodings, delimiters, headers, missing marks, numbers, ragged rows, Parquet, Excel, JSON Lines.

Run alone: python -m pytest tests/test_formats_tables.py
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tltools.formats import BY_PATH, Asking, Read, asking, tables
from tltools.records import Refusal


def read(folder: Path, content: str | bytes, name: str = "data.csv", encoding: str = "utf-8") -> Read:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return tables.read(path, folder / "scratch")


def said(found: Read) -> str:
    return " ".join([*found.inference, *(problem.sentence() for problem in found.problems)])


ROWS = "name,size,label\nants,1.5,a\nbees,2.5,b\nflies,?,a\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, ROWS.replace("ants", "møre ænter") * 1, encoding=encoding)
    assert found.table["name"].tolist() == ["møre ænter", "bees", "flies"]
    assert found.table["size"].tolist()[:2] == [1.5, 2.5] and np.isnan(found.table["size"][2])


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1252", ["Zürich", "Genève", "Köln", "Málaga", "crème brûlée", "façade", "“quoted”", "naïve"]),
        (
            "cp1251",
            ["Москва прекрасна весной", "Санкт Петербург зимой", "хороший фильм", "плохой фильм и скучный сюжет"],
        ),
        (
            "shift_jis",
            ["東京は美しい街です", "大阪の食べ物が好きです", "映画はとても面白かった", "つまらない映画でした"],
        ),
    ],
)
def test_legacy_encodings_are_guessed_and_said(tmp_path: Path, encoding: str, words: list[str]) -> None:
    rows = "".join(f"{word},{i}\n" for i, word in enumerate(words * 6))
    found = read(tmp_path, "text,label\n" + rows, encoding=encoding)
    assert found.table["text"].tolist() == words * 6
    assert encoding in said(found) and "line 2" in said(found)


def test_one_bad_byte_in_utf8_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"crème {i},a\n" for i in range(30))
    found = read(tmp_path, content.encode().replace("crème 7".encode(), b"cr\xe8me 7"))
    assert found.table["text"][8] == "crème 8" and "�" in found.table["text"][7]
    assert "line 9" in said(found) and "0xe8" in said(found)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^", "~"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, ending: str) -> None:
    found = read(tmp_path, ROWS.replace(",", delimiter).replace("\n", ending))
    assert list(found.table.columns) == ["name", "size", "label", "_where", "_part"]
    assert found.table["_where"].tolist() == [f"data.csv, line {i}" for i in (2, 3, 4)]


def test_mixed_line_ends_are_read_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b\r\n1,x\n2,y\r3,z\r\n")
    assert found.table["b"].tolist() == ["x", "y", "z"] and "mixed" in said(found)


def test_decimal_commas_in_a_semicolon_file(tmp_path: Path) -> None:
    found = read(tmp_path, "price;weight;label\n1,5;1.234,5;x\n2,25;12,0;y\n-0,75;7;x\n")
    assert found.table["price"].tolist() == [1.5, 2.25, -0.75]
    assert found.table["weight"].tolist() == [1234.5, 12.0, 7.0]
    assert "decimal comma" in said(found)


def test_thousands_in_a_comma_file_and_percent(tmp_path: Path) -> None:
    found = read(tmp_path, 'price,share\n"1,234",5%\n"12,345,678",7.5%\n5,1 %\n')
    assert found.table["price"].tolist() == [1234.0, 12345678.0, 5.0]
    assert found.table["share"].tolist() == [5.0, 7.5, 1.0]


@pytest.mark.parametrize(
    ("cells", "values", "how"),
    [
        (["1 234,5", "999", "12\u00a0345\u202f678", "-5,25"], [1234.5, 999, 12_345_678, -5.25], "blanks part"),
        (["1'234.50", "999", "12\u2019345"], [1234.5, 999, 12_345], "blanks part"),
        (["$1,234.50", "$9", "-$1200"], [1234.5, 9, -1200], "amounts in $"),
        (["1.234,50 €", "9 €", "1 200\u00a0€"], [1234.5, 9, 1200], "amounts in €"),
        (["12,5 %", "7\u00a0%", "0.5%"], [12.5, 7, 0.5], "per cent"),
    ],
)
def test_amounts_as_spreadsheets_show_them(tmp_path: Path, cells: list[str], values: list[float], how: str) -> None:
    found = read(tmp_path, "price;label\n" + "".join(f"{cell};{'ab'[k % 2]}\n" for k, cell in enumerate(cells)))
    assert found.table["price"].tolist() == values and how in said(found)


def test_two_currencies_in_a_column_are_no_amounts(tmp_path: Path) -> None:
    found = read(tmp_path, "price,label\n$5,a\n£7,b\n$9,a\n")
    assert found.table["price"].tolist() == ["$5", "£7", "$9"]


def test_what_is_infinite_is_missing(tmp_path: Path) -> None:
    found = read(tmp_path, "n,label\n1.5,a\ninf,b\n-Infinity,a\n2,b\n")
    assert found.table["n"].fillna(0).tolist() == [1.5, 0, 0, 2]


def test_hours_of_parquet_are_kept(tmp_path: Path) -> None:
    when = pd.to_datetime(["2024-01-02 10:30", "2024-01-03 00:00"])
    pd.DataFrame({"when": when, "label": ["a", "b"]}).to_parquet(tmp_path / "t.parquet")
    found = tables.read(tmp_path / "t.parquet", tmp_path / "scratch").table
    assert found["when"].tolist() == ["2024-01-02 10:30:00", "2024-01-03 00:00:00"]


def test_missing_marks(tmp_path: Path) -> None:
    found = read(tmp_path, "n,word\n1,?\nNA,fine\n3,\n-,None\nnan,null\n6,N/A\n")
    assert found.table["n"].isna().tolist() == [False, True, False, True, True, False]
    assert found.table["word"].isna().tolist() == [True, False, True, False, True, True]  # "None" may be a name


def test_blanks_in_header_and_cells_are_trimmed(tmp_path: Path) -> None:
    found = read(tmp_path, "age, workclass, income\n39, State-gov, <=50K\n50, ?, >50K\n")
    assert list(found.table.columns[:3]) == ["age", "workclass", "income"]
    assert found.table["income"].tolist() == ["<=50K", ">50K"] and found.table["workclass"].isna()[1]


def test_quoted_newlines_keep_line_numbers_right(tmp_path: Path) -> None:
    found = read(tmp_path, 'text,label\n"one\ntwo, three\n""four""",a\nfive,b\n')
    assert found.table["text"].tolist() == ['one\ntwo, three\n"four"', "five"]
    assert found.table["_where"].tolist() == ["data.csv, line 2", "data.csv, line 5"]


def test_backslash_escapes(tmp_path: Path) -> None:
    rows = "".join(f'"she said \\"no, {i}\\" twice",{i}\n' for i in range(5))
    found = read(tmp_path, "text,n\n" + rows)
    assert found.table["text"][3] == 'she said "no, 3" twice'


def test_stray_quotes_in_a_tab_file_are_plain_signs(tmp_path: Path) -> None:
    found = read(tmp_path, 'text\tlabel\nfine\ta\n"Hello, she said\tb\nbye\ta\n', name="data.tsv")
    assert found.table["text"].tolist() == ["fine", '"Hello, she said', "bye"]
    assert "line 3" in said(found)


def test_without_header_columns_are_numbered(tmp_path: Path) -> None:
    found = read(tmp_path, "A11 6 A34 1169\nA12 48 A32 5951\nA14 12 A34 2096\nA11 7 A31 12\n", name="german.data")
    assert list(found.table.columns[:4]) == ["column_1", "column_2", "column_3", "column_4"]
    assert len(found.table) == 4 and found.table["column_2"].tolist() == [6, 48, 12, 7]


def test_a_label_that_comes_again_shows_that_there_is_no_header(tmp_path: Path) -> None:
    found = read(tmp_path, "good film,pos\nbad film,neg\nfine film,pos\nno film,neg\n")
    assert len(found.table) == 4


@pytest.mark.parametrize("header", ["0,1,2,label", "country,1990,1991,1992", "1,2,3,4"])
def test_header_of_numbers(tmp_path: Path, header: str) -> None:
    found = read(tmp_path, header + "\n" + "".join(f"{i / 7:.3f},{i + 0.5},{i * 3.25},{i % 2}\n" for i in range(9)))
    assert list(found.table.columns[:4]) == header.split(",")


def test_double_and_blank_headers_are_renamed_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "a,,a,_where\n1,x,3,u\n2,y,4,v\n")
    assert list(found.table.columns) == ["a", "column_2", "a_2", "where", "_where", "_part"]
    assert "a -> a_2" in said(found) and "column_2" in said(found)


def test_row_names_without_a_header_field(tmp_path: Path) -> None:
    found = read(tmp_path, "mpg,cyl\nMazda,21,6\nDatsun,22.8,4\n")
    assert list(found.table.columns[:3]) == ["row_name", "mpg", "cyl"]


def test_trailing_delimiters_are_no_column(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b,\n1,x,\n2,y,\n")
    assert list(found.table.columns[:2]) == ["a", "b"] and len(found.table.columns) == 4


def test_an_empty_last_column_stays(tmp_path: Path) -> None:
    found = read(tmp_path, "a,label\n1,\n2,\n")
    assert found.table["label"].isna().all()


def test_ragged_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    rows = [f"{i},x" for i in range(20)]
    rows[4], rows[9] = "4", "9,x,extra"
    found = read(tmp_path, "a,b\n" + "\n".join(rows) + "\n")
    assert len(found.table) == 18
    assert [one.where for one in found.skipped] == ["data.csv, line 6", "data.csv, line 11"]
    assert "3 fields where 2" in found.skipped[1].reason and "2 row(s)" in said(found)


def test_a_repeated_header_is_no_row(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b\n1,x\na,b\n2,y\n")
    assert found.table["a"].tolist() == [1, 2] and "comes again" in said(found)


def test_excel_says_the_delimiter(tmp_path: Path) -> None:
    found = read(tmp_path, "sep=;\na;b\n1;x\n2;y\n")
    assert found.table["a"].tolist() == [1, 2] and found.table["_where"][0] == "data.csv, line 3"


def test_text_in_a_number_column_is_named(tmp_path: Path) -> None:
    rows = [str(i * 1.5) for i in range(120)]
    rows[70] = "abc"
    found = read(tmp_path, "age,label\n" + "".join(f"{row},x\n" for row in rows))
    assert found.table["age"].isna().sum() == 1
    assert '"abc"' in said(found) and "line 72" in said(found) and "age" in said(found)


def test_a_number_beyond_all_others_is_missing_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "age,label\n1.5,x\n-1e400,x\n,y\n1.8e308,y\n2.5,x\n")
    assert found.table["age"].fillna(0).tolist() == [1.5, 0, 0, 0, 2.5]
    assert 'line 3: "age" holds numbers, but 2 of its cells are beyond 1e+150, the first "-1e400"' in said(found)


def test_codes_with_leading_zeros_stay_codes(tmp_path: Path) -> None:
    found = read(tmp_path, "zip,n\n00123,1\n04567,2\n12345,3\n")
    assert found.table["zip"].tolist() == ["00123", "04567", "12345"]


def test_formula_cells_stay_text(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b\n=1+1,x\n@SUM(A1),y\n")
    assert found.table["a"].tolist() == ["=1+1", "@SUM(A1)"]


def test_one_column_of_sentences(tmp_path: Path) -> None:
    found = read(tmp_path, "A film, and a good one.\nNothing to see here; move on.\nWhy, oh why, was it made?\n")
    assert len(found.table) == 3 and found.table["column_1"][0] == "A film, and a good one."


@pytest.mark.parametrize(("cell", "got"), [("unused", '"unused" is none'), ("", "an empty cell is none")])
def test_a_split_column_with_another_word_is_named(tmp_path: Path, cell: str, got: str) -> None:
    found = read(tmp_path, f"a,split,label\n1,Train,x\n2,TEST,y\n3,{cell},x\n4,train,y\n")
    (problem,) = found.problems
    assert problem.where == "data.csv, line 4" and got in problem.what and problem.severity == "warning"
    assert "split" in found.table and set(found.table["_part"]) == {""}


def test_a_split_column_is_kept_to(tmp_path: Path) -> None:
    found = read(tmp_path, "a,split,label\n1,train,x\n2,dev,y\n3,test,x\n")
    assert found.table["_part"].tolist() == ["train", "validation", "test"] and "split" not in found.table


def test_half_floats_of_parquet_are_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"n": np.array([1.5, np.inf, 3], np.float16), "w": [*"abc"]}).to_parquet(tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet", tmp_path / "scratch").table["n"].fillna(0).tolist() == [1.5, 0, 3]


def test_parquet_excel_json_and_zip_say_the_same(tmp_path: Path) -> None:
    table = pd.DataFrame({"n": [1.5, None, 3.0], "when": pd.to_datetime(["2024-01-02"] * 3), "word": ["a", None, "c"]})
    table["flag"] = [True, False, True]
    table.to_parquet(tmp_path / "t.parquet")
    table.to_excel(tmp_path / "t.xlsx", index=False)
    lines = [{"n": 1.5, "when": "2024-01-02", "word": "a", "flag": True}, {"n": None, "word": None}, {"n": 3}]
    lines[1] |= {"when": "2024-01-02", "flag": False}
    lines[2] |= {"when": "2024-01-02", "word": "c", "flag": True}
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    table.to_csv(tmp_path / "t.csv", index=False)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as out:
        out.write(tmp_path / "t.csv", "inner/t.csv")
        out.writestr("README.txt", "about")
    for name in ("t.parquet", "t.xlsx", "t.jsonl", "t.zip"):
        found = tables.read(tmp_path / name, tmp_path / "scratch").table
        assert found["n"].tolist()[::2] == [1.5, 3.0] and np.isnan(found["n"][1]), name
        assert found["word"].tolist()[::2] == ["a", "c"] and pd.isna(found["word"][1]), name
        assert found["when"].tolist() == ["2024-01-02"] * 3, name
        assert found["flag"].tolist() == ["True", "False", "True"], name


def test_nested_and_broken_json_lines_are_named(tmp_path: Path) -> None:
    content = '{"a": 1, "b": {"c": 2, "d": [1]}}\nnonsense\n{"a": 2, "a": 3}\n{"a": 5, "b": {"c": 6}}\n'
    found = read(tmp_path, content, name="t.jsonl")
    assert found.table["a"].tolist() == [1, 5] and found.table["b.c"].tolist() == [2, 6]
    assert [one.where for one in found.skipped] == ["t.jsonl, line 2", "t.jsonl, line 3"]
    assert "b.d" in said(found)


def test_limits_of_uploads_are_lower_than_those_of_paths(tmp_path: Path) -> None:
    content = "a\n" + "1\n2\n" * 600_000
    with pytest.raises(Refusal, match="1,000,000 rows"):
        read(tmp_path, content)
    token = asking.set(Asking(BY_PATH))
    try:
        assert len(read(tmp_path, content).table) == 1_200_000
    finally:
        asking.reset(token)


CELL = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
NAME = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=3, max_size=8)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), delimiter=st.sampled_from([",", ";", "\t", "|"]), ending=st.sampled_from(["\n", "\r\n"]))
def test_what_the_csv_writer_writes_is_read_back(
    tmp_path: Path, data: st.DataObject, delimiter: str, ending: str
) -> None:
    names = data.draw(st.lists(NAME, min_size=2, max_size=4, unique=True))
    # "q" before each cell: no cell is a number, a missing mark, or a header that comes again
    rows = data.draw(
        st.lists(
            st.lists(CELL.map(lambda c: "Q " + c), min_size=len(names), max_size=len(names)), min_size=3, max_size=12
        )
    )
    stored = io.StringIO(newline="")
    writer = csv.writer(stored, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    found = read(tmp_path, stored.getvalue())
    assert list(found.table.columns[: len(names)]) == names
    assert [list(row) for row in found.table[names].itertuples(index=False)] == [
        [c.strip() for c in row] for row in rows
    ]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=20))
def test_numbers_survive_the_way_through_a_file(tmp_path: Path, values: list[float]) -> None:
    content = "left,right\n" + "".join(f"{value!r},x\n" for value in values)
    assert read(tmp_path, content).table["left"].tolist() == [float(repr(value)) for value in values]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=0, max_size=400))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        found = read(tmp_path, content)
    except Refusal as refusal:
        assert all(problem.where and problem.what and problem.remedy for problem in refusal.problems)
    else:
        assert len(found.table) and found.table["_where"].str.startswith("data.csv, ").all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.sampled_from('ab1,;\t"\n\r .?'), max_size=120))
def test_any_text_is_read_or_refused_and_no_line_is_counted_twice(tmp_path: Path, content: str) -> None:
    try:
        found = read(tmp_path, content)
    except Refusal:
        return
    lines = [int(where.rsplit(" ", 1)[1]) for where in found.table["_where"]]
    assert lines == sorted(set(lines))
    assert lines[-1] <= len(list(io.StringIO(content, newline="")))
