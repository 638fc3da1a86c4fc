"""Whether a verdict hangs on the metric: every other metric judges as if it were the study's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_reports import make, people, study_of
from tltools import reports, studies
from tltools.home import Home
from tltools.records import Report
from tltools.reports import other_metrics
from tltools.store import Store, open_store
from tltools.tasks import tasks


@pytest.fixture
def store(home: Home) -> Store:
    return open_store(home)


@pytest.fixture
def report(home: Home, store: Store, tmp_path: Path) -> Report:
    dataset = people(home, tmp_path)
    return reports.judge(home, store, make(home, dataset, study_of(dataset)))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auroc"])
def test_another_metric_judges_as_it_would_judge_its_own_study(
    home: Home, store: Store, report: Report, metric: str
) -> None:
    study = studies.load(home, report.study).model_copy(update={"metric": metric})
    own = reports.judge(home, store, studies.save(home, study))
    again = [row for row in report.other_metrics if row["metric"] == metric]
    assert len(again) == len(own.verdicts) == 8
    for row, theirs in zip(again, own.verdicts, strict=True):
        assert {key: value for key, value in row.items() if key not in ("metric", "margin")} == {
            key: theirs[key] for key in row if key not in ("metric", "margin")
        }


def test_a_metric_in_another_unit_has_no_margin(report: Report) -> None:
    margins = {row["metric"]: row["margin"] for row in report.other_metrics}
    assert margins == {"accuracy": 0.01, "macro_f1": 0.01, "auroc": 0.01, "log_loss": 0.0}
    p_same = [row["p_equivalent"] for row in report.other_metrics if row["metric"] == "log_loss"]
    assert p_same == pytest.approx([0.0] * 8, abs=1e-12)


def test_every_metric_stands_beside_the_verdict(report: Report) -> None:
    metrics, lines = other_metrics.side_by_side(report)
    assert [metric.key for metric in metrics] == ["balanced_accuracy", "accuracy", "macro_f1", "auroc", "log_loss"]
    for row, told in lines:
        assert told[0] is row and all(one and one["title"] == row["title"] for one in told)
    assert [row["n_train"] for row, _ in lines] == sorted((row["n_train"] for row in report.verdicts), reverse=True)
    page = reports.html(report)
    assert "By other metrics" in page and page.index("By other metrics") < page.index("All arms")
    assert any(said.startswith("By other metrics, with ") for said in report.sentences)


def test_a_look_while_the_study_runs_leaves_them_out(home: Home, store: Store, report: Report) -> None:
    early = reports.judge(home, store, report.study, whole=False)
    assert early.other_metrics == () and "By other metrics" not in reports.html(early)
    assert early.verdicts == report.verdicts


def verdict(word: str, **more: Any) -> dict[str, Any]:
    row = {"source": "s", "strategy": "linear_probe", "knobs": {}, "fraction": 1.0, "per_class": None, "n_train": 100}
    return {**row, "title": "Linear probe", "verdict": word, "gain": 0.03, "low": 0.01, "high": 0.05, **more}


def test_metrics_that_contradict_each_other_are_named() -> None:
    metric = tasks()["classification"].metrics[0]
    ours = [verdict("positive"), verdict("negative", fraction=0.1, n_train=10)]
    theirs = [verdict("negative", metric="accuracy"), verdict("positive", metric="auroc", fraction=0.1, n_train=10)]
    (said,) = other_metrics.sentences(ours, theirs, metric, "classification")
    where = "with 100 labels, Linear probe is positive by Balanced accuracy and negative by Accuracy."
    assert said == f"It hangs on the metric: {where}"
    (said,) = other_metrics.sentences(ours, [verdict("neutral", metric="accuracy")], metric, "classification")
    assert said == "By other metrics, with 100 labels, Linear probe: Accuracy neutral."
    assert other_metrics.sentences([], [], metric, "classification") == []


def test_what_only_describes_an_output_judges_nothing() -> None:
    chrf = tasks()["translation"].metrics[0]
    assert [metric.key for metric in other_metrics.others(chrf, "translation")] == ["bleu", "rouge_l"]
