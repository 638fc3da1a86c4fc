"""How scores are shown: per cent where a score is a share, R2 as it is, and the metric named where it is another."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from tests.test_pages import hand_made, judged, notes, opened, server
from tltools import samples, studies
from tltools.home import Home
from tltools.records import Study
from tltools.reports import charts as report_charts
from tltools.reports import html, words
from tltools.tasks import tasks
from tltools.ui import arm_views, row_views, verdict_charts, widgets
from tltools.ui.charts import LIGHT

__all__ = ["judged", "notes", "server"]  # fixtures; every test here runs as in the web server


def numbers(home: Home, metric: str) -> Study:
    dataset = samples.add(home, "diabetes")
    return Study(
        dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("linear_probe",), controls=("classical",),
        fractions=(0.5, 1.0), draws=2, metric=metric,
    )  # fmt: skip


def table_of_arms(home: Home, study: Study) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table on screen, and how its columns are shown."""
    id, dataset = studies.save(home, study), samples.add(home, "diabetes")
    report = hand_made(id, dataset, study, studies.expand(home, study))
    seen = {"train_score": 0.84, "validation_score": 0.6, "train_gap": [0.24, 0.2, 0.28]}
    arms = tuple({**row, **seen, "metrics": {}} for row in report.arms)
    report = report.model_copy(update={"task": "regression", "metric": study.metric, "arms": arms})
    (home.studies / id / "report.json").write_text(report.model_dump_json())
    app: AppTest = opened("judge/compare.py", study=id)
    assert not app.exception
    frame = next(one for one in app.dataframe if "trained parameters" in one.value)
    return frame.value, json.loads(frame.proto.columns)


def test_r2_is_neither_multiplied_nor_rounded_as_per_cent(home: Home) -> None:
    study = numbers(home, "r2")
    table, columns = table_of_arms(home, study)
    assert table["score"].max() == 0.84 and columns["score"]["type_config"]["format"] == "%.3f"
    assert "(%)" not in columns["score"]["label"]
    metric = tasks()["regression"].metrics[0]
    frame = pd.DataFrame([{"title": "a", "kind": "control", "n_train": n, "score": 0.5, "low": 0.4, "high": 0.6,
                           "draws": 3, "seconds": 1.0} for n in (10, 20)])  # fmt: skip
    for chart in (
        verdict_charts.against_labels(frame, metric, LIGHT),
        verdict_charts.against_cost(frame, metric, "seconds", "seconds", LIGHT),
    ):
        assert "%" not in chart.layout.yaxis.title.text and max(chart.data[-1].y) == 0.5
    low, high = verdict_charts.against_labels(frame, metric, LIGHT).layout.yaxis.range
    assert low < 0.4 and high > 0.6, "an interval that is drawn lies within the chart"
    id = studies.study_id(study)
    page = html(hand_made(id, samples.add(home, "diabetes"), study, studies.expand(home, study)).model_copy(
        update={"task": "regression", "metric": "r2"}
    ))  # fmt: skip
    assert "0.8 to 0.88" in page and "80.0 to 88.0" not in page


def test_training_scores_name_their_metric_where_the_study_has_another(home: Home) -> None:
    table, columns = table_of_arms(home, numbers(home, "mae"))
    assert columns["score"]["label"] == "Mean absolute error"
    assert table["train: R2"].max() == 0.84 and table["validation: R2"].max() == 0.6
    assert set(table["over-fit by: points of R2"]) == {"+24.0 (20.0 to 28.0)"}


def test_shares_are_per_cent(home: Home, judged: str) -> None:
    app = opened("judge/compare.py", study=judged)
    frame = next(one for one in app.dataframe if "trained parameters" in one.value)
    assert frame.value["score"].max() == 84.0
    columns = json.loads(frame.proto.columns)
    assert columns["score"]["label"] == "Balanced accuracy (%)" and columns["arm"]["pinned"] is True


