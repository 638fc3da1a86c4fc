"""Masks and boxes over pictures: where the paint goes, what the legend says, and the worst rows first."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from tltools import overlays, places

NAMES = ("background", "cat", "dög")
GREY = Image.new("RGB", (64, 48), (128, 128, 128))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_a_mask_tints_its_classes_and_leaves_background_and_unjudged_pixels_alone() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:3, :4], mask[3:, 4:], mask[:3, 4:] = 1, 2, places.IGNORED
    found = pixels(overlays.drawn(GREY, places.mask_cell(mask, NAMES), NAMES, side=64))
    assert found.shape == (48, 64, 3)
    for place, at in ((1, (10, 10)), (2, (40, 50))):
        wanted = (128 * (1 - overlays.TINT) + overlays.TINT * np.array(overlays.colour(place))).astype(int)
        assert np.abs(found[at] - wanted).max() <= 1
    assert (found[40, 10] == 128).all() and (found[10, 50] == 128).all()
    assert tuple(found[40, 32]) == overlays.colour(2)  # the border of a class is in its full colour


def test_over_dark_and_bright_pixels_alike_a_class_looks_most_like_its_own_colour() -> None:
    names = tuple(f"class {place}" for place in range(8))
    swatches = np.array([overlays.colour(place) for place in range(len(names))])
    mask = np.repeat(np.arange(len(names), dtype=np.uint8), 4)[None].repeat(8, 0)
    for shade in (40, 128, 255):
        picture = Image.new("RGB", mask.shape[::-1], (shade, shade, shade))
        found = pixels(overlays.drawn(picture, places.mask_cell(mask, names), names, side=mask.shape[1]))
        nearest = ((found[:, :, None] - swatches) ** 2).sum(3).argmin(2)
        assert (nearest == mask).all(), shade


def test_boxes_are_outlined_in_the_colour_of_their_class_from_a_score_on() -> None:
    boxes = np.array([[1, 0.25, 0.5, 0.75, 0.9, 0.8], [2, 0.0, 0.5, 0.2, 0.9, 0.1]])
    cell = places.boxes_cell(boxes, NAMES)
    found = pixels(overlays.drawn(GREY, cell, NAMES, least=0.3, side=640))
    assert tuple(found[300, 161]) == overlays.colour(1) == tuple(found[431, 320])
    assert (found[300, 320] == 128).all() and (found[300, :150] == 128).all()  # hollow; the unsure one is not there
    assert tuple(pixels(overlays.drawn(GREY, cell, NAMES, least=0.05))[300, 1]) == overlays.colour(2)


def test_boxes_at_and_beyond_the_edges_and_none_at_all_are_drawn() -> None:
    boxes = np.array([[1, 0, 0, 1, 1, 0.9], [2, 0.999, 0.999, 1, 1, 0.9], [1, 0.5, 0.5, 0.5, 0.5, 0.9]])
    assert overlays.drawn(GREY, places.boxes_cell(boxes, NAMES), NAMES).size == (640, 480)
    assert (pixels(overlays.drawn(GREY, places.boxes_cell(boxes[:0], NAMES), NAMES)) == 128).all()


def test_words_and_legend_name_what_is_seen_in_the_order_of_the_classes() -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[0] = 2
    cell = places.mask_cell(mask, NAMES)
    assert overlays.said(cell, NAMES) == "background 75 %, dög 25 %"
    assert [name for name, _ in overlays.legend(NAMES, [cell])] == ["dög"]
    boxes = np.array([[2, 0, 0, 1, 1, 0.9], [2, 0, 0, 1, 1, 0.1], [1, 0, 0, 1, 1, 0.9], [2, 0, 0, 1, 1, 0.4]])
    said = places.boxes_cell(boxes, NAMES)
    assert overlays.said(said, NAMES) == "2 dög, 1 cat" and overlays.said(said, NAMES, 0.95) == "no box"
    assert [name for name, _ in overlays.legend(NAMES, [said])] == ["cat", "dög"]
    assert overlays.said(places.mask_cell(mask * 0 + 255, NAMES), NAMES) == "nothing judged"
    assert overlays.legend(NAMES, []) == []


def test_every_class_has_a_colour_of_its_own() -> None:
    colours = np.array([overlays.colour(place) for place in range(40)])
    apart = np.abs(colours[:, None] - colours[None]).max(2) + 999 * np.eye(40, dtype=int)
    assert colours.min() >= 0 and colours.max() <= 255 and apart.min() > 8


def test_an_address_holds_the_picture() -> None:
    head, _, held = overlays.address(GREY).partition(",")
    with Image.open(io.BytesIO(base64.b64decode(held))) as again:
        assert head == "data:image/jpeg;base64" and again.size == GREY.size
        assert np.abs(pixels(again) - 128).max() <= 2
