"""What the trials of a study share, and in what order they run: arithmetic only, so that screens may ask.

A trial reads its source through a frozen prefix (the stages below the first that is trained). The prefix runs in eval
mode, so what leaves it is a function of the row alone: one sweep serves all draws, shares of the labels and heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tltools.records import Trial
from tltools.strategies import Layout, strategies

STAGES = 8  # of a backbone that nobody has looked into yet
PASSES = 12  # over the texts at most in contrastive tuning: more were seen to fit a handful of texts too closely


@dataclass(frozen=True)
class Counts:
    """Rows of a split, and its number of classes (0 for numbers)."""

    train: int
    validation: int
    test: int
    classes: int = 0

    @property
    def rows(self) -> int:
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Prefix:
    """A frozen part of a source that several trials read through."""

    source: str  # as `reader` names it
    init: str  # "source", or "random" for the control
    boundary: int  # stages in it
    stages: int  # of the whole backbone
    strategies: tuple[str, ...]
    trials: int
    rows: int  # pushed through it once, for everybody
    rows_naive: int  # the same when each trial pushes its own, each epoch
    passes: float  # how often each row is read back, on average

    @property
    def whole(self) -> bool:
        """True when nothing of the backbone is trained: what is kept is a pooled vector."""
        return self.boundary == self.stages


@dataclass(frozen=True)
class Decision:
    """A prefix, whether its activations go to the disk, and why."""

    prefix: Prefix
    keep: bool
    why: str


@dataclass(frozen=True)
class Plan:
    """How a study will be worked off."""

    order: tuple[tuple[Trial, ...], ...]  # each group goes to its strategy in one call
    decisions: tuple[Decision, ...]
    rows: int  # pushed through frozen prefixes
    rows_naive: int  # that one trial at a time would push

    def boundary(self, trial: Trial, stages: int) -> int:
        """The deepest boundary kept on disk that serves a trial; 0 when it must read its rows itself."""
        wanted = depth(trial, stages)
        kept = [d.prefix.boundary for d in self.decisions if d.keep and d.prefix.source == reader(trial)]
        return max((b for b in kept if b <= wanted and b < stages), default=0)

    def wants(self, source: str) -> set[Literal["pooled", "layers"] | int]:
        """What the first pass of a source (not its random twin) should write: "pooled", "layers", boundaries."""
        found: set[Literal["pooled", "layers"] | int] = set()
        for prefix in (d.prefix for d in self.decisions if d.keep and d.prefix.source == source):
            if prefix.init == "source":
                found.add("pooled" if prefix.whole else prefix.boundary)
                found |= {"layers"} if "multilayer_probe" in prefix.strategies else set()
        return found


def reader(trial: Trial) -> str:
    """A trial's source by how it reads the rows: "local/a", or "local/a|frames" behind a new input layer, or
    "local/a|whole" with its own head, which is a backbone and a cost of its own. The head of a trial of one's own reads
    the same features as others."""
    strategy = strategies()[trial.strategy]
    if strategy.own_head and not trial.source.startswith("own/"):
        return f"{trial.source}|whole"
    return f"{trial.source}|frames" if "frames" in strategy.reads else trial.source


def layout_of(trial: Trial, stages: int) -> Layout | None:
    """What a trial trains; None for one that needs no source."""
    strategy = strategies()[trial.strategy]
    return strategy.layout(stages, trial.knobs) if strategy.needs_source else None


def closed_form(trial: Trial, stages: int) -> bool:
    """True when no gradient step is taken."""
    layout = layout_of(trial, stages)
    return layout is not None and not any(layout.rates) and layout.head == 0


def tunes(trial: Trial, stages: int, headed: bool) -> bool:
    """True when gradient steps are taken; `headed`: the task has heads without a closed form, so they take steps."""
    return strategies()[trial.strategy].needs_source and (headed or not closed_form(trial, stages))


def way(trial: Trial, stages: int) -> str:
    """What of a trial decides how long its steps take and how much memory, as a key: "last_block:6:16", with a fourth
    number where a batch is computed some rows at once."""
    whole = f"{trial.strategy}:{depth(trial, stages)}:{trial.knobs.get('batch_size', 0):g}"
    return whole + (f":{trial.knobs['rows_at_once']:g}" if trial.knobs.get("rows_at_once") else "")


def depth(trial: Trial, stages: int) -> int:
    """Stages of the prefix that may be computed once; augmented images differ each epoch, so there are none."""
    layout = layout_of(trial, stages)
    if layout is None or any(trial.knobs.get(name) for name in ("flip", "rotate", "scale", "crop", "colour")):
        return 0
    return layout.boundary


def labelled(trial: Trial, counts: Counts) -> tuple[int, int]:
    """Rows a trial trains on and validates on."""
    train, validation = _drawn(trial, counts)
    return (train, validation) if trial.knobs.get("hold_out", True) else (train + validation, 0)


def _drawn(trial: Trial, counts: Counts) -> tuple[int, int]:
    if trial.per_class is not None:
        pool = min(trial.per_class * max(counts.classes, 1), counts.train + counts.validation)
        validation = round(pool * 0.2) if trial.per_class >= 5 else 0
        return pool - validation, validation
    share = trial.fraction if trial.fraction is not None else 1.0
    return max(1, round(share * counts.train)), max(1, round(share * counts.validation))


def touched(trials: Sequence[Trial], counts: Counts) -> int:
    """Expected number of different rows that trials read: shares nest within a draw, draws overlap by chance."""
    pool = counts.train + counts.validation
    largest = max(sum(labelled(trial, counts)) for trial in trials) / max(pool, 1)
    draws = len({trial.draw for trial in trials})
    return counts.test + round(pool * (1 - (1 - min(largest, 1.0)) ** draws))


def epochs(trial: Trial, rows: int) -> float:
    """Most passes over the training rows, all tried rates together; 1 for a closed form."""
    if "texts" in trial.knobs:
        return float(passes(int(trial.knobs["texts"]), rows))
    if "epochs" not in trial.knobs:
        return 1.0
    a_pass = steps(rows, float(trial.knobs.get("batch_size", 16)))
    least = math.ceil(float(trial.knobs.get("min_steps", 0)) / a_pass)
    return max(float(trial.knobs["epochs"]), least) * rates_tried(trial)


def steps(rows: int, batch: float) -> int:
    """Steps of one pass over the training rows: the last may be of few rows, but a row is never alone."""
    return max(1, math.ceil((rows - 1) / batch))


def rates_tried(trial: Trial) -> int:
    """How many learning rates a trial tries; without validation rows there is none to choose by."""
    return int(trial.knobs.get("rates_tried", 1)) if trial.knobs.get("hold_out", True) else 1


def passes(texts: int, rows: int) -> int:
    """Passes over so many rows until about `texts` of them were read, from 1 to `PASSES`."""
    return min(max(1, round(texts / max(rows, 1))), PASSES)


def prefixes(trials: Iterable[Trial], stages: Mapping[str, int], counts: Counts) -> list[Prefix]:
    """What the trials share, one entry per prefix that is computed once. stages: of each backbone by `reader`."""
    groups: dict[tuple[str, str, int], list[Trial]] = {}
    for trial in trials:
        count = stages.get(reader(trial), STAGES)
        if depth(trial, count):
            init = "random" if trial.strategy == "random_frozen" else "source"
            groups.setdefault((reader(trial), init, depth(trial, count)), []).append(trial)
    found = []
    for (source, init, boundary), group in groups.items():
        count = stages.get(source, STAGES)
        naive = sum(_naive_rows(trial, counts, count) for trial in group)
        seeds = len({trial.seed for trial in group}) if init == "random" else 1  # each seed is a network of its own
        rows = touched(group, counts) * seeds
        names = tuple(dict.fromkeys(trial.strategy for trial in group))
        found.append(Prefix(source, init, boundary, count, names, len(group), rows, naive, naive / max(rows, 1)))
    return sorted(found, key=lambda prefix: (prefix.source, prefix.init, prefix.boundary))


def rows_shared(found: Sequence[Prefix]) -> tuple[int, int]:
    """(rows pushed through frozen prefixes, rows that one trial at a time would push).

    One sweep of a source writes every boundary, so a source's rows count once.
    """
    once = {(prefix.source, prefix.init): prefix.rows for prefix in found}
    return sum(once.values()), sum(prefix.rows_naive for prefix in found)


def like(trial: Trial) -> tuple[Any, ...]:
    """What makes two trials take about the same time."""
    return trial.source, trial.strategy, str(trial.knobs), trial.fraction, trial.per_class


def ordered(trials: Iterable[Trial], stages: Mapping[str, int]) -> list[list[Trial]]:
    """The work in the order that brings evidence soonest; each list goes to its strategy in one call.

    Classical controls come first, for nothing is judged without a control, then closed forms, all draws together: a
    verdict stands within seconds. Then gradient strategies, draw by draw over all shares of the labels, small shares
    first, so that pairs stay complete; of the last of several draws the large ones, so that no long training is left
    alone at the end.
    """
    cards, trials = strategies(), list(trials)
    last = max((trial.draw for trial in trials), default=0)

    def gradient(trial: Trial) -> bool:
        needs = cards[trial.strategy].needs_source
        return needs and not closed_form(trial, stages.get(reader(trial), STAGES))

    def place(trial: Trial) -> tuple[Any, ...]:
        size = trial.per_class if trial.per_class is not None else trial.fraction or 1.0
        card = cards[trial.strategy]
        if not gradient(trial):
            return (0, card.needs_source, card.order, trial.source, trial.strategy, trial.draw, size)
        return (1, trial.draw, -size if last and trial.draw == last else size, card.order, trial.source, trial.strategy)

    groups: list[list[Trial]] = []
    for trial in sorted(trials, key=place):
        before = groups[-1][0] if groups else None
        alike = before is not None and _together(before) == _together(trial)
        if alike and not gradient(trial):
            groups[-1].append(trial)
        else:
            groups.append([trial])
    return groups


def _together(trial: Trial) -> tuple[str, ...]:
    """What trials have in common that go to their strategy in one call; folds differ in their splits."""
    return trial.source, trial.strategy, trial.split


def keep(prefix: Prefix, rate: Mapping[str, Any], *, write: float = 3e8, read: float = 1e9) -> tuple[bool, str]:
    """Whether to keep a prefix's activations on disk, and why: only where reading is cheaper than computing again.

    write, read: bytes per second of the disk.
    """
    if prefix.whole:
        return True, "pooled vectors are small; they are always kept."
    size = float(rate.get("row_bytes", {}).get(str(prefix.boundary), 50_000))
    compute = prefix.boundary / prefix.stages / float(rate["rows_per_second"])  # seconds a row
    saved, spent = (prefix.passes - 1) * compute, size / write + prefix.passes * size / read
    facts = f"{spent * 1e3:.1f} ms a row over the study, computing again {saved * 1e3:.1f} ms"
    if saved > spent:
        return True, f"kept: reading takes {facts} ({prefix.passes:.1f} passes, {size / 1000:.0f} kB a row)."
    return (
        False,
        f"computed again: reading would take {facts} ({prefix.passes:.1f} passes, {size / 1000:.0f} kB a row).",
    )


def _naive_rows(trial: Trial, counts: Counts, stages: int) -> int:
    """Rows that a trial alone pushes through its prefix: training and validation each epoch, the test rows once."""
    train, validation = labelled(trial, counts)
    passes = 1.0 if closed_form(trial, stages) else epochs(trial, train)
    return round((train + validation) * passes) + counts.test
