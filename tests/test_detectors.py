"""Detection transformers as sources as a whole: from a folder or a hub to stages, boxes, a verdict and a script.

Run alone: python -m pytest tests/test_detectors.py
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import detector_models, shapes
from tests.hub_server import Hub, serving
from tltools import datasets, places, reports, sources, studies
from tltools.engine import detectors, export, layouts, measuring, predict, replay, torchvision_operators, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.detectors import Detecting, DetectorBackbone
from tltools.home import Home, open_home
from tltools.providers.huggingface import from_config
from tltools.records import Dataset, Refusal, Source, Study
from tltools.store import open_store
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks
from tltools.tickets import QuietTicket

torchvision_operators.ensure()
KINDS = sorted(detector_models.MODELS)
STEPS = {"epochs": 2, "min_steps": 0, "batch_size": 8, "rates_tried": 1, "patience": 0}
LONG = {**STEPS, "epochs": 30, "learning_rate": 2e-3, "head_rate": 2e-3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: detector_models.save(kind, tmp_path_factory.mktemp("model")) for kind in KINDS}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Dataset]:
    root = tmp_path_factory.mktemp("boxes")
    home = open_home(root / "home")
    return home, datasets.add(home, shapes.with_boxes(root / "shapes.zip", 40))


def card_of(folder: Path) -> Source:
    given = [json.loads((folder / name).read_text()) for name in ("config.json", detectors.EXTRACTOR)]
    return from_config("local/tiny", "local", *given)


def made(folder: Path, *, random: bool = False) -> DetectorBackbone:
    return detectors.build(card_of(folder), folder, random)


def model_of(folder: Path, dataset: Dataset, *, random: bool = False) -> Detecting:
    return made(folder, random=random).with_own_head(tasks()["detection"], dataset)


def some(home: Home, dataset: Dataset) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """(four pictures of noise, the boxes of four rows and one without any)."""
    dense, truth = tasks()["detection"].dense, datasets.target(home, dataset)[:4].copy()
    assert dense is not None
    truth[3] = np.zeros((0, 5))
    noise = torch.randn(4, 3, detector_models.SIDE, detector_models.SIDE, generator=torch.Generator().manual_seed(0))
    return {"pixel_values": noise}, torch.from_numpy(dense.tensors(truth, ()))


# --- one network


@pytest.mark.parametrize("kind", KINDS)
def test_stages_are_the_vision_network_the_joint_and_the_decoder(folders: dict[str, Path], kind: str) -> None:
    backbone = made(folders[kind])
    names = [stage.name for stage in backbone.stages]
    if kind == "yolos":
        assert names == ["embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2"]
    else:
        assert len(names) == 8 and names[5:] == ["joint", "decoder.layers.0", "decoder.layers.1"]
    inside = {id(p) for stage in backbone.stages for module in stage.modules for p in module.parameters()}
    loose = [name for name, p in backbone.core.named_parameters() if id(p) not in inside]
    assert loose == (["model.level_embed"] if kind == "deformable_detr" else [])
    heads = [name for name, _ in backbone.core.named_parameters() if "bbox" in name or "class" in name]
    assert not heads and sum(1 for _ in backbone.lent.parameters()), "the head stands beside the stages"
    assert backbone.resumable == (True, *(False for _ in names)) and backbone.width == 32


@pytest.mark.parametrize("kind", KINDS)
def test_only_scores_of_classes_are_new_and_a_folder_says_what_the_model_says(
    folders: dict[str, Path], known: tuple[Home, Dataset], kind: str, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    home, dataset = known
    before = AutoModelForObjectDetection.from_pretrained(folders[kind]).state_dict()
    model, (batch, _) = model_of(folders[kind], dataset).eval(), some(home, dataset)
    with torch.no_grad():
        raw = model(batch)
    boxes = model.decode(raw.numpy())
    fresh = {name.replace("/", ".") for name in model.new}
    model.folder(tmp_path)
    library = AutoModelForObjectDetection.from_pretrained(tmp_path).eval()
    assert library.config.id2label == dict(enumerate(dataset.classes))
    after = library.state_dict()
    assert set(after) == set(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == fresh and all("class" in name or "score_head" in name for name in fresh), changed ^ fresh
    with torch.no_grad():
        output = library(batch["pixel_values"])
    assert torch.allclose(torch.cat([output.logits, output.pred_boxes], 2), raw, atol=1e-5)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for ours, theirs in zip(boxes, processor.post_process_object_detection(output, threshold=0.0), strict=True):
        assert len(ours) == min(100, len(theirs["scores"])) and (np.diff(ours[:, 5]) <= 0).all()
        assert np.allclose(ours[:, 5], theirs["scores"].sort(descending=True).values[: len(ours)], atol=1e-5)
        assert set(ours[:, 0]) <= {0, 1} and ours[:, 1:5].min() >= 0 and ours[:, 1:5].max() <= 1


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_loss_reaches_all_that_a_layout_opens_and_nothing_else(
    folders: dict[str, Path], known: tuple[Home, Dataset], kind: str, random: bool
) -> None:
    model, (batch, targets) = model_of(folders[kind], known[1], random=random), some(*known)
    count = len(model.backbone.stages)
    for rates in ((1e-3,) * count, (0.0,) * count):
        layout = Layout(rates=rates, head=1e-3)
        layouts.arrange(model, layout, Recipe(phases=(layout,), batch_size=4), 1.0, 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=random):
            each = model.taught(batch, targets, {})
        each.mean().backward()
        assert each.shape == (4,) and torch.isfinite(each).all()
        reached = {name for name, p in model.named_parameters() if p.grad is not None}
        missed = {name for name, p in model.named_parameters() if p.requires_grad} - reached
        assert not missed and all(name.startswith("head.") for name in reached) == (not any(rates)), missed
        model.zero_grad()
    names = [name for name, _ in model.named_parameters()]
    assert not any(name.endswith(("reg_scale", ".up")) for name in names), "D-FINE's constants are not learnt"
    if random:
        kinds = {type(module).__name__ for module in model.modules()}
        assert not any("Frozen" in name for name in kinds), "random weights have no statistics to be frozen at"


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_judged_by_its_own_boxes(folders: dict[str, Path], known: tuple[Home, Dataset], kind: str) -> None:
    model, (batch, targets) = model_of(folders[kind], known[1]).eval(), some(*known)
    raw = model(batch)
    together = model.loss(raw, targets, {})
    assert together.shape == (4,) and torch.isfinite(together).all()
    assert torch.allclose(together[2:3], model.loss(raw[2:3], targets[2:3], {}), rtol=1e-5)
    exact = raw.clone()
    row = targets[0]
    middle, size = (row[:, 1:3] + row[:, 3:5]) / 2, row[:, 3:5] - row[:, 1:3]
    exact[0, : len(row), -4:] = torch.cat([middle, size], 1)
    assert model.loss(exact, targets, {})[0] < together[0], "boxes that are right cost less"


# --- cards, folders and hubs


def test_a_card_says_what_a_detector_knew_and_how_it_reads(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        card = card_of(folders[kind])
        assert (card.reads, card.answers, card.image_size) == ("image", "detection", detector_models.SIDE), kind
        assert card.classes_seen == ("ball", "box", "rod", "bag")
    plain = card_of(folders["rt_detr"])
    assert plain.mean == (0.0, 0.0, 0.0) and plain.std == (1.0, 1.0, 1.0), "RT-DETR does not normalise"


@pytest.mark.parametrize(
    ("kind", "names"), [("rt_detr", ["RTDetrModel"]), ("detr", None), ("mask2former", ["Mask2FormerForX"])]
)
def test_queries_without_a_head_are_no_source_and_say_so(kind: str, names: list[str] | None) -> None:
    config = {"model_type": kind, "num_queries": 100, "architectures": names}
    with pytest.raises(Refusal, match=rf"is a {kind} without a head for boxes.*Choose a detector of conditional_detr"):
        from_config(f"hf/lab/{kind}", "hf", config, {})


def test_a_folder_without_processor_or_with_half_a_decoder_or_at_a_wrong_size_is_refused(
    known: tuple[Home, Dataset], folders: dict[str, Path], tmp_path: Path
) -> None:
    home, _ = known
    for file in folders["d_fine"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Refusal, match=r"cannot read pictures of 40 x 40 pixels.*multiple of 32"):
        detectors.build(card_of(tmp_path).model_copy(update={"image_size": 40}), tmp_path, random=False)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_layers": 2}))
    with pytest.raises(Refusal, match=r"lacks \d+ tensors of d_fine"):
        sources.add(home, tmp_path, name="half")
    (tmp_path / detectors.EXTRACTOR).unlink()
    with pytest.raises(Refusal, match=r"must have a preprocessor_config\.json"):
        detectors.build(card_of(folders["d_fine"]), tmp_path, random=False)


def test_a_detector_comes_from_a_hub(
    known: tuple[Home, Dataset], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    home, dataset = known
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub({"lab/tiny-d-fine": folders["d_fine"]})) as hub:
        online = replace(home, offline=False, hub=hub.url)
        card = sources.get(online, "hf/lab/tiny-d-fine", dataset)
        assert (card.answers, card.architecture, card.image_size) == ("detection", "d_fine", detector_models.SIDE)
        backbone = load_backbone(online, card)
    mine = made(folders["d_fine"])
    assert backbone.fingerprint(8).isalnum() and backbone.stages[0].parameters == mine.stages[0].parameters
    ours, theirs = mine.core.state_dict(), backbone.core.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert sources.get(home, "hf/lab/tiny-d-fine").answers == "detection", "and it is known offline from now on"


def test_it_fits_detection_alone(known: tuple[Home, Dataset], folders: dict[str, Path], tmp_path: Path) -> None:
    home, dataset = known
    card = card_of(folders["detr"]).model_copy(update={"installed": True})
    cell = sources.fit(home, card, dataset)
    assert cell.fits and "only its scores of classes are new" in cell.why
    masks = datasets.add(home, shapes.with_masks(tmp_path / "masks.zip", 24))
    refused = sources.fit(home, card, masks)
    assert not refused.fits and refused.why == "answers as a whole, by a head of its own for detection alone."


# --- a study


@dataclass
class Judged:
    home: Home
    dataset: Dataset
    trials: dict[tuple[str, str], str]  # (source, strategy) -> trial
    scores: dict[tuple[str, str], float]  # AP50 on the test part


@pytest.fixture(scope="module")
def judged(known: tuple[Home, Dataset], folders: dict[str, Path]) -> Judged:
    """Squares and discs, found by two tiny detectors with random weights."""
    home, dataset = known
    found, scores = {}, {}
    for kind, strategies, controls in (
        ("rt_detr", ({"full_finetune": LONG},), ({"scratch": STEPS},)),
        ("yolos", ("linear_probe", {"last_block": STEPS}, {"lora": STEPS}), ("random_frozen", "classical")),
    ):
        added = sources.add(home, folders[kind], name=kind)
        study = Study(dataset=dataset.id, sources=(added.id,), strategies=strategies, controls=controls, draws=1)
        engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
        found |= {(kind, trial.strategy): trial.id for trial in studies.expand(home, study)}
        arms = reports.load(home, studies.study_id(study)).arms
        scores |= {(kind, arm["strategy"]): arm["score"] for arm in arms}
    return Judged(home, dataset, found, scores)


def test_fine_tuning_finds_the_shapes(judged: Judged) -> None:
    assert judged.scores["rt_detr", "full_finetune"] > 0.15 > 5 * judged.scores["yolos", "classical"], judged.scores


def test_the_card_of_a_trial_says_what_was_new_and_what_was_trained(judged: Judged) -> None:
    cards = {
        key: trial_model.card_of(judged.home, trial) for key, trial in judged.trials.items() if "classical" not in key
    }
    tuned, probe = cards["rt_detr", "full_finetune"], cards["yolos", "linear_probe"]
    assert tuned["head_from"].startswith("scores of the classes are new") and tuned["backbone_trained"]
    assert "model/enc_score_head.weight" in tuned["new_tensors"] and not any("bbox" in n for n in tuned["new_tensors"])
    assert probe["trainable_parameters"] == cards["yolos", "random_frozen"]["trainable_parameters"] == 4455
    assert not probe["backbone_trained"] and cards["rt_detr", "scratch"]["init"] == "random"


@pytest.mark.parametrize(
    ("kind", "strategy"), [("rt_detr", "full_finetune"), ("rt_detr", "scratch"), ("yolos", "lora")]
)
def test_a_trial_predicts_and_its_script_says_the_same(
    judged: Judged, tmp_path: Path, kind: str, strategy: str
) -> None:
    trial, ticket = judged.trials[kind, strategy], QuietTicket(judged.home)
    answer = export.run(ticket, {"trial": trial, "to": str(tmp_path / "model")})
    assert answer["replay"]["agrees"] and answer["replay"]["rows"] == 8, answer["replay"]
    script = (tmp_path / "model" / "predict.py").read_text()
    assert "tltools" not in script and "AutoModelForObjectDetection" in script and len(script.splitlines()) < 108
    model = trial_model.load(judged.home, trial)
    stored = places.boxes_of(model.stored()["prediction"].iloc[0], judged.dataset.classes, 6)
    items = datasets.items(judged.home, judged.dataset, "image")
    (again,) = model.outputs([items[int(model.stored()["row"].iloc[0])]])
    near = answer["replay"]["tolerance"]  # a picture alone is rounded otherwise than in the batch of the trial
    for here, there in ((stored, again), (again, stored)):
        for box in here:
            apart = np.abs(there[there[:, 0] == box[0], 1:] - box[1:]).max(1)
            assert min([box[5], *apart]) <= near, box
    said = predict.run(ticket, {"trial": trial, "items": [str(items[0])]})["predictions"]
    assert len(said) == 1
    if strategy == "full_finetune":
        changed(tmp_path / "model" / "model.safetensors")
        assert not replay.check(ticket, model, tmp_path / "model")["agrees"], "a changed folder is noticed"


def changed(path: Path) -> None:
    """Weights whose scores of classes are exchanged."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("class_embed.1.weight"))
    save_file(tensors | {name: tensors[name].flip(0).contiguous()}, path, metadata={"format": "pt"})


