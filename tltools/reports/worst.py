"""The worst rows of a trial whose truth is places of a row or a text, and the few of them in the report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from tltools import datasets, overlays
from tltools.home import Home
from tltools.modalities import Files, modalities
from tltools.records import Dataset, Refusal, Report, refuse
from tltools.reports import words
from tltools.reports.cards import trial_card
from tltools.tasks import Metric, judged_by, tasks

if TYPE_CHECKING:
    from PIL import Image

PICTURES = 3  # in the report
LETTERS = 800  # of a text in the report that something was written from
WIDE = 420  # pixels of the longer side of such a picture


def rows(home: Home, dataset: Dataset, trial_id: str, metric: Metric, limit: int = 12) -> pd.DataFrame:
    """The test rows that a trial is most wrong on, worst first: row, score, truth and prediction as cells.

    `score` is the metric of that row alone; rows for which it is not defined (no box, nothing judged) come last.

    Raises:
        Refusal: the trial is not sealed, or the task has no cells.
    """
    task, path = tasks()[dataset.task].objects, home.trials / trial_id / "predictions.parquet"
    if trial_card(home, trial_id) is None or not path.is_file():
        raise refuse(f"trial {trial_id[:40]!r}", "is not finished.", "Choose a finished trial.")
    if task is None:
        raise refuse(dataset.task, "has one truth a row.", "Ask for its worst mistakes.")
    table = pd.read_parquet(path)
    truth, outputs = task.read_frame(table, dataset.classes)

    def score(k: int) -> float:
        try:
            return metric.score(truth[k : k + 1], outputs[k : k + 1])
        except ValueError:
            return float("nan")

    found = table[["row", "truth", "prediction"]].assign(score=[score(k) for k in range(len(table))])
    order = found["score"].sort_values(ascending=metric.higher_is_better, kind="stable", na_position="last").index
    return found.loc[order].head(limit).reset_index(drop=True)[["row", "score", "truth", "prediction"]]


def best_arm(report: Report) -> dict[str, Any] | None:
    """The transfer arm that scores best with the most labels; None without one."""
    arms = [arm for arm in report.arms if arm["kind"] == "transfer" and arm["trials"]]
    sign = 1 if judged_by(report).higher_is_better else -1
    return max(arms, key=lambda row: (row["n_train"], sign * float(row["score"])), default=None)


def section(home: Home, report: Report) -> str:
    """The worst pictures of the best arm, truth beside prediction, as HTML that holds them; "" where none are drawn."""
    task, arm = tasks()[report.task], best_arm(report)
    if task.objects is None or arm is None:
        return ""
    metric = judged_by(report)
    try:
        dataset = Dataset.model_validate(report.dataset)
        read, media = dataset.inputs[0], datasets.media(home, dataset.id)
        names = datasets.rows(home, dataset.id, read)[read]
        if task.written:
            names = pd.Series(datasets.items(home, dataset, "text"))
        worst = rows(home, dataset, str(arm["trials"][0]), metric, PICTURES)
    except (Refusal, OSError):  # the dataset or the trial is gone; the report stays
        return ""
    cells = [*worst["truth"], *worst["prediction"]] if task.dense else []
    legend = overlays.legend(dataset.classes, cells)
    key = " ".join(f'<span class="key"><i style="background:{ink}"></i>{escape(name)}</span>' for name, ink in legend)
    things = "pictures" if task.dense and not task.dense.texts else "texts"
    title = (
        f"{escape(arm['title'])}, {arm['n_train']:,} labels: the test {things} that came out worst by {metric.title}."
    )
    if task.dense and task.dense.draws == "boxes":
        title += f" Boxes with a score from {overlays.SURE:g} on are drawn."
    parts = [f"<h2>The worst {things}</h2><p>{title}</p><p>{key}</p>"]
    for row in worst.to_dict("records"):
        if task.dense is None:
            parts.append(_written(str(names.iloc[row["row"]]), row))
            continue
        if task.dense.texts:
            parts.append(_sentences(str(names.iloc[row["row"]]), row, dataset.classes))
            continue
        picture = files_of(dataset).draw(media / str(names.iloc[row["row"]]), dataset.reading)
        said = {
            "Truth": row["truth"],
            f"Prediction, {metric.title} {words.score(row['score'], metric)}": row["prediction"],
        }
        figures = (_figure(picture, dataset.classes, word, cell) for word, cell in said.items())
        parts.append(f'<div class="pair">{"".join(figures)}</div>')
    return "".join(parts)


def _sentences(text: str, row: Mapping[Hashable, Any], classes: Sequence[str]) -> str:
    told = (
        f"<p><small>{word.capitalize()}</small><br>{overlays.marked(text, row[word], classes)}</p>"
        for word in ("truth", "prediction")
    )
    return "".join(told)


def _written(text: str, row: Mapping[Hashable, Any]) -> str:
    told = {"Source": text, "Reference": row["truth"], "Output": row["prediction"]}
    return "".join(f"<p><b>{word}</b> {escape(_short(str(said)))}</p>" for word, said in told.items())


def _short(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def files_of(dataset: Dataset) -> Files:
    """What is known of the files that masks and boxes are drawn on."""
    files = modalities()[dataset.modality].files
    assert files is not None, "what is drawn on are pictures in files"
    return files


def _figure(picture: Image.Image, classes: Sequence[str], word: str, cell: str) -> str:
    link = overlays.address(overlays.drawn(picture, cell, classes, side=WIDE))
    alt = escape(f"{word}: {overlays.said(cell, classes)}")
    return f'<figure><img src="{link}" alt="{alt}"><figcaption>{escape(word)}</figcaption></figure>'
