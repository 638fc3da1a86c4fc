"""The store's tables, and how a database is opened: journal mode by SQLite version, explicit transactions."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa

from tltools.home import Home
from tltools.records import refuse

VERSION = 2  # of the tables; a newer file is refused, an older one is migrated

_SPACE = "Make room on its disk and try again; what is stored is kept."
_WAIT = "Another program holds it: wait until that is done, or end it; then try again. What is stored is kept."
_RIGHTS = "See that you may write to it and to its folder, and that the folder exists; what is stored is kept."
_DAMAGED = "Restore it from a backup or move it away: a new one is made."
_REMEDIES = {  # by SQLite's primary error code: a sound file must not be moved away
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: _SPACE,  # as a full disk is told, too, while the journal is written
    sqlite3.SQLITE_BUSY: _WAIT,
    sqlite3.SQLITE_LOCKED: _WAIT,
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: _RIGHTS,
}

tables = sa.MetaData()

jobs = sa.Table(
    "jobs",
    tables,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("lane", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),  # idempotency: unique among live jobs
    sa.Column("title", sa.String, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),  # grows with every claim; the fencing token
    sa.Column("crashes", sa.Integer, nullable=False, default=0),  # abnormal ends, counted apart from attempts
    sa.Column("cancel_asked", sa.Boolean, nullable=False, default=False),
    sa.Column("holder", sa.Text),  # JSON of Holder: the worker
    sa.Column("process", sa.Text),  # JSON of Holder: the job process, leader of its own group
    sa.Column("lease_clock", sa.String),  # whose clock `lease_until` is read on
    sa.Column("lease_until", sa.Float),  # seconds on that clock
    sa.Column("progress", sa.Text, nullable=False, default="{}"),
    sa.Column("result", sa.Text),
    sa.Column("failure", sa.Text),
    sa.Column("created", sa.Float, nullable=False),  # wall clock, for people and for the order of the queue
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.Index(
        "one_live_job_a_key",
        "key",
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    ),
    sa.Index("by_state", "state", "lane", "created"),
    sa.Index("by_time", "created"),  # the newest of many thousand jobs are found without reading them all
    sa.Index("by_kind", "kind", "created"),
)
trials = sa.Table(  # what the jobs of a study sealed themselves; the folders hold the numbers
    "trials",
    tables,
    sa.Column("study", sa.String, primary_key=True),
    sa.Column("trial", sa.String, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),  # JSON of Trial
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("sealed", sa.Float, nullable=False),  # wall clock
)
workers = sa.Table(  # one row a machine: who works there, last heard of when
    "workers",
    tables,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("clock", sa.String, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),  # seconds on that clock
    sa.Column("since", sa.Float, nullable=False),  # wall clock
)
test_reads = sa.Table(
    "test_reads",
    tables,
    sa.Column("trial", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False, index=True),
    sa.Column("times", sa.Integer, nullable=False),
)
settings = sa.Table(
    "settings", tables, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.Text, nullable=False)
)
memories = sa.Table(
    "memories",
    tables,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
)
network = sa.Table(
    "network",
    tables,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
)


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> tuple[str, str]:
    """Which journal mode is safe with a linked SQLite, and why (sqlite.org/wal.html#walresetbug)."""
    name = ".".join(map(str, version))
    fixed = (
        (version >= (3, 51, 3) and version[:2] != (3, 52))
        or (version[:2] == (3, 50) and version >= (3, 50, 7))
        or (version[:2] == (3, 44) and version >= (3, 44, 6))
    )
    if fixed:
        return "WAL", f"SQLite {name} has the WAL-reset fix"
    return "DELETE", f"SQLite {name} may corrupt a WAL file when two connections checkpoint at once"


def open_engine(home: Home) -> sa.Engine:
    """Opens the store's database and makes its tables.

    Connections begin their transactions with a write lock, except those of `reading(engine)`.

    Raises:
        Refusal: the database was written by a newer tltools, or cannot be opened.
    """
    place = "TLTOOLS_DATABASE_URL"
    try:
        url = sa.make_url(home.database_url)
        place = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite":
            return _open_sqlite(url)
        engine = sa.create_engine(url, pool_pre_ping=True)
        with engine.begin() as connection:  # two workers may start at once: one of them makes the tables
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7305811)"))
            _make(connection)
        return engine
    except sa.exc.DBAPIError as error:
        raise refuse(
            place,
            f"cannot be opened as a database ({error.orig}).",
            _remedy(error.orig),
        ) from error
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise refuse(
            "TLTOOLS_DATABASE_URL",
            f"must be a database URL whose driver is installed; {error}.",
            "Unset it for SQLite, or `pip install pg8000` and write postgresql+pg8000://user:password@host/name.",
        ) from error


def _make(connection: sa.Connection) -> None:
    """Makes the tables and indexes that are missing: two processes may both come here."""
    tables.create_all(connection)
    for index in jobs.indexes:  # `create_all` passes over a table that is there, with its indexes
        index.create(connection, checkfirst=True)


def _remedy(error: BaseException | None) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "Check that the database server runs and what TLTOOLS_DATABASE_URL says."
    return _REMEDIES.get(code & 0xFF, _DAMAGED)  # above the lowest byte it says how, not what


def reading(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read: they take no write lock."""
    return engine.execution_options(tltools_reading=True)


def _open_sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": 30})
    mode, _ = journal_mode()

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun by us: see on_begin
        for pragma in (f"journal_mode = {mode}", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 30000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        # the driver begins nothing before the first write, which loses updates of read-then-write transactions
        only_reads = connection.get_execution_options().get("tltools_reading", False)
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

    with reading(engine).connect() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > VERSION:
        raise refuse(
            str(url.database),
            f"was written by a newer tltools (tables {found}; this one knows {VERSION}).",
            "Update tltools, or set TLTOOLS_HOME to another folder.",
        )
    if found < VERSION:
        with engine.begin() as connection:
            _make(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    return engine
