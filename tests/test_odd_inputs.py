"""What people bring now and then: read with a word about it, or refused in a sentence, and never a traceback.

Run alone: python -m pytest tests/test_odd_inputs.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.annotated_texts import chosen, marked, task
from tests.bad_files import archive, file
from tests.questions import squad
from tests.test_formats_places import boxed, coco
from tltools import readings
from tltools.home import Home


def halved(value: Any) -> str:
    """A document as JSON; where it says HALF, an emoji was cut in two, and half a pair of surrogates is left of it."""
    return json.dumps(value).replace("HALF", "\\ud83d")


CUT: dict[str, Callable[[Path], Path]] = {
    "lines": file("a.jsonl", "\n".join(halved({"text": f"bad HALF {k}", "label HALF": "a"}) for k in range(12))),
    "a list": file("a.json", halved([{"text": f"bad {k}", "label": "big HALF"} for k in range(12)])),
    "spans": file("a.jsonl", halved({"text": "Bad HALF", "label": [[0, 3, "HALF"]]})),
    "spans in a list": file("a.json", halved([{"text": "Bad HALF", "label": [[0, 3, "b"]]}])),
    "Label Studio's spans": file("a.json", halved([task(marked(0, 3, "HALF x", "Bad"), text="Bad HALF day")])),
    "Label Studio's choices": file("a.json", halved([task(chosen("HALF"), text="Bad HALF")])),
    "questions": file("a.json", json.dumps(squad(3, 0)).replace('"title": "', '"title": "\\ud83d')),
    "boxes": archive("a.zip", boxed("a.json", coco(categories=[{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}])
                                    .replace('"cat"', '"\\uD83D"').replace('"dog"', '"\\uD83Ddog"'))),
    "boxes with a YAML": archive("a.zip", boxed("1.txt", "1 .5 .5 .5 .5", data__yaml=b'names: [cat, "\\uD83Ddog"]')),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_half_of_a_sign_is_a_question_mark(name: str, home: Home, tmp_path: Path) -> None:
    assert "?" in readings.take(home, CUT[name](tmp_path)).read.table.to_json()
