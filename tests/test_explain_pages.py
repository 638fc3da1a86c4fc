"""Why a row was judged so, on screen: the way is chosen, the sum can be checked, columns are credited row by row."""

from __future__ import annotations

import base64
import io
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.test_pages import answer, judged, notes, opened, press, server, sound, wine
from tltools.home import Home
from tltools.reports import views as tables
from tltools.store import open_store
from tltools.ui import explain_views

__all__ = ["judged", "notes", "server", "wine"]  # fixtures; every test here runs as in the web server

WORDS = {"truth": "positive", "prediction": "negative", "text": "no fun", "words": [["no", 0.4], ["fun", -0.1]],
         "words_left_out": 0}  # fmt: skip


def asked(home: Home) -> list[dict[str, Any]]:
    return [job.payload for job in open_store(home).jobs(kinds=("explain",))]


def test_where_nothing_is_wrong_the_rows_that_are_explained_are_no_mistakes(
    home: Home, judged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Rows are the worst mistakes above." in sound(opened("judge/explain.py", study=judged))
    monkeypatch.setattr(tables, "worst_mistakes", lambda *_: pd.DataFrame(columns=["row", "truth", "prediction"]))
    text = sound(opened("judge/explain.py", study=judged))
    assert "No mistakes" in text and "Rows are the first of the test rows, as none is wrong." in text


def test_words_are_covered_unless_gradients_are_chosen(home: Home, judged: str) -> None:
    app = opened("judge/explain.py", study=judged)
    assert "Leaves out one word at a time" in sound(app) and "It misleads where" in sound(app)
    press(app, "What it looked at")
    (payload,) = asked(home)
    assert payload["how"] == "occlusion" and payload["rows"]
    job = open_store(home).jobs(kinds=("explain",))[0]
    rows = [WORDS | {"row": payload["rows"][0]}]
    answer(open_store(home), job.id, {"what": "attribution", "kind": "words", "how": "occlusion", "rows": rows,
                                      "sanity": {"likeness": 0.1, "rows": 1}})  # fmt: skip
    app.run()
    assert "Each word was covered once." in sound(app) and "add up" not in sound(app)

    app.segmented_control(key="why_how").set_value("gradients").run()
    told = sound(app)
    assert "Integrated gradients" in told and "covered once" not in told, "each way has answers of its own"
    press(app, "What it looked at")
    assert [payload["how"] for payload in asked(home)] == ["gradients", "occlusion"]
    job = open_store(home).jobs(kinds=("explain",))[0]
    rows = [rows[0] | {"start": 0.5, "end": 0.2, "total": -0.301}]
    answer(open_store(home), job.id, {"what": "attribution", "kind": "words", "how": "gradients", "rows": rows,
                                      "sanity": {"likeness": 0.7, "rows": 1}})  # fmt: skip
    app.run()
    told = sound(app)
    assert "With every word masked 0.500, as it stands 0.200; the words add up to −0.301." in told
    assert "same network with random weights marks much the same (rank correlation 0.70" in told


@pytest.mark.parametrize(("method", "partial"), (("Grad-CAM", True), ("attention times gradient", False)))
def test_a_map_says_how_it_was_found(method: str, partial: bool) -> None:
    held = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(held, "PNG")
    row = {"row": None, "weights": [[0.0] * 7] * 6, "map_png": base64.b64encode(held.getvalue()).decode(),
           "method": method, "partial": partial, "truth": 3.25, "prediction": 3.25}  # fmt: skip
    said = explain_views._found({"kind": "places", "how": "gradients", "rows": [row]})
    assert said.startswith(f"By {method}, on 6 × 7 places.") and ("shallower layers" in said) == partial
    assert explain_views._said(row) == "3.25"


def test_columns_are_credited_for_a_chosen_row(home: Home, judged: str) -> None:
    from streamlit.testing.v1 import AppTest

    def page(rows):  # type: ignore[no-untyped-def]  # only its body becomes the script
        from tltools.ui import explain_views

        explain_views._credits(rows)

    credits = pd.DataFrame({"column": ["age", "job"], "value": ["39", "<b>clerk</b>"], "credit": [-0.25, 0.05],
                            "error": [0.01, 0.0]}).to_dict("records")  # fmt: skip
    one = {"row": 4, "truth": "low", "prediction": "low", "columns": credits, "start": 0.7, "end": 0.5, "draws": 100}
    app = AppTest.from_function(page, args=([one, one | {"row": 9, "prediction": "high"}],)).run()
    assert not app.exception and app.selectbox[0].options == ["Row 4: low", "Row 9: low, taken for high"]
    assert "it says 0.700 on average, of this row 0.500; the columns add up" in app.caption[-1].value
    app = AppTest.from_function(page, args=([],)).run()
    assert not app.exception and "too many columns" in app.caption[0].value
