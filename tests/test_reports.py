"""Reports from made-up trials whose truth is known: finished and unfinished studies, classes and numbers, groups."""

from __future__ import annotations

import json
import re
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tltools import datasets, reports, studies
from tltools.artifacts import building
from tltools.home import Home, write_json
from tltools.judging.gain import measure
from tltools.judging.verdict import conclude
from tltools.records import Dataset, Refusal, Report, Split, Study, Trial
from tltools.reports import copies, figures, groups, views
from tltools.reports.readings import ArmKey, Cell, Readings, Share, titles
from tltools.reports.trust import trust
from tltools.store import Store, open_store
from tltools.tasks import tasks


@pytest.fixture
def store(home: Home) -> Store:
    return open_store(home)


def people(home: Home, folder: Path, rows: int = 900, number: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "note": [f"note {k} {w}" for k, w in enumerate(rng.choice(["fine", "dull", "odd", "long", "warm"], rows))],
        "size": rng.normal(size=rows).round(4),
        "sex": rng.choice(["f", "m"], rows),
        "town": rng.choice(["a", "b", "tiny"], rows, p=[0.6, 0.39, 0.01]),
        "y": rng.normal(10, 3, rows).round(3) if number else rng.choice(["no", "yes"], rows, p=[0.6, 0.4]),
    })  # fmt: skip
    path = folder / "people.csv"
    table.to_csv(path, index=False)
    task = "regression" if number else "classification"
    return datasets.add(home, path, target="y", inputs=["size"], task=task, name="People")


def study_of(dataset: Dataset, **more: object) -> Study:
    fields = {
        "dataset": dataset.id, "sources": ("bundled/minilm-l6",), "strategies": ("linear_probe", "full_finetune"),
        "controls": ("scratch", "classical"), "fractions": (0.1, 0.25, 0.5, 1.0), "draws": 4, "task": dataset.task,
    }  # fmt: skip
    return Study(**{**fields, **more})


RATES = {"linear_probe": 0.35, "full_finetune": 0.25, "scratch": 0.05, "classical": 0.2}  # above chance


