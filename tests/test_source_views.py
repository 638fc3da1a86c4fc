"""Cards of the source screen: which of one's own trials become one, and what stands on it."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

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
