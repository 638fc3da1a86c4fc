"""Kills everything that can be killed, at random moments: jobs end as if nothing had happened, and publish once.

The slow tier runs more cycles: TLTOOLS_KILLS=10 multiplies them. A failure prints its seed; TLTOOLS_SEED replays it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import workers
from workers import wait_end, wait_for

from tltools import artifacts
from tltools import store as stores
from tltools.holders import this_process
from tltools.home import Home, open_home
from tltools.records import Job
from tltools.store import Store

TIMES = int(os.environ.get("TLTOOLS_KILLS", "1"))
SEED = int(os.environ.get("TLTOOLS_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home)


@pytest.fixture
def rng() -> Iterator[random.Random]:
    print(f"replay with TLTOOLS_SEED={SEED}")
    yield random.Random(SEED)


def submit(store: Store, key: str = "a", kind: str = "study", **payload: Any) -> Job:
    return store.submit(kind, {"seed": key, **payload}, title="A study", key=key)


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def check_published_once(home: Home, store: Store, job: Job, steps: int) -> None:
    """Done, with the result of an unkilled run, in one whole folder; nothing of the job lives; the store is sound."""
    ended = wait_end(store, job, 60.0)
    assert ended.state == "done", (ended, (home.root / "fake-worker.log").read_text()[-3000:])
    assert ended.result == {"hash": workers.hash_after(job.payload["seed"], steps)}
    assert artifacts.verify(home.trials / job.id) == []
    assert (home.trials / job.id / "result.txt").read_text() == ended.result["hash"]
    wait_for(lambda: not workers.job_processes(home, job), 5.0, "the end of its processes")


def suspend(home: Home, *pids: int) -> None:
    """Stops processes, not in the middle of a transaction: SQLite's file lock would lock everybody out."""
    while True:
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        with contextlib.closing(sqlite3.connect(home.root / "store.db", timeout=0.1)) as probe:
            try:
                probe.execute("BEGIN EXCLUSIVE")
                return
            except sqlite3.OperationalError:
                for pid in pids:
                    kill(pid, signal.SIGCONT)
                time.sleep(0.05)


def never_two(home: Home, job: Job) -> None:
    assert len(workers.job_processes(home, job)) <= 1, "two processes run one job"


def test_killing_the_job_process(home: Home, store: Store, rng: random.Random) -> None:
    """T1."""
    with workers.running(home, crash_limit=10_000):
        for number in range(5 * TIMES):
            job = submit(store, str(number), steps=120)
            for _ in range(9):
                if not wait_for(lambda job=job: workers.job_process(home, job) or ended(store, job)):
                    break
                time.sleep(rng.uniform(0.0, 0.15))
                never_two(home, job)
                kill(workers.job_process(home, job))
            check_published_once(home, store, job, 120)
    assert stores.health(home)["integrity"] == "ok"


def ended(store: Store, job: Job) -> bool:
    now = store.job(job.id)
    return now is not None and now.state in ("done", "failed", "cancelled")


def test_killing_the_worker(home: Home, store: Store, rng: random.Random) -> None:
    """T3: its job process is gone in two seconds; the next worker goes on at once, not after the lease."""
    job = submit(store, steps=900)
    for _ in range(3 * TIMES):
        worker = workers.start(home, crash_limit=10_000, lease_seconds=60.0)
        process = wait_for(lambda: workers.job_process(home, job), 20.0)
        time.sleep(rng.uniform(0.0, 0.5))
        kill(worker.pid)
        worker.wait()
        wait_for(lambda process=process: not workers.alive(process), 2.5, "the job process ends with its worker")
        wait_for(lambda worker=worker: not workers.of_session(worker.pid), 5.0, "nothing is left of the worker")
    with workers.running(home, crash_limit=10_000, lease_seconds=60.0):
        began = time.monotonic()
        wait_for(lambda: workers.job_process(home, job) or ended(store, job))
        assert time.monotonic() - began < 10.0
        check_published_once(home, store, job, 900)


