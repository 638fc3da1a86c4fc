"""Explanations: what is asked for comes out, and it points at what made-up data was made of."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.sealed_trials import SHORT, Sealed
from tltools import datasets, studies
from tltools.engine import explain, marks, occlusion, sanity, trial_model
from tltools.engine import study as engine
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket


def _asked(sealed: Sealed, name: str, what: str, **more: Any) -> dict[str, Any]:
    result = explain.run(QuietTicket(sealed.home), {"trial": sealed.id(name), "what": what, **more})
    json.dumps(result, allow_nan=False)
    assert (result["trial"], result["what"]) == (sealed.id(name), what)
    return result


@pytest.mark.parametrize("name", ("text/linear_probe", "text/classical"))
def test_words_carry_what_the_prediction_loses_without_them(sealed: Sealed, name: str) -> None:
    found = _asked(sealed, name, "attribution", rows=[0, 3])
    assert found["kind"] == "words" and [one["row"] for one in found["rows"]] == [0, 3]
    model = trial_model.load(sealed.home, sealed.id(name))
    texts = datasets.items(sealed.home, model.dataset, "text")
    row = found["rows"][1]
    assert row["text"] == texts[3] and [word for word, _ in row["words"]] == texts[3].split()
    assert row["truth"] in model.dataset.classes
    without = model.outputs([texts[3], " ".join(texts[3].split()[1:])])
    column = model.dataset.classes.index(row["prediction"])
    assert row["words"][0][1] == pytest.approx(float(without[0, column] - without[1, column]), abs=1e-4)


def test_new_items_are_explained_too(sealed: Sealed) -> None:
    long = "word " * 200
    (short, wordy) = _asked(sealed, "text/classical", "attribution", items=["A fine film", long])["rows"]
    assert short["row"] is None and short["truth"] is None and len(short["words"]) == 3
    assert len(wordy["words"]) == occlusion.MOST_WORDS and wordy["words_left_out"] == 200 - occlusion.MOST_WORDS


@pytest.mark.parametrize("name", ("image/classical", "own/multilayer_probe"))
def test_places_of_a_picture(sealed: Sealed, name: str) -> None:
    (row,) = _asked(sealed, name, "attribution", rows=[7])["rows"]
    assert np.asarray(row["weights"]).shape == (occlusion.GRID, occlusion.GRID)
    assert Path(row["image"]).is_file()
    with Image.open(io.BytesIO(base64.b64decode(row["map_png"]))) as shown, Image.open(row["image"]) as picture:
        assert shown.mode == "RGBA" and max(shown.size) == marks.SIDE
        assert shown.width / shown.height == pytest.approx(picture.width / picture.height, abs=0.02)


def test_a_picture_is_explained_by_its_bar(sealed: Sealed) -> None:
    model = trial_model.load(sealed.home, sealed.id("image/classical"))
    stored = model.stored()
    right = stored[stored["truth"] == stored["prediction"]]["row"].tolist()[:6]
    inside, outside = [], []
    for one in _asked(sealed, "image/classical", "attribution", rows=right)["rows"]:
        weights = np.abs(np.asarray(one["weights"]))
        with Image.open(one["image"]) as image:
            grey = np.asarray(image.convert("L").resize((occlusion.GRID, occlusion.GRID), Image.Resampling.BOX), float)
        bright = grey > grey.mean() + 0.5 * grey.std()
        inside.append(weights[bright].mean())
        outside.append(weights[~bright].mean())
    assert np.mean(inside) > np.mean(outside)


@pytest.mark.parametrize(
    "name", ("table/classical", "table/full_finetune", "number/classical", "sentences/multilayer_probe")
)
def test_columns_of_a_table(sealed: Sealed, name: str) -> None:
    found = _asked(sealed, name, "attribution")
    assert found["kind"] == "columns" and found["test_rows"] > 10
    model = trial_model.load(sealed.home, sealed.id(name))
    assert {one["column"] for one in found["columns"]} == set(model.dataset.inputs)
    assert all(
        one["low"] <= one["importance"] + 1e-9 and one["importance"] <= one["high"] + 1e-9 for one in found["columns"]
    )
    if name.endswith("classical"):
        assert found["columns"][0]["column"] == "weight", "the target was made of it"
        assert abs(next(one["importance"] for one in found["columns"] if one["column"] == "size")) < 0.2


@pytest.mark.parametrize("name", ("text/linear_probe", "own/multilayer_probe", "table/full_finetune"))
def test_nearest_rows_are_training_rows(sealed: Sealed, name: str) -> None:
    model = trial_model.load(sealed.home, sealed.id(name))
    rows = model.rows()
    asked = [int(rows[0]), int(model.stored()["row"].iloc[0])]
    found = _asked(sealed, name, "nearest", rows=asked)
    assert found["training_rows"] == len(rows)
    for one in found["rows"]:
        near = [other["row"] for other in one["nearest"]]
        assert set(near) <= set(rows.tolist()) - {one["row"]} and len(near) == explain.NEAREST
        likeness = [other["similarity"] for other in one["nearest"]]
        assert likeness == sorted(likeness, reverse=True) and -1.001 <= likeness[-1] <= likeness[0] <= 1.001


def test_a_copy_of_a_training_row_is_its_nearest(sealed: Sealed) -> None:
    model = trial_model.load(sealed.home, sealed.id("text/linear_probe"))
    row = int(model.rows()[2])
    text = datasets.items(sealed.home, model.dataset, "text")[row]
    (one,) = _asked(sealed, "text/linear_probe", "nearest", items=[text])["rows"]
    assert one["nearest"][0]["row"] == row and one["nearest"][0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_what_was_forgotten(sealed: Sealed) -> None:
    tuned = _asked(sealed, "text/last_block", "forgetting")
    likeness = [stage["cka"] for stage in tuned["stages"]]
    assert len(likeness) == 7 and likeness[:-1] == pytest.approx([1.0] * 6, abs=1e-6), "frozen stages keep all"
    assert 0.3 < likeness[-1] < 1 - 1e-6, "the one that was trained does not"
    frozen = _asked(sealed, "text/linear_probe", "forgetting")
    assert all(stage["cka"] == 1.0 for stage in frozen["stages"]) and "frozen" in frozen["note"]
    table = _asked(sealed, "table/full_finetune", "forgetting")
    assert all(0.5 < stage["cka"] < 1 for stage in table["stages"]) and "untrained" in table["note"]


@pytest.mark.parametrize("name", ("text/linear_probe", "own/multilayer_probe"))
def test_random_weights_are_explained_beside(sealed: Sealed, name: str) -> None:
    found = _asked(sealed, name, "attribution")["sanity"]
    assert found["rows"] == 3 and -1 <= found["likeness"] <= 1
    assert _asked(sealed, "text/classical", "attribution", rows=[0])["sanity"] is None


def test_a_model_of_random_weights_looks_at_what_random_weights_look_at() -> None:
    one, other = np.array([0.1, -0.9, 0.3, 0.0]), np.array([0.2, 0.8, -0.4, 0.1])
    assert sanity.likeness([one], [other]) == pytest.approx(1)
    assert sanity.likeness([one, one], [other, np.zeros(4)]) == pytest.approx(0.5)


def test_the_source_task_is_scored_before_and_after(sealed: Sealed, tmp_path: Path) -> None:
    dataset = datasets.get(sealed.home, trial_model.load(sealed.home, sealed.id("image/full_finetune")).dataset.id)
    own = f"own/{sealed.id('image/full_finetune')}"
    study = Study(dataset=dataset.id, sources=(own,), strategies=({"full_finetune": SHORT},), controls=(), draws=1)
    key = studies.save(sealed.home, study)
    ticket = QuietTicket(sealed.home, open_store(sealed.home))
    engine.run_one(ticket, key)
    (trial,) = studies.expand(sealed.home, study)
    found = explain.run(ticket, {"trial": trial.id, "what": "forgetting"})["source_task"]
    source = trial_model.load(sealed.home, sealed.id("image/full_finetune"))
    stored = source.stored()
    hits = (stored["truth"] == stored["prediction"]).groupby(stored["truth"]).mean().mean()
    assert found["before"] == pytest.approx(hits, abs=1e-6) and found["rows"] == len(stored)
    assert 0 <= found["after"] <= 1 and found["dataset"] == dataset.name
    assert _asked(sealed, "text/last_block", "forgetting")["source_task"] is None


def test_what_has_no_answer_is_refused(sealed: Sealed) -> None:
    for name, what, more, said in (
        ("text/classical", "nearest", {}, "classical control"),
        ("text/classical", "forgetting", {}, "classical control"),
        ("own/scratch", "forgetting", {}, "random weights"),
        ("text/classical", "meaning", {}, "must be one of attribution"),
        ("text/classical", "attribution", {"rows": [10_000]}, "must be from 0 to 59"),
        ("text/last_block/few", "attribution", {}, "has no weights"),
    ):
        with pytest.raises(Refusal, match=said):
            _asked(sealed, name, what, **more)


def test_likeness_of_features_is_that_of_the_paper() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 8))
    turn, _ = np.linalg.qr(random.normal(size=(8, 8)))
    assert explain.cka(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert explain.cka(x, random.normal(size=(60, 8))) < 0.4
    y = x[:, :4] + random.normal(size=(60, 4))
    one, two = x - x.mean(0), y - y.mean(0)
    by_features = np.linalg.norm(two.T @ one) ** 2 / (np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two))
    assert explain.cka(x, y) == pytest.approx(by_features)
