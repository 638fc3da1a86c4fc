"""Source models from a hub: found, pinned, downloaded once, loaded; refused in a sentence when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.hub_server import COMMIT, Hub, publish, serving
from tltools import hub as hub_names
from tltools import reports, samples, sources, studies
from tltools.artifacts import sealed
from tltools.engine import study as study_engine
from tltools.engine import torchvision_operators
from tltools.engine.backbone import load_backbone
from tltools.home import Home
from tltools.providers import _curated
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

torchvision_operators.ensure()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # what the command line sets from TLTOOLS_OFFLINE
    names = {"lab/tiny-bert": "bert", "timm/resnet10t.lab": "image", "lab/old": "pickled"}
    with serving(Hub({name: published / folder for name, folder in names.items()})) as served:
        yield served


@pytest.fixture
def online(home: Home, hub: Hub) -> Home:
    return replace(home, offline=False, hub=hub.url)


def test_what_is_asked_of_the_hub_is_in_the_ledger(online: Home) -> None:
    assert "lab/tiny-bert" in hub_names.find(online, "tiny")
    (row,) = open_store(online).network()
    assert (row["sent"], row["received"]) == (len("tiny"), 0)


def refused(home: Home, source_id: str) -> str:
    """What is said when this source is chosen and fetched; nothing half is left behind."""
    with pytest.raises(Refusal) as caught:
        sources.fetch(home, sources.get(home, source_id))
    assert not list(home.sources.glob("hf-*")) and not list(home.sources.glob("*.part"))
    return str(caught.value)


def test_a_transformers_model_comes_down_once_at_one_commit(online: Home, hub: Hub, published: Path) -> None:
    told: list[tuple[int, int]] = []
    source = sources.get(online, "hf/lab/tiny-bert")
    assert source.reads == "text" and source.architecture == "bert" and source.revision == COMMIT
    folder = sources.fetch(online, source, lambda done, total: told.append((done, total)))
    weights = published / "bert" / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == weights.read_bytes()
    assert told and told[-1][0] > 0, "progress is told in bytes"
    assert json.loads((folder / "source.json").read_text())["revision"] == COMMIT
    received = [entry for entry in open_store(online).network() if entry["host"] == "127.0.0.1"]
    assert received and received[0]["received"] >= weights.stat().st_size

    before = len(hub.asked)
    again = sources.get(online, "hf/lab/tiny-bert")
    assert sources.fetch(online, again) == folder and again.installed
    assert len(hub.asked) == before, "what is here asks nobody"
    assert sources.fetch(replace(online, offline=True), again) == folder
    assert any(one.id == again.id and one.installed for one in sources.listing(online))


def test_a_downloaded_language_model_computes_what_its_weights_say(online: Home, published: Path) -> None:
    backbone = load_backbone(online, sources.get(online, "hf/lab/tiny-bert"))
    stored = load_file(published / "bert" / "model.safetensors")
    carried = dict(backbone.core.named_parameters())
    name = next(n for n in stored if n.endswith("layer.1.output.dense.weight"))
    mine = next(value for key, value in carried.items() if key.endswith("layer.1.output.dense.weight"))
    assert torch.equal(mine, stored[name])
    with torch.no_grad():
        pooled = backbone(backbone.encode(["a fine film", "no"]).take(torch.arange(2).numpy()))
    assert pooled.shape == (2, 32) and bool(torch.isfinite(pooled).all())


def test_a_timm_model_comes_with_its_own_preprocessing(online: Home, published: Path) -> None:
    source = sources.get(online, "timm/resnet10t.lab")
    assert (source.reads, source.architecture, source.image_size, source.mean) == ("image", "resnet10t", 64, (0.5,) * 3)
    backbone = load_backbone(online, source)
    stored = load_file(published / "image" / "model.safetensors")
    mine = dict(backbone.core.named_parameters())
    assert all(torch.equal(mine[name], stored[name]) for name in mine)
    other = load_backbone(online, source, init="random", seed=1)
    assert not torch.equal(dict(other.core.named_parameters())["conv1.0.weight"], stored["conv1.0.weight"])


def test_the_search_finds_by_words(online: Home) -> None:
    assert [source.id for source in sources.search(online, "tiny-bert")] == ["hf/lab/tiny-bert"]
    assert sources.search(online, "nothing like it") == []


def test_offline_is_a_sentence(online: Home, hub: Hub) -> None:
    said = refused(replace(online, offline=True), "hf/lab/tiny-bert")
    assert "offline" in said and "TLTOOLS_OFFLINE" in said
    assert not hub.asked


def test_pickled_weights_are_refused_by_name(online: Home) -> None:
    said = refused(online, "hf/lab/old")
    assert "model.safetensors" in said and "pytorch_model.bin" in said


def test_an_unknown_repository_is_named(online: Home) -> None:
    assert "lab/nowhere" in refused(online, "hf/lab/nowhere")


def test_a_gated_repository_and_a_revision_that_is_gone_are_told_apart(online: Home, hub: Hub) -> None:
    hub.gated.add("lab/asks")
    assert "lab/asks asks for an agreement first" in refused(online, "hf/lab/asks")
    card = sources.get(online, "hf/lab/tiny-bert").model_copy(update={"revision": "f" * 40})
    with pytest.raises(Refusal, match="but not in this revision"):
        sources.fetch(online, card)


def test_names_that_differ_in_signs_only_are_two_sources(online: Home, hub: Hub) -> None:
    hub.repositories["lab-tiny/bert"] = hub.repositories["lab/tiny-bert"]
    one, two = (sources.fetch(online, sources.get(online, f"hf/{name}")) for name in ("lab/tiny-bert", "lab-tiny/bert"))
    assert one != two and sources.get(online, "hf/lab-tiny/bert").id == "hf/lab-tiny/bert"


def test_a_study_names_its_trials_by_the_revision_that_it_brought(
    online: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card of the curated list has no revision until its model is here."""
    card = sources.get(online, "hf/lab/tiny-bert").model_copy(update={"revision": None})
    monkeypatch.setattr(_curated, "cards", lambda: {card.id: card})
    notes = samples.add(online, "film-notes")
    study = Study(dataset=notes.id, sources=(card.id,), strategies=("linear_probe",), controls=("classical",), draws=2,
                  fractions=(1.0,))  # fmt: skip
    before = {trial.id for trial in studies.expand(online, study)}
    study_engine.run_one(QuietTicket(online, open_store(online)), studies.save(online, study))
    after = {trial.id for trial in studies.expand(online, study)}
    assert before != after and all(sealed(online.trials / name) for name in after)
    assert {row["strategy"] for row in reports.load(online, studies.study_id(study)).arms} == {
        "linear_probe",
        "classical",
    }


@pytest.mark.parametrize("name", ["../../etc/passwd", "lab/..", "lab/a b", "a/b/c", ""])
def test_a_name_that_is_none_never_becomes_an_address(online: Home, hub: Hub, name: str) -> None:
    refused(online, f"hf/{name}")
    assert not hub.asked


@pytest.mark.parametrize("fault", [500, 403, "cut"])
def test_a_broken_download_leaves_nothing_half(
    online: Home, hub: Hub, fault: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))  # between its tries
    hub.broken["model.safetensors"] = fault
    said = refused(online, "hf/lab/tiny-bert")
    assert "lab/tiny-bert" in said and "try again" in said.lower()
    hub.broken.clear()
    assert sources.fetch(online, sources.get(online, "hf/lab/tiny-bert")).is_dir(), "and the next try goes through"


def test_a_hub_that_does_not_answer_is_a_sentence(home: Home, hub: Hub) -> None:
    nowhere = replace(home, offline=False, hub="http://127.0.0.1:9")
    assert "127.0.0.1:9" in refused(nowhere, "hf/lab/tiny-bert")
