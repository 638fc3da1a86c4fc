"""Reports: judge a study from its sealed trials, keep the result, and tell it to people and to programs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tltools import datasets, evidence, splits, studies
from tltools.home import Home, write_bytes, write_json
from tltools.records import Dataset, Problem, Report, Split, Study, refuse
from tltools.reports import copies, figures, groups, labels, other_metrics, twins, words
from tltools.reports.cards import card_facts as card_facts
from tltools.reports.cards import export_card as export_card
from tltools.reports.cards import trial_card as trial_card
from tltools.reports.early import Stopped, stopped
from tltools.reports.page import html as html
from tltools.reports.readings import Cell, Readings, Share, read, titles
from tltools.reports.readings import key_of as key_of
from tltools.store import Store
from tltools.tasks import Metric, row_classes, tasks


def judge(home: Home, store: Store, study_id: str, *, whole: bool = True) -> Report:
    """Judges a study from the sealed trials alone, finished or not; writes report.json and report.html.

    whole: False leaves out what can wait for the last trial, the verdicts by other metrics.

    Raises:
        Refusal: there is no such study, or none of its trials is sealed.
    """
    study = studies.load(home, study_id)
    dataset, split = studies.split_of(home, study)
    metric = metric_of(study, dataset)
    others = other_metrics.others(metric, dataset.task) if whole else ()
    found = read(home, dataset, metric, studies.expand(home, study), study.folds, others)
    if not found.shares():
        raise refuse(f"study {study_id}", "has no finished trial yet.", "Run it, or wait for its first trial.")
    report = _report(home, store, study_id, study, dataset, split, found).model_copy(update={"whole": whole})
    folder = home.studies / study_id
    write_json(folder / "report.json", report.model_dump(mode="json"))
    write_bytes(folder / "report.html", html(report, home).encode())
    sealed = [str(card.get("created", "")) for cell in found.cells.values() for card in cell.cards.values()]
    evidence.keep_outcome(store, report, dataset, max(sealed, default=""))
    return report


def load(home: Home, study_id: str) -> Report:
    """Returns the report that was written last.

    Raises:
        Refusal: the study was not judged yet.
    """
    path = home.studies / study_id / "report.json"
    if not re.fullmatch(r"[0-9a-f]{16}", study_id) or not path.is_file():
        raise refuse(f"study {study_id[:40]!r}", "has no report yet.", "Run it to the end, or judge what is there.")
    return Report.model_validate_json(path.read_text())


def decided_early(home: Home, study: Study) -> Stopped:
    """The arms, and shares of the labels, that need no further draw by the trials sealed so far; none where the study
    does not ask for it."""
    if not study.adaptive:
        return set()
    dataset = datasets.get(home, study.dataset)
    return stopped(read(home, dataset, metric_of(study, dataset), studies.expand(home, study)), study.margin)


def metric_of(study: Study, dataset: Dataset) -> Metric:
    """The metric that a study is judged by.

    Raises:
        Refusal: its task has no such metric.
    """
    known = {metric.key: metric for metric in tasks()[dataset.task].metrics}
    key = study.metric or next(iter(known))
    if key not in known:
        raise refuse("metric", f"{key!r} is not a metric of {dataset.task}.", f"Choose from {', '.join(known)}.")
    return known[key]


def _report(
    home: Home, store: Store, study_id: str, study: Study, dataset: Dataset, split: Split, found: Readings
) -> Report:
    metric, margin = found.metric, study.margin
    sizes = _labels(home, dataset, split, found)
    names = titles(found.cells.values())
    judged = figures.judge_all(found, margin)
    again_seen = copies.leaked(home, dataset, found)
    arms = copies.without(home, dataset, found, figures.arm_rows(found, names, sizes, margin), again_seen)
    verdicts = figures.verdict_rows(found, judged, names, sizes)
    replicates = labels.curve_replicates(found)
    said = {(one.cell.arm, one.cell.share): one.verdict.verdict for one in judged}
    saved = labels.saved_rows(found, replicates, names, sizes, said)
    by_group, few = groups.group_rows(
        found, datasets.rows(home, dataset.id), study.sensitive, row_classes(dataset), margin
    )
    last = found.shares()[-1]
    best = max(found.of_kind("transfer", last).values(), key=lambda c: float(c.scores().mean()), default=None)
    more = labels.more_labels(found, replicates, best.arm, sizes) if best else None
    winner = figures.luck(found, judged, last)
    told = words.sentences(
        verdicts, arms, saved, metric, margin, (names[best.arm], more) if best and more else None, winner,
        metric.chance(len(dataset.classes)) if metric.chance else None,
    )  # fmt: skip
    settings = twins.twin_rows(found, names, sizes, margin)
    told += twins.sentences(settings, metric)
    again = other_metrics.rows(found, names, sizes, margin, len(row_classes(dataset)))
    told += other_metrics.sentences(verdicts, again, metric, dataset.task)
    cards = [card for cell in found.cells.values() for card in cell.cards.values()]
    return Report(
        study=study_id,
        task=dataset.task,
        metric=metric.key,
        margin=margin,
        rows={"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        folds=study.folds,
        arms=tuple(map(figures.clean, arms)),
        verdicts=tuple(map(figures.clean, verdicts)),
        labels_saved=tuple(map(figures.clean, saved)),
        twins=tuple(map(figures.clean, settings)),
        other_metrics=tuple(map(figures.clean, again)),
        ranking=tuple(map(figures.clean, _ranking(store, study, dataset))),
        groups=tuple(map(figures.clean, by_group)),
        cost=figures.clean(_cost(store, study_id, cards)),
        problems=(
            *found.problems,
            *_problems(home, store, study, dataset, split, found),
            *copies.problems(found, arms, again_seen),
            *few,
        ),
        headline=words.headline(verdicts, arms, metric),
        sentences=tuple(told),
        name=study.name or dataset.name,
        dataset=dataset.model_dump(mode="json"),
        study_file=studies.dump(study),
        curves=tuple(map(figures.clean, _curves(found))),
        created=datetime.now(UTC),
        environment={key: str(value) for key, value in (cards[0].get("environment") or {}).items()},
    )


def _labels(home: Home, dataset: Dataset, split: Split, found: Readings) -> dict[Share, int]:
    """Labelled rows that each share uses; of folds, those of the first."""
    targets = datasets.target(home, dataset)
    return {
        share: splits.labels(split, targets, fraction=share.fraction, per_class=share.per_class_count)
        for share in found.shares()
    }


def _ranking(store: Store, study: Study, dataset: Dataset) -> list[dict[str, Any]]:
    """The ranking of source models before training, where one was made for this dataset."""
    keys = ("source", "loo_ridge", "knn", "logme", "h_score", "static", "rank", "doubts", "own_head", "apart")
    chosen = [{key: row.get(key) for key in keys} for row in evidence.rankings(store, dataset.id).values()]
    return sorted(chosen, key=lambda row: (row["rank"] is None, row["rank"]))


def _cost(store: Store, study_id: str, cards: list[dict[str, Any]]) -> dict[str, Any]:
    """Estimate beside what it came to."""
    known, taken = store.recall("estimate", study_id) or {}, store.recall("taken", study_id) or {}
    spent = store.trial_seconds(study_id) or sum(float(card.get("seconds") or 0) for card in cards)
    peak = max((float(card.get("peak_mb") or 0) for card in cards), default=0.0)
    return {
        "estimated_seconds": taken.get("estimated"),
        "actual_seconds": taken.get("seconds", spent),
        "estimated_peak_mb": known.get("estimated_peak_mb", known.get("peak_mb")),
        "actual_peak_mb": known.get("actual_peak_mb", peak),
        "prefix_rows_computed": known.get("prefix_rows_computed"),
        "prefix_rows_naive": known.get("prefix_rows_naive"),
        "cache_bytes": known.get("cache_bytes"),
        "trials": len(cards),
    }


def _curves(found: Readings) -> list[dict[str, Any]]:
    """Learning curves of the first draw of every arm and share that took gradient steps."""
    made = []
    for cell in found.cells.values():
        for draw in cell.draws[:1]:
            for point in cell.cards[draw].get("curve") or ():
                known = {key: point.get(key) for key in ("epoch", "train_loss", "validation_loss")}
                made.append(
                    {"trial": cell.trials[draw].id, "source": cell.arm.source, "strategy": cell.arm.strategy}
                    | {"fraction": cell.share.fraction, "per_class": cell.share.per_class_count, **known}
                )
    return made


def _problems(home: Home, store: Store, study: Study, dataset: Dataset, split: Split, found: Readings) -> list[Problem]:
    """What keeps this report from being the whole truth."""
    made: list[Problem] = []

    def say(severity: Any, where: str, what: str, remedy: str) -> None:
        made.append(Problem(severity=severity, where=where, what=what, remedy=remedy))

    early = stopped(found, study.margin) if study.adaptive else set()
    cells, names = list(found.cells.values()), titles(found.cells.values())
    if spared := sum(_to_run(cell) for key, cell in found.cells.items() if key in early):
        what = f"{spared} trials were not needed: their arms were decided at the strict level of adaptive studies."
        say("note", "study", what, "Set adaptive: false to run them all.")
    lacking = [cell for key, cell in found.cells.items() if _to_run(cell) and key not in early]
    if missing := sum(map(_to_run, lacking)):
        named = "; ".join(f"{names[cell.arm]} {_lacking(cell)}" for cell in lacking[:5])
        budget = f" within the time budget of {study.budget.minutes:g} min" if study.budget.minutes else ""
        say("warning", "study", f"{missing} of {sum(cell.asked for cell in cells)} trials are not there yet{budget}: "
            f"{named}.", "Run the study on; until then every verdict is provisional.")  # fmt: skip
    if not any(cell.arm.kind == "control" and cell.values for cell in cells):
        say("error", "controls", "no control has finished, so nothing can be said about transfer.",
            "Keep scratch, random_frozen and classical in the study.")  # fmt: skip
    few = sorted({names[cell.arm] for cell in cells if len(cell.values) == 1})
    if few:
        say(
            "warning",
            ", ".join(few),
            "one draw cannot be judged: another draw may come out otherwise.",
            "Run 3 or more.",
        )
    said, part, rows = ("folds", "test", len(found.rows)) if study.folds else ("test part", "has", len(split.test))
    if rows < 200:
        say("warning", said, f"{part} {rows} rows: only large gains can be decided.", "Add rows.")
    several = found.truth.ndim > 1
    if (row_classes(dataset) or several) and len(found.truth):
        truth = found.truth
        counts = truth.sum(0, dtype=np.int64) if several else np.bincount(truth, minlength=len(dataset.classes))
        thin = [f"{name} ({n})" for name, n in zip(dataset.classes, counts, strict=True) if n < 5]
        if thin:
            say("warning", said, f"few rows of {', '.join(thin[:8])}; their scores are mostly luck.", "Add rows.")
    if study.folds:
        what = "of this dataset was trained on and tested, too: none of its rows is untouched."
        say("note", "locked test part", what, "Keep new rows for a last check.")
    elif crossed := store.recall("cross_validated", dataset.id):
        say("note", "test part", f"was trained on and tested by {len(crossed['studies'])} cross-validation(s) of this "
            "dataset; what was chosen by them has seen these rows.", "Keep new rows for a last check.")  # fmt: skip
    reads = store.test_reads(dataset.id)
    if reads > 500:
        say("note", "test part", f"was scored by {reads:,} trials so far; what looks best there may be luck.",
            "Keep some rows apart for a last check.")  # fmt: skip
    return made


def _to_run(cell: Cell) -> int:
    """Draws that were asked for and are not there yet."""
    return cell.asked - len(cell.values) - cell.unfit


def _lacking(cell: Cell) -> str:
    share = f"{cell.share.size:g} a class" if cell.share.per_class else f"{100 * cell.share.size:g} % of the labels"
    return f"at {share} has {len(cell.values)} of {cell.asked}"
