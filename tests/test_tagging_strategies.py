"""Tagging by strategies beside full fine-tuning: adapters, and nets without a source; values of rows of its metrics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tltools import datasets, places, reports, sources, studies
from tltools.engine import dense, loop, trial_model
from tltools.engine import device as devices
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.feeds import Feed
from tltools.home import Home, open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.strategies import Recipe
from tltools.tasks.tagging import TAGGING
from tltools.tickets import QuietTicket

KNOBS = {"epochs": 2, "min_steps": 0, "batch_size": 16, "rates_tried": 1, "learning_rate": 5e-4}


def conll(sentences: int) -> str:
    """Persons and towns in sentences of unequal length."""
    random = np.random.default_rng(0)
    people, towns = ("Ann", "Bob", "Eva", "Kai"), ("Rome", "Oslo", "Bern", "Lima")
    found = []
    for k in range(sentences):
        middle = "old\tO\n" * int(random.integers(0, 4))
        found.append(f"{random.choice(people)}\tB-PER\nsaw\tO\n{middle}{random.choice(towns)}\tB-LOC\n{k}\tO\n")
    return "\n".join(found)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("strategies")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    (folder / "a.conll").write_text(conll(60))
    study = Study(
        dataset=datasets.add(home, folder / "a.conll").id, sources=(source.id,),
        strategies=({"lora": KNOBS},), controls=({"scratch": KNOBS},), fractions=(1.0,), draws=1,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_a_net_with_adapters_and_one_without_a_source_are_judged(ran: tuple[Home, Study]) -> None:
    home, study = ran
    report = reports.load(home, studies.study_id(study))
    assert {arm["strategy"] for arm in report.arms} == {"lora", "scratch"} and not [
        one for one in report.problems if one.severity == "error"
    ]


def test_merged_adapters_say_what_they_said_apart(ran: tuple[Home, Study]) -> None:
    home, study = ran
    dataset = datasets.get(home, study.dataset)
    for trial in (one for one in studies.expand(home, study) if one.draw == 0):  # of others no weights are kept
        model = trial_model.load(home, trial.id)
        stored = model.stored()
        items = datasets.items(home, dataset, "text")
        again = model.outputs([items[row] for row in stored["row"]])
        before = [places.tags_of(cell, dataset.classes) for cell in stored["prediction"]]
        assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))


def test_new_texts_are_read_beside_others_of_their_length(
    ran: tuple[Home, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, study = ran
    model: Any = trial_model.load(home, next(one.id for one in studies.expand(home, study) if one.strategy == "lora"))
    items = ["Ann saw Rome", "Bob saw " + "old " * 30 + "Oslo"] * 4
    by_itself = [model.outputs([item])[0] for item in items]
    shapes = list[tuple[int, ...]]()
    monkeypatch.setattr(trial_model, "BATCH", 4)
    model.model.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0]["attention_mask"].shape)))
    together = model.outputs(items)
    assert [len(tags) for tags in together] == [3, 33] * 4
    assert all(np.array_equal(a, b) for a, b in zip(by_itself, together, strict=True))
    assert [rows for rows, _ in shapes] == [4, 4] and 3 * shapes[0][1] < shapes[1][1], "short ones are not padded"


def test_every_metric_has_values_of_rows_that_average_to_it() -> None:
    random = np.random.default_rng(0)
    truth, said = (places.as_rows([random.integers(0, 5, n) for n in (3, 9, 1, 5)]) for _ in "ab")
    for metric in TAGGING.metrics:
        assert metric.influence is not None
        assert metric.influence(truth, said).mean() == pytest.approx(metric.score(truth, said))


def test_the_best_epoch_is_that_of_the_best_score_and_then_of_the_least_loss() -> None:
    truth = places.as_rows([np.array([1, 0]), np.array([0, 3])])
    rows = SimpleNamespace(validation=np.array([0, 1]))
    places_of = SimpleNamespace(decode=TAGGING.decode)
    training: Any = SimpleNamespace(task=TAGGING, truth=truth, rows=rows, places=places_of)

    def choice(loss: float, said: list[list[int]]) -> float:
        return dense.Training.choice(training, loss, torch.from_numpy(np.eye(5)[np.array(said)]))

    right, half, nothing = [[1, 0], [0, 3]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]
    assert choice(9.0, right) < choice(0.1, half) < choice(0.1, nothing)
    assert choice(0.5, nothing) < choice(0.6, nothing)
    training.truth = places.as_rows([np.zeros(2, int)] * 2)  # not a single entity: no score says anything
    assert choice(0.5, nothing) < choice(0.6, nothing)


def test_a_frozen_encoder_reads_its_rows_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    backbone.read_at(0)
    texts = ["Ann saw Rome", "Bob", "old old Oslo and Lima were seen by Eva", "Kai saw nobody"]
    place, rows = loop.Place(devices.best()), np.arange(4)
    feed = Feed(backbone.encode(texts), None, place.device, False, Recipe(phases=()))
    model = dense.Places(backbone, TAGGING, 5)
    before = loop.predict(model, feed, rows, place)
    kept = dense.KeptMaps(feed, model, rows[:3], place, lambda: None)
    assert torch.allclose(loop.predict(model, kept, rows, place), before, atol=1e-5), "row 3 was not kept: it is read"
    monkeypatch.setattr(backbone, "maps", lambda batch: pytest.fail("it was read again"))
    assert torch.allclose(loop.predict(model, kept, rows[2::-1], place), before[[2, 1, 0]], atol=1e-5)
