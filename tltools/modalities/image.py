"""Images: one picture a row, stored upright and as RGB."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tltools import pictures
from tltools.modalities import Exported, Files, Modality, Reader, Reading
from tltools.modalities._near import SIDE
from tltools.records import Column, Problem, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

NEAR_LIMIT = 30_000  # images up to which each is compared with each
_PATCH, _PATCHES = 8, 8  # pixels of a patch's side, patches beside each other: 64 in all, as a short text has words

ENLARGED = 2.0  # times a picture is enlarged, from which it is said
SHRUNK = 8.0  # times it is shrunk
DARK = 32  # of 255: an eighth of the range, above which 13 bits or fewer in a file of 16 do not go

# everyday words for things among ImageNet's 1,000 classes; a hint for a warning, not a list of the classes
_NAMED = """
    ant ants bee bees butterfly spider snake lizard turtle frog fish shark bird hen duck goose owl eagle penguin dog cat
    fox wolf bear lion tiger elephant zebra horse cow sheep pig monkey gorilla panda rabbit hamster mouse daisy mushroom
    banana orange lemon strawberry pineapple broccoli pizza hotdog car truck bus train airplane ship boat bicycle
    motorcycle chair table sofa laptop keyboard phone cup bottle umbrella shoe clock
"""
IMAGENET_WORDS = frozenset(_NAMED.split())


@dataclass(frozen=True)
class Patched:
    """A picture as patches, opened where they are needed."""

    path: str

    def __str__(self) -> str:
        return self.path

    def frames(self) -> np.ndarray:
        """Returns (64, 192) uint8: RGB pixels of 8 x 8 patches, row by row, of the whole picture at 64 x 64 pixels."""
        import numpy as np
        from PIL import Image

        side = _PATCH * _PATCHES
        with Image.open(self.path) as image:
            small = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        split = small.reshape(_PATCHES, _PATCH, _PATCHES, _PATCH * 3)
        return split.transpose(0, 2, 1, 3).reshape(_PATCHES**2, -1)


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
    """Placeholders: one picture under many names, pictures of one colour; very small images; and dark ones, if all are:
    a single one may well be."""
    names_of = rows[names[0]].tolist()
    places = rows["_where"].tolist()
    found = []
    for name, count in Counter(names_of).most_common(3):
        if count >= 3:
            examples = [place for place, other in zip(places, names_of, strict=True) if other == name][:3]
            what = f"one picture stands {count} times in the data ({', '.join(examples)}): perhaps a placeholder."
            remedy = "Look at it, and take it out if it shows nothing."
            found.append(Problem(severity="warning", where=examples[0], what=what, remedy=remedy))
    small_ones, brightest = _small(media, tuple(names_of))
    if len(brightest) and brightest.max() <= DARK:
        what = f"all images are dark: no pixel is above {brightest.max()} of 255."
        remedy = "If their files hold 12 or 10 bits in 16, multiply the values by 16 or 64, and those to predict, too; "
        remedy += "if not, brighten all of them alike."
        found.append(Problem(severity="warning", where=names[0], what=what, remedy=remedy))
    flat = (small_ones.std(1) < 2.0).nonzero()[0]
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


def doubts(source: Source, classes: Sequence[str], numbers: Mapping[str, float]) -> Iterator[str]:
    """Classes that ImageNet has, and pictures of another size than the source reads."""
    if "imagenet" in source.pretraining.lower():
        known = sorted(name for name in classes if _in_imagenet(name))
        if known:
            yield f"ImageNet has seen {', '.join(known[:4])}: frozen scores are optimistic."
    if source.reads == "image":
        yield from _size(source, numbers)


def _in_imagenet(name: str) -> bool:
    words = re.split(r"[\s_-]+", name.lower())
    return any(word in IMAGENET_WORDS or word.rstrip("s") in IMAGENET_WORDS for word in words)


def _size(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    side = min(numbers.get("width_median", 0.0), numbers.get("height_median", 0.0))
    if not source.image_size or not side:
        return
    if source.image_size >= ENLARGED * side:
        yield (
            f"Half of your images have {side:.0f} pixels or fewer and it reads {source.image_size}: enlarged, they "
            "lack the fine structure that it knows."
        )
    elif side >= SHRUNK * source.image_size:
        yield (
            f"It reads {source.image_size} pixels and half of your images have {side:.0f} or more: small things in "
            "them are lost."
        )


def content(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[bytes]:
    """Per row: sha256 of the stored name, which is itself a hash of the pixels."""
    return [hashlib.sha256(name.encode()).digest() for name in rows[names[0]]]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where the pictures agree, whatever their size, brightness and compression."""
    import numpy as np

    from tltools.modalities._near import Links, equal, similar_pictures

    same = equal(rows[names[0]].tolist())
    first = np.unique(same)
    small, _ = _small(media, tuple(rows[names[0]].iloc[first]))
    links = Links(len(first))
    similar_pictures(small, links, NEAR_LIMIT, cropped=True)
    return np.asarray(first[links.clusters()][np.searchsorted(first, same)])


