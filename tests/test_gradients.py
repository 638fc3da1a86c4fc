"""Explanations by gradients point at what provably decides, add up, and are those of the papers' formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.sealed_trials import Sealed
from tests.test_backbones import minilm_folder, source, text, timm_image, transformers_image
from tltools.engine import device, explain, gradients, importance, occlusion, trial_model
from tltools.engine.backbone import Backbone
from tltools.engine.image_backbone import ImageBackbone, grid
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.trial_model import NeuralModel
from tltools.records import Refusal
from tltools.tasks import tasks
from tltools.tickets import QuietTicket


def model_of(backbone: Backbone, weight: Any, task: str = "classification") -> NeuralModel:
    """A backbone under a head (K, D) that reads its features as they are."""
    made: NeuralModel = object.__new__(NeuralModel)
    values = torch.as_tensor(np.asarray(weight, np.float32))
    width = values.shape[1]
    made.head = {"head.weight": values, "head.bias": torch.zeros(len(values)), "head.mean": torch.zeros(width),
                 "head.scale": torch.ones(width), "head.temperature": torch.ones(1)}  # fmt: skip
    made.backbone, made.all_layers, made.device = backbone, False, device.best()
    made.task, made.reads = tasks()[task], backbone.reads
    backbone.to(made.device.name)
    return made


# --- places of a picture ----------------------------------------------------------------------------------------------


class Quarter(nn.Module):
    """Whatever is not in the lower right quarter of a map (B, C, h, w) is lost."""

    def forward(self, states: Tensor) -> Tensor:
        kept = torch.zeros_like(states)
        kept[..., states.shape[2] // 2 :, states.shape[3] // 2 :] = 1.0
        return states * kept


class Pooled(nn.Module):
    """(B, C, h, w) -> (B, C)."""

    def forward(self, states: Tensor) -> Tensor:
        return states.mean((2, 3))


def convolutions(*, only_a_quarter: bool) -> ImageBackbone:
    """Two convolutions on pictures of 32 x 32, and a map of 8 x 8; 6 features."""
    torch.manual_seed(3)
    blind = [Quarter()] if only_a_quarter else []
    core = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 5, 2, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(5, 6, 2, stride=2), nn.ReLU(), *blind),
        Pooled(),
    )
    backbone = ImageBackbone(source("image", "timm", "none", image_size=32), core.eval(), 32, (0.5,) * 3, (0.2,) * 3)
    backbone.find_stages()
    return backbone


@pytest.fixture
def picture(tmp_path: Path) -> str:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    return str(tmp_path / "noise.png")


WAYS = pytest.mark.parametrize("way", (occlusion, gradients), ids=("occlusion", "gradients"))


@WAYS
def test_a_quarter_that_decides_alone_has_all_the_marks(picture: str, way: Any) -> None:
    weight = np.random.default_rng(1).normal(size=(2, 6)) * 20
    model = model_of(convolutions(only_a_quarter=True), weight)
    outputs, found = way.places(model, picture)
    marked = np.abs(np.asarray(found["weights"]))
    high, wide = np.array(marked.shape) // 2
    assert outputs.shape == (1, 2) and marked[high:, wide:].sum() > 0.999 * marked.sum() > 0


@pytest.mark.parametrize(("classes", "task"), ((3, "classification"), (1, "regression")))
def test_grad_cam_is_the_formula_of_the_paper(picture: str, classes: int, task: str) -> None:
    backbone = convolutions(only_a_quarter=False)
    weight = np.random.default_rng(2).normal(size=(classes, 6))
    model = model_of(backbone, weight, task)
    outputs, found = gradients.places(model, picture)
    with torch.no_grad():
        pixels = backbone.encode([picture]).take(np.array([0]))["pixel_values"]
        states = backbone.core[:2](pixels)[0].numpy().astype(np.float64)  # type: ignore[index]
    raw = weight @ states.mean((1, 2))
    top, slope = int(raw.argmax()), weight[0]
    if classes > 1:  # the log odds of a class: its own score less the log of the summed powers of the others
        others = np.delete(np.arange(classes), top)
        share = np.exp(raw[others]) / np.exp(raw[others]).sum()
        slope = weight[top] - share @ weight[others]
    by_hand = np.einsum("c,chw->hw", slope / states[0].size, states)  # alpha: the mean over places of the gradient
    assert np.allclose(found["weights"], by_hand, atol=1e-6 * np.abs(by_hand).max() + 1e-7)
    assert found["method"] == "Grad-CAM" and not found["partial"]
    if classes == 1:
        from captum.attr import LayerGradCam

        theirs = LayerGradCam(lambda x: gradients.scores(model, {"pixel_values": x})[:, 0], backbone.core[1])  # type: ignore[index]
        assert np.allclose(found["weights"], theirs.attribute(pixels)[0, 0].detach().numpy(), atol=1e-6)
        assert np.sum(found["weights"]) == pytest.approx(float(outputs[0, 0]), rel=1e-4), "no bias: all of the number"


def test_a_map_is_the_same_in_every_layout() -> None:
    states, slope = torch.randn(2, 1, 6, 4, 4)
    wanted = gradients.cam(states, slope)
    assert torch.allclose(gradients.cam(states.permute(0, 2, 3, 1), slope.permute(0, 2, 3, 1)), wanted)
    tokens = [torch.cat([torch.randn(1, 1, 6), x.flatten(2).transpose(1, 2)], 1) for x in (states, slope)]
    assert torch.allclose(gradients.cam(*tokens), wanted)


def test_relevance_of_two_layers_is_that_of_the_paper() -> None:
    random = np.random.default_rng(4)
    attention = random.dirichlet(np.ones(5), size=(2, 3, 5))  # 2 layers, 3 heads, a class token and 2 x 2 patches
    slope = random.normal(size=attention.shape)
    bars = [np.mean([np.maximum(a * g, 0) for a, g in zip(*layer, strict=True)], 0)
            for layer in zip(attention, slope, strict=True)]  # fmt: skip
    wanted = ((np.eye(5) + bars[1]) @ (np.eye(5) + bars[0]))[0, 1:].reshape(2, 2)
    given = [[torch.from_numpy(one)[None].float() for one in layers] for layers in (attention, slope)]
    found = gradients.relevance(*given, torch.tensor([2.0, 0, 0, 0, 0]), 2)
    assert np.allclose(found, wanted, atol=1e-6)


class Reading(nn.Module):
    """The class token attends to all tokens alike; the values of dark patches are zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.value.weight)

    def forward(self, states: Tensor) -> Tensor:
        value = self.value(states)[:, None]
        query = 0 * value
        read = nn.functional.scaled_dot_product_attention(query, query, value)[:, 0]
        return torch.cat([states[:, :1] + read[:, :1], states[:, 1:]], 1)


