"""Pages of a study of tagged words: entities are marked in their sentences, truth and prediction, worst first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.sentences import written
from tests.test_pages import opened, press, sound
from tests.test_pages import server as server  # every test here runs as in the web server
from tltools import datasets, places, reports, studies
from tltools.artifacts import building
from tltools.home import Home
from tltools.records import Study
from tltools.store import open_store
from tltools.tasks import tasks


def test_words_are_marked_on_every_page(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, written(tmp_path))
    study = Study(dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("full_finetune",),
                  controls=("classical",), draws=2)  # fmt: skip
    key = studies.save(home, study)
    rows = np.array(sorted(studies.split_of(home, study)[1].test))
    truth = datasets.target(home, dataset)[rows]
    for trial in studies.expand(home, study):
        outputs = places.as_rows([tags * (trial.kind == "transfer" and k > 0) for k, tags in enumerate(truth)])
        with building(home.trials / trial.id) as folder:
            table = tasks()["tagging"].frame(rows, truth, outputs, dataset.classes)
            table.to_parquet(folder / "predictions.parquet", index=False)
            card = {"trial": trial.model_dump(mode="json"), "classes": list(dataset.classes), "source": None,
                    "weights": "kept", "n_train": 10, "metrics": {}}  # fmt: skip
            (folder / "card.json").write_text(json.dumps(card))
    reports.judge(home, open_store(home), key)
    app = opened("judge/compare.py", study=key)
    app.session_state["compare_tab"] = "Worst texts"
    app.run()
    assert f"sentence {rows[0] + 1}" in sound(app)
    marked = [str(one.body) for one in app.get("html") if "<p>" in str(one.body)]
    assert "Truth" in marked[0] and "<mark" in marked[0] and "Prediction" in marked[1] and "<mark" not in marked[1]
    app = press(opened("judge/explain.py", study=key), "Show 12 more")
    sound(app)
    assert not [one.label for one in app.button if one.label.startswith("Show")], "there is no more to show"
    app = opened("prepare/dataset.py", dataset=dataset.id)
    sound(app)
    assert any("<mark" in str(one.body) for one in app.get("html"))


def test_heads_for_words_are_not_said_to_share_passes(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, written(tmp_path))
    study = Study(dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("linear_probe",),
                  controls=("random_frozen",), draws=2)  # fmt: skip
    guess = studies.estimate(home, open_store(home), study)
    assert (guess.prefix_rows, guess.prefix_rows_naive, guess.cache_bytes) == (0, 0, 0), "nothing of them is kept"
    text = sound(opened("train/strategy.py", study=studies.save(home, study)))
    assert "4 trials, 0 of them finished already." in text and "frozen part" not in text


def _middle() -> None:
    import numpy as np
    import pandas as pd

    from tltools import places
    from tltools.ui import dataset_views

    cells = [places.tags_cell(np.array([1, 0, 0]), ["PER"]), places.tags_cell(np.array([0, 0, 1]), ["PER"])]
    frame = pd.DataFrame({"words": ["Ann saw it", "it saw Ann"], "tags": cells}, index=[7, 9])
    dataset_views.preview(frame, None, ["words"], "tags", "text", {}, "tagging", ["PER"])


def test_sentences_from_the_middle_of_a_table_are_marked() -> None:
    app = AppTest.from_function(_middle, default_timeout=60).run()
    assert not app.exception, app.exception
    assert sum("<mark" in str(one.body) for one in app.get("html")) == 2