def seal(
    home: Home, trial: Trial, dataset: Dataset, split: Split, skill: float, targets: np.ndarray, trained: bool = True
) -> None:
    """A sealed trial as the engine writes it, whose hits are drawn at 0.5 + `skill` times the growth with labels."""
    arm = f"{trial.source} {trial.strategy} {trial.fraction} {trial.per_class}".encode()
    rng = np.random.default_rng([0, trial.draw, zlib.crc32(arm)])  # not the id: it changes with every recipe
    shared = np.random.default_rng(99).random(dataset.rows)
    rows = np.array(sorted(split.test))
    share = trial.fraction if trial.fraction is not None else (trial.per_class or 1) / 64
    if dataset.classes:
        luck = np.where(rng.random(len(rows)) < 0.7, shared[rows], rng.random(len(rows)))
        right = luck < 0.5 + skill * share**0.3
        said = np.where(right, targets[rows], 1 - targets[rows])
        sure = rng.uniform(0.6, 0.95, len(rows))
        outputs = np.where(said[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    else:
        outputs = (targets[rows] * skill * 2 + rng.normal(10 * (1 - skill * 2), 1.0, len(rows)))[:, None]
    task = tasks()[dataset.task]
    card = {
        "trial": trial.model_dump(mode="json"), "classes": list(dataset.classes), "n_train": 10, "weights": "kept",
        "source": None if trial.source == "none" else {"name": "MiniLM-L6", "pretrained": trained}, "recipe": {},
        "seconds": 1.5, "seconds_alone": 2.5, "peak_mb": 300.0,
        "trainable_parameters": 770 if trial.strategy != "full_finetune" else 22_000_000,
        "environment": {"torch": "2.13.0"}, "train_score": 0.99, "validation_score": 0.6 + trial.draw / 100,
        "metrics": {m.key: m.score(targets[rows], outputs) for m in task.metrics},
        "curve": [{"epoch": 1.0, "train_loss": 0.6, "validation_loss": 0.7, "seconds": 0.1}],
    }  # fmt: skip
    with building(home.trials / trial.id) as folder:
        task.frame(rows, targets[rows], outputs, dataset.classes).to_parquet(
            folder / "predictions.parquet", index=False
        )
        write_json(folder / "card.json", card)


def make(home: Home, dataset: Dataset, study: Study, skip=lambda trial: False, rates: dict | None = None,
         trained: bool = True) -> str:  # fmt: skip
    key = studies.save(home, study)
    _, split = studies.split_of(home, study)
    targets = datasets.target(home, dataset)
    for trial in studies.expand(home, study):
        if not skip(trial):
            seal(home, trial, dataset, split, (rates or RATES)[trial.strategy], targets, trained)
    return key


@pytest.fixture
def finished(home: Home, store: Store, tmp_path: Path) -> tuple[Dataset, Report]:
    dataset = people(home, tmp_path)
    key = make(home, dataset, study_of(dataset, sensitive=("sex", "town")))
    return dataset, reports.judge(home, store, key)


def test_a_finished_study_is_judged_as_it_was_made(home: Home, finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    assert len(report.arms) == 16 and len(report.verdicts) == 8 and len(report.labels_saved) == 8
    top = [row for row in report.verdicts if row["fraction"] == 1.0]
    assert {row["strategy"]: row["verdict"] for row in top}["linear_probe"] == "positive"
    assert all(row["against"] == "classical" for row in top)
    assert report.headline.startswith("Transfer helps") and "Linear probe of MiniLM-L6" in report.headline
    assert re.search(r"95 % interval \d+\.\d to \d+\.\d", report.headline)
    best = [row for row in report.arms if row["fraction"] == 1.0 and row["best_set"]]
    assert [row["strategy"] for row in best] == ["linear_probe"]
    assert any("Over-fitting" in sentence for sentence in report.sentences)
    assert {row["bound"] for row in report.labels_saved} & {"exact", "at_least"}
    words_at = {(row["strategy"], row["n_train"]): row["verdict"] for row in report.verdicts}
    claims = [row for row in report.labels_saved if row["low"] is not None and row["low"] > 1]
    assert {row["sure"] for row in claims} == {True, False}, "labels are saved where the gain is decided, not elsewhere"
    for row in claims:
        word = words_at[row["strategy"], row["n_train"]]
        assert row["sure"] == (word == "positive") and ("A leaning only" in row["because"]) != row["sure"]


def test_the_document_has_every_field_of_the_contract_and_is_valid_json(
    home: Home, finished: tuple[Dataset, Report]
) -> None:
    _, report = finished
    path = home.studies / report.study / "report.json"
    document = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    contract = {
        "arms": "source strategy kind fraction n_train score low high draws seconds peak_mb trainable_parameters",
        "verdicts": "source strategy fraction against gain low high p_better p_equivalent p_worse mde verdict needed",
        "labels_saved": "source strategy fraction multiplier low high bound",
        "groups": "column group source strategy metric score low high n",
    }
    for table, fields in contract.items():
        assert document[table], table
        for row in document[table]:
            assert set(fields.split()) <= set(row), (table, set(fields.split()) - set(row))
    assert set(document["cost"]) >= {
        "estimated_seconds",
        "actual_seconds",
        "estimated_peak_mb",
        "actual_peak_mb",
        "prefix_rows_computed",
        "prefix_rows_naive",
        "cache_bytes",
    }
    assert set(document["rows"]) == {"train", "validation", "test"}
    assert reports.load(home, report.study) == Report.model_validate(document)


def test_the_page_is_one_small_file_that_needs_nothing_else(home: Home, finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    page = (home.studies / report.study / "report.html").read_text()
    assert len(page) < 1_000_000
    assert not re.search(r"<script|<link|src=|https?://", page)
    assert "prefers-color-scheme" in page and "@media print" in page
    for words in ("Did it help?", "How many labels is it worth?", "Risks", "How to reproduce", "linear_probe"):
        assert words in page
    assert page.count("<svg") == page.count('role="img" aria-label="')
    sure = tuple({**row, "p_better": 1.0, "p_equivalent": 0.0, "p_worse": 0.0} for row in report.verdicts)
    page = reports.html(report.model_copy(update={"verdicts": sure}))
    assert page.count("&gt; 99.9 %") == len(sure) and page.count("&lt; 0.1 %") == 2 * len(sure)


def test_names_from_a_file_cannot_become_markup(home: Home, finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    evil = "<script>alert(1)</script>"
    rows = tuple({**row, "title": evil, "against_title": evil} for row in report.verdicts)
    page = reports.html(report.model_copy(update={"name": evil, "headline": evil, "verdicts": rows}))
    assert "<script" not in page


def test_an_unfinished_study_says_what_is_missing(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    key = make(home, dataset, study_of(dataset), skip=lambda t: t.draw > 1 or (t.strategy == "scratch" and t.draw > 0))
    report = reports.judge(home, store, key)
    assert all(row["draws"] == 2 for row in report.verdicts)
    (lacking,) = [p.what for p in report.problems if "36 of 64 trials are not there yet" in p.what]
    assert ": Linear probe of MiniLM-L6 at 10 % of the labels has 2 of 4; " in lacking, "titles, in the study's order"
    (few,) = [p.where for p in report.problems if "one draw" in p.what]
    assert few == "From scratch of MiniLM-L6"


def test_an_arm_of_one_draw_takes_nobody_into_the_best_set(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    study = study_of(dataset, fractions=(1.0,))
    report = reports.judge(home, store, make(home, dataset, study, skip=lambda t: t.draw and t.strategy == "scratch"))
    assert [row["strategy"] for row in report.arms if row["best_set"]] == ["linear_probe"]
    assert not any("may be the best" in said for said in report.sentences)


def test_an_arm_keeps_its_name_where_some_of_its_shares_have_not_run(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset), skip=lambda t: t.fraction == 1.0))
    assert {row["title"] for row in report.arms if row["strategy"] == "scratch"} == {"From scratch of MiniLM-L6"}


def test_the_interval_of_a_gain_ends_where_differences_of_shares_do() -> None:
    rng = np.random.default_rng(0)
    arm = np.array([[0.9], [0.1]]) + rng.normal(scale=0.01, size=(2, 40))
    verdict = conclude(measure(arm, np.full((2, 40), 0.4)), 0.01)
    assert verdict.low < -1 and verdict.high > 1, "two draws tell little"
    metrics = {metric.key: metric for metric in (*tasks()["classification"].metrics, *tasks()["regression"].metrics)}
    open_ends = (verdict.low, verdict.high)
    for key, ends in {"accuracy": (-1, 1), "log_loss": open_ends, "r2": open_ends}.items():
        row = figures.verdict_fields(verdict, metrics[key])
        assert (row["low"], row["high"]) == ends and row["gain"] == verdict.gain


def test_without_a_control_there_is_no_verdict_but_a_report(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    key = make(home, dataset, study_of(dataset), skip=lambda t: t.kind == "control")
    report = reports.judge(home, store, key)
    assert not report.verdicts and report.arms and "No verdict yet" in report.headline
    assert any(p.where == "controls" and p.severity == "error" for p in report.problems)
    assert "<html" in reports.html(report)


def test_one_draw_is_shown_and_not_judged(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset), skip=lambda t: t.draw > 0))
    assert {row["verdict"] for row in report.verdicts} == {"not_enough_evidence"}
    assert all(row["draws"] == 1 for row in report.arms)


def test_of_one_draw_too_the_best_control_is_the_one_with_the_best_score(
    home: Home, store: Store, tmp_path: Path
) -> None:
    dataset = people(home, tmp_path)
    rates = {"linear_probe": 0.2, "full_finetune": 0.2, "scratch": 0.4, "classical": 0.0}
    key = make(home, dataset, study_of(dataset), skip=lambda t: t.draw > 0, rates=rates)
    report = reports.judge(home, store, key)
    assert {row["against"] for row in report.verdicts} == {"scratch"}
    assert "below the best control" in report.headline


def test_a_study_without_a_finished_trial_and_one_never_judged_are_refused(
    home: Home, store: Store, tmp_path: Path
) -> None:
    dataset = people(home, tmp_path)
    key = make(home, dataset, study_of(dataset), skip=lambda t: True)
    with pytest.raises(Refusal, match="no finished trial"):
        reports.judge(home, store, key)
    with pytest.raises(Refusal, match="no report yet"):
        reports.load(home, key)
    with pytest.raises(Refusal, match="no report yet"):
        reports.load(home, "../../etc/passwd")


def test_a_harmful_source_is_called_negative_transfer(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    bad = {"linear_probe": -0.2, "full_finetune": 0.0, "scratch": 0.2, "classical": 0.4}
    report = reports.judge(home, store, make(home, dataset, study_of(dataset), rates=bad))
    top = {row["strategy"]: row["verdict"] for row in report.verdicts if row["fraction"] == 1.0}
    assert set(top.values()) == {"negative"} and report.headline.startswith("Transfer hurts")
    assert any(sentence.startswith("Negative transfer") for sentence in report.sentences)


@pytest.mark.parametrize("classical", [0.0, 0.4])
def test_an_untrained_source_neither_helps_nor_harms(
    home: Home, store: Store, tmp_path: Path, classical: float
) -> None:
    dataset = people(home, tmp_path)
    rates = {"linear_probe": 0.2, "full_finetune": 0.2, "classical": classical}
    study = study_of(dataset, controls=("classical",))
    report = reports.judge(home, store, make(home, dataset, study, rates=rates, trained=False))
    assert all(row["untrained"] for row in report.verdicts)
    assert report.headline.startswith("Nothing was transferred: the source is untrained. With 720 labels")
    assert {row["verdict"] for row in report.verdicts if row["fraction"] == 1.0} == {
        "negative" if classical else "positive"
    }
    told = " ".join((report.headline, *report.sentences))
    assert "Negative transfer" not in told and "Transfer " not in told
    assert not store.memories("realised"), "what an untrained network came to says nothing of a source"


def test_equal_arms_are_not_called_different(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    same = dict.fromkeys(RATES, 0.2)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset), rates=same))
    assert not {row["verdict"] for row in report.verdicts} & {"positive", "negative"}
    assert any("any of these may be the best" in sentence for sentence in report.sentences)


def test_a_study_by_labels_per_class_carries_them(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset, per_class=(8, 64))))
    assert {row["per_class"] for row in (*report.arms, *report.verdicts)} == {8, 64}
    assert {row["n_train"] for row in report.verdicts} == {16, 128}
    assert all(row["fraction"] is None for row in report.verdicts)
    assert {row["bound"] for row in report.labels_saved} == {"refused", "at_least"}, "two points are no curve"
    beyond = [row for row in report.labels_saved if row["bound"] == "at_least"]
    assert all(row["multiplier"] == 128 / row["n_train"] for row in beyond)


def test_what_a_picture_says_to_the_blind_has_the_digits_of_its_metric(
    home: Home, store: Store, tmp_path: Path
) -> None:
    dataset = people(home, tmp_path)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset, metric="log_loss", fractions=(1.0,))))
    said = re.findall(r'aria-label="([^"]*)"', reports.html(report))
    for row in report.verdicts:
        assert any(f"{row['title']}: {row['gain']:+.3g} (" in one for one in said)
    for row in report.arms:
        assert any(f"{row['title']} {row['score']:.3g}" in one for one in said)


