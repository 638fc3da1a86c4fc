"""A study's trials: every arm x share of the labels x draw, with ids that hash everything that decides the outcome."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from tltools import matching, sources, study_files
from tltools.artifacts import sealed
from tltools.home import Home
from tltools.modalities import modalities
from tltools.records import Dataset, Refusal, Source, Split, Study, Trial
from tltools.strategies import Strategy, strategies
from tltools.tasks import tasks

NOT_KEPT = "not kept: only draw 0 at the largest share of the labels keeps a model of this size"
_OF = {
    "transformers": "models of the transformers library",
    "timm": "image models of timm",
    "tabular": "models of tables",
}
RECIPE_VERSION = 16  # grows when the same trial would come out differently, so that old outcomes are not reused


def arms(
    study: Study, source: Source | None = None, dataset: Dataset | None = None
) -> list[tuple[Strategy, dict[str, Any]]]:
    """All arms of a study with complete knobs, as they are for a source and a dataset, transfer arms first.

    Raises:
        Refusal: an unknown strategy or a wrong knob; all of them.
    """
    found, said, problems = [], [], []
    for kind, entries in (("transfer", study.strategies), ("control", study.controls)):
        for entry in entries:
            key, given = study_files.arm(entry)
            strategy, problem = study_files.known_strategy(key, kind)
            if strategy is None:
                problems += [problem] if problem else []
                continue
            knobs, wrong = study_files.filled(strategy, given, source, dataset)
            problems += wrong
            found.append((strategy, knobs))
            said.append(given)
    if problems:
        raise Refusal(*problems)
    return _equal_effort(found, said)


def _equal_effort(
    found: list[tuple[Strategy, dict[str, Any]]], said: list[dict[str, Any]]
) -> list[tuple[Strategy, dict[str, Any]]]:
    """An honest control is tuned: it tries at least as many learning rates as the transfer arm that tries most, trains
    on its validation rows, too, where every transfer arm that takes steps does, and may train at least as long as the
    one that may train longest, unless the study says how long. said: the knobs of each that the study sets."""
    tuned = [knobs for strategy, knobs in found if strategy.kind == "transfer" and "rates_tried" in knobs]
    apart = any(knobs["hold_out"] for knobs in tuned) or not tuned

    def as_tuned(knobs: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        raised = {key: max(one[key] for one in [knobs, *tuned]) for key in ("rates_tried", "epochs", "min_steps")}
        patience = max((one["patience"] for one in [knobs, *tuned]), key=lambda looks: looks or math.inf)  # 0: endless
        free = {key: value for key, value in {**raised, "patience": patience}.items() if key not in own}
        return {**knobs, **free, "rates_tried": raised["rates_tried"], "hold_out": knobs["hold_out"] and apart}

    return [
        (strategy, as_tuned(knobs, own) if strategy.kind == "control" and "rates_tried" in knobs else knobs)
        for (strategy, knobs), own in zip(found, said, strict=True)
    ]


def expand(home: Home, study: Study, study_id: str, dataset: Dataset, made: Sequence[Split]) -> list[Trial]:
    """All trials of a study, which has one split, or one a fold. Arms that cannot use a source (LoRA on a CNN) are left
    out; `studies.check` names them.

    Raises:
        Refusal: as `arms`, or an unknown source.
    """
    chosen = [sources.get(home, name, dataset, study.columns.get(name)) for name in study.sources]
    shares: list[tuple[float | None, int | None]]
    if study.per_class is not None:
        shares = [(None, count) for count in sorted(set(study.per_class))]
    else:
        shares = [(fraction, None) for fraction in sorted(set(study.fractions))]
    draws = list(enumerate(made)) if study.folds else [(draw, made[0]) for draw in range(study.draws)]
    found: dict[str, Trial] = {}
    settled = {source and source.id: arms(study, source, dataset) for source in [None, *chosen]}
    for place, (strategy, _) in enumerate(settled[None]):
        for source in chosen if strategy.needs_source else [None]:
            if source is not None and not usable(strategy, sources.serving(source, dataset, strategy)):
                continue
            knobs = settled[source and source.id][place][1]
            for fraction, per_class in shares:
                for draw, split in draws:
                    trial = _trial(study_id, study, dataset, split, source, strategy, knobs, fraction, per_class, draw)
                    found.setdefault(trial.id, trial)
    return list(found.values())


def card(home: Home, trial: Trial, dataset: Dataset, changes: matching.Changes | None = None) -> Source:
    """The card of a trial's source as it serves the rows to its strategy; see `sources.get`."""
    source = sources.get(home, trial.source, dataset, changes)
    return sources.serving(source, dataset, strategies()[trial.strategy])


