"""What a running job holds: how it tells its progress, logs events, and learns that it must stop."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Protocol

import psutil

from tltools.home import Home
from tltools.records import Event, Job, Progress, Trial
from tltools.store import Store, open_store


class Stopped(Exception):
    """The job must stop now; whoever catches this saves a checkpoint and raises it again."""


class Cancelled(Stopped):
    """The user asked the job to stop."""


class Interrupted(Stopped):
    """The worker stops; the job goes back to the queue and goes on later."""


class BudgetSpent(Interrupted):
    """The study's time budget is over: what is sealed is judged, a trial under way keeps its checkpoint."""


class LeaseLost(Stopped):
    """Another process owns the job by now; stop without a word."""


class Ticket(Protocol):
    """Lent to every job function; `check` is called once a batch, `progress` as often as one likes."""

    home: Home
    store: Store
    job: Job | None  # None: the function was called directly, without a worker

    def progress(
        self, stage: str, done: int, total: int, note: str = "", *, even: bool = True, **numbers: float
    ) -> None:
        """Tells where the job is: `done` of `total` in `stage`, with the numbers that a screen shows. Of steps that are
        not `even` the pace does not tell the time that is left."""

    def working_on(self, note: str, stage: str = "") -> None:
        """Tells what the present step is at, without moving the count: "MiniLM, epoch 3 of at most 12"; and its stage,
        where several go on at once."""

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        """Appends one line to the job's `events.jsonl`."""

    def check(self) -> None:
        """Raises Cancelled, Interrupted or LeaseLost when the job must stop."""

    def seal_trials(self, sealed: Sequence[tuple[Trial, float]]) -> None:
        """Notes in the store that the folders of trials are complete, after so many seconds each; raises LeaseLost."""


class JobTicket:
    """The ticket of a job that a worker runs. Progress is written at most twice a second, the flag read as often."""

    def __init__(self, home: Home, store: Store, job: Job, every: float = 0.5) -> None:
        self.home, self.store, self.every = home, store, every
        self.job: Job | None = job
        self._job = job
        self.stopping = False  # set by the worker's edge, on SIGTERM or when the worker is gone
        self.events = home.jobs / job.id / "events.jsonl"
        self.events.parent.mkdir(parents=True, exist_ok=True)
        self._told = self._checked = float("-inf")
        self._last = Progress()
        self._steps: deque[tuple[float, int]] = deque(maxlen=6)  # (when, done) of the writes of this stage

    def progress(
        self, stage: str, done: int, total: int, note: str = "", *, even: bool = True, **numbers: float
    ) -> None:
        now = time.monotonic()
        fresh = stage != self._last.stage or done < self._last.done
        arrived = done == total != 0 and done != self._last.done  # the last step is not swallowed by the throttle
        if not fresh and not arrived and now - self._told < self.every:
            return
        self._told = now
        if fresh:
            self._steps.clear()
        if not self._steps or done > self._steps[-1][1]:
            self._steps.append((now, done))
        numbers.setdefault("memory_mb", psutil.Process(os.getpid()).memory_info().rss / 1e6)
        eta = self._seconds_left(total) if even else None
        self._last = Progress(stage=stage, done=done, total=total, eta_seconds=eta, numbers=numbers, note=note)
        if not self.store.progress(self._job, self._last):
            raise LeaseLost

    def working_on(self, note: str, stage: str = "") -> None:
        self.progress(stage or self._last.stage, self._last.done, self._last.total, note=note, even=False)

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        line = Event(at=datetime.now(UTC), what=what, trial=trial, numbers=numbers, note=note)
        with open(self.events, "a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")

    def check(self) -> None:
        now = time.monotonic()
        if now - self._checked < self.every and not self.stopping:
            return
        self._checked = now
        asked = self.store.cancel_asked(self._job)
        if asked is None:
            raise LeaseLost
        if asked:
            raise Cancelled
        if self.stopping:
            raise Interrupted

    def seal_trials(self, sealed: Sequence[tuple[Trial, float]]) -> None:
        if not self.store.seal_trials(self._job, sealed):
            raise LeaseLost

    def _seconds_left(self, total: int) -> float | None:
        """From the median pace of the last five writes that moved; None before there is one."""
        if len(self._steps) < 2 or total <= 0:
            return None
        pairs = zip(self._steps, list(self._steps)[1:], strict=False)
        pace = statistics.median((later - sooner) / (more - less) for (sooner, less), (later, more) in pairs)
        return pace * max(0, total - self._steps[-1][1])


class QuietTicket:
    """A ticket that tells nobody: for direct use from Python and for tests."""

    def __init__(self, home: Home, store: Store | None = None) -> None:
        self.home, self.store = home, store or open_store(home)
        self.job: Job | None = None

    def progress(
        self, stage: str, done: int, total: int, note: str = "", *, even: bool = True, **numbers: float
    ) -> None:
        return None

    def working_on(self, note: str, stage: str = "") -> None:
        return None

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        return None

    def check(self) -> None:
        return None

    def seal_trials(self, sealed: Sequence[tuple[Trial, float]]) -> None:
        self.store.seal_trials(None, sealed)


class SideTicket(QuietTicket):
    """The ticket of a training in a fork of the job's process: what it is told goes through a pipe to the job's own
    ticket, and whatever comes back asks it to stop."""

    def __init__(self, home: Home, store: Store, job: Job | None, pipe: Connection, every: float = 0.5) -> None:
        super().__init__(home, store)
        self.job, self._pipe, self._every = job, pipe, every
        self._told = float("-inf")

    def working_on(self, note: str, stage: str = "") -> None:
        if (now := time.monotonic()) - self._told >= self._every:
            self._told = now
            self._tell("working_on", note)

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        self._tell("event", what, trial, note, **numbers)

    def check(self) -> None:
        if self._pipe.poll():  # a word, or the end of the job's process
            raise Interrupted

    def _tell(self, name: str, *arguments: Any, **numbers: float) -> None:
        with contextlib.suppress(BrokenPipeError):  # `check` will see that nobody is left to be told
            self._pipe.send(("tell", (name, arguments, numbers)))


class TimedTicket:
    """Another ticket, with a moment (of `time.monotonic`) from which on `check` raises BudgetSpent."""

    def __init__(self, ticket: Ticket, until: float) -> None:
        self.until = until
        self.lend(ticket)

    def lend(self, ticket: Ticket) -> None:
        """From now on it is this ticket that tells and is asked."""
        self.ticket = ticket
        self.home, self.store, self.job = ticket.home, ticket.store, ticket.job
        self.progress, self.working_on, self.event = ticket.progress, ticket.working_on, ticket.event
        self.seal_trials = ticket.seal_trials

    @property
    def left(self) -> float:
        """Seconds until the moment."""
        return self.until - time.monotonic()

    def check(self) -> None:
        self.ticket.check()
        if self.left <= 0:
            raise BudgetSpent


def read_events(home: Home, job_id: str) -> list[Event]:
    """The events of a job, oldest first; a line that a crash cut short is left out."""
    path = home.jobs / job_id / "events.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    found = []
    for line in lines:
        if line.endswith("\n") and line.startswith("{") and line.rstrip().endswith("}"):
            try:
                found.append(Event.model_validate_json(line))
            except ValueError:
                continue  # a torn write in the middle: the attempt that died and the next share one file
    return found
