"""Pages of a study of questions: answers are marked in their contexts, truth and prediction, worst first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.questions import written
from tests.test_pages import opened, press, sound
from tests.test_pages import server as server  # every test here runs as in the web server
from tltools import datasets, places, reports, studies
from tltools.answers import Said
from tltools.artifacts import building
from tltools.home import Home
from tltools.records import Study
from tltools.store import open_store
from tltools.tasks import tasks


def one_question(app: AppTest, home: Home) -> dict[str, str]:
    """Asks on the page, first without a context; returns the item that the worker gets."""
    assert "question | context" not in sound(app)
    app.text_input(key="one_question").set_value("Where is Oslo?")
    press(app, "Predict")
    assert "It needs both" in sound(app) and not open_store(home).jobs(kinds=("predict",))
    app.text_area(key="one_context").set_value("Oslo lies in\nNorway.")
    press(app, "Predict")
    (job,) = open_store(home).jobs(kinds=("predict",))
    assert app.text_input(key="one_question").value == "Where is Oslo?"
    item: dict[str, str] = job.payload["items"][0]
    return item


def test_answers_are_marked_on_every_page(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, written(tmp_path, 20, 1, impossible=True))
    study = Study(dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("full_finetune",),
                  controls=("classical",), draws=2)  # fmt: skip
    key = studies.save(home, study)
    rows = np.array(sorted(studies.split_of(home, study)[1].test))
    truth = datasets.target(home, dataset)[rows]
    wrong = next(k for k, one in enumerate(truth) if one.spans)
    for trial in studies.expand(home, study):
        right = [Said(one.spans[0] if one.spans else None, 0.9) for one in truth]
        right[wrong] = Said(None, 0.4)
        if trial.kind == "control":
            right = [Said((4, 5), 0.5)] * len(truth)
        with building(home.trials / trial.id) as folder:
            table = tasks()["question_answering"].frame(rows, truth, places.as_rows(right), dataset.classes)
            table.to_parquet(folder / "predictions.parquet", index=False)
            card = {"trial": trial.model_dump(mode="json"), "classes": [], "source": None, "weights": "kept",
                    "n_train": 10, "metrics": {}}  # fmt: skip
            (folder / "card.json").write_text(json.dumps(card))
    report = reports.judge(home, open_store(home), key)
    assert report.metric == "answer_f1"
    app = opened("judge/compare.py", study=key)
    app.session_state["compare_tab"] = "Worst texts"
    app.run()
    where = datasets.rows(home, dataset.id)["_where"][rows[wrong]]
    assert str(where) in sound(app)
    marked = [str(one.body) for one in app.get("html") if "<p>" in str(one.body)]
    assert "Truth</small><br>" in marked[0] and "<mark" in marked[0]
    assert "Prediction" in marked[1] and "<i>No answer</i>" in marked[1] and "<mark" not in marked[1]
    sound(opened("judge/explain.py", study=key))
    asked = one_question(opened("judge/predict.py", study=key), home)
    assert asked == {"question | context": "Where is Oslo? | Oslo lies in Norway."}
    app = opened("prepare/dataset.py", dataset=dataset.id)
    assert "a number" not in sound(app)
    assert any("<mark" in str(one.body) for one in app.get("html"))
