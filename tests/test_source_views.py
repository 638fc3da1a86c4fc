"""Cards of the source screen: which of one's own trials become one, and what stands on it."""

from __future__ import annotations

import json

from streamlit.testing.v1 import AppTest

from tltools import artifacts, samples, sources
from tltools.fits import Fit
from tltools.home import Home
from tltools.providers import own_models
from tltools.records import Source
from tltools.ui import source_views


def own(trial: str, labels: int) -> Source:
    return Source(
        id=f"own/{trial}", name="Tiny ResNet tuned on Digits", provider="own", reads="image", family="timm",
        architecture="resnet18", pretraining=f"your own: full_finetune on Digits, {labels:,} labels",
    )  # fmt: skip


def test_of_the_draws_of_one_arm_the_chosen_one_is_the_card() -> None:
    found = [own("b", 1_500), own("a", 1_500), own("c", 20)]
    assert [source.id for source in source_views.thinned(found, ())] == ["own/b"]
    assert [source.id for source in source_views.thinned(found, ("own/a",))] == ["own/a"]


def test_a_chosen_draw_of_few_labels_stays_beside_the_one_of_most() -> None:
    found = [own("b", 1_500), own("c", 20)]
    assert [source.id for source in source_views.thinned(found, ("own/c",))] == ["own/b", "own/c"]


def test_one_s_own_trials_come_after_what_was_taught_elsewhere_and_before_the_untrained(home: Home) -> None:
    given = sources.get(home, "bundled/minilm-l6")
    mine = own("a", 96).model_copy(update={"installed": True, "pretrained": True})
    cards = {one.id: one for one in (mine, sources.get(home, "bundled/tiny-resnet"), given)}
    cells = [Fit(source=id, fits=True, why="") for id in cards]
    data = samples.add(home, "film-notes")
    assert [cell.source for cell in source_views.ordered(data, cells, cards, {})] == [
        given.id, "own/a", "bundled/tiny-resnet",
    ]  # fmt: skip


def test_a_control_from_scratch_is_not_called_a_tuned_source(home: Home) -> None:
    base = sources.get(home, "bundled/minilm-l6").model_dump(mode="json")
    for number, strategy in enumerate(("scratch", "last_block")):
        card = {
            "source": base, "weights": "kept", "backbone_trained": True, "trial": {"strategy": strategy},
            "dataset": {"id": "0" * 16, "name": "City desk"}, "task": "classification",
        }  # fmt: skip
        with artifacts.building(home.trials / f"{number:016x}") as folder:
            (folder / "card.json").write_text(json.dumps(card))
    assert {source.strategy: source.name for source in own_models.listing(home)} == {
        "scratch": "MiniLM-L6 from scratch, tuned on City desk", "last_block": "MiniLM-L6 tuned on City desk",
    }  # fmt: skip


def test_a_source_that_knows_the_classes_says_so_on_its_card() -> None:
    def page(rank: dict[str, float], knows: bool) -> None:
        from tests.test_source_views import own
        from tltools.fits import Fit
        from tltools.ui import source_views

        source = own("a", 20)
        cell = Fit(source=source.id, fits=True, why="", knows=knows)
        source_views.card(source, cell, rank, None, (), "", (128, None), False)

    for rank, knows, said in (
        ({"rank": 1, "as_it_is": 0.7114}, True, ["right on 71.1 % as it is"]),
        ({}, True, ["its own head knows your classes"]),
        ({"rank": 1}, False, []),
    ):
        shown = AppTest.from_function(page, args=(rank, knows)).run()
        assert not shown.exception
        captions = [one.value for one in shown.caption if "knows your classes" in one.value]
        assert len(captions) == len(said) and all(part in captions[0] for part in said)


def test_a_strategy_that_keeps_the_sources_head_is_drawn_without_a_new_one() -> None:
    def page(key: str) -> None:
        from tltools.strategies import strategies
        from tltools.ui import strips

        strategy = strategies()[key]
        strips.draw(strategy.layout(3, {}), own_head=strategy.own_head)

    for key, head, new in (("zero_shot", "its own head", 0), ("linear_probe", "one new head", 1)):
        shown = AppTest.from_function(page, args=(key,)).run()
        assert not shown.exception
        (drawn,) = shown.get("html")
        assert f"3 blocks: 3 frozen, 0 trained; {head}." in drawn.proto.body and drawn.proto.body.count("tl-new") == new
