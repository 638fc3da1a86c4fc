"""A worker for tests: the real one, with job functions that do nothing useful in a well-known way, and short leases."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS = 40


def count(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """A trainer: each step makes the state from the last one; it goes on from its checkpoint after a kill."""
    from tltools import artifacts
    from tltools.home import write_json
    from tltools.tickets import Stopped

    final = ticket.home.trials / ticket.job.id
    checkpoint = ticket.home.jobs / ticket.job.id / "checkpoint.json"
    _say_who(ticket)
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "hash": payload["seed"]}
    steps = payload.get("steps", STEPS)
    try:
        while state["step"] < steps:
            state = {"step": state["step"] + 1, "hash": hashlib.sha256(state["hash"].encode()).hexdigest()}
            if state["step"] % 5 == 0:
                write_json(checkpoint, state)
            ticket.progress("counting", state["step"], steps)
            ticket.check()
            time.sleep(payload.get("pause", 0.005))
    except Stopped:
        write_json(checkpoint, state)
        raise
    with artifacts.building(final) as folder:
        (folder / "result.txt").write_text(state["hash"])
    return {"hash": state["hash"]}


def _say_who(ticket: Any) -> None:
    """One line a process that ever ran this job, so that a test can look for two at once."""
    with open(ticket.home.root / "processes.txt", "a") as file:
        file.write(f"{ticket.job.id} {os.getpid()} {ticket.job.attempt}\n")


def deaf(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Never looks at its ticket."""
    _say_who(ticket)
    until = time.monotonic() + payload.get("seconds", 60)
    while time.monotonic() < until:
        time.sleep(0.01)
    return {}


def litter(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Starts a process of its own, as a data loader does, and dies."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (ticket.home.root / "litter.txt").write_text(str(child.pid))
    os.kill(os.getpid(), 9)
    return {}


def noisy(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Writes more than any pipe holds, then fails."""
    for _ in range(20_000):
        print("x" * 99, file=sys.stderr)
    raise ZeroDivisionError("the last words")


def greedy(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Wants more memory than it may have."""
    resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, resource.RLIM_INFINITY))
    return {"size": len(bytearray(8_000_000_000))}


def fails(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    from tltools.records import refuse

    if payload["how"] == "refusal":
        raise refuse("reviews.csv", "must have two columns; got one.", "Add a column.")
    if payload["how"] == "disk":
        raise OSError(28, "No space left on device")
    if payload["how"] == "exit":
        os._exit(7)
    if payload["how"] == "killed":
        os.kill(os.getpid(), 9)
    if payload["how"] == "unserialisable":
        return {"result": object()}
    raise KeyError("column")


def echo(ticket: Any, payload: dict[str, Any]) -> dict[str, Any]:
    _say_who(ticket)
    return payload


JOBS = {
    "study": "fake_worker:count",
    "rank": "fake_worker:deaf",
    "export": "fake_worker:echo",
    "predict": "fake_worker:fails",
    "ingest": "fake_worker:greedy",
    "explain": "fake_worker:noisy",
}

if __name__ == "__main__":
    from tltools import worker
    from tltools.home import open_home

    said = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    sys.path.insert(0, str(Path(__file__).parent))
    jobs = {**JOBS, **said.pop("handlers", {})}
    preload = tuple(said.pop("preload", ("tltools.worker",)))
    sys.exit(worker.main(open_home(), handlers=jobs, preload=preload, **said))
