"""An experiment that ran elsewhere is judged as a study is; a table that cannot be judged is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import scripts
from tests.test_fold_reports import judged as in_folds
from tests.test_pages import opened, sound
from tests.test_pages import server as server  # the page is drawn as in the web server
from tests.test_reports import make, people, study_of
from tltools import reports
from tltools.home import Home
from tltools.records import Refusal
from tltools.reports import elsewhere
from tltools.store import open_store


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "auroc", "log_loss", "r2", "mae"])
def test_what_ran_elsewhere_is_judged_as_a_study(home: Home, tmp_path: Path, metric: str) -> None:
    dataset = people(home, tmp_path, number=metric in {"r2", "mae"})
    study = study_of(dataset, metric=metric, fractions=(0.1, 0.3, 1.0))
    report = reports.judge(home, open_store(home), make(home, dataset, study))
    table = elsewhere.written(home, report)
    table["row"] = table["row"].map("{:05d}".format)  # in the order of the rows by name, too
    table.to_parquet(tmp_path / "runs.parquet", index=False)
    controls = {row["title"] for row in report.arms if row["kind"] == "control"}
    found = elsewhere.judge(elsewhere.read(tmp_path / "runs.parquet"), sorted(controls), metric=metric).answer
    assert found["metric"] == metric and found["rows"]["test"] == report.rows["test"]
    for kind, fields in (
        ("verdicts", ("gain", "low", "high", "p_better", "p_worse", "mde", "needed_draws")),
        ("labels_saved", ("multiplier", "low", "high", "bound", "sure")),
        ("arms", ("score", "low", "high", "kind", "best_set")),
    ):
        ours = {(row["title"], row["n_train"]): row for row in getattr(report, kind)}
        theirs = {(row["arm"], row["n_train"]): row for row in found[kind]}
        assert set(ours) == set(theirs)
        for key, row in theirs.items():
            for field in fields:  # a study knows shares of the labels, of which whole numbers are only near
                other = ours[key][field]
                near = pytest.approx(other, rel=1e-3, abs=1e-3) if isinstance(other, int | float) else other
                assert row.get(field) == near, (key, field)
            assert row.get("verdict") == ours[key].get("verdict")
            assert row.get("against") == ours[key].get("against_title")


def scored(rows: int = 120, draws: int = 4, seed: int = 0) -> pd.DataFrame:
    """Hits of three arms, of which `tuned` is the best by far."""
    random, lines = np.random.default_rng(seed), []
    for arm, skill in (("tuned", 0.9), ("scratch", 0.6), ("counts", 0.5)):
        for draw in range(draws):
            hits = random.random(rows) < skill
            lines.append(pd.DataFrame({"arm": arm, "draw": draw, "row": np.arange(rows), "score": hits * 1.0}))
    return pd.concat(lines, ignore_index=True)


def judged(table: pd.DataFrame, folder: Path, **more: Any) -> dict[str, Any]:
    table.to_csv(folder / "runs.csv", index=False)
    asked = {"controls": ["scratch", "counts"], **more}
    return elsewhere.judge(elsewhere.read(folder / "runs.csv", asked.pop("labels_used", 64)), **asked).answer


def test_scores_alone_will_do_and_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    table = scored()
    found = judged(table, tmp_path)
    (row,) = found["verdicts"]
    assert row["verdict"] == "positive" and row["against"] == "scratch" and row["n_train"] == 64
    mean = table.groupby("arm")["score"].mean()
    assert row["gain"] == pytest.approx(mean["tuned"] - mean["scratch"])
    assert found["headline"].startswith("Transfer helps: with 64 labels, tuned beats the best control (scratch) by ")
    again = judged(table.sample(frac=1, random_state=1), tmp_path)
    assert again["verdicts"][0]["low"] == pytest.approx(row["low"])


def test_of_losses_lower_is_better(tmp_path: Path) -> None:
    table = scored()
    table["score"] = 3 - 2 * table["score"]
    (row,) = judged(table, tmp_path, lower=True)["verdicts"]
    assert row["verdict"] == "positive" and row["gain"] > 0
    (turned,) = judged(table, tmp_path)["verdicts"]
    assert turned["verdict"] == "negative" and turned["gain"] < 0


def test_predictions_alone_are_judged_by_balanced_accuracy(tmp_path: Path) -> None:
    table = scored()
    truth = np.where(table["row"] % 4 == 0, "rare", "usual")
    other = np.where(table["row"] % 4 == 0, "usual", "rare")
    table["Truth"], table["Prediction"] = truth, np.where(table["score"] > 0, truth, other)
    found = judged(table.drop(columns="score"), tmp_path)
    hits = table.assign(truth=truth).groupby(["arm", "truth"])["score"].mean().unstack().mean(axis=1)
    scores = {row["arm"]: row["score"] for row in found["arms"]}
    assert found["metric"] == "balanced_accuracy" and scores == pytest.approx(hits.to_dict())


def test_the_command_prints_the_verdict(home: Home, tmp_path: Path) -> None:
    scored().to_csv(tmp_path / "runs.csv", index=False)
    words = ("judge", str(tmp_path / "runs.csv"), "--control", "scratch", "--control", "counts")
    environment = {"TLTOOLS_HOME": str(home.root)}
    said = scripts.command((*words, "--labels", "64"), environment, tmp_path)
    assert said.returncode == 0 and said.stdout.startswith("Transfer helps") and "▲ positive" in said.stdout
    document = scripts.command((*words, "--labels", "64", "--json"), environment, tmp_path)
    assert json.loads(document.stdout)["verdicts"][0]["verdict"] == "positive"
    refused = scripts.command((*words, "--json"), environment, tmp_path)
    assert refused.returncode == 2 and "'labels'" in json.loads(refused.stdout)["problems"][0]["what"]


def changed(column: str, value: Any, line: int = 7) -> pd.DataFrame:
    table = scored()
    table[column] = table[column].astype(object)
    table.loc[line, column] = value
    return table


def with_truth() -> pd.DataFrame:
    table = scored()
    table["truth"] = np.where(table["row"] % 2, "yes", "no")
    return table.assign(prediction=table["truth"]).drop(columns="score")


def folded(line: int | None, fold: int | None) -> pd.DataFrame:
    table = scored()
    table["fold"] = table["row"] % 3 + (line is not None)
    if line is None:
        table.loc[(table["draw"] == 1) & (table["fold"] == 2), "fold"] = 1
    else:
        table.loc[line, "fold"] = fold
    return table


BROKEN: dict[str, tuple[pd.DataFrame, dict[str, Any], tuple[str, ...]]] = {
    "no arms": (scored().drop(columns="arm"), {}, ("runs.csv", "'arm'", "score, or truth and prediction")),
    "neither": (scored().drop(columns="score"), {}, ("runs.csv", "'score'")),
    "two scores": (scored().assign(Score=0.5), {}, ("'score' more than once",)),
    "no labels": (scored(), {"labels_used": None}, ("'labels'", "--labels N")),
    "zero labels": (scored(), {"labels_used": 0}, ("line 2", "labels is 0")),
    "a word for a score": (changed("score", "good"), {}, ("line 9", "none that is a number")),
    "words for scores": (scored().assign(score="good"), {}, ("line 2", "score is 'good'")),
    "an empty score": (changed("score", None), {}, ("line 9", "has no score")),
    "an empty arm": (changed("arm", None), {}, ("line 9", "has no arm")),
    "a line twice": (changed("row", 6), {}, ("line 9", "row '6' a second time")),
    "another row": (changed("row", 999), {}, ("no row", "same rows")),
    "an unknown control": (scored(), {"controls": ["scrach"]}, ("no arm 'scrach'", "'counts', 'scratch', 'tuned'")),
    "no control": (scored(), {"controls": []}, ("which are controls",)),
    "controls alone": (scored(), {"controls": ["scratch", "counts", "tuned"]}, ("no arm shares a draw",)),
    "a metric of scores": (scored(), {"metric": "mae"}, ("is for predictions",)),
    "an unknown metric": (with_truth(), {"metric": "acc"}, ("metric 'acc'", "balanced_accuracy, accuracy, macro_f1")),
    "no probabilities": (with_truth(), {"metric": "auroc"}, ("p_CLASS",)),
    "another fold": (folded(487, 3), {}, ("line 489", "fold '3'", "in another elsewhere")),
    "a fold less": (folded(None, None), {"controls": ["counts"]}, ("has no fold '2'", "as many folds")),
    "a negative margin": (scored(), {"margin": -0.1}, ("margin",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, name: str) -> None:
    table, more, said = BROKEN[name]
    with pytest.raises(Refusal) as refusal:
        judged(table, tmp_path, **more)
    sentence = refusal.value.problems[0].sentence()
    assert all(part in sentence for part in said), sentence


def test_a_row_with_two_truths_is_refused_with_its_line(tmp_path: Path) -> None:
    table = with_truth()
    table.loc[200, "truth"] = "no" if table.loc[200, "truth"] == "yes" else "yes"
    with pytest.raises(Refusal, match="line 202"):
        judged(table, tmp_path)


def test_the_compare_screen_takes_a_table_and_says_its_verdict(home: Home) -> None:
    app = opened("judge/compare.py")
    assert "Drop a CSV" in sound(app)
    table = scored().to_csv(index=False).encode()
    app.file_uploader(key="elsewhere_file").set_value(("runs.csv", table, "text/csv"))
    app.run()
    assert "'labels'" in "".join(str(part.value) for part in (*app.error, *app.markdown)) and not app.multiselect
    app.number_input(key="elsewhere_labels").set_value(64).run()
    assert not app.error and app.multiselect(key="elsewhere_controls").options == ["counts", "scratch", "tuned"]
    app.multiselect(key="elsewhere_controls").set_value(["scratch", "counts"]).run()
    sound(app)
    assert any(part.value.startswith("Transfer helps: with 64 labels, tuned beats") for part in app.subheader)


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_folds_are_judged_as_folds(home: Home, tmp_path: Path, metric: str) -> None:
    report = in_folds(home, people(home, tmp_path, rows=150), metric=metric)
    elsewhere.written(home, report).to_csv(tmp_path / "said.csv", index=False)
    found = elsewhere.judge(elsewhere.read(tmp_path / "said.csv"), ["Classical"], metric=metric).answer
    (ours,), (theirs,) = report.verdicts, found["verdicts"]
    for field in ("gain", "low", "high", "p_better", "draws"):
        assert theirs[field] == pytest.approx(ours[field], rel=1e-6)
    assert theirs["verdict"] == ours["verdict"] and "by 2 × 3-fold cross-validation" in found["headline"]


def test_what_says_several_things_of_a_row_has_no_such_table(home: Home, tmp_path: Path) -> None:
    report = in_folds(home, people(home, tmp_path, rows=150), repeats=1).model_copy(update={"task": "detection"})
    with pytest.raises(Refusal, match="more than one thing of a row"):
        elsewhere.written(home, report)


def test_the_command_writes_what_every_arm_said(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=200)
    report = reports.judge(home, open_store(home), make(home, dataset, study_of(dataset, fractions=(1.0,))))
    words = ("report", report.study, "--predictions", str(tmp_path / "said.csv"))
    done = scripts.command(words, {"TLTOOLS_HOME": str(home.root)}, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = pd.read_csv(tmp_path / "said.csv")
    assert len(lines) == 4 * 4 * report.rows["test"] and {"p_no", "p_yes", "truth", "prediction"} <= set(lines)
    found = elsewhere.judge(elsewhere.read(tmp_path / "said.csv"), ["Classical"]).answer
    assert len(found["verdicts"]) == 3