class Patches(nn.Module):
    """(B, 3, 32, 32) -> a class token of zeros and 4 x 4 patches, whose first number is the brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8, stride=8, bias=False)
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.weight.data[0], 1 / 192)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv(pixels).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], 1)


class Transformer(nn.Module):
    """Reads the class token behind two layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = Patches(), nn.ModuleList([Reading(4), Reading(4)])
        self.last = nn.Linear(4, 4, bias=False)
        nn.init.eye_(self.last.weight)

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        states = self.patches(pixels)
        for block in self.blocks:
            states = block(states)
        return (self.last(states),)


def test_attention_is_followed_to_the_patches_that_decide(tmp_path: Path) -> None:
    """With uniform attention the class token is made of the mean of all values: a patch counts as it is bright."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16, 16:] = 255
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    card = source("image", "transformers", "none", image_size=32)
    backbone = ImageBackbone(card, Transformer().eval(), 32, (0.0,) * 3, (1.0,) * 3)
    backbone.find_stages()
    model = model_of(backbone, [[0.0, 0, 0, 0], [5.0, 0, 0, 0]])
    _, found = gradients.places(model, str(tmp_path / "corner.png"))
    marked = np.asarray(found["weights"])
    assert found["method"] == "attention times gradient" and marked.shape == (4, 4)
    assert np.allclose(marked[:2, 2:], marked.max()) and marked[:2, 2:].sum() > 0.999 * marked.sum() > 0


@pytest.mark.parametrize(
    ("make", "name", "method"),
    ((timm_image, "vit_tiny_patch16_224", "attention times gradient"),
     (timm_image, "resnet18", "Grad-CAM"),
     (transformers_image, "vit", "attention times gradient"),
     (transformers_image, "convnext", "Grad-CAM")),
)  # fmt: skip
def test_every_kind_of_network_of_pictures_has_a_map(make: Any, name: str, method: str, picture: str) -> None:
    with torch.no_grad():
        backbone, batch, _ = make(name, Path(picture).parent)
        as_usual = backbone(batch)
        with gradients.Attentions() as kept:
            assert torch.allclose(backbone(batch), as_usual, rtol=1e-4, atol=1e-5 * float(as_usual.abs().max()))
    assert all(torch.allclose(one.sum(-1), torch.ones(1)) for one in kept.kept)
    model = model_of(backbone, np.random.default_rng(0).normal(size=(3, backbone.width)))
    outputs, found = gradients.places(model, picture)
    weights = np.asarray(found["weights"])
    assert found["method"] == method and np.isfinite(weights).all() and np.ptp(weights) > 0
    assert outputs.sum() == pytest.approx(1, abs=1e-5)
    levels = [x for _, x in backbone.maps(batch)]
    assert weights.shape == tuple(grid(levels[-1]).shape[2:])


# --- words of a text --------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    """A text's tokens one by one: an embedding, and a layer that squashes."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(vocabulary, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        nn.init.eye_(self.layer[0].weight)
        nn.init.zeros_(self.layer[0].bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.layer(self.words(input_ids)),)


