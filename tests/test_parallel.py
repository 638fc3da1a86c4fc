"""Trainings side by side in forks: the same results, whatever happens to a fork, and none that outlives its study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from test_planner import COUNTS, SOURCE, trial

from tltools import rates, reports, samples, studies
from tltools.artifacts import sealed
from tltools.engine import device, parallel
from tltools.engine import study as engine
from tltools.engine.parallel import Parallel
from tltools.home import Home, open_home
from tltools.records import Folds, Refusal, Study, Trial, refuse
from tltools.store import open_store
from tltools.strategies import Outcome
from tltools.tickets import BudgetSpent, Cancelled, Interrupted, QuietTicket, TimedTicket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes fork safely on Linux only")

SHORT = {"full_finetune": {"epochs": 2, "min_steps": 4}}


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    before = psutil.Process().children()  # the template of processes that another test started
    yield
    assert set(psutil.Process().children()) <= set(before), "nothing outlives a study"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings at once, although tests compute on one thread: so a fork computes as the test's process does."""
    monkeypatch.setattr(parallel, "room", lambda trainings, memory_mb: min(2, trainings))


def _study(home: Home, **fields: Any) -> Study:
    wine = samples.add(home, "wine")
    arms = {"sources": ("bundled/table-net",), "strategies": (SHORT,), "controls": ("classical", "scratch")}
    return Study(dataset=wine.id, **{**arms, "fractions": (0.5, 1.0), "draws": 2, **fields})


class Heard(QuietTicket):
    """A ticket that notes what it is told."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, open_store(home))
        self.events: list[tuple[str, str | None, str]] = []
        self.notes: list[str] = []

    def working_on(self, note: str, stage: str = "") -> None:
        self.notes.append(note)

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        self.events.append((what, trial, note))


def _results(home: Home, study: Study) -> dict[str, pd.DataFrame]:
    return {
        t.id: pd.read_parquet(home.trials / t.id / "predictions.parquet")
        for t in studies.expand(home, study)
        if sealed(home.trials / t.id)
    }


@pytest.mark.parametrize("fields", [{}, {"folds": Folds(k=3, repeats=1), "fractions": (1.0,), "draws": 1}])
def test_trials_come_out_as_they_do_one_after_the_other(tmp_path: Path, two: None, fields: dict[str, Any]) -> None:
    alone, beside = open_home(tmp_path / "alone"), open_home(tmp_path / "beside")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parallel, "room", lambda trainings, memory_mb: 1)
        wanted = _study(alone, **fields)
        engine.run(QuietTicket(alone), {"study": studies.save(alone, wanted)})
    ticket, study, forks = Heard(beside), _study(beside, **fields), []
    key = studies.save(beside, study)
    fork = os.fork
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fork", lambda: forks.append(fork()) or forks[-1])
        facts = engine.run(ticket, {"study": key})
    first, second = _results(alone, wanted), _results(beside, study)
    assert len(forks) == 2 and first.keys() == second.keys() and facts["left_out"] == 0
    for name, frame in first.items():
        pd.testing.assert_frame_equal(frame, second[name])
    trained = {t.id for t in studies.expand(beside, study) if t.strategy != "classical"}
    assert {name for what, name, _ in ticket.events if what == "epoch"} == trained
    assert any("epoch" in note for note in ticket.notes)
    cards = [reports.trial_card(beside, name) for name in trained]
    assert all(card["seconds"] > 0 and card["at_once"] == 2 for card in cards)
    every = [reports.trial_card(beside, trial.id) for trial in studies.expand(beside, study)]
    assert ticket.store.trial_seconds(key) < sum(card["seconds"] for card in every), "two seconds at once are one"


# --- what may happen to a fork: a kit and strategies of a few lines --------------------------------------------------


class Kit:
    """Trains by calling what the trial's knobs name."""

    def __init__(self, home: Home) -> None:
        self.home, self.parallel = home, None
        self.store = SimpleNamespace(remember_in=lambda store: None)
        self.ticket: Any = None

    def on(self, split: str) -> Kit:
        return self


def _deed(kit: Kit, wanted: Trial) -> Any:
    """What a trial of these tests does while it trains."""
    does = wanted.knobs["does"]
    if does == "dies":
        if kit.ticket.ticket.__class__.__name__ == "SideTicket":
            os.kill(os.getpid(), signal.SIGKILL)
    elif does == "refuses":
        raise refuse("rows", "cannot be read.", "Read others.")
    elif does == "breaks":
        raise KeyError("nowhere")
    elif does == "memory":
        raise MemoryError
    elif does == "goes on":
        while True:
            kit.ticket.check()
    return np.array([torch.get_num_threads(), os.getpid(), torch.rand(()).item()])


