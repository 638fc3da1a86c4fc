"""Runs jobs on this machine: one detached worker a home folder, whom a file lock admits and the store answers for."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import IO, Literal

from tltools import processes
from tltools.home import Home
from tltools.records import Job, Record
from tltools.store import Store

LEASE_SECONDS = 30.0
_HANDED_DOWN = "TLTOOLS_WORKER_LOCK"  # number of the open lock file that a starter passes to its worker
_started: list[subprocess.Popen[bytes]] = []  # kept, so that an ended worker is reaped and not a zombie for ever
_last_start = [float("-inf")]
_failed_starts = [0]  # by this process, since it last told of them; one killed by a signal does not count


class WorkerState(Record):
    """What the sidebar says of the worker."""

    alive: bool
    quiet_seconds: float | None  # since its last sign of life; None: there never was one
    running: tuple[Job, ...]
    queued: int
    sentence: str


def ensure_worker(home: Home) -> Literal["running", "started", "waiting", "external", "failing"]:
    """Starts a detached worker when none lives; cheap enough for every run of a page.

    The starter takes the lock and the worker inherits it, so however many pages call this at once, one worker starts.
    `TLTOOLS_WORKER=external` says that somebody else looks after it (a container of its own, another terminal).
    "failing": the last three ended by themselves before they worked; the next call tries again.
    """
    if os.environ.get("TLTOOLS_WORKER") == "external":
        return "external"
    for process in list(_started):
        if process.poll() is not None:
            _started.remove(process)
            _failed_starts[0] += (process.returncode or 0) > 0
    if _failed_starts[0] >= 3:
        _failed_starts[0] = 0
        return "failing"
    if time.monotonic() - _last_start[0] < 5.0 and not _started:
        return "waiting"  # it ended right after its start: not again at once
    lock = take_lock(home, patience=0.0)
    if lock is None:
        return "running"
    _last_start[0] = time.monotonic()
    with lock:
        _started.append(_start(home, lock))
    return "started"


def worker_state(home: Home, store: Store) -> WorkerState:
    """Is there a worker, when was it last heard of, and what does it run?"""
    seen = min(store.workers(), key=lambda worker: worker.quiet_seconds, default=None)
    running = tuple(store.jobs(states=("running",), limit=20))
    queued = len(store.jobs(states=("queued",), limit=1000))
    quiet = None if seen is None or seen.quiet_seconds == float("inf") else seen.quiet_seconds
    alive = seen is not None and quiet is not None and quiet < LEASE_SECONDS and not seen.holder.provably_dead()
    if alive:
        sentence = f"Working: {running[0].title}." if running else "Ready."
    elif quiet is not None and seen is not None and not seen.holder.provably_dead():
        sentence = f"No sign of life from the worker for {quiet:.0f} seconds."
    else:
        sentence = "No worker is running; one is started when a page opens, or by `python -m tltools worker`."
    return WorkerState(alive=alive, quiet_seconds=quiet, running=running, queued=queued, sentence=sentence)


def take_lock(home: Home, patience: float = 1.0) -> IO[str] | None:
    """Becomes the worker of a home folder; None when there is one. The lock ends with the process that holds it.

    `patience` (seconds) outlasts a page that holds the lock for the moment in which it looks whether it is free.
    """
    path = lock_path(home)
    inherited = os.environ.pop(_HANDED_DOWN, "")
    if inherited.isdigit() and _is_the_lock(int(inherited), path):
        os.set_inheritable(int(inherited), False)
        return os.fdopen(int(inherited), "r+", encoding="utf-8")
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held as long as the process lives)
    until = time.monotonic() + patience
    while not _lock(file):
        if time.monotonic() >= until:
            file.close()
            return None
        time.sleep(0.05)
    return file


def sign_lock(file: IO[str]) -> None:
    """Writes into the lock file who holds it: only for people and for the message of whoever comes second."""
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()


def who_holds(home: Home) -> str:
    """What the holder of the lock wrote into it."""
    try:
        return lock_path(home).read_text(encoding="utf-8") or "just started"
    except OSError:
        return "just started"


def lock_path(home: Home) -> Path:
    return home.root / "worker.lock"


def lock_is_ours(file: IO[str], home: Home) -> bool:
    """False once the home folder was removed or replaced below a running worker."""
    return _is_the_lock(file.fileno(), lock_path(home))


def _is_the_lock(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    if os.name == "nt":
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def log_path(home: Home) -> Path:
    """What workers and their jobs print."""
    return home.root / "worker.log"


def _start(home: Home, lock: IO[str]) -> subprocess.Popen[bytes]:
    words, environment = processes.command("tltools")
    environment |= {"TLTOOLS_HOME": str(home.root), "TLTOOLS_DATABASE_URL": home.database_url}
    passed: tuple[int, ...] = ()
    if os.name != "nt":
        passed = (lock.fileno(),)
        environment[_HANDED_DOWN] = str(lock.fileno())
    log = log_path(home)
    mode = "wb" if log.exists() and log.stat().st_size > 5_000_000 else "ab"
    with open(log, mode) as output:
        return subprocess.Popen(
            [*words, "worker"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home.root,
            env=environment,
            start_new_session=True,
            pass_fds=passed,
        )
