"""How long a running study will still take: by its trials so far, and by the estimate of those like none of them."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from typing import Any

from tltools import costs, plans, studies, tickets
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.records import Job, Refusal
from tltools.store import Store


def seconds_left(home: Home, store: Store, job: Job) -> float | None:
    """Seconds that a running study's trials to do will take; None before one is sealed, and where it cannot be told.

    Trials of an arm on as many labels take the median of those sealed, by as many as went on at once; those like none
    are estimated as before the run. What has passed since the last trial is taken off. It is never more than what is
    left of a time budget.
    """
    done = [event for event in tickets.read_events(home, job.id) if event.what == "trial_sealed"]
    if not done:
        return None
    try:
        study = studies.load(home, str(job.payload["study"]))
        dataset, split = studies.split_of(home, study)
        wanted = {trial.id: trial for trial in studies.expand(home, study)}
    except Refusal:
        return None
    took: dict[Any, list[float]] = {}
    for event in done:
        if (trial := wanted.get(str(event.trial))) and event.numbers.get("seconds") is not None:
            took.setdefault(plans.like(trial), []).append(event.numbers["seconds"] / event.numbers.get("at_once", 1.0))
    todo = [trial for trial in wanted.values() if not sealed(home.trials / trial.id)]
    seen = sum(statistics.median(took[plans.like(trial)]) for trial in todo if plans.like(trial) in took)
    unseen = [trial for trial in todo if plans.like(trial) not in took]
    rest = costs.estimate(home, store, study, dataset, split, unseen).seconds if unseen else 0.0
    now = datetime.now(UTC)
    left = seen + rest - (now - done[-1].at).total_seconds()
    if study.budget.minutes is not None and job.started is not None:
        left = min(left, 60 * study.budget.minutes - (now - job.started).total_seconds())
    return left if left > 0 else None
