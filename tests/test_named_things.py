"""Names that people give, where a page renders Markdown; and what Home and Dataset say of jobs and drafts."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.test_pages import opened, press, server, sound
from tltools import datasets
from tltools.holders import this_process
from tltools.home import Home
from tltools.store import open_store

__all__ = ["server"]  # fixtures; every test here runs as in the web server
EVIL = "![x](http://evil.example/p.png)"


def test_a_dataset_with_a_name_of_markdown_loads_no_picture(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("height,kind\n" + "".join(f"{150 + i % 40},k{i % 2}\n" for i in range(60)))
    dataset = datasets.add(home, path, name=EVIL)
    for page in ("prepare/dataset.py", "prepare/source.py", "train/strategy.py"):
        assert "![x](" not in sound(opened(page, dataset=dataset.id, source="bundled/table-net"))


def test_jobs_with_a_title_of_markdown_load_no_picture(home: Home) -> None:
    store, study = open_store(home), "0123456789abcdef"
    reading = store.submit("ingest", {"path": "/x", "look": True}, title=f"Read {EVIL}", key="read")
    assert "![x](" not in sound(opened("prepare/dataset.py", draft=reading.id))
    store.cancel(reading.id)
    folder = home.studies / study
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text("dataset: 0123456789abcdef\nsources: []\nstrategies: [linear_probe]\n")
    job = store.submit("study", {"study": study}, title=EVIL, key=study)
    app = opened("train/runs.py", study=study)
    assert "![x](" not in sound(app) and "evil.example" in app.title[0].value
    store.cancel(job.id)
    app = opened("train/runs.py", study=study)
    assert "![x](" not in sound(app) and app.title[0].value.startswith("Cancelled")


def test_home_says_that_nothing_waits_only_when_nothing_does(home: Home) -> None:
    def worker() -> str:
        app = opened("prepare/home.py")
        sound(app)
        return str(next(metric.delta for metric in app.metric if metric.label == "Worker"))

    assert worker() == "nothing waits"
    open_store(home).submit("ingest", {"path": "/x", "look": True}, title="Read x", key="x")
    assert worker() == "has not begun yet"


def test_a_draft_that_is_gone_is_left_by_its_button(home: Home) -> None:
    store = open_store(home)
    queued = store.submit("ingest", {"path": "/x", "look": True}, title="Read x", key="x")
    job = store.claim(this_process(), "quick", 30.0)
    assert job is not None and store.finish(job, {"ready": True})
    app = opened("prepare/dataset.py", draft=queued.id)
    assert "This draft is gone" in sound(app)
    press(app, "Choose a file")
    assert "This draft is gone" not in sound(app) and "draft" not in app.query_params


def test_a_reading_that_is_still_stopping_is_told_in_a_sentence(home: Home) -> None:
    def start() -> AppTest:
        app = opened("prepare/dataset.py")
        return next(button for button in app.button if str(button.key).startswith("sample_")).click().run()

    start()
    job = open_store(home).claim(this_process(), "quick", 30.0)
    assert job is not None
    open_store(home).cancel(job.id)
    assert "is still stopping" in sound(start())
