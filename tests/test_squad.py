"""Files of questions: what is read of good ones, what is mended and said, and where broken ones are refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tltools import answers
from tltools.formats import Asking, Read, asking, formats
from tltools.formats.squad import SQUAD
from tltools.readings import _format_of
from tltools.records import Refusal

CONTEXT = "Oslo lies in Norway. It was founded in 1048, as some say, and Oslo grew."


def document(*questions: dict[str, Any], context: Any = CONTEXT) -> str:
    return json.dumps({"version": "1.1", "data": [{"title": "Oslo", "paragraphs": [
        {"context": context, "qas": list(questions)}]}]})  # fmt: skip


def question(text: Any = "1048", start: Any = 39, id: str = "a", **more: Any) -> dict[str, Any]:
    found = {"text": text, "answer_start": start}
    return {"id": id, "question": "When was Oslo founded?", "answers": [found], **more}


def read(folder: Path, content: str | bytes, name: str = "a.json", labelled: bool = True) -> Read:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert _format_of(path) is SQUAD
    token = asking.set(Asking(numbers=None if labelled else frozenset()))
    try:
        return SQUAD.read(path, folder)
    finally:
        asking.reset(token)


def truths(found: Read) -> list[tuple[list[str], tuple[str, ...]]]:
    """(the words that the spans of each row's truth hold, the accepted texts)."""
    held = [answers.truth_of(cell) for cell in found.table["answers"]]
    assert [" ".join(one.words) for one in held] == list(found.table[answers.COLUMN])
    return [([" ".join(one.words[slice(*span)]) for span in one.spans], one.texts) for one in held]


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


ROW = {"context": CONTEXT, "question": "When was Oslo founded?"}
GOOD: dict[str, tuple[str, str | bytes]] = {
    "version 1": ("a.json", document(question())),
    "version 2": ("a.json", document(question(is_impossible=False))),
    "with a mark": ("a.json", b"\xef\xbb\xbf" + document(question()).encode()),
    "start as text": ("a.json", document(question(start="39"))),
    "blanks around": ("a.json", document(question(text=" 1048", start=38))),
    "lines": ("a.jsonl", lines({**ROW, "answer": "1048"})),
    "a list": ("a.json", json.dumps([{**ROW, "answer": "1048"}])),
    "Hugging Face": ("a.jsonl", lines({**ROW, "id": "x", "answers": {"text": ["1048"], "answer_start": [39]}})),
    "Hugging Face, single": ("a.jsonl", lines({**ROW, "answers": {"text": "1048", "answer_start": 39}})),
    "a list of answers": ("a.jsonl", lines({**ROW, "answers": ["1048"]})),
    "CSV": ("a.csv", f'question,context,answer\nWhen was Oslo founded?,"{CONTEXT}",1048\n'),
    "CSV with starts": ("a.csv", f'id;Context;Question;answer_start;answer\n1;"{CONTEXT}";Why?;39;1048\n'),
    "CSV with a point": ("a.csv", f'id,context,question,answer,answer_start\n1,"{CONTEXT}",Why?,1048,39.0\n'),
    "lines with a point": ("a.jsonl", lines({**ROW, "answer": "1048", "answer_start": 39.0})),
    "TSV": ("a.tsv", f"context\tquestion\tanswer\n{CONTEXT}\tWhen was Oslo founded?\t1048\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_become_rows_with_the_words_that_answer(tmp_path: Path, name: str) -> None:
    file, content = GOOD[name]
    found = read(tmp_path, content, file)
    assert truths(found) == [(["1048,"], ("1048",))] and not found.problems
    assert found.table[answers.COLUMN][0].endswith(f"? | {CONTEXT}") and found.target == "answers"


def test_all_accepted_answers_and_questions_without_one_are_kept(tmp_path: Path) -> None:
    several = question()
    several["answers"] += [{"text": "in 1048", "answer_start": 36}]
    none = {"id": "b", "question": "Who?  |  Why?", "answers": [], "is_impossible": True}
    found = read(tmp_path, document(several, none))
    assert truths(found) == [(["1048,", "in 1048,"], ("1048", "in 1048")), ([], ())]
    assert found.table[answers.COLUMN][1] == f"Who? ¦ Why? | {CONTEXT}"
    assert found.table["_where"][1] == "a.json, article 1, paragraph 1, question 2"
    assert "1 of them without an answer" in found.inference[0]


def test_a_wrong_start_is_mended_to_the_nearest_place_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, document(question("Oslo", 50)))
    truth = answers.truth_of(found.table["answers"][0])
    assert truth.spans == ((18, 19),)  # the second Oslo, not the first
    assert [one.severity for one in found.problems] == ["warning"] and "nearest" in found.problems[0].what


def test_an_answer_within_a_word_is_said(tmp_path: Path) -> None:
    part, whole = question("found", 28), question("Oslo", 0, "b")
    either = question("found", 28, "c") | {"answers": [{"text": "found", "answer_start": 28}, whole["answers"][0]]}
    some = question("was found", 24, "d")
    found = read(tmp_path, document(part, whole, either, some))
    assert truths(found)[0] == (["founded"], ("found",))
    (told,) = found.problems
    assert told.severity == "warning" and told.where == "a.json, article 1, paragraph 1, question 1"
    assert told.what == (
        "2 question(s) have no answer of whole words, the first 'found' in 'founded'; whole words are said, so none of "
        "them can match exactly, and 1 cannot score above 0."
    )


def test_questions_in_a_zip_are_read_as_their_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.json", document(question()))
    found = _format_of(tmp_path / "a.zip").read(tmp_path / "a.zip", tmp_path / "media")
    assert truths(found) == [(["1048,"], ("1048",))] and found.target == "answers"


def test_parts_and_titles_are_kept(tmp_path: Path) -> None:
    rows = [{**ROW, "answer": "1048", "split": split, "title": split} for split in ("train", "test")]
    table = read(tmp_path, lines(*rows), "a.jsonl").table
    assert list(table["_part"]) == ["train", "test"] and list(table["title"]) == ["train", "test"]


def test_questions_to_answer_need_no_answer(tmp_path: Path) -> None:
    asked = document({"id": "a", "question": "Why?"})
    table = read(tmp_path, asked, labelled=False).table
    assert table[answers.COLUMN][0] == f"Why? | {CONTEXT}" and table["answers"].isna().all()
    assert len(read(tmp_path, f'question,context\nWhy?,"{CONTEXT}"\n', "a.csv", labelled=False).table) == 1


BROKEN: dict[str, tuple[str, str | bytes, str]] = {
    "cut off": ("a.json", document(question())[:-3], "a.json: must be JSON"),
    "other encoding": ("a.json", document(question(), context="J\xf6rg").replace("\\u00f6", "\xf6").encode("latin-1"),
                       "UTF-8"),
    "no data": ("a.json", '{"paragraphs": []}', 'articles under "data"'),
    "no paragraphs": ("a.json", '{"data": [{"title": "qas"}], "qas": 1}', 'article 1: must have a list under "para'),
    "no questions": ("a.json", '{"data": [{"paragraphs": []}]}', "at least one question"),
    "empty context": ("a.json", document(question(), context=" "), "paragraph 1, question 1: the context must be"),
    "context is a number": ("a.json", document(question(), context=3), "the context must be a text.*got 3"),
    "empty question": ("a.json", document({**question(), "question": ""}), "the question must be a text"),
    "answer not there": ("a.json", document(question("1050")), "'1050' does not"),
    "empty answer": ("a.json", document(question("")), "the answer must be a text"),
    "start is no number": ("a.json", document(question(start="x")), "answer_start must be a whole number"),
    "half a start": ("a.json", document(question(start=38.5)), "answer_start must be a whole number.*got '38.5'"),
    "start without end": ("a.json", document(question(start="inf")), "answer_start must be a whole number"),
    "no answer": ("a.json", document({**question(), "answers": []}), "must have an answer, or"),
    "answer and none": ("a.json", document(question(is_impossible=True)), "not both"),
    "no answers at all": ("a.json", document({**question(), "answers": [], "is_impossible": True}), "none has"),
    "same id": ("a.json", document(question(), question()), "question 2: every id .* question 1 too"),
    "answers are no list": ("a.json", document({**question(), "answers": {"text": "1048"}}), 'under "answers"'),
    "question is no record": ("a.json", document("When?"), "must be a record"),  # type: ignore[arg-type]
    "line is no record": ("a.jsonl", lines({**ROW, "answer": "1048"}) + "\n3\n", "line 2: must be a record"),
    "broken line": ("a.jsonl", lines({**ROW, "answer": "1048"}) + '\n{"a": \n', "line 2: must be JSON"),
    "row without context": ("a.csv", f'question,context,answer\nWhy?,"{CONTEXT}",1048\nWhy?,,1\n',
                            "line 3: the context must"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_their_place(tmp_path: Path, name: str) -> None:
    file, content, told = BROKEN[name]
    with pytest.raises(Refusal, match=told):
        read(tmp_path, content, file)


def test_everything_is_told_at_once_up_to_a_number(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as told:
        read(tmp_path, document(*(question("1050", id=str(k)) for k in range(30))))
    assert len(told.value.problems) == 21 and "10 more" in told.value.problems[-1].what


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text(json.dumps({"text": "paragraphs", "label": 1})),
        lambda path: path.write_text(lines({**ROW, "answer": "yes"}, {**ROW, "answer": "no"})),
        lambda path: path.write_text(lines({**ROW, "label": "1"})),
    ],
)
def test_other_tables_stay_tables(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    write(tmp_path / "a.json")
    assert _format_of(tmp_path / "a.json") is formats()["tables"]


def test_a_table_of_questions_and_labels_stays_a_table(tmp_path: Path) -> None:
    pd.DataFrame([{**ROW, "label": "yes"}] * 3).to_csv(tmp_path / "a.csv", index=False)
    assert _format_of(tmp_path / "a.csv") is formats()["tables"]
