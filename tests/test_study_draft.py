"""What the strategy screen begins from and keeps: a proposal, a draft of one's own, a study that is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from streamlit.testing.v1 import AppTest

from tests import shapes
from tests.test_pages import notes, opened, press, server, sound, wine
from tltools import datasets, sources, studies
from tltools.home import Home
from tltools.records import Budget, Dataset, Study
from tltools.store import open_store
from tltools.ui import study_draft

__all__ = ["notes", "server", "wine"]  # fixtures; every test here runs as in the web server
PAGE = "train/strategy.py"


def on_screen(app: AppTest) -> dict[str, Any]:
    """The fields of the study file that the screen shows."""
    sound(app)
    found: dict[str, Any] = yaml.safe_load(next(code.value for code in app.code if "dataset:" in code.value))
    return found


def go(app: AppTest, page: str) -> AppTest:
    """Another page of the same session, by a click in the menu: the URL keeps its ids."""
    ids = dict(app.query_params)
    app.switch_page(f"pages/{page}")
    for name, value in ids.items():
        app.query_params[name] = value
    return app.run()


def labelled(widgets: Any, label: str) -> Any:
    return next(one for one in widgets if one.label == label)


@pytest.fixture
def asked(wine: Dataset) -> Study:
    """A study of which no setting is a proposal's."""
    return Study(
        dataset=wine.id, sources=("bundled/minilm-l6",), strategies=({"last_block": {"epochs": 3}},), draws=30,
        controls=("scratch", "classical"), fractions=(0.5, 1.0), margin=0.03, metric="accuracy", seed=11,
        group="proline", sensitive=("hue",), adaptive=True, target="grower", task="classification", inputs=wine.inputs,
    )  # fmt: skip


def test_a_study_file_that_is_opened_sets_every_widget(home: Home, wine: Dataset, asked: Study) -> None:
    app = opened(PAGE, dataset=wine.id, source="bundled/minilm-l6")
    assert on_screen(app)["strategies"] != ["last_block"]
    for _ in range(2):  # the same file once more, after a change by hand
        labelled(app.file_uploader, "study.yaml").set_value(("study.yaml", studies.dump(asked).encode(), "text/yaml"))
        press(app.run(), "Open it")
        assert on_screen(app) == yaml.safe_load(studies.dump(asked))
        labelled(app.slider, "Draws").set_value(7).run()
        assert on_screen(app)["draws"] == 7
    press(app, "Run the study")
    kept = studies.load(home, open_store(home).jobs()[0].payload["study"])
    assert kept == asked.model_copy(update={"draws": 7})


def test_a_study_that_is_opened_keeps_its_minutes_its_draws_and_gaps(home: Home, wine: Dataset, asked: Study) -> None:
    own = asked.model_copy(update={"metric": None, "budget": Budget(minutes=7)})
    app = opened(PAGE, study=studies.save(home, own))
    assert on_screen(app) == yaml.safe_load(studies.dump(own)) and "30 draws" in sound(app)
    labelled(app.number_input, "Seed").set_value(12).run()
    assert on_screen(app)["draws"] < 30, "planned anew"
    labelled(app.number_input, "Seed").set_value(11).run()
    assert on_screen(app) == yaml.safe_load(studies.dump(own))
    labelled(app.selectbox, "Metric").set_value("macro_f1").run()
    assert on_screen(app)["metric"] == "macro_f1"


def test_edits_of_an_open_study_outlast_a_look_at_another_page(home: Home, wine: Dataset, asked: Study) -> None:
    id = studies.save(home, asked)
    app = opened(PAGE, study=id)
    labelled(app.slider, "Draws").set_value(7).run()
    go(app, "prepare/source.py")
    assert app.query_params["study"] in (id, [id]), "to look is not to close"
    assert on_screen(go(app, PAGE)) == yaml.safe_load(studies.dump(asked)) | {"draws": 7}
    other = asked.model_copy(update={"draws": 9})
    assert on_screen(opened(PAGE, study=studies.save(home, other)))["draws"] == 9, "a draft is of one study"


