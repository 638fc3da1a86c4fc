"""What an arm costs by itself: seconds of reading features count for everybody who needs them, whoever read them.

The clock of these tests goes on where rows are read, and nowhere else, so that every figure is known in advance.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import sealed_trials
from tltools import datasets, reports, studies
from tltools.engine import features, image_backbone, kit, parallel, shared, sweep
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Study
from tltools.store import open_store
from tltools.strategies import Outcome, strategies
from tltools.tickets import QuietTicket

ENCODED, PASSED = 0.5, 2.0  # seconds a row


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=0.0)
    for module in (features, shared, sweep):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    encode, outputs_of = image_backbone.ImageBackbone.encode, sweep.outputs_of

    def encoded(backbone: Any, items: Any) -> Any:
        now.seconds += ENCODED * len(items)
        return encode(backbone, items)

    def passed(backbone: Any, batch: Any, wants: Any) -> Any:
        found = outputs_of(backbone, batch, wants)
        now.seconds += PASSED * len(batch["pixel_values"])
        return found

    monkeypatch.setattr(image_backbone.ImageBackbone, "encode", encoded)
    monkeypatch.setattr(sweep, "outputs_of", passed)
    monkeypatch.setattr(parallel, "room", lambda trainings, memory_mb: 1)
    return now


@pytest.fixture
def study(home: Home) -> Study:
    folder = home.root.parent / "given"
    folder.mkdir()
    pictures = datasets.add(home, sealed_trials.pictures(folder))
    return Study(dataset=pictures.id, sources=("bundled/tiny-resnet",), strategies=("linear_probe", "prototype"),
                 controls=("classical",), per_class=(4, 8), draws=2)  # fmt: skip


def _ran(home: Home, study: Study) -> dict[str, list[dict[str, Any]]]:
    """The cards of its trials by strategy."""
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    found: dict[str, list[dict[str, Any]]] = {}
    for trial in studies.expand(home, study):
        found.setdefault(trial.strategy, []).append(reports.trial_card(home, trial.id) or {})
    return found


def _rows(home: Home, study: Study, card: dict[str, Any]) -> int:
    """That a trial needs: those that it learns from, and those that it is judged by."""
    return int(card["n_train"]) + len(studies.split_of(home, study)[1].test)


def test_arms_on_the_same_features_cost_the_same_whoever_read_them(
    home: Home, study: Study, clock: SimpleNamespace
) -> None:
    cards = _ran(home, study)
    for name in ("linear_probe", "prototype"):
        for card in cards[name]:
            assert card["seconds_alone"] == pytest.approx((ENCODED + PASSED) * _rows(home, study, card))
    spent = {name: sum(card["seconds"] for card in some) for name, some in cards.items()}
    assert sorted([spent["linear_probe"] > 0, spent["prototype"] > 0]) == [False, True], "what passes, passes once"
    assert spent["linear_probe"] + spent["prototype"] == pytest.approx(clock.seconds)

    report = reports.load(home, studies.save(home, study))
    probe, means = ({row["n_train"]: row["seconds"] for row in report.arms if row["strategy"] == name}
                    for name in ("linear_probe", "prototype"))  # fmt: skip
    assert len(probe) == 2 and probe == means


def test_features_of_an_earlier_study_cost_what_they_did_when_they_were_read(
    home: Home, study: Study, clock: SimpleNamespace
) -> None:
    _ran(home, study.model_copy(update={"strategies": ("linear_probe",)}))
    before = clock.seconds
    (*_, card) = _ran(home, study.model_copy(update={"strategies": ("prototype",)}))["prototype"]
    assert clock.seconds == before and card["seconds"] == 0, "nothing was read anew"
    assert card["seconds_alone"] == pytest.approx((ENCODED + PASSED) * _rows(home, study, card))

    for path in home.features.glob("*/time.json"):
        path.unlink()  # as of features from before they were timed
    cards = _ran(home, study.model_copy(update={"strategies": ("knn",)}))
    assert {card["seconds_alone"] for card in cards["knn"]} == {None}, "what nobody knows is not made up"


def test_a_training_pays_for_the_rows_it_encodes_and_for_what_it_finds_computed(
    home: Home, study: Study, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "_from_nothing", lambda base, recipe: False)  # the network is small, and knows nothing
    short = {"epochs": 1, "min_steps": 1, "rates_tried": 1}
    arms = ({"full_finetune": short}, {"lp_ft": short}, {"last_block": short})
    asked = study.model_copy(update={"strategies": arms, "draws": 1})
    lent = kit.EngineKit(QuietTicket(home, open_store(home)), asked, *studies.split_of(home, asked))
    passed = set()
    for trial in [trial for trial in studies.expand(home, asked) if trial.strategy != "classical"]:
        (outcome,) = strategies()[trial.strategy].run(lent, [trial])
        rows, learnt = _rows(home, asked, dict(outcome.card)), len(lent.draw(trial)[0])
        if outcome.card["n_validation"] == 0:
            learnt = outcome.card["n_train"]  # a handful does not choose, but trains
        count = {"full_finetune": 0, "lp_ft": learnt, "last_block": rows}.get(trial.strategy, 0)
        assert outcome.alone == pytest.approx(ENCODED * rows + PASSED * count), trial.strategy
        passed.add(count)
    assert len(passed) == 5, "none, or some of either share"


def test_side_by_side_a_trial_costs_what_it_would_take_on_all_threads() -> None:
    outcome = Outcome(None, np.zeros(0), np.zeros(0), {}, {}, 20.0, 0.0, 0, shared=8.0, reading=3.0)  # type: ignore[arg-type]
    assert outcome.alone == 15.0
    beside = replace(outcome, faster=1.5)
    assert beside.alone == 11.0 and beside.seconds == 20.0
