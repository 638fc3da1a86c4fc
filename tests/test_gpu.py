"""What runs on the CPU runs on a GPU: trials of every kind, their heads, predictions, explanations and checkpoints.

On a pretended device (`pretended_gpu.py`) everywhere, on a real one where torch finds it; within the tolerance that
cached features have. Run alone: python -m pytest -n0 -rs tests/test_gpu.py
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests import detector_models, pretended_gpu, sealed_trials, shapes, test_loop, test_tagging_strategies, text_models
from tests.texts import pairs
from tltools import datasets, sources, studies
from tltools.engine import autotune, boundaries, dense, export, gradients, loop, rank, trial_model, written
from tltools.engine import device as devices
from tltools.engine import study as engine
from tltools.engine.boundaries import BoundaryReader
from tltools.engine.features import TOLERANCE
from tltools.home import Home, open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.tickets import Interrupted, QuietTicket

SHORT = {"epochs": 1, "min_steps": 3, "batch_size": 8}
ONCE = {"epochs": 1, "min_steps": 0, "batch_size": 8, "rates_tried": 1}
LORA = {"lora": ONCE}
SAME = 0.9  # share of texts and tags that a real GPU finds alike: ties of a hardly trained network may turn
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
REAL = pytest.param("real", marks=NO_GPU)
NUMBER = re.compile(r"\d+\.\d+")
Given = tuple[Path, dict[str, Any], Path | None, tuple[Any, ...]]  # data, how it is read, source's folder, strategies


def halved(path: Path) -> Path:
    """Every other row of a table."""
    pd.read_csv(path)[::2].to_csv(path, index=False)
    return path


def films(folder: Path, minilm: Path) -> Given:
    text = {"target": "sentiment", "inputs": ["text"]}
    fitted = ("linear_probe", "prototype", "knn", {"last_block": ONCE}, {"setfit": {"texts": 16}}, LORA)
    return halved(sealed_trials.texts(folder)), text, minilm, fitted


def pictures(folder: Path, minilm: Path) -> Given:
    flipped = {"full_finetune": {**SHORT, "flip": True}}
    return sealed_trials.bars(folder / "bars", 24), {}, None, ("multilayer_probe", flipped)


def table(folder: Path, minilm: Path) -> Given:
    how = {"target": "kind", "inputs": sealed_trials.INPUTS, "task": "classification"}
    return sealed_trials.cells(folder), how, None, ("linear_probe", {"full_finetune": SHORT})


def cells_as_tokens(folder: Path, minilm: Path) -> Given:
    how = {"target": "price", "inputs": sealed_trials.INPUTS, "task": "regression"}
    return halved(sealed_trials.cells(folder)), how, minilm, ({"frozen_transformer": ONCE},)


def masks(folder: Path, minilm: Path) -> Given:
    return shapes.with_masks(folder / "masks.zip", 12), {}, None, ({"full_finetune": ONCE},)


def boxes(folder: Path, minilm: Path) -> Given:
    return shapes.with_boxes(folder / "boxes.zip", 12), {}, None, ({"full_finetune": ONCE},)


def boxes_by_a_detector(folder: Path, minilm: Path) -> Given:
    source = detector_models.save("rt_detr", folder / "detector")
    return shapes.with_boxes(folder / "boxes.zip", 12), {}, source, ({"full_finetune": ONCE},)


def tags(folder: Path, minilm: Path) -> Given:
    path = folder / "tags.conll"
    path.write_text(test_tagging_strategies.conll(24))
    return path, {}, minilm, ("linear_probe", {"last_block": ONCE})


def translated(folder: Path, minilm: Path) -> Given:
    path = folder / "pairs.csv"
    pairs(24, 1).to_csv(path, index=False)
    return path, {"task": "translation"}, minilm, ("linear_probe", LORA)


def translated_by(kind: str) -> Callable[[Path, Path], Given]:
    def given(folder: Path, minilm: Path) -> Given:
        rows = pairs(24, 1)
        path, source = folder / "pairs.csv", folder / kind
        rows.to_csv(path, index=False)
        text_models.save(kind, source, [*rows["text"], *rows["other"]])
        return path, {"task": "translation"}, source, ({"full_finetune": ONCE},)

    given.__name__ = f"translated_by_{kind}"
    return given


MORE = (cells_as_tokens, boxes_by_a_detector, tags, translated, translated_by("t5"), translated_by("gpt2"))
KINDS = (films, pictures, table, masks, boxes, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE))


@contextmanager
def on(where: str) -> Iterator[None]:
    """The engine computes on the CPU, on the pretended device, or on a real one."""
    if where == "pretended":
        with pretended_gpu.entered():
            yield
        return
    chosen = devices.best("cpu" if where == "cpu" else "cuda")
    with pytest.MonkeyPatch.context() as patch:
        for module in (devices, autotune):
            patch.setattr(module, "best", lambda name=None: chosen)
        yield


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """What is else chosen by the clock, and how long what has no closed form is trained."""
    plain = autotune.Setting("float32", False, 100.0, "as told")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autotune, "_measure", lambda *_: plain)
        for module in (dense, written):
            patch.setattr(module, "FROZEN", replace(module.FROZEN, epochs=1, min_steps=0))
        yield


def run(given: Given, home: Home, where: str) -> list[str]:
    """The trials of a study of what is given, by strategy in the order in which they were asked for."""
    path, how, folder, strategies = given
    with on(where):
        dataset = datasets.add(home, path, **how)
        bundled = {"image": "bundled/tiny-resnet", "tabular": "bundled/table-net"}
        source = bundled[dataset.modality] if folder is None else sources.add(home, folder, name="given").id
        study = Study(
            dataset=dataset.id, sources=(source,), strategies=strategies, controls=(), fractions=(1.0,), draws=1
        )  # fmt: skip
        engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return [trial.id for trial in studies.expand(home, study)]


def sealed(home: Home, trial: str) -> pd.DataFrame:
    """What was predicted of the test rows."""
    return pd.read_parquet(home.trials / trial / "predictions.parquet")


def again(home: Home, trial: str, where: str) -> pd.DataFrame:
    """The same by the model made again from its weights: each row goes through the whole network, nothing is cached."""
    with on(where):
        model = trial_model.load(home, trial)
        rows = model.stored()["row"].to_numpy()
        outputs = model.outputs(trial_model.picked(datasets.items(home, model.dataset, model.reads), rows))
        truth = datasets.target(home, model.dataset)[rows]
        return model.task.frame(rows, truth, outputs, model.dataset.classes)


def assert_near(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Numbers are within the tolerance of cached features; texts and names are alike but for ties."""
    assert list(one) == list(other) and len(one) == len(other)
    for name in one:
        if pd.api.types.is_numeric_dtype(one[name]):
            apart = (one[name] - other[name]).abs() / max(1.0, float(one[name].std()))
            assert apart.max() <= TOLERANCE["float32"], name
        elif name == "prediction":
            assert np.mean([alike(*both) for both in zip(one[name], other[name], strict=True)]) >= SAME


