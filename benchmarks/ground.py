"""What benchmarks stand on: a home of their own, real rows, contenders that take turns, studies that are run."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from tltools import datasets, samples, sources, studies
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.records import Dataset, Job, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

ROOT = Path(__file__).resolve().parents[1]
MINILM = "bundled/minilm-l6"
T = TypeVar("T")


@contextmanager
def fresh_home() -> Iterator[Home]:
    """A home that nothing was ever run in; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tltools-benchmark-", ignore_cleanup_errors=True) as folder:
        yield open_home(Path(folder) / "home")


def turns(
    contenders: Mapping[str, Callable[[], tuple[float, T]]], rounds: int
) -> tuple[dict[str, float], dict[str, T]]:
    """Lets contenders take turns, each round in the opposite order; (median seconds, last answer) of each.

    contenders: each returns the seconds that count, and its answer.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, T] = {}
    for k in range(rounds):
        for name in list(contenders)[:: 1 if k % 2 == 0 else -1]:
            seconds, answers[name] = contenders[name]()
            times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}, answers


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """(seconds, answer) of a call."""
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


@contextmanager
def elsewhere(make: Callable[..., Mapping[str, Callable[[], Any]]], *arguments: Any) -> Iterator[dict[str, Any]]:
    """The contenders that `make(*arguments)` makes, in a process of their own: what tltools sets for its own memory
    does not serve them. What is lent: each contender's name and a function that returns (seconds, answer)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()

    def asked(name: str) -> Any:
        here.send(name)
        return here.recv()

    try:
        yield {name: partial(asked, name) for name in here.recv()}
    finally:
        here.close()
        process.join(30)


def _serve(pipe: Connection, make: Callable[..., Mapping[str, Callable[[], Any]]], arguments: tuple[Any, ...]) -> None:
    contenders = make(*arguments)
    pipe.send(list(contenders))
    with suppress(EOFError):
        while True:
            pipe.send(timed(contenders[pipe.recv()]))


def texts(data: Path | None, rows: int) -> pd.DataFrame:
    """At most `rows` different rows of `text` and `label`: SST-2 in `data`, else the film notes of tltools."""
    if data is None:
        table = pd.read_csv(Path(samples.__file__).with_name("film_notes.csv"))
        table = table.rename(columns={"sentiment": "label"})
    else:
        table = pd.read_csv(data / "sst2" / "sst2_train.csv")
    return table.drop_duplicates("text")[["text", "label"]].head(rows).reset_index(drop=True)


def add(home: Home, table: pd.DataFrame, name: str = "rows", target: str = "label") -> Dataset:
    """The rows as a dataset, by the way that every file takes; only `text` and the target are kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        table[["text", target]].to_csv(path, index=False)
        return datasets.add(home, path, target=target, inputs=["text"], task="classification")


def pictures(home: Home, data: Path | None, a_class: int) -> tuple[Dataset, str]:
    """(a dataset of at most `a_class` images per class, a source for it): flowers and MobileNetV2 from `data`, or the
    digits that come with tltools and an untrained network."""
    if data is None:
        return samples.add(home, "digits-low"), "bundled/tiny-resnet"
    source = sources.add(
        home, data / "weights/mobilenetv2-035-imagenet", name="mobilenetv2-035", architecture="timm/mobilenetv2_035"
    )
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(data / "flowers" / "flowers_train.zip") as archive:
            names = pd.Series([name for name in archive.namelist() if not name.endswith("/")])
            wanted = names[names.groupby(names.str.split("/").str[0]).cumcount() < a_class]
            archive.extractall(Path(folder) / "flowers", list(wanted))
        return datasets.add(home, Path(folder) / "flowers"), source.id


def study_of(dataset: Dataset, strategies: Sequence[Any], source: str = MINILM, **fields: Any) -> Study:
    """A study of a dataset; without other word at the full share of the labels, two draws, no controls."""
    given: dict[str, Any] = {"controls": (), "fractions": (1.0,), "draws": 2, "metric": "balanced_accuracy"}
    return Study.model_validate(
        {"dataset": dataset.id, "sources": (source,), "strategies": tuple(strategies), **given, **fields}
    )


def run(home: Home, study: Study) -> dict[str, Any]:
    """Runs a study in this process, as a job's process would; what it cost."""
    return engine.run(QuietTicket(home), {"study": studies.save(home, study)})


@contextmanager
def worker(home: Home, log: Path | None = None) -> Iterator[Callable[[Study], Job]]:
    """A real worker of a home; the function that is lent submits a study and returns its running or ended job."""
    with open(log or home.root / "benchmark-worker.log", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tltools", "worker"],
            env=environment(home), cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            yield lambda study: studies.submit(home, open_store(home), study)
        finally:
            process.terminate()
            process.wait(60)


def environment(home: Home) -> dict[str, str]:
    """What a child process needs to work in a home."""
    return {**os.environ, "TLTOOLS_HOME": str(home.root), "PYTHONPATH": str(ROOT), "TLTOOLS_OFFLINE": "1"}


def ended(home: Home, job: Job, seconds: float = 3600.0) -> dict[str, Any]:
    """Waits for the end of a job and returns its result.

    Raises: RuntimeError when it failed or takes longer.
    """
    until = time.monotonic() + seconds
    while job.state in {"queued", "running"}:
        if time.monotonic() > until:
            raise RuntimeError(f"{job.title}: not done after {seconds:.0f} s")
        time.sleep(0.02)  # the store is asked, not heard
        job = open_store(home).job(job.id) or job
    if job.state != "done" or job.result is None:
        raise RuntimeError(f"{job.title}: {job.state}: {job.failure}")
    return job.result
