"""What a running job holds: how it tells its progress, logs events, and learns that it must stop."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Protocol

import psutil

from tltools.home import Home
from tltools.records import Event, Failure, Job, Progress
from tltools.store import Store


class Cancelled(Exception):
    """The user asked the job to stop."""


class LeaseLost(Exception):
    """Another process owns the job by now; stop without a word."""


class Ticket(Protocol):
    """Lent to every job function; `check` is called once a batch, `progress` as often as one likes."""

    home: Home
    store: Store

    def progress(self, stage: str, done: int, total: int, note: str = "", **numbers: float) -> None:
        """Tells where the job is: `done` of `total` in `stage`, with the numbers that a screen shows."""

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        """Appends one line to the job's `events.jsonl`."""

    def check(self) -> None:
        """Raises Cancelled or LeaseLost when the job must stop."""


class JobTicket:
    """The ticket of a job that a worker runs. Progress is written at most twice a second, the flag read as often."""

    def __init__(self, home: Home, store: Store, job: Job, every: float = 0.5) -> None:
        self.home, self.store, self.job, self.every = home, store, job, every
        self.events = home.jobs / job.id / "events.jsonl"
        self.events.parent.mkdir(parents=True, exist_ok=True)
        self._told = self._checked = -every
        self._stage, self._since, self._from = "", time.monotonic(), 0

    def progress(self, stage: str, done: int, total: int, note: str = "", **numbers: float) -> None:
        now = time.monotonic()
        if stage != self._stage or done < self._from:
            self._stage, self._since, self._from = stage, now, done
        elif now - self._told < self.every:
            return
        self._told = now
        moved = done - self._from
        eta = (now - self._since) / moved * (total - done) if moved > 0 and total > done else None
        numbers.setdefault("memory_mb", psutil.Process(os.getpid()).memory_info().rss / 1e6)
        said = Progress(stage=stage, done=done, total=total, eta_seconds=eta, numbers=numbers, note=note)
        if not self.store.progress(self.job, said):
            raise LeaseLost

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        line = Event(at=datetime.now(UTC), what=what, trial=trial, numbers=numbers, note=note)
        with open(self.events, "a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")

    def check(self) -> None:
        now = time.monotonic()
        if now - self._checked < self.every:
            return
        self._checked = now
        asked = self.store.cancel_asked(self.job)
        if asked is None:
            raise LeaseLost
        if asked:
            raise Cancelled


class QuietTicket:
    """A ticket that tells nobody: for direct use from Python and for tests."""

    def __init__(self, home: Home, store: Store) -> None:
        self.home, self.store = home, store

    def progress(self, stage: str, done: int, total: int, note: str = "", **numbers: float) -> None:
        return None

    def event(self, what: str, trial: str | None = None, note: str = "", **numbers: float) -> None:
        return None

    def check(self) -> None:
        return None


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


def failure(error: BaseException, detail: str = "") -> Failure:
    """Names an exception the way the store and the screens need it."""
    from tltools.records import Refusal

    if isinstance(error, Cancelled):
        return Failure(type="cancelled", what="The job was cancelled.", remedy="Submit it again to go on.")
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return Failure(
            type="out_of_memory",
            what="The machine's memory did not suffice.",
            remedy="Use a smaller batch, a smaller source model or fewer rows.",
            detail=detail,
        )
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        return Failure(
            type="disk_full",
            what="The disk is full.",
            remedy="Free some space and submit the job again.",
            detail=detail,
        )
    if isinstance(error, Refusal):
        kind = "download" if any(problem.where == "download" for problem in error.problems) else "bad_data"
        return Failure(
            type="download" if kind == "download" else "bad_data",
            what=" ".join(f"{problem.where}: {problem.what}" for problem in error.problems),
            remedy=" ".join(dict.fromkeys(problem.remedy for problem in error.problems)),
            detail=detail,
        )
    return Failure(
        type="bug",
        what=f"{type(error).__name__}: {text}",
        remedy="This should not happen. Report it with the details below.",
        detail=detail,
    )
