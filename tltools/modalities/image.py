"""Images: one picture a row, stored upright and as RGB."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tltools.modalities import Modality
from tltools.records import Column, Problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NEAR_LIMIT = 30_000  # images up to which each is compared with each
_SIDE = 32  # pixels of the small grey pictures that are compared


def recognise(columns: Sequence[Column]) -> float:
    """1 where a column holds images."""
    return 1.0 if any(column.kind == "image" for column in columns) else 0.0


def inputs(columns: Sequence[Column]) -> tuple[str, ...]:
    """The first image column."""
    return tuple(column.name for column in columns if column.kind == "image")[:1]


def numbers(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Mapping[str, float]:
    """Width and height in pixels, as they were before storing."""
    if "width" not in rows or "height" not in rows or not len(rows):
        return {}
    return {
        f"{side}_{word}": float(value)
        for side in ("width", "height")
        for word, value in (("min", rows[side].min()), ("median", rows[side].median()), ("max", rows[side].max()))
    }


def problems(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[Problem]:
    """Placeholders: one picture under many names, pictures of one colour; and very small images."""
    names_of = rows[names[0]].tolist()
    places = rows["_where"].tolist()
    found = []
    for name, count in Counter(names_of).most_common(3):
        if count >= 3:
            examples = [place for place, other in zip(places, names_of, strict=True) if other == name][:3]
            what = f"one picture stands {count} times in the data ({', '.join(examples)}): perhaps a placeholder."
            remedy = "Look at it, and take it out if it shows nothing."
            found.append(Problem(severity="warning", where=examples[0], what=what, remedy=remedy))
    flat = (_small(media, tuple(names_of)).std(1) < 2.0).nonzero()[0]
    if len(flat):
        what = f"{len(flat)} image(s) show one colour and nothing else, the first is {places[flat[0]]}."
        found.append(Problem(severity="warning", where=places[flat[0]], what=what, remedy="Take them out."))
    if len(set(names_of)) > NEAR_LIMIT:
        what = f"above {NEAR_LIMIT:,} images near-duplicates are searched in part: most are found, some are not."
        found.append(Problem(severity="note", where=names[0], what=what, remedy="Nothing needs to be done."))
    if "width" in rows and "height" in rows and len(rows):
        small = int((rows[["width", "height"]].min(axis=1) < 32).sum())
        if small:
            what = f"{small} of {len(rows)} images are smaller than 32 pixels; they are enlarged for the source models."
            found.append(
                Problem(severity="note", where=names[0], what=what, remedy="Use the originals if they are larger.")
            )
    return found


def content(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[bytes]:
    """Per row: sha256 of the stored name, which is itself a hash of the pixels."""
    return [hashlib.sha256(name.encode()).digest() for name in rows[names[0]]]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where the pictures agree, whatever their size, brightness and compression."""
    import numpy as np

    from tltools.modalities._near import Links, equal, similar_pictures

    same = equal(rows[names[0]].tolist())
    first = np.unique(same)
    small = _small(media, tuple(rows[names[0]].iloc[first])).astype(np.float32)
    centred = small - small.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    pictures = np.where(length > 2.0 * _SIDE, centred / np.maximum(length, 1e-9), 0)
    links = Links(len(first))
    similar_pictures(_fingerprints(small), pictures, links, NEAR_LIMIT)
    return np.asarray(first[links.clusters()][np.searchsorted(first, same)])


def paths(rows: pd.DataFrame, names: Sequence[str], media: Path) -> list[str]:
    """Returns the absolute path of each row's picture."""
    return [str(media / name) for name in rows[names[0]]]


def _fingerprints(small: np.ndarray) -> np.ndarray:
    """(N, 1024) grey pictures -> (N,) uint64: is each of 8 x 8 fields brighter than its right neighbour?"""
    import numpy as np

    rows = small.reshape(-1, 8, _SIDE // 8, _SIDE).mean(2)
    edges = np.linspace(0, _SIDE, 10).astype(int)
    fields = np.stack([rows[:, :, a:b].mean(2) for a, b in zip(edges[:-1], edges[1:], strict=True)], 2)
    bits = (fields[:, :, 1:] > fields[:, :, :-1] + 0.5).reshape(-1, 64)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


@lru_cache(maxsize=2)
def _small(media: Path, names: tuple[str, ...]) -> np.ndarray:
    """(N, 1024) uint8: small grey pictures; kept, because profile and clusters need the same ones."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from PIL import Image

    def one(name: str) -> np.ndarray:
        with Image.open(media / name, formats=("JPEG", "PNG")) as image:
            image.draft("L", (2 * _SIDE, 2 * _SIDE))
            grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
            return np.asarray(grey).reshape(-1)

    with ThreadPoolExecutor(4) as pool:
        return np.stack(list(pool.map(one, names))) if names else np.empty((0, _SIDE * _SIDE), np.uint8)


IMAGE = Modality(
    key="image",
    title="Images",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    views={"image": paths},
    order=20,
)
