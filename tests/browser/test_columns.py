"""Matched columns in a real browser: one is dropped by hand, which the study then says, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from looking import button, overflow, says, settled, weak_texts
from serving import serving

from tests import hospitals

pytestmark = pytest.mark.browser


def test_a_match_is_dropped_by_hand_and_taken_back(tmp_path: Path, chromium: Any) -> None:
    made = hospitals.make(tmp_path)
    with serving(made.home.root, worker=False, TLTOOLS_OFFLINE="1") as server:
        page = chromium.new_page(viewport={"width": 1440, "height": 2000})
        page.goto(f"{server.url}/source?dataset={made.second.id}&source={made.source}")
        says(page, "Knows 6 of 7 columns from first")
        settled(page)
        assert not weak_texts(page)
        grid = page.get_by_test_id("stDataFrame").first.bounding_box()
        place = 1.5 + list(made.second.inputs).index("dents")  # the head is a row, too
        page.mouse.dblclick(grid["x"] + 0.3 * grid["width"], grid["y"] + 35 * place)
        page.get_by_role("combobox").last.wait_for()
        page.keyboard.type("(new")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        says(page, "Knows 5 of 7 columns from first")
        page.goto(f"{server.url}/strategy?dataset={made.second.id}&source={made.source}")
        settled(page)
        page.get_by_text("The study file, and the same in a terminal").click()
        says(page, "dents: null")
        page.goto(f"{server.url}/source?dataset={made.second.id}&source={made.source}")
        settled(page)
        button(page, "As proposed")
        says(page, "Knows 6 of 7 columns from first")
        page.close()
        phone = chromium.new_page(viewport={"width": 390, "height": 844})
        phone.goto(f"{server.url}/source?dataset={made.second.id}&source={made.source}")
        says(phone, "Knows 6 of 7 columns from first")
        settled(phone)
        assert overflow(phone) <= 0
        phone.close()
