"""How the store's database is named, opened and refused: paths of every kind, and remedies that lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tltools.home import open_home
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
