"""Which of one's own trials become cards of the source screen."""

from __future__ import annotations

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