@pytest.fixture(scope="module")
def bag() -> TextBackbone:
    """A network whose first feature hangs on the word "dreadful" alone."""
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    core = Bag(len(tokenizer)).eval()
    core.words.weight.data[:, 0] = 0.0
    core.words.weight.data[tokenizer.convert_tokens_to_ids("dreadful"), 0] = 1.0
    backbone = TextBackbone(source("text", "transformers", "none"), core, tokenizer, 24, 24)
    backbone.find_stages()
    backbone.causal = False  # as it takes a network to be that looks at tokens one by one
    return backbone


TEXT = "A film that is, in a word, dreadful  throughout"


@WAYS
def test_a_word_that_decides_alone_has_all_the_weight(bag: TextBackbone, way: Any) -> None:
    model = model_of(bag, [[0.0, 0, 0, 0], [40.0, 0, 0, 0]])
    _, found = way.words(model, TEXT)
    weights = {word: abs(weight) for word, weight in found["words"]}
    assert list(weights) == TEXT.split() and found["words_left_out"] == 0
    least = 0.999 if way is gradients else 0.5  # a shorter text is another mean: covering a word moves the others, too
    assert weights["dreadful"] > least * sum(weights.values()) > 0


def test_words_of_a_number_are_the_integral_and_add_up(bag: TextBackbone) -> None:
    model = model_of(bag, [[3.0, -2.0, 1.0, 0.5]], "regression")
    outputs, found = gradients.words(model, TEXT)
    ids = bag.encode([TEXT]).take(np.array([0]))["input_ids"][0]
    table, head = bag.core.words.weight.detach().double(), model.head["head.weight"][0].double()  # type: ignore[union-attr]
    gains = (torch.tanh(table[ids]) - torch.tanh(table[bag.tokenizer.mask_token_id])) @ head / len(ids)
    tokens = bag.tokenizer.convert_ids_to_tokens(ids)
    weights = dict(found["words"])
    assert weights["dreadful"] == pytest.approx(float(gains[tokens.index("dreadful")]), abs=1e-4)
    word_with_comma = float(gains[tokens.index("word")] + gains[tokens.index("word") + 1])
    assert weights["word,"] == pytest.approx(word_with_comma, abs=1e-4), "its comma is a token of the word"
    assert found["end"] == pytest.approx(float(outputs[0, 0]), abs=1e-5)
    assert found["total"] == pytest.approx(found["end"] - found["start"], abs=1e-4)
    assert sum(weights.values()) == pytest.approx(found["total"], abs=1e-6)


