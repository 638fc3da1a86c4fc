"""How the store's database is named, opened and refused: paths of every kind, and remedies that lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tltools.home import Home, open_home
from tltools.store import Store


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
