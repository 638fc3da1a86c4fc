"""Entities: schemes read alike, spans and tags are inverse, F1 equals the hand's, influence predicts a left-out row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltools.entities import Span, spans, tags
from tltools.records import Refusal
from tltools.tasks._entity_scores import counts, f1, f1_influence


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Entities that do not overlap, and the number of words."""
    place, found = 0, []
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "LOC", "a-b"])))
    ):
        found.append((place + gap, place + gap + length, kind))
        place += gap + length
    return found, place + draw(st.integers(0, 2))


@given(sentences())
def test_spans_and_tags_are_inverse(case: tuple[list[Span], int]) -> None:
    entities, words = case
    assert spans(tags(entities, words)) == entities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("B-PER E-PER O S-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("S-PER S-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("I-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
        ("O I-PER I-PER", [(1, 3, "PER")]),
        ("", []),
    ],
)
def test_every_scheme_is_read(text: str, expected: list[Span]) -> None:
    assert spans(text.split()) == expected


@pytest.mark.parametrize("tag", ["PER", "B-", "B", "O-PER", "O-", "X-PER", "", "BI-PER", "-PER"])
def test_an_unknown_tag_is_refused_with_its_place(tag: str) -> None:
    with pytest.raises(Refusal, match="word 2"):
        spans(["O", tag])


@pytest.mark.parametrize("entities", [[(0, 2, "A"), (1, 3, "B")], [(2, 5, "A")], [(1, 1, "A")], [(-1, 1, "A")]])
def test_entities_that_do_not_fit_are_refused(entities: list[Span]) -> None:
    with pytest.raises(Refusal, match="entit"):
        tags(entities, 4)


def test_f1_equals_the_hand() -> None:
    truth = [spans(["B-PER", "I-PER", "O", "B-LOC"]), spans(["O", "O"]), spans(["B-ORG"])]
    told = [spans(["B-PER", "I-PER", "O", "B-ORG"]), spans(["O", "B-LOC"]), spans(["B-ORG"])]
    table = counts(truth, told)
    assert table.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 0]]
    assert f1(table) == pytest.approx(4 / 7)
    assert np.isnan(f1(counts([[]], [[]])))


def test_influence_predicts_what_a_left_out_sentence_changes() -> None:
    table = np.random.default_rng(0).integers(0, 4, (400, 3)).astype(float)
    influence = f1_influence(table)
    left_out = np.array([f1(np.delete(table, row, axis=0)) for row in range(len(table))])
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose((len(table) - 1) * (f1(table) - left_out), influence, atol=0.02)
