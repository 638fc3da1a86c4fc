"""Every page, run through the frame by Streamlit's AppTest, heavy libraries blocked: nothing there, something there.

`pytest tests/test_pages.py`. What AppTest cannot do (clicks on charts, real uploads, timers) stands in tests/browser.
"""

from __future__ import annotations

import importlib.abc
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit import config
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.testing.v1 import AppTest, local_script_runner

from tests.shapes import with_masks
from tltools import datasets, reports, samples, studies
from tltools.home import Home
from tltools.records import Dataset, Folds, Report, Study
from tltools.store import open_store
from tltools.strategies import strategies
from tltools.ui import frame

ROOT = Path(__file__).resolve().parents[1]
PAGES = [file for entries in frame.MENU.values() for file, _, _ in entries]
HEAVY = ("torch", "torchvision", "timm", "transformers", "peft")
LEADS_ON = {  # page -> what its one button says where there is nothing yet
    "prepare/source.py": "Choose data",
    "train/strategy.py": "Choose data",
    "judge/compare.py": "Try the sample study",
    "judge/explain.py": "Try the sample study",
    "judge/predict.py": "Try the sample study",
}


class Blocked(importlib.abc.MetaPathFinder):
    """Refuses the heavy libraries; None in sys.modules would do so too, but breaks what scipy asks of it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} must not be imported in the web server")


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the web server: nothing heavy can be imported, and the worker is somebody else's business."""
    for name in HEAVY:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    # AppTest itself keeps functions in the session; the browser tests run with the rule enforced
    config.set_option("runner.enforceSerializableSessionState", False)
    config.set_option("client.showErrorDetails", "full")
    monkeypatch.setenv("TLTOOLS_WORKER", "external")
    monkeypatch.setenv("TLTOOLS_OFFLINE", "1")


@pytest.fixture
def wine(home: Home) -> Dataset:
    return samples.add(home, "wine")


@pytest.fixture
def notes(home: Home) -> Dataset:
    return samples.add(home, "film-notes")


@pytest.fixture
def judged(home: Home, notes: Dataset) -> str:
    """A study with a report made by hand and one sealed trial behind its best arm."""
    study = Study(
        dataset=notes.id, sources=("bundled/minilm-l6",), strategies=("linear_probe",), fractions=(0.5, 1.0), draws=3,
        name="Do <b>notes</b> help? ![x](http://evil.example/p.png)",
    )  # fmt: skip
    id = studies.save(home, study)
    trials = studies.expand(home, study)
    seal(home, notes, trials[0], study)
    report = hand_made(id, notes, study, trials)
    (home.studies / id / "report.json").write_text(report.model_dump_json())
    return id


def seal(home: Home, dataset: Dataset, trial: Any, study: Study) -> None:
    """A trial folder with predictions for the test rows, every third of them wrong."""
    import json

    import numpy as np
    import pandas as pd

    from tltools.artifacts import building

    _, split = studies.split_of(home, study)
    rows = np.array(sorted(split.test))
    truth = datasets.target(home, dataset)[rows]
    said = np.where(np.arange(len(rows)) % 3 == 0, 1 - truth, truth)
    outputs = np.where(np.arange(2) == said[:, None], 0.8, 0.2)
    names = list(dataset.classes)
    frame = {"row": rows, "truth": [names[t] for t in truth], "prediction": [names[s] for s in said]}
    frame |= {f"p_{k}": outputs[:, k].astype(np.float32) for k in range(2)}
    with building(home.trials / trial.id) as folder:
        pd.DataFrame(frame).to_parquet(folder / "predictions.parquet", index=False)
        card = {"trial": trial.model_dump(mode="json"), "classes": names, "weights": "kept", "source": None}
        (folder / "card.json").write_text(json.dumps(card))


