"""Heads that answer for every place of a row: maps of a picture at several strides, or states of words, to scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 48  # channels of the decoder; with 32 it found fewer boxes
RARE = 0.02  # how often a place is the centre of an object, at the start: the heatmap's bias says so


class Decoder(nn.Module):
    """From the deepest map up: each is standardised, brought to one width, enlarged, and added to the one below (U-Net,
    FPN). Without the first, the maps of a trained network, whose numbers may be ten times as large as those of a new
    one, drown what comes from above."""

    def __init__(self, channels: Sequence[int], width: int = WIDTH) -> None:
        super().__init__()
        self.level = nn.ModuleList(_standardised(own, width) for own in channels)
        self.mix = nn.ModuleList(_mixed(width) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, C_i, h_i, w_i) maps, deepest last -> (B, WIDTH, h_0, w_0)."""
        above: Tensor | None = None
        for own, level, mix in reversed(list(zip(maps, self.level, self.mix, strict=True))):
            here = level(own)
            if above is not None:
                here = here + functional.interpolate(above, size=here.shape[2:], mode="bilinear", align_corners=False)
            above = mix(here)
        assert above is not None
        return above


class MaskHead(nn.Module):
    """Scores of every class at every place: (B, K, 2 h_0, 2 w_0)."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.decoder, self.out_features = Decoder(channels), width
        self.last = nn.Conv2d(WIDTH, width, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """See the class."""
        raw: Tensor = self.last(self.decoder(maps))
        return functional.interpolate(raw, scale_factor=2.0, mode="bilinear", align_corners=False)


class CentreHead(nn.Module):
    """Objects as points (arXiv 1904.07850): (B, K, h_0, w_0), of which the last four channels hold the logarithm of
    width and height in shares of the picture, and where within its place the centre lies; the others are heatmaps."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.decoder, self.out_features = Decoder(channels), width
        self.mix, self.last = _mixed(WIDTH), nn.Conv2d(WIDTH, width, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias[: width - 4], float(torch.logit(torch.tensor(RARE))))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """See the class."""
        raw: Tensor = self.last(self.mix(self.decoder(maps)))
        return raw


class WordHead(nn.Module):
    """Scores of every class for every word: (B, W, K)."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.norm, self.last, self.out_features = nn.LayerNorm(channels[-1]), nn.Linear(channels[-1], width), width

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, W, D) states of words, alone in a list."""
        raw: Tensor = self.last(self.norm(maps[-1]))
        return raw


def _standardised(own: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(own, affine=False), nn.Conv2d(own, width, 1))


def _mixed(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
