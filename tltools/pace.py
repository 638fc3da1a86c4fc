"""How long a running study will still take: by its trials so far, and by the estimate of those like none of them."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime

from tltools import costs, studies, tickets
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.records import Job, Refusal
from tltools.store import Store


def seconds_left(home: Home, store: Store, job: Job) -> float | None:
    """Seconds that a running study's trials to do will take; None before one is sealed, and where it cannot be told.

    Trials of a strategy take the median of those sealed, by as many as went on at once; strategies that have not begun
    are estimated as before the run. What has passed since the last trial is taken off.
    """
    done = [event for event in tickets.read_events(home, job.id) if event.what == "trial_sealed"]
    took: dict[str, list[float]] = {}
    for event in done:
        if event.numbers.get("seconds") is not None:
            took.setdefault(event.note, []).append(event.numbers["seconds"] / event.numbers.get("at_once", 1.0))
    if not took:
        return None
    try:
        study = studies.load(home, str(job.payload["study"]))
        dataset, split = studies.split_of(home, study)
        todo = [trial for trial in studies.expand(home, study) if not sealed(home.trials / trial.id)]
    except Refusal:
        return None
    seen = sum(statistics.median(took[trial.strategy]) for trial in todo if trial.strategy in took)
    unseen = [trial for trial in todo if trial.strategy not in took]
    rest = costs.estimate(home, store, study, dataset, split, unseen).seconds if unseen else 0.0
    left = seen + rest - (datetime.now(UTC) - done[-1].at).total_seconds()
    return left if left > 0 else None
