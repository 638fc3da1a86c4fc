"""Looks after job processes: starts them, renews their leases, drains their output, stops them, says how they ended."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from typing import Any

import psutil
import sqlalchemy as sa

from tltools.failures import name_the_end, oom_kills
from tltools.holders import Holder, this_process
from tltools.home import Home, write_bytes
from tltools.records import Job
from tltools.store import Lane, Store

TICK_SECONDS = 0.25
TAIL_BYTES = 32_768
_LANES: tuple[Lane, ...] = ("quick", "long")

log = logging.getLogger("tltools.worker")
Work = Callable[[Home, Job, str, "Connection | None"], None]


@dataclass(frozen=True)
class Rules:
    lease_seconds: float = 30.0
    grace_seconds: float = 15.0  # from asking a job process to stop to ending it
    crash_limit: int = 3


@dataclass
class Running:
    """A job process and what is known of it."""

    job: Job
    process: Any  # multiprocessing's Process of the chosen start method
    identity: Holder | None  # None: it ended before it could be looked at
    output: Connection | None
    oom_kills: int  # the machine's count when it started
    tail: bytes = b""
    asked_to_stop: float | None = None  # when, on the monotonic clock
    planned: bool = False  # stopped because the worker stops
    killed: bool = False  # by us
    lost: bool = False  # the job is another's by now


@dataclass
class Supervisor:
    """One job of each lane at a time; everything it knows for longer than a tick lies in the store."""

    home: Home
    store: Store
    work: Work
    handlers: Mapping[str, str]
    rules: Rules
    still_ours: Callable[[], bool]
    running: dict[Lane, Running] = field(default_factory=dict)
    stopping: bool = False

    def __post_init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        self.context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self.me = this_process()
        self._renewed = self._ticked = float("-inf")

    def stop(self) -> None:
        """Asks everything to end; `run` returns when it has."""
        self.stopping = True

    def warm_up(self, preload: tuple[str, ...]) -> None:
        """Starts the template process that job processes are forked from, with the heavy libraries in it."""
        with contextlib.suppress(sa.exc.DBAPIError):
            self.store.beat(self.me)
        if self.context.get_start_method() == "forkserver":
            self.context.set_forkserver_preload(list(preload))
            forkserver.ensure_running()
        log.info("worker %d works for %s", self.me.pid, self.home.root)

    def run(self) -> None:
        """Works until `stop`; a store that cannot be reached or written is waited for."""
        troubled = False
        while self.running or not self.stopping:
            try:
                self._tick()
                troubled = False
            except sa.exc.DBAPIError as error:
                if not troubled:
                    log.warning("the store does not answer (%s); trying again", error.orig)
                troubled = True
            if not self.still_ours():
                log.info("the home folder is gone; this worker ends with it")
                self._abandon()
                return
            self._wait()
        log.info("worker %d ends", self.me.pid)

    # --- one tick -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        for one in self.running.values():
            self._drain(one)
        ended = [lane for lane, one in self.running.items() if not one.process.is_alive()]
        if not ended and time.monotonic() - self._ticked < TICK_SECONDS:
            return  # woken by output only: the store is not asked more often for that
        self._ticked = time.monotonic()
        for lane in ended:
            self._settle(self.running[lane])  # stays here, and is settled again, when the store does not answer
            del self.running[lane]
        if time.monotonic() - self._renewed > self.rules.lease_seconds / 3:
            self._renew()
        for one in self.running.values():
            self._look_after(one)
        waiting = set() if self.stopping else self.store.waiting()
        for lane in _LANES:
            if lane in waiting and lane not in self.running:
                self._start(lane)

    def _renew(self) -> None:
        self._renewed = time.monotonic()
        for one in self.running.values():
            if not self.store.renew(one.job, self.rules.lease_seconds) and self._is_anothers(one):
                self._lose(one)
        self.store.beat(self.me)
        for job in self.store.reclaim(self.rules.crash_limit):
            log.info("job %s goes on after its process was lost", job.id)

    def _start(self, lane: Lane) -> None:
        job = self.store.claim(self.me, lane, self.rules.lease_seconds)
        if job is None:
            return
        reader, writer = self.context.Pipe(duplex=False)
        kills = oom_kills()
        arguments = (self.home, job, self.handlers.get(job.kind, "none:none"), writer)
        process = self.context.Process(target=self.work, args=arguments)  # type: ignore[attr-defined]
        try:
            process.start()
        except (OSError, EOFError):
            # the template did not come up: most likely an import of its list broke; jobs import for themselves then
            log.warning("the preloaded template cannot be started; going on without it", exc_info=True)
            self.context.set_forkserver_preload([])
            self.store.release(job, crashed=True, crash_limit=self.rules.crash_limit)
            return
        finally:
            writer.close()
        os.set_blocking(reader.fileno(), False)
        try:
            identity = this_process(process.pid)
        except psutil.NoSuchProcess:
            identity = None
        self.running[lane] = Running(job, process, identity, reader, kills)
        log.info("job %s (%s) runs as process %s, attempt %d", job.id, job.kind, process.pid, job.attempt)

    def _look_after(self, one: Running) -> None:
        if one.lost:
            return
        asked = self.store.cancel_asked(one.job)
        if asked is None and self._is_anothers(one):
            self._lose(one)
            return
        # asked is None: ended in the store, and its process has the same time to leave as a cancelled one
        if asked is not False or self.stopping:
            one.planned = one.planned or (self.stopping and not asked)
            self._ask_to_stop(one)

    def _ask_to_stop(self, one: Running) -> None:
        now = time.monotonic()
        if one.asked_to_stop is None:
            one.asked_to_stop = now
            if one.identity:
                one.identity.kill_group(signal.SIGTERM)
        elif now - one.asked_to_stop > self.rules.grace_seconds and not one.killed:
            self._kill(one)

    def _is_anothers(self, one: Running) -> bool:
        """Tells a job that was claimed again, or waits to be, from one that this attempt has just ended itself."""
        now = self.store.job(one.job.id)
        return now is None or now.attempt != one.job.attempt or now.state == "queued"

    def _lose(self, one: Running) -> None:
        if one.lost:
            return
        log.warning("job %s is another's by now; its process %s is ended", one.job.id, one.process.pid)
        one.lost = True
        self._kill(one)

    def _kill(self, one: Running) -> None:
        one.killed = True
        if one.identity:
            one.identity.kill_group()

    # --- the end of a job process ---------------------------------------------------------------------------------

    def _settle(self, one: Running) -> None:
        code = one.process.exitcode
        if one.identity:
            one.identity.kill_group()  # when the template died, the job process may still run
            one.identity.kill_remains()
            if not _gone(one.identity, 2.0):
                log.error("process %s does not end; its job waits for its lease to run out", one.identity.pid)
                return
        self._keep_output(one)
        if one.lost:
            return
        failure = name_the_end(code, one.tail, oom_kills() > one.oom_kills)
        if failure.type == "disk_full":  # the process could not even write that down
            if self.store.fail(one.job, failure):
                log.info("job %s: failed, the disk is full", one.job.id)
            return
        limit = self.rules.crash_limit
        state = self.store.release(one.job, crashed=not one.planned, failure=failure, crash_limit=limit)
        if state is not None:
            log.info("job %s: its process ended early (exit code %s); now %s", one.job.id, code, state)

    def _keep_output(self, one: Running) -> None:
        self._drain(one)
        if one.output is not None:
            one.output.close()
            one.output = None
        if one.tail:
            with contextlib.suppress(OSError):  # for diagnosis only
                write_bytes(self.home.jobs / one.job.id / "output.txt", one.tail)

    def _abandon(self) -> None:
        for one in self.running.values():
            self._kill(one)

    # --- output and waiting ---------------------------------------------------------------------------------------

    def _drain(self, one: Running) -> None:
        """Empties the pipe into a bounded tail: a full pipe that nobody reads would stop the job for ever."""
        while one.output is not None:
            try:
                block = os.read(one.output.fileno(), 65_536)
            except BlockingIOError:
                return
            except OSError:
                block = b""
            if not block:
                one.output.close()
                one.output = None
                return
            one.tail = (one.tail + block)[-TAIL_BYTES:]

    def _wait(self) -> None:
        ends = [one.process.sentinel for one in self.running.values()]
        pipes = [one.output for one in self.running.values() if one.output is not None]
        if ends:
            connection.wait([*ends, *pipes], timeout=TICK_SECONDS)
        else:
            time.sleep(TICK_SECONDS)


def _gone(identity: Holder, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not identity.provably_dead():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
