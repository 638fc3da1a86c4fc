"""Multi-label classification: any number of labels per row; outputs are one probability a label (M, C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import label_sets
from tltools.records import Column, Dataset, Problem, refuse
from tltools.tasks import Metric, Several, Task
from tltools.tasks import _label_scores as scores

Array = NDArray[Any]

LEAST = 3  # rows that must have a label, and lack it, before it can be judged at all
RARE = 10  # rows of a label below which a judgement on it is mostly luck


def recognise(column: Column) -> float:
    """1 where the cells of the target column plainly hold several labels."""
    return float(column.labels > 1)


def classes(target: pd.Series) -> tuple[str, ...]:
    """Label names, sorted; of cells as they are stored."""
    return tuple(sorted({name for one in target.dropna() for name in label_sets.parts(str(one))}))


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N, C) uint8: 1 where a row has the label.

    Raises: Refusal for a label that is not among `names`.
    """
    places, found = {name: k for k, name in enumerate(names)}, np.zeros((len(target), len(names)), np.uint8)
    for row, one in enumerate(target):
        for name in label_sets.parts("" if pd.isna(one) else str(one)):
            if name not in places:
                what = f"every label must be one of {', '.join(names[:5])} ...; row {row} has {name!r}."
                raise refuse(f"target column {str(target.name)!r}", what, "Correct or remove these rows.")
            found[row, places[name]] = 1
    return found


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Too few labels, and labels that hardly any row has or lacks."""
    where, truth = f"target column {str(target.name)!r}", encode(target, dataset.classes)
    counts = truth.sum(0, dtype=np.int64)
    scarce = np.minimum(counts, len(truth) - counts)
    if (scarce >= LEAST).sum() < 2:
        what = f"needs at least two labels that {LEAST} rows have and {LEAST} lack; got {int((scarce >= LEAST).sum())}."
        return [Problem(severity="error", where=where, what=what, remedy="Choose classification, or add rows.")]
    found = []
    rare = [f"{name} ({n})" for name, n in zip(dataset.classes, counts, strict=True) if n < RARE]
    if rare:
        count = "1 label has" if len(rare) == 1 else f"{len(rare)} labels have"
        what = f"{count} fewer than {RARE} rows: {', '.join(rare[:5])}{' ...' if rare[5:] else ''}."
        remedy = "Add rows, or leave these labels out: each counts as much as any other, and its score is mostly luck."
        found.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    if bare := int((~truth.any(1)).sum()):
        what, remedy = f"{bare:,} rows have no label at all.", "They count as such; leave them out if nobody looked."
        found.append(Problem(severity="note", where=where, what=what, remedy=remedy))
    return found


def width(dataset: Dataset) -> int:
    """One output per label."""
    return len(dataset.classes)


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Binary cross entropy per row, mean over the labels: raw (B, C), target (B, C) of 0 and 1 -> (B,)."""
    import torch

    smoothing = float(options.get("smoothing", 0.0))
    wanted = target.float() * (1 - smoothing) + smoothing / 2
    return torch.nn.functional.binary_cross_entropy_with_logits(raw, wanted, reduction="none").mean(1)


def decode(raw: Array) -> Array:
    """Raw head outputs (M, C) -> a probability a label (M, C)."""
    probabilities: Array = 1 / (1 + np.exp(-np.clip(raw, -60, 60)))
    return probabilities


def cells(outputs: Array, names: Sequence[str]) -> list[str]:
    """(M, C) probabilities or truth -> the labels of each row from one half on, as a stored cell."""
    return [label_sets.cell([name for name, on in zip(names, row, strict=True) if on]) for row in scores.said(outputs)]


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as cells, p_0 .. p_{C-1} float32."""
    table = {"row": np.asarray(rows, np.int64), "truth": cells(truth, names), "prediction": cells(outputs, names)}
    return pd.DataFrame(table | {f"p_{k}": outputs[:, k].astype(np.float32) for k in range(outputs.shape[1])})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M, C), outputs (M, C)) of a table of predictions."""
    outputs = table[[f"p_{k}" for k in range(len(names))]].to_numpy(np.float32)
    return encode(table["truth"], names), outputs


def by_class(truth: Array, outputs: Array, names: Sequence[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Each label: its rows in the test part, average precision, F1; rarest last."""
    table = pd.DataFrame(
        {"label": list(names), "rows": truth.sum(0, dtype=np.int64), "said": scores.said(outputs).sum(0)}
    )
    table["average precision"] = scores.average_precision(truth, outputs)
    table["F1"] = scores.f1_per_label(truth, outputs)
    return table.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def _jaccard(truth: Array, outputs: Array) -> float:
    return float(scores.jaccard(truth, outputs).mean())


def _log_loss(truth: Array, outputs: Array) -> float:
    return -float(scores.log_likelihood(truth, outputs).mean())


MULTILABEL = Task(
    key="multilabel",
    title="Multi-label classification",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form="labels",
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric("map", "Mean average precision", True, "share", scores.mean_average_precision,
               influence=scores.mean_average_precision_influence, lacking=scores.no_label),
        Metric("macro_f1", "Macro F1", True, "share", scores.macro_f1, influence=scores.macro_f1_influence),
        Metric("jaccard", "Jaccard by row", True, "share", _jaccard, scores.jaccard),
        Metric("log_loss", "Log loss", False, "number", _log_loss, scores.log_likelihood),
    ),
    several=Several(stored=label_sets.written, read_frame=read_frame, cells=cells),
    by_class=by_class,
    order=5,
)  # fmt: skip
