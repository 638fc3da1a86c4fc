"""The source screen as a person uses it: a model found on the hub and run, own weights taken or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, publish
from hub_server import serving as hub_serving
from looking import button, says, settled
from serving import serving

from tltools import samples, studies
from tltools.engine import torchvision_operators
from tltools.home import open_home
from tltools.records import Study
from tltools.ui import study_draft

pytestmark = pytest.mark.browser
torchvision_operators.ensure()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("hub"))


def test_a_model_found_on_the_hub_is_downloaded_by_the_run_that_needs_it(
    tmp_path: Path, published: Path, chromium: Any
) -> None:
    hub = Hub({"lab/tiny-bert": published / "bert", "lab/resnet": published / "image"})
    online = {"TLTOOLS_OFFLINE": "0", "HF_HUB_OFFLINE": "0"}
    with hub_serving(hub), serving(tmp_path / "home", worker=True, HF_ENDPOINT=hub.url, **online) as server:
        notes = samples.add(open_home(server.home), "film-notes")
        page = chromium.new_page()
        page.goto(f"{server.url}/source?dataset={notes.id}")
        settled(page)
        page.get_by_text("Search the hub for more").click()
        page.get_by_label("Name or part of it").fill("tiny")
        page.get_by_label("Name or part of it").press("Enter")
        page.get_by_role("button", name="Take it").wait_for(timeout=30_000)
        assert not page.get_by_text("lab/resnet").count(), "the search is by name"
        button(page, "Take it")
        page.wait_for_url(lambda address: "hf/lab/tiny-bert" in address.replace("%2F", "/"), wait_until="commit")
        says(page, "to download")
        arms = {"sources": ("hf/lab/tiny-bert",), "strategies": ("linear_probe",), "controls": ("random_frozen",)}
        short = Study(dataset=notes.id, draws=2, **arms)
        # as if put together on an earlier visit: it trains for seconds
        study_draft.keep(server.store(), short, short.model_copy(update={"draws": 5}), None)
        page.goto(f"{server.url}/strategy?dataset={notes.id}&source=hf/lab/tiny-bert")
        settled(page)
        button(page, "Run the study")
        page.get_by_text("Finished:").wait_for(timeout=180_000)
        assert any("resolve" in asked and "model.safetensors" in asked for asked in hub.asked)
        home = open_home(server.home)
        (study,) = [studies.load(home, path.name) for path in home.studies.iterdir() if path.is_dir()]
        assert study.sources == ("hf/lab/tiny-bert",) and studies.progress(home, study)[0] > 0
        page.goto(f"{server.url}/source?dataset={notes.id}&source=hf/lab/tiny-bert")
        settled(page)
        card = page.locator("[class*=st-key-card_hf_lab_tiny-bert]")
        assert "here" in card.inner_text() and "to download" not in card.inner_text()
        page.close()


def test_own_weights_are_tried_on_the_architecture_before_they_are_taken(
    tmp_path: Path, published: Path, chromium: Any
) -> None:
    with serving(tmp_path / "home", worker=False, TLTOOLS_OFFLINE="1") as server:
        digits = samples.add(open_home(server.home), "digits")
        page = chromium.new_page()
        page.goto(f"{server.url}/source?dataset={digits.id}")
        settled(page)

        def send(architecture: str, name: str, file: Path) -> None:
            page.get_by_text("Add my own").click()
            page.locator("input[type=file]").first.set_input_files(file)
            page.get_by_label("Name", exact=True).fill(name)
            page.get_by_label("timm architecture").fill(architecture)
            button(page, "Check and add", seconds=60)

        weights = published / "image" / "model.safetensors"
        send("resnet18", "wrong", weights)
        says(page, "lacks 53 tensors", seconds=240)
        page.reload()
        settled(page)
        send("resnet10t", "mine", weights)
        page.get_by_text("local/mine").or_(page.get_by_text("mine", exact=True)).first.wait_for(timeout=240_000)
        page.wait_for_url(lambda address: "local/mine" in address.replace("%2F", "/"), wait_until="commit")
        page.close()