def _run(kit: Kit, trials: list[Trial]) -> Iterator[Outcome]:
    for one in trials:
        if kit.parallel is not None:
            kit.parallel.depart(SimpleNamespace(place=SimpleNamespace(speedup=one.knobs["speedup"])))
        yield Outcome(one, np.arange(3), _deed(kit, one), {}, {}, 1.0, 1.0, 0)


def _trial(does: str, draw: int, speedup: float = 1.0) -> Trial:
    return trial("full_finetune", draw=draw, knobs={"does": does, "speedup": speedup})


@pytest.fixture
def beside(home: Home, monkeypatch: pytest.MonkeyPatch) -> Parallel:
    monkeypatch.setattr(parallel, "strategies", lambda: {"full_finetune": SimpleNamespace(run=_run)})
    kit = Kit(home)
    kit.ticket = TimedTicket(Heard(home), float("inf"))
    return Parallel(kit, kit.ticket, 2)


def _all(beside: Parallel, *trials: Trial) -> list[Outcome]:
    with beside:
        found = [outcome for one in trials for outcome in beside.run([one])]
        return [*found, *beside.rest()]


def test_a_fork_serves_several_trials_on_one_thread_and_a_single_call_stays_here(beside: Parallel) -> None:
    wanted = [_trial("works", draw) for draw in range(6)]
    found = _all(beside, *wanted)
    assert sorted(one.trial.draw for one in found) == list(range(6))
    threads, processes, _ = np.array([one.outputs for one in found]).T
    assert set(threads) == {1} and len(set(processes)) == 2 and os.getpid() not in processes
    assert beside.extra_mb > 0


def test_what_a_trial_would_take_alone_is_told_by_the_speed_up_of_all_threads(beside: Parallel) -> None:
    slow, quick = _all(beside, _trial("works", 0, speedup=1.25), _trial("works", 1, speedup=0.5))
    assert slow.seconds == quick.seconds == 1.0 and {slow.alone, quick.alone} == {0.8, 1.0}


def test_several_trials_of_one_call_and_those_that_threads_serve_better_stay_here(beside: Parallel) -> None:
    with beside:
        found = [*beside.run([_trial("works", 0), _trial("works", 1)]), *beside.run([_trial("works", 2, speedup=1.9)])]
        found += beside.rest()
    assert [one.trial.draw for one in found] == [0, 1, 2]
    assert {int(one.outputs[1]) for one in found} == {os.getpid()}


def test_what_a_killed_fork_was_at_is_done_here_and_the_rest_one_at_a_time(beside: Parallel) -> None:
    found = _all(beside, _trial("works", 0), _trial("dies", 1), *[_trial("works", draw) for draw in range(2, 6)])
    assert sorted(one.trial.draw for one in found) == list(range(6)) and beside.places == 1
    assert next(one for one in found if one.trial.draw == 1).outputs[1] == os.getpid()
    ((what, name, note),) = beside._ticket.ticket.events
    assert what == "note" and name == "full_finetune-1.0-1" and "want of memory" in note


def test_a_fork_that_is_killed_while_it_waits_loses_nothing(beside: Parallel) -> None:
    with beside:
        found = [*beside.run([_trial("works", 0)]), *beside.rest()]
        (side,) = beside._sides
        os.kill(side.pid, signal.SIGKILL)
        os.waitid(os.P_PID, side.pid, os.WEXITED | os.WNOWAIT)
        for draw in (1, 2):
            found += beside.run([_trial("works", draw)])
        found += beside.rest()
    assert [one.trial.draw for one in found] == [0, 1, 2] and beside.places == 1


@pytest.mark.parametrize(
    ("does", "raised", "said"),
    [("refuses", Refusal, "rows"), ("breaks", RuntimeError, "KeyError: 'nowhere'"), ("memory", MemoryError, None)],
)
def test_what_a_fork_raises_is_raised_here(beside: Parallel, does: str, raised: type, said: str | None) -> None:
    with pytest.raises(raised, match=said):
        _all(beside, _trial("works", 0), _trial(does, 1), _trial("goes on", 2))


