"""A zip of sounds in a real browser: read, heard and seen as spectrograms, before and after it is added."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import button, overflow, says, settled
from serving import Served, serving

from tests.bad_files import archive
from tests.test_audio import low_and_high

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sounds") / "home", worker=True, TLTOOLS_OFFLINE="1") as served:
        yield served


def test_a_zip_of_sounds_is_seen_and_heard(server: Served, chromium: Any, tmp_path: Path) -> None:
    given = archive("hums and whistles.zip", low_and_high() | {"hum/broken.wav": b"RIFF"})(tmp_path)
    context = chromium.new_context(viewport={"width": 1440, "height": 1400})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{server.url}/dataset")
    settled(page)
    page.locator('input[type="file"]').first.set_input_files(str(given))
    button(page, "Read it")
    says(page, "Is this right?", 90)
    settled(page)
    assert "broken.wav" in page.get_by_test_id("stMain").inner_text()
    _seen_and_heard(page)
    page.screenshot(path=str(tmp_path / "draft.png"), full_page=True)
    button(page, "Add this dataset")
    page.get_by_role("button", name="Choose a source model").first.wait_for(timeout=90_000)
    settled(page)
    _seen_and_heard(page)
    assert re.search(r"dataset=[0-9a-f]{16}", page.url)
    page.set_viewport_size({"width": 390, "height": 844})
    settled(page)
    assert overflow(page) <= 0
    context.close()


def _seen_and_heard(page: Any) -> None:
    """Every picture has pixels, and a player has a sound of about the length that was given."""
    sound = page.locator("audio").first
    sound.wait_for(state="attached")
    page.wait_for_function("() => document.querySelector('audio').readyState > 0")
    assert 0.25 < sound.evaluate("one => one.duration") < 0.45
    widths = page.locator('[data-testid="stImage"] img').evaluate_all("all => all.map(one => one.naturalWidth)")
    assert widths and min(widths) > 20
