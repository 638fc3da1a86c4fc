"""Exported scripts, run in forks of a process that has the heavy libraries in memory: to import them takes longest.

Tests marked `own_process` start a new interpreter instead, as a user does; so do tests/test_cli.py and the browser's.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240


def run(ticket: Any, script: Path, given: Path, out: Path) -> str:
    """As `tltools.engine.replay._run_script`: what went wrong, or ""."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["tltools.engine.preload"])
    with tempfile.NamedTemporaryFile("r") as errors:
        process = context.Process(target=_child, args=(script.resolve(), given.resolve(), out.resolve(), errors.name))
        process.start()
        process.join(SECONDS)
        assert not process.is_alive(), f"{script} ran for more than {SECONDS} s"
        lines = errors.read().strip().splitlines()
    return "" if process.exitcode == 0 else (lines[-1] if lines else f"exit code {process.exitcode}")


def _child(script: Path, given: Path, out: Path, errors: str) -> None:
    """Runs a script where tltools cannot be imported."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("tltools", "tests")]:
        del sys.modules[name]
    sys.modules["tltools"] = None  # type: ignore[assignment]
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != ROOT]
    os.chdir(given.parent)
    sys.argv = [str(script), str(given), str(out)]
    sys.dont_write_bytecode = True
    with open(errors, "w") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        runpy.run_path(str(script), run_name="__main__")  # multiprocessing prints what it raises, and exits with 1
