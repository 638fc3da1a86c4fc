"""Boxes as training targets and as peaks of a heatmap (objects as points, arXiv 1904.07850)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tltools.tasks._box_scores import MOST, overlaps

Array = NDArray[Any]

BUMP = 1.0  # deviation, in places, of the bump about a centre; wider ones for larger boxes taught those too slowly
BALANCE = 0.5  # power of a class's share of the boxes by which it weighs less in the loss: 0 none, 1 all alike
SURE = 0.02  # peaks below it are no boxes
SAME = 0.55  # overlap from which two peaks of a class are one object


def padded(rows: Sequence[Array]) -> Array:
    """(N, m, 5) float32 of rows of boxes; places without a box have the class -1."""
    found = np.full((len(rows), max([1, *map(len, rows)]), 5), -1.0, np.float32)
    for i, boxes in enumerate(rows):
        found[i, : len(boxes)] = boxes[:, :5]
    return found


def moved(target: Any, matrix: Any) -> Any:
    """Padded boxes, as a tensor, of pictures whose places (x, y) from -1 to 1 show what `matrix` (B, 2, 3) takes them
    to; cut where they reach beyond the edge, and none where their middle does."""
    import torch

    corners = 2 * target[..., 1:].unflatten(-1, (2, 2)) - 1  # (B, m, first and last, x and y)
    zoom, shift = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], -1), matrix[:, :, 2]
    corners = ((corners - shift[:, None, None]) / zoom[:, None, None] + 1) / 2
    first, last = corners.amin(2), corners.amax(2)
    middle = (first + last) / 2
    there = (target[..., 0] >= 0) & (middle > 0).all(-1) & (middle < 1).all(-1)
    boxes = torch.cat([target[..., :1], first.clamp(0, 1), last.clamp(0, 1)], -1)
    return boxes.where(there[..., None], torch.full_like(boxes, -1.0))


def loss(raw: Any, target: Any, options: Mapping[str, float]) -> Any:
    """Per row: focal loss of the heatmaps and L1 of form and place at and around the centres, over the boxes of the
    batch; rare classes weigh more, since the score is a mean over classes.

    The places next to a centre learn the box as well, by the bump's share there (arXiv 1909.00700): a peak that is one
    place off would otherwise say a box that nobody taught it, and a small object would be missed.

    raw (B, K, h, w) as `CentreHead` gives it, target (B, m, 5) as `padded` -> (B,).
    """
    import torch

    classes, height, width = raw.shape[1] - 4, raw.shape[2], raw.shape[3]
    there = target[..., 0] >= 0
    cells = torch.tensor([width, height], device=raw.device)
    centre = (target[..., 1:3] + target[..., 3:5]) / 2 * cells
    size = (target[..., 3:5] - target[..., 1:3]).clamp(min=1e-4)
    place = centre.clamp(min=torch.zeros_like(cells), max=cells - 1).floor()
    codes = target[..., 0].long().clamp(min=0)
    counts = torch.bincount(codes[there], minlength=classes).float()
    weights = counts.clamp(min=1) ** -BALANCE
    weights = torch.where(counts > 0, weights * counts.sum() / (weights * counts).sum().clamp(min=1e-9), 1.0)
    bumps = []
    for axis, count in enumerate((width, height)):
        away = torch.arange(count, device=raw.device) - place[..., axis, None]
        bumps.append(torch.exp(-away.square() / (2 * BUMP**2)))
    bump = bumps[1][..., :, None] * bumps[0][..., None, :] * there[..., None, None]
    wanted = torch.stack([(bump * (target[..., 0] == k)[..., None, None]).amax(1) for k in range(classes)], 1)
    heat = raw[:, :classes]
    sure, log_yes, log_no = heat.sigmoid(), torch.nn.functional.logsigmoid(heat), torch.nn.functional.logsigmoid(-heat)
    peak = wanted >= 0.9999
    focal = torch.where(peak, (1 - sure) ** 2 * log_yes, (1 - wanted) ** 4 * sure**2 * log_no)
    focal = focal * weights[:, None, None]
    about = torch.arange(-1.0, 2, device=raw.device)
    about = torch.cartesian_prod(about, about)
    near = place[:, :, None] + about  # (B, m, 9, x and y)
    share = torch.exp(-about.square().sum(1) / (2 * BUMP**2)) * ((near >= 0) & (near < cells)).all(-1)
    share = share / share.sum(2, keepdim=True) * (there * weights[codes])[..., None]
    spots = (near[..., 1] * width + near[..., 0]).long().clamp(0, height * width - 1).flatten(1)
    said = raw[:, classes:].flatten(2).gather(2, spots[:, None].expand(-1, 4, -1)).unflatten(2, near.shape[1:3])
    right = torch.cat([size.log()[:, :, None].expand_as(near), centre[:, :, None] - near - 0.5], 3)
    form = ((said.permute(0, 2, 3, 1) - right).abs().sum(3) * share).sum((1, 2))
    each = there.sum().clamp(min=1) / len(raw)  # boxes of a row, on average: rows with many boxes weigh more
    return (form - focal.sum((1, 2, 3))) / each


def decode(raw: Array) -> Array:
    """(M, K, h, w) as `CentreHead` gives it -> (M,) object array of boxes (m, 6) with scores: the heatmaps' peaks."""
    from scipy.ndimage import maximum_filter

    found = np.empty(len(raw), object)
    classes, height, width = raw.shape[1] - 4, *raw.shape[2:]
    heat = raw[:, :classes]
    for i, own in enumerate(heat):
        top = (own == maximum_filter(own, size=(1, 3, 3), mode="nearest")) & (own > np.log(SURE / (1 - SURE)))
        code, y, x = np.nonzero(top)
        best = np.argsort(-own[code, y, x], kind="stable")[: MOST * classes]
        code, y, x = code[best], y[best], x[best]
        form = raw[i, classes:, y, x].astype(np.float64)
        middle = np.stack([(x + 0.5 + form[:, 2]) / width, (y + 0.5 + form[:, 3]) / height], 1)
        half = np.exp(np.clip(form[:, :2], -10, 0)) / 2
        score = 1 / (1 + np.exp(-own[code, y, x].astype(np.float64)))
        boxes = np.column_stack([code, middle - half, middle + half, score])
        boxes[:, 1:5] = np.clip(boxes[:, 1:5], 0, 1)
        found[i] = boxes[_alone(boxes)]
    return found


def _alone(boxes: Array) -> list[int]:
    """Which of (m, 6) boxes, surest first, are left when each takes away those of its class that lie mostly on it."""
    overlap = overlaps(boxes[:, 1:5], boxes[:, 1:5]) * (boxes[:, :1] == boxes[None, :, 0])
    kept: list[int] = []
    for place in range(len(boxes)):
        if not (overlap[place, kept] > SAME).any():
            kept.append(place)
    return kept
