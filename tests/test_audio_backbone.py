"""Speech and audio models of transformers as sources of sounds: from a folder or a hub to a verdict and a script.

Run alone: python -m pytest tests/test_audio_backbone.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests import sound_models
from tests.bad_files import archive
from tests.hub_server import Hub, serving
from tests.shapes import alone
from tests.test_audio import clip, low_and_high, tone
from tltools import datasets, sources, studies
from tltools.engine import audio_backbone, export, predict, torchvision_operators
from tltools.engine import study as engine
from tltools.engine.audio_backbone import AudioBackbone
from tltools.engine.backbone import load_backbone
from tltools.engine.features import FeatureStore
from tltools.home import Home, open_home
from tltools.providers.huggingface import from_config
from tltools.records import Dataset, Refusal, Source, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

torchvision_operators.ensure()
STEPS = {"epochs": 3, "min_steps": 24, "patience": 0, "rates_tried": 1}


@dataclass
class Noise:
    """A clip of noise that comes and goes, given at 16 kHz."""

    count: int
    seed: int
    seconds: float = 1.0

    def samples(self, rate: int) -> np.ndarray:
        assert rate == 16_000
        noise = np.random.default_rng(self.seed).standard_normal(self.count)
        return (0.1 * noise * np.sin(np.arange(self.count) * 0.003 * (1 + self.seed))).astype(np.float32)


CLIPS = [Noise(16_000, 0), Noise(5_001, 1), Noise(9_000, 2), Noise(300, 3)]  # the last is shorter than a place hears


def card_of(folder: Path) -> Source:
    config, extractor = ("config.json", "preprocessor_config.json")
    given = [json.loads((folder / name).read_text()) for name in (config, extractor)]
    return from_config("local/tiny", "local", *given)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: sound_models.save(name, tmp_path_factory.mktemp("model")) for name in sound_models.MODELS}


@pytest.fixture(params=sorted(sound_models.MODELS))
def made(request: pytest.FixtureRequest, folders: dict[str, Path]) -> tuple[str, AudioBackbone, Path]:
    folder = folders[request.param]
    return request.param, audio_backbone.build(card_of(folder), folder, random=False), folder


def library(name: str, folder: Path, item: Noise) -> torch.Tensor:
    """(D,) as its authors compute it: the clip by itself, nothing padded, the mean of the last states."""
    from transformers import AutoFeatureExtractor, AutoModel

    model, extractor = AutoModel.from_pretrained(folder).eval(), AutoFeatureExtractor.from_pretrained(folder)
    wave = np.pad(item.samples(16_000), (0, max(0, 205 - item.count)))
    if name != "whisper":
        found = model(extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_values"])
        return found.pooler_output[0] if name == "ast" else found.last_hidden_state[0].mean(0)
    encoder = model.get_encoder()
    encoder.embed_positions.weight = torch.nn.Parameter(encoder.embed_positions.weight[:50])
    encoder.embed_positions.num_embeddings = encoder.config.max_source_positions = 50  # 1 s of its 30
    given = extractor(wave, sampling_rate=16_000, return_tensors="pt", max_length=16_000)["input_features"]
    return encoder(given).last_hidden_state[0, : -(-item.count // 320)].mean(0)


@torch.no_grad()
def test_a_clip_says_in_any_batch_what_it_says_alone_to_its_library(made: tuple[str, AudioBackbone, Path]) -> None:
    name, backbone, folder = made
    encoded = backbone.encode(CLIPS)
    together = backbone(encoded.take(np.arange(4)))
    wanted = torch.stack([library(name, folder, item) for item in CLIPS])
    assert torch.allclose(together, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert (together[0] - together[1]).abs().max() > 1e-3 * together.abs().max(), "different clips are told apart"
    assert torch.isfinite(together).all(), "a clip shorter than one place of the encoder is heard too"


@torch.no_grad()
def test_every_layer_pools_and_a_cached_activation_goes_on(made: tuple[str, AudioBackbone, Path]) -> None:
    name, backbone, _ = made
    count, blocks = len(backbone.stages), sum("layers." in stage.name for stage in backbone.stages)
    assert (count, blocks) == ((3, 2) if name == "whisper" else (4, 3)), "Whisper's first block is part of its stem"
    resumable = backbone.resumable[1:-1]
    assert all(resumable[:1] if name == "wavlm" else resumable), "WavLM's first block gives more than its states"
    batch = backbone.encode(CLIPS).take(np.arange(4))
    wanted = backbone(batch)
    layers = backbone.forward_stages(batch)
    assert torch.equal(layers[-1], wanted) and all(layer.shape == (4, 32) for layer in layers)
    for boundary in [k for k, ok in enumerate(backbone.resumable) if ok and k]:
        states = backbone.states(batch, boundary)
        again = backbone.resume(batch, states.clone(), boundary)
        assert torch.allclose(again, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))
        other = backbone.resume(batch, states.flip(2) * 1.5, boundary)
        assert not torch.allclose(other, wanted, rtol=1e-3), "what lies in the cache is what is used"


@torch.no_grad()
def test_activations_on_disk_are_as_long_as_their_clips(home: Home, made: tuple[str, AudioBackbone, Path]) -> None:
    _, backbone, _ = made
    encoded, rows = backbone.encode(CLIPS), np.arange(4)
    keys = [bytes([k]) * 32 for k in range(4)]
    reader = FeatureStore(home).boundary(backbone, encoded, keys, rows, 1)
    states = reader.take(rows[1:])
    assert states.shape == (3, max(encoded.lengths[1:]), 32)
    batch = encoded.take(rows[1:])
    wanted = backbone(batch)
    assert torch.allclose(backbone.resume(batch, states, 1), wanted, atol=0.05 * float(wanted.abs().max()))


def test_convolutions_over_the_wave_are_no_blocks_however_many_there_are(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

    front = {"conv_dim": [8] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
    small = {**sound_models.WAVES, **front, "num_feat_extract_layers": 7, "num_hidden_layers": 2}
    AutoModel.from_config(AutoConfig.for_model("hubert", **small)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    backbone = audio_backbone.build(card_of(tmp_path), tmp_path, random=False)
    assert [stage.name.partition("layers.")[2] for stage in backbone.stages] == ["", "0", "1"]


def test_the_card_says_what_is_heard(folders: dict[str, Path]) -> None:
    cards = {name: card_of(folder) for name, folder in folders.items()}
    assert {(card.reads, card.family, card.sampling_rate) for card in cards.values()} == {
        ("audio", "transformers", 16_000)
    }
    assert cards["whisper"].seconds == 30 and cards["ast"].seconds == 0.64 and cards["hubert"].seconds is None


def test_a_folder_without_its_extractor_or_with_half_an_encoder_is_refused(home: Home, tmp_path: Path) -> None:
    folder = sound_models.save("hubert", tmp_path / "whole")
    extractor = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(Refusal, match=r"must have a preprocessor_config\.json.*feature extractor"):
        sources.add(home, folder, name="deaf")
    (folder / "preprocessor_config.json").write_text(extractor)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(Refusal, match=r"lacks \d+ tensors of hubert, among them encoder\.layers\.3"):
        sources.add(home, folder, name="half")
    assert not [card for card in sources.listing(home) if card.provider == "local"]


# --- from a hub


def test_a_sound_model_comes_from_a_hub_with_its_extractor(
    home: Home, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub({"lab/tiny-whisper": folders["whisper"]})) as hub:
        online = replace(home, offline=False, hub=hub.url)
        card = sources.get(online, "hf/lab/tiny-whisper")
        assert (card.reads, card.sampling_rate, card.seconds) == ("audio", 16_000, 30.0)
        backbone = load_backbone(online, card)
    mine = audio_backbone.build(card, folders["whisper"], random=False)
    published = mine.core.state_dict()
    assert all(torch.equal(value, published[name]) for name, value in backbone.core.state_dict().items())
    assert backbone.preprocessing == mine.preprocessing and backbone.made_with.endswith(
        (folders["whisper"] / "config.json").read_text()
    )
    assert sources.get(home, "hf/lab/tiny-whisper").sampling_rate == 16_000, "and it is known offline from now on"


# --- a study


@dataclass
class Judged:
    home: Home
    dataset: Dataset
    study: Study
    trials: dict[tuple[str, str], str]  # (source, strategy) -> trial


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Judged:
    """Hums and whistles, recorded at 8 kHz, heard by three tiny models with random weights."""
    root = tmp_path_factory.mktemp("sounds")
    home = open_home(root / "home")
    dataset = datasets.add(home, archive("sounds.zip", low_and_high(24))(root))
    added = [sources.add(home, folders[name], name=name).id for name in ("hubert", "whisper", "ast")]
    tuned: list[dict[str, Any]] = [{key: STEPS} for key in ("last_block", "full_finetune", "lora")]
    study = Study(
        dataset=dataset.id, sources=tuple(added), strategies=("linear_probe", "multilayer_probe", *tuned),
        controls=("random_frozen", {"scratch": STEPS}, "classical"), draws=1,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    trials = {(trial.source, trial.strategy): trial.id for trial in studies.expand(home, study)}
    return Judged(home, dataset, study, trials)


def score(judged: Judged, source: str, strategy: str) -> float:
    card = json.loads((judged.home.trials / judged.trials[source, strategy] / "card.json").read_text())
    return float(card["metrics"]["balanced_accuracy"])


def test_every_strategy_serves_a_sound_model_and_some_learn_the_tones(judged: Judged) -> None:
    tried = {"linear_probe", "multilayer_probe", "last_block", "full_finetune", "lora", "random_frozen", "scratch"}
    for name in ("hubert", "whisper", "ast"):
        assert {strategy for source, strategy in judged.trials if source == f"local/{name}"} == tried
        scores = {strategy: score(judged, f"local/{name}", strategy) for strategy in tried}
        learnt = max(found for strategy, found in scores.items() if strategy not in ("random_frozen", "scratch"))
        assert learnt >= 0.85, (name, scores)  # at most one of ten wrong


def test_a_model_of_sounds_says_why_it_fits_or_does_not(judged: Judged, tmp_path: Path) -> None:
    cells = {name: sources.fit(judged.home, sources.get(judged.home, f"local/{name}"), judged.dataset)
             for name in ("hubert", "whisper", "ast")}  # fmt: skip
    seconds = f"{judged.dataset.reading['seconds']:g}"
    assert cells["hubert"].why == f"Reads waveforms at 16 kHz, at most {seconds} s of a clip." and cells["hubert"].fits
    table = tmp_path / "t.csv"
    pd.DataFrame({"text": [f"a fine film {i}, {'good' if i % 2 else 'bad'} indeed" for i in range(40)],
                  "label": ["good", "bad"] * 20}).to_csv(table, index=False)  # fmt: skip
    texts = datasets.add(judged.home, table)
    cell = sources.fit(judged.home, sources.get(judged.home, "local/hubert"), texts)
    assert not cell.fits and "reads audio" in cell.why and cell.instead


@pytest.mark.parametrize(
    ("source", "strategy"),
    [
        ("hubert", "full_finetune"),
        ("ast", "lora"),
        pytest.param("whisper", "multilayer_probe", marks=pytest.mark.slow),
        pytest.param("whisper", "last_block", marks=pytest.mark.slow),
    ],
)
def test_a_trial_predicts_new_sounds_and_its_script_says_the_same(
    judged: Judged, tmp_path: Path, source: str, strategy: str
) -> None:
    trial = judged.trials[f"local/{source}", strategy]
    ticket = QuietTicket(judged.home)
    answer = export.run(ticket, {"trial": trial, "to": str(tmp_path / "out")})
    assert answer["replay"]["agrees"], answer["replay"]
    assert "tltools" not in (tmp_path / "out" / "predict.py").read_text()
    folder = tmp_path / "new"
    folder.mkdir()
    for k, (hertz, rate) in enumerate([(180, 44_100), (2_500, 8_000)]):
        (folder / f"{k}.wav").write_bytes(clip(tone(hertz, 0.2 + 0.2 * k, rate), rate))
    alone(tmp_path / "out", folder, tmp_path / "said.csv")
    said = pd.read_csv(tmp_path / "said.csv")
    asked = {"trial": trial, "items": [str(path) for path in sorted(folder.iterdir())]}
    ours = [row["probabilities"] for row in predict.run(ticket, asked)["predictions"]]
    for row, theirs in zip(ours, said.itertuples(), strict=True):
        assert all(abs(row[name] - getattr(theirs, f"p_{name}")) < 0.02 for name in judged.dataset.classes)