def hand_made(id: str, dataset: Dataset, study: Study, trials: list[Any]) -> Report:
    """A report with one transfer arm and one control at two shares."""
    arms, verdicts = [], []
    for fraction, labels, gain in ((0.5, 130, 0.02), (1.0, 260, 0.117)):
        common = {"knobs": {}, "fraction": fraction, "per_class": None, "n_train": labels}
        arm = {
            "draws": 3, "draws_asked": 3, "seconds": 0.4, "peak_mb": 800.0, "trainable_parameters": 770,
            "train_score": None, "validation_score": None, "train_gap": None, "ece": 0.1, "draw_scores": [0.8],
            "metrics": {"accuracy": 0.8}, "best_set": True,
        }  # fmt: skip
        ours = {"source": study.sources[0], "strategy": "linear_probe", "title": "Linear probe of MiniLM-L6"}
        theirs = {"source": "none", "strategy": "classical", "title": "TF-IDF + logistic regression"}
        arms += [
            {**common, **ours, **arm, "kind": "transfer", "score": 0.84, "low": 0.8, "high": 0.88,
             "trials": [trials[0].id]},
            {**common, **theirs, **arm, "kind": "control", "score": 0.72, "low": 0.7, "high": 0.75, "trials": []},
        ]  # fmt: skip
        word = "positive" if gain > 0.05 else "not_enough_evidence"
        verdicts.append(
            {**common, **ours, "against": "classical", "against_source": "none", "against_title": theirs["title"],
             "verdict": word, "gain": gain, "low": gain - 0.03, "high": gain + 0.03, "p_better": 0.97,
             "p_equivalent": 0.02, "p_worse": 0.01, "mde": 0.03, "needed": "", "draws": 3, "df": 20.0, "method": "t",
             "needed_rows": None, "needed_draws": None, "alone": word}
        )  # fmt: skip
    return Report(
        study=id, task="classification", metric="balanced_accuracy", margin=0.01, name=study.name or "",
        rows={"train": 212, "validation": 48, "test": 66}, arms=tuple(arms), verdicts=tuple(verdicts),
        headline="Transfer helps: by 11.7 points.", sentences=("One.", "Two.", "Three."),
        dataset=dataset.model_dump(mode="json"), study_file=studies.dump(study),
        cost={"actual_seconds": 161.0, "estimated_seconds": 170.0, "actual_peak_mb": 900.0},
        curves=({"trial": trials[0].id, "source": "s", "strategy": "linear_probe", "fraction": 1.0, "per_class": None,
                 "epoch": 1, "train_loss": 0.5, "validation_loss": 0.6},),
    )  # fmt: skip


def opened(page: str, **ids: str) -> AppTest:
    """A page through the frame, as a browser that comes by a link with ids would see it."""
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    for name, value in ids.items():
        app.query_params[name] = value
    app.run()
    if page != "prepare/home.py":
        app.switch_page(f"pages/{page}")
        for name, value in ids.items():
            app.query_params[name] = value
        app.run()
    return app


def sound(app: AppTest) -> str:
    """No exception, the frame was drawn; returns everything that the page says."""
    assert not app.exception, app.exception
    assert any("left this machine" in caption.value for caption in app.sidebar.caption)
    parts = [*app.title, *app.header, *app.subheader, *app.markdown, *app.caption, *app.warning, *app.error, *app.info]
    return "\n".join(str(part.value) for part in parts)


def press(app: AppTest, label: str) -> AppTest:
    """Presses the button with this label."""
    return next(button for button in app.button if button.label == label).click().run()


def test_the_sidebar_follows_a_worker_that_starts_while_nobody_touches_the_page(home: Home) -> None:
    def page() -> None:
        from types import SimpleNamespace

        import streamlit as st

        from tltools.ui import frame, state

        looks = st.session_state.setdefault("looks", [])

        def worker() -> SimpleNamespace:
            looks.append("at the worker")
            return SimpleNamespace(alive=len(looks) > 1, queued=0, running=(), sentence="")

        frame.draw(state.home(), worker)

    shown = AppTest.from_function(page).run()
    assert not shown.exception
    assert ":material/check_circle: Worker ready · queue empty" in [one.value for one in shown.sidebar.caption]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_is_nothing(home: Home, page: str) -> None:
    app = opened(page)
    sound(app)
    assert app.title
    if page in LEADS_ON:
        assert LEADS_ON[page] in [button.label for button in app.button]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_stands_with_a_judged_study(home: Home, judged: str, page: str) -> None:
    text = sound(opened(page, study=judged))
    assert "![x](" not in text, "names of users are escaped, or they would load pictures from elsewhere"


