"""What a source model costs on this machine, and what a study will cost by it: measured where it can be, else guessed.

`engine/planner.py` measures, and keeps a record in the store under kind "rate" and the key `costs.rate_key(source)`:

    rows_per_second           whole backbone, no gradients
    rows_per_second_train     one training step over the whole backbone, the word table of a text model left out
    rows_per_second_scratch   the same with the word table
    train                     {"<boundary>": rows per second of a step from the cached activation there}
    row_bytes                 {"<boundary>": bytes of one stored activation}
    idle_mb                   memory of a job before it loads a network, in MB: libraries
    peak_mb                   peak memory of a pass without gradients, in MB above that
    train_mb                  {"<boundary>": that of a step from there}
    train_peak_mb             the largest of all
    encode_rows_per_second, encoded_row_bytes, load_seconds, stages, width

Anything that is missing is guessed, on the slow side, from the source's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tltools import plans
from tltools.plans import Counts
from tltools.records import Source, Trial

Rate = Mapping[str, Any]

EARLY = 0.6  # share of the epochs that early stopping usually leaves
EVALUATE_EVERY = 20  # steps at least between two looks at the validation rows, as the loop has
HELD_MB = 512.0  # encoded rows beyond this lie in a memory-mapped file
LIBRARIES_MB = 400.0  # of a job before it loads a network, where that was not measured
NETWORK_MB = 4e-6  # a parameter; every other network of a study stays loaded beside the one at work
STARTED = 256  # training rows at most that the start of a head looks at
STUDY_SECONDS = 0.7  # to plan and to judge
SEAL_SECONDS = 0.03  # to write a trial
CLASSICAL = {  # the control by modality: (seconds to read a row, once for all trials; seconds a row to fit it)
    "text": (2e-4, 5e-5), "sequence": (2e-4, 5e-5), "image": (1e-3, 3e-5), "audio": (5e-3, 3e-5),
    "tabular": (0.0, 8e-4),
}  # fmt: skip
GUESSED_FLOPS = 1e11  # sustained per second, on the slow side for two cores with bf16
GUESSED_WORK = {
    "text": 30,
    "frames": 60,
    "audio": 150,
    "image": 160,
    "tabular": 1,
}  # times parameters a weight is used per row


def guess(source: Source) -> dict[str, Any]:
    """A rate record for a source that was never measured here, on the slow side."""
    parameters = source.parameters or 25_000_000
    work = 2.0 * parameters * GUESSED_WORK.get(source.reads, 100)
    forward = min(GUESSED_FLOPS / work, 20_000.0)
    size, encoding = {"image": (150_000, 150.0), "audio": (200_000, 150.0)}.get(source.reads, (400, 5_000.0))
    return {
        "rows_per_second": forward,
        "rows_per_second_train": forward / 3.5,
        "encoded_row_bytes": size,
        "encode_rows_per_second": encoding,
        "load_seconds": 2.0 + parameters / 5e7,
        "peak_mb": 150.0 + parameters * 4 / 1e6 * 2,
        "train_peak_mb": 450.0 + parameters * 4 / 1e6 * 5,
        "stages": plans.STAGES,
        "width": 512,
    }


def seconds(
    trials: Sequence[Trial],
    sources: Mapping[str, Source],
    rates: Mapping[str, Rate],
    counts: Counts,
    modality: str = "text",
) -> float:
    """Expected seconds of a study, evaluation and loading included, nothing cached; sources and rates: by
    `plans.reader`."""
    rates = {name: {**guess(source), **rates.get(name, {})} for name, source in sources.items()}
    stages = {name: int(rate["stages"]) for name, rate in rates.items()}
    total = STUDY_SECONDS
    for name, rate in rates.items():
        inits = {trial.strategy == "random_frozen" for trial in trials if plans.reader(trial) == name}
        total += len(inits) * float(rate["load_seconds"]) + counts.rows / float(rate["encode_rows_per_second"])
    swept = {(p.source, p.init): p for p in plans.prefixes(trials, stages, counts)}
    total += sum(p.rows / float(rates[p.source]["rows_per_second"]) for p in swept.values() if p.source in rates)
    controls = [trial for trial in trials if plans.reader(trial) not in rates]
    if controls:
        read, fit = CLASSICAL[modality]
        total += read * plans.touched(controls, counts)
        total += sum(SEAL_SECONDS + fit * (plans.labelled(trial, counts)[0] + counts.test) for trial in controls)
    tuned = [trial for trial in trials if plans.reader(trial) in rates]
    return total + sum(trial_seconds(trial, rates[plans.reader(trial)], counts) for trial in tuned)


def trial_seconds(trial: Trial, rate: Rate, counts: Counts) -> float:
    """Expected seconds of one trial of a source once its prefix is there."""
    train, validation = plans.labelled(trial, counts)
    stages = int(rate["stages"])
    if plans.closed_form(trial, stages):
        wide = int(rate["width"]) * (stages if trial.strategy == "multilayer_probe" else 1)
        return SEAL_SECONDS + 2e-10 * min(train, wide) ** 2 * max(train, wide)
    boundary, passes = plans.depth(trial, stages), plans.epochs(trial, train)
    passes *= EARLY if trial.knobs.get("patience") else 1.0
    fresh = trial.strategy == "scratch" and "rows_per_second_scratch" in rate  # trains the word table too
    step = float(rate["rows_per_second_scratch"]) if fresh else train_rate(rate, boundary)
    above = float(rate["rows_per_second"]) * stages / max(stages - boundary, 0.5)
    steps = train * passes / float(trial.knobs.get("batch_size", 16))
    evaluations = min(passes, steps / EVALUATE_EVERY)
    seen = min(STARTED, train) + validation * evaluations + train + validation + counts.test  # the last: at the end
    return train * passes / step + seen / above + 0.5


def train_rate(rate: Rate, boundary: int) -> float:
    """Rows per second of a step from a boundary: measured, or between its measured neighbours in seconds a row."""
    stages = int(rate["stages"])
    known = {int(k): 1 / float(v) for k, v in rate.get("train", {}).items()}
    known.setdefault(0, 1 / float(rate["rows_per_second_train"]))
    known.setdefault(stages, known[0] * 0.02)
    below = max(b for b in known if b <= boundary)
    above = min(b for b in known if b >= boundary)
    if below == above:
        return 1 / known[below]
    share = (boundary - below) / (above - below)
    return 1 / (known[below] * (1 - share) + known[above] * share)


def peak_mb(trials: Sequence[Trial], sources: Mapping[str, Source], rates: Mapping[str, Rate], counts: Counts) -> float:
    """Expected peak memory of the job in MB: that of the hungriest source, with its encoded rows beside."""
    needs, networks = [0.0], 0.0
    for name, source in sources.items():
        rate, own = {**guess(source), **rates.get(name, {})}, [one for one in trials if plans.reader(one) == name]
        stages, known = int(rate["stages"]), rate.get("train_mb", {})
        depths = {plans.depth(trial, stages) for trial in own if not plans.closed_form(trial, stages)}
        held = min(counts.rows * float(rate["encoded_row_bytes"]) / 1e6, HELD_MB)
        trained = [float(known.get(str(depth), rate["train_peak_mb"])) for depth in depths]
        needs.append(max([float(rate["peak_mb"]), *trained]) + held)
        inits = {trial.strategy == "random_frozen" for trial in own}
        networks += len(inits) * NETWORK_MB * float(source.parameters or 0)
    others = networks - min((NETWORK_MB * float(source.parameters or 0) for source in sources.values()), default=0.0)
    idle = max([float(rate["idle_mb"]) for rate in rates.values() if "idle_mb" in rate], default=LIBRARIES_MB)
    return idle + max(needs) + max(others, 0.0)


def correction(ledger: Sequence[Mapping[str, Any]], what: str = "seconds") -> tuple[float, float, float]:
    """(factor, low, high) to put on a prediction, from past pairs `raw_*` and `actual_*`; shrunk towards 1.

    low and high span what four of five past studies came to; with none, half and double.
    """
    pairs = [(float(e.get(f"raw_{what}") or 0), float(e.get(f"actual_{what}") or 0)) for e in ledger]
    logs = sorted(math.log(actual / predicted) for predicted, actual in pairs if predicted > 0 and actual > 0)[-50:]
    if not logs:
        return 1.0, 0.5, 2.0
    centre = median(logs) * len(logs) / (len(logs) + 1)  # one made-up study that was predicted right
    errors = sorted(abs(value - centre) for value in [*logs, 0.0])
    spread = max(errors[min(len(errors) - 1, math.ceil(0.8 * len(errors)) - 1)], 0.1) * (1 + 1 / len(logs))
    return math.exp(centre), math.exp(centre - spread), math.exp(centre + spread)
