"""Translation of a made-up language from a file to a verdict, and back to texts that are written for new rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests import shapes
from tests.texts import OTHERS, WORDS, written
from tltools import datasets, reports, sources, studies
from tltools.engine import export, predict, trial_model
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

KNOBS = {"epochs": 10, "min_steps": 0, "batch_size": 16, "learning_rate": 5e-4, "head_rate": 2e-3, "rates_tried": 1,
         "patience": 0}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("translation")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    dataset = datasets.add(home, written(folder, 300, 1), test=written(folder, 30, 2, "test.csv"))
    study = Study(
        dataset=dataset.id, sources=(source.id,), strategies=({"full_finetune": KNOBS},),
        controls=("classical",), fractions=(1.0,), draws=1,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_a_study_of_translation_is_judged_and_the_order_of_words_is_learned(ran: tuple[Home, Study]) -> None:
    home, study = ran
    dataset = datasets.get(home, study.dataset)
    assert (dataset.task, dataset.modality, dataset.inputs) == ("translation", "text", ("text",))
    report = reports.load(home, studies.save(home, study))
    assert report.metric == "chrf" and len(report.verdicts) == 1
    scores = {arm["strategy"]: arm["score"] for arm in report.arms}
    assert scores["full_finetune"] > 0.75 > scores["classical"] > 0.3  # the dictionary knows the words, not their order
    page = reports.html(report, home)
    assert "The worst texts" in page and "<b>Reference</b>" in page and "<b>Output</b>" in page


def test_new_texts_are_translated_as_the_stored_ones_were(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    trials = [trial for trial in studies.expand(home, study) if trial.draw == 0]  # of others no weights are kept
    items = datasets.items(home, datasets.get(home, study.dataset), "text")
    for trial in trials:
        stored = pd.read_parquet(home.trials / trial.id / "predictions.parquet")
        again = trial_model.load(home, trial.id).outputs([items[row] for row in stored["row"]])
        assert again.tolist() == stored["prediction"].tolist()
    tuned = next(trial for trial in trials if trial.kind == "transfer")
    ticket = QuietTicket(home, open_store(home))
    found = predict.run(ticket, {"trial": tuned.id, "items": [f"{WORDS[0]} {WORDS[4]} {WORDS[7]}"]})
    said = found["predictions"][0]["prediction"].split()
    assert set(said) <= set(OTHERS) and found["texts"] == [f"{WORDS[0]} {WORDS[4]} {WORDS[7]}"]
    out = tmp_path / "out.csv"
    predict.run(ticket, {"trial": tuned.id, "file": str(written(tmp_path, 12, 3)), "out": str(out)})
    told = pd.read_csv(out, keep_default_na=False)
    assert len(told) == 12 and all(told["prediction"])


def test_an_exported_folder_writes_the_same_texts_alone(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    trials = {trial.strategy: trial.id for trial in studies.expand(home, study)}
    ticket = QuietTicket(home, open_store(home))
    shapes.exported(ticket, trials["full_finetune"], tmp_path / "model", 101, "head.words.weight")
    given = written(tmp_path, 12, 3)
    shapes.alone(tmp_path / "model", given, tmp_path / "out.csv")
    wanted = predict.run(ticket, {"trial": trials["full_finetune"], "file": str(given)})["predictions"]
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].tolist() == [one["prediction"] for one in wanted]
    plain = export.run(ticket, {"trial": trials["classical"], "to": str(tmp_path / "plain")})
    assert plain["replay"]["agrees"] and plain["replay"]["tolerance"] < 0.01 and "control.json" in plain["files"]
