"""Masks and boxes drawn over their pictures, entities and answers marked in their texts, for screens and report."""

from __future__ import annotations

import base64
import colorsys
import io
import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tltools import answers, places
from tltools.entities import Span, spans

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]

SURE = 0.3  # boxes of which a model is less sure are not drawn, where nobody chooses otherwise
AROUND = 40  # words beside an answer that are shown
SIDE = 640  # pixels of the longer side of a drawn picture: lines and words have their size in it
TINT = 0.7  # how much of a class's colour lies over its pixels
CALM = 0.5  # of a picture's contrast is left under paint: a blue over bright walls must not look like the light blue
PLAIN = {"background", "_background_", "bg", "other", "unlabelled", "unlabeled", "none"}  # classes that stay untinted
_FIRST = ("#e69f00", "#0072b2", "#009e73", "#cc3d6f", "#56b4e9", "#8c6bd1", "#f0e442", "#d55e00", "#7fbf3f", "#9c755f",
          "#f4a6d7", "#6e3b12", "#b8c4cc", "#00e0c6", "#3b2f8f", "#c6ff4f")  # fmt: skip


def colour(place: int) -> Colour:
    """The colour of a class by its place in the list of classes: told apart also by most who see few colours."""
    if place < len(_FIRST):
        red, green, blue = bytes.fromhex(_FIRST[place][1:])
        return red, green, blue
    shares = colorsys.hsv_to_rgb(place * 0.618 % 1, 0.55 + 0.4 * (place % 2), 0.95 - 0.25 * (place % 3))
    return tuple(round(255 * share) for share in shares)  # type: ignore[return-value]


def legend(classes: Sequence[str], cells: Sequence[str]) -> list[tuple[str, str]]:
    """(class, colour as #rrggbb) of the classes that any of the cells shows in colour, in the order of `classes`."""
    there = {place for cell in cells for place in _counts(cell, classes)}
    painted = [place for place in sorted(there) if not (is_mask(cells[0]) and classes[place].lower() in PLAIN)]
    return [(classes[place], "#" + bytes(colour(place)).hex()) for place in painted]


def is_mask(cell: str) -> bool:
    """Whether a cell holds a mask; otherwise it holds boxes."""
    return cell.startswith(places.MASK)


def is_tags(cell: str) -> bool:
    """Whether a cell holds the tags of words."""
    return cell.startswith(places.TAGS)


def is_answer(cell: str) -> bool:
    """Whether a cell holds answers to a question."""
    return cell.startswith(answers.ANSWER)


def said(cell: str, classes: Sequence[str], least: float = SURE) -> str:
    """What a cell holds in words: the classes of a mask with their shares, or how many boxes or entities of a class."""
    if is_answer(cell):
        return "an answer" if answers.spans_of(cell) else "no answer"
    counts = _counts(cell, classes, least)
    if not counts:
        return "nothing judged" if is_mask(cell) else "no entity" if is_tags(cell) else "no box"
    if is_mask(cell):
        total = sum(counts.values())
        return ", ".join(f"{classes[place]} {100 * count / total:.0f} %" for place, count in counts.most_common())
    return ", ".join(f"{count} {classes[place]}" for place, count in counts.most_common())


def drawn(picture: Image.Image, cell: str, classes: Sequence[str], least: float = SURE, side: int = SIDE) -> Any:
    """An RGB picture, brought to `side` pixels, with the mask or the boxes of a cell over it.

    A mask is as fine as it was predicted; of boxes with scores those from `least` on are drawn, the surest on top.
    """
    from PIL import Image

    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    base = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return _masked(base, cell, classes) if is_mask(cell) else _boxed(base, cell, classes, least)


def marked(text: str, cell: str, classes: Sequence[str]) -> str:
    """A text as HTML with the entities of a cell marked in the colour of their class and named, or with its answer."""
    words, parts, end = text.split(" "), [], 0
    if is_answer(cell):
        return _answered(words, cell)
    for first, after, name in _entities(cell, classes):
        inner = f"{escape(' '.join(words[first:after]))} <small>{escape(name)}</small>"
        parts += [escape(" ".join(words[end:first])), _mark(inner, list(classes).index(name))]
        end = after
    return " ".join(part for part in [*parts, escape(" ".join(words[end:]))] if part)