@pytest.mark.parametrize("kind", ("bert", "distilbert", "roberta", "gpt2"))
def test_words_add_up_in_every_kind_of_network_of_texts(kind: str, tmp_path: Path) -> None:
    backbone, batch, _ = text(kind, tmp_path)
    backbone.before = "film review: "
    model = model_of(backbone, np.random.default_rng(0).normal(size=(2, backbone.width)) / backbone.width**0.5)
    with torch.no_grad():
        seen = backbone(batch)
    model.head |= {"head.mean": seen.mean(0), "head.scale": seen.std(0)}
    _, found = gradients.words(model, "An unbelievably long-winded story " * 60)
    each = [weight for _, weight in found["words"]]
    assert len(each) + found["words_left_out"] == 240 and 10 < len(each) < 128
    missed = abs(found["total"] - (found["end"] - found["start"]))
    assert missed <= 1.05 * gradients.GAP * sum(map(abs, each)) + 1e-4 and found["end"] != found["start"]
    outputs, nothing = gradients.words(model, "")
    assert nothing["words"] == [] and outputs.shape == (1, 2)


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("text/linear_probe", "text/last_block", "text/setfit"))
def test_words_of_frozen_and_tuned_trials_add_up_to_the_prediction(sealed: Sealed, name: str) -> None:
    asked = {"trial": sealed.id(name), "what": "attribution", "how": "gradients", "rows": [3]}
    found = explain.run(QuietTicket(sealed.home), asked)
    assert (found["kind"], found["how"]) == ("words", "gradients")
    for row in found["rows"]:
        assert [word for word, _ in row["words"]] == row["text"].split()
        assert row["end"] == pytest.approx(row["probabilities"][row["prediction"]], abs=2e-3)
        sizes = sum(abs(weight) for _, weight in row["words"])
        assert abs(row["total"] - row["end"] + row["start"]) <= gradients.GAP * sizes * 1.05 + 1e-4
    assert found["sanity"]["rows"] == 1 and -1 <= found["sanity"]["likeness"] <= 1


@pytest.mark.parametrize(("name", "partial"), (("image/full_finetune", False), ("own/multilayer_probe", True)))
def test_pictures_of_tuned_and_layered_trials_have_maps(sealed: Sealed, name: str, partial: bool) -> None:
    asked = {"trial": sealed.id(name), "what": "attribution", "how": "gradients", "rows": [7]}
    found = explain.run(QuietTicket(sealed.home), asked)
    (row,) = found["rows"]
    assert found["kind"] == "places" and (row["method"], row["partial"]) == ("Grad-CAM", partial)
    assert np.ptp(np.asarray(row["weights"])) > 0 and found["sanity"]["rows"] == 1


