"""An experiment that ran elsewhere: its scores, or its predictions with their truth, are judged as a study's are.

A table has a line per arm, draw and test row: the columns `arm`, `draw` (a random draw of the training labels, a seed),
`row` (any name of a test row) and either `score` or `truth` and `prediction`; `p_CLASS` for every class where there are
probabilities; `labels` where arms were trained on several numbers of them; `fold` of a cross-validation, whose repeats
are its draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools.formats import BY_PATH, UPLOADED, Asking, asking, tables
from tltools.home import Home
from tltools.records import Dataset, Folds, Report, plain_name, refuse
from tltools.reports import figures, labels, words
from tltools.reports.cards import trial_card
from tltools.reports.readings import ArmKey, Cell, Readings, Share, scale_of
from tltools.tasks import Metric, classification, tasks

Array = NDArray[Any]

NAMES = ("arm", "draw", "row")  # columns that together name one line
MANY = 20  # numbers that differ, from which a truth is taken for an amount and not for a class
MOST_FOLDS = 20  # and repeats
BY_CLASS = ("balanced_accuracy", "accuracy", "macro_f1")  # metrics that need no probabilities


@dataclass(frozen=True)
class Runs:
    """A table that can be judged: names as text, labels and scores as numbers, each line once."""

    shown: str
    table: pd.DataFrame

    @property
    def arms(self) -> list[str]:
        return sorted(set(self.table["arm"]))

    @property
    def scored(self) -> bool:
        """Whether it has scores; else it has predictions and their truth."""
        return "score" in self.table


@dataclass(frozen=True)
class Judged:
    """The rows of a report, by which metric they are; `answer` is the JSON document of `judge`: the same without what
    only a study of tltools knows."""

    metric: Metric
    verdicts: list[dict[str, Any]]
    answer: dict[str, Any]


def read(path: Path, labels_used: int | None = None, *, uploaded: bool = False) -> Runs:
    """Reads a table in any form that datasets may have. labels_used: of every line, where it has no column `labels`;
    uploaded: it is held to the limits of uploads.

    Raises: Refusal when the table cannot be read, a column or value is missing, or a line is there twice.
    """
    shown = plain_name(path.name)
    token = asking.set(Asking(UPLOADED if uploaded else BY_PATH))
    try:
        with TemporaryDirectory() as scratch:
            table = tables.read(path, Path(scratch)).table
    finally:
        asking.reset(token)
    return Runs(shown, _named(table, shown, labels_used))


def judge(
    runs: Runs, controls: Sequence[str], margin: float = 0.01, *, metric: str | None = None, lower: bool = False
) -> Judged:
    """Judges every arm that is no control against the best control, all together.

    controls: names of arms. margin: the gain below which nobody cares, in the unit of the metric. metric: of
    predictions; balanced accuracy of classes and R2 of numbers when left out. lower: scores are errors or losses.

    Raises: Refusal when a control is not in the table, draws were tested on other rows, the metric does not fit, or
        nothing is left to compare.
    """
    missing = [name for name in controls if name not in runs.arms]
    if missing or not controls:
        known = ", ".join(map(repr, runs.arms[:20]))
        what = f"has no arm {missing[0]!r}." if missing else "has arms, but it was not said which are controls."
        raise refuse(runs.shown, what, f"Name controls among {known}.")
    found = _readings(runs, set(controls), metric, lower)
    judged = figures.judge_all(found, margin)
    if not judged:
        remedy = "Give arms that are compared the same draws; every arm that is no control is judged."
        raise refuse(runs.shown, "no arm shares a draw, and a number of labels, with a control.", remedy)
    names = {arm: arm.strategy for arm, _ in found.cells}
    sizes = {share: int(share.size) for share in found.shares()}
    arms = figures.arm_rows(found, names, sizes, margin)
    verdicts = figures.verdict_rows(found, judged, names, sizes)
    said = {(one.cell.arm, one.cell.share): one.verdict.verdict for one in judged}
    saved = labels.saved_rows(found, labels.curve_replicates(found), names, sizes, said)
    luck = figures.luck(found, judged, found.shares()[-1])
    chance = found.metric.chance(len(np.unique(found.truth))) if found.metric.chance else None
    return Judged(found.metric, verdicts, {
        "file": runs.shown, "metric": found.metric.key, "margin": margin, "rows": {"test": len(found.rows)},
        "headline": words.headline(verdicts, arms, found.metric),
        "sentences": words.sentences(verdicts, arms, saved, found.metric, margin, None, luck, chance),
        **{key: list(map(_plain, rows)) for key, rows in
           (("arms", arms), ("verdicts", verdicts), ("labels_saved", saved))},
    })  # fmt: skip


def written(home: Home, report: Report) -> pd.DataFrame:
    """What every arm of a study said of its test rows, as the table that `read` reads: for judges other than this one.

    Raises: Refusal where rows have no class or number of their own, or a trial was deleted.
    """
    task, dataset, parts = tasks()[report.task], Dataset.model_validate(report.dataset), []
    if task.objects or task.several:
        what = f"has no table of predictions: {task.title} says more than one thing of a row."
        raise refuse(f"study {report.study}", what, "Its report has the scores.")
    for arm in report.arms:
        for trial in arm["trials"]:
            card = trial_card(home, trial)
            if card is None:
                raise refuse(f"trial {trial}", "is not here any more.", "Run the study again.")
            said = pd.read_parquet(home.trials / trial / "predictions.parquet")
            said = said.rename(columns={f"p_{k}": f"p_{name}" for k, name in enumerate(dataset.classes)})
            facts = {"arm": arm["title"], "draw": card["trial"]["draw"], "labels": arm["n_train"]}
            if report.folds:
                facts["draw"], facts["fold"] = divmod(facts["draw"], report.folds.k)
            parts.append(said.assign(**facts)[[*facts, *said.columns]])
    return pd.concat(parts, ignore_index=True)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a report without what a table says nothing of."""
    gone = {
        "source", "strategy", "against", "against_source", "knobs", "fraction", "per_class", "trials", "draws_asked",
        "metrics", "by", "trainable_parameters", "untrained",
    }  # fmt: skip
    names = {"title": "arm", "against_title": "against"}
    kept = {names.get(key, key): value for key, value in row.items() if key not in gone and value is not None}
    return figures.clean(kept)