def test_a_tuned_detector_is_a_source_itself_with_its_own_boxes(judged: Judged, known: tuple[Home, Dataset]) -> None:
    home, dataset = known
    trial = judged.trials["rt_detr", "full_finetune"]
    card = sources.get(home, f"own/{trial}", dataset)
    assert card.answers == "detection" and card.classes_seen == dataset.classes
    backbone: Any = load_backbone(home, card)
    start: Any = load_backbone(home, sources.get(home, "local/rt-detr"))
    trained: Any = trial_model.load(home, trial)
    own, first, tuned = (x.state_dict() for x in (backbone.lent, start.lent, trained.model.head))
    boxes = [name for name in own if "bbox" in name]
    assert boxes and all(torch.equal(own[name], tuned[name]) for name in boxes)
    assert any(not torch.equal(own[name], first[name]) for name in boxes)
    assert copy.deepcopy(backbone).with_own_head(tasks()["detection"], dataset).new


def test_what_it_costs_is_measured(judged: Judged) -> None:
    trials = [
        trial_model.Trial.model_validate(trial_model.card_of(judged.home, judged.trials["yolos", "lora"])["trial"])
    ]
    study = studies.load(judged.home, trials[0].study)
    rate, ways = measuring.measured(judged.home, study, *studies.split_of(judged.home, study), trials)
    assert rate["stages"] == 4 and rate["rows_per_second"] > 0
    assert set(ways) == {"lora:0:8"} and 0 < ways["lora:0:8"]["seen"] < ways["lora:0:8"]["step"]
