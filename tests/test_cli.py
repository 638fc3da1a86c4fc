"""The command line: every verb, exit codes 0, 1 and 2, and one JSON document on stdout.

Commands run in forks of a process that has the libraries, those of tests marked `own_process` as users start them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import sqlalchemy.exc
import yaml

from tests import scripts, sealed_trials
from tests.bad_files import BAD
from tests.sealed_trials import Sealed
from tltools import cli, commands, studies
from tltools.holders import this_process
from tltools.home import Home, open_home
from tltools.records import Refusal
from tltools.store import Store

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240  # for one command; a job waits for the worker to come up


def started(words: tuple[str, ...], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "tltools", *words], capture_output=True, text=True, timeout=SECONDS, env=environment,
        cwd=folder, check=False,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quick_commands(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("own_process") is None:
        monkeypatch.setattr(sys.modules[__name__], "started", scripts.command)


def run(home: Home, *words: str, code: int = 0) -> tuple[str, str]:
    """Runs `python -m tltools ...`, checks its exit code, and returns (stdout, stderr)."""
    environment = {**os.environ, "TLTOOLS_HOME": str(home.root), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("TLTOOLS_DATABASE_URL", None)
    done = started(words, environment, home.root)
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def as_json(home: Home, *words: str, code: int = 0) -> Any:
    """The one JSON document that a command prints with --json."""
    out, _ = run(home, *words, "--json", code=code)

    def no_number(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(out, parse_constant=no_number)


@pytest.fixture(scope="module")
def home(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A copy of the home with sealed trials; its worker is ended with it."""
    root = tmp_path_factory.mktemp("cli") / "home"
    shutil.copytree(sealed.home.root, root)
    made = open_home(root)
    yield made
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("TLTOOLS_HOME") == str(root):
                process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def test_add_stores_once_and_lists_what_it_found(home: Home, folder: Path) -> None:
    file = sealed_trials.texts(folder)
    first = as_json(home, "add", str(file), "--target", "sentiment", "--inputs", "text", "--name", "Notes")
    again = as_json(home, "add", str(file), "--target", "sentiment", "--inputs", " text", "--name", "Notes")
    assert first["id"] == again["id"] and first["rows"] == 60 and first["task"] == "classification"
    assert first["profile"]["problems"] is not None
    out, _ = run(home, "add", str(file), "--target", "sentiment", "--inputs", "text")
    assert first["id"] in out


@pytest.mark.parametrize("name", ("empty file", "one class folder", "zip in zip", "path traversal", "unknown kind"))
def test_bad_input_is_exit_code_2_with_file_and_remedy(home: Home, tmp_path: Path, name: str) -> None:
    bad = BAD[name]
    path, words = bad.make(tmp_path), [f"--{key}={value}" for key, value in bad.choices.items() if key != "inputs"]
    (problem, *_) = as_json(home, "add", str(path), *words, code=2)["problems"]
    assert problem["severity"] == "error" and problem["where"] and problem["what"] and problem["remedy"]
    out, said = run(home, "add", str(path), *words, code=2)
    assert out == "" and any(word.lower() in said.lower() for word in bad.words)


@pytest.mark.own_process
def test_an_unknown_verb_is_exit_code_2(home: Home) -> None:
    _, said = run(home, "fly", code=2)
    assert "fly" in said


def test_wrong_arguments_are_exit_code_2(home: Home) -> None:
    assert as_json(home, "predict", "abc", code=2)["problems"][0]["where"] == "command line"
    run(home, code=2)
    out, _ = run(home, "--help")
    for verb in ("doctor", "demo", "add", "sources", "plan", "run", "report", "predict", "explain", "export", "worker"):
        assert verb in out


