"""Pages of a study of written texts: source, reference and output stand side by side, the worst first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.test_pages import opened, sound
from tests.test_pages import server as server  # every test here runs as in the web server
from tests.texts import written
from tltools import datasets, places, reports, studies
from tltools.artifacts import building
from tltools.home import Home
from tltools.records import Study
from tltools.store import open_store
from tltools.tasks import tasks


def test_texts_stand_beside_each_other_on_every_page(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, written(tmp_path, 60, 1))
    study = Study(dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("full_finetune",),
                  controls=("classical",), draws=2)  # fmt: skip
    key = studies.save(home, study)
    rows = np.array(sorted(studies.split_of(home, study)[1].test))
    truth = datasets.target(home, dataset)[rows]
    for trial in studies.expand(home, study):
        said = list(truth) if trial.kind == "transfer" else ["Öl"] * len(truth)
        said[2] = "*nothing* of <b>this</b>"
        with building(home.trials / trial.id) as folder:
            table = tasks()["translation"].frame(rows, truth, places.as_rows(said), dataset.classes)
            table.to_parquet(folder / "predictions.parquet", index=False)
            card = {"trial": trial.model_dump(mode="json"), "classes": [], "source": None, "weights": "kept",
                    "n_train": 10, "metrics": {}}  # fmt: skip
            (folder / "card.json").write_text(json.dumps(card))
    report = reports.judge(home, open_store(home), key)
    assert report.metric == "chrf" and report.verdicts[0]["gain"] > 0
    app = opened("judge/compare.py", study=key)
    app.session_state["compare_tab"] = "Worst texts"
    app.run()
    sound(app)
    told = [str(one.value) for one in app.markdown]
    where = str(datasets.rows(home, dataset.id)["_where"][rows[2]])
    first = next(place for place, text in enumerate(told) if where in text)
    assert not any("**chrF" in text for text in told[:first])  # the worst comes first
    assert told[first + 1] == datasets.items(home, dataset, "text")[rows[2]] and told[first + 2] == truth[2]
    assert "nothing" in told[first + 3] and not told[first + 3].startswith("*")
    assert {"Source", "Reference", "Output"} <= {str(one.value) for one in app.caption}
    sound(opened("judge/explain.py", study=key))
    sound(opened("judge/predict.py", study=key))
    said = sound(opened("prepare/dataset.py", dataset=dataset.id))
    assert "a number" not in said and "words a reference, median" in said
    app = opened("prepare/source.py", dataset=dataset.id)
    sound(app)
    assert not [one for one in app.button if "Rank" in one.label]  # there is nothing to rank by
