"""In which precision and on how many threads a source is trained: by measured steps, which leave no trace."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from fake_backbone import FakeBackbone

from tltools.engine import autotune, stepping
from tltools.engine.stepping import Steps

HALF = autotune.Setting("bfloat16", True, 9.0, "bf16 passes it faster")
FULL = autotune.Setting("float32", True, 9.0, "32-bit floats pass it faster")


class Memory(dict):
    def remember(self, kind: str, key: str, value: dict) -> None:
        self[kind, key] = value

    def recall(self, kind: str, key: str) -> dict | None:
        return self.get((kind, key))


class Trained(FakeBackbone):
    """A backbone whose copies can be trained, and are noted; its first stage keeps running means and drops values."""

    def __init__(self) -> None:
        super().__init__("image")
        self.embed = torch.nn.Sequential(self.embed, torch.nn.BatchNorm2d(self.width), torch.nn.Dropout(0.5))
        self.twins: list[Trained] = []

    def twin(self) -> Trained:
        other = copy.deepcopy(self)
        self.twins.append(other)
        return other


@pytest.fixture
def two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_steps_are_measured_once_on_a_copy_and_remembered() -> None:
    backbone, memory = Trained(), Memory()
    encoded = backbone.encode([f"row {n}" for n in range(40)])
    weights, random = copy.deepcopy(backbone.state_dict()), torch.get_rng_state()
    found = stepping.choose(backbone, encoded, HALF, memory)
    assert torch.equal(torch.get_rng_state(), random), "a run would see other dropout masks where nothing was known"
    assert all(torch.equal(value, weights[name]) for name, value in backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.parameters()) and not backbone.passes
    assert len(backbone.twins) == 1 and backbone.twins[0].passes >= 8
    assert stepping.choose(backbone, encoded, HALF, memory) == found and len(backbone.twins) == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("setting", "seconds", "wanted"),
    [
        (HALF, {(False, 0): 3.0, (True, 0): 1.0, (True, 1): 2.0}, Steps(True, 0)),
        (HALF, {(False, 0): 1.0, (True, 0): 2.0, (False, 1): 1.5}, Steps(False, 0)),  # passes alone would say bf16
        (HALF, {(False, 0): 1.0, (True, 0): 1.05, (True, 1): 1.5}, Steps(True, 0)),  # nearly alike: as it passes
        (HALF, {(False, 0): 3.0, (True, 0): 1.0, (True, 1): 0.5}, Steps(True, 1)),
        (FULL, {(False, 0): 1.0, (False, 1): 0.95}, Steps(False, 0)),  # nearly alike: chance would choose
        (FULL, {(False, 0): 1.0, (False, 1): 0.5}, Steps(False, 1)),
    ],
)
def test_the_fastest_step_is_chosen(
    setting: autotune.Setting, seconds: dict, wanted: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "SECONDS", 0.0)
    monkeypatch.setattr(stepping, "_step", lambda twin, batch, half, count: seconds[half, count])
    backbone = Trained()
    found = stepping.choose(backbone, backbone.encode(["a", "b"]), setting)
    assert found == replace(wanted, speedup=seconds[wanted.half, 1] / seconds[wanted.half, 0], channels_last=True)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("slower", "wanted"), [(1.5, True), (1.05, False), (0.7, False)])
def test_pictures_are_trained_channels_last_where_that_is_clearly_faster_on_one_thread(
    slower: float, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(twin: FakeBackbone, batch: dict, half: bool, count: int) -> float:
        wide = batch["pixels"].is_contiguous(memory_format=torch.channels_last)
        return 1.0 if wide or count == 0 else slower  # seconds: on all threads both are alike

    monkeypatch.setattr(stepping, "SECONDS", 0.0)
    monkeypatch.setattr(stepping, "_step", step)
    backbone = Trained()
    first = replace(FULL, channels_last=False)
    assert stepping.choose(backbone, backbone.encode(["a", "b"]), first).channels_last is wanted


@pytest.mark.usefixtures("two_threads")
def test_what_is_best_for_short_texts_is_not_taken_for_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(twin: FakeBackbone, batch: dict, half: bool, count: int) -> float:
        return 2.0 if (count == 0) == (batch["input_ids"].shape[1] < 100) else 1.0  # seconds

    monkeypatch.setattr(stepping, "SECONDS", 0.0)
    monkeypatch.setattr(stepping, "_step", step)
    monkeypatch.setattr(FakeBackbone, "twin", copy.deepcopy, raising=False)
    backbone, memory = FakeBackbone("text"), Memory()
    rows = {length: backbone.encode(["a" * length] * 20) for length in (10, 12, 500)}
    found = {length: stepping.choose(backbone, encoded, FULL, memory).threads for length, encoded in rows.items()}
    assert found == {10: 1, 12: 1, 500: 0} and len(memory) == 2, "what is nearly as long is not measured again"


def test_nothing_is_measured_where_nothing_can_be_chosen() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    backbone = Trained()
    assert stepping.choose(backbone, backbone.encode(["a", "b"]), FULL) == Steps(False, 0, channels_last=True)
    torch.set_num_threads(before)
    assert stepping.choose(backbone, backbone.encode(["a", "b"]), autotune.PLAIN) == Steps(False, 1)
    assert not backbone.twins