def test_the_next_worker_never_runs_a_job_beside_its_old_process(home: Home, store: Store, rng: random.Random) -> None:
    """T3, the hard way: the old job process is deaf to its worker's death (stopped), and must be ended first."""
    job = submit(store, steps=300)
    for _ in range(TIMES):
        worker = workers.start(home, crash_limit=10_000)
        old = wait_for(lambda: workers.job_process(home, job))
        time.sleep(rng.uniform(0.0, 0.3))
        suspend(home, old)
        kill(worker.pid)
        worker.wait()
        following = workers.start(home, crash_limit=10_000)
        try:
            wait_for(lambda old=old: workers.job_process(home, job) not in (None, old) or ended(store, job))
            assert not workers.alive(old)
            never_two(home, job)
        finally:
            workers.end(following)
    with workers.running(home, crash_limit=10_000):
        check_published_once(home, store, job, 300)


def test_killing_the_template(home: Home, store: Store) -> None:
    """When the template process dies, `exitcode` says 255 while the job still runs: it must not run twice."""
    job = submit(store, steps=300)
    with workers.running(home, crash_limit=10_000) as worker:
        process = wait_for(lambda: workers.job_process(home, job))
        kill(psutil.Process(process).ppid())
        wait_for(lambda: not workers.alive(process) or ended(store, job))
        never_two(home, job)
        check_published_once(home, store, job, 300)
        assert worker.poll() is None


def test_killing_everything_at_once(home: Home, store: Store, rng: random.Random) -> None:
    """T5."""
    job = submit(store, steps=500)
    for _ in range(2 * TIMES):
        worker = workers.start(home, crash_limit=10_000)
        wait_for(lambda: workers.job_process(home, job))
        time.sleep(rng.uniform(0.0, 0.4))
        for process in workers.of_session(worker.pid):
            kill(process.pid)
        worker.wait()
    with workers.running(home, crash_limit=10_000):
        check_published_once(home, store, job, 500)
    assert stores.health(home)["integrity"] == "ok"


def test_killing_the_server_leaves_worker_and_job_alone(home: Home, store: Store) -> None:
    """T4 without a browser: whoever started the worker dies with its whole process group."""
    job = submit(store, steps=300)
    code = (
        "import sys, time\nfrom tltools.home import open_home\nimport workers\n"
        "print(workers.start(open_home()).pid, flush=True)\ntime.sleep(60)\n"
    )
    paths = os.pathsep.join([str(workers.ROOT), str(workers.ROOT / "tests")])
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert server.stdout is not None
    worker = int(server.stdout.readline())
    try:
        wait_for(lambda: workers.job_process(home, job))
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        check_published_once(home, store, job, 300)
        assert store.job(job.id).attempt == 1  # type: ignore[union-attr]
        assert workers.alive(worker)
    finally:
        for process in workers.of_session(worker):
            kill(process.pid)


def test_of_two_workers_started_at_once_one_works(home: Home, store: Store) -> None:
    """T6."""
    for number in range(2 * TIMES):
        both = [workers.start(home), workers.start(home)]
        try:
            loser = wait_for(lambda both=both: next((one for one in both if one.poll() is not None), None), 30.0)
            assert loser.returncode == 0
            assert "a worker is running already" in (home.root / "fake-worker.log").read_text()
            winner = both[0] if both[1] is loser else both[1]
            job = submit(store, str(number), steps=5)
            wait_end(store, job)
            assert winner.poll() is None
        finally:
            for one in both:
                workers.end(one)


def test_a_worker_that_slept_through_its_lease_is_fenced(home: Home, store: Store) -> None:
    """T7: SIGSTOP of worker and job, a reclaim elsewhere, SIGCONT: nothing of the old attempt is written."""
    job = submit(store, steps=100_000)
    with workers.running(home) as worker:
        old = wait_for(lambda: workers.job_process(home, job))
        suspend(home, *(process.pid for process in workers.of_session(worker.pid)))
        wait_for(lambda: [one.id for one in store.reclaim(10_000)] == [job.id], 10.0, "the lease runs out")
        wait_for(lambda: not workers.alive(old), 5.0, "whoever reclaims on this machine ends the old process")
        mine = store.claim(this_process(), "long", 60.0)
        assert mine is not None
        assert mine.attempt == 2
        before = store.job(job.id)
        worker.send_signal(signal.SIGCONT)
        for process in workers.of_session(worker.pid):
            process.resume()
        log = home.root / "fake-worker.log"
        wait_for(lambda: store.workers()[0].quiet_seconds < 0.5 or "another's" in log.read_text())
        other = submit(store, "other", "export")
        wait_end(store, other)  # the worker is well, and works
        assert store.job(job.id) == before
        assert store.finish(mine, {"by": "the second attempt"})


