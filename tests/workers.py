"""Starts and kills fake workers, and waits for what the store says; shared by the worker's tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tltools.home import Home
from tltools.records import Job
from tltools.store import Store

ROOT = Path(__file__).resolve().parents[1]


def start(home: Home, more_environment: dict[str, str] | None = None, **rules: Any) -> subprocess.Popen[str]:
    said = {"lease_seconds": 1.0, "grace_seconds": 2.0, **rules}
    more = more_environment or {}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), more.get("PYTHONPATH", "")])
    environment = {**os.environ, **more, "PYTHONPATH": paths, "TLTOOLS_HOME": str(home.root)}
    with open(home.root / "fake-worker.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fake_worker.py"), json.dumps(said)],
            env=environment,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )


@contextlib.contextmanager
def running(home: Home, **rules: Any) -> Iterator[subprocess.Popen[str]]:
    process = start(home, **rules)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a worker and everything of its session, stopped or not."""
    for one in of_session(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGCONT)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    for one in of_session(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(10)


def of_session(session: int) -> list[psutil.Process]:
    """The living processes of a session: a worker, its template, its job processes and what those started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for(what: Callable[[], Any], seconds: float = 20.0, why: str = "") -> Any:
    """Polls until `what` is true and returns it; the assertion names what did not come."""
    until = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < until, f"not within {seconds} s: {why or what}"
        time.sleep(0.01)


def wait_end(store: Store, job: Job, seconds: float = 20.0) -> Job:
    def ended() -> Job | None:
        now = store.job(job.id)
        return now if now is not None and now.state in ("done", "failed", "cancelled") else None

    found: Job = wait_for(ended, seconds, f"the end of {job.kind} {job.id}")
    return found


def job_process(home: Home, job: Job) -> int | None:
    """The process that ran a job last, when it still lives."""
    path = home.root / "processes.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    pids = [int(pid) for name, pid, _ in lines if name == job.id]
    return pids[-1] if pids and alive(pids[-1]) else None


def job_processes(home: Home, job: Job) -> list[int]:
    """Every living process that ever ran a job."""
    path = home.root / "processes.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [int(pid) for name, pid, _ in lines if name == job.id and alive(int(pid))]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def hash_after(seed: str, steps: int) -> str:
    """What the counting job of an unkilled worker comes to."""
    for _ in range(steps):
        seed = hashlib.sha256(seed.encode()).hexdigest()
    return seed