def usable(strategy: Strategy, source: Source) -> bool:
    """Whether a strategy can work with a source, as it serves the rows to it, at all. An untrained source has nothing
    to probe or to transfer from but may be trained, which is how one's own source task is learnt."""
    able = source.reads in strategy.reads and source.family in strategy.families
    goes_on = source.continues and (strategy.own_head or bool(source.columns))
    return able and (goes_on or not (strategy.continues or strategy.own_head))


def unusable(strategy: Strategy, source: Source) -> str:
    """Why a strategy cannot work with a source, as the end of a sentence."""
    if source.reads == "frames" and "frames" not in strategy.reads:
        return f"trains no new input layer, without which {source.id} cannot read these rows"
    if strategy.reads == ("frames",):
        return f"is for a text model that is to read something else than texts; {source.id} reads them as they are"
    if strategy.continues and source.family in strategy.families:
        return f"goes on from a trial of yours on a table with these classes, which {source.id} is not"
    if strategy.own_head and source.family in strategy.families:
        counts = source.classifies and not source.classes_seen
        why = "only numbers its own" if counts else "does not"
        return f"trains nothing, so it needs a source that says these classes by name already; {source.id} {why}"
    if source.family not in strategy.families:
        return f"is for {' or '.join(_OF[family] for family in strategy.families)}; {source.id} is none"
    read = " or ".join(modalities()[key].title.lower() for key in strategy.reads if key in modalities())
    return f"is for sources that read {read}; {source.id} reads {modalities()[source.reads].title.lower()}"


def unserved(strategy: Strategy, task: str) -> str:
    """Why a strategy cannot serve a task, as the end of a sentence; "" where it can."""
    if (tasks()[task].closed_form or "places") in strategy.targets:
        return ""
    known = {"classes": "classes", "number": "numbers", "labels": "labels", "places": "places of a row"}
    kinds = " and ".join(known[kind] for kind in strategy.targets)
    return f"can predict {kinds} only, but the task is {tasks()[task].title.lower()}."


def _trial(
    study_id: str,
    study: Study,
    dataset: Dataset,
    split: Split,
    source: Source | None,
    strategy: Strategy,
    knobs: dict[str, Any],
    fraction: float | None,
    per_class: int | None,
    draw: int,
) -> Trial:
    decides: dict[str, Any] = {
        "version": RECIPE_VERSION,
        "dataset": dataset.id,
        "split": split.id,
        "source": None if source is None else identity(source),
        "strategy": strategy.key,
        "knobs": knobs,
        "fraction": fraction,
        "per_class": per_class,
        "draw": draw,
        "seed": study.seed,
    }
    if strategy.needs_groups:
        decides["sensitive"] = study.sensitive
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return Trial(
        id=digest,
        study=study_id,
        dataset=dataset.id,
        split=split.id,
        source="none" if source is None else source.id,
        strategy=strategy.key,
        kind=strategy.kind,
        knobs=knobs,
        fraction=fraction,
        per_class=per_class,
        draw=draw,
        seed=study.seed,
    )


def largest(study: Study, trial: Trial) -> bool:
    """Whether a trial uses the largest share of the labels in its study."""
    if trial.per_class is not None:
        return trial.per_class == max(study.per_class or (0,))
    return trial.fraction == max(study.fractions)


def finished(home: Home, study: Study, trial: Trial) -> bool:
    """Whether a trial of a study is sealed, with its weights where the study keeps them: another study, in which its
    share was not the largest, may have sealed it without."""
    folder = home.trials / trial.id
    if not sealed(folder) or trial.draw or not largest(study, trial):
        return sealed(folder)
    return bool(json.loads((folder / "card.json").read_text()).get("weights") != NOT_KEPT)


def identity(source: Source) -> list[Any]:
    """What makes two sources the same for a trial: id, weights and preprocessing."""
    return [
        source.id,
        source.revision,
        source.sha256,
        source.architecture,
        source.image_size,
        source.mean,
        source.std,
        source.max_length,
        source.options,
        source.columns,
    ]