def test_a_job_process_that_slept_while_its_job_went_on_writes_nothing(home: Home, store: Store) -> None:
    """T7, on another machine: nobody can end the old process, so only the attempt protects the job."""
    job = submit(store, steps=100_000)
    with workers.running(home) as worker:
        old = wait_for(lambda: workers.job_process(home, job))
        suspend(home, *(process.pid for process in workers.of_session(worker.pid)))
        taken = store.job(job.id)
        assert taken is not None
        assert store.release(taken, crashed=False) == "queued"
        mine = store.claim(this_process(), "long", 60.0)
        assert mine is not None
        before = store.job(job.id)
        kill(old, signal.SIGCONT)
        wait_for(lambda: not workers.alive(old), 5.0, "the job process sees that it lost, and ends")
        assert store.job(job.id) == before
        for process in workers.of_session(worker.pid):
            process.resume()
        wait_end(store, submit(store, "other", "export"))
        assert store.job(job.id) == before


def test_cancelling_at_random_moments(home: Home, store: Store, rng: random.Random) -> None:
    """T9: whatever the moment, a job ends as cancelled without a result, or was done before."""
    done, waits = 0, []
    with workers.running(home):
        for number in range(12 * TIMES):
            job = submit(store, str(number), steps=60)
            time.sleep(rng.uniform(0.0, 0.8))
            answered = store.cancel(job.id)
            assert answered.cancel_asked or answered.state == "done"
            began = time.monotonic()
            now = wait_end(store, job, 10.0)
            waits.append(time.monotonic() - began)
            assert now.state == "done" if answered.state == "done" else now.state == "cancelled"
            assert (now.result is not None) == (now.state == "done")
            done += now.state == "done"
            wait_for(lambda job=job: not workers.job_processes(home, job), 5.0)
    assert done < 12 * TIMES
    assert statistics.median(waits) < 2.0, waits  # the worst one is at the mercy of whatever else the machine does


def test_submitting_twice_while_it_is_killed_makes_one_job(home: Home, store: Store, rng: random.Random) -> None:
    """T24 for the queue: a double click during crashes and restarts."""
    job = submit(store, steps=150)
    with workers.running(home, crash_limit=10_000):
        for _ in range(10):
            wait_for(lambda: workers.job_process(home, job) or ended(store, job))
            if ended(store, job):
                break
            assert submit(store, steps=150).id == job.id or ended(store, job)
            time.sleep(rng.uniform(0.0, 0.1))
            kill(workers.job_process(home, job))
        check_published_once(home, store, job, 150)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_store_file_is_never_read_as_something_else(home: Home, store: Store, damage: str) -> None:
    """T25 for the store: refused with a sentence, or sound."""
    for number in range(200):
        submit(store, str(number))
    store.engine.dispose()
    path = home.root / "store.db"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        for place in range(0, len(content), 997):
            content[place] ^= 255
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with workers.running(home) as worker:
        if damage == "delete":
            wait_for(lambda: Store(home).workers())
            assert Store(home).jobs() == []
        else:
            assert worker.wait(20) == 1
            assert "estore it from a backup" in (home.root / "fake-worker.log").read_text()


def test_a_disk_that_fills_up_below_a_running_job(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T11: the worker outlives it, the job ends in words or goes on once there is space, and the store is sound."""
    monkeypatch.setenv("TLTOOLS_HOME", str(small_disk / "home"))
    home = open_home()
    store = Store(home)
    job = submit(store, steps=400)
    with workers.running(home) as worker:
        wait_for(lambda: workers.job_process(home, job))
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        time.sleep(2.0)  # two lease times without a byte to write
        assert worker.poll() is None
        filler.unlink()
        now = wait_end(store, job)
        if now.state == "failed":
            assert now.failure is not None
            assert now.failure.type == "disk_full"
            assert now.failure.what == "The disk is full."
            job = submit(store, steps=400)
        check_published_once(home, store, job, 400)
    assert stores.health(home)["integrity"] == "ok"
