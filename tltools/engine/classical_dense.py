"""Classical controls for places of a picture: the class of a pixel by colour and place; where boxes use to lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tltools import places
from tltools.engine.image_backbone import decode
from tltools.tasks import _mask_scores as scores

SIDE = 72  # pixels of a side that the colour control reads
PIXELS = 60_000  # of the training pictures that it is fitted on


def pixel_colours(items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int) -> tuple[np.ndarray, str]:
    """Masks (M,) of `wanted`: gradient boosting on the colour of a pixel, of what lies around it, and its place."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    values = np.concatenate([_pixels(item) for item in items])
    codes = np.concatenate([scores.fitted(mask, (SIDE, SIDE)).ravel() for mask in truth])
    judged = np.flatnonzero(codes != places.IGNORED)
    chosen = np.random.default_rng(seed).permutation(judged)[:PIXELS]
    found = np.empty(len(wanted), object)
    kinds = np.unique(codes[chosen])
    if len(kinds) < 2:
        for i in range(len(wanted)):
            found[i] = np.full((SIDE, SIDE), kinds[0] if len(kinds) else 0, np.uint8)
        return found, "the only class it saw"
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.15, max_depth=5, random_state=seed)
    model.fit(values[chosen], codes[chosen])
    for i, item in enumerate(wanted):
        found[i] = model.predict(_pixels(item)).reshape(SIDE, SIDE).astype(np.uint8)
    return found, "colour and place of pixels + gradient boosting"


def mean_boxes(items: Sequence[Any], truth: np.ndarray, wanted: Sequence[Any], seed: int) -> tuple[np.ndarray, str]:
    """Boxes (M,) of `wanted`: the same for every picture, the middles of as many groups as a picture has boxes."""
    from sklearn.cluster import KMeans

    everything = np.concatenate([boxes.reshape(-1, 5) for boxes in truth])
    prior = [np.zeros((0, 6))]
    for code in np.unique(everything[:, 0]):
        own = everything[everything[:, 0] == code, 1:]
        count = min(len(np.unique(own, axis=0)), max(1, round(len(own) / len(truth))))
        groups = KMeans(count, n_init=3, random_state=seed).fit(own)
        share = np.bincount(groups.labels_, minlength=count) / len(truth)
        prior.append(np.column_stack([np.full(count, code), groups.cluster_centers_, np.clip(share, 0, 1)]))
    found = np.empty(len(wanted), object)
    for i in range(len(wanted)):
        found[i] = np.concatenate(prior)
    return found, "mean boxes of the training pictures"


def _pixels(item: Any) -> np.ndarray:
    """(SIDE * SIDE, 8): red, green, blue of a pixel and of its neighbourhood, and where it lies."""
    from scipy.ndimage import uniform_filter

    picture = decode(item, SIDE).astype(np.float32)
    around = uniform_filter(picture, size=(9, 9, 1))
    place = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), 2).astype(np.float32)
    return np.concatenate([picture, around, place], 2).reshape(SIDE * SIDE, 8)