def _answered(words: Sequence[str], cell: str) -> str:
    """The question, and what is around its answer; of several accepted ones the first is marked."""
    first = answers.begin(" ".join(words))
    asked = f"<b>{escape(' '.join(words[: first - 1]))}</b><br>"
    spans = answers.spans_of(cell)
    if not spans:
        return f"{asked}<i>No answer</i>"
    start, end = spans[0]
    before, after = words[max(first, start - AROUND) : start], words[end : end + AROUND]
    parts = ["…" * (start - AROUND > first), escape(" ".join(before)), _mark(escape(" ".join(words[start:end])), 2),
             escape(" ".join(after)), "…" * (end + AROUND < len(words))]  # fmt: skip
    return asked + " ".join(part for part in parts if part)


def _mark(inner: str, place: int) -> str:
    ink = "#" + bytes(colour(place)).hex()
    style = f"background:{ink}33;color:inherit;border-bottom:2px solid {ink};padding:0 3px;border-radius:3px"
    return f'<mark style="{style}">{inner}</mark>'


def address(picture: Image.Image, quality: int = 80) -> str:
    """A picture as the text of a link that holds it whole (data:image/jpeg)."""
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()


def _masked(base: Image.Image, cell: str, classes: Sequence[str]) -> Image.Image:
    from PIL import Image

    mask = Image.fromarray(places.mask_of(cell, classes)).resize(base.size, Image.Resampling.NEAREST)
    codes: NDArray[np.uint8] = np.asarray(mask)
    paint = np.array([colour(place) for place in range(256)], np.float32)
    tint = np.full(256, TINT, np.float32)
    tint[[k for k, name in enumerate(classes) if name.lower() in PLAIN] + [places.IGNORED]] = 0.0
    edge = np.zeros(codes.shape, bool)
    edge[:, 1:] |= codes[:, 1:] != codes[:, :-1]
    edge[1:] |= codes[1:] != codes[:-1]
    inside = tint[codes][:, :, None] > 0
    shares = np.where(edge[:, :, None] & inside, 1.0, tint[codes][:, :, None])
    under = np.asarray(base, np.float32)
    under = np.where(inside, CALM * under + (1 - CALM) * 128, under)
    return Image.fromarray(((1 - shares) * under + shares * paint[codes]).astype(np.uint8))


def _boxed(base: Image.Image, cell: str, classes: Sequence[str], least: float) -> Image.Image:
    from PIL import ImageDraw, ImageFont

    pen, font = ImageDraw.Draw(base), ImageFont.load_default(max(11, max(base.size) // 42))
    line = max(2, max(base.size) // 220)
    labels = []
    for name, corners, score in sorted(_boxes(cell, classes, least), key=lambda box: box[2] or 0.0):
        ink = colour(list(classes).index(name))
        x0, x1 = (corners[k] * base.width for k in (0, 2))
        y0, y1 = (corners[k] * base.height for k in (1, 3))
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=ink, width=line)
        labels.append((x0, y0, name if score is None else f"{name} {score:.2f}", ink))
    for x, y, words, ink in labels:  # no line crosses them
        left, top, right, bottom = pen.textbbox((0, 0), words, font)
        wide, high = right - left + 6, bottom - top + 6
        x, y = max(0.0, min(x, base.width - wide)), y - high if y >= high else y
        pen.rectangle((x, y, x + wide, y + high), fill=ink)
        bright = 0.3 * ink[0] + 0.59 * ink[1] + 0.11 * ink[2] > 140
        pen.text((x + 3 - left, y + 3 - top), words, "black" if bright else "white", font)
    return base


def _boxes(cell: str, classes: Sequence[str], least: float) -> list[tuple[str, list[float], float | None]]:
    """(class, corners in shares of the picture, score) of the boxes that are drawn; a truth has no scores."""
    read = [(box[0], box[1:5], box[5] if len(box) > 5 else None) for box in json.loads(cell)["boxes"]]
    return [box for box in read if box[0] in classes and (box[2] is None or box[2] >= least)]


def _counts(cell: str, classes: Sequence[str], least: float = SURE) -> Counter[int]:
    """Pixels or boxes by place of their class."""
    if is_mask(cell):
        held = np.bincount(places.mask_of(cell, classes).ravel(), minlength=256)
        return Counter({k: int(held[k]) for k in range(len(classes)) if held[k] and k != places.IGNORED})
    if is_answer(cell):
        return Counter()
    if is_tags(cell):
        return Counter(list(classes).index(name) for _, _, name in _entities(cell, classes))
    return Counter(list(classes).index(name) for name, _, _ in _boxes(cell, classes, least))


def _entities(cell: str, classes: Sequence[str]) -> list[Span]:
    names = places.tag_names(classes)
    return spans([names[code] for code in places.tags_of(cell, classes)])
