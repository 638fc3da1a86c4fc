"""Runs the benchmarks and writes docs/performance.json and docs/performance.md: `python -m benchmarks [--quick]`.

All run in one process, one after the other; inside each the contenders take turns. A benchmark that was not asked for
keeps the figures of an earlier run. `tasks`, alone, writes docs/results.md; `judge`, `known_cases` and others are
commands of their own.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
from pathlib import Path

from benchmarks import figures, tasks
from tltools.engine import torchvision_operators

NAMES = ("study", "heads", "sweep", "tail", "finetune", "warm", "estimate", "budget", "scale", "start", "screens")
DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(words: list[str] | None = None) -> int:
    """Returns 0 when every benchmark that was asked for ran, whether or not its bars are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"from {', '.join(NAMES)}; all without")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: minutes, and noisier")
    parser.add_argument(
        "--data", type=Path, help="folder with sst2, flowers and weights; samples that come along if not"
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder that the two documents are written into")
    parser.add_argument("--note", default="", help="a sentence that goes beside the figures, as of other work running")
    asked = parser.parse_args(words)
    if asked.names == ["tasks"]:
        if asked.data is None and not asked.quick:
            parser.error("tasks needs --data")
        tasks.main(asked.data, run=not asked.quick)
        return 0
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"NAME must be one of {', '.join(NAMES)}; got {', '.join(unknown)}")
    if asked.data is not None and not asked.data.is_dir():
        parser.error(f"--data must be a folder; got {asked.data}")
    _quiet()
    for name in asked.names or NAMES:
        one = importlib.import_module(f"benchmarks.{name}")
        load, started = os.getloadavg()[0], time.monotonic()
        found = one.run(asked.data, **(one.QUICK if asked.quick else one.FULL))
        command = " ".join(
            ["python -m benchmarks", *["--quick"] * asked.quick, *["--data DATA"] * bool(asked.data), name]
        )
        figures.keep(asked.docs, name, found, title=one.TITLE, command=command, load=load, note=asked.note)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        for figure in found:
            print(f"  {figure.line()}", flush=True)
    return 0


def _quiet() -> None:
    """Nothing may be downloaded, the store is each home's own, and libraries keep their reports to themselves."""
    os.environ |= {"TLTOOLS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    os.environ.pop("TLTOOLS_DATABASE_URL", None)
    torchvision_operators.ensure()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
