"""Screens: rerun time of every page while a study trains on both cores, for 1, 10 and 30 sessions."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import ground
from benchmarks.figures import Figure
from tltools import studies
from tltools.home import Home
from tltools.records import Job
from tltools.store import open_store
from tltools.tickets import read_events

TITLE = "Screens while a study trains"
FULL: dict[str, Any] = {"sessions": (1, 10, 30), "seconds": 60.0, "pause": 5.0}
QUICK: dict[str, Any] = {"sessions": (1, 10, 30), "seconds": 15.0, "pause": 5.0}
BAR_MS, BAR_SPEED = 500.0, 80.0


def run(data: Path | None, *, sessions: tuple[int, ...], seconds: float, pause: float) -> list[Figure]:
    """A real server and a real worker; every session is a WebSocket that asks for page after page, `pause` seconds
    after the last answer, for `seconds` seconds. It draws nothing: what is measured is the server."""
    with ground.fresh_home() as home, ground.worker(home) as submit:
        dataset = ground.add(home, ground.texts(None, 200))
        judged = ground.study_of(dataset, ["linear_probe"], controls=("classical",))
        ground.ended(home, submit(judged))
        forever = [{"full_finetune": {"epochs": 500, "patience": 0, "min_steps": 100_000}}]
        job = submit(ground.study_of(dataset, forever, fractions=(0.3,)))
        query = f"dataset={dataset.id}&study={studies.study_id(judged)}&source={ground.MINILM}"
        _pace(home, job, 0.0, least=2)  # it trains by now
        with server(home) as port:
            asyncio.run(_visit(port, query, 1, 1.0, 0.0))  # the first visit of a server loads its modules
            before, found = _alone(home, job, seconds), []
            for count in sessions:
                started = time.time()
                times = asyncio.run(_visit(port, query, count, seconds, pause))
                found.append((count, times, _pace(home, job, started)))
            after = _alone(home, job, seconds)
        open_store(home).cancel(job.id)
    alone, note = (before + after) / 2, f"before the sessions {before:.2f}, after them {after:.2f}"
    figures = [Figure("training without visitors", alone, "epochs/s", note=note)]
    return figures + [one for count, times, pace in found for one in _figures(count, times, 100 * pace / alone)]


def _figures(count: int, times: dict[str, list[float]], speed: float) -> list[Figure]:
    every = 1000 * np.concatenate([np.asarray(found) for found in times.values()])
    worst = max(times, key=lambda page: float(np.median(times[page])))
    who = f"{count} session{'s' if count > 1 else ''}"
    medians = ", ".join(f"{page} {1000 * float(np.median(found)):.0f}" for page, found in sorted(times.items()))
    return [
        Figure(f"{who}: rerun, median", float(np.median(every)), "ms", note=f"{len(every)} reruns; {medians}"),
        Figure(f"{who}: rerun, 95th percentile", float(np.percentile(every, 95)), "ms", BAR_MS, "at most",
               note=f"slowest page {worst}"),
        Figure(f"{who}: speed of the training", speed, "%", BAR_SPEED),
    ]  # fmt: skip


# --- the training -----------------------------------------------------------------------------------------------------


def _alone(home: Home, job: Job, seconds: float) -> float:
    started = time.time()
    time.sleep(seconds)  # the training is left alone for as long as it is later visited
    return _pace(home, job, started)


def _pace(home: Home, job: Job, since: float, *, least: int = 3) -> float:
    """Epochs per second of the running trial since a moment (seconds of the clock), from the events it logs; waits
    until there are `least` of them.

    Raises: RuntimeError when the job ended or does not get on.
    """
    until = time.monotonic() + 180
    while True:
        events = [event for event in read_events(home, job.id) if event.what == "epoch"]
        newest = [e for e in events if e.trial == events[-1].trial and e.at.timestamp() >= since] if events else []
        if len(newest) >= least:
            first, last = newest[0], newest[-1]
            gone = (last.at - first.at).total_seconds()
            return (last.numbers["epoch"] - first.numbers["epoch"]) / max(gone, 1e-9)
        now = open_store(home).job(job.id)
        if now is None or now.state not in {"queued", "running"} or time.monotonic() > until:
            raise RuntimeError(f"the training is {now.state if now else 'gone'}, {len(newest)} epochs noted")
        time.sleep(0.1)  # its log is a file, which is asked


# --- the sessions -----------------------------------------------------------------------------------------------------


@contextmanager
def server(home: Home) -> Iterator[int]:
    """The server as `make run` starts it, with the worker that is there already; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**ground.environment(home), "STREAMLIT_SERVER_PORT": str(port), "TLTOOLS_WORKER": "external"}
    with open(home.root / "benchmark-server.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "tltools/ui/server.py"],
            env=environment, cwd=ground.ROOT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            _answers(f"http://127.0.0.1:{port}/_stcore/health", process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)  # a server that starts is asked, not heard
    raise RuntimeError(f"no server at {url}")


async def _visit(port: int, query: str, count: int, seconds: float, pause: float) -> dict[str, list[float]]:
    """Seconds of every rerun by page, of `count` sessions at once; each begins on another page."""
    found: dict[str, list[float]] = {}
    until = time.monotonic() + seconds
    await asyncio.gather(*(_session(port, query, k, count, until, pause, found) for k in range(count)))
    return found


async def _session(
    port: int, query: str, k: int, count: int, until: float, pause: float, found: dict[str, list[float]]
) -> None:
    await asyncio.sleep(pause * k / count)
    url = f"ws://127.0.0.1:{port}/_stcore/stream"
    async with connect(url, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        pages = await rerun(socket, query, "")
        names = sorted(pages)
        turn = k
        while time.monotonic() < until or turn - k < 1:
            name, turn = names[turn % len(names)], turn + 1
            started = time.monotonic()
            await rerun(socket, query, pages[name])
            found.setdefault(name, []).append(time.monotonic() - started)
            await asyncio.sleep(pause)


async def rerun(socket: ClientConnection, query: str, page: str) -> dict[str, str]:
    """Asks for a page and reads until its script has ended; the hashes of all pages by name.

    Raises: RuntimeError when the page does not compile, or is not known.
    """
    asked = BackMsg()
    asked.rerun_script.query_string = query
    asked.rerun_script.page_script_hash = page
    await socket.send(asked.SerializeToString())
    pages: dict[str, str] = {}
    while True:
        said = ForwardMsg()
        said.ParseFromString(await asyncio.wait_for(socket.recv(decode=False), 60))
        kind = said.WhichOneof("type")
        if kind == "navigation":
            pages = {one.page_name: one.page_script_hash for one in said.navigation.app_pages}
        elif kind == "page_not_found":
            raise RuntimeError("the server does not know this page")
        elif kind == "delta" and said.delta.new_element.WhichOneof("type") == "exception":
            raise RuntimeError(f"a page failed: {said.delta.new_element.exception.message[:300]}")
        elif kind == "script_finished":
            if said.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return pages
            if said.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                raise RuntimeError("a page does not compile")