@pytest.mark.parametrize("how", [Cancelled, Interrupted])
def test_a_study_that_is_stopped_stops_its_forks(
    beside: Parallel, monkeypatch: pytest.MonkeyPatch, how: type[Exception]
) -> None:
    def stop() -> None:
        raise how

    with pytest.raises(how), beside:
        for draw in range(2):
            assert list(beside.run([_trial("goes on", draw)])) == []
        monkeypatch.setattr(beside._ticket.ticket, "check", stop)
        list(beside.rest())


def test_when_time_is_over_what_came_is_kept(beside: Parallel) -> None:
    with beside:
        assert list(beside.run([_trial("goes on", 0)])) == []
        assert list(beside.run([_trial("works", 1)])) == []
        beside._ticket.until = float("-inf")
        with pytest.raises(BudgetSpent):
            list(beside.rest())
        assert [one.trial.draw for one in beside.stop()] == [1]


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    home: Home, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(home, controls=("classical",), strategies=({"full_finetune": {"epochs": 40}},), fractions=(1.0,))
    ticket, key = Heard(home), studies.save(home, study)
    working = ticket.working_on

    def stop_soon(note: str, stage: str = "") -> None:
        working(note)
        monkeypatch.setattr(ticket, "check", lambda: (_ for _ in ()).throw(Interrupted()))

    monkeypatch.setattr(ticket, "working_on", stop_soon)
    with pytest.raises(Interrupted):
        engine.run(ticket, {"study": key})
    assert list((home.jobs / "checkpoints").rglob("*.safetensors"))
    assert engine.run(QuietTicket(home), {"study": key})["left_out"] == 0
    assert not list((home.jobs / "checkpoints").rglob("*.safetensors"))


def test_a_fork_whose_job_was_killed_ends_by_itself(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from types import SimpleNamespace
import test_parallel as t
from tltools.engine import parallel
from tltools.home import open_home
home = open_home(Path(sys.argv[1]))
parallel.strategies = lambda: {"full_finetune": SimpleNamespace(run=t._run)}
kit = t.Kit(home)
kit.ticket = t.TimedTicket(t.Heard(home), float("inf"))
beside = parallel.Parallel(kit, kit.ticket, 2)
for draw in range(2):
    list(beside.run([t._trial("goes on", draw)]))
print("begun", flush=True)
list(beside.rest())
"""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        forks = psutil.Process(process.pid).children()
        assert len(forks) == 2
        process.kill()
    _, alive = psutil.wait_procs(forks, timeout=20)
    assert not alive


# --- how many, and what it costs ------------------------------------------------------------------------------------


def test_room_is_what_threads_trainings_and_memory_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4e9))
    monkeypatch.setattr(device, "memory_mb", lambda: 8000.0)
    assert parallel.room(100, 500.0) == 8
    assert parallel.room(3, 500.0) == 3
    assert parallel.room(100, 1500.0) == 2
    assert parallel.room(100, 9000.0) == 1
    monkeypatch.setattr(device, "memory_mb", lambda: 1000.0)  # of a container, whose machine has more
    assert parallel.room(100, 500.0) == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    assert parallel.room(100, 500.0) == 1


def test_the_estimate_counts_on_trainings_side_by_side() -> None:
    way = {"step": 1e-3, "seen": 0.0, "mb": 1000.0, "places": 2, "speedup": 1.5}
    rate = {
        **rates.guess(SOURCE, 64),
        "stages": 7,
        "rows_per_second": 1e9,
        "load_seconds": 0.0,
        "encode_rows_per_second": 1e9,
        "peak_mb": 100.0,
    }
    trials = [trial("full_finetune", draw=draw) for draw in range(4)]

    def cost(**more: float) -> tuple[float, float]:
        known = {"local/a": {**rate, "ways": {"full_finetune:0:16": {**way, **more}}}}
        return (
            rates.seconds(trials, {"local/a": SOURCE}, known, COUNTS),
            rates.peak_mb(trials, {"local/a": SOURCE}, known, COUNTS),
        )

    assert {trials[0].knobs["batch_size"]} == {16}
    (alone, small), (beside, large) = cost(places=1), cost()
    beside -= 2 * rates.FORK_SECONDS
    assert (beside - rates.STUDY_SECONDS) / (alone - rates.STUDY_SECONDS) == pytest.approx(1.5 / 2, rel=0.01)
    assert large - small == pytest.approx(1000.0 - rates.NETWORK_MB * SOURCE.parameters)
    assert cost(speedup=1.9) == cost(places=1), "threads serve such a network as well"
    assert cost(places=64)[0] == pytest.approx(cost(places=4)[0]), "no more places than trainings"
