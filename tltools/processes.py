"""Other processes of this package: how they are started, from whatever folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil


def places() -> int:
    """How many trainings may go on side by side in a job: one a core, or one where processes cannot fork safely."""
    if sys.platform != "linux":
        return 1
    return min(len(os.sched_getaffinity(0)), psutil.cpu_count(logical=False) or 1)


def command(module: str) -> tuple[list[str], dict[str, str]]:
    """(words, environment) that run a module of this package with this Python. What lies in the folder where it starts
    is not importable: a home folder may hold anything."""
    package = str(Path(__file__).resolve().parents[1])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    return [sys.executable, "-P", "-m", module], environment