ASKS = {  # which pages look at which id
    "dataset": ("prepare/dataset.py", "prepare/source.py", "train/strategy.py"),
    "study": ("train/strategy.py", "train/runs.py", "judge/compare.py", "judge/explain.py", "judge/predict.py"),
}


@pytest.mark.parametrize(("name", "page"), [(name, page) for name, pages in ASKS.items() for page in pages])
@pytest.mark.parametrize("value", ["0" * 16, "../../etc/passwd"])
def test_an_unknown_id_is_told_kindly(home: Home, page: str, name: str, value: str) -> None:
    app = opened(page, **{name: value})
    assert "Not found" in sound(app)
    press(app, "Go on without it")
    assert "Not found" not in sound(app)


def test_a_stored_dataset_shows_its_rows_split_and_balance(home: Home, wine: Dataset) -> None:
    app = opened("prepare/dataset.py", dataset=wine.id)
    text = sound(app)
    assert "grower" in text and "Split" in text and "Balance" in text
    split = datasets.split(home, wine)
    labels = len(split.train) + len(split.validation)
    assert f"are the {labels:,} labels that a study can give, which it calls 100 %" in text
    assert [metric.label for metric in app.metric] == ["Train", "Validation", "Test, locked"]


def test_sources_that_fit_are_cards_and_the_others_have_a_reason(home: Home, notes: Dataset) -> None:
    app = opened("prepare/source.py", dataset=notes.id)
    text = sound(app)
    assert "22.7 M parameters" in text.replace("\\", "")
    assert any("do not fit" in expander.label for expander in app.expander)
    assert [toggle.value for toggle in app.toggle if "MiniLM" in toggle.label] == [True]
    assert app.query_params["source"] in ("bundled/minilm-l6", ["bundled/minilm-l6"])


def test_a_dataset_says_that_a_cross_validation_used_its_locked_rows(home: Home, wine: Dataset) -> None:
    assert "for judging only" in sound(opened("prepare/dataset.py", dataset=wine.id))
    open_store(home).remember("cross_validated", wine.id, {"studies": ["0" * 16]})
    assert "a cross-validation has trained on them, too" in sound(opened("prepare/dataset.py", dataset=wine.id))


def test_the_sources_of_a_study_are_the_chosen_ones(home: Home, wine: Dataset) -> None:
    study = Study(dataset=wine.id, sources=("bundled/table-net",), strategies=("full_finetune",))
    app = opened("prepare/source.py", dataset=wine.id, study=studies.save(home, study))
    sound(app)
    on = {toggle.label: toggle.value for toggle in app.toggle}
    assert on["Table network, untrained"] and not on["MiniLM-L6"]


def test_a_study_is_put_together_and_submitted(home: Home, notes: Dataset) -> None:
    app = opened("train/strategy.py", dataset=notes.id, source="bundled/minilm-l6")
    sound(app)
    assert any("python -m tltools run" in code.value for code in app.code)
    next(toggle for toggle in app.toggle if toggle.label == "Full fine-tuning").set_value(False).run()
    press(app, "Run the study")
    sound(app)
    job = open_store(home).jobs()[0]
    study = studies.load(home, job.payload["study"])
    assert "full_finetune" not in study.strategies and study.sources == ("bundled/minilm-l6",)
    assert job.payload["study"] in app.query_params["study"]


def test_an_estimate_that_is_a_guess_can_be_measured(home: Home, wine: Dataset) -> None:
    app = opened("train/strategy.py", dataset=wine.id, source="bundled/table-net")
    assert any("the time is a guess" in caption.value for caption in app.caption)
    press(app, "Measure it on a few rows")
    sound(app)
    (job,) = open_store(home).jobs()
    study = studies.parse(job.payload["study_file"] + "\n")
    assert job.kind == "measure" and study.dataset == wine.id
    assert "Measure it on a few rows" not in {button.label for button in app.button}, "it is being done"
    assert not studies.listing(home), "to measure is not to keep a study"


def test_a_knob_reaches_the_study_file(home: Home, notes: Dataset) -> None:
    app = opened("train/strategy.py", dataset=notes.id, source="bundled/minilm-l6")
    next(one for one in app.number_input if one.key == "knob_last_block_epochs").set_value(3).run()
    sound(app)
    assert "last_block: {epochs: 3}" in next(code.value for code in app.code if "dataset:" in code.value)