@pytest.mark.parametrize("named", ["file", "file/below", "~nobody-here/home"])
def test_a_home_that_cannot_be_made_is_refused(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLTOOLS_HOME", named if named.startswith("~") else str(tmp_path / named))
    assert cli.main(["sources"]) == 2
    assert "Set TLTOOLS_HOME to a folder that you may write." in capsys.readouterr().err


def test_a_home_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anywhere, so it is only said
    with pytest.raises(Refusal, match="a folder that you may write"):
        open_home(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full. Free some space"),
        (sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database or disk is full")), "The disk is full."),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b.html"), "/a/b.html cannot be used: Permission"),
        (sqlalchemy.exc.OperationalError("SELECT", {}, Exception("unable to open database file")), "unable to open"),
    ],
)
def test_a_full_disk_and_a_broken_store_are_told_in_a_sentence(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setenv("TLTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr(commands, "doctor", fails)
    assert cli.main(["doctor", "--json"]) == 1
    told = capsys.readouterr()
    assert words in told.err and "Traceback" not in told.err
    failure = json.loads(told.out)["failure"]
    assert words in f"{failure['what']} {failure['remedy']}"
    assert cli.main(["doctor"]) == 1 and capsys.readouterr().out == ""


def test_ctrl_c_is_told_in_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("TLTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr(commands, "doctor", stopped)
    assert cli.main(["doctor", "--json"]) == 1
    told = capsys.readouterr()
    assert "Stopped" in told.err and json.loads(told.out)["failure"]["type"] == "cancelled"


def test_json_may_be_asked_for_before_the_inner_verb_or_after_it() -> None:
    for words in (["sources", "--json", "rank", "x"], ["sources", "rank", "x", "--json"]):
        assert cli.parser().parse_args(words).json is True


def test_sources_are_listed_and_judged_for_a_dataset(home: Home, sealed: Sealed) -> None:
    listed = {one["id"]: one for one in as_json(home, "sources")["sources"]}
    assert listed["bundled/minilm-l6"]["installed"] and f"own/{sealed.id('image/full_finetune')}" in listed
    for_texts = as_json(home, "sources", "--dataset", sealed.trials["text/linear_probe"].dataset)["sources"]
    cells = {one["id"]: one for one in for_texts}
    assert cells["bundled/minilm-l6"]["fits"] is True and cells["bundled/tiny-resnet"]["fits"] is False
    assert cells["bundled/tiny-resnet"]["why"]
    assert as_json(home, "sources", "--dataset", "0" * 16, code=2)["problems"]
    run(home, "sources")


def test_sources_add_refuses_pickle(home: Home, folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"\x80\x04" + b"\0" * 50)
    words = ("sources", "add", str(folder / "model.pt"), "--architecture", "timm/test_resnet", "--name", "mine")
    said = as_json(home, *words, code=2)["problems"][0]
    assert "pickle" in (said["what"] + said["remedy"]) and "safetensors" in said["remedy"] + said["what"]
    assert said["where"] == "model.pt", "by the name that its owner gave it"
    assert "three numbers" in run(home, *words, "--mean", "1,2", code=2)[1]


def test_plan_tells_trials_time_and_problems(home: Home, folder: Path) -> None:
    sealed_trials.cells(folder)
    study = _study(folder, "plan.yaml", strategies=["full_finetune"], fractions=[0.5, 1.0])
    found = as_json(home, "plan", str(study))
    assert found["estimate"]["trials"] == len(found["trials"]) == 8
    assert found["estimate"]["seconds_low"] <= found["estimate"]["seconds"] <= found["estimate"]["seconds_high"]
    assert any("guess" in sentence for sentence in found["estimate"]["sentences"])
    measured = as_json(home, "plan", str(study), "--measure")["estimate"]
    assert not any("guess" in sentence for sentence in measured["sentences"])
    assert 0 < measured["seconds"] != found["estimate"]["seconds"]
    wrong = _study(folder, "wrong.yaml", strategies=["full_finetun"], epochs=3, draws=1)
    said = " ".join(one["where"] + one["remedy"] for one in as_json(home, "plan", str(wrong), code=2)["problems"])
    assert "full_finetune" in said and "epochs" in said
    assert as_json(home, "plan", str(folder / "none.yaml"), code=2)["problems"]


def test_what_was_inferred_of_a_path_in_a_study_file_is_shown(home: Home, folder: Path) -> None:
    file = sealed_trials.cells(folder)
    study = _study(folder, "inferred.yaml", strategies=["full_finetune"], dataset=str(file), test=str(file))
    _, told = run(home, "plan", str(study), "--json")
    assert "Cut at each comma" in told and "repeats cells.csv, line 2" in told


def test_run_then_report(home: Home, folder: Path) -> None:
    sealed_trials.cells(folder)
    study = _study(folder, "run.yaml", strategies=[{"full_finetune": sealed_trials.SHORT}], fractions=[1.0])
    found = as_json(home, "run", str(study))
    assert found["verdicts"] and found["metric"] == "balanced_accuracy" and found["headline"]
    told = as_json(home, "report", found["study"])
    assert told["arms"] == found["arms"] and len(told["arms"]) == 2
    out, _ = run(home, "report", found["study"], "--html", str(folder / "report.html"))
    assert found["study"] in out and found["headline"] in out
    (row,) = found["verdicts"]
    assert f"{row['n_train']:,} labels" in out and f"{abs(100 * row['gain']):.1f} points (95 % interval" in out
    assert (folder / "report.html").read_text().startswith("<!doctype html")
    assert as_json(home, "report", "0" * 16, code=2)["problems"]
    again = as_json(home, "run", str(study))
    assert again["arms"] == found["arms"], "what is sealed is not run again"


def test_run_again_while_the_cancelled_one_is_stopping_says_so(folder: Path, tmp_path: Path) -> None:
    sealed_trials.cells(folder)
    path, fresh = _study(folder, "again.yaml", strategies=["full_finetune"]), open_home(tmp_path / "home")
    store, study = Store(fresh), studies.settle(fresh, studies.parse(path), folder)
    studies.submit(fresh, store, study)
    job = store.claim(this_process(), "long", 600.0)
    assert job is not None
    store.cancel(job.id)
    _, said = run(fresh, "run", str(path), code=2)
    assert "is still stopping. Try again in a moment." in said


def test_predict_writes_a_file(home: Home, sealed: Sealed, folder: Path) -> None:
    file = sealed_trials.texts(folder)
    trial, out = sealed.id("text/classical"), folder / "out.csv"
    found = as_json(home, "predict", trial, str(file), "--out", str(out))
    assert found["rows"] == 60 and len(pd.read_csv(out)) == 60
    assert as_json(home, "predict", trial, str(folder / "gone.csv"), "--out", str(out), code=2)["problems"]
    assert as_json(home, "predict", "0" * 16, str(file), "--out", str(out), code=2)["problems"]
    (folder / "other.csv").write_text("a,b\n1,2\n3,4\n")
    _, said = run(home, "predict", trial, str(folder / "other.csv"), "--out", str(out), code=2)
    assert "text" in said and "missing" in said


def test_explain_says_what_counted(home: Home, sealed: Sealed) -> None:
    trial = sealed.id("text/linear_probe")
    found = as_json(home, "explain", trial, "--how", "gradients", "--item", "A fine film", "--item", "Dull")
    assert found["how"] == "gradients" and [word for word, _ in found["rows"][0]["words"]] == ["A", "fine", "film"]
    out, _ = run(home, "explain", sealed.id("table/classical"), "--row", "3")
    told = out.splitlines()
    assert told[0].endswith("  weight") and "row 3: " in out and any("weight = " in line for line in told)
    out, _ = run(home, "explain", trial, "--what", "nearest", "--row", "3")
    assert out.startswith("row 3: ") and len(out.splitlines()) == 6
    refused = as_json(home, "explain", sealed.id("text/classical"), "--how", "gradients", code=2)["problems"]
    assert "must be a network" in refused[0]["what"]


def test_export_makes_a_folder_that_runs(home: Home, sealed: Sealed, folder: Path) -> None:
    to = folder / "model"
    found = as_json(home, "export", sealed.id("table/full_finetune"), "--to", str(to))
    assert found["replay"]["agrees"] and "predict.py" in found["files"]
    sealed_trials.cells(folder)
    subprocess.run(
        [sys.executable, "-I", str(to / "predict.py"), str(folder / "cells.csv"), str(folder / "p.csv")], check=True
    )
    assert set(pd.read_csv(folder / "p.csv")["prediction"]) <= {"heavy", "light"}
    assert as_json(home, "export", sealed.id("text/classical"), "--to", str(to), code=2)["problems"]


def test_a_job_that_fails_is_exit_code_1(home: Home, sealed: Sealed, folder: Path) -> None:
    file = sealed_trials.texts(folder)
    (folder / "plain").write_text("a file where a folder must be")
    out = folder / "plain" / "out.csv"
    found = as_json(home, "predict", sealed.id("text/classical"), str(file), "--out", str(out), code=1)
    assert found["failure"]["what"] and found["failure"]["remedy"] and found["state"] == "failed"


@pytest.mark.own_process
def test_doctor_says_what_is_here(home: Home) -> None:
    facts = as_json(home, "doctor")
    assert (
        facts["torch"] != "not installed"
        and facts["integrity"] == "ok"
        and "bundled/minilm-l6" in facts["sources here"]
    )


def test_doctor_says_it_in_words_too(home: Home) -> None:
    out, _ = run(home, "doctor")
    assert "device:" in out


@pytest.mark.own_process
def test_a_reader_that_has_read_enough_is_no_error(home: Home) -> None:
    environment = {**os.environ, "TLTOOLS_HOME": str(home.root), "PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tltools", "sources", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True,
        timeout=SECONDS, env=environment, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0 and "Error" not in done.stderr


@pytest.mark.own_process
def test_a_second_worker_says_so_and_ends(home: Home, sealed: Sealed, folder: Path) -> None:
    file = sealed_trials.texts(folder)
    run(home, "predict", sealed.id("text/classical"), str(file), "--out", str(folder / "out.csv"))  # starts the first
    assert "running already" in run(home, "worker")[1]


def _study(folder: Path, name: str, **fields: Any) -> Path:
    plain = {"dataset": "cells.csv", "target": "kind", "inputs": sealed_trials.INPUTS, "task": "classification"}
    content = {**plain, "sources": ["bundled/table-net"], "controls": ["classical"], "draws": 2, **fields}
    (folder / name).write_text(yaml.safe_dump(content))
    return folder / name
