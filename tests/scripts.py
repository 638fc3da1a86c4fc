"""Exported scripts, trial loads and commands, run in forks of a process that has the heavy libraries in memory: to
import them takes longest.

Tests marked `own_process` start new interpreters instead, as a user does; so do the browser's.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240
PRELOAD = ["tltools.cli", "tltools.engine.preload"]  # in this order: the second freezes what is loaded by then


def run(ticket: Any, script: Path, given: Path, out: Path) -> str:
    """As `tltools.engine.replay._run_script`: what went wrong, or ""."""
    with tempfile.NamedTemporaryFile("r") as errors:
        code = _forked(_script, script.resolve(), given.resolve(), out.resolve(), errors.name)
        lines = errors.read().strip().splitlines()
    return "" if code == 0 else (lines[-1] if lines else f"exit code {code}")


def try_load(folder: Path, asked: str) -> subprocess.CompletedProcess[str]:
    """As `tltools.own_weights._try_load`."""
    with tempfile.NamedTemporaryFile("r") as said, tempfile.NamedTemporaryFile("r") as errors:
        code = _forked(_load, folder.resolve(), asked, said.name, errors.name)
        return subprocess.CompletedProcess(["trial_load", str(folder)], code, said.read(), errors.read())


def command(words: tuple[str, ...], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """As `python -m tltools WORDS` in a folder."""
    with tempfile.NamedTemporaryFile("r") as said, tempfile.NamedTemporaryFile("r") as errors:
        code = _forked(_command, words, environment, folder, said.name, errors.name)
        return subprocess.CompletedProcess(["tltools", *words], code, said.read(), errors.read())


def _forked(target: Callable[..., None], *given: Any) -> int:
    """The exit code of a fork that runs `target`."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=target, args=given)
    process.start()
    process.join(SECONDS)
    assert not process.is_alive(), f"{target.__name__}{given} ran for more than {SECONDS} s"
    return int(process.exitcode)


def _load(folder: Path, asked: str, out: str, errors: str) -> None:
    from tltools.engine import trial_load

    _speak_to(out, errors)
    sys.argv, sys.stdin = ["trial_load", str(folder)], io.StringIO(asked)
    sys.exit(trial_load.main())


def _command(words: tuple[str, ...], environment: dict[str, str], folder: Path, out: str, errors: str) -> None:
    from tltools import cli

    _speak_to(out, errors)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["tltools", *words]
    sys.exit(cli.main())


def _speak_to(out: str, errors: str) -> None:
    for place, number in ((out, 1), (errors, 2)):
        with open(place, "a") as told:
            os.dup2(told.fileno(), number)


def _script(script: Path, given: Path, out: Path, errors: str) -> None:
    """Runs a script where tltools cannot be imported."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("tltools", "tests")]:
        del sys.modules[name]
    sys.modules["tltools"] = None  # type: ignore[assignment]
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != ROOT]
    os.chdir(given.parent)
    sys.argv = [str(script), str(given), str(out)]
    sys.dont_write_bytecode = True
    _speak_to(errors, errors)
    runpy.run_path(str(script), run_name="__main__")  # multiprocessing prints what it raises, and exits with 1
