"""What a source model costs on this machine, and what a study will cost by it: measured where it can be, else guessed.

`engine/measuring.py` measures. Of a source on a dataset it keeps in the store, under "rate" and `costs.rate_key`:

    rows_per_second           whole backbone, no gradients; of the last sweep where there was one since
    row_bytes                 {"<boundary>": bytes of one stored activation}
    memory_mb                 of the device that it was measured on
    idle_mb                   memory of a job before it loads a network, in MB: libraries
    peak_mb                   peak memory of a pass without gradients, in MB above that
    encode_rows_per_second, encoded_row_bytes, load_seconds, stages, width
    ways                      for every `plans.way` of training it:
        step                      seconds a row of a training step
        seen                      seconds a row that is only looked at
        mb                        peak memory above idle_mb
        places, speedup           how many trainings fit side by side on a thread each; of a step by all threads,
                                  over one
        batch_size, epochs, min_steps, patience: of the recipe that the strategy made

and of the classical control, under "classical" and the dataset's id:

    read                      seconds to read a row, once for all trials
    fit                       [[rows, seconds to fit them and to predict as many], ...], fewest first
    once                      whether draws of all labels are fitted once

What is missing is told from the same source on other rows by how much it reads of each (`row_sizes.py`), or else
guessed, on the slow side, from the source's size.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tltools import plans, processes
from tltools.judging import ridge
from tltools.plans import Counts
from tltools.records import Source, Trial

Rate = Mapping[str, Any]

EARLY = 0.6  # share of the epochs that early stopping usually leaves
EVALUATE_EVERY = 20  # steps at least between two looks at the validation rows, as the loop has
HELD_MB = 512.0  # encoded rows beyond this lie in a memory-mapped file
LIBRARIES_MB = 530.0  # of a job before it loads a network, where that was not measured
LOADED_MB = 150.0  # what comes with a network: its code, a tokenizer, buffers
CONTROL_MB = 60e-6  # a character of the texts that the classical control counts and is fitted on
NETWORK_MB = 4e-6  # a parameter; every other network of a study stays loaded beside the one at work
COPIES = 2  # of a network in which anything is trained: the source's own, and the one that is trained
TRAINED_COPIES = 4  # more of what is trained: its gradient, two moments, and the weights of the best epoch
STARTED = 256  # training rows at most that the start of a head looks at
CLEARLY = 1.1  # times as fast side by side: below it is not worth the memory
STUDY_SECONDS = 0.4  # to plan and to judge
FORK_SECONDS = 0.2  # to set up what trains in a place of its own, one after the other
SEAL_SECONDS = 0.03  # to write a trial
TWIN_SECONDS = 2e-8  # a parameter, to copy a network for a trial and to compare it at the end
CLASSICAL: Mapping[str, Rate] = {  # the control by modality, where it was not measured: as the module says
    "text": {"read": 5e-4, "fit": [[400, 0.5], [1600, 2.5]], "once": True},
    "sequence": {"read": 5e-4, "fit": [[400, 0.5], [1600, 2.5]], "once": True},
    "image": {"read": 1e-3, "fit": [[100, 0.01]], "once": True},
    "audio": {"read": 5e-3, "fit": [[100, 0.01]], "once": True},
    "tabular": {"read": 0.0, "fit": [[100, 0.5]]},
}  # fmt: skip
STEP = 3.5  # times a pass without gradients
GUESSED_FLOPS = 1e11  # sustained per second, on the slow side for two cores with bf16
GUESSED_WORK = {  # times a weight is used, by what `row_sizes.size` counts: half of a text model's are of its words
    "text": 0.5, "frames": 0.5, "audio": 1.0, "image": 160.0, "tabular": 1.0,
}  # fmt: skip
UNKNOWN = {"tabular": 1_000_000}  # parameters of a network whose card does not say them, with hardly more than columns
USUAL_PARAMETERS = 25_000_000  # of any other
USUAL_PIXELS = 224  # of pictures, each way, for which that holds; networks for smaller ones shrink them less
GUESSED_MB = {  # of a row while a network trains on it; of what is read one after another: a parameter and token
    "text": 1e-8, "frames": 1e-8, "audio": 1e-8, "image": 60.0, "tabular": 0.5,
}  # fmt: skip
LEAST_PARAMETERS = 20_000_000  # of a network, for that: smaller ones are narrow rather than shallow
OF_A_SOURCE = ("stages", "width", "load_seconds", "memory_mb", "idle_mb")  # whatever rows it reads


def guess(source: Source, size: float) -> dict[str, Any]:
    """A rate record for a source that was never measured here, on the slow side; size: that of a row."""
    parameters = source.parameters or UNKNOWN.get(source.reads, USUAL_PARAMETERS)
    network_mb = NETWORK_MB * parameters
    work = 2.0 * parameters * GUESSED_WORK[source.reads] * size
    row_mb = GUESSED_MB[source.reads] * size
    if source.reads == "image":
        pixels = ((source.image_size or USUAL_PIXELS) / USUAL_PIXELS) ** 2
        work, row_mb = work * max(1.0, pixels), row_mb * pixels
    elif source.reads != "tabular":
        row_mb *= max(parameters, LEAST_PARAMETERS)
    forward = min(GUESSED_FLOPS / work, 20_000.0)
    size, encoding = {"image": (150_000, 150.0), "audio": (200_000, 150.0)}.get(source.reads, (400, 5_000.0))
    return {
        "parameters": source.parameters or 0,
        "rows_per_second": forward,
        "encoded_row_bytes": size,
        "encode_rows_per_second": encoding,
        "load_seconds": 2.0 + parameters / 5e7,
        "peak_mb": LOADED_MB + COPIES * network_mb,
        "network_mb": network_mb,
        "row_mb": row_mb,
        "places": processes.places(),
        "stages": plans.STAGES,
        "width": 512,
    }


def elsewhere(rate: Rate, ratio: float) -> dict[str, Any]:
    """What a record of other rows says of rows of which so many times as much is read."""
    found = {name: rate[name] for name in OF_A_SOURCE if name in rate}
    return found | {"rows_per_second": float(rate["rows_per_second"]) / ratio}


def seconds(
    trials: Sequence[Trial],
    sources: Mapping[str, Source],
    rates: Mapping[str, Rate],
    counts: Counts,
    classical: Rate | None = None,
) -> float:
    """Expected seconds of a study, evaluation and loading included, nothing cached; sources and rates: by
    `plans.reader`."""
    stages = {name: int(rate["stages"]) for name, rate in rates.items()}
    total = STUDY_SECONDS
    for name, rate in rates.items():
        inits = {trial.strategy == "random_frozen" for trial in trials if plans.reader(trial) == name}
        total += len(inits) * float(rate["load_seconds"]) + counts.rows / float(rate["encode_rows_per_second"])
    swept = {(p.source, p.init): p for p in plans.prefixes(trials, stages, counts)}
    total += sum(p.rows / float(rates[p.source]["rows_per_second"]) for p in swept.values() if p.source in rates)
    controls = [trial for trial in trials if plans.reader(trial) not in rates]
    if controls:
        cost = classical or CLASSICAL["text"]
        total += float(cost["read"]) * plans.touched(controls, counts)
        fits = dict[str, int]()  # rows of each; draws of all labels are one, where no seed makes them differ
        for trial in controls:
            rows = sum(plans.labelled(trial, counts))
            same = bool(cost.get("once")) and rows == counts.train + counts.validation
            fits[trial.split if same else trial.id] = rows
        total += SEAL_SECONDS * len(controls) + sum(fitted(cost["fit"], rows) for rows in fits.values())
    return total + _worked_off([trial for trial in trials if plans.reader(trial) in rates], rates, counts)


def _worked_off(trials: Sequence[Trial], rates: Mapping[str, Rate], counts: Counts) -> float:
    """Expected seconds of trials whose prefixes are there: each training goes to the place that is free first."""
    places, total = at_once(trials, rates), 0.0
    most = max(places.values(), default=1)
    free = [FORK_SECONDS * i * (most > 1) for i in range(1, most + 1)]
    for trial in sorted(trials, key=lambda one: one.draw):
        rate = rates[plans.reader(trial)]
        took = trial_seconds(trial, rate, counts)
        if places.get(trial.id, 1) > 1:
            heapq.heapreplace(free, free[0] + took * float(_way(trial, rate)["speedup"]))
        else:
            total += took
    return total + max(free)


def at_once(trials: Sequence[Trial], rates: Mapping[str, Rate]) -> dict[str, int]:
    """How many trainings go on at once while a trial is trained, by its id; those that nobody measured are left out."""
    ways = {trial.id: _way(trial, rates[plans.reader(trial)]) for trial in trials if plans.reader(trial) in rates}
    measured = {name: way for name, way in ways.items() if "places" in way}
    places = {name: min(int(way["places"]), len(measured)) for name, way in measured.items()}
    return {name: most if pays(most, measured[name]["speedup"]) else 1 for name, most in places.items()}


def pays(places: int, speedup: float) -> bool:
    """Whether so many trainings on a thread each get on faster than one after the other by all threads."""
    return places >= CLEARLY * speedup


def _way(trial: Trial, rate: Rate) -> Rate:
    """What is known of training a trial; where it was measured with whole batches only, from that."""
    known, stages = rate.get("ways", {}), int(rate["stages"])
    part = int(trial.knobs.get("rows_at_once", 0))
    found: Rate = known.get(plans.way(trial, stages), {})
    if found or not part:
        return found
    whole = trial.model_copy(update={"knobs": {**trial.knobs, "rows_at_once": 0}})
    return _in_parts(known.get(plans.way(whole, stages), {}), _weights_mb(trial, rate), part)


def _in_parts(way: Rate, weights: float, part: int) -> Rate:
    """What a way costs when so many rows are computed at once: what is held per row falls with them, not the MB of
    weights."""
    if not way or part >= int(way["batch_size"]):
        return way
    fixed = min(weights, float(way["mb"]))
    return {**way, "mb": fixed + (float(way["mb"]) - fixed) * part / int(way["batch_size"])}


def fitted(points: Sequence[Sequence[float]], rows: int) -> float:
    """Seconds to fit rows, on the line through the two largest of the measured points; never less than a share of
    the nearest."""
    rows_of, took = points[-1]
    slope = took / rows_of
    if len(points) > 1:
        slope = min(slope, max(0.0, (took - points[-2][1]) / (rows_of - points[-2][0])))
    return max(took + slope * (rows - rows_of), took * min(1.0, rows / rows_of))


def trial_seconds(trial: Trial, rate: Rate, counts: Counts) -> float:
    """Expected seconds of one trial of a source once its prefix is there."""
    train, validation = plans.labelled(trial, counts)
    stages = int(rate["stages"])
    way = _way(trial, rate)
    if not way and plans.closed_form(trial, stages):
        wide = int(rate["width"]) * (stages if trial.strategy == "multilayer_probe" else 1)
        return SEAL_SECONDS + 2e-10 * min(train, wide) ** 2 * max(train, wide)
    boundary = plans.depth(trial, stages)
    above = stages / max(stages - boundary, 0.5) * float(rate["rows_per_second"])
    step, seen = (float(way["step"]), float(way["seen"])) if way else (step_seconds(rate, boundary), 1 / above)
    passes, looks = passes_of(trial, train, validation, way)
    started, begun = min(STARTED, train), SEAL_SECONDS + TWIN_SECONDS * float(rate["parameters"])
    return train * passes * step + (started + validation * looks + train + validation + counts.test) * seen + begun


def passes_of(trial: Trial, train: int, validation: int, way: Rate) -> tuple[float, float]:
    """Expected (passes over the training rows, evaluations) of all rates that a trial tries; `way` has what its knobs
    do not say."""
    knobs = {**way, **trial.knobs}
    batch = min(float(knobs.get("batch_size", 16)), float(way.get("batch_size", math.inf)))
    per_epoch = plans.steps(train, batch)
    tried = plans.rates_tried(trial)
    most = plans.epochs(trial, train) / tried
    if "epochs" not in trial.knobs and "texts" not in trial.knobs:
        most = max(float(knobs.get("epochs", 1)), float(knobs.get("min_steps", 0)) / per_epoch)
    every = max(1, math.ceil(EVALUATE_EVERY / per_epoch))  # epochs
    patience = float(knobs.get("patience", 0)) if validation else 0.0
    # it cannot stop before it has waited so long, and two looks or so are better than those before
    passes = max(EARLY * most, min(most, (patience + 2) * every)) if patience else most
    return passes * tried, passes * tried / every


def step_seconds(rate: Rate, boundary: int) -> float:
    """Seconds a row of a step from a boundary: as it was measured from there or, by the share of the stages above,
    from elsewhere; guessed where nothing was measured."""
    stages = int(rate["stages"])
    share = {b: max(stages - b, 0.1) / stages for b in range(stages + 1)}
    known = {int(way.split(":")[1]): float(found["step"]) for way, found in rate.get("ways", {}).items()}
    if not known:
        return STEP / float(rate["rows_per_second"]) * share[boundary]
    nearest = min(known, key=lambda b: abs(b - boundary))
    return known[nearest] * share[boundary] / share[nearest]


def peak_mb(
    trials: Sequence[Trial],
    sources: Mapping[str, Source],
    rates: Mapping[str, Rate],
    counts: Counts,
    *,
    alone: bool = False,
    control: float = 0.0,
) -> float:
    """Expected peak memory of the job in MB: that of the hungriest source, with its encoded rows beside, and what the
    trainings beside the first take; `alone`: without these, which wait where memory is short; `control`: what the
    classical control takes."""
    needs, networks, beside = [control], 0.0, 0.0
    places = at_once(trials, rates)
    for name, source in sources.items():
        rate, own = rates[name], [one for one in trials if plans.reader(one) == name]
        steps = [one for one in own if _way(one, rate) or not plans.closed_form(one, int(rate["stages"]))]
        trained = {one.id: _trained_mb(one, rate) for one in steps}
        held = min(counts.rows * float(rate["encoded_row_bytes"]) / 1e6, HELD_MB)
        needs.append(max([float(rate["peak_mb"]), *trained.values(), _fitted_mb(own, rate, counts)]) + held)
        network, most = NETWORK_MB * float(source.parameters or 0), min(int(rate["places"]), len(trained))
        each = [(places.get(name, most) - 1) * (mb - network) for name, mb in trained.items()]
        beside = max([beside, *each])
        inits = {trial.strategy == "random_frozen" for trial in own}
        networks += len(inits) * network
    others = networks - min((NETWORK_MB * float(source.parameters or 0) for source in sources.values()), default=0.0)
    idle = max([float(rate["idle_mb"]) for rate in rates.values() if "idle_mb" in rate], default=LIBRARIES_MB)
    return idle + max(needs) + max(others, 0.0) + (0.0 if alone else beside)


def _trained_mb(trial: Trial, rate: Rate) -> float:
    """Peak memory of training in MB, above that of libraries: as it was measured, for this way or for the hungriest
    other, or guessed by the rows of a batch and the stages that are trained."""
    others = float(rate["network_mb"]) if plans.rates_tried(trial) > 1 else 0.0  # the best so far; one was measured
    if way := _way(trial, rate):
        return float(way["mb"]) + others
    if rate.get("ways"):
        return max(float(way["mb"]) for way in rate["ways"].values()) + others
    stages = int(rate["stages"])
    rows = float(trial.knobs.get("rows_at_once") or trial.knobs.get("batch_size", 16))
    above = max(stages - _bottom(trial, stages), 0.5) / stages
    return LOADED_MB + _weights_mb(trial, rate) + others + rows * above * float(rate["row_mb"])


def _weights_mb(trial: Trial, rate: Rate) -> float:
    """MB of a network that is trained, with all that its training holds of its weights, however few rows."""
    stages, layout = int(rate["stages"]), plans.layout_of(trial, int(rate["stages"]))
    whole = layout is not None and layout.part == "all"  # else only norms or adapters are trained, or nothing
    share = (stages - _bottom(trial, stages)) / stages if whole else 0.0
    return float(rate["network_mb"]) * (COPIES + TRAINED_COPIES * share)


def _bottom(trial: Trial, stages: int) -> int:
    """Stages that no gradient reaches, whether their activations are kept or computed anew."""
    layout = plans.layout_of(trial, stages)
    return layout.boundary if layout else 0


def _fitted_mb(trials: Sequence[Trial], rate: Rate, counts: Counts) -> float:
    """MB of the features that heads in closed form read, and of the largest fit of one beside them; 0 without such."""
    stages, width, found = int(rate["stages"]), int(rate["width"]), [0.0]
    probes = [one for one in trials if not _way(one, rate) and plans.closed_form(one, stages)]
    for trial in probes:
        wide = width * (stages if trial.strategy == "multilayer_probe" else 1)
        rows = sum(plans.labelled(trial, counts))
        side = min(rows, wide, ridge.WIDEST)
        features = 4 * wide * (plans.touched(probes, counts) + rows)  # of all rows, and of those that are fitted
        blocks = 3 * 8 * wide * min(rows, ridge.BLOCK)  # standardised, in double precision
        found.append((features + blocks + 8 * side * (min(rows, ridge.LOO_ROWS) + 4 * side)) / 1e6)
    return max(found) + (float(rate["network_mb"]) if probes else 0.0)


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