def test_what_has_no_gradients_is_refused_in_a_sentence(sealed: Sealed) -> None:
    for name, how, said in (
        ("text/classical", "gradients", "must be a network for gradients; it is a classical control"),
        ("image/classical", "gradients", "must be a network for gradients"),
        ("text/knn", "gradients", "the nearest training rows vote"),
        ("table/full_finetune", "gradients", "must be occlusion for a table"),
        ("sentences/multilayer_probe", "gradients", "must be occlusion for a table"),
        ("text/linear_probe", "guessing", "must be one of occlusion, gradients; got 'guessing'"),
    ):
        with pytest.raises(Refusal, match=said):
            asked = {"trial": sealed.id(name), "what": "attribution", "how": how, "rows": [0]}
            explain.run(QuietTicket(sealed.home), asked)


# --- columns of a table -----------------------------------------------------------------------------------------------


def test_credits_of_a_sum_are_its_terms_and_add_up(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trial_model.load(sealed.home, sealed.id("number/classical"))
    asked = explain.Rows(model, {"rows": [1]})

    def sum_of(items: Any, ticket: Any = None) -> np.ndarray:
        return (3 * items["weight"].fillna(0) + 5 * (items["colour"] == "red")).to_numpy(np.float32)[:, None]

    monkeypatch.setattr(model, "outputs", sum_of)
    found = importance.shared(model, asked.table, 1)
    assert found is not None and found["draws"] == importance.DRAWS
    credits = {one["column"]: one["credit"] for one in found["columns"]}
    whole = explain.datasets.rows(sealed.home, model.dataset.id)
    random = np.random.default_rng(0)
    known = whole.iloc[random.choice(model.rows(), found["draws"])]
    row = asked.table.iloc[0]
    assert credits["weight"] == pytest.approx(3 * (row["weight"] - known["weight"].fillna(0).mean()), abs=1e-4)
    assert credits["colour"] == pytest.approx(
        5 * ((row["colour"] == "red") - (known["colour"] == "red").mean()), abs=1e-4
    )
    assert credits["size"] == pytest.approx(0, abs=1e-6)
    assert sum(credits.values()) == pytest.approx(found["end"] - found["start"], abs=1e-4)


def test_two_columns_that_count_only_together_share_their_credit(sealed: Sealed, monkeypatch: Any) -> None:
    model = trial_model.load(sealed.home, sealed.id("number/classical"))
    asked = explain.Rows(model, {"items": [{"weight": 100, "size": 100, "colour": "red"}]})

    def both(items: Any, ticket: Any = None) -> np.ndarray:
        return ((items["weight"] > 50) & (items["size"] > 50)).to_numpy(np.float32)[:, None]

    monkeypatch.setattr(model, "outputs", both)
    found = importance.shared(model, asked.table, 1)
    assert found is not None and (found["start"], found["end"]) == (0.0, 1.0)
    credits = {one["column"]: (one["credit"], one["error"]) for one in found["columns"]}
    for column in ("weight", "size"):
        credit, error = credits[column]
        assert abs(credit - 0.5) < 4 * error and error == pytest.approx(0.5 / found["draws"] ** 0.5, rel=0.05)
    assert credits["colour"] == (0.0, 0.0)


@pytest.mark.parametrize("name", ("table/full_finetune", "table/classical", "sentences/multilayer_probe"))
def test_rows_of_a_table_are_credited_whatever_reads_them(
    sealed: Sealed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "PREDICTIONS", {"text": 80, "tabular": 4000})
    found = explain.run(QuietTicket(sealed.home), {"trial": sealed.id(name), "what": "attribution", "rows": [2, 5]})
    for row in found["rows"]:
        assert {one["column"] for one in row["columns"]} == {"weight", "size", "colour"}
        assert sum(one["credit"] for one in row["columns"]) == pytest.approx(row["end"] - row["start"], abs=1e-5)
        assert row["end"] == pytest.approx(row["probabilities"][row["prediction"]], abs=1e-4)


def test_a_table_of_thousands_of_columns_has_no_credits(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trial_model.load(sealed.home, sealed.id("table/classical"))
    monkeypatch.setattr(importance, "CELLS", 50)
    assert importance.shared(model, explain.Rows(model, {"rows": [0]}).table, 1) is None
