"""The sources that are chosen, as the source screen finds and leaves them: unknown ones, and those of an open study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_pages import notes, opened, server, sound, wine
from tests.test_row_sizes import texts
from tltools import studies
from tltools.home import Home
from tltools.records import Dataset, Study

__all__ = ["notes", "server", "wine"]  # fixtures; every test here runs as in the web server
PAGE = "prepare/source.py"
BOTH = ("bundled/minilm-l6", "bundled/table-net")


def test_the_hub_is_asked_once_for_a_word(home: Home, wine: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("TLTOOLS_OFFLINE", "0")
    monkeypatch.setattr("tltools.sources.search", lambda home, query: asked.append(query) or [])
    app = opened(PAGE, dataset=wine.id)
    app.text_input(key="hub_query").set_value("convnext").run()
    app.toggle(key="pick_bundled/minilm-l6").set_value(True).run()
    assert "The hub knows nothing under that name." in sound(app) and asked == ["convnext"]
    app.text_input(key="hub_query").set_value("resnet").run()
    assert asked == ["convnext", "resnet"]


@pytest.mark.parametrize("id", ["nonsense", "local/gone", "own/0123456789abcdef"])
def test_an_unknown_source_is_told_and_left_out(home: Home, wine: Dataset, id: str) -> None:
    app = opened(PAGE, dataset=wine.id, source=f"{id},bundled/table-net")
    assert id in sound(app) and "must be solved" in sound(app)
    assert app.query_params["source"] in ("bundled/table-net", ["bundled/table-net"])
    assert "must be solved" not in sound(app.run())


@pytest.mark.parametrize("chosen", [BOTH, BOTH[::-1], ("local/gone", "bundled/table-net")])
def test_to_look_at_the_sources_closes_no_study(home: Home, wine: Dataset, chosen: tuple[str, ...]) -> None:
    id = studies.save(home, Study(dataset=wine.id, sources=chosen, strategies=("full_finetune",)))
    app = opened(PAGE, study=id)
    sound(app)
    assert app.query_params["study"] in (id, [id])
    assert app.query_params["source"] in (",".join(chosen), [",".join(chosen)])
    app.toggle(key="pick_bundled/table-net").set_value(False).run()
    assert "study" not in app.query_params, "another choice is another study"


def test_the_screen_offers_to_read_more_where_it_warns(home: Home, tmp_path: Path) -> None:
    plain, long = "bundled/minilm-l6", "bundled/minilm-l6@256"
    essays = texts(home, tmp_path, "essays", 300, rows=60)
    app = opened("prepare/source.py", dataset=essays.id)
    assert "128 tokens" in sound(app)
    offered = [button for button in app.button if button.label.startswith("Read ")]
    assert [button.label for button in offered] == ["Read 256 tokens", "Read 512 tokens"]
    offered[0].click().run()
    sound(app)
    assert {toggle.label: toggle.value for toggle in app.toggle if "MiniLM" in toggle.label} == {
        "MiniLM-L6": True, "MiniLM-L6, 256 tokens": True,
    }  # fmt: skip
    assert app.query_params["source"] in (f"{plain},{long}", [f"{plain},{long}"])
    assert [b.label for b in app.button if b.label.startswith("Read ")] == ["Read 512 tokens"] * 2
    again = opened("train/strategy.py", dataset=essays.id, source=f"{plain},{long}")
    assert long in sound(again), "the study file names both"
