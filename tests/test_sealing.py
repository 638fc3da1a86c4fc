"""Trials are sealed beside the ones that run: in order, together when the disk is slow, and no error is lost."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tltools.engine import sealing
from tltools.engine.sealing import Sealer

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
