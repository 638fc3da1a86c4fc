"""Augmentation: what training sees is what the preview shows; each knob does what its words say, and no more."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tltools import augmentation
from tltools.engine import augment
from tltools.engine.device import Device
from tltools.engine.feeds import Feed
from tltools.strategies import Layout, Recipe

EVERYTHING = {"flip": True, "rotate": 30, "scale": 0.2, "crop": 0.3, "colour": 0.3}


def picture(tmp_path: Path) -> tuple[Path, np.ndarray]:
    across, down = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    pixels = np.stack([255 * across, 255 * down, 127 + 120 * np.sin(6 * across) * np.cos(5 * down)], -1)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "p.png")
    return tmp_path / "p.png", pixels.astype(np.uint8)


def test_the_preview_shows_what_training_sees(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path, pixels = picture(tmp_path)
    changes = augmentation.drawn(EVERYTHING, 8, np.random.default_rng(4))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().repeat(8, 1, 1, 1)
    seen = augment.apply(images, changes).permute(0, 2, 3, 1).numpy()
    shown = augmentation.preview([path] * 8, EVERYTHING, seed=4, size=64)
    for one, other in zip(seen, shown, strict=True):
        assert np.abs(one - np.asarray(other, np.float32)).mean() < 1.5  # of 255: rounding of two resamplings


def test_without_settings_nothing_changes() -> None:
    images = torch.rand(3, 3, 8, 8) * 255
    changes = augmentation.drawn({}, 3, np.random.default_rng(0))
    assert torch.allclose(augment.apply(images, changes), images, atol=1e-3)


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.rand(1, 3, 8, 8).repeat(200, 1, 1, 1) * 255
    out = augment.apply(images, augmentation.drawn({"flip": True}, 200, np.random.default_rng(0)))
    mirrored = [torch.allclose(one, images[0].flip(-1), atol=1e-2) for one in out]
    assert 70 < sum(mirrored) < 130
    assert all(m or torch.allclose(one, images[0], atol=1e-2) for m, one in zip(mirrored, out, strict=True))


def test_augmented_batches_follow_torchs_random_state_so_that_checkpoints_hold_it() -> None:
    class Pixels:
        def raw(self, rows: np.ndarray) -> torch.Tensor:
            return torch.arange(len(rows) * 48, dtype=torch.uint8).reshape(-1, 3, 4, 4)

        def normalise(self, raw: torch.Tensor) -> torch.Tensor:
            return raw

    take = augment.maker(EVERYTHING, Pixels())
    assert take is not None
    torch.manual_seed(5)
    take(np.arange(4))
    kept = torch.get_rng_state()
    first = take(np.arange(4))["pixel_values"]
    torch.set_rng_state(copy.copy(kept))
    assert torch.equal(first, take(np.arange(4))["pixel_values"])
    assert augment.maker(EVERYTHING, object()) is None


def changed(images: torch.Tensor, seed: int = 0, **settings: object) -> torch.Tensor:
    """Each of (B, 3, H, W) images changed on its own."""
    return augment.apply(images, augmentation.drawn(settings, len(images), np.random.default_rng(seed)))


def ramps(count: int, side: int = 32) -> torch.Tensor:
    """(B, 3, H, W): red grows to the right, green downwards, blue is flat."""
    line = (torch.arange(side) + 0.5) / side * 200 + 20
    across, down = line.expand(side, side), line[:, None].expand(side, side)
    return torch.stack([across, down, torch.full((side, side), 100.0)])[None].repeat(count, 1, 1, 1)


def test_a_crop_shows_a_part_that_lies_inside_the_image_and_is_no_smaller_than_said() -> None:
    out = changed(ramps(300), crop=0.4)
    red, green = out[:, 0], out[:, 1]
    widths, heights = (red[:, 16, 28] - red[:, 16, 4]), (green[:, 28, 16] - green[:, 4, 16])
    whole = 200 * 24 / 32
    assert torch.allclose(widths, heights, atol=0.5), "the aspect stays"
    assert 0.6 * whole - 0.5 < widths.min() < 0.65 * whole and 0.95 * whole < widths.max() <= whole + 0.5
    assert out[:, :2].min() >= 20 and out[:, :2].max() <= 220
    assert torch.all(red.diff(dim=2) > -1e-3), "nothing is mirrored in from outside, so nothing lies outside"
    middles = red[:, 16].mean(1)
    assert middles.min() < 95 < 145 < middles.max(), "anywhere, not only in the middle"


def test_a_zoom_goes_in_and_out_about_the_middle_by_at_most_what_was_said() -> None:
    out = changed(ramps(300), scale=0.25)[:, 0, 16]
    steps = (out[:, 17] - out[:, 15]) / 2 / (200 / 32)
    assert 0.75 - 0.01 <= steps.min() < 0.8 and 1.2 < steps.max() <= 1.25 + 0.01
    assert torch.allclose((out[:, 15] + out[:, 16]) / 2, torch.tensor(120.0), atol=0.5)


@pytest.mark.parametrize("degrees", [15, 90])
def test_a_turn_is_at_most_so_many_degrees_both_ways(degrees: int) -> None:
    out = changed(ramps(300), rotate=degrees)[:, 0]
    right, down = out[:, 16, 17] - out[:, 16, 15], out[:, 17, 16] - out[:, 15, 16]
    angles = torch.rad2deg(torch.atan2(down, right))
    assert -degrees - 0.5 <= angles.min() < -0.9 * degrees and 0.9 * degrees < angles.max() <= degrees + 0.5
    assert torch.allclose(torch.hypot(down, right), torch.tensor(2 * 200 / 32), atol=0.2), "the size stays"


def test_light_changes_the_light_alone_and_stays_in_range() -> None:
    images = ramps(300)
    out = changed(images, colour=0.3)
    brightness = out.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert 0.7 - 0.01 <= brightness.min() < 0.73 and 1.27 < brightness.max() <= 1.3 + 0.02
    contrast = out[:, 0].std((1, 2)) / images[:, 0].std((1, 2)) / brightness
    assert 0.68 <= contrast.min() < 0.75 and 1.2 < contrast.max() <= 1.32
    assert changed(images * 3, colour=0.5).max() <= 255 and changed(-images, colour=0.5).min() >= 0


def test_every_image_is_changed_on_its_own_and_the_same_seed_changes_alike() -> None:
    images = ramps(8)
    out = changed(images, **EVERYTHING)
    assert all(not torch.allclose(one, other, atol=1) for k, one in enumerate(out) for other in out[:k])
    assert torch.equal(out, changed(images, **EVERYTHING)) and not torch.equal(out, changed(images, 1, **EVERYTHING))


def test_only_training_batches_are_changed() -> None:
    class Encoded:
        lengths = np.ones(4, np.int64)

        def raw(self, rows: np.ndarray) -> torch.Tensor:
            return ramps(4)[torch.from_numpy(rows)]

        def normalise(self, raw: torch.Tensor) -> torch.Tensor:
            return raw / 255

        def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
            return {"pixel_values": self.normalise(self.raw(rows))}

        def __len__(self) -> int:
            return 4

    rows, device = np.arange(4), Device("cpu", 1, False, "a test", 1000.0)
    for settings, changes in (({"rotate": 40}, True), ({"rotate": 0}, False)):
        recipe = Recipe(phases=(Layout(rates=(1e-3,), head=1e-3),), augmentation=settings)
        feed = Feed(Encoded(), None, device, False, recipe)
        plain = feed.take(rows, training=False)[0]["pixel_values"]
        assert torch.equal(plain, ramps(4) / 255)
        assert torch.equal(feed.take(rows, training=True)[0]["pixel_values"], plain) is not changes
