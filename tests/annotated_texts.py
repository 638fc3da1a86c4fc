"""Files as annotation tools write them for texts, whole and broken, and what they must come to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

TEXT = "Ann lives in New York."
WORDS = "Ann lives in New York ."
TAGS = "B-PER O O B-LOC I-LOC O"
BOTH = [[0, 3, "PER"], [13, 21, "LOC"]]


@dataclass(frozen=True)
class Written:
    """A file, the reader that must take it, and its rows (words and tags, or named cells); None where it is refused."""

    name: str
    content: bytes
    reader: str
    rows: list[Any] | None
    said: tuple[str, ...] = ()


def lines(*records: Any) -> bytes:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records).encode()


def spans(content: bytes, rows: list[Any] | None, *said: str, name: str = "given.jsonl") -> Written:
    return Written(name, content, "spans", rows, said)


def record(*given: Any, text: str = TEXT, key: str = "label", **other: Any) -> dict[str, Any]:
    return {"text": text, key: list(given), **other}


def named(first: int, end: int, label: str, **other: Any) -> dict[str, Any]:
    return {"start": first, "end": end, "label": label, **other}


GOOD = record(*BOTH)
ROW = (WORDS, TAGS)
PRODIGY = record(named(0, 3, "PER", token_start=0, token_end=0), named(13, 21, "LOC"), key="spans")
RECORDS = {
    "doccano": spans(lines(GOOD), [ROW]),
    "doccano, labels": spans(lines(record(*BOTH, key="labels", id=1)), [ROW]),
    "doccano, relations": spans(
        lines(
            record(
                {"id": 1, "start_offset": 0, "end_offset": 3, "label": "PER"},
                {"id": 2, "start_offset": 13, "end_offset": 21, "label": "LOC"},
                key="entities",
                relations=[],
            )
        ),
        [ROW],
    ),
    "spaCy": spans(lines(record(*BOTH, key="entities")), [ROW]),
    "Prodigy": spans(lines(PRODIGY | {"answer": "accept"}), [ROW]),
    "a list": spans(json.dumps([GOOD]).encode(), [ROW], name="given.json"),
    "a byte-order mark": spans(b"\xef\xbb\xbf" + lines(GOOD), [ROW]),
    "no order": spans(lines(record(*BOTH[::-1])), [ROW]),
    "a span twice": spans(lines(record(*BOTH, BOTH[0])), [ROW]),
    "blanks in a type": spans(lines(record([0, 3, "a person"])), [(WORDS, "B-a_person O O O O O")]),
    "no span": spans(lines(GOOD, record()), [ROW, (WORDS, "O O O O O O")]),
    "within a word": spans(lines(record([1, 3, "PER"])), [(WORDS, "B-PER O O O O O")]),
    "other letters": spans(
        lines(record([0, 4, "PER"], text="Jörg aß \U0001f600 Käse.")), [("Jörg aß \U0001f600 Käse .", "B-PER O O O O")]
    ),
    "rejected": spans(lines(PRODIGY, PRODIGY | {"answer": "reject"}), [ROW], "line 2: its annotator said reject"),
    "beyond the text": spans(
        lines(GOOD, record([13, 99, "LOC"])), [ROW], "line 2: its span 13 to 99 (LOC) must lie within its 22 characters"
    ),
    "below the text": spans(lines(GOOD, record([-1, 3, "PER"])), [ROW], "its span -1 to 3 (PER) must lie within"),
    "an empty span": spans(lines(GOOD, record([3, 3, "PER"])), [ROW], "its span 3 to 3 (PER) must lie within"),
    "a span turned round": spans(lines(GOOD, record([3, 0, "PER"])), [ROW], "its span 3 to 0 (PER) must lie within"),
    "a blank span": spans(lines(GOOD, record([3, 4, "PER"])), [ROW], "must hold a word; it holds none"),
    "overlapping": spans(
        lines(GOOD, record([0, 9, "PER"], [4, 12, "ACT"])),
        [ROW],
        "its span 4 to 12 (ACT) overlaps the one before (PER)",
    ),
    "two types": spans(lines(GOOD, record([0, 3, "PER"], [0, 3, "DOG"])), [ROW], "overlaps the one before"),
    "two in a word": spans(lines(GOOD, record([4, 6, "A"], [6, 9, "B"])), [ROW], "overlaps the one before"),
    "no type": spans(lines(GOOD, record([0, 3, " "])), [ROW], "line 2: its span 0 to 3 has no label; give it one"),
    "places as words": spans(lines(GOOD, GOOD, record(["0", "3", "PER"])), [ROW, ROW], "a span must have start, end"),
    "a huge place": spans(lines(GOOD, record([0, 10**30, "PER"])), [ROW], "must lie within its 22 characters"),
    "no text": spans(lines(GOOD, {"label": BOTH}), [ROW], 'line 2: it must have a "text"'),
    "an empty text": spans(lines(GOOD, record(text="  ")), [ROW], "line 2: its text is empty"),
    "no spans": spans(lines(GOOD, {"text": TEXT}), [ROW], "line 2: it must have a list of spans"),
    "a number": spans(lines(GOOD, "7"), [ROW], 'line 2: it must have a "text"'),
    "half a line": spans(lines(GOOD, '{"text": "An'), [ROW], "line 2: it is not valid JSON"),
    "half a list": spans(json.dumps([GOOD, GOOD]).encode()[:-5], None, "must be JSON", name="given.json"),
    "another encoding": spans(
        json.dumps(record([0, 4, "PER"], text="Jörg"), ensure_ascii=False).encode("latin-1"), None, "must be UTF-8"
    ),
    "none that can be used": spans(
        lines(record([13, 99, "LOC"])), None, "no text has a span that can be used", "line 1: its span 13 to 99"
    ),
}


def marked(first: int, end: int, label: str, text: str) -> dict[str, Any]:
    value = {"start": first, "end": end, "text": text, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def task(*results: Any, **data: Any) -> dict[str, Any]:
    return {"id": 1, "data": data or {"text": TEXT}, "annotations": [{"id": 2, "result": list(results)}]}


def chosen(*labels: str, name: str = "tone") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def studio(*tasks: Any, reader: str = "spans", rows: list[Any] | None, said: tuple[str, ...] = ()) -> Written:
    return Written("export.json", json.dumps(tasks).encode(), reader, rows, said)


ANN, YORK = marked(0, 3, "PER", "Ann"), marked(13, 21, "LOC", "New York")
SHORT = {"id": 1, "annotator": 1, "annotation_id": 2, "lead_time": 3.5}
STUDIO = {
    "spans": studio(task(ANN, YORK), rows=[ROW]),
    "spans, short": studio(SHORT | {"text": TEXT, "label": [ANN["value"], YORK["value"]]}, rows=[ROW]),
    "spans, another name": studio(task(ANN, YORK, body=TEXT, id="7"), rows=[ROW]),
    "spans, nobody": studio(
        task(ANN, YORK), {"data": {"text": TEXT}, "annotations": []}, rows=[ROW], said=("task 2: nobody annotated it",)
    ),
    "spans, shifted": studio(
        task(ANN, YORK), task(marked(1, 4, "PER", "Ann")), rows=[ROW], said=("task 2: its span 1 to 4 must read 'Ann'",)
    ),
    "spans, overlapping": studio(
        task(ANN, YORK), task(ANN, marked(0, 9, "X", "Ann lives")), rows=[ROW], said=("overlaps the one before",)
    ),
    "spans, no label": studio(
        task(ANN, YORK), task(marked(0, 3, "", "Ann")), rows=[ROW], said=("its span 0 to 3 has no label",)
    ),
    **{
        f"spans, labels are {one}": studio(
            task(ANN, YORK),
            task(ANN | {"value": ANN["value"] | {"labels": one}}),
            rows=[ROW],
            said=(f'task 2: a span must have a list under "labels"; this has {one}, export it again',),
        )
        for one in ({"PER": 1}, 5)
    },
    "choices": studio(
        task(chosen("good"), text="one"),
        task(chosen("bad"), text="two"),
        reader="choices",
        rows=[{"text": "one", "tone": "good"}, {"text": "two", "tone": "bad"}],
    ),
    "several choices": studio(
        task(chosen("good", "calm"), text="one"), reader="choices", rows=[{"text": "one", "tone": "calm|good"}]
    ),
    "choices, short": studio(
        SHORT | {"text": "one", "tone": "good"},
        SHORT | {"text": "two", "tone": {"choices": ["bad", "calm"]}},
        reader="choices",
        rows=[{"text": "one"}, {"text": "two"}],
    ),
    "choices, cancelled": studio(
        task(chosen("good"), text="one"),
        {"data": {"text": "two"}, "annotations": [{"was_cancelled": True, "result": []}]},
        reader="choices",
        rows=[{"text": "one", "tone": "good"}],
        said=("export.json, task 2", "nobody annotated it"),
    ),
    "choices of pictures": studio(
        task(chosen("cat"), image="/data/upload/1.png"),
        reader="choices",
        rows=None,
        said=("its tasks show files", "into one folder or zip"),
    ),
    "choices, none": studio(
        {"data": {"text": "two"}, "annotations": []}, reader="choices", rows=None, said=("no task is annotated",)
    ),
    "choices, half written": Written(
        "export.json", json.dumps([task(chosen("good"))]).encode()[:-4], "choices", None, ("must be JSON",)
    ),
}
TEXTS = {f"records: {name}": one for name, one in RECORDS.items()}
TEXTS |= {f"Label Studio: {name}": one for name, one in STUDIO.items()}
