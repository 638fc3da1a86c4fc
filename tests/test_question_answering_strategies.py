"""Question answering by strategies beside full fine-tuning: adapters, nets without a source; unanswered questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.questions import written
from tltools import answers, datasets, reports, sources, studies
from tltools.engine import dense, trial_model
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

KNOBS = {"epochs": 3, "min_steps": 0, "batch_size": 16, "rates_tried": 1, "learning_rate": 5e-4}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("strategies")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    study = Study(
        dataset=datasets.add(home, written(folder, 12, 1, impossible=True)).id, sources=(source.id,),
        strategies=({"lora": KNOBS},), controls=({"scratch": KNOBS}, "random_frozen", "classical"),
        fractions=(1.0,), draws=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # a few steps do: what is learned is not judged here
        patch.setattr(dense, "FROZEN", replace(dense.FROZEN, epochs=1, min_steps=0))
        engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_nets_with_adapters_frozen_ones_and_those_without_a_source_are_judged(ran: tuple[Home, Study]) -> None:
    home, study = ran
    report = reports.load(home, studies.study_id(study))
    arms = {"lora", "scratch", "random_frozen", "classical"}
    assert {arm["strategy"] for arm in report.arms} == arms
    assert not [one for one in report.problems if one.severity == "error"]


def test_models_made_again_say_what_was_said(ran: tuple[Home, Study]) -> None:
    home, study = ran
    items = datasets.items(home, datasets.get(home, study.dataset), "text")
    for trial in (one for one in studies.expand(home, study) if one.draw == 0):  # of others no weights are kept
        model = trial_model.load(home, trial.id)
        stored = model.stored()
        again = model.outputs([items[row] for row in stored["row"]])
        assert [one.span for one in again] == [answers.said_of(cell).span for cell in stored["prediction"]]