def test_a_strategy_that_cannot_serve_the_task_is_off_and_says_why(home: Home) -> None:
    diabetes = samples.add(home, "diabetes")
    app = opened("train/strategy.py", dataset=diabetes.id, source="bundled/minilm-l6")
    sound(app)
    off = {toggle.label for toggle in app.toggle if toggle.disabled}
    assert {"Prototypes", "Nearest neighbours", "SetFit"} <= off and "Linear probe" not in off
    of_classes = [one for one in strategies().values() if one.targets == ("classes",)]
    assert sum("can predict classes only" in caption.value for caption in app.caption) == len(of_classes) >= 3
    assert not app.error, "what is off is not part of the study"


def test_a_card_says_what_is_true_of_the_task_and_why_a_strategy_is_off(home: Home, tmp_path: Path) -> None:
    masks = datasets.add(home, with_masks(tmp_path / "shapes.zip", 15))
    app = opened("train/strategy.py", dataset=masks.id, source="bundled/tiny-resnet")
    text = sound(app)
    assert "trained by gradient steps" in text and "solved for exactly" not in text
    assert "It is for models of the transformers library; Tiny ResNet is none." in text
    app = opened("train/strategy.py", dataset=samples.add(home, "diabetes").id, source="bundled/minilm-l6")
    assert "solved for exactly" in sound(app)
    text = sound(opened("prepare/source.py", dataset=masks.id))
    assert "288 px · licence: " in text and "rank them" not in text


def test_few_shot_strategies_reach_the_study_file(home: Home, notes: Dataset) -> None:
    app = opened("train/strategy.py", dataset=notes.id, source="bundled/minilm-l6")
    for label in ("Prototypes", "Nearest neighbours", "SetFit"):
        next(toggle for toggle in app.toggle if toggle.label == label).set_value(True).run()
    next(one for one in app.number_input if one.key == "knob_setfit_texts").set_value(200).run()
    sound(app)
    said = next(code.value for code in app.code if "dataset:" in code.value)
    assert "prototype" in said and "knn" in said and "setfit: {texts: 200}" in said


def test_a_time_budget_is_turned_into_draws(home: Home, notes: Dataset) -> None:
    app = opened("train/strategy.py", dataset=notes.id, source="bundled/minilm-l6")
    app.segmented_control(key="evidence_by").set_value("time").run()
    app.select_slider(key="minutes").set_value(480).run()
    text = sound(app)
    assert "480 min buy" in text or "480 min do not suffice" in text
    assert "minutes: 480.0" in next(code.value for code in app.code if "dataset:" in code.value)


def test_cross_validation_is_chosen_with_a_plain_sentence_and_reaches_the_study_file(home: Home, wine: Dataset) -> None:
    app = opened("train/strategy.py", dataset=wine.id, source="bundled/table-net")
    app.segmented_control(key="evidence_by").set_value("cross-validation").run()
    app.number_input(key="fold_repeats").set_value(3).run()
    text = sound(app)
    assert (
        "Pays below a few hundred rows: every row is tested once a repeat" in text and "no row stays untouched" in text
    )
    assert "folds: {repeats: 3, k: 5}" in next(code.value for code in app.code if "dataset:" in code.value)
    press(app, "Run the study")
    study = open_store(home).jobs()[0].payload["study"]
    assert studies.load(home, study).folds == Folds(repeats=3, k=5)
    again = opened("train/strategy.py", dataset=wine.id, source="bundled/table-net", study=study)
    assert again.segmented_control(key=f"evidence_by_{study}").value == "cross-validation"
    again.segmented_control(key=f"evidence_by_{study}").set_value("draws").run()
    assert "folds: null" in next(code.value for code in again.code if "dataset:" in code.value)


