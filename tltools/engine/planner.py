"""Decides which activations a study keeps and in what order it runs, and has its cost measured beforehand.

`measuring.py` measures, in a child process, so that its peak memory is its own and a source that does not fit takes
nobody with it. `plans.py` has the arithmetic of what is shared, `rates.py` that of the cost.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tltools import budgets, costs, datasets, plans, studies
from tltools.engine import measuring
from tltools.holders import KILL
from tltools.home import Home, open_home
from tltools.plans import Counts, Decision, Plan
from tltools.records import Dataset, Refusal, Source, Study, Trial, refuse
from tltools.store import Store
from tltools.tickets import Ticket
from tltools.trials import card

PATIENCE = 120.0  # seconds after which a child that measures is given up


def plan(store: Store, home: Home, study: Study, trials: Sequence[Trial], counts: Counts) -> Plan:
    """Shares, keeps and orders the work of a study, by measured rates where there are any; trials: those to be run."""
    known = _rates(home, store, trials)
    stages = {name: int(rate["stages"]) for name, rate in known.items()}
    found = plans.prefixes(trials, stages, counts)
    write, read = disk(home, store)
    left, decisions = study.budget.cache_gb * 1e9, []
    for prefix in sorted(found, key=lambda p: -p.boundary):  # deep ones are smaller and save more
        rate = known[prefix.source]
        keep, why = plans.keep(prefix, rate, write=write, read=read)
        size = prefix.rows * float(rate.get("row_bytes", {}).get(str(prefix.boundary), 50_000))
        if keep and not prefix.whole:
            if size > left:
                keep, why = False, f"computed again: {size / 1e9:.1f} GB do not fit into the {left / 1e9:.1f} GB left."
            else:
                left -= size
        decisions.append(Decision(prefix, keep, why))
    rows, naive = plans.rows_shared(found)
    order = budgets.groups(study, trials, known, counts)
    return Plan(tuple(map(tuple, order)), tuple(decisions), rows, naive)


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """The job "measure". `payload`: {"study_file": YAML of a settled study}; returns its estimate."""
    return dry_run(ticket.home, ticket.store, studies.parse(payload["study_file"] + "\n"), ticket).model_dump()


def dry_run(home: Home, store: Store, study: Study, ticket: Ticket) -> costs.Estimate:
    """Measures what this machine does not know yet of a study's sources and controls, then estimates the study.

    Raises: Refusal when a source cannot be loaded or does not fit into the memory.
    """
    dataset, split = studies.split_of(home, study)
    unknown = costs.unmeasured(home, store, dataset, studies.expand(home, study))
    for i, (source, trials) in enumerate(unknown):
        ticket.progress("measuring this machine", i, len(unknown), note=source.id if source else "classical control")
        if source:
            measure(home, store, source, study, trials, ticket.check)
        else:
            store.remember("classical", dataset.id, measuring.classical_cost(home, study, dataset, split, trials[0]))
    ticket.progress("measuring this machine", len(unknown), len(unknown))
    return studies.estimate(home, store, study)


def measure(
    home: Home,
    store: Store,
    source: Source,
    study: Study,
    trials: Sequence[Trial],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Measures a source in a child process, by those of a study's trials that read through it, and remembers what was
    found (see `rates.py`). check: raises to stop.

    Raises: Refusal when the child fails or dies.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")  # as jobs begin: alike in memory
    if forks:
        context.set_forkserver_preload(["tltools.engine.preload"])
    here, there = context.Pipe(duplex=False)
    arguments = (there, str(home.root), study, list(trials))
    child = context.Process(target=_child, args=arguments)  # type: ignore[attr-defined]
    child.start()
    there.close()
    started = time.monotonic()
    try:
        while not here.poll(0.2):
            check()
            if time.monotonic() - started > PATIENCE:
                raise refuse(source.id, f"took over {PATIENCE:.0f} s for a few rows.", "Choose a smaller source.")
        answer = here.recv()
    except EOFError:
        child.join(5)
        if child.exitcode == -KILL:  # as the system ends who takes too much
            what = "was killed while it was measured; most likely the memory did not suffice."
            raise refuse(source.id, what, _less(trials)) from None
        what = f"could not be measured: its process ended with exit code {child.exitcode}."
        raise refuse(source.id, what, "Run the study without measuring; should it fail, it says why.") from None
    finally:
        if child.is_alive():
            child.kill()
        child.join()
    if isinstance(answer, str):
        raise refuse(source.id, answer, "Choose another source.")
    remember(store, source, studies.split_of(home, study)[0], *answer)


def _less(trials: Sequence[Trial]) -> str:
    """What to do where trials were too much for the memory before it was known how much they need."""
    knobs = [trial.knobs for trial in trials if "rows_at_once" in trial.knobs]
    most = max((int(one["rows_at_once"] or one["batch_size"]) for one in knobs), default=1)
    if most < 2:
        return "Choose a smaller source model."
    return (
        f"Set “Rows at once” (rows_at_once) to {2 ** ((most - 1).bit_length() - 1)}, or choose a smaller source model."
    )


def remember(
    store: Store, source: Source, dataset: Dataset, record: dict[str, Any], ways: dict[str, dict[str, float]]
) -> None:
    """Keeps what was measured of a source on a dataset."""
    key = costs.rate_key(source, dataset.id)
    before = (store.recall("rate", key) or {}).get("ways", {})
    store.remember("rate", key, {**record, "ways": {**before, **ways}})


def disk(home: Home, store: Store) -> tuple[float, float]:
    """(bytes per second written, read) of the disk the features lie on; measured once."""
    known = store.recall("disk", "features")
    if known is None:
        home.features.mkdir(parents=True, exist_ok=True)
        path, content = home.features / f".speed-{os.getpid()}", os.urandom(1 << 20)
        started = time.perf_counter()
        with path.open("wb") as file:
            for _ in range(32):
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        wrote = time.perf_counter()
        path.read_bytes()
        read = time.perf_counter()
        path.unlink()
        size = 32 * len(content)
        known = {"write": size / (wrote - started), "read": min(size / (read - wrote), 2e9)}
        store.remember("disk", "features", known)
    return float(known["write"]), float(known["read"])


def _child(pipe: Connection, root: str, study: Study, trials: Sequence[Trial]) -> None:
    from tltools.engine import preload  # noqa: F401  # a job starts with the same libraries in its memory

    try:
        home = open_home(root)
        pipe.send(measuring.measured(home, study, *studies.split_of(home, study), trials))
    except Refusal as refusal:
        pipe.send(" ".join(problem.what for problem in refusal.problems))


def _rates(home: Home, store: Store, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """What all sources of a study cost by `plans.reader`, as they serve its rows."""
    readers = {plans.reader(trial): trial for trial in trials if trial.source != "none"}
    of = {trial.dataset: datasets.get(home, trial.dataset) for trial in readers.values()}
    return {
        name: costs.rate(store, card(home, trial, of[trial.dataset]), of[trial.dataset])[0]
        for name, trial in readers.items()
    }
