"""What a study will cost before it runs: rows through prefixes, seconds, memory, and what its test part can decide."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tltools import sources
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.records import Dataset, Estimate, Source, Split, Study, Trial
from tltools.store import Store
from tltools.strategies import strategies

# rows per second of a forward pass before this machine was measured, by what is read, for a source of 10 million
# parameters; deliberately low, so that a first estimate errs on the long side
GUESS = {"text": 250.0, "image": 60.0, "tabular": 50_000.0, "audio": 20.0}
TRAIN_COST = 3.5  # a training step costs about forward + twice that backward, and the optimiser
CLASSICAL_SECONDS = 2.0


def rate_key(source: Source) -> str:
    """Under which key of the store's memory "rate" the measured rates of a source lie."""
    return f"{source.id}|{source.image_size or ''}"


def forward_rate(store: Store, source: Source) -> tuple[float, bool]:
    """(rows per second of a forward pass, whether it was measured here)."""
    known = store.recall("rate", rate_key(source))
    if known:
        return float(known["rows_per_second"]), True
    millions = (source.parameters or 10_000_000) / 1e7
    return GUESS[source.reads] / max(millions, 0.02), False


def estimate(
    home: Home, store: Store, study: Study, dataset: Dataset, split: Split, wanted: Sequence[Trial]
) -> Estimate:
    """Adds up what is not sealed yet. The interval is wide until the rates of this machine are known."""
    todo = [trial for trial in wanted if not sealed(home.trials / trial.id)]
    cards = strategies()
    by_source: dict[str, list[Trial]] = defaultdict(list)
    for trial in todo:
        by_source[trial.source].append(trial)
    labels = len(split.train) + len(split.validation)
    everything = labels + len(split.test)
    seconds = prefix_rows = naive_rows = cache = 0.0
    peak, measured = 600.0, True
    for source_id, group in by_source.items():
        if source_id == "none":
            seconds += len(group) * CLASSICAL_SECONDS * max(1.0, dataset.rows / 5000)
            continue
        source = sources.get(home, source_id)
        rate, known = forward_rate(store, source)
        measured &= known
        frozen = {
            (trial.strategy == "random_frozen", trial.strategy == "multilayer_probe")
            for trial in group
            if cards[trial.strategy].layout(4, trial.knobs).boundary == 4
        }
        for trial in group:
            used = share(trial, dataset, labels)
            layout = cards[trial.strategy].layout(8, trial.knobs)
            naive_rows += used + len(split.test) if layout.boundary == 8 else 0
            if layout.boundary == 8:
                continue
            trained = sum(rate > 0 for rate in layout.rates) / 8
            steps = max(int(trial.knobs.get("min_steps", 0)), math.ceil(used / int(trial.knobs.get("batch_size", 16))))
            passes = max(int(trial.knobs.get("epochs", 1)) * used, steps * int(trial.knobs.get("batch_size", 16)))
            tried = int(trial.knobs.get("rates_tried", 1))
            likely = 0.6  # early stopping ends most trials before their last epoch
            seconds += tried * likely * passes * TRAIN_COST * trained / rate + len(split.test) / rate
        prefix_rows += len(frozen) * everything
        seconds += len(frozen) * everything / rate + 1.0
        cache += len(frozen) * everything * 4 * 512
        peak = max(peak, 500 + (source.parameters or 1e7) * 4 * 5 / 1e6)
    spread = 1.6 if measured else 3.0
    learnt = _learnt(store)
    seconds *= learnt
    detectable = mde(len(split.test), study.draws) if dataset.classes else None
    said = [f"{len(todo)} of {len(wanted)} trials are to be run."]
    if not measured:
        said.append("This machine has not run these sources yet, so the time is a guess.")
    if detectable is not None:
        said.append(
            f"Gains of {100 * detectable:.1f} points or more will probably be decided; smaller ones may stay open."
        )
    return Estimate(
        seconds=seconds,
        seconds_low=seconds / spread,
        seconds_high=seconds * spread,
        peak_mb=peak,
        cache_bytes=int(cache),
        trials=len(wanted),
        sealed=len(wanted) - len(todo),
        prefix_rows=int(prefix_rows),
        prefix_rows_naive=int(naive_rows),
        detectable=detectable,
        sentences=tuple(said),
    )


def share(trial: Trial, dataset: Dataset, labels: int) -> int:
    """Labelled rows that a trial uses, validation included."""
    if trial.per_class is not None:
        return min(labels, trial.per_class * max(1, len(dataset.classes)))
    return max(1, round((trial.fraction or 1.0) * labels))


def mde(rows: int, draws: int, discordance: float = 0.15) -> float:
    """Detectable gain at 80 % power before a run: 2.80 sqrt(discordant share / rows); see docs/statistics.md.

    `discordance` is the share of test rows on which two arms usually disagree; draws add their own spread.
    """
    return 2.80 * math.sqrt(discordance / max(rows, 1) * (1 + 1 / max(draws, 1)))


def _learnt(store: Store) -> float:
    """How far this installation's earlier estimates were off: the median of actual / predicted, within 1/4 to 4."""
    ratios = [
        fact["actual_seconds"] / fact["raw_seconds"]
        for fact in store.memories("estimate")[-20:]
        if fact.get("raw_seconds", 0) > 5 and fact.get("actual_seconds", 0) > 0
    ]
    return float(np.clip(np.median(ratios), 0.25, 4.0)) if len(ratios) >= 3 else 1.0