def alike(one: str, other: str) -> bool:
    """Whether two texts are the same, but for numbers that are near, in any order: boxes are ordered by their score."""
    words = [sorted(NUMBER.sub("", text)) for text in (one, other)]
    numbers = [sorted(map(float, NUMBER.findall(text))) for text in (one, other)]
    return words[0] == words[1] and np.allclose(*numbers, rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.parametrize("given", KINDS, ids=lambda given: given.__name__)
@pytest.mark.parametrize("where", ["pretended", REAL])
def test_trials_come_to_the_same_on_a_gpu(
    where: str, given: Callable[[Path, Path], Given], short_minilm: Path, tmp_path: Path
) -> None:
    asked = given(tmp_path, short_minilm)
    there, here = open_home(tmp_path / "there"), open_home(tmp_path / "here")
    found = run(asked, there, where)
    if where == "pretended":
        assert run(asked, here, "cpu") == found
        for trial in found:
            assert_near(sealed(there, trial), sealed(here, trial))
    for trial in found:
        for place in [where, "cpu"][: 1 if where == "pretended" else 2]:
            assert_near(sealed(there, trial), again(there, trial, place))


@pytest.mark.parametrize("where", ["pretended", REAL])
def test_sources_are_ranked_on_a_gpu(where: str, short_minilm: Path, tmp_path: Path) -> None:
    path, how, source, _ = films(tmp_path, short_minilm)
    home = open_home(tmp_path / "home")
    asked = {"dataset": datasets.add(home, path, **how).id, "sources": [sources.add(home, source, name="given").id]}
    told = []
    for place in ("cpu", where):
        with on(place):
            told.append(rank.run(QuietTicket(home, open_store(home)), asked)["ranking"][0])
        shutil.rmtree(home.features)  # so that the other passes them, too
    assert "problem" not in told[0]
    for name in ("loo_ridge", "logme", "knn", "h_score"):
        assert told[1][name] == pytest.approx(told[0][name], abs=0.02), name


def test_a_tensor_that_was_left_behind_is_found(
    short_minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "moved", lambda value, device: value)  # targets and weights stay where they are
    given = table(tmp_path, short_minilm)
    with pytest.raises(RuntimeError, match=r"tensors .* are on the CPU, others on cuda:0"):
        run((*given[:3], ({"full_finetune": SHORT},)), open_home(tmp_path / "home"), "pretended")


def test_batches_are_pinned_and_activations_stay_on_the_gpu_where_they_fit(
    short_minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, how, source, _ = films(tmp_path, short_minilm)
    given = path, how, source, ({"last_block": {**SHORT, "epochs": 2}},)
    from_memory: list[int] = []
    read = BoundaryReader._from_memory

    def noted(reader: BoundaryReader, rows: np.ndarray, *held: Any) -> torch.Tensor:
        from_memory.append(len(rows))
        assert held[-1].is_cuda
        return read(reader, rows, *held)

    monkeypatch.setattr(BoundaryReader, "_from_memory", noted)
    monkeypatch.setattr(boundaries, "AT_ONCE", 7)
    told = []
    for name, free in (("roomy", 6_000_000_000), ("full", 0)):
        monkeypatch.setattr(pretended_gpu, "FREE", free)
        monkeypatch.setattr(pretended_gpu, "PINNED", pinned := [])
        home = open_home(tmp_path / name)
        (trial,) = run(given, home, "pretended")
        told.append((sealed(home, trial), len(from_memory), pinned))
        from_memory.clear()
    (held, read_back, few), (streamed, none, more) = told
    assert read_back > 4 and none == 0
    floats = [sum(shape[-1:] == (384,) for shape in pinned) for pinned in (few, more)]
    assert 0 < floats[0] < floats[1], "what is held is copied once"
    pd.testing.assert_frame_equal(held, streamed, check_exact=True)


@pytest.mark.parametrize("where", ["pretended", REAL])
def test_an_interrupted_training_goes_on_from_its_checkpoint(where: str, tmp_path: Path) -> None:
    made = test_loop.table.__wrapped__()
    codes = test_loop.codes.__wrapped__(made)
    backbone = test_loop.backbone.__wrapped__(made)

    def training(name: str, ticket: Any = None) -> loop.Training:
        folder, asked = tmp_path / name, test_loop.recipe(weight_decay=0.1, warmup=0.2)
        found = test_loop.training(backbone, made, codes, folder, asked, ticket=ticket)
        found.place, found.feed = replace(found.place, device=devices.best()), Moved(found.feed)
        found.model.to(devices.best().name)
        return found

    with on(where):
        whole = training("whole")
        expected = whole.run()
        with pytest.raises(Interrupted):
            training("cut", test_loop.Stopper(13)).run()
        again, held = training("cut"), []
        again._let_go = lambda: held.append(again.optimiser)
        torch.manual_seed(999)
        assert again.run().steps == expected.steps
        for name, value in again.model.state_dict().items():
            assert torch.allclose(value.cpu(), whole.model.state_dict()[name].cpu(), atol=1e-6), name
        moments = next(iter(held[0].state.values()))
        assert all(value.is_cuda for value in moments.values()), "fused steps count on the device, too"


class Moved:
    """A feed of the CPU's whose batches are moved."""

    def __init__(self, feed: Any) -> None:
        self.feed, self.lengths = feed, feed.lengths

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[dict[str, torch.Tensor], None]:
        batch, _ = self.feed.take(rows, training=training)
        return {name: devices.moved(value, devices.best().name) for name, value in batch.items()}, None


@pytest.mark.parametrize("where", ["pretended", REAL])
def test_models_are_explained_and_taken_home_from_a_gpu(where: str, short_minilm: Path, tmp_path: Path) -> None:
    path, how, source, _ = films(tmp_path, short_minilm)
    home = open_home(tmp_path / "texts")
    (text,) = run((path, how, source, ("linear_probe",)), home, where)
    shown = open_home(tmp_path / "pictures")
    (picture,) = run((*pictures(tmp_path, short_minilm)[:3], ({"full_finetune": SHORT},)), shown, where)
    with on(where):
        reader = trial_model.load(home, text)
        assert isinstance(reader, trial_model.NeuralModel)
        _, words = gradients.words(reader, "a fine film")
        assert len(words["words"]) == 3
        viewer = trial_model.load(shown, picture)
        assert isinstance(viewer, trial_model.NeuralModel)
        item = datasets.items(shown, viewer.dataset, "image")[0]
        assert gradients.places(viewer, item)[1]["method"] == "Grad-CAM"
        for model, name in ((reader, "a"), (viewer, "b")):
            (tmp_path / name).mkdir()
            assert export.written(model, tmp_path / name)["classes"]
            assert (tmp_path / name / "model.safetensors").stat().st_size > 10_000
