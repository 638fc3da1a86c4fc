"""What a prediction loses without a part of its row: words left out, places of a picture covered, one at a time.

Zeiler and Fergus 2014. It asks the model for nothing but predictions, so it serves every model.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from PIL import Image

from tltools.engine import marks
from tltools.engine.trial_model import TrialModel
from tltools.modalities import Drawn

MOST_WORDS = 128  # a source model reads about as many
GRID = 8  # an image is covered in 8 x 8 places, one after the other


def words(model: TrialModel, text: str) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, K) outputs, and what the prediction loses without each word (a probability, or the number's unit)."""
    found = text.split()
    seen = found[:MOST_WORDS]
    without = [" ".join(found[:k] + found[k + 1 :]) for k in range(len(seen))]
    outputs = model.outputs([text, *without])
    weights = [[word, float(weight)] for word, weight in zip(seen, _drop(outputs), strict=True)]
    return outputs[:1], {"text": text, "words": weights, "words_left_out": len(found) - len(seen)}


def places(model: TrialModel, item: str | Drawn) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, K) outputs, and what the prediction loses when each of 8 x 8 places has the picture's mean colour."""
    picture = marks.opened(item)
    most = 4 * marks.SIDE
    if max(picture.size) > most:
        picture.thumbnail((most, most))
    pixels = np.asarray(picture)
    down = np.linspace(0, pixels.shape[0], GRID + 1).astype(int)
    across = np.linspace(0, pixels.shape[1], GRID + 1).astype(int)
    colour = pixels.reshape(-1, 3).mean(0).astype(np.uint8)
    with tempfile.TemporaryDirectory(prefix="tltools-covered-") as folder:
        paths: list[str | Drawn] = [item]
        for row in range(GRID):
            for column in range(GRID):
                covered = pixels.copy()
                covered[down[row] : down[row + 1], across[column] : across[column + 1]] = colour
                paths.append(covered_at := f"{folder}/{row}-{column}.png")
                Image.fromarray(covered).save(covered_at, compress_level=1)
        outputs = model.outputs(paths)
    weights = _drop(outputs).reshape(GRID, GRID)
    map_png = marks.overlay(weights, pixels.shape[1], pixels.shape[0])
    return outputs[:1], {"image": str(item), "weights": weights.tolist(), "map_png": map_png}


def _drop(outputs: np.ndarray) -> np.ndarray:
    """(1 + N, K) outputs, the first of the whole item -> (N,) what each covering takes from the prediction."""
    column = int(outputs[0].argmax())
    return np.asarray(outputs[0, column] - outputs[1:, column], np.float64)
