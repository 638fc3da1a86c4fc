"""The head that a source brings along: what it says is what its library, or its own trial, says of the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests import sealed_trials
from tests.sealed_trials import Sealed
from tltools import datasets, sources, studies
from tltools.engine import explain, rank, torchvision_operators, trial_model
from tltools.engine.backbone import load_backbone
from tltools.home import Home
from tltools.judging import ranking
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket


def bars(folder: Path, names: tuple[str, str] = ("lying", "standing")) -> Path:
    """24 pictures that no sealed trial has seen."""
    return sealed_trials.bars(folder, 24, names, seed=5)


def test_a_timm_file_says_what_the_whole_network_says(home: Home, tmp_path: Path) -> None:
    torchvision_operators.ensure()
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = timm.create_model("resnet10t", num_classes=5).eval()
    save_file({name: value * 1.0 for name, value in whole.state_dict().items()}, tmp_path / "whole.safetensors")
    source = sources.add(home, tmp_path / "whole.safetensors", name="whole", architecture="timm/resnet10t")
    dataset = datasets.add(home, bars(tmp_path / "bars"))
    ticket = QuietTicket(home, open_store(home))
    (row,) = rank.run(ticket, {"dataset": dataset.id, "sources": [source.id]})["ranking"]

    rows, targets = rank.labelled_rows(ticket, dataset)
    encoded = load_backbone(home, source).encode(rank.some(datasets.items(home, dataset, "image"), rows))
    with torch.inference_mode():
        said = whole(encoded.take(np.arange(len(rows)))["pixel_values"]).softmax(1).numpy()
    assert row["leep"] == pytest.approx(ranking.leep(said, targets), abs=2e-3), "features may have been read in bf16"
    assert row["leep_floor"] == pytest.approx(-np.log(2), abs=0.02) and row["leep_floor"] <= row["leep"] <= 0
    assert "as_it_is" not in row and row["own_head"].endswith("(LEEP).")


def test_an_earlier_trial_is_judged_as_it_is_on_new_rows(sealed: Sealed, tmp_path: Path) -> None:
    home, own = sealed.home, sealed.id("image/full_finetune")
    dataset = datasets.add(home, bars(tmp_path / "new"))
    ticket = QuietTicket(home, open_store(home))
    (row,) = rank.run(ticket, {"dataset": dataset.id, "sources": [f"own/{own}"]})["ranking"]

    model, (rows, targets) = trial_model.load(home, own), rank.labelled_rows(ticket, dataset)
    said = model.outputs(rank.some(datasets.items(home, dataset, "image"), rows))
    assert dataset.classes == model.dataset.classes
    assert row["as_it_is"] == pytest.approx(ranking.balanced_accuracy(targets, said.argmax(1)), abs=0.05)
    assert row["leep"] == pytest.approx(ranking.leep(said, targets), abs=2e-3)
    assert row["own_head"].startswith("It knows your classes: as it is, without any of your labels")


def test_other_classes_and_the_rows_that_it_learnt_from_are_not_judged_as_it_is(sealed: Sealed, tmp_path: Path) -> None:
    home, own = sealed.home, f"own/{sealed.id('image/full_finetune')}"
    ticket = QuietTicket(home, open_store(home))
    other = datasets.add(home, bars(tmp_path / "other", ("flat", "standing")))
    for dataset in (other.id, datasets.get(home, sealed.trials["image/full_finetune"].dataset).id):
        (row,) = rank.run(ticket, {"dataset": dataset, "sources": [own]})["ranking"]
        assert "leep" in row and "as_it_is" not in row


def test_sources_without_such_a_head_say_nothing(sealed: Sealed, tmp_path: Path) -> None:
    home = sealed.home
    ticket = QuietTicket(home, open_store(home))
    dataset = datasets.add(home, bars(tmp_path / "plain"))
    (row,) = rank.run(ticket, {"dataset": dataset.id, "sources": ["bundled/tiny-resnet"]})["ranking"]
    assert "leep" not in row and row["own_head"] == ""


def test_zero_shot_says_what_the_source_said_and_uses_no_label(sealed: Sealed) -> None:
    then = trial_model.load(sealed.home, sealed.id("image/full_finetune")).stored().set_index("row")
    now = trial_model.load(sealed.home, sealed.id("own/zero_shot")).stored().set_index("row")
    columns = ["p_0", "p_1"]
    assert set(then.index) == set(now.index)
    assert np.abs(then.loc[now.index, columns].to_numpy() - now[columns].to_numpy()).max() < 0.05
    card = json.loads((sealed.home.trials / sealed.id("own/zero_shot") / "card.json").read_text())
    assert card["n_train"] == 0 and not card["backbone_trained"]
    with pytest.raises(Refusal, match="has learnt from no row"):
        explain.run(QuietTicket(sealed.home), {"trial": sealed.id("own/zero_shot"), "what": "nearest", "rows": []})


def test_a_source_that_lacks_a_class_cannot_be_asked_as_it_is(sealed: Sealed, tmp_path: Path) -> None:
    home, own = sealed.home, f"own/{sealed.id('image/full_finetune')}"
    known, other = (datasets.add(home, bars(tmp_path / name, names)) for name, names in (
        ("known", ("lying", "standing")), ("lacking", ("lying", "upright"))))  # fmt: skip
    for dataset, able in ((known, True), (other, False)):
        study = Study(
            dataset=dataset.id, sources=(own,), strategies=("zero_shot", "linear_probe"), controls=(), draws=1
        )
        planned = {trial.strategy for trial in studies.expand(home, study)}
        assert ("zero_shot" in planned) is able
        said = [str(problem.what) for problem in studies.check(home, study)]
        assert able is not any("does not; this arm is left out" in what for what in said)
        proposed = studies.propose(home, dataset, [sources.get(home, own, dataset)])
        assert ("zero_shot" in proposed.strategies) is able