def _named(table: pd.DataFrame, shown: str, labels_used: int | None) -> pd.DataFrame:
    """The table with its names as text and its labels as numbers; each line once."""
    table = table.rename(columns=lambda name: name if str(name).startswith("p_") else str(name).strip().lower())
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise refuse(shown, f"has the column {twice[0]!r} more than once, capitals aside.", "Rename all but one.")
    if labels_used is not None:
        table["labels"] = float(labels_used)
    lacking = [name for name in (*NAMES, "labels") if name not in table]
    lacking += [] if {"score"} <= set(table) or {"truth", "prediction"} <= set(table) else ["score"]
    if lacking:
        has = ", ".join(map(repr, [name for name in table if not str(name).startswith("_")][:12]))
        remedy = "It needs arm, draw, row, labels (or their number, --labels N), and score, or truth and prediction."
        raise refuse(shown, f"has no column {', '.join(map(repr, lacking))}; it has {has}.", remedy)
    for name in (*NAMES, "labels", *(("score",) if "score" in table else ("truth", "prediction"))):
        _whole(table, name)
    if "fold" in table:
        _whole(table, "fold")
    for name in ("labels", *(("score",) if "score" in table else ())):
        _numbers(table, name)
    for name in (*NAMES, *(("fold",) if "fold" in table else ())):
        table[name] = classification.names_of(table[name])
    twice = table.duplicated([*NAMES, "labels"])
    if twice.any():
        line = table[twice].iloc[0]
        what = f"arm {line['arm']!r}, draw {line['draw']!r} has row {line['row']!r} a second time."
        raise refuse(str(line["_where"]), what, "Keep one line for each arm, draw and row.")
    return table


def _whole(table: pd.DataFrame, name: str) -> None:
    if table[name].isna().any():
        where = str(table.loc[table[name].isna(), "_where"].iloc[0])
        kind = ", or none that is a number" if table[name].dtype == float else ""
        raise refuse(where, f"has no {name}{kind} ({table[name].isna().sum():,} such line(s)).", "Fill it in.")


def _numbers(table: pd.DataFrame, name: str) -> None:
    if table[name].dtype != float:
        odd = table[pd.to_numeric(table[name], errors="coerce").isna()].iloc[0]
        raise refuse(str(odd["_where"]), f"{name} is {str(odd[name])[:40]!r}, which is no number.", "Correct it.")
    bad = ~np.isfinite(table[name]) | ((name == "labels") & (table[name] < 1))
    if bad.any():
        odd = table[bad].iloc[0]
        remedy = "Labels are 1 or more." if name == "labels" else "Scores are finite numbers."
        raise refuse(str(odd["_where"]), f"{name} is {odd[name]:g}.", remedy)


def _readings(runs: Runs, controls: set[str], asked: str | None, lower: bool) -> Readings:
    """The lines as the cells that the judge reads; all draws of all arms have the same test rows."""
    table = runs.table.copy()
    rows, places = np.unique(table["row"].to_numpy(str), return_inverse=True)
    if runs.scored:
        if asked is not None:
            raise refuse("metric", "is for predictions, and the table has scores.", "Leave it out.")
        read = Readings(_of_scores(table["score"], lower))
        scores = table["score"].to_numpy() * (-1.0 if lower else 1.0)
    else:
        truth, outputs, metric, classes = _of_predictions(table, rows, asked)
        read = Readings(metric, truth=truth, scale=scale_of(metric, truth, classes))
    read.rows, draws = np.arange(len(rows)), {name: k for k, name in enumerate(sorted(set(table["draw"])))}
    folds = _folds(table) if "fold" in table else None
    read.folds = Folds(repeats=len(draws), k=int(folds.max()) + 1) if folds is not None else None
    for (arm, size, draw), lines in table.groupby(["arm", "labels", "draw"]).indices.items():
        if len(lines) < len(rows):
            gone = rows[np.setdiff1d(read.rows, places[lines])[0]]
            what = f"arm {arm!r}, draw {draw!r}, {size:g} labels has no row {gone!r}, which others have."
            remedy = "All draws of all arms must be tested on the same rows; a cross-validation needs a column fold."
            raise refuse(runs.shown, what, remedy)
        lines = lines[places[lines].argsort()]
        key, share = ArmKey("control" if arm in controls else "transfer", "none", arm, "{}"), Share(size, False)
        cell = read.cells.setdefault((key, share), Cell(key, share))
        tested = [lines] if folds is None else [lines[folds[lines] == fold] for fold in range(folds.max() + 1)]
        for k, part in enumerate(tested, start=draws[draw] * len(tested)):
            values = scores[part] if runs.scored else _scored(read.metric, read.truth[places[part]], outputs[part])
            cell.cards[k], cell.values[k] = {}, values if folds is None else values.mean(keepdims=True)
    return read


