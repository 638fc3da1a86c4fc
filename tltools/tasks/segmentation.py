"""Segmentation: a class for every pixel of a picture; truth and outputs are masks (H, W), 255 is judged nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tltools import places
from tltools.records import Column, Dataset, Problem
from tltools.tasks import Dense, Metric, Task
from tltools.tasks import _mask_scores as scores

Array = NDArray[Any]

RARE = 3  # rows with a class below which a judgement on it is mostly luck
BALANCE = 0.5  # power of a class's share of the pixels by which it weighs less in the loss: 0 none, 1 all alike


def recognise(column: Column) -> float:
    """1 where the target column holds masks as the formats write them."""
    return float(bool(column.examples) and column.examples[0].startswith(places.MASK))


def classes(target: pd.Series) -> tuple[str, ...]:
    """Class names in the order of the legend."""
    return places.classes_of(list(target.dropna()))


def encode(target: pd.Series, names: Sequence[str]) -> Array:
    """(N,) object array of masks (H, W) uint8: places in `names`, 255 where nothing is judged."""
    return places.as_rows([places.mask_of(cell, names) for cell in target])


def problems(target: pd.Series, dataset: Dataset) -> list[Problem]:
    """Classes that hardly any picture shows."""
    where = f"target column {str(target.name)!r}"
    shown: Counter[int] = Counter()
    for mask in encode(target, dataset.classes):
        shown.update(np.unique(mask).tolist())
    rare = [name for place, name in enumerate(dataset.classes) if shown[place] < RARE]
    if not rare:
        return []
    what = f"fewer than {RARE} pictures show {', '.join(rare[:5])}{' and more' if len(rare) > 5 else ''}."
    return [Problem(severity="warning", where=where, what=what, remedy="Add pictures; the score leans on luck there.")]


def width(dataset: Dataset) -> int:
    """One map per class."""
    return len(dataset.classes)


def tensors(truth: Array, shape: tuple[int, ...]) -> Array:
    """(N, h, w) uint8: masks (N,) at the size of the head's maps."""
    return np.stack([scores.fitted(mask, (shape[0], shape[1])) for mask in truth])


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Cross entropy per row, rare classes weighing more: raw (B, C, h, w), target (B, h, w) codes -> (B,)."""
    import torch

    codes = target.long()
    counts = torch.bincount(codes[codes != places.IGNORED], minlength=raw.shape[1]).clamp(min=1).float()
    weights = (counts.sum() / counts) ** BALANCE
    weights = weights / (weights * counts).sum() * counts.sum()
    smoothing = float(options.get("smoothing", 0.0))
    each = torch.nn.functional.cross_entropy(
        raw, codes, weights, ignore_index=places.IGNORED, label_smoothing=smoothing, reduction="none"
    )
    return each.mean((1, 2))


def moved(target: Any, matrix: Any) -> Any:
    """Codes (B, h, w) of pictures whose places (x, y) from -1 to 1 show what `matrix` (B, 2, 3) takes them to; nothing
    is judged where a picture ends."""
    import torch

    shown = 1.0 + target.unsqueeze(1)  # 0 is beyond the edge
    grid = torch.nn.functional.affine_grid(matrix, list(shown.shape), align_corners=False)
    codes = torch.nn.functional.grid_sample(shown, grid, mode="nearest", align_corners=False).squeeze(1).long() - 1
    return codes.where(codes >= 0, places.IGNORED)


def decode(raw: Array) -> Array:
    """Raw maps (M, C, h, w) -> (M,) object array of masks (h, w) uint8."""
    return places.as_rows(list(raw.argmax(1).astype(np.uint8)))


def frame(rows: Array, truth: Array, outputs: Array, names: Sequence[str]) -> pd.DataFrame:
    """The table of predictions: row, truth and prediction as cells that hold masks."""
    table = {"row": np.asarray(rows, np.int64), "truth": [places.mask_cell(mask, names) for mask in truth]}
    return pd.DataFrame(table | {"prediction": [places.mask_cell(mask, names) for mask in outputs]})


def read_frame(table: pd.DataFrame, names: Sequence[str]) -> tuple[Array, Array]:
    """(truth (M,), outputs (M,)) of a table of predictions."""
    return encode(table["truth"], names), encode(table["prediction"], names)


def counted(truth: Array, classes: int) -> Array:
    """(C,) masks that show each class."""
    return np.bincount(np.concatenate([np.unique(mask) for mask in truth]), minlength=256)[:classes]


def by_class(truth: Array, outputs: Array, names: Sequence[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Each class: rows that show it, its share of the pixels, IoU, Dice and boundary F1."""
    return scores.by_class(truth, outputs, names)


SEGMENTATION = Task(
    key="segmentation",
    title="Segmentation",
    recognise=recognise,
    classes=classes,
    encode=encode,
    problems=problems,
    width=width,
    closed_form=None,
    loss=loss,
    decode=decode,
    frame=frame,
    metrics=(
        Metric("miou", "Mean IoU", True, "share", scores.mean_iou, influence=scores.mean_iou_influence,
               lacking=scores.no_pixel),
        Metric("dice", "Dice", True, "share", scores.dice, influence=scores.dice_influence, lacking=scores.no_pixel),
        Metric("pixel_accuracy", "Pixel accuracy", True, "share", scores.pixel_accuracy,
               influence=scores.pixel_accuracy_influence, lacking=scores.no_pixel),
        Metric("boundary_f1", "Boundary F1", True, "share", scores.boundary_f1,
               influence=scores.boundary_f1_influence, lacking=scores.no_boundary),
    ),
    by_class=by_class,
    dense=Dense(
        head="MaskHead",
        side=288,
        tensors=tensors,
        counted=counted,
        moved=moved,
        read_frame=read_frame,
        classical="pixel_colours",
        draws="mask",
        cell=places.mask_cell,
    ),
    order=3,
)  # fmt: skip
