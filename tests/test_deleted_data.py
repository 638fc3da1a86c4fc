"""A study whose dataset was deleted: its report can still be read, and what needs the rows says that they are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bad_files import GOOD, file
from tests.test_pages import PAGES, judged, notes, opened, press, server, sound
from tltools import artifacts, datasets, sources, studies
from tltools.home import Home
from tltools.providers import own_models
from tltools.records import Dataset

__all__ = ["judged", "notes", "server"]  # fixtures; every test here runs as in the web server


def test_the_report_is_read_without_the_rows(home: Home, notes: Dataset, judged: str) -> None:
    datasets.delete(home, notes.id)
    app = opened("judge/compare.py", study=judged)
    text = sound(app)
    assert app.title[0].value.startswith("Transfer helps") and "dataset of this study was deleted" in text
    assert [tab.label for tab in app.tabs] == [
        "All arms",
        "Other metrics",
        "Cost",
        "Learning curves",
        "Groups",
        "Problems",
    ]


@pytest.mark.parametrize("page", ["judge/explain.py", "judge/predict.py"])
def test_what_needs_the_rows_says_that_they_are_gone(home: Home, notes: Dataset, judged: str, page: str) -> None:
    datasets.delete(home, notes.id)
    app = opened(page, study=judged)
    assert "dataset of this study was deleted" in sound(app)
    press(app, "Open its report")
    assert app.title[0].value.startswith("Transfer helps") and sound(app)


@pytest.mark.parametrize("page", PAGES)
def test_without_a_report_every_page_stands(home: Home, notes: Dataset, judged: str, page: str) -> None:
    (home.studies / judged / "report.json").unlink()
    datasets.delete(home, notes.id)
    app = opened(page, study=judged)
    text = sound(app)
    if page.startswith("judge/"):
        assert "It had not come to a verdict" in text
    elif any(button.label == "Go on without it" for button in app.button):
        press(app, "Go on without it")
        assert "Not found" not in sound(app) and "study" not in app.query_params


def test_a_study_without_a_dataset_can_be_left(home: Home, notes: Dataset, judged: str) -> None:
    datasets.delete(home, notes.id)
    app = press(opened("prepare/dataset.py", study=judged), "Go on without it")
    assert app.title[0].value == "Which data?" and studies.listing(home) == [judged]


def test_damaged_and_vanishing_folders_hide_nobody_elses(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = datasets.add(home, file("good.csv", GOOD)(tmp_path))
    card = {
        "source": sources.get(home, "bundled/minilm-l6").model_dump(mode="json"), "weights": "kept", "task": made.task,
        "backbone_trained": True, "trial": {"strategy": "full_finetune"}, "dataset": {"id": made.id, "name": made.name},
    }  # fmt: skip
    for number, content in enumerate((json.dumps(card), "", "{}", '{"source": 7}', None)):
        for parent, name in ((home.datasets, "dataset.json"), (home.trials, "card.json")):
            with artifacts.building(parent / f"{number:016x}") as folder:
                if content is not None:
                    (folder / name).write_text(content)
    assert datasets.listing(home) == [made]
    assert [source.id for source in own_models.listing(home)] == [f"own/{0:016x}"]
    monkeypatch.setattr(artifacts, "sealed", lambda folder: False)  # as one that is deleted while the list is made
    assert datasets.listing(home) == []
