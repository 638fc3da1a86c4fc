"""What the store remembers beside jobs: settings, measured facts, sealed trials, test reads, bytes, workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from tltools import schema
from tltools.holders import Holder, boot_id
from tltools.home import Home
from tltools.records import Record, Trial

T = TypeVar("T")


class WorkerSeen(Record):
    """The last sign of life of a machine's worker."""

    holder: Holder
    quiet_seconds: float  # since that sign; infinite when the machine was restarted since
    since: float  # wall clock, seconds


class Ledgers:
    """Small tables around the jobs; `Store` is this and the jobs."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.engine = schema.open_engine(home)
        self.reader = schema.reading(self.engine)

    def clock(self) -> tuple[str, float]:
        """(which clock, seconds on it) for leases: this boot's monotonic clock, or the database server's own."""
        if self.engine.dialect.name == "sqlite":
            return boot_id(), time.monotonic()
        with self.reader.connect() as connection:
            return "server", float(connection.execute(sa.select(sa.func.extract("epoch", sa.func.now()))).scalar_one())

    # --- settings and measured facts ------------------------------------------------------------------------------

    def setting(self, key: str, default: Any = None) -> Any:
        with self.reader.connect() as connection:
            found = connection.execute(sa.select(schema.settings.c.value).where(schema.settings.c.key == key)).scalar()
        return default if found is None else json.loads(found)

    def set_setting(self, key: str, value: Any) -> None:
        self._put(schema.settings, {"key": key}, {"value": json.dumps(value)})

    def remember(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keeps a small fact about this installation: a measured rate, an estimate beside what it came to."""
        self._put(schema.memories, {"kind": kind, "key": key}, {"value": json.dumps(value), "updated": time.time()})

    def recall(self, kind: str, key: str) -> dict[str, Any] | None:
        m = schema.memories.c
        with self.reader.connect() as connection:
            found = connection.execute(sa.select(m.value).where(m.kind == kind, m.key == key)).scalar()
        return None if found is None else json.loads(found)

    def memories(self, kind: str) -> list[dict[str, Any]]:
        """All facts of a kind, oldest first, each with its key under "key"."""
        m = schema.memories.c
        with self.reader.connect() as connection:
            rows = connection.execute(sa.select(m.key, m.value).where(m.kind == kind).order_by(m.updated)).all()
        return [{"key": key, **json.loads(value)} for key, value in rows]

    # --- trials ---------------------------------------------------------------------------------------------------

    def trials(self, study: str) -> list[Trial]:
        """The trials that a study's own jobs sealed, in that order; it may use earlier studies' beside them."""
        t = schema.trials.c
        query = sa.select(t.record).where(t.study == study).order_by(t.sealed, t.trial)
        with self.reader.connect() as connection:
            return [Trial.model_validate_json(record) for record in connection.execute(query).scalars()]

    def trial_seconds(self, study: str) -> float:
        """Seconds that the trials took which a study's own jobs sealed."""
        t = schema.trials.c
        query = sa.select(sa.func.coalesce(sa.func.sum(t.seconds), 0.0)).where(t.study == study)
        with self.reader.connect() as connection:
            return float(connection.execute(query).scalar_one())

    def test_reads(self, dataset: str) -> int:
        """How often the test rows of a dataset were scored."""
        t = schema.test_reads.c
        with self.reader.connect() as connection:
            found = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(t.times), 0)).where(t.dataset == dataset))
            return int(found.scalar_one())

    # --- the network ----------------------------------------------------------------------------------------------

    def count_bytes(self, host: str, sent: int, received: int) -> None:
        """Adds to the network ledger."""
        n = schema.network
        more = {"sent": n.c.sent + sent, "received": n.c.received + received}
        self._put(n, {"host": host}, more, first={"sent": sent, "received": received})

    def network(self) -> list[dict[str, Any]]:
        """The network ledger: bytes by host; empty when nothing ever left this machine."""
        with self.reader.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(schema.network)).mappings()]

    # --- workers --------------------------------------------------------------------------------------------------

    def beat(self, holder: Holder) -> None:
        """A worker's sign of life."""
        clock, now = self.clock()
        said = {"holder": holder.model_dump_json(), "clock": clock, "seen": now}
        known = next((worker for worker in self.workers() if worker.holder == holder), None)
        since = known.since if known else time.time()
        self._put(schema.workers, {"host": holder.host}, {**said, "since": since})

    def workers(self) -> list[WorkerSeen]:
        """The workers that ever gave a sign of life, one a machine."""
        clock, now = self.clock()
        with self.reader.connect() as connection:
            rows = connection.execute(sa.select(schema.workers)).mappings().all()
        return [
            WorkerSeen(
                holder=Holder.model_validate_json(row["holder"]),
                quiet_seconds=max(0.0, now - row["seen"]) if row["clock"] == clock else float("inf"),
                since=row["since"],
            )
            for row in rows
        ]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _put(
        self,
        table: sa.Table,
        key: Mapping[str, Any],
        change: Mapping[str, Any],
        first: Mapping[str, Any] | None = None,
    ) -> None:
        """Updates a row, or inserts it (`first`, else `change`); whoever loses the race to insert updates."""
        self._tried_twice(lambda connection: put(connection, table, key, change, first))

    def _tried_twice(self, work: Callable[[sa.Connection], T]) -> T:
        """What a transaction returns; it is tried once more when another process inserted one of its rows first."""
        try:
            with self.engine.begin() as connection:
                return work(connection)
        except sa.exc.IntegrityError:
            with self.engine.begin() as connection:
                return work(connection)


def put(
    connection: sa.Connection,
    table: sa.Table,
    key: Mapping[str, Any],
    change: Mapping[str, Any],
    first: Mapping[str, Any] | None = None,
) -> None:
    """Updates a row, or inserts it (`first`, else `change`)."""
    same = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(sa.update(table).where(*same).values(**change)).rowcount:
        connection.execute(sa.insert(table).values(**key, **(change if first is None else first)))


def count_test_read(connection: sa.Connection, trial: Trial) -> None:
    """Counts that a trial's test rows were scored once more."""
    t = schema.test_reads
    put(connection, t, {"trial": trial.id}, {"times": t.c.times + 1}, first={"dataset": trial.dataset, "times": 1})
