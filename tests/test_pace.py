"""How long a running study will still take, while quick strategies are done and slow ones have not begun."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tltools import costs, pace, samples, studies
from tltools.holders import this_process
from tltools.home import Home
from tltools.records import Budget, Job, Study
from tltools.store import Store, open_store
from tltools.tickets import JobTicket


@pytest.fixture
def store(home: Home) -> Store:
    return open_store(home)


@pytest.fixture
def study(home: Home) -> Study:
    dataset = samples.add(home, "film-notes")
    return studies.settle(home, Study(
        dataset=dataset.id, sources=("bundled/minilm-l6",), strategies=("linear_probe", "full_finetune"),
        controls=("classical",), fractions=(0.5, 1.0), draws=3,
    ))  # fmt: skip


@pytest.fixture
def job(home: Home, store: Store, study: Study) -> Job:
    return store.submit("study", {"study": studies.save(home, study)}, title="A study", key="study")


def seal(
    home: Home, store: Store, job: Job, strategy: str, fraction: float = 1.0, ago: float = 0.0, **numbers: float
) -> None:
    """Notes in the job's events that a trial was sealed."""
    study = studies.load(home, str(job.payload["study"]))
    trial = next(t for t in studies.expand(home, study) if (t.strategy, t.fraction) == (strategy, fraction))
    ticket = JobTicket(home, store, job)
    ticket.event("trial_sealed", trial.id, strategy, **numbers)
    *lines, last = ticket.events.read_text().splitlines()
    event = json.loads(last) | {"at": (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()}
    ticket.events.write_text("\n".join([*lines, json.dumps(event)]) + "\n")


def test_what_has_not_begun_takes_what_was_estimated(home: Home, store: Store, study: Study, job: Job) -> None:
    assert pace.seconds_left(home, store, job) is None, "nothing is sealed yet"
    for fraction in (0.5, 1.0):
        seal(home, store, job, "linear_probe", fraction, seconds=0.5)
        seal(home, store, job, "classical", fraction, seconds=0.1)
    seal(home, store, job, "full_finetune", 0.5, seconds=60.0, at_once=2.0)
    dataset, split = studies.split_of(home, study)
    slow = [t for t in studies.expand(home, study) if (t.strategy, t.fraction) == ("full_finetune", 1.0)]
    estimated = costs.estimate(home, store, study, dataset, split, slow).seconds
    assert pace.seconds_left(home, store, job) == pytest.approx(6 * 0.5 + 6 * 0.1 + 3 * 30.0 + estimated, abs=0.5)


def test_the_time_since_the_last_trial_is_taken_off(home: Home, store: Store, job: Job) -> None:
    for strategy in ("linear_probe", "classical", "full_finetune"):
        for fraction in (0.5, 1.0):
            seal(home, store, job, strategy, fraction, seconds=10.0)
    seal(home, store, job, "full_finetune", ago=40.0, seconds=10.0)
    assert pace.seconds_left(home, store, job) == pytest.approx(18 * 10 - 40, abs=0.5)
    seal(home, store, job, "full_finetune", ago=400.0, seconds=10.0)
    assert pace.seconds_left(home, store, job) is None, "it takes longer than ever, so nothing is said"


def test_the_pace_of_uneven_steps_tells_nothing(home: Home, store: Store, job: Job) -> None:
    claimed = store.claim(this_process(), "long", 600.0)
    assert claimed is not None
    for even, told in ((True, True), (False, False)):
        ticket = JobTicket(home, store, claimed, every=0.0)
        for done in range(4):
            ticket.progress("Classical", done, 40, even=even)
        assert (ticket._last.eta_seconds is not None) is told


def test_no_more_is_left_than_the_time_budget_leaves(home: Home, store: Store, study: Study) -> None:
    short = study.model_copy(update={"budget": Budget(minutes=2)})
    job = store.submit("study", {"study": studies.save(home, short)}, title="A study", key="short")
    for fraction in (0.5, 1.0):
        seal(home, store, job, "full_finetune", fraction, seconds=6000.0)
    begun = job.model_copy(update={"started": datetime.now(UTC) - timedelta(seconds=30)})
    assert (pace.seconds_left(home, store, job) or 0) > 10_000
    assert pace.seconds_left(home, store, begun) == pytest.approx(90, abs=5)
