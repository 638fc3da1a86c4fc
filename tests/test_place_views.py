"""Pages and report of a study whose truth is masks or boxes: truth beside prediction, worst first, nothing broken."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import shapes
from tests.test_pages import answer, opened, press, sound
from tests.test_pages import server as server  # every test here runs as in the web server
from tltools import datasets, places, reports, studies
from tltools.artifacts import building
from tltools.holders import this_process
from tltools.home import Home
from tltools.records import Dataset, Study
from tltools.reports import worst
from tltools.store import open_store
from tltools.tasks import tasks
from tltools.tickets import JobTicket

GIVEN = {"segmentation": shapes.with_masks, "detection": shapes.with_boxes}


def missed(dataset: Dataset, truth: np.ndarray, part: float) -> np.ndarray:
    """Outputs that are right but for a part of each row: columns of a mask turned to class 0, boxes left out."""
    if dataset.task == "segmentation":
        return places.as_rows([np.where(np.arange(mask.shape[1]) < part * mask.shape[1], 0, mask) for mask in truth])
    said = [np.column_stack([boxes, np.full(len(boxes), 0.9)]) for boxes in truth]
    return places.as_rows([boxes[round(part * len(boxes)) :] for boxes in said])


@pytest.fixture(params=sorted(GIVEN))
def judged(request: pytest.FixtureRequest, home: Home, tmp_path: Path) -> tuple[str, Dataset, str, int]:
    """(study, dataset, its best trial, the row that this trial gets most wrong), judged from sealed predictions."""
    dataset = datasets.add(home, GIVEN[request.param](tmp_path / "shapes.zip", 15))
    study = Study(dataset=dataset.id, sources=("bundled/tiny-resnet",), strategies=("full_finetune",),
                  controls=("classical",), draws=2, name="<b>Shapes</b>")  # fmt: skip
    key, task = studies.save(home, study), tasks()[dataset.task]
    rows = np.array(sorted(studies.split_of(home, study)[1].test))
    truth = datasets.target(home, dataset)[rows]
    for trial in studies.expand(home, study):
        outputs = missed(dataset, truth, 1.0 if trial.kind == "control" else 0.0)
        outputs[1:2] = missed(dataset, truth[1:2], 0.5)
        with building(home.trials / trial.id) as folder:
            task.frame(rows, truth, outputs, dataset.classes).to_parquet(folder / "predictions.parquet", index=False)
            card = {"trial": trial.model_dump(mode="json"), "classes": list(dataset.classes), "source": None,
                    "weights": "kept", "n_train": 10, "metrics": {}}  # fmt: skip
            (folder / "card.json").write_text(json.dumps(card))
    reports.judge(home, open_store(home), key)
    best = next(trial.id for trial in studies.expand(home, study) if trial.kind == "transfer" and trial.draw == 0)
    return key, dataset, best, int(rows[1])


def pictures(app: Any) -> list[str]:
    """The captions of the pictures on a page."""
    return [caption for image in app.get("image") for caption in image.captions]


def test_the_worst_rows_come_first_with_the_score_of_their_own(home: Home, judged: Any) -> None:
    _, dataset, trial, row = judged
    metric = tasks()[dataset.task].metrics[0]
    table = worst.rows(home, dataset, trial, metric)
    assert list(table.columns) == ["row", "score", "truth", "prediction"]
    assert table["row"].iloc[0] == row and table["score"].iloc[0] < 0.9
    assert table["score"].iloc[1:].tolist() == pytest.approx([1.0] * (len(table) - 1))


def test_rows_without_a_score_come_last(home: Home, judged: Any) -> None:
    _, dataset, trial, _ = judged
    folder = home.trials / trial
    table = pd.read_parquet(folder / "predictions.parquet")
    nothing = np.full((2, 2), places.IGNORED, np.uint8)
    cells = {"segmentation": places.mask_cell(nothing, dataset.classes), "detection": '{"boxes": [], "classes": []}'}
    table.loc[0, ["truth", "prediction"]] = cells[dataset.task]
    table.to_parquet(folder / "predictions.parquet", index=False)
    found = worst.rows(home, dataset, trial, tasks()[dataset.task].metrics[0])
    assert np.isnan(found["score"].iloc[-1]) and found["row"].iloc[-1] == table["row"].iloc[0]


def test_explain_and_compare_show_truth_beside_prediction(home: Home, judged: Any) -> None:
    key, dataset, _, _ = judged
    app = opened("judge/explain.py", study=key)
    text = sound(app)
    assert pictures(app)[:2] == ["Truth", "Prediction"] and "The worst mistakes" in text
    assert "Reliability" not in text and "confusion" not in text.lower()
    assert bool(app.slider) == (dataset.task == "detection")
    app = opened("judge/compare.py", study=key)
    app.session_state["compare_tab"] = "Worst pictures"
    app.run()
    assert "images/" in sound(app) and pictures(app)[:2] == ["Truth", "Prediction"]
    app.session_state["compare_tab"] = "By class"
    app.run()
    sound(app)
    columns = {"segmentation": {"IoU (%)", "Dice (%)"}, "detection": {"AP50 (%)", "mAP 50:95 (%)", "mAP small (%)"}}
    (table,) = [one.value for one in app.dataframe if "class" in one.value]
    assert columns[dataset.task] <= set(table.columns) and set(dataset.classes) <= set(table["class"])
    assert 1.0 < table[min(columns[dataset.task])].max() <= 100.0  # as the scores of the worst pictures are


def test_the_dataset_page_draws_the_truth(home: Home, judged: Any) -> None:
    _, dataset, _, _ = judged
    app = opened("prepare/dataset.py", dataset=dataset.id)
    sound(app)
    found = pictures(app)
    word = {"segmentation": "ground", "detection": "1 disc"}[dataset.task]
    counts = datasets.profile(home, dataset.id).classes
    truth = datasets.target(home, dataset)
    if dataset.task == "detection":
        wanted = Counter(dataset.classes[int(box[0])] for boxes in truth for box in boxes)
    else:
        wanted = Counter(dataset.classes[code] for mask in truth for code in set(mask.ravel().tolist()))
    assert counts == wanted and list(counts.values()) == sorted(counts.values(), reverse=True)
    what = {"segmentation": "pictures that show it", "detection": "boxes"}[dataset.task]
    assert f"Of each class: {what}." in [one.value for one in app.caption]
    assert len(found) == 12 and all(word in caption and "{" not in caption for caption in found)


@pytest.mark.parametrize("task", sorted(GIVEN))
def test_a_draft_draws_the_truth_before_anything_is_stored(home: Home, tmp_path: Path, task: str) -> None:
    path, store = GIVEN[task](tmp_path / "shapes.zip", 15), open_store(home)
    queued = store.submit("ingest", {"path": str(path), "look": True, "name": "s"}, title="Read shapes", key="s")
    job = store.claim(this_process(), "quick", 30.0)
    assert job is not None
    store.finish(job, datasets.ingest_job(JobTicket(home, store, job), job.payload))
    app = opened("prepare/dataset.py", draft=queued.id)
    sound(app)
    assert app.title[0].value == "Is this right?" and len(pictures(app)) == 12


def test_predictions_come_back_over_their_pictures(home: Home, judged: Any, tmp_path: Path) -> None:
    key, dataset, trial, _ = judged
    stored = pd.read_parquet(home.trials / trial / "predictions.parquet")
    column = datasets.rows(home, dataset.id)[dataset.inputs[0]]
    app = opened("judge/predict.py", study=key)
    store = open_store(home)
    job = store.submit("predict", {"trial": trial, "items": ["x.png"], "out": None}, title="Predict one", key="x")
    path = str(datasets.media(home, dataset.id) / column.iloc[stored["row"].iloc[0]])
    answer(store, job.id, {"rows": 1, "predictions": [{"row": 0, "prediction": stored["prediction"].iloc[0]}],
                           "files": [path]})  # fmt: skip
    app.session_state["tl_job"] = app.query_params["job"] = job.id
    app.run()
    sound(app)
    assert len(pictures(app)) == 1 and "disc" in pictures(app)[0]
    assert "The first" not in sound(app)
    out = tmp_path / "many-predicted.csv"
    pd.DataFrame({"where": [f"a/x{k}.png" for k in range(9)]}).to_csv(out, index=False)
    job = store.submit("predict", {"trial": trial, "file": "m.zip", "out": str(out)}, title="Predict m", key="m")
    said = [{"row": k, "prediction": stored["prediction"].iloc[0]} for k in range(9)]
    answer(store, job.id, {"rows": 9, "predictions": said, "files": [path] * 9, "out": str(out)})
    app.session_state["tl_job"] = app.query_params["job"] = job.id
    app.session_state["predict_tab"] = "A whole file"
    app.run()
    assert "The first 6 of 9" in sound(app)
    assert [caption.split(":")[0] for caption in pictures(app)] == [f"x{k}.png" for k in range(6)]
    assert press(app, "Export and check") and store.jobs(kinds=("export",))


def test_the_report_holds_the_worst_pictures(home: Home, judged: Any) -> None:
    key, dataset, _, _ = judged
    page = (home.studies / key / "report.html").read_text()
    images = re.findall(r'<img src="(data:image/jpeg;base64,[^"]+)" alt="([^"]*)"', page)
    assert len(images) == 2 * worst.PICTURES and images[0][1].startswith("Truth: ") and "disc" in images[0][1]
    assert len(page) < 400_000 and "http" not in "".join(re.findall(r'src="([^"]*)"', page))
    report = reports.load(home, key)
    assert "<img" not in reports.html(report) and "Each class" not in reports.html(report)
    assert all(f"<td >{name}</td>" in page for name in dataset.classes) and "Each class" in page
    datasets.delete(home, dataset.id)
    assert "<img" not in reports.html(report, home) and "All arms" in reports.html(report, home)
