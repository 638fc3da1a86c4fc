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

from tltools.home import Home
from tltools.store import Store

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    """A server on a port of its own, that can be killed and started again."""

    url: str
    home: Path
    script: str
    environment: dict[str, str]
    cwd: Path = ROOT
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Starts it as `make run` does, and waits until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", self.script]
        with open(self.home / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.cwd, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5)
                return
            time.sleep(0.1)
        raise AssertionError(f"no answer: {self.log()}")

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ends the server and what is of its process group: not the worker, which has a group of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        assert self.process is not None
        self.process.wait(20)

    def log(self) -> str:
        """What it printed."""
        return (self.home / "server.log").read_text()

    def store(self) -> Store:
        """The store that its pages and its worker share."""
        return Store(Home(self.home, f"sqlite:///{self.home / 'store.db'}", offline=True, hub=""))

    def maps_torch(self) -> bool:
        """Whether torch lies in the memory of the server process."""
        return "torch" in Path(f"/proc/{self.pid}/maps").read_text()


@contextlib.contextmanager
def serving(
    home: Path, *, worker: bool, script: str = "tltools/ui/server.py", cwd: Path = ROOT, **more: str
) -> Iterator[Served]:
    """Starts a server, and ends it and its worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TLTOOLS_HOME": str(home), "STREAMLIT_SERVER_PORT": str(port), **more}
    environment.pop("TLTOOLS_DATABASE_URL", None)
    environment.pop("PYTHONPATH", None)
    if not worker:
        environment["TLTOOLS_WORKER"] = "external"
    served = Served(f"http://localhost:{port}", home, script, environment, cwd)
    try:
        served.start()
        yield served
    finally:
        served.end()
        if (home / "store.db").exists():
            _end_worker(served)


def _end_worker(served: Served) -> None:
    """Ends the worker that pages of this home have started, by its identity in the store."""
    for worker in served.store().workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(worker.holder.pid)
            if str(served.home) in process.environ().get("TLTOOLS_HOME", ""):
                process.terminate()
                process.wait(30)
