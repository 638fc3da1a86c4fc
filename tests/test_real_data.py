"""Verdicts on public datasets whose outcome is known; skipped where they are absent. The long ones are a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltools import datasets, reports, sources, studies
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Report, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket


def judged(home: Home, **fields: Any) -> Report:
    """The report of a study run to its end."""
    key = studies.save(home, studies.settle(home, Study(**fields)))
    engine.run_one(QuietTicket(home, open_store(home)), key)
    return reports.load(home, key)


def test_an_imagenet_source_helps_to_tell_ants_from_bees(home: Home, data: Path) -> None:
    weights = data / "weights" / "mobilenetv2-035-imagenet"
    source = sources.add(home, weights, architecture="timm/mobilenetv2_035", name="mobilenetv2-035")
    photos = data / "hymenoptera"
    dataset = datasets.add(home, photos / "hymenoptera_train.zip", test=photos / "hymenoptera_val.zip")
    report = judged(
        home, dataset=dataset.id, sources=(source.id,), strategies=("linear_probe",),
        controls=("random_frozen", "classical"), fractions=(1.0,), draws=2,
    )  # fmt: skip
    probe = next(arm for arm in report.arms if arm["strategy"] == "linear_probe")
    assert probe["score"] >= 0.87 and report.rows["test"] == 153
    assert [verdict["verdict"] for verdict in report.verdicts] == ["positive"]


def test_thousands_of_columns_and_a_few_dozen_rows_run_through(home: Home, data: Path) -> None:
    genes = data / "khan-srbct"
    dataset = datasets.add(home, genes / "khan_train.csv", test=genes / "khan_test.csv", target="tumour")
    report = judged(
        home, dataset=dataset.id, sources=("bundled/table-net",),
        strategies=({"full_finetune": {"epochs": 1, "min_steps": 2}},), controls=("classical",), fractions=(1.0,),
        draws=2,
    )  # fmt: skip
    scores = {arm["strategy"]: arm["score"] for arm in report.arms}
    assert scores["classical"] > 0.7, "gradient boosting tells most tumours apart"
    assert report.rows["test"] == 20, "the five rows without a label are left out"
    assert all(verdict["verdict"] != "positive" for verdict in report.verdicts)
