"""Tables with a tagged word a row: the forms in which they come are read to the same sentences, broken ones refused."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_annotation_files import best, told
from tltools.formats import Asking, Limits, Read, asking, token_rows
from tltools.records import Refusal

FIRST = """Sentence #,Word,POS,Tag
Sentence: 1,Ann,NNP,B-per
,lives,VBZ,O
,in,IN,O
,"New",NNP,B-geo
,York,NNP,I-geo
,".",.,O
Sentence: 2,",",",",O
,Bob,NNP,I-per
"""
ROWS = [
    ("Ann lives in New York .", "B-per O O B-geo I-geo O"),
    (", Bob", "O B-per"),
]
EVERY = "sentence_id\ttoken\tner_tags\n" + "".join(
    f"{number}\t{word}\t{tag}\n"
    for number, (words, tags) in enumerate(ROWS)
    for word, tag in zip(words.split(), tags.split(), strict=True)
)


def reading(path: Path, content: str | bytes) -> Read:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    form = best(path)
    assert form.key == "token_rows"
    return form.read(path, path.parent / "media")


def cells(found: Read) -> list[tuple[str, str]]:
    return [(row["words"], json.loads(row["tags"])["tags"]) for row in found.table.to_dict("records")]


GOOD = {
    "Kaggle's": FIRST,
    "a row number": "\n".join(f"{k if k else ''},{line}" for k, line in enumerate(FIRST.splitlines())),
    "blank rows": FIRST.replace("Sentence: 2", ",,,\nSentence: 2"),
    "its end on Windows": FIRST.replace("\n", "\r\n"),
    "a mark": "\ufeff" + FIRST,
    "semicolons": FIRST.replace('","', "COMMA").replace(",", ";").replace("COMMA", ","),
    "an id in each row": EVERY,
    "commas": EVERY.replace(",", '","').replace("\t", ","),
    "a part of speech that is called tag": EVERY.replace("ner_tags", "ner\ttag").replace("\n", "\tNN\n").replace(
        "ner\ttag\tNN", "ner\ttag"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_tables(name: str, tmp_path: Path) -> None:
    found = reading(tmp_path / "ner.csv", GOOD[name])
    assert cells(found) == ROWS
    assert found.target == "tags" and not found.skipped
    assert all(one.severity == "note" for one in found.problems)  # of columns without a name


def test_a_sentence_is_where_its_first_word_is(tmp_path: Path) -> None:
    assert list(reading(tmp_path / "ner.csv", FIRST).table["_where"]) == ["ner.csv, line 2", "ner.csv, line 8"]


def test_words_that_other_tables_read_as_missing_or_as_numbers_stay_words(tmp_path: Path) -> None:
    found = reading(tmp_path / "ner.csv", FIRST.replace("lives", "NA").replace("in,IN", '"1,000",IN'))
    assert cells(found)[0] == ("Ann NA 1,000 New York .", ROWS[0][1])


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    found = reading(tmp_path / "ner.csv", FIRST.replace("Ann", "Zoé").encode("latin-1"))
    assert cells(found)[0][0] == "Zoé lives in New York ."
    assert "ner.csv is not UTF-8 (line 2 holds the byte 0xe9); it was read as cp125" in told(found)


def test_parts_are_kept_to(tmp_path: Path) -> None:
    lines = [
        f"{line}\t{'split' if k == 0 else 'dev' if k < 7 else 'test'}" for k, line in enumerate(EVERY.splitlines())
    ]
    assert list(reading(tmp_path / "ner.tsv", "\n".join(lines)).table["_part"]) == ["validation", "test"]


def test_sentences_that_come_again_are_named(tmp_path: Path) -> None:
    found = reading(tmp_path / "ner.tsv", EVERY + "0\tEve\tO\n")
    assert cells(found) == [*ROWS, ("Eve", "O")]
    assert "ner.tsv, line 10 1 sentence(s) are named as an earlier one" in told(found)


BROKEN = {
    "no prefix": (FIRST.replace("B-geo", "geo"), "ner.csv, line 5", "this is 'geo'", "BIO"),
    "a small letter": (FIRST.replace("B-geo", "b-geo"), "ner.csv, line 5", "this is 'b-geo'"),
    "no tag": (FIRST.replace("IN,O", "IN,"), "ner.csv, line 4", "this is ''"),
    "no word": (FIRST.replace("in,IN", ",IN"), "ner.csv, line 4", 'the column "Word" must hold a word', "Write it"),
    "no first sentence": (FIRST.replace("Sentence: 1", ""), "ner.csv, line 2", "the first row of a sentence names it"),
    "a gap in the sentences": (EVERY.replace("0\tin", "\tin"), "ner.csv, line 4", "every row names its sentence"),
    "a field too few": (FIRST.replace("in,IN,O", "in,O"), "ner.csv, line 4", "has 3 fields where 4 are expected"),
    "no entity": (FIRST.replace("B-", "I-").replace("I-geo", "O").replace("I-per", "O"), "ner.csv", "other than O"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused_with_their_place(name: str, tmp_path: Path) -> None:
    content, where, *said = BROKEN[name]
    with pytest.raises(Refusal) as caught:
        reading(tmp_path / "ner.csv", content)
    assert caught.value.problems[0].where == where and caught.value.problems[0].remedy
    assert all(word in str(caught.value) for word in said)


@pytest.mark.parametrize(
    "content",
    [
        "sentence,word,label\nIt is cold.,cold,1\nIt is cold.,is,0\n",
        "sentence_id,word,tag\n1,Ann,NNP\n1,sings,VBZ\n",
        "sentence_id,text,tag\n1,Ann,B-PER\n1,sings,O\n",
        "sentence_id,word,tag\n",
        "word,tag\nAnn,B-PER\nsings,O\n",
        'sentence,word,tag\n"1,Ann',
    ],
)
def test_other_tables_stay_tables(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert best(path).key == "tables"


def test_rows_to_predict_need_no_tags(tmp_path: Path) -> None:
    bare = "".join(line.rpartition("\t")[0] + "\n" for line in EVERY.splitlines())
    with pytest.raises(Refusal, match="one for its tag"):
        reading(tmp_path / "ner.tsv", bare)
    token = asking.set(Asking(numbers=frozenset()))
    try:
        found = reading(tmp_path / "ner.tsv", bare)
        all_o = reading(tmp_path / "o.tsv", EVERY.replace("I-geo", "O").replace("B-geo", "O").replace("B-per", "O"))
    finally:
        asking.reset(token)
    assert list(found.table["words"]) == list(all_o.table["words"]) == [words for words, _ in ROWS]
    assert found.target is None and "tags" not in found.table and "tags" not in all_o.table


def test_words_may_be_more_than_rows_but_sentences_may_not(tmp_path: Path) -> None:
    token = asking.set(Asking(Limits(rows=2)))
    try:
        assert len(reading(tmp_path / "ner.csv", FIRST).table) == 2
        with pytest.raises(Refusal, match="at most 2 sentences"):
            reading(tmp_path / "more.csv", FIRST + "Sentence: 3,Eve,NNP,B-per\n")
    finally:
        asking.reset(token)


word = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
sentence = st.lists(st.tuples(word, st.sampled_from(["O", "B-x", "B-y"])), min_size=2, max_size=5)


@given(st.lists(sentence, min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, held: list[list[tuple[str, str]]], everywhere: bool
) -> None:
    held = [[("Ann", "B-x"), ("sings", "O")], *held]
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow(["Sentence #", "Word", "Tag"])
    for number, words in enumerate(held, start=1):
        lines.writerows((f"S {number}" if everywhere or not k else "", *one) for k, one in enumerate(words))
    path = tmp_path_factory.mktemp("rows") / "ner.csv"
    path.write_text(written.getvalue(), newline="", encoding="utf-8")
    assert token_rows.recognise(path) > 0.95
    found = token_rows.read(path, path.parent)
    assert cells(found) == [tuple(" ".join(one) for one in zip(*words, strict=True)) for words in held]


def test_a_zip_with_such_a_table_is_read_as_the_table(tmp_path: Path) -> None:
    alone = reading(tmp_path / "a.csv", FIRST)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.csv", "ner/a.csv")
        archive.writestr("ner/README.md", "Words and tags.")
    zipped = best(tmp_path / "a.zip").read(tmp_path / "a.zip", tmp_path / "media")
    assert cells(zipped) == cells(alone) and zipped.target == alone.target == "tags"
    assert list(zipped.table["_where"]) == list(alone.table["_where"]) and "README.md" in zipped.problems[-1].what
    assert not (tmp_path / "media").exists()