def test_numbers_have_no_confusion_and_errors_of_groups_have_a_name(home: Home) -> None:
    study = numbers(home, "r2")
    id, dataset = studies.save(home, study), samples.add(home, "diabetes")
    report = hand_made(id, dataset, study, studies.expand(home, study))
    arm = next(row for row in report.arms if row["kind"] == "transfer")
    row = {key: arm[key] for key in ("source", "strategy", "knobs", "fraction", "per_class", "n_train", "title")}
    groups = tuple(row | {"kind": "score", "column": "sex", "group": group, "metric": "mae", "score": 40.0, "low": 30.0,
                          "high": 50.0, "n": 40} for group in "MF")  # fmt: skip
    report = report.model_copy(update={"task": "regression", "metric": "r2", "groups": groups})
    (home.studies / id / "report.json").write_text(report.model_dump_json())
    app = opened("judge/compare.py", study=id)
    assert not {"Confusion", "By class"} & {tab.label for tab in app.tabs}
    app.session_state["compare_tab"] = "Groups"
    app.run()
    assert any("mean absolute error" in one.value for one in app.dataframe)
    assert not any("Over-confidence" in one.value for one in app.caption)


def test_what_was_predicted_for_a_row_of_many_labels_is_not_cut_off() -> None:
    many = "|".join(f"label number {k}" for k in range(30))
    note = row_views._note({"truth": many, "prediction": "circle|square", "surprise": 1.0})
    assert len(note) <= widgets.CAPTION and note.endswith("predicted: circle, square")


def test_names_of_points_close_by_stand_on_different_sides() -> None:
    frame = pd.DataFrame([{"title": name, "kind": "transfer", "n_train": 10, "score": score, "seconds": seconds}
                          for name, score, seconds in (("a", 0.80, 1.0), ("b", 0.81, 1.1), ("c", 0.81, 90.0),
                                                       ("d", 0.30, 1.0))])  # fmt: skip
    chart = verdict_charts.against_cost(frame, tasks()["classification"].metrics[0], "seconds", "seconds", LIGHT)
    sides = {trace.name: trace.textposition for trace in chart.data}
    assert sides == {"a": "bottom right", "b": "top right", "c": "top left", "d": "top right"}  # none runs out of it


def test_marks_of_a_cost_are_round_numbers_in_full() -> None:
    frame = pd.DataFrame({"title": ["a", "b"], "kind": "transfer", "n_train": 10, "score": 0.8,
                          "seconds": [0.2, 27.0], "trainable_parameters": [2_300, 22_567_686]})  # fmt: skip
    metric = tasks()["classification"].metrics[0]
    axes = [verdict_charts.against_cost(frame, metric, what, what, LIGHT).layout.xaxis
            for what in ("seconds", "trainable_parameters")]  # fmt: skip
    assert list(axes[0].ticktext) == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200", "500"]
    assert list(axes[1].ticktext) == ["1k", "10k", "100k", "1M", "10M", "100M"]
    points = [{"title": "a", "kind": "transfer", "x": count, "score": 0.8} for count in (2_300, 22_567_686)]
    drawn = report_charts.scatter(points, 100, "Accuracy", "trained parameters")
    assert "10,000,000</text>" in drawn and "e+0" not in drawn


def test_rates_of_groups_have_no_zero_below_zero() -> None:
    assert arm_views._rate((-0.0001, -0.1, -0.001)) == "0.000 (−0.10 to 0.00)"
    assert arm_views._metric("equalized_odds_difference") == "equalised odds difference", "as the chart above it says"


def test_one_arm_alone_has_an_axis_of_round_scores() -> None:
    frame = pd.DataFrame({"title": ["a"], "kind": "control", "n_train": 10, "score": 0.975, "seconds": 18.3})
    chart = verdict_charts.against_cost(frame, tasks()["classification"].metrics[0], "seconds", "seconds", LIGHT)
    low, high = chart.layout.yaxis.range
    assert low < 97 and 98 < high <= 100, "not 97.4999998 to 97.5000002"


