"""The store: every move of a job is one conditional update, and whoever lost is told so."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from workers import wait_for

from tltools import holders, schema, store
from tltools.failures import failure
from tltools.holders import this_process
from tltools.home import Home, open_home
from tltools.records import Failure, Job, Progress, Refusal, Trial, refuse
from tltools.store import Store

BUG = Failure(type="bug", what="It broke.", remedy="Mend it.")


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, home: Home) -> Store:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        home = Home(root=home.root, database_url=url, offline=True, hub=home.hub)
    return Store(home)


def submit(db: Store, key: str = "a", kind: str = "study") -> Job:
    return db.submit(kind, {"n": 1}, title="A study", key=key)


def claim(db: Store, lane: store.Lane = "long", ttl: float = 30.0) -> Job:
    job = db.claim(this_process(), lane, ttl)
    assert job is not None
    return job


def trial(study: str = "s", number: str = "0" * 16) -> Trial:
    return Trial(
        id=number, study=study, dataset="d", split="p", source="none", strategy="classical", kind="control", knobs={},
        fraction=1.0, per_class=None, draw=0, seed=0,
    )  # fmt: skip


def test_a_job_goes_from_queued_over_running_to_done(db: Store) -> None:
    job = submit(db)
    assert job.state == "queued"
    assert db.waiting() == {"long"}
    running = claim(db)
    assert (running.id, running.state, running.attempt) == (job.id, "running", 1)
    assert db.progress(running, Progress(stage="training", done=1, total=2))
    assert db.finish(running, {"n": 3})
    done = db.job(job.id)
    assert done is not None
    assert (done.state, done.result, done.progress.done) == ("done", {"n": 3}, 1)
    assert done.created <= (done.started or done.created) <= (done.ended or done.created)


def test_a_lane_hands_out_its_oldest_job_and_only_its_own(db: Store) -> None:
    jobs = [submit(db, key) for key in "abc"]
    quick = submit(db, "q", "predict")
    assert claim(db, "quick").id == quick.id
    assert [claim(db).id for _ in jobs] == [job.id for job in jobs]
    assert db.claim(this_process(), "long", 30.0) is None


def test_the_same_key_twice_is_one_live_job_and_may_be_asked_again_after_its_end(db: Store) -> None:
    first = submit(db)
    assert submit(db).id == first.id
    running = claim(db)
    assert submit(db).id == first.id
    assert db.fail(running, BUG)
    again = submit(db)
    assert again.id != first.id
    assert [job.id for job in db.jobs()] == [again.id, first.id]


def test_fifty_double_clicks_at_once_make_one_job(db: Store) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(submit(db).id)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 50
    assert len(set(found)) == 1


def test_an_unknown_kind_is_refused(db: Store) -> None:
    with pytest.raises(Refusal, match="must be one of"):
        db.submit("laundry", {}, title="", key="")


def test_a_slept_through_attempt_is_refused_at_every_write(db: Store) -> None:
    submit(db)
    old = claim(db, ttl=-1.0)
    assert [job.id for job in db.reclaim()] == [old.id]
    new = claim(db)
    assert new.attempt == old.attempt + 1
    assert not db.renew(old, 30.0)
    assert not db.progress(old, Progress())
    assert not db.started(old, this_process())
    assert not db.seal_trials(old, [(trial(), 1.0)])
    assert not db.finish(old, {})
    assert not db.fail(old, BUG)
    assert db.release(old, crashed=True) is None
    assert db.cancel_asked(old) is None
    assert db.trials("s") == []
    assert db.renew(new, 30.0)
    assert db.finish(new, {})


def test_cancelling(db: Store) -> None:
    queued = submit(db, "q")
    assert db.cancel(queued.id).state == "cancelled"
    assert db.cancel(queued.id).state == "cancelled"
    submit(db, "r")
    running = claim(db)
    assert db.cancel_asked(running) is False
    assert db.cancel(running.id).cancel_asked
    assert db.cancel_asked(running) is True
    assert not db.finish(running, {"published": True}), "a cancelled job never publishes"
    assert db.release(running, crashed=True) == "cancelled"
    submit(db, "d")
    done = claim(db)
    assert db.finish(done, {})
    assert db.cancel(done.id).state == "done"
    with pytest.raises(Refusal, match="not known"):
        db.cancel("nobody")


def test_a_job_that_is_still_stopping_is_not_joined(db: Store) -> None:
    submit(db)
    running = claim(db)
    db.cancel(running.id)
    with pytest.raises(Refusal, match=r"A study: is still stopping\. Try again in a moment"):
        submit(db)
    assert db.fail(running, store.CANCELLED)
    assert submit(db).state == "queued"


def test_a_job_that_is_just_put_back_into_the_queue_is_cancelled_all_the_same(home: Home, postgresql_url: str) -> None:
    db = Store(Home(root=home.root, database_url=postgresql_url, offline=True, hub=home.hub))
    job = submit(db)
    claim(db)
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    cancelling = threading.Thread(target=db.cancel, args=(job.id,))
    with db.engine.begin() as releasing:
        releasing.execute(sa.update(schema.jobs).values(state="queued", holder=None))
        cancelling.start()
        wait_for(lambda: releasing.execute(waits).scalar())
    cancelling.join()
    ended = db.job(job.id)
    assert ended is not None
    assert (ended.state, ended.failure) == ("cancelled", store.CANCELLED)
    assert ended.ended


def test_three_crashes_without_getting_on_are_the_end_and_a_planned_stop_is_no_crash(db: Store) -> None:
    submit(db)
    assert db.release(claim(db), crashed=True) == "queued"
    assert db.release(claim(db), crashed=False) == "queued"
    assert db.release(claim(db), crashed=True) == "queued"
    job = claim(db)
    assert db.release(job, crashed=True) == "failed"
    failed = db.job(job.id)
    assert failed is not None
    assert failed.failure is not None
    assert failed.failure.type == "crashed"
    assert failed.attempt == 4


def test_a_sealed_trial_forgives_earlier_crashes(db: Store) -> None:
    submit(db)
    for number in range(5):
        job = claim(db)
        assert db.seal_trials(job, [(trial(number=f"{number:016x}"), 2.0)])
        assert db.release(job, crashed=True) == "queued"
    assert [one.id for one in db.trials("s")] == [f"{number:016x}" for number in range(5)]
    assert db.seal_trials(None, [(trial(number="0" * 16), 9.0)]), "sealing twice is not an error"
    assert len(db.trials("s")) == 5
    assert db.trial_seconds("s") == 10.0


def test_only_jobs_of_dead_or_late_holders_are_reclaimed(db: Store) -> None:
    for key in "abcd":
        submit(db, key)
    me = this_process()
    kept = claim(db)
    late = claim(db, ttl=-0.1)
    sleeper = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.DEVNULL)
    holder = this_process(sleeper.pid)
    sleeper.wait()
    dead = db.claim(holder, "long", 30.0)
    rebooted = db.claim(me.model_copy(update={"boot": "another"}), "long", 30.0)
    assert dead is not None
    assert rebooted is not None
    assert {job.id for job in db.reclaim()} == {late.id, dead.id, rebooted.id}
    assert db.cancel_asked(kept) is False
    assert db.reclaim() == []


def test_a_holder_elsewhere_is_judged_by_its_lease_alone(db: Store) -> None:
    submit(db)
    far = this_process().model_copy(update={"host": "elsewhere", "pid": 1, "started": 0.0})
    other_namespace = this_process().model_copy(update={"namespace": "pid:[1]", "pid": 4_000_000})
    assert db.claim(far, "long", 30.0)
    assert not other_namespace.provably_dead()
    assert not far.kill_group()
    assert not other_namespace.kill_group()
    assert db.reclaim() == []


def test_a_reused_process_number_is_never_signalled() -> None:
    """T8: the recorded pid lives, but it is another process."""
    for _ in range(20):
        foreign = subprocess.Popen(["sleep", "30"], start_new_session=True)
        try:
            real = this_process(foreign.pid)
            recorded = real.model_copy(update={"started": real.started - 5.0})
            assert recorded.provably_dead()
            assert not recorded.kill_group()
            assert foreign.poll() is None
            assert not real.provably_dead()
        finally:
            foreign.kill()
            foreign.wait()


def test_leases_do_not_look_at_the_wall_clock(db: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """T13: the clock jumps by an hour, both ways; processes keep their identity, leases their deadline."""
    submit(db)
    job = claim(db)
    for jump in (-3600.0, 3600.0, 86_400.0):
        real, boot = store.time.time, holders.psutil.boot_time
        with monkeypatch.context() as patch:
            patch.setattr(store.time, "time", lambda real=real, jump=jump: real() + jump)
            # the system moves the boot time with the clock, and psutil counts start times from it
            patch.setattr(holders.psutil, "boot_time", lambda boot=boot, jump=jump: boot() + jump)
            made = holders.psutil.Process.create_time
            patch.setattr(holders.psutil.Process, "create_time", lambda self, made=made, jump=jump: made(self) + jump)
            assert db.reclaim() == []
            assert not this_process().provably_dead()
            assert db.renew(job, 30.0)


def test_read_then_write_from_four_threads_loses_nothing(db: Store) -> None:
    def add() -> None:
        for _ in range(50):
            db.count_bytes("hub", 1, 2)
            db.seal_trials(None, [(trial(), 1.0)])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.network() == [{"host": "hub", "sent": 200, "received": 400}]
    assert db.test_reads(trial().dataset) == 200
    assert db.test_reads("another") == 0


def test_settings_and_memories_are_kept(db: Store) -> None:
    assert db.setting("theme", "light") == "light"
    db.set_setting("theme", {"dark": True})
    db.set_setting("theme", {"dark": False})
    assert db.setting("theme") == {"dark": False}
    assert db.recall("pace", "a") is None
    db.remember("pace", "a", {"rows": 1})
    db.remember("pace", "b", {"rows": 2})
    assert db.recall("pace", "a") == {"rows": 1}
    assert db.memories("pace") == [{"key": "a", "rows": 1}, {"key": "b", "rows": 2}]


def test_a_worker_is_heard(db: Store) -> None:
    assert db.workers() == []
    db.beat(this_process())
    first = db.workers()[0]
    db.beat(this_process())
    again = db.workers()[0]
    assert again.quiet_seconds < 5
    assert again.since == first.since


def test_two_processes_open_a_fresh_store_at_once(home: Home) -> None:
    code = "from tltools import home, store; print(store.open_store(home.open_home()).jobs())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["[]", "[]"]


def test_readers_take_no_write_lock(home: Home) -> None:
    db = Store(home)
    submit(db)
    with db.engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        assert len(db.jobs()) == 1, "a page can read while somebody writes"


@pytest.mark.parametrize(
    ("version", "mode"),
    [((3, 40, 1), "DELETE"), ((3, 44, 6), "WAL"), ((3, 45, 0), "DELETE"), ((3, 50, 6), "DELETE"), ((3, 50, 7), "WAL"),
     ((3, 51, 2), "DELETE"), ((3, 51, 3), "WAL"), ((3, 52, 0), "DELETE"), ((3, 53, 0), "WAL")],
)  # fmt: skip
def test_the_journal_mode_follows_the_linked_library(version: tuple[int, ...], mode: str) -> None:
    assert schema.journal_mode(version)[0] == mode


def test_health_tells_version_mode_and_integrity(home: Home) -> None:
    facts = store.health(home)
    assert facts["version"] == sqlite3.sqlite_version
    assert facts["journal_mode"] == schema.journal_mode()[0]
    assert facts["integrity"] == "ok"
    json.dumps(facts)


def test_every_job_survives_the_disk_full_error_of_a_small_file_system(small_disk: Path) -> None:
    """T11: writing fails with a clear error, what was committed is there, and it goes on once space is freed."""
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * 7_000_000)
    db = Store(open_home(small_disk / "home"))
    jobs = []
    with pytest.raises(sa.exc.OperationalError, match="full|I/O"):
        for number in range(10_000):
            jobs.append(db.submit("study", {"text": "x" * 2000}, title="", key=str(number)))
    assert jobs
    assert {job.id for job in db.jobs(limit=20_000)} == {job.id for job in jobs}
    filler.unlink()
    assert store.health(db.home)["integrity"] == "ok"
    assert db.submit("study", {}, title="", key="after").state == "queued"


def test_a_failure_and_a_title_with_a_name_that_is_not_utf_8_are_stored(home: Home) -> None:
    kept = Store(home)
    name = os.fsdecode(b"Geb\xfchren.csv")
    kept.submit("predict", {"file": name}, title=f"Predict {name}", key="a")
    job = kept.claim(this_process(), store.LANES["predict"], 30.0)
    assert job is not None and job.title == "Predict Geb�hren.csv" and job.payload == {"file": name}
    assert kept.fail(job, failure(refuse(name, "is empty.", f"Fill {name}."), detail=f"{name}\ud800"))
    ended = kept.job(job.id)
    assert ended is not None and ended.failure is not None
    assert ended.failure.what == "Geb�hren.csv: is empty." and ended.failure.detail == "Geb�hren.csv�"
