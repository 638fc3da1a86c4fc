"""Modes of a tuned model: norms read their own batch only where everything is trained on batches large enough."""

from __future__ import annotations

import pytest
from torch import nn

from tltools import sources
from tltools.engine import dense, layouts
from tltools.engine.backbone import load_backbone
from tltools.home import Home
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks

PLACES = dense.Places.sound_batch


@pytest.mark.parametrize(
    ("task", "rows", "own"),
    [("classification", layouts.SOUND_BATCH, True), ("classification", layouts.SOUND_BATCH - 1, False),
     ("detection", PLACES, True), ("detection", PLACES - 1, False)],
)  # fmt: skip
def test_norms_read_their_batch_only_where_it_is_large(home: Home, task: str, rows: int, own: bool) -> None:
    backbone, card = load_backbone(home, sources.get(home, "bundled/tiny-resnet")), tasks()[task]
    model = dense.Places(backbone, card, 6) if card.dense else layouts.Tuned(backbone, 2)
    for name, buffer in model.backbone.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.1  # statistics that were learned
    layout = Layout(rates=(1e-3,) * len(model.backbone.stages), head=1e-3)
    assert layouts.set_modes(model, layout, Recipe(phases=(layout,), batch_size=rows), 0) is own


def test_biases_are_known_whatever_they_are_called(home: Home) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/tiny-resnet"))
    backbone.core = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "norm": nn.LayerNorm(4)})
    named = {"attention.in_proj_bias", "attention.out_proj.bias", "norm.weight", "norm.bias"}
    assert backbone.norm_parameters() == named
