"""The store: what is asked for, what runs, what came of it. Every move of a job is one conditional UPDATE."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import psutil
import sqlalchemy as sa

from tltools import schema
from tltools.holders import Holder
from tltools.home import Home
from tltools.ledgers import Ledgers, count_test_read
from tltools.records import Failure, Job, JobState, Progress, Trial, plain_name, refuse

Lane = Literal["quick", "long"]
LANES: dict[str, Lane] = {
    "ingest": "quick",
    "predict": "quick",
    "explain": "quick",
    "export": "quick",
    "study": "long",
    "rank": "long",
    "measure": "long",
}
CRASH_LIMIT = 3
CRASHED = Failure(
    type="crashed",
    what="The job's process died again and again without getting on.",
    remedy="If memory is short, use a smaller source model, fewer rows or a smaller batch; then submit it again.",
)
CANCELLED = Failure(type="cancelled", what="The job was cancelled.", remedy="Submit it again to go on.")
_j = schema.jobs.c
_opened: dict[tuple[Home, int], tuple[Store, tuple[int, int] | None]] = {}


class Store(Ledgers):
    """One database. Writes about a running job carry its attempt: a process that slept through its lease is refused."""

    # --- asking ---------------------------------------------------------------------------------------------------

    def submit(self, kind: str, payload: dict[str, Any], *, title: str, key: str) -> Job:
        """Queues a job, or returns the live one that has the same key (a double click makes no second job).

        Raises:
            Refusal: the kind is unknown, or the live one was cancelled and has not ended yet.
        """
        if kind not in LANES:
            raise refuse("kind", f"must be one of {', '.join(LANES)}; got {kind!r}.", "Name one of them.")
        row: dict[str, Any] = {
            "id": uuid.uuid4().hex[:16],
            "kind": kind,
            "lane": LANES[kind],
            "key": f"{kind}:{key}",
            "title": plain_name(title),
            "payload": json.dumps(payload),
            "state": "queued",
            "attempt": 0,
            "crashes": 0,
            "cancel_asked": False,
            "progress": "{}",
            "created": time.time(),
        }
        while True:
            try:
                with self.engine.begin() as connection:
                    connection.execute(sa.insert(schema.jobs).values(row))
                return self._must(row["id"])
            except sa.exc.IntegrityError:
                live = self._one(_j.key == row["key"], _j.state.in_(("queued", "running")))
                if live is not None and live.cancel_asked:  # whoever joined it would be told "cancelled" at once
                    raise refuse(live.title, "is still stopping.", "Try again in a moment.") from None
                if live is not None:
                    return live  # when it ended in between, the next round inserts

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop; a queued one is cancelled at once. Cancelling twice or after the end changes nothing."""
        waits = _j.state == "queued"
        end = {"state": "cancelled", "ended": time.time(), "failure": CANCELLED.model_dump_json()}
        change = {name: sa.case((waits, value), else_=_j[name]) for name, value in end.items()}
        asked = sa.update(schema.jobs).where(_j.id == job_id, _j.state.in_(("queued", "running")))
        with self.engine.begin() as connection:  # one statement: a job that is just released is found in either state
            connection.execute(asked.values(cancel_asked=True, **change))
        return self._must(job_id)

    def job(self, job_id: str) -> Job | None:
        return self._one(_j.id == job_id)

    def jobs(
        self, states: tuple[JobState, ...] | None = None, kinds: tuple[str, ...] | None = None, limit: int = 100
    ) -> list[Job]:
        """Returns jobs, newest first."""
        query = sa.select(schema.jobs).order_by(_j.created.desc()).limit(limit)
        if states:
            query = query.where(_j.state.in_(states))
        if kinds:
            query = query.where(_j.kind.in_(kinds))
        with self.reader.connect() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    # --- the worker's side ----------------------------------------------------------------------------------------

    def claim(self, holder: Holder, lane: Lane, ttl: float) -> Job | None:
        """Takes the oldest queued job of a lane; None when there is none. One statement, so no job is taken twice."""
        oldest = (
            sa.select(_j.id).where(_j.state == "queued", _j.lane == lane).order_by(_j.created).limit(1)
        ).with_for_update(skip_locked=True)  # ignored by SQLite, which has one writer at a time
        clock, now = self.clock()
        statement = (
            sa.update(schema.jobs)
            .where(_j.id == oldest.scalar_subquery(), _j.state == "queued")
            .values(
                state="running",
                attempt=_j.attempt + 1,
                holder=holder.model_dump_json(),
                lease_clock=clock,
                lease_until=now + ttl,
                started=time.time(),
                progress="{}",
            )
            .returning(schema.jobs)
        )
        with self.engine.begin() as connection:
            row = connection.execute(statement).mappings().first()
        return _job(row) if row else None

    def waiting(self) -> set[str]:
        """The lanes in which a job is queued."""
        with self.reader.connect() as connection:
            return set(connection.execute(sa.select(_j.lane).where(_j.state == "queued").distinct()).scalars())

    def renew(self, job: Job, ttl: float) -> bool:
        """Prolongs a lease; False means that the job is somebody else's by now."""
        clock, now = self.clock()
        return self._move(job, lease_clock=clock, lease_until=now + ttl)

    def progress(self, job: Job, progress: Progress) -> bool:
        """Writes a job's progress; False means "you lost"."""
        return self._move(job, progress=progress.model_dump_json())

    def finish(self, job: Job, result: dict[str, Any]) -> bool:
        """running -> done. A job whose cancellation was asked for first is never published."""
        return self._move(job, _j.cancel_asked.is_(False), state="done", result=json.dumps(result), ended=time.time())

    def fail(self, job: Job, failure: Failure) -> bool:
        """running -> failed, or -> cancelled when the failure says so."""
        state = "cancelled" if failure.type == "cancelled" else "failed"
        return self._move(job, state=state, failure=failure.model_dump_json(), ended=time.time())

    def started(self, job: Job, process: Holder) -> bool:
        """Notes which process runs a job, so that whoever reclaims it can end that process first."""
        return self._move(job, process=process.model_dump_json())

    def seal_trials(self, job: Job | None, sealed: Sequence[tuple[Trial, float]]) -> bool:
        """Notes that trials of a job's study are complete on disk, after so many seconds each, and that the test rows
        were scored once more for each; False means "you lost".

        A job that gets on is not a job that only crashes: its abnormal ends are forgiven.
        """

        def note(connection: sa.Connection) -> bool:
            if job is not None and not connection.execute(_mine(job).values(crashes=0)).rowcount:
                return False
            for trial, seconds in sealed:
                key = {"study": trial.study, "trial": trial.id}
                row = {"record": trial.model_dump_json(), "seconds": seconds, "sealed": time.time()}
                known = sa.select(t.c.trial).where(t.c.study == trial.study, t.c.trial == trial.id)
                if connection.execute(known).first() is None:
                    connection.execute(sa.insert(t).values(**key, **row))
                count_test_read(connection, trial)
            return True

        t = schema.trials
        return self._tried_twice(note)

    def release(
        self, job: Job, *, crashed: bool, failure: Failure = CRASHED, crash_limit: int = CRASH_LIMIT
    ) -> JobState | None:
        """running -> queued after an interruption; -> cancelled when that was asked; -> failed at the crash limit.

        Returns the new state; None when the job was not this attempt's any more.
        """
        with self.engine.begin() as connection:
            query = sa.select(schema.jobs).where(_j.id == job.id, _j.state == "running", _j.attempt == job.attempt)
            row = connection.execute(query.with_for_update()).mappings().first()
            if row is None:
                return None
            crashes = row["crashes"] + int(crashed)
            change: dict[str, Any] = {"state": "queued"}
            if row["cancel_asked"]:
                change = {"state": "cancelled", "ended": time.time(), "failure": CANCELLED.model_dump_json()}
            elif crashed and crashes >= crash_limit:
                change = {"state": "failed", "ended": time.time(), "failure": failure.model_dump_json()}
            gone = {"holder": None, "process": None, "lease_until": None}
            connection.execute(_mine(job).values(crashes=crashes, **gone, **change))
        state: JobState = change["state"]
        return state

    def reclaim(self, crash_limit: int = CRASH_LIMIT) -> list[Job]:
        """Releases every running job whose lease ran out or whose holder is provably dead; returns them.

        The job's process, where it can be proven to be that process, is ended first.
        """
        clock, now = self.clock()
        with self.reader.connect() as connection:
            rows = connection.execute(sa.select(schema.jobs).where(_j.state == "running")).mappings().all()
        lost = []
        for row in rows:
            ran_out = (
                row["lease_clock"] != clock or row["lease_until"] < now
            )  # another clock: the machine was restarted
            if ran_out or Holder.model_validate_json(row["holder"]).provably_dead():
                if row["process"]:
                    Holder.model_validate_json(row["process"]).kill_group()
                job = _job(row)
                if self.release(job, crashed=True, crash_limit=crash_limit):
                    lost.append(job)
        return lost

    def cancel_asked(self, job: Job) -> bool | None:
        """Tells whether a running job is to stop; None when this attempt no longer owns it."""
        query = sa.select(_j.cancel_asked).where(_j.id == job.id, _j.state == "running", _j.attempt == job.attempt)
        with self.reader.connect() as connection:
            asked: bool | None = connection.execute(query).scalar()
        return asked

    # --- inside ---------------------------------------------------------------------------------------------------

    def _move(self, job: Job, *conditions: Any, **values: Any) -> bool:
        with self.engine.begin() as connection:
            return bool(connection.execute(_mine(job).where(*conditions).values(**values)).rowcount)

    def _one(self, *conditions: Any) -> Job | None:
        with self.reader.connect() as connection:
            row = connection.execute(sa.select(schema.jobs).where(*conditions)).mappings().first()
        return _job(row) if row else None

    def _must(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job is None:
            raise refuse("job", f"{job_id!r} is not known.", "Runs in the browser has the jobs there are.")
        return job


def open_store(home: Home) -> Store:
    """The store of a home folder; one a process, because connections do not survive a fork.

    It is opened anew when its file was removed or replaced: the connections would write into the old one.
    """
    place = home, os.getpid()
    store, file = _opened.get(place, (None, None))
    if store is None or _file(store) != file:
        fresh = Store(home)
        if store is not None:
            store.engine.dispose()  # not before: while it is open, no new file gets the number of the old one
        _opened[place] = fresh, _file(fresh)
        return fresh
    return store


def _file(store: Store) -> tuple[int, int] | None:
    """Which file a store is; None for a server's, and for a file that is gone."""
    url = store.engine.url
    if url.get_backend_name() != "sqlite":
        return None
    try:
        found = os.stat(str(url.database))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def health(home: Home) -> dict[str, Any]:
    """What `doctor` says about the store: which database, journal mode and why, integrity, free disk.

    Raises:
        Refusal: the database cannot be opened.
    """
    store = Store(home)
    dialect = store.engine.dialect.name
    facts: dict[str, Any] = {"database": store.engine.url.render_as_string(hide_password=True), "kind": dialect}
    with store.reader.connect() as connection:
        if dialect == "sqlite":
            facts["version"] = sqlite3.sqlite_version
            facts["journal_mode"] = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()).upper()
            facts["reason"] = schema.journal_mode()[1]
            try:
                facts["integrity"] = connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars().first()
            except sa.exc.DatabaseError as error:
                facts["integrity"] = str(error.orig)
        else:
            facts["version"] = ".".join(map(str, store.engine.dialect.server_version_info or ()))
            facts["journal_mode"], facts["reason"] = "server", "the database server looks after itself"
            facts["integrity"] = "ok"
    store.engine.dispose()
    facts["free_disk_gb"] = round(psutil.disk_usage(str(home.root)).free / 1e9, 1)
    return facts


def _mine(job: Job) -> sa.Update:
    """The update that only the attempt that holds a running job can make."""
    return sa.update(schema.jobs).where(_j.id == job.id, _j.state == "running", _j.attempt == job.attempt)


def _job(row: Any) -> Job:
    def moment(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    return Job(
        id=row["id"],
        kind=row["kind"],
        payload=json.loads(row["payload"]),
        state=row["state"],
        attempt=row["attempt"],
        title=row["title"],
        progress=Progress.model_validate_json(row["progress"]),
        result=None if row["result"] is None else json.loads(row["result"]),
        failure=None if row["failure"] is None else Failure.model_validate_json(row["failure"]),
        cancel_asked=row["cancel_asked"],
        created=datetime.fromtimestamp(row["created"], UTC),
        started=moment(row["started"]),
        ended=moment(row["ended"]),
    )
