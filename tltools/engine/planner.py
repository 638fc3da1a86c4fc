"""Measures what a source costs on this machine, decides which activations are kept, and estimates a study by that.

The measuring runs in a child process, so that its peak memory is its own and a source that does not fit takes nobody
with it. `plans.py` has the arithmetic of what is shared, `rates.py` that of the cost.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import nn

from tltools import costs, datasets, plans, rates, studies
from tltools.engine import autotune, loop
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Encoded, load_backbone
from tltools.engine.device import best
from tltools.engine.features import FeatureStore
from tltools.engine.rank import some
from tltools.home import Home, open_home
from tltools.plans import Counts, Decision, Plan
from tltools.records import Estimate, Refusal, Source, Study, Trial, refuse
from tltools.store import Store, open_store
from tltools.tickets import Ticket
from tltools.trials import card

SAMPLE = 256  # rows that are looked at
SECONDS = 1.5  # for each thing that is measured
BATCH = 16  # rows of a training step, as strategies have by default
EVALUATED = 64  # rows of a batch that is only looked at, as the loop has
PATIENCE = 120.0  # seconds after which a child that measures is given up


def plan(store: Store, home: Home, trials: Sequence[Trial], counts: Counts, cache_gb: float = 4.0) -> Plan:
    """Shares, keeps and orders the work of a study, by measured rates where there are any."""
    known = _rates(home, store, trials)
    stages = {name: int(rate["stages"]) for name, rate in known.items()}
    found = plans.prefixes(trials, stages, counts)
    write, read = disk(home, store)
    left, decisions = cache_gb * 1e9, []
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
    return Plan(tuple(map(tuple, plans.ordered(trials, stages))), tuple(decisions), rows, naive)


def dry_run(home: Home, store: Store, study: Study, ticket: Ticket) -> Estimate:
    """Measures every source of a study that this machine does not know yet, then estimates the study.

    Raises: Refusal when a source cannot be loaded or does not fit into the memory.
    """
    trials = studies.expand(home, study)
    cards = _cards(home, trials)
    for i, (name, source) in enumerate(cards.items()):
        ticket.progress("measuring this machine", i, len(cards), note=source.id)
        own = [trial for trial in trials if plans.reader(trial) == name]
        known = store.recall("rate", costs.rate_key(source)) or {}
        if "train" not in known or not depths(own, known["stages"]) <= {int(b) for b in known["train"]}:
            measure(home, store, source, own[0].dataset, own, ticket.check)
    ticket.progress("measuring this machine", len(cards), len(cards))
    return studies.estimate(home, store, study)


def measure(
    home: Home,
    store: Store,
    source: Source,
    dataset_id: str,
    trials: Sequence[Trial],
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measures a source on rows of a dataset in a child process; remembers the record (see `rates.py`) and returns it.

    trials: what they train decides which steps are measured. check: raises to stop.
    Raises: Refusal when the child fails or dies.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")  # as jobs begin: alike in memory
    if forks:
        context.set_forkserver_preload(["tltools.engine.preload"])
    here, there = context.Pipe(duplex=False)
    arguments = (there, str(home.root), source, dataset_id, list(trials))
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
        what = f"ended the measuring process (exit code {child.exitcode}); most likely the memory did not suffice."
        raise refuse(source.id, what, "Choose a smaller source.") from None
    finally:
        if child.is_alive():
            child.kill()
        child.join()
    if "problem" in answer:
        raise refuse(source.id, answer["problem"], "Choose another source.")
    store.remember("rate", costs.rate_key(source), answer)
    return dict(answer)


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


def _child(pipe: Connection, root: str, source: Source, dataset_id: str, trials: Sequence[Trial]) -> None:
    from tltools.engine import preload  # noqa: F401  # a job starts with the same libraries in its memory

    try:
        pipe.send(_measured(open_home(root), source, dataset_id, trials))
    except Refusal as refusal:
        pipe.send({"problem": " ".join(problem.what for problem in refusal.problems)})


def _measured(home: Home, source: Source, dataset_id: str, trials: Sequence[Trial]) -> dict[str, Any]:
    """The rate record of a source on some rows of a dataset."""
    dataset = datasets.get(home, dataset_id)
    device = torch.device(best().name)
    idle = peak_mb(device)
    started = time.perf_counter()
    backbone = load_backbone(home, source)
    loaded = time.perf_counter()
    rows = np.sort(np.random.default_rng(0).permutation(dataset.rows)[:SAMPLE])
    items = some(datasets.items(home, dataset, source.reads), rows)
    backbone.fit_items(items, np.arange(len(rows)))
    before = time.perf_counter()
    encoded = backbone.encode(items)
    encoding = time.perf_counter() - before
    backbone.to(device)
    setting = FeatureStore(home, memory=open_store(home)).setting(backbone, encoded)
    record: dict[str, Any] = {
        "load_seconds": loaded - started,
        "encode_rows_per_second": len(rows) / max(encoding, 1e-6),
        "encoded_row_bytes": _row_bytes(encoded),
        "rows_per_second": _forward_rate(backbone, encoded, setting, device),
        "stages": len(backbone.stages),
        "width": backbone.width,
        "idle_mb": idle,
        "peak_mb": peak_mb(device) - idle,
        "row_bytes": {},
        "train": {},
        "train_mb": {},
    }
    for boundary in sorted(depths(trials, len(backbone.stages)), reverse=True):  # a peak only grows: the least first
        if boundary and not backbone.resumable[boundary]:
            continue
        # as the kit does: the word table of a text model stays frozen unless the network starts from nothing
        frozen = max(boundary, int(backbone.reads == "text"))
        rate, size = _train_rate(backbone, encoded, boundary, frozen, setting)
        record["train"][str(boundary)] = rate
        record["train_mb"][str(boundary)] = peak_mb(device) - idle
        if boundary:
            record["row_bytes"][str(boundary)] = size
    record["rows_per_second_train"] = record["train"].get("0", record["rows_per_second"] / 3.5)
    if backbone.reads == "text" and any(trial.strategy == "scratch" for trial in trials):
        record["rows_per_second_scratch"] = _train_rate(backbone, encoded, 0, 0, setting)[0]
    record["train_peak_mb"] = peak_mb(device) - idle
    return record


def _forward_rate(backbone: Backbone, encoded: Encoded, setting: autotune.Setting, device: torch.device) -> float:
    """Rows per second of a sweep: the median batch, so that a moment in which others compute does not count."""
    times: list[float] = []
    started = time.perf_counter()
    with setting.running(device):
        for rows in itertools.cycle(autotune.batches(backbone.reads, encoded.lengths)):
            if len(times) >= 3 and time.perf_counter() - started > SECONDS:
                break
            begin = time.perf_counter()
            batch = autotune.to_device(encoded.take(rows), device, channels_last=setting.channels_last)
            backbone(batch).cpu()
            times.append((time.perf_counter() - begin) / len(rows))
    return 1 / float(np.median(times))


def _train_rate(
    backbone: Backbone, encoded: Encoded, boundary: int, frozen: int, setting: autotune.Setting
) -> tuple[float, float]:
    """(rows per second of a training step from a boundary, bytes of one activation there in bf16).

    frozen: stages, bottom first, that are not trained.
    """
    device = autotune.device_of(backbone)
    model = backbone.twin()  # as in a trial: the source's own weights stay beside those that are trained
    for i, stage in enumerate(model.stages):
        for module in stage.modules:
            module.requires_grad_(i >= frozen)
    head = nn.Linear(model.width, 2).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    best_so_far = [p.detach().clone() for p in trained]
    optimiser = torch.optim.AdamW([*trained, *head.parameters()], lr=0.0, fused=True)
    size, times = 0.0, list[float]()
    half = setting.precision == "bfloat16"
    every = np.arange(len(encoded))
    order = (rows for epoch in itertools.count() for rows in loop.batches(every, encoded.lengths, BATCH, 0, epoch))

    def pooled_of(rows: np.ndarray) -> Callable[[], torch.Tensor]:
        nonlocal size
        batch = autotune.to_device(encoded.take(rows), device, channels_last=setting.channels_last)
        if not boundary:
            return lambda: model(batch)
        with torch.no_grad(), best().autocast(half):
            states = model.states(batch, boundary)
        size = states[0].numel() * 2.0
        return lambda: model.resume(batch, states.clone(), boundary)

    model.train()
    started = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - started < SECONDS and len(times) < 50):
        rows = next(order)
        pooled = pooled_of(rows)
        begin = time.perf_counter()
        with best().autocast(half):
            loss = nn.functional.cross_entropy(head(pooled()), torch.zeros(len(rows), dtype=torch.long, device=device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        loss.item()  # waits for an accelerator
        times.append((time.perf_counter() - begin) / len(rows))
    model.eval()
    longest = np.argsort(-encoded.lengths, kind="stable")[:EVALUATED]
    with torch.no_grad(), best().autocast(half):
        pooled_of(longest)()
    del best_so_far
    return 1 / float(np.median(times[1:])), size


def peak_mb(device: torch.device) -> float:
    """Peak memory so far, in MB: of the accelerator, or of this process."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else devices.peak_mb()


def _row_bytes(encoded: Encoded) -> float:
    sizes = [value.nbytes for value in vars(encoded).values() if isinstance(value, np.ndarray)]
    return sum(sizes) / max(len(encoded), 1)


def _cards(home: Home, trials: Sequence[Trial]) -> dict[str, Source]:
    """The cards of all sources of a study by `plans.reader`, as they serve its rows."""
    readers = {plans.reader(trial): trial for trial in trials if trial.source != "none"}
    return {name: card(home, trial, datasets.get(home, trial.dataset)) for name, trial in readers.items()}


def _rates(home: Home, store: Store, trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    return {
        reader: {**rates.guess(source), **(store.recall("rate", costs.rate_key(source)) or {})}
        for reader, source in _cards(home, trials).items()
    }


def depths(trials: Sequence[Trial], stages: int) -> set[int]:
    """The boundaries from which the trials take gradient steps; 0 = the whole backbone."""
    found = {plans.depth(trial, stages) for trial in trials if not plans.closed_form(trial, stages)}
    return {boundary for boundary in found if boundary < stages}