def _folds(table: pd.DataFrame) -> Array:
    """(N,) which fold of its repeat tests the row of a line, from 0.

    Raises: Refusal where arms have a row in different folds, or a repeat lacks one.
    """
    codes, names = pd.factorize(table["fold"], sort=True)
    first = table.drop_duplicates(["draw", "row"]).set_index(["draw", "row"])["fold"]
    other = table["fold"].to_numpy() != first.loc[pd.MultiIndex.from_frame(table[["draw", "row"]])].to_numpy()
    if other.any():
        line = table[other].iloc[0]
        what = f"row {line['row']!r} is in fold {line['fold']!r} of draw {line['draw']!r}, and in another elsewhere."
        raise refuse(str(line["_where"]), what, "Arms that are compared have the same folds.")
    for draw, part in table.groupby("draw"):
        if lacks := sorted(set(names) - set(part["fold"])):
            what = f"draw {draw!r} has no fold {lacks[0]!r}."
            raise refuse(str(part["_where"].iloc[0]), what, "Every repeat has as many folds, of the same names.")
    if not 2 <= len(names) <= MOST_FOLDS or table["draw"].nunique() > MOST_FOLDS:
        what = f"has {table['draw'].nunique()} repeats of {len(names)} folds."
        raise refuse("fold", what, f"Give 2 to {MOST_FOLDS} folds, and {MOST_FOLDS} repeats at most.")
    return codes


def _scored(metric: Metric, truth: Array, outputs: Array) -> Array:
    """(M,) scores of rows by a metric of predictions."""
    score = metric.influence or metric.per_row
    assert score is not None
    values = score(truth, outputs)
    if not np.isfinite(values).all():
        raise refuse("truth", f"rows that are tested together have no {metric.title}.", "Choose another metric.")
    return values


def _of_scores(scores: pd.Series, lower: bool) -> Metric:
    share = not lower and bool(scores.between(0, 1).all())
    return Metric("score", "Score", not lower, "share" if share else "number", lambda _, outputs: float(outputs.mean()))


def _of_predictions(table: pd.DataFrame, rows: Array, asked: str | None) -> tuple[Array, Array, Metric, int]:
    """(truth (M,), outputs of every line (N, K), the metric, number of classes, 0 of numbers)."""
    amounts = {metric.key: metric for metric in tasks()["regression"].metrics}
    numbers = table["truth"].dtype == float and table["prediction"].dtype == float
    if numbers and (asked in amounts or (asked is None and table["truth"].nunique() > MANY)):
        truth = _one_truth(table, rows).to_numpy()
        return truth, table[["prediction"]].to_numpy(), amounts[asked or next(iter(amounts))], 0
    for name in ("truth", "prediction"):
        table[name] = classification.names_of(table[name])
    names = classification.classes(pd.concat([table["truth"], table["prediction"]]))
    sure = [f"p_{name}" for name in names]
    whole = all(name in table and table[name].dtype == float and table[name].notna().all() for name in sure)
    by_class = {metric.key: metric for metric in tasks()["classification"].metrics}
    known = by_class if whole else {key: by_class[key] for key in BY_CLASS}
    key = asked or next(iter(known))
    if key not in known:
        what = "needs a column p_CLASS with each class's probability." if key in by_class else "is not known here."
        remedy = f"Choose from {', '.join([*known, *(amounts if numbers else ())])}."
        raise refuse(f"metric {key!r}", what, remedy)
    outputs = table[sure].to_numpy() if whole else np.eye(len(names))[pd.Index(names).get_indexer(table["prediction"])]
    return classification.encode(_one_truth(table, rows), names), outputs, known[key], len(names)


def _one_truth(table: pd.DataFrame, rows: Array) -> pd.Series:
    """(M,) the truth of each test row."""
    first = table.drop_duplicates("row").set_index("row")["truth"]
    other = table["truth"].to_numpy() != first.loc[table["row"]].to_numpy()
    if other.any():
        line = table[other].iloc[0]
        what = f"row {line['row']!r} has the truth {line['truth']!r}, and {first[line['row']]!r} in another line."
        raise refuse(str(line["_where"]), what, "A test row has one truth; give other rows other names.")
    return first.loc[rows]
