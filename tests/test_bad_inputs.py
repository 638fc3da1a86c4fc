"""Deliberately bad inputs: each gives a sentence with file, place and remedy, and what is stored stays as it is.

Run alone: python -m pytest tests/test_bad_inputs.py
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.bad_files import BAD, GOOD, file
from tltools import artifacts, cli, datasets
from tltools.home import Home, open_home
from tltools.records import Refusal


def _tree(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, drafts left out: they are scratch."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "drafts" not in path.parts
    }


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which one good dataset is stored already."""
    folder = tmp_path_factory.mktemp("stored")
    home = open_home(folder / "home")
    datasets.add(home, file("good.csv", GOOD)(folder))
    return home


def _choices(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    choices = dict(given)
    if isinstance(choices.get("test"), tuple):
        choices["test"] = file(*choices["test"])(folder)
    elif "test" in choices:
        choices["test"] = folder / choices["test"]
    return choices


def test_there_are_at_least_fifty() -> None:
    assert len(BAD) >= 50


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_refused_in_a_sentence_and_harms_nothing(name: str, stored: Home, tmp_path: Path) -> None:
    bad = BAD[name]
    path = bad.make(tmp_path)
    choices = _choices(tmp_path, bad.choices)
    before, outside = _tree(stored.root), sorted(os.listdir(tmp_path))
    started = time.monotonic()
    with pytest.raises(Refusal) as caught:
        datasets.add(stored, path, **choices)
    assert time.monotonic() - started < 10
    said = str(caught.value)
    names = {path.name, Path(choices["test"]).name if "test" in choices else path.name}
    for problem in caught.value.problems:
        assert problem.where and problem.what and problem.remedy, problem
        assert problem.severity == "error"
    assert any(one in said for one in names), said
    for word in bad.words:
        assert word.lower() in said.lower(), said
    assert _tree(stored.root) == before
    assert sorted(os.listdir(tmp_path)) == outside
    assert not list(stored.datasets.glob(".*"))
    assert not list((stored.root / "drafts").glob(".*"))


@pytest.mark.parametrize("name", BAD)
def test_the_terminal_refuses_it_with_exit_code_2_in_words_and_in_json(
    name: str, stored: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLTOOLS_HOME", str(stored.root))
    bad = BAD[name]
    words = ["add", str(bad.make(tmp_path)), "--json"]
    for option, value in _choices(tmp_path, bad.choices).items():
        words += [f"--{option}", ",".join(value) if option == "inputs" else str(value)]
    before = _tree(stored.root)
    assert cli.main(words) == 2
    told = capsys.readouterr()
    problems = json.loads(told.out)["problems"]
    assert problems and all(problem["where"] and problem["what"] and problem["remedy"] for problem in problems)
    assert len(told.err.splitlines()) == len(problems) and "Traceback" not in told.err
    assert {path: tag for path, tag in _tree(stored.root).items() if "store.db" not in path} == before


def test_a_name_that_is_not_utf_8_is_shown_as_far_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLTOOLS_HOME", str(tmp_path / "home"))
    name, home = os.fsdecode(b"Geb\xfchren.csv"), open_home(tmp_path / "home")
    given = file(name, GOOD)(tmp_path)
    assert cli.main(["add", str(given)]) == 0 and "Geb�hren" in capfd.readouterr().out
    (stored,) = datasets.listing(home)
    assert (stored.name, stored.origin) == ("Geb�hren", "Geb�hren.csv")
    assert datasets.rows(home, stored.id, "_where")["_where"].str.startswith("Geb�hren.csv, ").all()
    table, *_ = datasets.read_like(home, stored, given)
    assert len(table) == 30
    assert cli.main(["add", str(file(name, "")(tmp_path)), "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["problems"][0]["where"] == "Geb�hren.csv"
    assert cli.main(["add", os.fsdecode(b"/none/\xfc.csv"), "--json"]) == 2


def test_pictures_in_folders_whose_names_are_not_utf_8_are_read(tmp_path: Path) -> None:
    for label, grey in ((os.fsdecode(b"gr\xfcn"), 60), ("rot", 200)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (9, 9), grey + number).save(tmp_path / "set" / label / f"{number}.png")
    twin = Path(os.fsdecode(bytes(tmp_path / "set") + b"/gr\xfen"))
    twin.mkdir()
    Image.new("L", (9, 9), 9).save(twin / "3.png")
    home = open_home(tmp_path / "home")
    stored = datasets.add(home, tmp_path / "set")
    assert stored.classes == ("gr�n", "rot") and stored.rows == 24
    (left,) = datasets.profile(home, stored.id).skipped
    assert left.where == "gr�n/3.png" and "UTF-8" in left.reason


def test_after_all_of_them_the_stored_dataset_is_whole(stored: Home, tmp_path: Path) -> None:
    for bad in list(BAD.values())[::7]:
        with pytest.raises(Refusal):
            datasets.add(stored, bad.make(tmp_path), **_choices(tmp_path, bad.choices))
    (kept,) = datasets.listing(stored)
    assert artifacts.verify(stored.datasets / kept.id) == []
    assert len(datasets.rows(stored, kept.id)) == 30