def test_the_verdict_of_a_cross_validation_says_so(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = Report.model_validate_json(path.read_text())
    by = "5 × 5-fold cross-validation"
    rows = tuple({**row, "by": by} for row in report.verdicts)
    path.write_text(report.model_copy(update={"folds": Folds(), "verdicts": rows}).model_dump_json())
    text = sound(opened("judge/compare.py", study=judged))
    assert f"each tested once a repeat by {by}" in text and f"** by {by}." in text


def test_the_verdict_is_said_first_with_word_and_mark(home: Home, judged: str) -> None:
    app = opened("judge/compare.py", study=judged)
    text = sound(app)
    assert app.title[0].value == "Transfer helps: +11.7 points over the best control."
    assert "▲ positive" in text and "84.0 %" in text and "72.0 %" in text


def test_no_probability_of_the_table_is_rounded_to_certainty(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = Report.model_validate_json(path.read_text())
    rows = tuple({**row, "p_better": 0.9996, "p_worse": 1e-7} for row in report.verdicts)
    path.write_text(report.model_copy(update={"verdicts": rows}).model_dump_json())
    app = opened("judge/compare.py", study=judged)
    sound(app)
    (table,) = [frame.value for frame in app.dataframe if "P(better)" in frame.value]
    assert set(table["P(better)"]) == {"> 99.9 %"} and set(table["P(worse)"]) == {"< 0.1 %"}


def test_a_study_that_stopped_after_a_look_can_be_judged_whole(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    assert "what was finished since" not in sound(opened("judge/compare.py", study=judged))
    report = Report.model_validate_json(path.read_text())
    path.write_text(report.model_copy(update={"whole": False}).model_dump_json())
    app = opened("judge/compare.py", study=judged)
    assert "what was finished since is not in this verdict" in sound(app)
    press(app, "Judge what is finished")
    assert Report.model_validate_json(path.read_text()).whole and "what was finished since" not in sound(app)


def test_a_study_that_ran_out_of_time_says_so_beside_its_verdict_and_can_go_on(home: Home, judged: str) -> None:
    from tltools.holders import this_process

    store, path = open_store(home), home.studies / judged / "report.json"
    store.submit("study", {"study": judged}, title="notes", key=judged)
    job = store.claim(this_process(), "long", 30.0)
    assert job is not None and store.finish(job, {"study": judged, "left_out": 7})
    report = Report.model_validate_json(path.read_text())
    arms = tuple(row for row in report.arms if row["kind"] == "control")
    changed = {"verdicts": (), "arms": arms, "headline": "No verdict yet."}
    path.write_text(report.model_copy(update=changed).model_dump_json())
    text = sound(app := opened("judge/compare.py", study=judged))
    assert "The time budget was over before 7 of its trials." in text and "source none" not in text
    press(app, "Go on with it")
    assert [one.state for one in store.jobs(kinds=("study",))] == ["queued", "done"]


def test_the_confusion_tab_opens_the_rows_behind_a_cell(home: Home, judged: str) -> None:
    app = opened("judge/compare.py", study=judged)
    app.session_state["compare_tab"] = "Confusion"
    app.run()
    assert re.search(r"\d test rows? of \w+ taken for \w+\.", sound(app))


def test_the_worst_mistakes_are_shown_with_their_place(home: Home, judged: str) -> None:
    assert "film_notes.csv" in sound(opened("judge/explain.py", study=judged))


def test_one_text_is_sent_to_the_worker_and_its_answer_shown(home: Home, judged: str) -> None:
    app = opened("judge/predict.py", study=judged)
    app.text_area[0].set_value("A quiet triumph.")
    press(app, "Predict")
    store = open_store(home)
    job = store.jobs(kinds=("predict",))[0]
    assert job.payload["items"] == [{"text": "A quiet triumph."}]
    answer(store, job.id, {"rows": 1, "out": None, "predictions": [
        {"row": 0, "prediction": "positive", "probabilities": {"positive": 0.91, "negative": 0.09}}]})  # fmt: skip
    app.run()
    sound(app)
    assert any(metric.value == "positive" and metric.delta == "91.0 % sure" for metric in app.metric)
    again = opened("judge/predict.py", study=judged, job=job.id)
    assert again.text_area[0].value == "A quiet triumph.", "an answer without its question says nothing"


@pytest.mark.parametrize(("least", "said"), [(0.9, "true class in 90 % of such rows: **positive**."), (0.95, "unlike")])
def test_a_list_without_any_class_is_not_said_to_hold_the_true_one(
    home: Home, notes: Dataset, least: float, said: str
) -> None:
    def page(dataset: str, least: float) -> None:
        from tltools import datasets
        from tltools.ui import predict_views, state

        row = {"prediction": "positive", "probabilities": {"positive": 0.91, "negative": 0.09}}
        predict_views.answer(row, datasets.get(state.home(), dataset), least)

    shown = AppTest.from_function(page, args=(notes.id, least)).run()
    assert not shown.exception
    (caption,) = [one.value for one in shown.caption if "90 %" in one.value]
    assert said in caption


def test_a_number_of_a_row_may_be_left_empty_as_a_cell_of_a_file(home: Home, wine: Dataset) -> None:
    study = Study(dataset=wine.id, sources=("bundled/minilm-l6",), strategies=("linear_probe",), draws=3)
    trials = [one for one in studies.expand(home, study) if one.strategy == "linear_probe" and one.fraction == 1]
    id = studies.save(home, study)
    seal(home, wine, trials[0], study)
    report = hand_made(id, wine, study, trials)
    (home.studies / id / "report.json").write_text(report.model_dump_json())
    app = opened("judge/predict.py", study=id)
    first, second = (app.number_input(key=f"one_{name}") for name in wine.inputs[:2])
    assert first.value is not None and not first.proto.HasField("default"), "else a browser puts the number in again"
    first.set_value(None)
    press(app, "Predict")
    job = open_store(home).jobs(kinds=("predict",))[0]
    assert job.payload["items"][0][wine.inputs[0]] is None and job.payload["items"][0][wine.inputs[1]] == second.value
    again = opened("judge/predict.py", study=id, job=job.id)
    assert again.number_input(key=f"one_{wine.inputs[0]}").value is None


def test_a_predicted_file_is_shown_as_it_will_be_downloaded(home: Home, judged: str, tmp_path: Path) -> None:
    out, trial = tmp_path / "new-predicted.csv", reports.load(home, judged).arms[0]["trials"][0]
    out.write_text("id,text,where,prediction,p_negative,p_positive\n007,Fine.,new.csv line 2,positive,0.09,0.91\n")
    store = open_store(home)
    job = store.submit("predict", {"trial": trial, "file": "new.csv", "items": None}, title="Predict new", key="new")
    skipped = [{"where": "new.csv line 3", "reason": "no text"}]
    problem = {"severity": "warning", "where": "new.csv", "what": "two columns are not known.", "remedy": "Look."}
    answer(store, job.id, {"rows": 1, "out": str(out), "predictions": [], "skipped": skipped, "problems": [problem]})
    app = opened("judge/predict.py", study=judged, job=job.id)
    text, (left_out, shown) = sound(app), (one.value for one in app.dataframe)
    assert "two columns are not known" in text and left_out["reason"].tolist() == ["no text"]
    assert shown.iloc[0].tolist() == ["positive", "0.09", "0.91", "007", "Fine.", "new.csv line 2"]


def test_an_export_that_does_not_replay_is_called_so(home: Home, judged: str) -> None:
    app = press(opened("judge/predict.py", study=judged), "Export and check")
    store = open_store(home)
    job = store.jobs(kinds=("export",))[0]
    replay = {"rows": 66, "max_difference": 0.2, "agrees": False}
    answer(store, job.id, {"folder": str(home.root / "no"), "files": ["predict.py"], "replay": replay})
    app.run()
    assert "does not agree" in sound(app)


def answer(store: Any, job_id: str, result: dict[str, Any]) -> None:
    """Finishes a queued job as the worker would."""
    from tltools.holders import this_process

    job = store.claim(this_process(), "quick", 30.0)
    assert job is not None and job.id == job_id
    assert store.finish(job, result)


def test_a_failed_run_says_what_to_do(home: Home, judged: str) -> None:
    from tltools.holders import this_process
    from tltools.records import Failure

    store = open_store(home)
    store.submit("study", {"study": judged}, title="Do notes help?", key=judged)
    job = store.claim(this_process(), "long", 30.0)
    assert job is not None
    store.fail(job, Failure(type="out_of_memory", what="The memory was full.", remedy="Take a smaller source."))
    app = opened("train/runs.py", study=judged)
    text = sound(app)
    assert "The memory was full" in text and "Take a smaller source" in text
    assert "Go on with it" in [button.label for button in app.button]


def test_what_predict_refused_was_told_there_and_stands_in_the_history_only(home: Home, judged: str) -> None:
    from tltools.holders import this_process
    from tltools.records import Failure

    store = open_store(home)
    for kind, title in (("rank", "Rank sources for notes"), ("predict", "Predict new tickets")):
        store.submit(kind, {"trial": "t"}, title=title, key=kind)
        job = store.claim(this_process(), "long" if kind == "rank" else "quick", 30.0)
        assert job is not None
        store.fail(job, Failure(type="bad_data", what="body: is no column of this file.", remedy="Add it."))
    app = opened("train/runs.py")
    assert [error.value.split("**")[1] for error in app.error] == ["Rank sources for notes did not finish."]
    assert "Predict new tickets" in list(app.dataframe[0].value["what"])


def test_a_long_run_is_shown_however_many_jobs_came_after_it(home: Home, judged: str) -> None:
    from tltools.holders import this_process

    store = open_store(home)
    store.submit("study", {"study": judged}, title="Do notes help?", key=judged)
    assert store.claim(this_process(), "long", 30.0) is not None
    for k in range(101):
        store.cancel(store.submit("predict", {"trial": "t"}, title="Predict one", key=str(k)).id)
    app = opened("train/runs.py")
    assert app.title[0].value == "Running now" and "Do notes help?" in sound(app)


def test_an_upload_that_was_kept_on_disk_leaves_the_servers_memory(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryUploadedFileManager("")
    monkeypatch.setattr(local_script_runner, "MemoryUploadedFileManager", lambda _: memory)
    app = opened("prepare/dataset.py")
    for box, name in zip(app.file_uploader, ("main.csv", "test.csv"), strict=True):
        box.set_value((name, b"a,b\n1,2\n", "text/csv"))
    press(app.run(), "Read it")
    asked = open_store(home).jobs(kinds=("ingest",))[0].payload
    assert Path(asked["path"]).read_bytes() == Path(asked["test"]).read_bytes() == b"a,b\n1,2\n"
    assert memory.file_storage and not any(memory.file_storage.values())


def test_a_draft_can_be_changed_before_it_is_stored(home: Home, tmp_path: Path) -> None:
    from tltools.holders import this_process
    from tltools.tickets import JobTicket

    path = tmp_path / "people.csv"
    path.write_text("name,height,city,kind\n" + "".join(f"p{i},{150 + i % 40},c{i % 3},k{i % 2}\n" for i in range(60)))
    store = open_store(home)
    queued = store.submit("ingest", {"path": str(path), "look": True, "name": "people"}, title="Read people", key="p")
    job = store.claim(this_process(), "quick", 30.0)
    assert job is not None
    store.finish(job, datasets.ingest_job(JobTicket(home, store, job), job.payload))
    app = opened("prepare/dataset.py", draft=queued.id)
    text = sound(app)
    assert app.title[0].value == "Is this right?" and not datasets.listing(home), "nothing is stored yet"
    assert "Add this dataset" in [button.label for button in app.button], text
    next(box for box in app.selectbox if box.label == "What is to be predicted").set_value("city").run()
    press(app, "Look again with these choices")
    again = store.jobs(kinds=("ingest",))[0]
    assert again.payload["target"] == "city" and again.payload["look"] and again.id != queued.id
    assert "inputs" not in again.payload, "inferred again: what was the target may now be read"


def test_columns_of_a_wide_table_can_be_left_out_on_screen(home: Home, tmp_path: Path) -> None:
    from tltools.holders import this_process
    from tltools.tickets import JobTicket

    path, store = tmp_path / "wide.csv", open_store(home)
    names = [f"m{k}" for k in range(15)]
    lines = [",".join([*(f"{(i * 7 + k) * (k + 3) % 31}" for k in range(15)), f"k{i % 2}"]) for i in range(60)]
    path.write_text("\n".join([",".join([*names, "kind"]), *lines]))
    queued = store.submit("ingest", {"path": str(path), "look": True, "name": "wide"}, title="Read it", key="w")
    job = store.claim(this_process(), "quick", 30.0)
    assert job is not None
    store.finish(job, datasets.ingest_job(JobTicket(home, store, job), job.payload))
    app = opened("prepare/dataset.py", draft=queued.id)
    shown = app.dataframe[0].value
    assert list(shown["m0"]) == [float(i * 7 * 3 % 31) for i in range(0, 60, 2)], "numbers, from everywhere"
    next(box for box in app.multiselect if box.label.startswith("Leave out of the 15")).set_value(["m3", "m4"]).run()
    press(app, "Look again with these choices")
    assert store.jobs(kinds=("ingest",))[0].payload["inputs"] == [name for name in names if name not in ("m3", "m4")]


def test_columns_of_zeros_and_ones_become_labels_on_screen(home: Home, tmp_path: Path) -> None:
    from tltools.holders import this_process
    from tltools.tickets import JobTicket

    path, store = tmp_path / "weather.csv", open_store(home)
    lines = [f"{i * 7 % 40},{i * 3 % 17},{i % 2},{i // 2 % 2},{i // 3 % 2}" for i in range(60)]
    path.write_text("\n".join(["height,speed,wet,cold,dark", *lines]))
    queued = store.submit("ingest", {"path": str(path), "look": True, "name": "weather"}, title="Read it", key="w")
    for asked in (queued, None):
        job = store.claim(this_process(), "quick", 30.0)
        assert job is not None
        store.finish(job, datasets.ingest_job(JobTicket(home, store, job), job.payload))
        app = opened("prepare/dataset.py", draft=job.id)
        if asked is not None:
            next(box for box in app.selectbox if box.label == "Task").set_value("multilabel").run()
            more = next(box for box in app.multiselect if box.label == "With these columns of 0 and 1")
            assert sorted(more.options) == ["cold", "wet"]
            more.set_value(["wet", "cold"]).run()
            press(app, "Look again with these choices")
    assert job.payload["target"] == "dark,wet,cold" and job.payload["task"] == "multilabel"
    text = sound(app)
    assert "multi-label classification of **dark,wet,cold** (3 labels)" in text, text
    cells = set().union(*(set(frame.value.get("dark,wet,cold", ())) for frame in app.dataframe))
    assert {"cold", "cold, dark", "no label"} <= cells and not any("|" in cell for cell in cells)
    assert "Add this dataset" in [button.label for button in app.button], text


def test_half_an_upload_on_a_full_disk_is_not_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tltools.ui import uploads

    def full(content: Any, file: Any, size: int) -> None:
        file.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        uploads.keep(home, "a.csv", io.BytesIO(b"x" * 10))
    assert not list(home.uploads.iterdir())


def test_uploads_get_names_of_our_making(home: Home) -> None:
    import io

    from tltools.ui import uploads

    path = uploads.keep(home, "../../etc/Évil Data (1).CSV", io.BytesIO(b"x" * 10))
    assert path.parent.parent == home.uploads and path.name == "evil-data-1.csv"
    assert uploads.safe_name("Übergröße 数.xlsx") == "ubergrosse.xlsx", "names stay known where letters have accents"
    assert uploads.safe_name("..") == "upload" and uploads.safe_name("a/b\\c.tar.gz") == "c-tar.gz"


def test_words_of_users_are_no_colours_icons_emojis_or_entities() -> None:
    from html import unescape

    from tltools.ui.words import esc

    for text in ("sold :red", "x :red[y]", ":material/home:", ":smile: :+1: :100:", "8:30"):
        assert not re.search(r":[\w+-]", esc(text)) and unescape(esc(text)).replace("\\", "") == text
    assert esc("AT&T &lt;b&gt; &#58;") == r"AT&T \&lt;b\&gt; \&#58;"


@pytest.mark.parametrize(
    "text",
    ["![x](http://e/p.png)", "[a](b)", "**b**", "`c`", "<img src=x>", "$x$", "# h", "- l", "~~s~~", "_e_", "1. l"],
)
def test_names_of_users_never_become_markup(text: str) -> None:
    from markdown_it import MarkdownIt

    from tltools.ui.words import esc

    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(esc(text))
    kinds = {token.type for block in blocks for token in block.children or [block]}
    assert kinds <= {"text", "text_special", "paragraph_open", "paragraph_close"}, kinds