def paths(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[str]:
    """Returns the absolute path of each row's picture."""
    return [str(media / name) for name in rows[names[0]]]


@lru_cache(maxsize=2)
def _small(media: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1024) uint8: small grey pictures, and (N,) uint8: the brightest pixel of each; kept, because profile and
    clusters need the same ones."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from PIL import Image

    def one(name: str) -> tuple[np.ndarray, int]:
        with Image.open(media / name, formats=("JPEG", "PNG")) as image:
            image.draft("L", (8 * SIDE, 8 * SIDE))  # smaller, its coarse blocks would be seen
            grey = image.convert("L")
            small = grey.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
            return np.asarray(small).reshape(-1), int(np.asarray(grey).max())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, names))
    small = np.stack([pixels for pixels, _ in found]) if found else np.empty((0, SIDE * SIDE), np.uint8)
    return small, np.array([most for _, most in found], np.uint8)


def describe(paths: Sequence[str]) -> np.ndarray:
    """(N, 3*16 + 36*9 + 3*16) float32: colour histograms, oriented-edge histograms on a 6 x 6 grid, a tiny picture."""
    import numpy as np

    return np.stack([_describe(path) for path in paths])


def _describe(path: str) -> np.ndarray:
    import numpy as np
    from PIL import Image

    small = _stored(path).resize((48, 48), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, np.float32) / 255
    colours = [np.histogram(pixels[..., c], bins=16, range=(0, 1), density=True)[0] / 16 for c in range(3)]
    grey = pixels.mean(2)
    down, across = np.gradient(grey)
    strength, angle = np.hypot(down, across), np.mod(np.arctan2(down, across), np.pi)
    bins = np.minimum((angle / np.pi * 9).astype(int), 8)
    cells = []
    for top in range(0, 48, 8):
        for left in range(0, 48, 8):
            part = np.s_[top : top + 8, left : left + 8]
            cell = np.bincount(bins[part].ravel(), strength[part].ravel(), minlength=9)
            cells.append(cell / (np.linalg.norm(cell) + 1e-3))
    tiny = pixels.reshape(4, 12, 4, 12, 3).mean((1, 3)).ravel()
    return np.concatenate([*colours, *cells, tiny]).astype(np.float32)


def draw(path: Path, reading: Reading) -> Image.Image:
    """Returns a stored picture."""
    return _stored(path)


def _stored(path: str | Path) -> Image.Image:
    from PIL import Image

    with Image.open(path, formats=("JPEG", "PNG")) as image:
        return image.convert("RGB")


def patches(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[Patched]:
    """Returns each row's picture, to be cut into patches when it is needed."""
    return [Patched(path) for path in paths(rows, names, media, reading)]


def exported(what: Reader) -> Exported:
    """Code that opens any picture as one of the dataset's, or describes pictures as the classical control does."""
    rule = [
        re.sub(r'    """.*?"""\n', "", inspect.getsource(one), flags=re.S) for one in (pictures.plain, pictures.grey)
    ]
    opened = "\n\n".join([*rule, _OPENED])
    size = ', 2 * facts["image_size"]' if what == "picture" else ""
    parts = [opened, _PICTURE.replace("{size}", size), *([_FRAMES] if what == "frames" else ())]
    if what == "describe":
        parts += [inspect.getsource(describe).replace("Sequence[str]", "list[str]")]
        parts += [inspect.getsource(_describe).replace("_stored(", "picture(")]
    return Exported(("from PIL import Image, ImageOps",), ("pillow",), ENDINGS, "\n\n".join(parts), opened)


ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
_OPENED = """\
def opened(path, side=None):  # a JPEG may be opened smaller, with `side` pixels or more
    # as a file: by its path Pillow 13 maps a TIFF, and gets a turned one wrong
    with open(path, "rb") as file, Image.open(file) as image:
        if side:
            image.draft("RGB", (side, side))
        return plain(image)


def fault(path):  # why a picture cannot be read; "" where it can
    try:
        opened(path, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} cannot be read as a picture ({error}): replace it, or take it away"
    return ""
"""
_PICTURE = """\
def picture(path):
    return opened(path{size})
"""
_FRAMES = f"""\
def frames(path):  # patches of the whole picture, row by row
    small = np.asarray(picture(path).resize(({_PATCH * _PATCHES}, {_PATCH * _PATCHES}), Image.Resampling.BICUBIC))
    split = small.reshape({_PATCHES}, {_PATCH}, {_PATCHES}, {_PATCH * 3}).transpose(0, 2, 1, 3)
    return split.reshape({_PATCHES**2}, -1)
"""
IMAGE = Modality(
    key="image",
    title="Images",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    doubts=doubts,
    views={"image": paths, "frames": patches},
    said={"frames": "Fits as a frozen language model; new input layer for patches of the picture."},
    files=Files(
        one="an image",
        many="images",
        endings=ENDINGS,
        facts=("width", "height"),
        telling="The classes may come from different cameras or sites; bring all images to one size before judging.",
        draw=draw,
        describe=describe,
        described="colours and edges",
        exported=exported,
        augmented=True,
    ),
    order=20,
)
