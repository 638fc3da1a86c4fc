"""Groups and probabilities of a cross-validation: each row as the model said that had not seen it, counted once.

Run alone: python -m pytest tests/test_fold_reports.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fair

from benchmarks.folds import drawn
from tests.test_remedies import people as applicants
from tests.test_reports import people, seal
from tltools import datasets, reports, studies
from tltools.engine import study as engine
from tltools.home import Home
from tltools.judging import calibration, fairness
from tltools.judging.folds import Design
from tltools.records import Dataset, Refusal, Report, Study, Trial
from tltools.reports import views
from tltools.reports.trust import trust
from tltools.splits import fold_numbers
from tltools.store import open_store
from tltools.tickets import QuietTicket

RATES = {"linear_probe": 0.35, "classical": 0.2}


def judged(
    home: Home, dataset: Dataset, repeats: int = 2, skip: Callable[[Trial], bool] = lambda trial: False, **more: object
) -> Report:
    """The report of made-up folds, three a repeat."""
    fields = {"sources": ("bundled/minilm-l6",), "strategies": ("linear_probe",), "controls": ("classical",),
              "folds": {"repeats": repeats, "k": 3}, "sensitive": ("sex",)}  # fmt: skip
    study = Study.model_validate({"dataset": dataset.id, **fields, **more})
    assert not [problem for problem in studies.check(home, study) if problem.severity == "error"]
    key, targets = studies.save(home, study), datasets.target(home, dataset)
    for trial in filter(lambda trial: not skip(trial), studies.expand(home, study)):
        seal(home, trial, dataset, datasets.stored_split(home, trial.split), RATES[trial.strategy], targets)
    return reports.judge(home, open_store(home), key)


def arm_of(report: Report, strategy: str) -> dict:
    return next(arm for arm in report.arms if arm["strategy"] == strategy)


def said_by(home: Home, arm: dict, repeat: int) -> pd.DataFrame:
    """What the folds of a repeat said, row by row of the dataset."""
    parts = [pd.read_parquet(home.trials / trial / "predictions.parquet") for trial in arm["trials"]]
    return pd.concat(parts[3 * repeat : 3 * repeat + 3]).set_index("row").sort_index()


def test_groups_by_folds_equal_fairlearn_on_what_was_said_of_rows_not_seen(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300)
    report = judged(home, dataset, repeats=1)
    sex = datasets.rows(home, dataset.id)["sex"]
    for strategy in RATES:
        table = said_by(home, arm_of(report, strategy), 0)
        assert table.index.tolist() == list(range(300))
        truth, said = (table["truth"] == "yes").astype(int), (table["p_1"] > table["p_0"]).astype(int)
        frame = fair.MetricFrame(
            metrics={"selection_rate": fair.selection_rate, "true_positive_rate": fair.true_positive_rate,
                     "false_positive_rate": fair.false_positive_rate, "accuracy": lambda t, p: (t == p).mean()},
            y_true=truth, y_pred=said, sensitive_features=sex,
        ).by_group  # fmt: skip
        rows = [row for row in report.groups if row["strategy"] == strategy]
        for row in rows:
            if row["kind"] == "score" and row["metric"] != "overconfidence":
                assert row["score"] == pytest.approx(frame.loc[row["group"], row["metric"]], abs=1e-6)
                assert row["low"] <= row["score"] <= row["high"]
        gaps = {row["metric"]: row["score"] for row in rows if row["kind"] == "gap"}
        assert gaps == pytest.approx({
            "demographic_parity_difference": fair.demographic_parity_difference(truth, said, sensitive_features=sex),
            "equalized_odds_difference": fair.equalized_odds_difference(truth, said, sensitive_features=sex),
        }, abs=1e-5)  # fmt: skip
    moved = [row for row in report.groups if row["kind"] == "moved"]
    assert len(moved) == 2 and all(row["verdict"] and row["alone"] and row["against"] == "classical" for row in moved)


def test_repeats_are_averaged_row_by_row(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300)
    report = judged(home, dataset)
    arm, inside = arm_of(report, "linear_probe"), datasets.rows(home, dataset.id)["sex"].to_numpy() == "f"
    tables = [said_by(home, arm, repeat) for repeat in range(2)]
    right = np.mean([(one["p_1"] > one["p_0"]) == (one["truth"] == "yes") for one in tables], axis=0)[inside]
    (row,) = [row for row in report.groups if (row["group"], row["metric"]) == ("f", "accuracy")
              and row["strategy"] == "linear_probe"]  # fmt: skip
    assert row["score"] == pytest.approx(right.mean()) and row["n"] == inside.sum()
    error = np.sqrt(Design(3, 300).widening(2) * right.var(ddof=1) / inside.sum())
    assert 1 <= (row["high"] - row["low"]) / (2 * 1.97 * error) < 1.1, "and the imaginary rows of the t form"
    errors = [calibration.ece(one[["p_0", "p_1"]].to_numpy(), (one["truth"] == "yes").to_numpy(int)) for one in tables]
    assert arm["ece"] == pytest.approx(np.mean(errors)) and arm["ece_by_chance"] > 0


def test_what_page_and_card_say_of_groups_by_folds(home: Home, tmp_path: Path) -> None:
    report = judged(home, people(home, tmp_path, rows=300))
    card = reports.export_card(report, arm_of(report, "linear_probe")["trials"][0])
    for said in (reports.html(report), card):
        assert "training rows overlap" in said and "together (Holm)" in said
    assert "Groups of people" in reports.html(report) and "calibration error" in card


def test_only_whole_repeats_count(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300)
    report = judged(home, dataset, skip=lambda trial: trial.draw == 5)
    assert len(views.tested_by(home, report, arm_of(report, "linear_probe"))) == 1
    whole = judged(home, dataset, repeats=1)
    values = [[row["score"] for row in one.groups if row["kind"] == "score"] for one in (report, whole)]
    assert values[0] == pytest.approx(values[1])


def test_arms_without_a_whole_repeat_are_named(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300)
    partial = judged(home, dataset, repeats=3, skip=lambda t: t.strategy == "linear_probe" and t.draw % 3 == 0)
    assert {row["strategy"] for row in partial.groups} == {"classical"}
    (problem,) = [problem for problem in partial.problems if problem.where == "sex"]
    assert "whole repeats of the folds" in problem.what and "Linear probe of MiniLM-L6" in problem.what
    arm = arm_of(partial, "linear_probe")
    assert views.tested_by(home, partial, arm) == [[arm["trials"][0]]] and arm["ece"] is None


def test_numbers_by_group_have_their_error_by_folds(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300, number=True)
    report = judged(home, dataset)
    assert {row["metric"] for row in report.groups} == {"mae"}
    assert arm_of(report, "linear_probe")["ece"] is None


def test_every_row_is_in_the_confusion_and_in_the_reliability_once(home: Home, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, rows=300)
    report = judged(home, dataset)
    arm = arm_of(report, "linear_probe")
    tested = views.tested_by(home, report, arm)
    assert tested == [arm["trials"][:3], arm["trials"][3:]]
    cells = views.confusion(home, tested[0])
    assert cells["count"].sum() == 300 and sorted(sum(cells["rows"], [])) == list(range(300))
    wrong = cells[cells["truth"] != cells["prediction"]]["count"].sum()
    assert len(views.worst_mistakes(home, tested[0], 1000)) == wrong
    found = trust(home, tested)
    assert found["ece"] == pytest.approx(arm["ece"]) and found["ece_low"] <= found["ece"] <= found["ece_high"]
    assert found["bins"]["rows"].sum() == 300 and len(found["abstain"]) <= 200
    assert found["abstain"]["accuracy"].iloc[-1] == pytest.approx(arm["metrics"]["accuracy"])
    assert found["temperature"] is None and found["conformal"] is None
    assert [said.partition(":")[0] for said in found["refused"]] == [
        "No temperature is fitted", "No list of classes is promised",
    ]  # fmt: skip
    assert all(said.endswith("validation rows, and this arm has none.") for said in found["refused"])
    with pytest.raises(Refusal, match="not finished"):
        trust(home, [["0" * 16]])


def visits(home: Home, folder: Path, copied: dict[int, int], rows: int = 120) -> Dataset:
    """Rows of people who came four times each; copied: row -> the row that it is a copy of."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 5)).round(6), columns=list("vwxyz"))
    for row, of in copied.items():
        table.loc[row, list("vwxyz")] = table.loc[of, list("vwxyz")]
    table["kind"], table["who"] = ["a", "b"] * (rows // 2), [f"p{k // 4}" for k in range(rows)]
    table.to_csv(folder / "visits.csv", index=False)
    return datasets.add(home, folder / "visits.csv", target="kind", inputs=list("vwxyz"), task="classification")


def test_scores_by_folds_are_told_without_rows_whose_copy_their_fold_trains_on(home: Home, tmp_path: Path) -> None:
    copied = {row + 60: row for row in range(12)}  # of other people: the groups part them
    report = judged(home, visits(home, tmp_path, copied), group="who", sensitive=())
    pairs = copied | {of: row for row, of in copied.items()}
    beside = 0
    for arm in report.arms:
        scores, without = [], []
        for trial in arm["trials"]:
            table = pd.read_parquet(home.trials / trial / "predictions.parquet")
            hits = (table["p_1"] > table["p_0"]) == (table["truth"] == "b")
            copies = table["row"].map(pairs)
            apart = copies.notna() & ~copies.isin(table["row"])
            beside += int(copies.isin(table["row"]).sum())
            scores.append(hits.groupby(table["truth"]).mean().mean())
            without.append(hits[~apart].groupby(table["truth"]).mean().mean())
        assert arm["score"] == pytest.approx(np.mean(scores)) != pytest.approx(np.mean(without))
        assert arm["score_without_copies"] == pytest.approx(np.mean(without))
    assert beside, "a row that is tested by the same fold as its copy stays"
    (problem,) = [problem for problem in report.problems if "near copy" in problem.what]
    assert problem.where == "folds" and "24 of 120 rows have a near copy" in problem.what


def test_folds_that_hold_copies_together_score_the_same_without_them(home: Home, tmp_path: Path) -> None:
    report = judged(home, visits(home, tmp_path, {row + 60: row for row in range(12)}), sensitive=())
    assert all(arm["score_without_copies"] == arm["score"] for arm in report.arms)
    assert not any("near copy" in problem.what for problem in report.problems)


def test_no_score_is_told_where_copies_leave_too_little(home: Home, tmp_path: Path) -> None:
    copied = {row + 20: row for row in range(20)}
    report = judged(home, visits(home, tmp_path, copied, rows=40), group="who", sensitive=(), repeats=1)
    assert all(arm["score_without_copies"] is None for arm in report.arms)
    (problem,) = [problem for problem in report.problems if "near copy" in problem.what]
    assert problem.what.endswith("Too few are left without one to score by.")


# --- known truth -----------------------------------------------------------------------------------------------------


def _taught(train: tuple[np.ndarray, np.ndarray], rows: np.ndarray, arm: slice) -> np.ndarray:
    """Codes by the nearer class mean."""
    x, y = train
    one, other = x[y == 0, arm].mean(0), x[y == 1, arm].mean(0)
    return (((rows[:, arm] - (one + other) / 2) @ (other - one)) > 0).astype(int)


def _world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two groups; the first columns say the group as well as the class."""
    x, y = drawn(rng, rows)
    groups = rng.choice(["a", "b"], rows)
    x[:, :4] += 0.8 * (groups == "b")[:, None]
    return x, y, groups


def _odds(truth: np.ndarray, said: np.ndarray, groups: np.ndarray) -> float:
    return float(fair.equalized_odds_difference(truth, said, sensitive_features=groups))


def test_what_moved_a_gap_is_told_by_folds_with_an_interval_that_holds_it() -> None:
    arms, rows, k, repeats, many = (slice(0, 8), slice(4, 12)), 200, 5, 3, 60
    rng = np.random.default_rng(5)
    wide = _world(rng, 10_000)
    taught = [_world(rng, rows - rows // k)[:2] for _ in range(60)]
    true = [np.mean([_odds(wide[1], _taught(one, wide[0], arm), wide[2]) for one in taught]) for arm in arms]
    held, widen = np.zeros(3), Design(k, rows).widening(repeats)
    for study in range(many):
        x, y, groups = _world(rng, rows)
        said = np.zeros((2, repeats, rows), int)
        for repeat in range(repeats):
            where = fold_numbers(y, np.arange(rows), k, [study, repeat])
            for test in (where == fold for fold in range(k)):
                for arm, own in zip(arms, said, strict=True):
                    own[repeat, test] = _taught((x[~test], y[~test]), x[test], arm)
        by_row = fairness.resampled(groups, 200, study, widen)
        ours, theirs = (fairness.replicated(y, one, groups, 2, by_row=by_row, widen=widen) for one in said)
        gap, moved = fairness.gaps(ours)[1], fairness.moved(ours, theirs, 0.01)[1]
        rate = fairness.by_group((said[0] == y).astype(float), groups, widen)["a"]
        right = np.mean([(_taught(one, wide[0], arms[0]) == wide[1])[wide[2] == "a"].mean() for one in taught[:5]])
        truths = (gap, true[0]), (moved, true[0] - true[1]), (rate, right)
        held += [one.low <= value <= one.high for one, value in truths]
    assert (held / many >= 0.88).all(), held / many


# --- end to end ------------------------------------------------------------------------------------------------------


def test_remedies_and_probabilities_go_with_folds(home: Home, tmp_path: Path) -> None:
    dataset = applicants(home, tmp_path)
    keys = ("linear_probe", "reweighting", "group_balanced", "group_dro", "group_thresholds")
    study = studies.settle(home, Study.model_validate({
        "dataset": dataset, "sources": ("bundled/minilm-l6",), "strategies": keys, "controls": ("classical",),
        "sensitive": ("sex",), "folds": {"repeats": 1, "k": 3},
    }))  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    report = reports.judge(home, open_store(home), studies.study_id(study))
    gaps = {row["strategy"]: row["score"] for row in report.groups if row["kind"] == "gap"
            and row["metric"] == "equalized_odds_difference"}  # fmt: skip
    assert set(gaps) == {*keys, "classical"} and gaps["group_thresholds"] < gaps["linear_probe"]
    assert len([row for row in report.groups if row["kind"] == "moved"]) == 2 * len(keys)
    tested = views.tested_by(home, report, arm_of(report, "linear_probe"))
    found, promised = trust(home, tested), []
    for trial in tested[0]:
        _, _, truth, outputs = views.scored(home, trial)
        _, _, held_truth, held = views.scored(home, trial, "validation")
        one = calibration.conformal(held, held_truth, outputs, truth)
        assert one is not None
        promised += one.sets[np.arange(len(truth)), truth].tolist()
    assert found["conformal"]["coverage"] == pytest.approx(np.mean(promised)) and not found["refused"]
    assert found["temperature"] > 0 and found["ece_after"] is not None
