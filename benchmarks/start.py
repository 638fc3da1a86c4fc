"""Start: import of tltools, the first page, the first study of a warm worker, and what `make run` installs."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks import ground, screens
from benchmarks.figures import Figure
from tltools import samples
from tltools.store import open_store

TITLE = "Start: imports, the first page, the first study, the size"
FULL: dict[str, Any] = {"rows": 326, "rounds": 5}
QUICK: dict[str, Any] = {"rows": 326, "rounds": 3}
HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "scipy", "streamlit", "plotly")
FLOORS = "tltools, tltools.studies, tltools.reports, tltools.store"
IMPORT = f"""
import sys, time
begun = time.perf_counter()
import {FLOORS}
print(time.perf_counter() - begun, *[name for name in {HEAVY} if name in sys.modules])
"""


def run(data: Path | None, *, rows: int, rounds: int) -> list[Figure]:
    """Every round starts new processes in a new home; the files of the libraries are in the memory of the system."""
    seconds, heavy = zip(*(_imported() for _ in range(rounds)), strict=True)
    said = f"of {FLOORS}; heavy libraries among them: {', '.join(sorted(set().union(*heavy))) or 'none'}"
    pages = [_first_page() for _ in range(rounds)]
    found = [Figure("import", statistics.median(seconds), "s", note=said)]
    for place, what in enumerate(("until the server answers", "until the first page has run")):
        found.append(Figure(f"new server: {what}", statistics.median(page[place] for page in pages), "s"))
    ready, first, again = _first_studies(data, rows)
    found += [
        Figure("new worker: until it takes jobs, libraries loaded", ready, "s", note="beside the first page"),
        Figure("warm worker: the first study", first, "s", note=f"{rows} texts at most, linear probe and both cheap "
               "controls, 2 draws; from the button to the verdict, a new process and the network's loading included"),
        Figure("warm worker: another study of the same texts", again, "s", note="multi-layer probe; loading again"),
    ]  # fmt: skip
    sizes = _installed()
    largest = sorted(sizes, key=lambda name: -sizes[name])[:6]
    told = ", ".join(f"{name} {sizes[name]:.0f}" for name in largest)
    return [*found, Figure("what `make run` installs", sum(sizes.values()), "MB", note=f"MB of the largest: {told}")]


def _imported() -> tuple[float, set[str]]:
    """(seconds, heavy libraries that came along) of the floors that pages and commands call, in a new process."""
    said = subprocess.run([sys.executable, "-c", IMPORT], cwd=ground.ROOT, capture_output=True, text=True, check=True)
    seconds, *heavy = said.stdout.split()
    return float(seconds), set(heavy)


def _first_page() -> tuple[float, float]:
    """Seconds from the start of a server until it answers, and until a browser would have the whole first page."""

    async def visit(port: int) -> None:
        url = f"ws://127.0.0.1:{port}/_stcore/stream"
        async with connect(url, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
            await screens.rerun(socket, "", "")

    with ground.fresh_home() as home:
        started = time.monotonic()
        with screens.server(home) as port:
            answers = time.monotonic() - started
            asyncio.run(visit(port))
            return answers, time.monotonic() - started


def _first_studies(data: Path | None, rows: int) -> tuple[float, float, float]:
    """Seconds until a new worker has taken and ended a job, then of a first study and of a second, other arms."""
    with ground.fresh_home() as home:
        dataset = ground.add(home, ground.texts(data, rows))
        table, short = samples.add(home, "wine"), {"full_finetune": {"epochs": 1, "min_steps": 0}}
        started = time.monotonic()
        with ground.worker(home) as submit:
            ground.ended(home, submit(ground.study_of(table, [short], "bundled/table-net")))
            ready, took = time.monotonic() - started, []
            assert not open_store(home).memories("autotune"), "the first study must find nothing measured"
            for arms in (["linear_probe"], ["multilayer_probe"]):
                study = ground.study_of(dataset, arms, controls=("random_frozen", "classical"))
                took.append(ground.timed(lambda study=study: ground.ended(home, submit(study)))[0])
            return ready, took[0], took[1]


def _installed() -> dict[str, float]:
    """MB on disk of every distribution that requirements.txt names."""
    lines = (ground.ROOT / "requirements.txt").read_text().splitlines()
    names = [line.split("==")[0].strip() for line in lines if "==" in line]
    sizes = {}
    for name in names:
        files = [Path(str(file.locate())) for file in metadata.distribution(name).files or ()]
        sizes[name] = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
    return sizes
