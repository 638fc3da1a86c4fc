"""Folds: each row tested once a repeat by models that never saw it, arms on the same folds, judged by the correlated t.

Run alone: python -m pytest tests/test_folds.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.folds import coverage
from tltools import datasets, folds, reports, samples, sources, splits, studies
from tltools.engine import study as engine
from tltools.engine.kit import EngineKit
from tltools.engine.trial_model import load
from tltools.home import Home, write_json
from tltools.judging.folds import Design, correlated, detectable, replicates, weigh
from tltools.judging.multiplicity import against_best, family, without_luck
from tltools.judging.needed import needed_draws, needed_rows, open_ways
from tltools.records import Dataset, Folds, Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

SHORT = {"epochs": 1, "min_steps": 4}


@pytest.fixture
def wine(home: Home) -> Dataset:
    return samples.add(home, "wine")


def asked(dataset: Dataset, **more: object) -> Study:
    fields = {"sources": ("bundled/table-net",), "strategies": ({"full_finetune": SHORT},), "controls": ("classical",),
              "folds": {"repeats": 2, "k": 3}}  # fmt: skip
    return Study.model_validate({"dataset": dataset.id, **fields, **more})


def errors(home: Home, study: Study) -> str:
    return " ".join(one.sentence() for one in studies.check(home, study) if one.severity == "error")


def letters(home: Home, folder: Path, rows: int = 60, **columns: object) -> Dataset:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=rows).round(6), "kind": ["a", "b"] * (rows // 2)} | columns)
    table.to_csv(folder / "letters.csv", index=False)
    return datasets.add(home, folder / "letters.csv", target="kind", inputs=["size"], task="classification")


# --- the folds -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=150), st.integers(2, 6), st.integers(0, 3))
def test_rows_are_dealt_out_evenly_within_each_class_and_in_all(codes: list[int], k: int, seed: int) -> None:
    targets = np.array(codes)
    where = splits.fold_numbers(targets, np.arange(len(codes)), k, seed)
    for rows in [np.arange(len(codes)), *(np.flatnonzero(targets == code) for code in set(codes))]:
        counts = np.bincount(where[rows], minlength=k)
        assert counts.sum() == len(rows) and counts.max() - counts.min() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=30, max_size=150), st.integers(0, 3))
def test_groups_stay_together(rows: list[tuple[int, int]], seed: int) -> None:
    targets, groups = np.array(rows).T
    where = splits.fold_numbers(targets, groups, 5, seed)
    for group in np.unique(groups):
        if (groups == group).sum() <= max(20, 0.1 * len(rows)):
            assert len(set(where[groups == group])) == 1


def test_every_row_is_tested_once_a_repeat_and_never_by_a_model_that_saw_it(home: Home, wine: Dataset) -> None:
    made = folds.make(home, wine, Folds(repeats=3, k=5), group=None, seed=0)
    assert len(made) == 15 == len({one.id for one in made})
    clusters = datasets.clusters(home, wine.id)
    for repeat in range(3):
        tested = np.concatenate([one.test for one in made[5 * repeat : 5 * repeat + 5]])
        assert sorted(tested) == list(range(wine.rows))
    for one in made:
        assert sorted([*one.train, *one.validation, *one.test]) == list(range(wine.rows))
        assert 0.1 < len(one.validation) / (len(one.train) + len(one.validation)) < 0.2
        assert not set(clusters[list(one.test)]) & set(clusters[[*one.train, *one.validation]])
        assert datasets.stored_split(home, one.id) == one and "no part is locked away" in one.note
    assert made[0].test != made[5].test and folds.make(home, wine, Folds(repeats=3, k=5), group=None, seed=0) == made


def test_rows_of_a_group_are_never_on_both_sides_of_a_fold(home: Home, tmp_path: Path) -> None:
    shops = [f"shop {k // 4}" for k in range(60)]
    dataset = letters(home, tmp_path, shop=shops)
    for one in folds.make(home, dataset, Folds(repeats=2, k=5), group="shop", seed=0):
        assert not {shops[k] for k in one.test} & {shops[k] for k in (*one.train, *one.validation)}
        assert one.grouped_by == "shop"


def test_large_groups_stay_together_while_a_fold_can_hold_them(home: Home, tmp_path: Path) -> None:
    patients = [f"patient {k // 25}" for k in range(200)]
    dataset = letters(home, tmp_path, rows=200, patient=patients)
    for one in folds.make(home, dataset, Folds(repeats=1, k=5), group="patient", seed=0):
        assert not {patients[k] for k in one.test} & {patients[k] for k in (*one.train, *one.validation)}
    torn = [p for p in studies.check(home, asked(dataset, group="patient", folds={"k": 10})) if "torn apart" in p.what]
    assert len(torn) == 1 and "8 group(s)" in torn[0].what and "smaller k" in torn[0].remedy
    whole = studies.check(home, asked(dataset, group="patient", folds={"k": 5}))
    assert not any("torn apart" in p.what for p in whole)
    (parts,) = [p for p in studies.check(home, asked(dataset, group="patient", folds=None)) if "torn apart" in p.what]
    assert "cross-validation with so few folds" in parts.remedy, "as the folds above, which tear nothing apart"


def test_copies_in_another_group_are_named(home: Home, tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 5)).round(6), columns=list("vwxyz"))
    table["kind"], table["shop"] = ["a", "b"] * 30, [f"shop {k // 4}" for k in range(60)]
    table.loc[58, list("vwxyz")] = table.loc[0, list("vwxyz")]
    table.to_csv(tmp_path / "copies.csv", index=False)
    dataset = datasets.add(home, tmp_path / "copies.csv", target="kind", inputs=list("vwxyz"), task="classification")
    said = [p.what for p in studies.check(home, asked(dataset, group="shop", folds={"k": 5}))]
    assert any("2 rows have a near copy in another group" in what for what in said)


def test_all_arms_of_a_study_have_the_same_folds(home: Home, wine: Dataset) -> None:
    study = asked(wine, controls=("scratch", "classical"), fractions=(0.5, 1.0))
    splits_of: dict[int, set[str]] = {}
    trials = studies.expand(home, study)
    for trial in trials:
        splits_of.setdefault(trial.draw, set()).add(trial.split)
    assert len(trials) == 3 * 2 * 6 and sorted(splits_of) == list(range(6))
    assert all(len(found) == 1 for found in splits_of.values())
    usual = studies.expand(home, study.model_copy(update={"folds": None}))
    assert not {trial.id for trial in trials} & {trial.id for trial in usual}


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_folds_survive_the_study_file_and_are_checked_there(wine: Dataset) -> None:
    study = asked(wine)
    assert studies.parse(studies.dump(study)) == study and "folds: {repeats: 2, k: 3}" in studies.dump(study)
    assert studies.parse(f"dataset: {wine.id}\nfolds: {{}}\n").folds == Folds(repeats=5, k=5)
    with pytest.raises(Refusal, match=r"folds\.k: .*greater than or equal to 2; got '1'"):
        studies.parse(f"dataset: {wine.id}\nfolds: {{k: 1}}\n")


def test_a_study_of_folds_is_in_order_and_says_what_it_gives_up(home: Home, wine: Dataset) -> None:
    assert not errors(home, asked(wine))
    (note,) = [one for one in studies.check(home, asked(wine)) if one.where == "locked test part"]
    assert note.severity == "note" and "no row stays untouched" in note.what
    assert not any(one.where == "test part" for one in studies.check(home, asked(wine)))
    told = next(one for one in studies.check(home, asked(wine, folds=None)) if one.where == "test part")
    assert "judge by folds" in told.remedy
    seconds = studies.estimate(home, open_store(home), asked(wine)).seconds
    said = studies.estimate(home, open_store(home), asked(wine, budget={"minutes": 0.97 * seconds / 60})).sentences
    assert any("fewer folds of" in one for one in said)


def test_what_does_not_go_with_folds_is_refused(home: Home, wine: Dataset) -> None:
    assert "adaptive: cannot go with folds" in errors(home, asked(wine, adaptive=True))
    assert not errors(home, asked(wine, sensitive=("alcohol",)))


def test_a_class_that_a_fold_would_lack_is_named(home: Home, tmp_path: Path) -> None:
    dataset = letters(home, tmp_path, kind=["a"] * 57 + ["b"] * 3)
    said = errors(home, asked(dataset, folds={"repeats": 2, "k": 5}))
    assert "must all test every class; 4 of 10 have no 'b'. Use a smaller k" in said


def test_a_test_part_of_the_users_own_stays_locked(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, rows in (("train", 60), ("test", 30)):
        table = pd.DataFrame({"size": rng.normal(size=rows).round(6), "kind": ["a", "b"] * (rows // 2)})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    dataset = datasets.add(home, tmp_path / "train.csv", test=tmp_path / "test.csv", target="kind")
    assert "folds: would train on the test part" in errors(home, asked(dataset))


def test_large_and_tiny_datasets_need_no_folds(home: Home, wine: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_ROWS", 100)
    assert "are for 6 to 100 rows; " in errors(home, asked(wine))


def test_a_source_that_was_trained_on_rows_to_be_tested_is_refused(home: Home, wine: Dataset) -> None:
    fold, usual = studies.expand(home, asked(wine))[0], studies.expand(home, asked(wine, folds=None))[0]
    for trial in (fold, usual):
        write_json(home.trials / trial.id / "card.json", {"trial": trial.model_dump(mode="json")})
    table = sources.get(home, "bundled/table-net")
    of_fold, of_usual = (
        table.model_copy(update={"id": f"own/{one.id}", "trained_on": wine.id}) for one in (fold, usual)
    )
    tested = np.array(studies.split_of(home, asked(wine, folds=None))[1].test)
    known = datasets.stored_split(home, fold.split)
    assert folds.learnt_of(home, of_usual, wine, tested) == folds.learnt_of(home, table, wine, tested) == 0
    assert folds.learnt_of(home, of_fold, wine, tested) == len(set(tested.tolist()) - set(known.test)) > 0


# --- how they are judged ---------------------------------------------------------------------------------------------


def test_the_interval_is_the_correlated_t() -> None:
    gains = np.array([0.05, 0.07, 0.06, 0.04, 0.08])[:, None]
    found = correlated(gains + 0.5, np.full((5, 1), 0.5), Design(5, 10**9), scale=1.0)
    assert found.gain == pytest.approx(0.06) and found.df == 4 and found.method == "correlated t"
    assert found.error == pytest.approx(np.sqrt(1 / 5 + 0.25) * gains.std(ddof=1))
    assert weigh(gains, 0 * gains, scale=1.0, design=Design(5, 100)).error > found.error, "few rows hide something"


def test_intervals_of_folds_hold_the_true_gain_where_the_plain_t_does_not() -> None:
    ours, plain = coverage(60, 5, 5, studies=150)
    assert ours >= 0.92 and plain < 0.8


def test_arms_that_agree_on_every_fold_are_not_called_equal_from_few_rows() -> None:
    same = np.full((25, 1), 0.8)
    (verdict,) = family([against_best(same, {"control": same}, 0.01, scale=1.0, design=Design(5, 100))], 0.01)
    assert verdict.verdict == "not_enough_evidence" and verdict.rows == 100 and verdict.draws == 25


def test_what_is_needed_are_rows_and_never_more_repeats() -> None:
    rng = np.random.default_rng(0)
    found = correlated(rng.normal(0.06, 0.08, (25, 1)), np.zeros((25, 1)), Design(5, 100), scale=1.0)
    assert needed_draws(found, 0.01) is None
    assert (needed_rows(found, 0.01) or 0) > 100 and "labelled rows instead of 100" in open_ways(found, 0.01)["needed"]
    assert "draws" not in open_ways(found, 0.01)["needed"]
    assert detectable(400, 5, 25) < detectable(100, 5, 25) < detectable(100, 5, 5)


def test_replicates_have_the_covariance_of_the_correlated_t() -> None:
    rng, design = np.random.default_rng(0), Design(5, 100)
    scores = rng.normal([[0.7], [0.8]], 0.05, (2, 25))
    scores[1] += scores[0]
    found = replicates(scores, design, 20_000)
    assert np.allclose(found.mean(0), scores.mean(1), atol=2e-3)
    assert np.allclose(np.cov(found.T), design.inflation(25) * np.cov(scores), rtol=0.05)
    seen, honest = without_luck(rng.normal(0.02, 0.05, (6, 25, 1)), design=design)
    assert honest < seen


# --- end to end ------------------------------------------------------------------------------------------------------


def test_a_study_of_folds_runs_is_judged_and_told(home: Home, wine: Dataset) -> None:
    study, store = asked(wine, controls=({"scratch": SHORT}, "classical")), open_store(home)
    key = studies.save(home, study)
    engine.run(QuietTicket(home, store), {"study": key})
    report, trials = reports.load(home, key), studies.expand(home, study)
    for strategy in ("full_finetune", "scratch", "classical"):
        own = sorted((trial for trial in trials if trial.strategy == strategy), key=lambda trial: trial.draw)
        rows = [pd.read_parquet(home.trials / one.id / "predictions.parquet")["row"].tolist() for one in own]
        assert sorted(sum(rows[:3], [])) == sorted(sum(rows[3:], [])) == list(range(wine.rows))
        for trial, tested in zip(own, rows, strict=True):
            model = load(home, trial.id)
            assert not set(model.rows().tolist()) & set(tested), "no row is both learnt and tested"
    (row,) = report.verdicts
    scores = {arm["strategy"]: np.array(arm["draw_scores"]) for arm in report.arms}
    assert row["gain"] == pytest.approx((scores["full_finetune"] - scores[row["against"]]).mean())
    assert row["draws"] == 6 and row["method"].startswith("correlated t") and "2 × 3-fold" in report.headline
    assert sum(report.rows.values()) == wine.rows and report.folds == Folds(repeats=2, k=3)
    page = reports.html(report)
    assert "the correlated t" in page and "by 2 × 3-fold cross-validation" in page and ">Folds<" in page
    assert "locked test part" in {problem.where for problem in report.problems}
    card = reports.export_card(report, report.arms[0]["trials"][0])
    assert "the rows that each fold tests" in card and "6 folds" in card

    later = asked(wine, folds=None, draws=2, strategies=({"full_finetune": SHORT},))
    engine.run(QuietTicket(home, store), {"study": studies.save(home, later)})
    told = reports.load(home, studies.study_id(later)).problems
    assert any("1 cross-validation(s)" in problem.what for problem in told), "the locked rows were seen before"


def test_statistics_of_a_table_come_from_the_rows_that_a_fold_learns_from(home: Home, wine: Dataset) -> None:
    study = asked(wine)
    made = studies.splits_of(home, study)[1]
    kit = EngineKit(QuietTicket(home, open_store(home)), study, wine, made[0])
    assert kit.on(made[0].id) is kit and kit.on(made[1].id) is kit.on(made[1].id)
    table = kit.view("tabular")
    trial = next(one for one in studies.expand(home, study) if one.source == "bundled/table-net")
    for split in made[:2]:
        numbers = kit.on(split.id).backbone(trial, "source").core.columns.numbers
        learnt = table.iloc[sorted([*split.train, *split.validation])]
        assert np.allclose(numbers.mean.numpy(), learnt.to_numpy(float).mean(0), rtol=1e-4)


def test_frozen_features_are_computed_once_for_all_folds(home: Home, tmp_path: Path) -> None:
    texts = pd.read_csv(Path(samples.__file__).parent / "film_notes.csv").drop(columns="split").head(40)
    texts.to_csv(tmp_path / "notes.csv", index=False)
    notes = datasets.add(home, tmp_path / "notes.csv")
    study = asked(notes, sources=("bundled/minilm-l6",), strategies=("linear_probe",), folds={"repeats": 2, "k": 4})
    result = engine.run(QuietTicket(home, open_store(home)), {"study": studies.save(home, study)})
    assert result["trials"] == 16 and result["prefix_rows_computed"] == len(set(datasets.content_keys(home, notes)))
