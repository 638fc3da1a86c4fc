"""A real server on a port of its own, with a real worker where a test asks for one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    """A running server."""

    url: str
    pid: int
    home: Path

    def maps_torch(self) -> bool:
        """Whether torch lies in the memory of the server process."""
        return "torch" in Path(f"/proc/{self.pid}/maps").read_text()


@contextlib.contextmanager
def serving(home: Path, *, worker: bool, script: str = "tltools/ui/server.py", **more: str) -> Iterator[Served]:
    """Starts a server as `make run` does, waits until it answers, and ends it and its worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TLTOOLS_HOME": str(home), "STREAMLIT_SERVER_PORT": str(port), **more}
    environment.pop("TLTOOLS_DATABASE_URL", None)
    environment.pop("PYTHONPATH", None)
    if not worker:
        environment["TLTOOLS_WORKER"] = "external"
    log = open(home / "server.log", "wb")  # noqa: SIM115 (held by the process)
    command = [sys.executable, "-m", "streamlit", "run", script]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://localhost:{port}"
        _wait(f"{url}/_stcore/health", process, home)
        yield Served(url, process.pid, home)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        log.close()
        _end_worker(home)


def _wait(url: str, process: subprocess.Popen[bytes], home: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, (home / "server.log").read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5)
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer: {(home / 'server.log').read_text()}")


def _end_worker(home: Path) -> None:
    """Ends the worker that pages of this home have started, by its identity in the store."""
    from tltools.home import Home
    from tltools.store import Store

    here = Home(home, f"sqlite:///{home / 'store.db'}", offline=True, hub="")
    if not (home / "store.db").exists():
        return
    for worker in Store(here).workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(worker.holder.pid)
            if str(home) in process.environ().get("TLTOOLS_HOME", ""):
                process.terminate()
                process.wait(30)