def test_every_picture_of_the_page_shows_r2_as_its_tables_do(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path, number=True)
    page = reports.html(reports.judge(home, store, make(home, dataset, study_of(dataset, fractions=(0.5, 1.0)))))
    costs = page[page.index("What it cost") :]
    ticks = [float(text) for text in re.findall(r'text-anchor="end">(-?[\d.]+)</text>', costs)]
    assert ticks and max(ticks) <= 1


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auroc", "log_loss"])
def test_every_metric_of_classes_is_judged_in_its_own_direction(
    home: Home, store: Store, tmp_path: Path, metric: str
) -> None:
    dataset = people(home, tmp_path)
    study = study_of(dataset, metric=metric, fractions=(1.0,), margin=0.01)
    report = reports.judge(home, store, make(home, dataset, study))
    found = {row["strategy"]: row for row in report.arms}
    direction = -1 if metric == "log_loss" else 1
    assert direction * (found["linear_probe"]["score"] - found["classical"]["score"]) > 0
    row = next(row for row in report.verdicts if row["strategy"] == "linear_probe")
    assert row["gain"] == pytest.approx(direction * (found["linear_probe"]["score"] - found["classical"]["score"]))
    assert row["verdict"] == "positive"
    assert found["linear_probe"]["score"] == pytest.approx(found["linear_probe"]["metrics"][metric], abs=1e-6)


