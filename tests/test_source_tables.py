"""From one table to another: columns are matched, the network and the trees carry over, and the report says so."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.hospitals import NET, RENAMED, Hospitals, make
from tltools import commands, datasets, matching, reports, source_commands, sources, studies, trials
from tltools.engine import boosting, classical_tables, export, predict, rank, trial_model
from tltools.engine.backbone import load_backbone
from tltools.engine.tabular_backbone import TabularBackbone
from tltools.records import Refusal
from tltools.strategies import strategies
from tltools.tasks import tasks
from tltools.tickets import QuietTicket
from tltools.ui import column_views


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return make(tmp_path_factory.mktemp("hospitals"))


def test_renamed_columns_are_found_and_the_fit_says_how_many(hospitals: Hospitals) -> None:
    home, second = hospitals.home, hospitals.second
    cell = sources.fit(home, sources.get(home, hospitals.source), second)
    assert cell.fits and cell.why == "Knows 6 of 7 columns from first; 1 start new."
    assert {match.column: match.source for match in cell.columns} == {"ward": None, **RENAMED}
    assert all(matching.LEAST <= match.sure < 1 and "alike" in match.why for match in cell.columns if match.source)
    card = sources.get(home, hospitals.source, second)
    assert card.columns == RENAMED and card.continues
    assert any("diagnosis" not in warning and "dents" in warning for warning in cell.warnings), (
        "doubtful ones are named"
    )


def test_a_table_without_a_known_column_does_not_fit(hospitals: Hospitals, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "blue"], 60), "taste": rng.choice(["a", "b", "c"], 60),
                          "kind": ["x", "y"] * 30})  # fmt: skip
    frame.to_csv(tmp_path / "fruit.csv", index=False)
    fruit = datasets.add(hospitals.home, tmp_path / "fruit.csv", target="kind")
    cell = sources.fit(hospitals.home, sources.get(hospitals.home, hospitals.source), fruit)
    assert not cell.fits and "knows no column" in cell.why and cell.instead == NET
    card = sources.get(hospitals.home, hospitals.source, fruit)
    assert not card.columns and not trials.usable(strategies()["boosted_continuation"], card)


def test_matched_columns_take_over_encoder_and_statistics_and_others_start_new(hospitals: Hospitals) -> None:
    home = hospitals.home
    theirs = trial_model.load(home, hospitals.source.removeprefix("own/")).backbone
    made = load_backbone(home, sources.get(home, hospitals.source, hospitals.second))
    items = datasets.items(home, hospitals.second, "tabular")
    made.fit_items(items, np.arange(len(items)))
    assert isinstance(made, TabularBackbone) and isinstance(theirs, TabularBackbone)
    assert set(made.shared) == set(RENAMED) and made.categories == ("ward",)
    for name, its in RENAMED.items():
        ours, known = made.numbers.index(name), theirs.numbers.index(its)
        for part in ("vector", "bias", "missing"):
            mine, old = (getattr(one.core.columns.numbers, part).view(-1, 128) for one in (made, theirs))
            assert torch.equal(mine[ours], old[known]), (name, part)
        assert made.core.columns.numbers.mean[ours] == theirs.core.columns.numbers.mean[known]
    assert torch.equal(made.core.blocks[0].widen.weight, theirs.core.blocks[0].widen.weight)


def test_a_column_in_another_unit_keeps_its_own_statistics(hospitals: Hospitals) -> None:
    home = hospitals.home
    made = load_backbone(home, sources.get(home, hospitals.source, hospitals.second))
    items = datasets.items(home, hospitals.second, "tabular").copy()
    items["WorstArea"] *= 1000.0
    made.fit_items(items, np.arange(len(items)))
    place = made.numbers.index("WorstArea")
    assert made.core.columns.numbers.mean[place] == pytest.approx(items["WorstArea"].mean(), rel=1e-4)


def test_a_table_source_is_ranked_the_same_each_time_and_its_rows_are_near_whatever_else_is_new(
    hospitals: Hospitals,
) -> None:
    ticket = QuietTicket(hospitals.home)
    asked = {"dataset": hospitals.second.id, "sources": [hospitals.source]}
    (first,), (again,) = (rank.run(ticket, asked)["ranking"] for _ in range(2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert first["domain"]["dataset"] == hospitals.first.name
    assert first["domain"]["told"] < 0.6, "rows of one table, shuffled: only a column of its own tells the second"


def test_a_study_changes_matches_and_its_trials_are_others(hospitals: Hospitals) -> None:
    home, study = hospitals.home, hospitals.study
    before = {trial.id for trial in studies.expand(home, study)}
    same = study.model_copy(update={"columns": {hospitals.source: {"smoothness": "mean smoothness"}}})
    assert {trial.id for trial in studies.expand(home, same)} == before, "what is matched decides, not who said so"
    dropped = study.model_copy(
        update={"columns": {hospitals.source: {"dents": None, "smoothness": "mean concave points"}}}
    )
    assert studies.parse(studies.dump(dropped)) == dropped
    after = studies.expand(home, dropped)
    classical = {trial.id for trial in after if trial.source == "none"}
    assert {trial.id for trial in after} & before == classical and classical
    card = sources.get(home, hospitals.source, hospitals.second, dropped.columns[hospitals.source])
    assert "dents" not in card.columns and card.columns["smoothness"] == "mean concave points"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"smothness": None}, "is no input column"),
        ({"smoothness": "mean colour"}, "which the source's table lacks"),
        ({"ward": "mean radius"}, "holds categories, but 'mean radius' holds numbers"),
        ({"smoothness": "mean radius", "dents": "mean radius"}, "as another column is"),
    ],
)
def test_changes_that_cannot_be_are_refused(hospitals: Hospitals, changes: dict[str, str | None], said: str) -> None:
    study = hospitals.study.model_copy(update={"columns": {hospitals.source: changes}})
    problems = [problem for problem in studies.check(hospitals.home, study) if problem.severity == "error"]
    assert any(said in problem.what for problem in problems), problems


def test_columns_of_a_source_that_is_not_chosen_are_refused(hospitals: Hospitals) -> None:
    study = hospitals.study.model_copy(update={"columns": {NET: {"ward": None}}})
    assert any(NET in problem.where for problem in studies.check(hospitals.home, study) if problem.severity == "error")


def test_boosting_continued_starts_at_what_the_source_says(hospitals: Hospitals) -> None:
    home, dataset = hospitals.home, hospitals.second
    learnt = boosting.learnt_rows(home, sources.get(home, hospitals.source, dataset), dataset)
    assert list(learnt[0].columns) == list(dataset.inputs) and learnt[0]["ward"].isna().all()
    _, split = studies.split_of(home, hospitals.study)
    items, targets = datasets.items(home, dataset, "tabular"), datasets.target(home, dataset)
    rows = np.array([np.flatnonzero(targets == code)[k] for code in (0, 1) for k in range(4)])
    test = np.setdiff1d(np.arange(len(targets)), rows)
    knobs = {"trees": 120, "learning_rate": 0.05}
    fitted = boosting.Continued(dataset, tasks()[dataset.task], learnt, items.iloc[rows], targets[rows], knobs, seed=1)
    trees = fitted.model[-1]
    staged = list(trees.staged_predict_proba(fitted.model[0].transform(items.iloc[test])))
    assert len(staged) == 240
    alone = classical_tables.trees("classes", len(rows), 1).set_params(early_stopping=False)
    alone.fit(boosting.snapped(fitted.model[0].transform(learnt[0])), learnt[1])
    said = alone.predict_proba(fitted.model[0].transform(items.iloc[test]))
    assert np.corrcoef(staged[119][:, 1], said[:, 1])[0, 1] > 0.98, "the first half are trees of the source's rows"
    assert (staged[119].argmax(1) == targets[test]).mean() > 0.85, "which know the columns by other names"
    assert np.abs(staged[239] - staged[119]).max() > 1e-3, "the second half are the trial's own"


def test_a_continued_fit_finds_the_same_bins_both_times() -> None:
    rng = np.random.default_rng(0)
    table = boosting.snapped(pd.DataFrame({"x": rng.normal(size=900), "y": rng.normal(size=900).round(1)}))
    assert table["x"].nunique() == 200 and set(table["y"]) == set(np.unique(table["y"]))
    targets, own = (table["x"] + rng.normal(0, 0.3, 900) > 0).to_numpy().astype(int), np.arange(900) >= 800
    trees = boosting.continued("classes", 100, 1, trees=120, rate=0.05)
    trees.fit(table, targets, sample_weight=boosting._weights("classes", targets, ~own))
    bins = [thresholds.copy() for thresholds in trees._bin_mapper.bin_thresholds_]
    trees.set_params(max_iter=130)
    trees.fit(table, targets, sample_weight=boosting._weights("classes", targets, own))
    for before, after in zip(bins, trees._bin_mapper.bin_thresholds_, strict=True):
        assert np.array_equal(before, after), "else the second fit would misread the first trees"


def test_boosting_continued_is_judged(hospitals: Hospitals) -> None:
    report = reports.load(hospitals.home, studies.study_id(hospitals.study))
    assert {row["strategy"] for row in report.verdicts} == {"linear_probe", "full_finetune", "boosted_continuation"}
    card = trial_model.card_of(hospitals.home, hospitals.trials["boosted_continuation"])
    assert card["method"] == "boosting continued" and card["n_train"] == 60 and card["n_source"] > 200


def test_boosting_continued_predicts_and_leaves_as_a_control_does(hospitals: Hospitals, tmp_path: Path) -> None:
    home, trial = hospitals.home, hospitals.trials["boosted_continuation"]
    model = trial_model.load(home, trial)
    stored = model.stored()
    items = datasets.items(home, hospitals.second, "tabular").iloc[stored["row"].to_numpy()]
    assert np.allclose(model.outputs(items), stored[["p_0", "p_1"]], atol=1e-6), "fitted again, it says the same"
    row = {name: (None if name == "ward" else float(items[name].iloc[0])) for name in items}
    told = predict.run(QuietTicket(home), {"trial": trial, "items": [row]})
    assert told["predictions"][0]["prediction"] in hospitals.second.classes
    left = export.run(QuietTicket(home), {"trial": trial, "to": str(tmp_path / "left")})
    assert left["replay"]["agrees"], left["replay"]


def test_a_source_of_other_classes_says_why_boosting_cannot_continue(hospitals: Hospitals, tmp_path: Path) -> None:
    table = datasets.rows(hospitals.home, hospitals.second.id).drop(columns=["_where", "_part"])
    table["diagnosis"] = table["diagnosis"].map({"malignant": "bad", "benign": "good"})
    table.to_csv(tmp_path / "third.csv", index=False)
    third = datasets.add(hospitals.home, tmp_path / "third.csv", target="diagnosis")
    card = sources.get(hospitals.home, hospitals.source, third)
    boosted = strategies()["boosted_continuation"]
    assert card.columns and not card.continues and not trials.usable(boosted, card)
    assert "these classes" in trials.unusable(boosted, card)
    study = hospitals.study.model_copy(update={"dataset": third.id})
    notes = [p for p in studies.check(hospitals.home, study) if p.where == "strategy boosted_continuation"]
    assert [note.severity for note in notes] == ["note"]


def test_a_trial_on_the_second_table_is_a_source_again(hospitals: Hospitals) -> None:
    home = hospitals.home
    card = sources.get(home, f"own/{hospitals.trials['full_finetune']}", hospitals.first)
    assert card.columns == {its: name for name, its in RENAMED.items()}
    made = load_backbone(home, card)
    made.fit_items(datasets.items(home, hospitals.first, "tabular"), np.arange(50))
    assert set(made.shared) == set(RENAMED.values())
    stored = json.loads((home.trials / hospitals.trials["full_finetune"] / "card.json").read_text())
    assert stored["source"]["columns"] == RENAMED and stored["columns"]["shared"] == list(RENAMED)
    with pytest.raises(Refusal, match="must name a finished trial"):
        sources.get(home, "own/0000000000000000", hospitals.first)


def test_an_edited_table_of_matches_says_what_was_changed(hospitals: Hospitals) -> None:
    matches = matching.between(hospitals.home, sources.get(hospitals.home, hospitals.source), hospitals.second)
    table = column_views.frame_of(matches)
    assert column_views.changed(matches, table) == {}
    there = column_views.HEAD["theirs"]
    table.loc[table[there] == "mean concave points", there] = column_views.NEW
    table.loc[table[there] == "mean smoothness", there] = "mean concave points"
    assert column_views.changed(matches, table) == {"dents": None, "smoothness": "mean concave points"}


def test_the_command_line_and_the_plan_tell_the_matches(hospitals: Hospitals, tmp_path: Path) -> None:
    home = hospitals.home
    code, answer, lines = source_commands.listed(home, Namespace(dataset=hospitals.second.id))
    (cell,) = [entry for entry in answer["sources"] if entry["id"] == hospitals.source]
    assert code == 0 and {match["column"]: match["source"] for match in cell["columns"]} == {"ward": None, **RENAMED}
    assert any("dents" in line and "mean concave points" in line for line in lines)
    study = hospitals.study.model_copy(update={"columns": {hospitals.source: {"dents": None}}})
    (tmp_path / "study.yaml").write_text(studies.dump(study))
    _, answer, lines = commands.plan(home, Namespace(study=str(tmp_path / "study.yaml"), measure=False))
    told = {match["column"]: match["why"] for match in answer["columns"][hospitals.source]}
    assert told["dents"] == "dropped by hand: starts new" and any("Knows 5 of 7 columns" in line for line in lines)
