"""How the store's database is named, opened and refused: paths of every kind, and remedies that lose nothing."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tltools import schema
from tltools.home import Home, open_home
from tltools.records import Refusal
from tltools.store import Store, open_store


@pytest.mark.parametrize("name", ["what?now", "b%20c", "x#y", "ü é + &"])
def test_the_store_lies_in_its_home_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TLTOOLS_HOME", str(tmp_path / name))
    monkeypatch.delenv("TLTOOLS_DATABASE_URL", raising=False)
    Store(open_home()).set_setting("theme", "dark")
    assert (tmp_path / name / "store.db").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_sqlite_url_means_the_same_file_in_every_folder(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", "sqlite:///my%20own.db?timeout=5")
    opened = open_home()
    monkeypatch.chdir(home.root)
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", opened.database_url)  # as the worker is handed it
    assert open_home() == opened
    Store(opened).set_setting("theme", "dark")
    assert (tmp_path / "my own.db").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql+pg8000://u:p@h/name", "no url at all"])
def test_a_url_without_a_relative_path_stays_as_it_is(home: Home, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", url)
    assert open_home().database_url == url


def test_a_newer_store_is_refused(home: Home) -> None:
    Store(home).engine.dispose()
    with sqlite3.connect(home.root / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(Refusal, match="newer tltools"):
        Store(home)


def test_the_newest_jobs_of_many_are_found_by_an_index_also_in_an_older_store(home: Home) -> None:
    first = Store(home)
    with first.engine.begin() as connection:  # as the first version had it
        for name in ("by_time", "by_kind"):
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("PRAGMA user_version = 1")
    first.engine.dispose()
    plans: list[str] = []
    again = Store(home)

    @sa.event.listens_for(again.engine, "before_cursor_execute")
    def explain(connection: sa.Connection, cursor: sqlite3.Cursor, statement: str, given: Any, *_: Any) -> None:
        if statement.startswith("SELECT jobs"):
            plans.extend(str(row[3]) for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given).fetchall())

    again.jobs()
    again.jobs(kinds=("study",), limit=200)
    assert len(plans) == 2 and "by_time" in plans[0] and "by_kind" in plans[1], "neither reads nor sorts every job"


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(home: Home) -> None:
    (home.root / "store.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Refusal, match="cannot be opened as a database.*a new one is made"):
        Store(home)
    assert (home.root / "store.db").read_bytes().startswith(b"this is no database")


def test_a_store_whose_home_was_made_again_is_opened_again(home: Home) -> None:
    first = open_store(home)
    first.set_setting("theme", "dark")
    assert open_store(home) is first
    shutil.rmtree(home.root)
    second = open_store(open_home())
    assert second.setting("theme") is None
    second.set_setting("theme", "light")
    assert open_store(home) is second
    (home.root / "store.db").rename(home.root / "old.db")
    Store(home).set_setting("theme", "blue")  # by another process
    assert open_store(home).setting("theme") == "blue"


def test_a_store_on_a_server_is_opened_once(home: Home, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", postgresql_url)
    assert open_store(open_home()) is open_store(open_home())


@pytest.mark.parametrize("url", ["postgresql+nothing://x/y", "no url at all", "postgresql+pg8000://u:p@127.0.0.1:1/x"])
def test_a_bad_database_url_is_refused_in_a_sentence_without_its_password(home: Home, url: str) -> None:
    with pytest.raises(Refusal) as refused:
        Store(Home(root=home.root, database_url=url, offline=True, hub=""))
    assert "TLTOOLS_DATABASE_URL" in str(refused.value)
    assert ":p@" not in str(refused.value)


@pytest.mark.parametrize(
    ("what", "words"),
    [("full", "Make room on its disk"), ("locked", "Another program holds it"), ("readonly", "may write to it")],
)
def test_a_sound_file_that_cannot_be_opened_now_is_not_to_be_moved_away(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    path = tmp_path / "x.db"
    mode = "ro" if what == "readonly" else "rwc"
    with contextlib.closing(sqlite3.connect(path)) as other:
        if what == "locked":
            other.execute("BEGIN EXCLUSIVE")
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=0)) as connection:
            if what == "full":
                connection.execute("PRAGMA max_page_count = 1")
            with pytest.raises(sqlite3.OperationalError, match=what) as told:
                connection.execute("CREATE TABLE x (y)")

    def fail(_: sa.URL) -> None:
        raise sa.exc.OperationalError("CREATE TABLE", {}, told.value)

    monkeypatch.setattr(schema, "_open_sqlite", fail)
    with pytest.raises(Refusal, match=words) as refused:
        Store(home)
    assert "move it away" not in str(refused.value)
