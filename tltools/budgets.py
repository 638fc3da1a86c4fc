"""What a time budget buys: the order in which whole comparisons end soonest, and which trials of it end in time.

A verdict needs an arm and its control on as many labels, in several draws. So trainings that reach as deep on as many
labels, transfer and control, belong together, and the cheapest such comparison is finished before the next begins.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tltools import plans, rates
from tltools.plans import Counts
from tltools.records import Study, Trial
from tltools.strategies import strategies

DRAWS = 3  # of each comparison before any gets more; fewer decide next to nothing
JUDGED = 2  # draws that a verdict needs at least


def groups(
    study: Study, trials: Sequence[Trial], known: Mapping[str, Mapping[str, Any]], counts: Counts
) -> list[list[Trial]]:
    """The work of a study in its order, each list for one call of its strategy; known: rates by `plans.reader`.

    Adaptive draws look at all arms after each draw, and folds make whole repeats, so these come draw by draw.
    """
    if study.budget.minutes is None or study.adaptive or study.folds:
        return plans.ordered(trials, {name: int(rate["stages"]) for name, rate in known.items()})
    return by_comparison(trials, known, counts)


def by_comparison(trials: Sequence[Trial], known: Mapping[str, Mapping[str, Any]], counts: Counts) -> list[list[Trial]]:
    """The groups of `plans.ordered`, of which the trainings come comparison by comparison, the cheapest first, with
    `DRAWS` draws of each; then draw by draw what is left."""
    stages = {name: int(rate["stages"]) for name, rate in known.items()}
    whole: dict[tuple[Any, ...], float] = defaultdict(float)

    def steps(trial: Trial) -> bool:
        return plans.tunes(trial, stages.get(plans.reader(trial), plans.STAGES), False)

    def comparison(trial: Trial) -> tuple[Any, ...]:
        deep = plans.depth(trial, stages[plans.reader(trial)])
        return trial.source, deep, trial.per_class or 0, trial.fraction or 0.0

    for trial in trials:
        if steps(trial):
            whole[comparison(trial)] += rates.trial_seconds(trial, known[plans.reader(trial)], counts)

    def place(group: Sequence[Trial]) -> tuple[Any, ...]:
        first = group[0]
        if not steps(first):
            return (0,)
        return (1, whole[comparison(first)], comparison(first)) if first.draw < DRAWS else (2,)

    return sorted(plans.ordered(trials, stages), key=place)


def in_time(
    groups: Sequence[Sequence[Trial]], seconds: Callable[[Sequence[Trial]], float], limit: float
) -> list[Trial]:
    """The trials, from the first on, that end within so many seconds; seconds: what some trials take."""
    trials = [trial for group in groups for trial in group]
    least, most = 0, len(trials)
    while least < most:
        middle = (least + most + 1) // 2
        if seconds(trials[:middle]) <= limit:
            least = middle
        else:
            most = middle - 1
    return trials[:least]


def draws(trials: Sequence[Trial]) -> int:
    """The draws of the source's arm that has the most among the trials, on as many labels; below `JUDGED` of them
    there is no verdict, below `DRAWS` hardly one that decides."""
    arms = Counter(plans.like(one) for one in trials if one.kind == "transfer")
    return max(arms.values(), default=0)


def sentence(study: Study, bought: Sequence[Trial], todo: Sequence[Trial]) -> str:
    """What of a study ends in its time, by strategies and shares of the labels, and what does not."""
    ended, asked = (Counter(map(plans.like, some)) for some in (bought, todo))
    whole, fewer, part, none = list[str](), list[str](), list[str](), list[str]()
    for key in dict.fromkeys(trial.strategy for trial in todo):
        alike = {plans.like(trial): _labels(trial) for trial in todo if trial.strategy == key}
        short = {labels for one, labels in alike.items() if ended[one] < min(JUDGED, asked[one])}
        reached = [labels for labels in dict.fromkeys(alike.values()) if labels not in short]
        title = strategies()[key].title
        if all(ended[one] == asked[one] for one in alike):
            whole.append(title)
        elif not short:
            fewer.append(title)
        elif reached:
            part.append(f"{title} with {_listed(reached)}")
        else:
            none.append(title)
    unit = "of the labels" if todo[0].per_class is None else "labels a class"
    said = [f"all of {_listed(whole)}"] if whole else []
    said += [f"fewer {'folds' if study.folds else 'draws'} of {_listed(fewer)}"] if fewer else []
    said += [f"{'; '.join(part)} {unit}"] if part else []
    said += [f"nothing of {_listed(none)}"] if none else []
    return f"{study.budget.minutes or 0:g} min buy {len(bought)} of {len(todo)} trials: {'; '.join(said)}."


def _labels(trial: Trial) -> str:
    return str(trial.per_class) if trial.per_class is not None else f"{100 * (trial.fraction or 1.0):g} %"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
