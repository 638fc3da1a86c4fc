"""The worker with real processes: ends have names, cancelling is quick, lanes do not wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import workers
from workers import wait_end, wait_for

from tltools import artifacts, commands, processes, worker
from tltools.backends import local
from tltools.failures import failure, name_the_end
from tltools.home import Home
from tltools.records import Job, Refusal, refuse
from tltools.store import LANES, Store
from tltools.tickets import JobTicket, LeaseLost, QuietTicket, read_events


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home)


def submit(store: Store, kind: str, key: str = "a", **payload: Any) -> Job:
    return store.submit(kind, payload, title=f"The {kind} job", key=key)


# --- how jobs end -----------------------------------------------------------------------------------------------


def test_jobs_end_as_what_they_are(home: Home, store: Store) -> None:
    expected = {
        "refusal": ("bad_data", "must have two columns", 1),
        "disk": ("disk_full", "disk is full", 1),
        "key error": ("bug", "KeyError", 1),
        "unserialisable": ("bug", "not JSON serializable", 1),
        "exit": ("crashed", "exit code 7", 3),
        "killed": ("out_of_memory", "probably because memory ran out", 3),
    }
    jobs = {how: submit(store, "predict", how, how=how) for how in expected}
    greedy, noisy = submit(store, "ingest"), submit(store, "explain")
    good = submit(store, "study", seed="s", steps=5)
    with workers.running(home):
        for how, (kind, words, attempts) in expected.items():
            ended = wait_end(store, jobs[how])
            assert ended.state == "failed", how
            assert ended.failure is not None
            assert (ended.failure.type, ended.attempt) == (kind, attempts), how
            assert words in ended.failure.what
            assert ended.failure.remedy
        memory = wait_end(store, greedy).failure  # T12
        assert memory is not None
        assert memory.type == "out_of_memory"
        assert "MemoryError" in memory.detail
        loud = wait_end(store, noisy).failure  # two megabytes of output do not stop it
        assert loud is not None
        assert "the last words" in loud.what
        assert wait_end(store, good).result == {"hash": workers.hash_after("s", 5)}
        output = home.jobs / noisy.id / "output.txt"
        wait_for(output.exists)
        assert output.stat().st_size <= 32_768
        assert "the last words" in output.read_text()


def test_a_worker_that_starts_removes_what_was_kept_long_enough(home: Home, store: Store) -> None:
    kept = [home.trash / "dataset-1-1", home.uploads / "2", home.jobs / "checkpoints" / "3-0"]
    old = [folder.with_name(f"{folder.name}-old") for folder in kept]
    for folder in (*kept, *old):
        folder.mkdir(parents=True)
        (folder / "some.csv").write_text("a\n1\n")
    for folder in old:
        os.utime(folder, (time.time() - artifacts.KEPT - 60,) * 2)
    with workers.running(home):
        wait_for(lambda: not any(folder.exists() for folder in old))
    assert all((folder / "some.csv").is_file() for folder in kept)


def test_a_quick_job_does_not_wait_for_a_long_one(home: Home, store: Store) -> None:
    long = submit(store, "rank")
    with workers.running(home):
        wait_for(lambda: workers.job_process(home, long))
        assert wait_end(store, submit(store, "export", x=1)).result == {"x": 1}
        current = store.job(long.id)
        assert current is not None
        assert current.state == "running"


def test_the_second_long_job_waits_for_the_first(home: Home, store: Store) -> None:
    first, second = submit(store, "study", "1", seed="1"), submit(store, "study", "2", seed="2")
    with workers.running(home):
        ends = [wait_end(store, first), wait_end(store, second)]
    assert ends[0].ended is not None
    assert ends[1].started is not None
    assert ends[0].ended <= ends[1].started


def test_cancelling_a_running_job_takes_two_seconds_and_keeps_its_checkpoint(home: Home, store: Store) -> None:
    waits = []
    with workers.running(home):
        for number in range(3):
            job = submit(store, "study", str(number), seed="s", steps=100_000)
            wait_for(lambda job=job: (store.job(job.id) or job).progress.done > 10)
            began = time.monotonic()
            store.cancel(job.id)
            store.cancel(job.id)
            ended = wait_end(store, job)
            waits.append(time.monotonic() - began)
            assert ended.state == "cancelled"
            assert ended.failure is not None
            assert ended.failure.type == "cancelled"
            assert (home.jobs / job.id / "checkpoint.json").exists()
            assert not (home.trials / job.id).exists()
            wait_for(lambda job=job: not workers.job_processes(home, job))
    assert sorted(waits)[1] < 2.0, waits


def test_a_job_that_does_not_listen_is_ended_after_its_grace(home: Home, store: Store) -> None:
    job = submit(store, "rank")
    with workers.running(home, grace_seconds=1.0):
        wait_for(lambda: workers.job_process(home, job))
        store.cancel(job.id)
        ended = wait_end(store, job, 5.0)
        assert ended.state == "cancelled"
        assert not workers.job_processes(home, job)


def test_a_stopped_worker_puts_its_jobs_back_and_the_next_one_goes_on(home: Home, store: Store) -> None:
    job = submit(store, "study", seed="s", steps=200)
    with workers.running(home) as first:
        wait_for(lambda: (store.job(job.id) or job).progress.done > 20)
        first.terminate()
        assert first.wait(10) == 0
    waiting = store.job(job.id)
    assert waiting is not None
    assert (waiting.state, waiting.attempt) == ("queued", 1)
    assert (home.jobs / job.id / "checkpoint.json").exists()
    with workers.running(home, crash_limit=1):
        assert wait_end(store, job).result == {"hash": workers.hash_after("s", 200)}


def test_what_a_dead_job_process_leaves_is_ended_too(home: Home, store: Store) -> None:
    job = submit(store, "export")
    with workers.running(home, crash_limit=1, handlers={"export": "fake_worker:litter"}):
        wait_end(store, job)
        left = int((home.root / "litter.txt").read_text())
        wait_for(lambda: not workers.alive(left))


def test_a_worker_leaves_when_its_home_is_gone(home: Home, store: Store) -> None:
    with workers.running(home) as process:
        wait_for(lambda: store.workers())
        home.root.rename(home.root.with_name("gone"))  # at once: a worker may write while a tree is being removed
        assert process.wait(10) == 0


def test_a_damaged_store_is_refused_at_the_start(home: Home) -> None:
    (home.root / "store.db").write_bytes(b"garbage" * 1000)
    with workers.running(home) as process:
        assert process.wait(20) == 1
    assert "cannot be opened as a database" in (home.root / "fake-worker.log").read_text()


def test_the_worker_works_from_postgresql_too(home: Home, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", postgresql_url)
    store = Store(Home(root=home.root, database_url=postgresql_url, offline=True, hub=home.hub))
    job, cancelled = submit(store, "study", seed="s"), submit(store, "rank")
    with workers.running(home):
        assert wait_end(store, job).result == {"hash": workers.hash_after("s", 40)}
        wait_for(lambda: workers.job_process(home, cancelled))
        store.cancel(cancelled.id)
        assert wait_end(store, cancelled).state == "cancelled"


def test_every_kind_of_job_has_a_function() -> None:
    assert set(worker.HANDLERS) == set(LANES)


# --- one worker -------------------------------------------------------------------------------------------------


def test_ten_pages_at_once_start_one_worker(home: Home, store: Store) -> None:
    """Real `python -m tltools worker`, detached; it survives whoever started it."""
    code = "from tltools import home; from tltools.backends import local; print(local.ensure_worker(home.open_home()))"
    pages = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(10)]
    said = sorted(page.communicate()[0].strip() for page in pages)
    try:
        assert said == ["running"] * 9 + ["started"]
        wait_for(lambda: local.worker_state(home, store).alive, 30)
        seen = store.workers()[0].holder
        assert os.getsid(seen.pid) == seen.pid, "it is detached from the page that started it"
        assert local.ensure_worker(home) == "running"
        assert "Ready" in local.worker_state(home, store).sentence
    finally:
        for one in store.workers():
            psutil.Process(one.holder.pid).terminate()
            wait_for(one.holder.provably_dead, 20)
    assert not local.worker_state(home, store).alive


def test_what_lies_in_the_home_is_no_part_of_the_worker(home: Home, store: Store) -> None:
    (home.root / "psutil.py").write_text("raise SystemExit(3)")
    try:
        assert local.ensure_worker(home) == "started"
        wait_for(lambda: local.worker_state(home, store).alive, 30)
    finally:
        for one in store.workers():
            psutil.Process(one.holder.pid).terminate()
            wait_for(one.holder.provably_dead, 20)


def test_a_worker_that_cannot_start_is_told_and_not_waited_for(home: Home, store: Store, monkeypatch: Any) -> None:
    words = [sys.executable, "-c", "raise SystemExit('no room here')"]
    monkeypatch.setattr(processes, "command", lambda module: (words, dict(os.environ)))
    monkeypatch.setattr(local, "_last_start", [float("-inf")])

    def again() -> str:
        local._last_start[0] = float("-inf")  # as if five seconds had passed
        return local.ensure_worker(home)

    wait_for(lambda: again() == "failing", 30)
    monkeypatch.setattr(local, "ensure_worker", lambda home: "failing")
    job = store.submit("predict", {}, title="t", key="k")
    with pytest.raises(Refusal, match="ends right after its start: no room here"):
        commands.follow(home, store, job)


def test_somebody_else_may_look_after_the_worker(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTOOLS_WORKER", "external")
    assert local.ensure_worker(home) == "external"
    assert not local.lock_path(home).exists()


def test_the_state_of_a_worker_is_told_in_a_sentence(home: Home, store: Store) -> None:
    assert "No worker is running" in local.worker_state(home, store).sentence
    job = submit(store, "rank")
    with workers.running(home):
        wait_for(lambda: workers.job_process(home, job))
        state = wait_for(lambda: local.worker_state(home, store))
        assert state.alive
        assert state.running[0].id == job.id
        assert state.sentence == "Working: The rank job."
    assert "No worker is running" in local.worker_state(home, store).sentence


# --- tickets and names of failures ------------------------------------------------------------------------------


def claimed(store: Store) -> Job:
    submit(store, "study")
    from tltools.holders import this_process

    job = store.claim(this_process(), "long", 30.0)
    assert job is not None
    return job


def test_progress_is_throttled_but_its_last_step_is_told_and_the_rest_is_estimated(home: Home, store: Store) -> None:
    job = claimed(store)
    ticket = JobTicket(home, store, job, every=0.05)
    for step in range(1, 401):
        ticket.progress("training", step, 400, loss=1.0 / step)
        if step == 300:
            current = store.job(job.id)
            assert current is not None
            assert current.progress.done <= 300
        time.sleep(0.001)
    last = store.job(job.id)
    assert last is not None
    assert (last.progress.done, last.progress.eta_seconds) == (400, 0.0)
    assert last.progress.numbers["memory_mb"] > 10
    middle = JobTicket(home, store, job, every=0.0)
    for step in range(5):
        middle.progress("evaluating", step, 100)
        time.sleep(0.02)
    estimated = store.job(job.id)
    assert estimated is not None
    assert estimated.progress.eta_seconds is not None
    assert 1.0 < estimated.progress.eta_seconds < 20.0
    middle.progress("evaluating", 0, 100)
    assert middle._last.eta_seconds is None, "a stage that begins again is estimated anew"


def test_events_are_kept_and_a_torn_line_is_left_out(home: Home, store: Store) -> None:
    ticket = JobTicket(home, store, claimed(store))
    ticket.event("epoch", trial="t", loss=0.5)
    with open(ticket.events, "a") as file:
        file.write('{"at": "2026')
    ticket.event("epoch", loss=0.4)
    ticket.event("epoch", loss=0.3)
    assert [event.numbers["loss"] for event in read_events(home, ticket._job.id)] == [0.5, 0.3]
    assert read_events(home, "nobody") == []


def test_a_lost_ticket_stops_its_job(home: Home, store: Store) -> None:
    ticket = JobTicket(home, store, claimed(store), every=0.0)
    store.release(ticket._job, crashed=False)
    with pytest.raises(LeaseLost):
        ticket.check()
    with pytest.raises(LeaseLost):
        ticket.progress("training", 1, 2)


def test_a_quiet_ticket_tells_nobody(home: Home) -> None:
    ticket = QuietTicket(home)
    ticket.progress("x", 1, 2, loss=3.0)
    ticket.event("x")
    ticket.check()
    assert ticket.store.jobs() == []
    assert not home.jobs.exists()


class _HubError(OSError):
    __module__ = "huggingface_hub.errors"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out_of_memory"),
        (OSError(12, "Cannot allocate memory"), "out_of_memory"),
        (OSError(28, "No space left on device"), "disk_full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk_full"),
        (_HubError("404 Client Error"), "download"),
        (refuse("download", "failed.", "Try again."), "download"),
        (refuse("a.csv", "is empty.", "Add rows."), "bad_data"),
        (KeyError("x"), "bug"),
    ],
)
def test_exceptions_have_names(error: Exception, kind: str) -> None:
    assert failure(error).type == kind


def test_the_cause_of_an_exception_names_it() -> None:
    error = ValueError("could not read the features")
    error.__cause__ = OSError(28, "No space left on device")
    assert failure(error).type == "disk_full"


def test_abnormal_ends_have_names() -> None:
    assert name_the_end(-9, b"", False).type == "out_of_memory"
    assert name_the_end(1, b"", True).type == "out_of_memory"
    assert name_the_end(-6, b"terminate called: std::bad_alloc", False).type == "out_of_memory"
    assert name_the_end(1, b"(sqlite3.OperationalError) database or disk is full", False).type == "disk_full"
    assert "SIGSEGV" in name_the_end(-11, b"", False).what


# --- the template -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_children_of_the_preloaded_template_compute_with_many_threads(home: Home, store: Store, tmp_path: Path) -> None:
    """A template that had run one torch operation would give children that hang in their first parallel one."""
    module = tmp_path / "parallel_job.py"
    module.write_text(
        "def run(ticket, payload):\n"
        "    import sys, time\n"
        "    loaded = sorted({'torch', 'timm', 'transformers', 'sklearn'} & set(sys.modules))\n"
        "    import numpy, torch, pandas\n"
        "    began = time.monotonic()\n"
        "    torch.set_num_threads(4)\n"
        "    a = torch.randn(1500, 1500); (a @ a).relu().sum()\n"
        "    n = numpy.random.rand(1500, 1500); n @ n; numpy.linalg.eigh(n[:300, :300])\n"
        "    f = pandas.DataFrame(n); f.columns = f.columns.astype(str)\n"
        "    f.to_parquet(ticket.home.root / 'x.parquet'); pandas.read_parquet(ticket.home.root / 'x.parquet')\n"
        "    return {'loaded': loaded, 'seconds': time.monotonic() - began}\n"
    )
    handlers = {"export": "parallel_job:run"}
    environment = {"PYTHONPATH": str(tmp_path)}
    with workers.running(home, preload=worker.PRELOAD, handlers=handlers, more_environment=environment):
        for number in range(3):
            ended = wait_end(store, submit(store, "export", str(number)), 120)
            assert ended.result is not None, ended.failure
            assert ended.result["loaded"] == ["sklearn", "timm", "torch", "transformers"]
