"""Vision models of transformers as sources: the card of a folder, maps of the right places, masks, boxes and scripts.

Run alone: python -m pytest tests/test_vision_models.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import sealed_trials, shapes
from tltools import datasets, reports, sources, studies
from tltools.engine import export, image_backbone, torchvision_operators
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.home import Home, open_home
from tltools.providers.huggingface import from_config
from tltools.records import Refusal, Source, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

torchvision_operators.ensure()
LAYERS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
SIZES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
MODELS: dict[str, dict[str, Any]] = {  # model type -> what makes it small
    "vit": {**LAYERS, "image_size": 64, "patch_size": 8},
    "dinov2": {**LAYERS, "image_size": 64, "patch_size": 8, "mlp_ratio": 2},
    "dinov2_with_registers": {**LAYERS, "image_size": 64, "patch_size": 8, "mlp_ratio": 2},
    "swin": {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 2], "num_heads": [1, 2, 4],
             "window_size": 4},
    "convnext": {**SIZES, "image_size": 64},
    "segformer": {**SIZES, "num_attention_heads": [1, 1, 2, 2]},
    "resnet": {**SIZES, "embedding_size": 8, "layer_type": "basic"},
}  # fmt: skip
MAPS = {  # width and height of the maps of a picture of 64 x 64
    "vit": [16, 8], "dinov2": [16, 8], "dinov2_with_registers": [16, 8], "swin": [16, 8, 4], "convnext": [16, 8, 4, 2],
    "segformer": [16, 8, 4, 2], "resnet": [16, 8, 4, 2],
}  # fmt: skip
SHORT = {"epochs": 8, "min_steps": 0, "batch_size": 4, "learning_rate": 1e-3, "head_rate": 1e-2, "rates_tried": 1}
EXTRACTOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.3], "size": {"height": 64, "width": 64}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that knows three of them, beside folders of all, as their authors publish them."""
    from transformers import AutoConfig, AutoModel

    root = tmp_path_factory.mktemp("vision")
    home = open_home(root / "home")
    for kind, small in MODELS.items():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(kind, **small)).save_pretrained(root / kind)
        (root / kind / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
        if kind in ("vit", "segformer", "swin"):
            sources.add(home, root / kind, name=kind)
    return home


def card_of(home: Home, kind: str) -> Source:
    config = json.loads((home.root.parent / kind / "config.json").read_text())
    return from_config(f"local/{kind}", "local", config, EXTRACTOR)


def made(home: Home, kind: str) -> image_backbone.ImageBackbone:
    return image_backbone.build(card_of(home, kind), home.root.parent / kind, random=False)


def test_a_folder_says_how_its_pictures_were_prepared(home: Home) -> None:
    for kind in MODELS:
        card = card_of(home, kind)
        assert (card.reads, card.family, card.image_size) == ("image", "transformers", 64), kind
        assert card.mean == (0.5, 0.4, 0.3) and card.std == (0.2, 0.2, 0.3)


@torch.no_grad()
def test_the_same_weights_under_another_configuration_have_features_of_their_own(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "sharp"
    shutil.copytree(home.root.parent / "vit", folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "hidden_act": "relu"}))
    sources.add(home, folder, name="sharp")
    one, other = (load_backbone(home, sources.get(home, f"local/{name}")) for name in ("vit", "sharp"))
    assert not torch.allclose(one(one.sample(1, 1)), other(other.sample(1, 1)))
    assert one.fingerprint(2) != other.fingerprint(2), "or features of the one would be read for the other"