def test_losses_of_one_epoch_are_points_and_ticks_are_whole_epochs() -> None:
    one = pd.DataFrame({"name": ["a"], "epoch": [2], "train_loss": [0.5], "validation_loss": [0.6]})
    chart = verdict_charts.learning(one, LIGHT)
    assert all("markers" in trace.mode for trace in chart.data) and chart.layout.xaxis.dtick == 1
    long = pd.concat([one.assign(epoch=k) for k in range(1, 42)])
    assert verdict_charts.learning(long, LIGHT).layout.xaxis.dtick == 5


def test_numbers_of_the_table_are_rounded_as_those_of_the_sentences(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = json.loads(path.read_text())
    for row in report["arms"]:
        row["score"] = 0.8125  # a browser makes 81.3 of it, Python 81.2
    path.write_text(json.dumps(report))
    app = opened("judge/compare.py", study=judged)
    assert any("**81.2 %**" in one.value for one in app.markdown)
    (table,) = [one.value for one in app.dataframe if "trained parameters" in one.value]
    assert set(table["score"]) == {81.2}


def test_of_an_untrained_source_the_screen_says_that_nothing_was_transferred(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = json.loads(path.read_text())
    verdicts = [row | {"untrained": True} for row in report["verdicts"]]
    path.write_text(json.dumps(report | {"verdicts": verdicts}))
    app = opened("judge/compare.py", study=judged)
    assert app.title[0].value == "Nothing was transferred: the source is untrained."


def test_a_title_of_no_difference_calls_nothing_a_difference(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = json.loads(path.read_text())
    verdicts = [row | {"verdict": "not_enough_evidence", "gain": 0.0} for row in report["verdicts"]]
    path.write_text(json.dumps(report | {"verdicts": verdicts}))
    app = opened("judge/compare.py", study=judged)
    assert app.title[0].value == "Not enough evidence: no difference was seen, but there may be one."


@pytest.mark.parametrize(("by_chance", "said"), [(0.05, 1), (0.4, 0)])
def test_who_predicts_is_told_that_probabilities_are_off(home: Home, judged: str, by_chance: float, said: int) -> None:
    path = home.studies / judged / "report.json"
    report = json.loads(path.read_text())
    arms = [row | {"ece": 0.372, "ece_by_chance": by_chance} for row in report["arms"]]
    path.write_text(json.dumps(report | {"arms": arms}))
    app = opened("judge/predict.py", study=judged)
    told = [
        one.value for one in app.caption if "at their word: on the test rows they were off by 37 points" in one.value
    ]
    assert not app.exception and len(told) == said


def test_a_report_without_a_verdict_says_so_and_what_was_tried(home: Home, judged: str) -> None:
    path = home.studies / judged / "report.json"
    report = json.loads(path.read_text())
    arms = [arm for arm in report["arms"] if arm["kind"] == "transfer"]
    headline = "No verdict yet: no arm and control share two finished draws."
    path.write_text(json.dumps(report | {"arms": arms, "verdicts": [], "sentences": [], "headline": headline}))
    app = opened("judge/compare.py", study=judged)
    assert app.title[0].value == headline and not any(headline in one.value for one in app.markdown)
    assert any("source MiniLM-L6" in one.value for one in app.caption)
    assert not app.metric, "of no verdict nothing is counted"


@pytest.mark.parametrize(("arms", "said"), [(1, ""), (2, "1 more arm does so too."), (3, "2 more arms do so too.")])
def test_other_arms_that_over_fit_are_counted(arms: int, said: str) -> None:
    row = {"title": "A", "n_train": 100, "kind": "transfer", "train_gap": [0.2, 0.1, 0.3]}
    assert words.over_fitted([row] * arms)[0].partition("add labels.")[2].strip() == said
