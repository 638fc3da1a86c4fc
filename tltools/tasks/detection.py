"""Detection: the boxes of objects and what they are; truth (n, 5) and outputs (m, 6) hold class, corners, score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import places
from tltools.records import Column, Dataset, Problem
from tltools.tasks import Dense, Metric, Task
from tltools.tasks import _box_code as code
from tltools.tasks import _box_scores as scores

Array = NDArray[Any]

RARE = 10  # boxes of a class below which a judgement on it is mostly luck


def recognise(column: Column) -> float:
    """1 where the target column holds boxes as the formats write them."""
    return float(bool(column.examples) and column.examples[0].startswith(places.BOXES))


def classes(target: pd.Series) -> tuple[str, ...]:
    """Class names in the order of the files' own list."""
    return places.classes_of(list(target.dropna()))


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) object array of boxes (n, 5): place of the class in `names`, x0, y0, x1, y1 in shares of the picture."""
    return places.as_rows([places.boxes_of(cell, names) for cell in target])


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Classes that have hardly any box."""
    where = f"target column {str(target.name)!r}"
    counts = Counter(int(place) for row in encode(target, dataset.classes) for place in row[:, 0])
    rare = [f"{name} ({counts[place]})" for place, name in enumerate(dataset.classes) if counts[place] < RARE]
    if not rare:
        return []
    what = f"fewer than {RARE} boxes are of {', '.join(rare[:5])}{' and more' if len(rare) > 5 else ''}."
    return [Problem(severity="warning", where=where, what=what, remedy="Add boxes; the score leans on luck there.")]


def width(dataset: Dataset) -> int:
    """One heatmap per class, and four maps for size and place."""
    return len(dataset.classes) + 4


def tensors(truth: Array, shape: tuple[int, ...]) -> Array:
    """(N, m, 5) float32: the boxes of each row; `shape` does not matter to them."""
    return code.padded(list(truth))


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as cells that hold boxes."""
    table = {"row": np.asarray(rows, np.int64), "truth": [places.boxes_cell(boxes, names) for boxes in truth]}
    return pd.DataFrame(table | {"prediction": [places.boxes_cell(boxes, names) for boxes in outputs]})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M,), outputs (M,)) of a table of predictions."""
    return encode(table["truth"], names), places.as_rows([places.boxes_of(c, names, 6) for c in table["prediction"]])


def counted(truth: Array, classes: int) -> Array:
    """(C,) boxes of each class."""
    return np.bincount(np.concatenate([row[:, 0] for row in truth]).astype(np.int64), minlength=classes)


def by_class(truth: Array, outputs: Array, names: Sequence[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Each class and their mean: boxes, AP50, mAP 50:95, and mAP 50:95 of small, medium and large boxes."""
    return scores.by_class(truth, outputs, names, (rows["width"] * rows["height"]).to_numpy(np.float64))


DETECTION = Task(
    key="detection",
    title="Detection",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form=None,
    loss=code.loss,
    decode=code.decode,
    frame=frame,
    metrics=(
        Metric("ap50", "AP50", True, "share", scores.ap50, influence=scores.ap50_influence, lacking=scores.no_box),
        Metric(
            "map", "mAP 50:95", True, "share", scores.mean_ap, influence=scores.mean_ap_influence, lacking=scores.no_box
        ),
    ),
    by_class=by_class,
    dense=Dense(
        head="CentreHead",
        side=256,
        tensors=tensors,
        counted=counted,
        moved=code.moved,
        read_frame=read_frame,
        classical="mean_boxes",
        draws="boxes",
        cell=places.boxes_cell,
    ),
    order=4,
)
