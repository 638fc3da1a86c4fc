"""Trials are sealed beside the ones that run: in order, together when the disk is slow, and no error is lost."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tltools import artifacts, samples, studies
from tltools.engine import sealing, trial_model
from tltools.engine import study as engine
from tltools.engine.sealing import Sealer
from tltools.home import Home
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

HEAD = {"head.weight": np.zeros((2, 3), np.float32)}


def outcome(name: str, weights: Any = HEAD) -> Any:
    return SimpleNamespace(trial=name, weights=weights)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk that notes which trials came together, and writes nothing before `ready` is set."""
    found = SimpleNamespace(groups=[], begun=threading.Event(), ready=threading.Event(), full=False)

    def seal(_: Any, outcomes: Any) -> None:
        found.begun.set()
        assert found.ready.wait(10)
        if found.full:
            raise OSError("No space left on device")
        found.groups.append([one.trial for one in outcomes])

    monkeypatch.setattr(sealing, "seal", seal)
    return found


def test_what_waits_while_the_disk_is_busy_goes_to_it_together_and_in_order(disk: Any) -> None:
    with Sealer(SimpleNamespace()) as sealer:
        sealer.put(outcome("first"))
        assert disk.begun.wait(10)
        for name in ("second", "third"):
            sealer.put(outcome(name))
        assert disk.groups == [], "nobody waited for the disk"
        disk.ready.set()
        sealer.settle()
        assert disk.groups == [["first"], ["second", "third"]]


def test_a_large_model_is_sealed_before_the_next_is_trained(disk: Any) -> None:
    disk.ready.set()
    with Sealer(SimpleNamespace()) as sealer:
        sealer.put(outcome("large", {"backbone": np.zeros(sealing.SMALL_WEIGHTS + 1, np.uint8)}))
        assert disk.groups == [["large"]]


def test_what_was_put_is_sealed_although_the_study_is_stopped(disk: Any) -> None:
    disk.ready.set()
    with pytest.raises(KeyboardInterrupt), Sealer(SimpleNamespace()) as sealer:
        sealer.put(outcome("finished"))
        raise KeyboardInterrupt
    assert disk.groups == [["finished"]]


def test_a_full_disk_ends_the_study(disk: Any) -> None:
    disk.full = True
    disk.ready.set()
    with pytest.raises(OSError, match="No space left"), Sealer(SimpleNamespace()) as sealer:
        sealer.put(outcome("lost"))


def test_a_share_that_is_the_largest_of_a_later_study_gets_its_weights(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SMALL_WEIGHTS", 0)
    wine, ticket = samples.add(home, "wine"), QuietTicket(home, open_store(home))
    arm = {"full_finetune": {"epochs": 2, "min_steps": 4}}

    def run(*fractions: float) -> tuple[Study, str, dict[str, Any]]:
        study = Study(dataset=wine.id, sources=("bundled/table-net",), strategies=(arm,), controls=(), draws=2,
                      fractions=fractions)  # fmt: skip
        result = engine.run_one(ticket, studies.save(home, study))
        (trial,) = [one.id for one in studies.expand(home, study) if (one.fraction, one.draw) == (0.5, 0)]
        return study, trial, result

    _, trial, _ = run(0.5, 1.0)
    with pytest.raises(Refusal, match="has no weights"):
        trial_model.load(home, trial)
    before = pd.read_parquet(home.trials / trial / "predictions.parquet")
    study, same, result = run(0.5)
    assert same == trial and result["trials_run"] == 1, "the other draw is reused"
    assert trial_model.load(home, trial) and artifacts.verify(home.trials / trial) == []
    pd.testing.assert_frame_equal(pd.read_parquet(home.trials / trial / "predictions.parquet"), before)
    assert studies.estimate(home, ticket.store, study).sealed == 2 and run(0.5)[2]["trials_run"] == 0
    assert not [path for path in home.trials.iterdir() if path.name.startswith(".")]
