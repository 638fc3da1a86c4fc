"""The worker: one a home, by a lock; it claims jobs and runs each in a child process, whose edge is `work`."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from tltools import artifacts
from tltools.backends import local
from tltools.failures import failure
from tltools.holders import this_process
from tltools.home import Home
from tltools.records import Job, Refusal, refuse
from tltools.store import CRASH_LIMIT, Store, health, open_store
from tltools.supervise import Rules, Supervisor
from tltools.tickets import Cancelled, Interrupted, JobTicket, LeaseLost

HANDLERS: Mapping[str, str] = {  # job kind -> the function that does it, imported in the job's process only
    "ingest": "tltools.datasets:ingest_job",
    "study": "tltools.engine.study:run",
    "rank": "tltools.engine.rank:run",
    "measure": "tltools.engine.planner:run",
    "predict": "tltools.engine.predict:run",
    "explain": "tltools.engine.explain:run",
    "export": "tltools.engine.export:run",
}
PRELOAD = ("tltools.worker", "tltools.engine.preload")
LAST_WORDS_SECONDS = 1.5  # from the worker's death to the end of its job processes

log = logging.getLogger("tltools.worker")


def main(
    home: Home,
    *,
    handlers: Mapping[str, str] = HANDLERS,
    preload: tuple[str, ...] = PRELOAD,
    lease_seconds: float = local.LEASE_SECONDS,
    grace_seconds: float = 15.0,
    crash_limit: int = CRASH_LIMIT,
) -> int:
    """Works until it is told to stop (SIGTERM, Ctrl-C) or its home is gone; returns the exit code.

    A second worker of the same home says so and returns 0.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    lock = local.take_lock(home)
    if lock is None:
        log.info("a worker is running already (%s); this one ends", local.who_holds(home))
        return 0
    # threads that wait must soon sleep: with a second job or a browser on the same cores, spinning as long as is usual
    # made a training step ten times slower; not to spin at all costs a tenth alone; read when torch is first loaded
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with lock:
        local.sign_lock(lock)
        try:
            store = _sound_store(home)
        except Refusal as refusal:
            log.error("%s", refusal)
            return 1
        for folder in (home.datasets, home.trials, home.studies, home.sources, home.sources / "local"):
            artifacts.sweep_leftovers(folder)
        for folder in (home.uploads, home.trash, home.jobs / "checkpoints"):  # datasets hold copies of their uploads
            artifacts.sweep_old(folder, artifacts.KEPT)
        rules = Rules(lease_seconds, grace_seconds, crash_limit)
        supervisor = Supervisor(home, store, work, handlers, rules, still_ours=lambda: local.lock_is_ours(lock, home))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        supervisor.warm_up(preload)
        supervisor.run()
    return 0


def work(home: Home, job: Job, handler: str, output: Connection | None) -> None:
    """A job process from its first to its last line. The row in the store says how it ended; nothing is returned."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # stopping the job stops what it started, and nothing else
    if output is not None:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        output.close()
    _offer_to_the_kernel()
    store = open_store(home)
    ticket = JobTicket(home, store, job)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: setattr(ticket, "stopping", True))
    threading.Thread(target=_end_with_the_worker, args=(ticket,), daemon=True).start()
    if not store.started(job, this_process()):
        return
    if job.kind == "ingest":
        _limit_address_space()
    try:
        _run(ticket, job, handler)
    except (LeaseLost, Interrupted):
        return  # the job is another's, or goes back to the queue: the supervisor knows which
    except Exception as error:  # noqa: BLE001 (the worker's edge: every end gets a name)
        traceback.print_exc()
        store.fail(job, failure(error, detail=traceback.format_exc()[-20_000:]))


def _run(ticket: JobTicket, job: Job, handler: str) -> None:
    module, _, name = handler.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise refuse(f"job kind {job.kind!r}", f"cannot run: {error}.", "Update tltools.") from error
    result = function(ticket, job.payload)
    if not ticket.store.finish(job, result):
        if ticket.store.cancel_asked(job):
            raise Cancelled  # asked for in the last moment: a cancelled job never publishes
        raise LeaseLost


def _end_with_the_worker(ticket: JobTicket) -> None:
    """Ends this process group soon after its worker is gone; the job may save a checkpoint first."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    ticket.stopping = True
    time.sleep(LAST_WORDS_SECONDS)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _offer_to_the_kernel() -> None:
    """When memory runs out, the kernel shall end the job and neither the worker nor the page."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _limit_address_space() -> None:
    """A user's file that grows beyond the machine becomes a MemoryError here instead of a kill somewhere."""
    if sys.platform != "linux":
        return
    import resource

    limit = psutil.Process().memory_info().vms + int(0.8 * psutil.virtual_memory().total)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _sound_store(home: Home) -> Store:
    found = health(home)["integrity"]
    if found != "ok":
        raise refuse(home.database_url, f"is damaged ({found}).", "Restore it from a backup, or move it away.")
    return open_store(home)