def test_a_proposal_that_nobody_changed_follows_the_sources(home: Home, wine: Dataset) -> None:
    first = on_screen(opened(PAGE, dataset=wine.id, source="bundled/table-net"))
    assert (first["strategies"], first["controls"]) == (["full_finetune"], ["classical"])
    then = on_screen(opened(PAGE, dataset=wine.id, source="bundled/minilm-l6"))
    assert "linear_probe" in then["strategies"] and then["controls"] == ["scratch", "random_frozen", "classical"]
    assert then["budget"]["minutes"] is not None, "the draws that its minutes buy are nobody's choice"
    last = on_screen(opened(PAGE, dataset=wine.id, source="bundled/table-net"))
    assert (last["strategies"], last["controls"]) == (["full_finetune"], ["classical"])


def test_a_long_proposal_for_boxes_starts_with_a_time_budget_too(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_draft, "USUAL", 1)
    taught = sources.get(home, "bundled/tiny-resnet").model_copy(update={"pretrained": True})
    monkeypatch.setattr(study_draft, "chosen", lambda *_: ([taught], []))
    dataset = datasets.add(home, shapes.with_boxes(tmp_path / "boxes.zip", 60))
    app = opened(PAGE, dataset=dataset.id, source="bundled/tiny-resnet")
    shown = on_screen(app)
    assert shown["budget"]["minutes"] in study_draft.MINUTES and "multilayer_probe" not in shown["strategies"]


def test_a_draft_goes_on_with_other_sources_and_their_controls(home: Home, wine: Dataset) -> None:
    app = opened(PAGE, dataset=wine.id, source="bundled/table-net")
    app.slider(key="draws").set_value(8).run()
    assert on_screen(opened(PAGE, dataset=wine.id, source="bundled/table-net"))["draws"] == 8
    other = on_screen(opened(PAGE, dataset=wine.id, source="bundled/minilm-l6"))
    assert other["draws"] == 8 and other["controls"] == ["scratch", "random_frozen", "classical"]


def test_columns_that_no_source_reads_are_offered_as_groups(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    lines = [f"note {i} on thing {i * 7 % 13},{'mf'[i % 2]},{'xy'[i // 2 % 2]}" for i in range(90)]
    path.write_text("\n".join(["text,sex,kind", *lines]))
    dataset = datasets.add(home, path, target="kind", inputs=["text"])
    app = opened(PAGE, dataset=dataset.id, source="bundled/minilm-l6")
    sound(app)
    assert app.multiselect(key="sensitive").options == ["sex"]
    app.selectbox(key="group").set_value("sex").run()
    assert on_screen(app)["group"] == "sex"
    back = go(go(app, "prepare/source.py"), PAGE)
    assert on_screen(back)["group"] == "sex" and back.selectbox(key="group").value == "sex"


def test_a_group_that_does_not_exist_is_told_and_not_dropped(home: Home, wine: Dataset, asked: Study) -> None:
    id = studies.save(home, asked.model_copy(update={"group": "cellar"}))
    app = opened(PAGE, study=id)
    assert on_screen(app)["group"] == "cellar" and 'there is no column "cellar"' in sound(app).replace("\\", "")
    plan = next(one.value for one in app.markdown if one.value.startswith(":orange[:material/error:]"))
    assert "there is no column" in plan and " more." not in plan and app.button(key="run_study").disabled


def test_the_plan_stands_in_a_line_beside_its_button(home: Home, wine: Dataset, asked: Study) -> None:
    study = asked.model_copy(update={"sensitive": (), "group": None})
    app, wanted = opened(PAGE, study=studies.save(home, study)), len(studies.expand(home, study))
    assert "1 + 2 controls" in [one.value for one in app.caption]
    plan = next(one.value for one in app.markdown if one.value.startswith(f"**{wanted} trials** · about **"))
    assert "(a guess)" in plan and "points** or more" in plan and not app.button(key="run_study").disabled


def test_one_control_is_counted_as_one(home: Home, wine: Dataset) -> None:
    study = Study(
        dataset=wine.id, sources=("bundled/table-net",), strategies=("full_finetune",), controls=("classical",)
    )
    app = opened(PAGE, study=studies.save(home, study))
    sound(app)
    assert "1 + 1 control" in [one.value for one in app.caption]
