"""The very first request to a fresh server is a deep link: the frame stands, and nothing says "Page not found"."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from looking import settled
from serving import serving

from tltools.ui import frame

pytestmark = pytest.mark.browser

PATHS = {Path(file).stem if file != "prepare/home.py" else "": t for e in frame.MENU.values() for file, t, _ in e}

USUAL = ("", "compare", "runs")  # the others take the same way, and each a server of its own: slow tier


@pytest.mark.parametrize(
    "path", [path if path in USUAL else pytest.param(path, marks=pytest.mark.slow) for path in PATHS]
)
def test_a_deep_link_as_the_first_request_shows_the_frame(tmp_path: Path, chromium: Any, path: str) -> None:
    with serving(tmp_path / "home", worker=False) as server:
        page = chromium.new_page()
        page.goto(f"{server.url}/{path}")
        settled(page)
        assert page.get_by_test_id("stSidebar").get_by_text("left this machine").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1
        page.wait_for_timeout(500)  # the dialog comes after the page
        assert page.get_by_role("dialog").count() == 0 and page.get_by_text("Page not found").count() == 0
        assert page.title().startswith(PATHS[path])
        page.close()


def test_the_server_answers_only_under_the_given_names_and_with_its_headers(tmp_path: Path) -> None:
    """Hosts may be given by the environment, separated by blanks; without them, see `test_lives.py`."""
    more = {"STREAMLIT_SERVER_ALLOWED_HOSTS": "localhost 127.0.0.1 tl.example"}
    with serving(tmp_path / "home", worker=False, **more) as server:
        answer = urllib.request.urlopen(server.url)
        assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        for path in ("/", "/_stcore/health", "/api/healthz"):
            foreign = urllib.request.Request(server.url + path, headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(foreign)
            assert refused.value.code == 403
        with pytest.raises(urllib.error.HTTPError) as ill:
            urllib.request.urlopen(f"{server.url}/api/healthz")
        facts = json.loads(ill.value.read())
        assert facts["store"] and not facts["worker"], "no worker was started here, and health says so"
        asked = urllib.request.Request(server.url, headers={"Host": "tl.example"})
        assert urllib.request.urlopen(asked).status == 200
