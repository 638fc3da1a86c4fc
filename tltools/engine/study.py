"""Runs a study: cheap evidence first, every trial sealed as it ends, judged again every few seconds."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tltools import costs, plans, reports, sources, studies, trials
from tltools.engine import parallel, planner, torchvision_operators
from tltools.engine.kit import EngineKit
from tltools.engine.parallel import Parallel
from tltools.engine.sealing import Sealer
from tltools.plans import Counts, Plan
from tltools.records import Study, Trial, refuse
from tltools.strategies import Outcome, strategies
from tltools.tickets import BudgetSpent, Interrupted, Ticket, TimedTicket

JUDGING = 1.0  # seconds kept back for the last judging, until one was timed
JUDGE_EVERY = 5.0  # seconds at least, and
JUDGE_SHARE = 20  # times what judging takes: it may cost a twentieth


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """The job "study": payload {"study": id, "first": [ids that must be done before]}; see `run_one`."""
    torchvision_operators.ensure()
    for study_id in payload.get("first", ()):
        run_one(ticket, study_id)
    return run_one(ticket, payload["study"])


def run_one(ticket: Ticket, study_id: str) -> dict[str, Any]:
    """Runs what is not sealed yet of a study, within its time budget, and judges it all; returns what it cost."""
    started = time.monotonic()
    study = studies.load(ticket.home, study_id)
    _fetch(ticket, study)
    dataset, split = studies.split_of(ticket.home, study)
    wanted = studies.expand(ticket.home, study)
    guess = studies.estimate(ticket.home, ticket.store, study)
    todo = [trial for trial in wanted if not trials.finished(ticket.home, study, trial)]
    minutes, clock = study.budget.minutes, f"{ticket.job.id if ticket.job else ''}|{study_id}"
    spent = float((ticket.store.recall("spent", clock) or {}).get("seconds", 0.0))  # by attempts that were interrupted
    timed = TimedTicket(ticket, started + 60 * minutes - spent if minutes else math.inf)
    kit = EngineKit(timed, study, dataset, split)
    counts = Counts(len(split.train), len(split.validation), len(split.test), len(dataset.classes))
    _look_into(kit, todo)
    work = planner.plan(ticket.store, ticket.home, study, todo, counts)
    kit.follow(work)
    if study.folds and todo:  # whoever judges by the locked test part later is told
        before = (ticket.store.recall("cross_validated", dataset.id) or {}).get("studies", [])
        ticket.store.remember("cross_validated", dataset.id, {"studies": sorted({*before, study_id})})
    places = _places(kit, wanted, guess.alone_mb)
    try:
        run, beside = _work_off(kit, timed, work, len(wanted), places)
    except Interrupted:
        ticket.store.remember("spent", clock, {"seconds": spent + time.monotonic() - started})
        raise
    if todo and not run and len(todo) == len(wanted):
        what = f"of {minutes:g} min was over before the first trial was finished."
        raise refuse("time budget", what, "Run the study on (what was computed is kept), or give it more minutes.")
    seconds = time.monotonic() - started
    actual = {
        "actual_seconds": seconds,
        "actual_peak_mb": max((peak_of(ticket.home, trial) for trial in todo), default=0.0) + beside,
        "measured": guess.measured,
        "raw_seconds": guess.raw["seconds"],
        "raw_peak_mb": guess.raw["peak_mb"],
        "estimated_seconds": guess.seconds,
        "estimated_peak_mb": guess.peak_mb,
        "prefix_rows_computed": kit.store.rows_computed,
        "prefix_rows_naive": guess.prefix_rows_naive,
        "cache_bytes": kit.store.bytes_on_disk(),
        "trials_run": run,
    }
    if run and run == len(todo):  # a study cut short says nothing about its estimate
        ticket.store.remember("estimate", study_id, actual)
    if run:  # a study that was cut short and run on took all of its runs
        earlier = ticket.store.recall("taken", study_id) or {"seconds": 0.0, "estimated": 0.0}
        taken = {"seconds": earlier["seconds"] + spent + seconds, "estimated": earlier["estimated"] + guess.within}
        ticket.store.remember("taken", study_id, taken)
    ticket.progress("judging", len(wanted), len(wanted))
    reports.judge(ticket.home, ticket.store, study_id)
    return {"study": study_id, "trials": len(wanted), "left_out": len(todo) - run, **actual}


def _fetch(ticket: Ticket, study: Study) -> None:
    """Brings the sources here before the trials are named: a trial is named by the revision of its source, too, which
    is known once it is here."""
    for source_id in study.sources:
        source = sources.get(ticket.home, source_id)

        def told(done: int, total: int, name: str = source.name) -> None:
            ticket.check()
            ticket.progress(f"downloading {name}", done, total)

        sources.fetch(ticket.home, source, told)


def _look_into(kit: EngineKit, todo: Sequence[Trial]) -> None:
    """A plan speaks of the stages of a source, so one that was never measured on this machine is opened first."""
    memory = kit.ticket.store
    for trial in {plans.reader(trial): trial for trial in todo if trial.source != "none"}.values():
        key = costs.rate_key(kit.source(trial), kit.dataset.id)
        known = memory.recall("rate", key) or {}
        if "stages" not in known:
            backbone = kit.backbone(trial, "source")
            memory.remember("rate", key, {**known, "stages": len(backbone.stages), "width": backbone.width})


def _places(kit: EngineKit, wanted: Sequence[Trial], memory_mb: float) -> int:
    """Trainings at once: by what the study wants, sealed or not, so that one that goes on trains as it began."""
    trained = sum(plans.tunes(trial, plans.STAGES, kit.own is not None) for trial in wanted)
    return parallel.room(trained, memory_mb)


def _work_off(kit: EngineKit, timed: TimedTicket, work: Plan, total: int, places: int) -> tuple[int, float]:
    """Runs and seals trials group by group, judging now and then; returns how many, and the memory in MB of trainings
    beside the first.

    With a time budget, a trial is left out when one like it took longer than what is left, and those under way stop
    where they stand; time to judge is kept back.
    """
    before = total - sum(map(len, work.order))
    of_source = {trial.source: trial for group in work.order for trial in group}
    names = {key: kit.source(trial).name if key != "none" else "" for key, trial in of_source.items()}
    early, looked = set[Any](), 0
    done, took = before, defaultdict[tuple[Any, ...], float](float)
    end, next_judged = timed.until, time.monotonic() + JUDGE_EVERY
    timed.until = end - JUDGING
    with Sealer(kit) as sealer, Parallel(kit, timed, places, sealer.settle) as side_by_side:

        def take(outcomes: Iterable[Outcome], title: str) -> None:
            nonlocal done
            for outcome in outcomes:
                sealer.put(outcome)
                done += 1
                took[plans.like(outcome.trial)] = outcome.seconds
                timed.progress(title, done, total, note=names[outcome.trial.source], even=False)
                timed.check()

        def judge() -> None:
            nonlocal next_judged
            if (begun := time.monotonic()) > next_judged and done > before:  # a first verdict within seconds
                sealer.settle()
                reports.judge(timed.home, timed.store, work.order[0][0].study, whole=False)
                cost = (judged := time.monotonic()) - begun
                next_judged = judged + max(JUDGE_EVERY, JUDGE_SHARE * cost)
                timed.until = end - max(JUDGING, 2 * cost)

        try:
            for group in work.order:
                first, card = group[0], strategies()[group[0].strategy]
                # gradient trials come draw by draw: one look each
                if kit.study.adaptive and first.draw > looked and len(group) == 1:
                    take(side_by_side.rest(), card.title)
                    sealer.settle()
                    early, looked = reports.decided_early(kit.home, kit.study), first.draw
                if len(group) == 1 and reports.key_of(first) in early:
                    why = "not needed: its arm is decided, or cannot be the best control"
                    timed.event("note", trial=first.id, note=why)
                    continue
                if took[plans.like(first)] > timed.left:
                    timed.event("note", trial=first.id, note=f"left out: the time budget has {timed.left:.0f} s left")
                    continue
                timed.progress(card.title, done, total, note=names[first.source], even=False)
                for calls in [[trial] for trial in group] if kit.own else [group]:
                    take(side_by_side.run(calls), card.title)
                judge()
            take(side_by_side.rest(), "the last trainings")
        except BudgetSpent:
            timed.event("note", note="the time budget is over; what is finished is judged")
            for outcome in side_by_side.stop():
                sealer.put(outcome)
                done += 1
        return done - before, side_by_side.extra_mb


def peak_of(home: Any, trial: Trial) -> float:
    """Peak memory of a sealed trial in MB; 0 when it is not sealed."""
    card = reports.trial_card(home, trial.id)
    return float(card["peak_mb"]) if card else 0.0
