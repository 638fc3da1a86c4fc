"""Sealed folders: complete or not there, and a changed byte is noticed."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tltools import artifacts
from tltools.home import open_home, write_bytes

WRITER = """
import sys
from pathlib import Path
from tltools import artifacts
print("ready", flush=True)
with artifacts.building(Path(sys.argv[1])) as folder:
    for number in range(60):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 20_000)
"""


def make(final: Path, content: str = "rows") -> None:
    with artifacts.building(final) as folder:
        (folder / "media").mkdir()
        (folder / "media" / "a.txt").write_text("picture")
        (folder / "rows.txt").write_text(content)


def test_a_folder_is_sealed_once_it_is_there(tmp_path: Path) -> None:
    final = tmp_path / "things" / "one"
    assert not artifacts.sealed(final)
    with artifacts.building(final) as folder:
        (folder / "rows.txt").write_text("rows")
        assert not final.exists()
    assert artifacts.sealed(final)
    assert artifacts.verify(final) == []
    assert set(json.loads((final / "sealed.json").read_text())["files"]) == {"rows.txt"}


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), artifacts.building(tmp_path / "one") as folder:
        (folder / "rows.txt").write_text("rows")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_whoever_seals_first_wins(tmp_path: Path) -> None:
    final = tmp_path / "one"
    with artifacts.building(final) as folder:
        (folder / "rows.txt").write_text("second")
        make(final, "first")
    assert (final / "rows.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_many_builders_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    threads = [threading.Thread(target=make, args=(tmp_path / "one", str(number) * 1000)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert artifacts.verify(tmp_path / "one") == []


def test_an_unsealed_rest_in_the_place_is_replaced(tmp_path: Path) -> None:
    final = tmp_path / "one"
    final.mkdir()
    (final / "half.txt").write_text("half")
    make(final)
    assert artifacts.verify(final) == []
    assert not (final / "half.txt").exists()


@pytest.mark.parametrize("name", ["rows.txt", "media/a.txt", "sealed.json"])
@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_every_damage_is_noticed(tmp_path: Path, name: str, how: str) -> None:
    """T25 for sealed folders."""
    final = tmp_path / "one"
    make(final)
    path = final / name
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    problems = artifacts.verify(final)
    assert problems
    assert all(str(final) in problem.where and problem.remedy for problem in problems)


def test_a_builder_killed_at_any_moment_leaves_a_whole_folder_or_none(tmp_path: Path) -> None:
    rng = random.Random(7)
    for number in range(12):
        final = tmp_path / str(number)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(final)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.04))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not final.exists() or artifacts.verify(final) == []
    assert artifacts.sweep_leftovers(tmp_path) == 0, "young leftovers may belong to somebody who is building"
    artifacts.sweep_leftovers(tmp_path, older_than=-1)
    assert not list(tmp_path.glob(".*.part"))


def test_a_folder_put_aside_for_one_that_never_came_is_put_back(tmp_path: Path) -> None:
    aside, left = tmp_path / ".trial.v1.ab12cd34.part.old", tmp_path / ".other.ab12cd34.part.old"
    for folder in (aside, left, tmp_path / "other"):
        folder.mkdir()
    (aside / "card.json").write_text("{}")
    artifacts.sweep_leftovers(tmp_path)
    assert (tmp_path / "trial.v1" / "card.json").is_file() and not aside.exists() and not left.exists()


def test_what_is_old_is_swept(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "young").mkdir()
    os.utime(tmp_path / "old", (0, 0))
    assert artifacts.sweep_old(tmp_path, older_than=86_400.0) == 1 and (tmp_path / "young").is_dir()
    assert artifacts.sweep_old(tmp_path / "none", older_than=1.0) == 0


@pytest.mark.parametrize("call", ["fsync", "rename", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_fault_at_the_nth_call_leaves_no_torn_folder_and_a_retry_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    """T10 for sealed folders."""
    real, calls = getattr(os, call), 0

    def faulty(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.EIO, "input/output error")
        return real(*args, **named)

    final = tmp_path / "one"
    with monkeypatch.context() as patch:
        patch.setattr(os, call, faulty)
        try:
            make(final)
        except OSError as error:
            assert error.errno == errno.EIO
    assert not final.exists() or artifacts.verify(final) == []
    make(final)
    assert artifacts.verify(final) == []
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_full_disk_leaves_nothing_and_goes_on_once_there_is_space(small_disk: Path) -> None:
    """T11 for sealed folders."""
    with pytest.raises(OSError, match="No space left") as full, artifacts.building(small_disk / "one") as folder:
        (folder / "big.bin").write_bytes(b"0" * 20_000_000)
    assert full.value.errno == errno.ENOSPC
    assert list(small_disk.iterdir()) == []
    make(small_disk / "one")
    assert artifacts.verify(small_disk / "one") == []


def test_thousands_of_files_are_sealed_too(tmp_path: Path) -> None:
    with artifacts.building(tmp_path / "many") as folder:
        for number in range(700):
            (folder / f"{number}.txt").write_text(str(number))
    assert artifacts.verify(tmp_path / "many") == []


def test_folders_that_are_built_together_are_all_sealed_or_none_is(tmp_path: Path) -> None:
    finals = [tmp_path / name for name in ("one", "two")]
    with artifacts.building_all(finals) as folders:
        for folder in folders:
            (folder / "rows.txt").write_text(folder.name)
    assert all(artifacts.verify(final) == [] for final in finals)
    with pytest.raises(ZeroDivisionError), artifacts.building_all([tmp_path / "three", tmp_path / "four"]) as folders:
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes, and other pipes")
def test_a_file_has_the_mode_of_the_one_before_or_of_any_new_one(tmp_path: Path) -> None:
    path, before = tmp_path / "report.html", os.umask(0o027)
    try:
        write_bytes(path, b"new")
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        write_bytes(path, b"newer")
        assert path.stat().st_mode & 0o777 == 0o604 and path.read_bytes() == b"newer"
        assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes, and other pipes")
def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(tmp_path / "pipe", b"report")
        assert (tmp_path / "pipe").is_fifo() and os.read(reader, 9) == b"report"
    finally:
        os.close(reader)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes, and other pipes")
def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    assert open_home(tmp_path / "home").root.stat().st_mode & 0o777 == 0o700
    (tmp_path / "home").chmod(0o750)
    assert open_home(tmp_path / "home").root.stat().st_mode & 0o777 == 0o750, "what somebody set is kept"