@torch.no_grad()
@pytest.mark.parametrize("kind", MODELS)
def test_maps_show_every_place_where_it_is(home: Home, kind: str) -> None:
    backbone = made(home, kind)
    maps = [x for _, x in backbone.maps(backbone.sample(2, 1))]
    assert [tuple(x.shape[2:]) for x in maps] == [(side, side) for side in MAPS[kind]]
    assert all(x.dim() == 4 and len(x) == 2 and x.shape[1] >= 8 and torch.isfinite(x).all() for x in maps)
    batch = backbone.sample(1, 1)
    changed = batch["pixel_values"].clone()
    changed[:, :, 8:16, 40:48] += 3.0  # the second row of patches of 8 x 8, the sixth column
    with image_backbone.staging.capturing(backbone.exits(), stop=False) as before:
        backbone(batch)
    with image_backbone.staging.capturing(backbone.exits(), stop=False) as after:
        backbone({"pixel_values": changed})
    apart = (image_backbone.grid(after[0]) - image_backbone.grid(before[0])).abs().sum((0, 1))
    row, column = divmod(int(apart.argmax()), apart.shape[1])
    side = len(apart)
    assert (row * 8 // side, column * 8 // side) == (1, 5)


def test_weights_that_lack_a_block_are_refused(home: Home, tmp_path: Path) -> None:
    for file in (home.sources / "local" / "vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(Refusal, match=r"lacks \d+ tensors of vit"):
        sources.add(home, tmp_path, name="half")


@pytest.mark.parametrize(
    ("task", "kinds"),
    [pytest.param("masks", ("segformer", "vit"), marks=pytest.mark.slow), ("boxes", ("swin",))],
)
def test_a_study_of_places_is_judged_and_exported(
    home: Home, task: str, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    given = getattr(shapes, f"with_{task}")(tmp_path / "shapes.zip", 24)
    dataset = datasets.add(home, given)
    study = Study(dataset=dataset.id, sources=tuple(f"local/{kind}" for kind in kinds), draws=1,
                  strategies=({"full_finetune": SHORT},), controls=("classical",))  # fmt: skip
    ticket = QuietTicket(home, open_store(home))
    engine.run_one(ticket, studies.save(home, study))
    scores = {arm["source"]: arm["score"] for arm in reports.load(home, studies.study_id(study)).arms}
    if task == "masks":
        assert scores["local/segformer"] > 0.5 > 1 / 3 and scores["local/vit"] > 0.4, scores
    for trial in studies.expand(home, study):
        if trial.source != "none":
            result = shapes.exported(ticket, trial.id, tmp_path / trial.id / "model", 129)
            assert result["replay"]["rows"]
            script = (tmp_path / trial.id / "model" / "predict.py").read_text()
            assert ("def grid(" in script) == (trial.source != "local/segformer"), "only tokens are made maps"


@pytest.mark.parametrize("kind", ["convnext", "dinov2", "clip_vision_model", "siglip_vision_model"])
def test_a_classifier_is_exported_with_the_pooling_of_its_network(home: Home, kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    small = MODELS.get(kind, {**LAYERS, "image_size": 64, "patch_size": 8})
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.for_model(kind, **small))
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):  # as training leaves them: another pooling must show
            torch.nn.init.normal_(module.weight, 1.0, 0.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.5)
    network.save_pretrained(tmp_path / kind)
    (tmp_path / kind / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    sources.add(home, tmp_path / kind, name=f"{kind}-pooled".replace("_", "-"))
    (tmp_path / "given").mkdir()
    dataset = datasets.add(home, sealed_trials.pictures(tmp_path / "given"))
    study = Study(dataset=dataset.id, sources=(f"local/{kind}-pooled".replace("_", "-"),), draws=1,
                  strategies=("linear_probe",), controls=("classical",))  # fmt: skip
    ticket = QuietTicket(home, open_store(home))
    engine.run_one(ticket, studies.save(home, study))
    (trial,) = [one.id for one in studies.expand(home, study) if one.source != "none" and one.fraction == 1.0]
    replay = export.run(ticket, {"trial": trial, "to": str(tmp_path / "model")})["replay"]
    assert replay["agrees"], replay


def test_pictures_are_normalised_as_the_folder_says_or_not_at_all(home: Home) -> None:
    config = json.loads((home.root.parent / "vit" / "config.json").read_text())
    plain = from_config("local/a", "local", config, {"size": {"height": 64}})
    assert plain.mean == (0.0, 0.0, 0.0) and plain.std == (1.0, 1.0, 1.0)
    unknown = from_config("local/a", "local", config, {})
    assert unknown.mean is None and unknown.std is None
    with pytest.raises(Refusal, match="reads blue before green and red"):
        from_config("local/a", "local", config, {**EXTRACTOR, "do_flip_channel_order": True})