@pytest.mark.parametrize("metric", ["r2", "mae", "rmse"])
def test_numbers_are_judged(home: Home, store: Store, tmp_path: Path, metric: str) -> None:
    dataset = people(home, tmp_path, number=True)
    report = reports.judge(home, store, make(home, dataset, study_of(dataset, metric=metric, sensitive=("sex",))))
    row = next(r for r in report.verdicts if r["strategy"] == "linear_probe" and r["fraction"] == 1.0)
    assert row["verdict"] == "positive" and row["gain"] > 0
    assert {r["metric"] for r in report.groups} == {"mae"}
    assert "<html" in reports.html(report)


def test_groups_come_with_gaps_their_movement_and_a_warning_about_small_ones(finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    kinds = {(row["column"], row["kind"]) for row in report.groups}
    assert {("sex", "score"), ("sex", "gap"), ("sex", "moved"), ("sex and town", "score")} <= kinds
    assert any("tiny" in p.what and "fewer than 30" in p.what for p in report.problems)
    assert all(row.get("too_few") for row in report.groups if row["group"] == "tiny")


def test_each_group_has_its_rates_and_its_over_confidence(home: Home, finished: tuple[Dataset, Report]) -> None:
    dataset, report = finished
    sex = datasets.rows(home, dataset.id)["sex"]
    arm = next(a for a in report.arms if a["strategy"] == "classical" and a["fraction"] == 1.0)
    cards = [pd.read_parquet(home.trials / trial / "predictions.parquet") for trial in arm["trials"]]
    group = sex.iloc[0]
    inside = [card[sex.loc[card["row"]].to_numpy() == group] for card in cards]
    second = dataset.classes[1]
    said = np.array([(one["p_1"] > one["p_0"]).to_numpy() for one in inside])
    truth = (inside[0]["truth"] == second).to_numpy()
    sure = np.array([one[["p_0", "p_1"]].max(axis=1).to_numpy() for one in inside])
    expected = {
        "selection_rate": said.mean(), "true_positive_rate": said[:, truth].mean(),
        "false_positive_rate": said[:, ~truth].mean(), "accuracy": (said == truth).mean(),
        "overconfidence": (sure - (said == truth)).mean(),
    }  # fmt: skip
    (line,) = [
        one for one in groups.side_by_side(report, "sex") if (one["group"], one["title"]) == (group, arm["title"])
    ]
    assert set(line["metrics"]) == set(expected) and line["n"] == len(inside[0])
    for name, value in expected.items():
        found, low, high = line["metrics"][name]
        assert found == pytest.approx(value, abs=1e-6) and low <= found <= high, name


def test_the_interval_of_a_groups_rate_is_one_of_shares(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    study = study_of(dataset, strategies=("linear_probe",), fractions=(1.0,), sensitive=("town",))
    report = reports.judge(home, store, make(home, dataset, study, rates={**RATES, "linear_probe": 0.499}))
    rates = [row for row in report.groups if row["kind"] == "score" and row["metric"] != "overconfidence"]
    assert max(row["score"] for row in rates) == 1.0, "all of a group are right"
    assert all(0 <= row["low"] <= row["score"] <= row["high"] <= 1 for row in rates if row["low"] is not None)


def test_what_fairness_costs_names_the_arms_that_none_beats_in_both(finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    points = groups.frontier(report, "sex")
    assert len(points) == 4 and {point["kind"] for point in points} == {"transfer", "control"}
    for one in points:
        beaten = any(other["score"] > one["score"] and other["gap"] < one["gap"] for other in points)
        assert one["best"] != beaten
    assert max(points, key=lambda point: point["score"])["best"] and min(points, key=lambda point: point["gap"])["best"]
    page = reports.html(report)
    assert "equalised odds difference" in page and "true positive rate" in page


def test_the_screens_get_confusion_mistakes_and_curves(home: Home, finished: tuple[Dataset, Report]) -> None:
    dataset, report = finished
    trial = views.draw_zero(report, "bundled/minilm-l6", "linear_probe")
    cells = views.confusion(home, [trial])
    assert cells["count"].sum() == report.rows["test"] and len(cells) == 4
    assert all(len(rows) == count for rows, count in zip(cells["rows"], cells["count"], strict=True))
    wrong = views.worst_mistakes(home, [trial], 5)
    assert len(wrong) == 5 and (wrong["truth"] != wrong["prediction"]).all()
    assert wrong["confidence"].iloc[0] >= wrong["confidence"].iloc[-1]
    labels = datasets.rows(home, dataset.id)["y"]
    assert (labels.loc[wrong["row"]].to_numpy() == wrong["truth"].to_numpy()).all()
    ordered = [(row["n_train"], row["score"]) for row in views.best_first(report)]
    assert len(ordered) == 16 and ordered == sorted(ordered, reverse=True)
    assert len(views.score_by_labels(report)) == 16 and len(views.score_by_cost(report)) == 16
    assert set(views.learning_curves(report)["epoch"]) == {1.0}
    found = trust(home, [[trial]])
    assert 0 <= found["ece"] < 0.5 and found["conformal"] is None and len(found["abstain"]) <= 200


def test_a_model_card_says_the_same_as_the_report(home: Home, finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    arm = next(row for row in report.arms if row["strategy"] == "linear_probe" and row["fraction"] == 1.0)
    card = reports.export_card(report, arm["trials"][0])
    assert report.headline in card and f"{100 * arm['score']:.1f} %" in card
    for part in ("## Did transfer help?", "## Scores on the test part", "## Groups", "## Risks", "strategies:"):
        assert part in card
    with pytest.raises(Refusal, match="not in the report"):
        reports.export_card(report, "0" * 16)


def test_a_model_card_has_the_groups_of_its_own_arm_alone(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    arms = ({"full_finetune": {"flip": True}}, "full_finetune")
    study = study_of(dataset, strategies=arms, fractions=(0.5, 1.0), sensitive=("sex",))
    report = reports.judge(home, store, make(home, dataset, study))
    report = report.model_copy(
        update={"groups": tuple({**row, "metric": f"{row['metric']} of a|b"} for row in report.groups)}
    )
    for arm in (row for row in report.arms if row["strategy"] == "full_finetune"):
        card = reports.export_card(report, arm["trials"][0])
        lines = [line for line in card.splitlines() if line.startswith("| sex")]
        rows = [row for row in report.groups if row["strategy"] == arm["strategy"] and row["knobs"] == arm["knobs"]]
        assert len(lines) == (len(rows) if arm["fraction"] == 1.0 else 0) and rows
        assert all("of a\\|b" in line for line in lines)


def test_predictions_on_other_rows_or_without_sense_are_left_out_and_named(
    home: Home, store: Store, tmp_path: Path
) -> None:
    dataset = people(home, tmp_path)
    study = study_of(dataset, fractions=(1.0,))
    key = make(home, dataset, study)
    trial = next(t for t in studies.expand(home, study) if t.strategy == "full_finetune" and t.draw == 1)
    path = home.trials / trial.id / "predictions.parquet"
    table = pd.read_parquet(path)
    table.assign(p_0=np.nan).to_parquet(path, index=False)
    report = reports.judge(home, store, key)
    assert any(trial.id in p.where and "not finite" in p.what for p in report.problems)
    table.iloc[5:].to_parquet(path, index=False)
    said = [p.what for p in reports.judge(home, store, key).problems]
    assert any("other rows" in what for what in said) and not any("not there yet" in what for what in said)


@pytest.mark.slow
def test_a_report_of_forty_arms_and_four_shares_takes_less_than_five_seconds(
    home: Home, store: Store, tmp_path: Path
) -> None:
    dataset = people(home, tmp_path, rows=5000)
    strategies = tuple({"lp_ft": {"learning_rate": 1e-4 * (k + 1)}} for k in range(37))
    study = study_of(dataset, strategies=strategies, controls=("scratch", "random_frozen", "classical"), draws=5)
    key = make(home, dataset, study, rates={"lp_ft": 0.3, "random_frozen": 0.05, **RATES})
    started = time.perf_counter()
    report = reports.judge(home, store, key)
    seconds = time.perf_counter() - started
    assert len(report.arms) == 160 and seconds < 5, seconds


def test_scores_are_told_with_and_without_test_rows_that_are_copies(home: Home, store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"word{k}" for k in range(400)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(260)]
    parts = ["train"] * 200 + ["test"] * 60
    texts[200:215] = texts[:15]  # fifteen test rows stand in the training rows, too
    table = pd.DataFrame({"text": texts, "y": [("no", "yes")[k % 2] for k in range(260)], "split": parts})
    table.to_csv(tmp_path / "copies.csv", index=False)
    dataset = datasets.add(home, tmp_path / "copies.csv", target="y", inputs=["text"])
    study = study_of(dataset, fractions=(1.0,))
    report = reports.judge(home, store, make(home, dataset, study))
    twins = np.arange(200, 215)
    assert any("15 of 60 test rows have a near copy" in one.what for one in report.problems)
    for arm in report.arms:
        scores = []
        for trial in arm["trials"]:
            card = pd.read_parquet(home.trials / trial / "predictions.parquet")
            card = card[~card["row"].isin(twins)]
            hits = card["truth"] == np.where(card["p_1"] > card["p_0"], "yes", "no")
            scores.append(hits.groupby(card["truth"]).mean().mean())
        assert arm["score_without_copies"] == pytest.approx(np.mean(scores))


def test_copies_are_said_to_help_only_where_they_do() -> None:
    found = Readings(tasks()["classification"].metrics[0], rows=np.arange(60))
    arm = {"title": "Probe", "n_train": 50, "score": 0.8, "score_without_copies": 0.7}
    (helped,) = copies.problems(found, [arm], {"split": np.arange(15)})
    assert "They help Probe with 50 labels most" in helped.what
    for without in (0.82, float("nan")):
        (not_helped,) = copies.problems(found, [{**arm, "score_without_copies": without}], {"split": np.arange(15)})
        assert not_helped.what == "15 of 60 test rows have a near copy among the labelled rows."


def test_without_copies_nothing_is_said_of_them(finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    assert all(arm["score_without_copies"] == arm["score"] for arm in report.arms)
    assert not any("near copy" in problem.what for problem in report.problems)


MORE = ("last_block", "lp_ft", "lora", "prototype", "knn")  # arms that have nothing to do with the others


def without_more(rows: tuple[dict, ...], *gone: str) -> dict[str, dict]:
    """The rows of other arms, without some fields, by what they are rows of."""
    keys = ("column", "kind", "group", "metric", "strategy", "fraction")
    kept = [row for row in rows if row["strategy"] not in MORE]
    return {str([row.get(key) for key in keys]): {k: v for k, v in row.items() if k not in gone} for row in kept}


def test_no_interval_of_an_arm_moves_with_other_arms(home: Home, store: Store, tmp_path: Path) -> None:
    dataset, rates = people(home, tmp_path), RATES | dict.fromkeys(MORE, 0.3)
    few, many = (
        reports.judge(home, store, make(home, dataset, study_of(
            dataset, strategies=("linear_probe", "full_finetune", *more), sensitive=("sex", "town")
        ), rates=rates)) for more in ((), MORE)
    )  # fmt: skip
    assert without_more(few.arms, "best_set") == without_more(many.arms, "best_set")
    assert without_more(few.groups, "verdict") == without_more(many.groups, "verdict")
    words = ("sure", "because")
    assert without_more(few.labels_saved, *words) == without_more(many.labels_saved, *words)


@pytest.mark.parametrize("folds", [None, {"repeats": 2, "k": 3}])
def test_a_gain_moves_with_other_arms_only_by_what_they_say_of_draws(
    home: Home, store: Store, tmp_path: Path, folds: dict | None
) -> None:
    dataset, rates = people(home, tmp_path, rows=300), RATES | dict.fromkeys(MORE, 0.3)
    reports_of = []
    for more in (MORE[:0], MORE[:1], MORE):
        study = Study.model_validate(study_of(dataset, fractions=(1.0,)).model_dump() | {
            "strategies": ("linear_probe", "full_finetune", *more), "folds": folds,
        })  # fmt: skip
        key, targets = studies.save(home, study), datasets.target(home, dataset)
        for trial in studies.expand(home, study):
            seal(home, trial, dataset, datasets.stored_split(home, trial.split), rates[trial.strategy], targets)
        reports_of.append(reports.judge(home, store, key))
    gone = ("verdict", "needed", "needed_rows", "needed_draws")  # by Holm, over all
    alone, few, many = (without_more(report.verdicts, *gone) for report in reports_of)
    assert alone == few, "three comparisons say nothing of draws"
    assert (few == many) == (folds is not None), "nor do folds"


def test_settings_that_differ_are_judged_against_the_usual_ones(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    flipped = {"full_finetune": {"flip": True}}
    study = study_of(dataset, strategies=("full_finetune", flipped, "linear_probe"), draws=5)
    report = reports.judge(home, store, make(home, dataset, study))
    assert len(report.twins) == 4 and {row["strategy"] for row in report.twins} == {"full_finetune"}
    assert all(row["changed"] == {"flip": [False, True]} for row in report.twins)
    for row in report.twins:
        arms = [a for a in report.arms if (a["strategy"], a["n_train"]) == ("full_finetune", row["n_train"])]
        with_flip, without = sorted(arms, key=lambda arm: not arm["knobs"]["flip"])
        assert row["gain"] == pytest.approx(with_flip["score"] - without["score"], abs=1e-9)
        assert row["low"] <= row["gain"] <= row["high"]
    assert any(sentence.startswith("Flip on instead of off ") for sentence in report.sentences)


def test_no_two_arms_are_called_the_same(home: Home, store: Store, tmp_path: Path) -> None:
    dataset = people(home, tmp_path)
    rates = tuple({"full_finetune": {"learning_rate": rate}} for rate in (1e-3, 2e-3, 3e-3))
    report = reports.judge(home, store, make(home, dataset, study_of(dataset, strategies=rates, fractions=(1.0,))))
    named = [row["title"] for row in report.arms if row["kind"] == "transfer"]
    assert sorted(named) == [f"Full fine-tuning of MiniLM-L6 (learning_rate 0.00{k})" for k in (1, 2, 3)]
    twins = [
        Cell(ArmKey("transfer", source, "linear_probe", "{}"), Share(1.0, False),
             cards={0: {"source": {"name": "MiniLM tuned on People"}}})
        for source in ("own/a", "own/b")
    ]  # fmt: skip
    said = "Linear probe of MiniLM tuned on People"
    assert list(titles(twins).values()) == [f"{said} (own/a)", f"{said} (own/b)"]
    begun, waits = twins[0], Cell(ArmKey("transfer", "own/a", "full_finetune", "{}"), Share(1.0, False))
    assert sorted(titles([begun, waits]).values()) == ["Full fine-tuning of MiniLM tuned on People", said]


def test_a_study_without_such_arms_says_nothing_of_settings(finished: tuple[Dataset, Report]) -> None:
    _, report = finished
    assert not report.twins and not any("instead of off" in sentence for sentence in report.sentences)
