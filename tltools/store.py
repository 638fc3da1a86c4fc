"""The store: what is asked for, what runs, what came of it. Every move of a job is one conditional UPDATE."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any, Literal

import psutil
import sqlalchemy as sa

from tltools import schema
from tltools.holders import Holder, boot_id
from tltools.home import Home
from tltools.records import Failure, Job, JobState, Progress, refuse

Lane = Literal["quick", "long"]
LANES: dict[str, Lane] = {
    "ingest": "quick",
    "predict": "quick",
    "explain": "quick",
    "export": "quick",
    "study": "long",
    "rank": "long",
}
CRASH_LIMIT = 3
CRASHED = Failure(
    type="crashed",
    what=f"The job's process died {CRASH_LIMIT} times.",
    remedy="If memory is short, use a smaller source model, fewer rows or a smaller batch.",
)
_j = schema.jobs.c


class Store:
    """One database. Writes about a running job carry its attempt: a process that slept through its lease is refused."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.engine = schema.open_engine(home)

    # --- asking ---------------------------------------------------------------------------------------------------

    def submit(self, kind: str, payload: dict[str, Any], *, title: str, key: str) -> Job:
        """Queues a job, or returns the live one that has the same key (a double click makes no second job)."""
        if kind not in LANES:
            raise refuse("kind", f"must be one of {', '.join(LANES)}; got {kind!r}.", "Name one of them.")
        row: dict[str, Any] = {
            "id": uuid.uuid4().hex[:16],
            "kind": kind,
            "lane": LANES[kind],
            "key": f"{kind}:{key}",
            "title": title,
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
                if live is not None:
                    return live  # when it ended in between, the next round inserts

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop; a queued one is cancelled at once. Cancelling twice or after the end changes nothing."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(schema.jobs)
                .where(_j.id == job_id, _j.state == "queued")
                .values(state="cancelled", ended=time.time(), cancel_asked=True)
            )
            connection.execute(
                sa.update(schema.jobs).where(_j.id == job_id, _j.state == "running").values(cancel_asked=True)
            )
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
        with self.engine.connect() as connection:
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

    def release(self, job: Job, *, crashed: bool) -> JobState:
        """running -> queued after an interruption; -> failed at the crash limit; -> cancelled when that was asked."""
        now = time.time()
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(schema.jobs).where(_j.id == job.id)).mappings().one()
            crashes = row["crashes"] + int(crashed)
            if row["cancel_asked"]:
                change: dict[str, Any] = {"state": "cancelled", "ended": now}
            elif crashes >= CRASH_LIMIT:
                change = {"state": "failed", "ended": now, "failure": CRASHED.model_dump_json()}
            else:
                change = {"state": "queued"}
            moved = connection.execute(
                sa.update(schema.jobs)
                .where(_j.id == job.id, _j.state == "running", _j.attempt == job.attempt)
                .values(crashes=crashes, holder=None, lease_until=None, **change)
            )
        state: JobState = change["state"] if moved.rowcount else row["state"]
        return state

    def reclaim(self) -> list[Job]:
        """Releases every running job whose lease ran out or whose holder is provably dead; returns them."""
        clock, now = self.clock()
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(schema.jobs).where(_j.state == "running")).mappings().all()
        lost = []
        for row in rows:
            holder = Holder.model_validate_json(row["holder"])
            foreign_clock = row["lease_clock"] != clock
            if foreign_clock or row["lease_until"] < now or holder.provably_dead():
                job = _job(row)
                self.release(job, crashed=True)
                lost.append(job)
        return lost

    def cancel_asked(self, job: Job) -> bool | None:
        """Tells whether a running job is to stop; None when this attempt no longer owns it."""
        query = sa.select(_j.cancel_asked).where(_j.id == job.id, _j.state == "running", _j.attempt == job.attempt)
        with self.engine.connect() as connection:
            asked: bool | None = connection.execute(query).scalar()
        return asked

    def clock(self) -> tuple[str, float]:
        """(which clock, seconds on it) for leases: this boot's monotonic clock, or the database server's own."""
        if self.engine.dialect.name == "sqlite":
            return boot_id(), time.monotonic()
        with self.engine.connect() as connection:
            return "server", float(connection.execute(sa.select(sa.func.extract("epoch", sa.func.now()))).scalar_one())

    # --- small facts ----------------------------------------------------------------------------------------------

    def count_test_read(self, dataset: str, trial: str) -> None:
        """Counts that a trial's test rows were scored once more."""
        t = schema.test_reads
        with self.engine.begin() as connection:
            moved = connection.execute(sa.update(t).where(t.c.trial == trial).values(times=t.c.times + 1))
            if not moved.rowcount:
                connection.execute(sa.insert(t).values(trial=trial, dataset=dataset, times=1))

    def test_reads(self, dataset: str) -> int:
        """How often the test rows of a dataset were scored."""
        t = schema.test_reads
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(t.c.times), 0)).where(t.c.dataset == dataset)
            )
            return int(found.scalar_one())

    def setting(self, key: str, default: Any = None) -> Any:
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(schema.settings.c.value).where(schema.settings.c.key == key)).scalar()
        return default if found is None else json.loads(found)

    def set_setting(self, key: str, value: Any) -> None:
        self._put(schema.settings, {"key": key}, {"value": json.dumps(value)})

    def remember(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keeps a small fact about this installation: a measured rate, an estimate beside what it came to."""
        self._put(schema.memories, {"kind": kind, "key": key}, {"value": json.dumps(value), "updated": time.time()})

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        m = schema.memories.c
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(m.value).where(m.kind == kind, m.key == key)).scalar()
        return None if found is None else json.loads(found)

    def memories(self, kind: str) -> list[dict[str, Any]]:
        """All facts of a kind, oldest first, each with its key under "key"."""
        m = schema.memories.c
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(m.key, m.value).where(m.kind == kind).order_by(m.updated)).all()
        return [{"key": key, **json.loads(value)} for key, value in rows]

    def count_bytes(self, host: str, sent: int, received: int) -> None:
        """Adds to the network ledger."""
        n = schema.network
        with self.engine.begin() as connection:
            moved = connection.execute(
                sa.update(n).where(n.c.host == host).values(sent=n.c.sent + sent, received=n.c.received + received)
            )
            if not moved.rowcount:
                connection.execute(sa.insert(n).values(host=host, sent=sent, received=received))

    def network(self) -> list[dict[str, Any]]:
        """The network ledger: bytes by host; empty when nothing ever left this machine."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(schema.network)).mappings()]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _move(self, job: Job, *conditions: Any, **values: Any) -> bool:
        mine = (_j.id == job.id, _j.state == "running", _j.attempt == job.attempt, *conditions)
        with self.engine.begin() as connection:
            return bool(connection.execute(sa.update(schema.jobs).where(*mine).values(**values)).rowcount)

    def _put(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            same = [table.c[name] == value for name, value in key.items()]
            if not connection.execute(sa.update(table).where(*same).values(**values)).rowcount:
                connection.execute(sa.insert(table).values(**key, **values))

    def _one(self, *conditions: Any) -> Job | None:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(schema.jobs).where(*conditions)).mappings().first()
        return _job(row) if row else None

    def _must(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job is None:
            raise refuse("job", f"{job_id!r} is not known.", "Look at `python -m tltools` runs for the ids.")
        return job


def open_store(home: Home) -> Store:
    """Opens the store of a home folder."""
    return Store(home)


def health(home: Home) -> dict[str, Any]:
    """What `doctor` says about the store: where, which database, journal mode and why, integrity."""
    store = open_store(home)
    dialect = store.engine.dialect.name
    facts: dict[str, Any] = {"database": store.engine.url.render_as_string(hide_password=True), "kind": dialect}
    if dialect == "sqlite":
        with store.engine.connect() as connection:
            facts["integrity"] = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()
            facts["journal_mode"] = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        facts["reason"] = schema.journal_mode()[1]
    facts["free_disk_gb"] = round(psutil.disk_usage(str(home.root)).free / 1e9, 1)
    return facts


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
