"""Entities of a sentence: the tags of its words to spans, and back."""

from __future__ import annotations

from collections.abc import Sequence

from tltools.records import refuse

Span = tuple[int, int, str]
"""First word, the word after the last, and the type of an entity."""

MARKS = "BIESO"


def spans(tags: Sequence[str]) -> list[Span]:
    """Entities of one sentence, tagged in BIO, IOB2 or BIOES.

    An entity ends before O, B or S, after E or S, and where the type changes; I or E after none of its type begins one,
    as in the usual evaluation of CoNLL.

    Raises:
        Refusal: where a tag is neither O nor one of B, I, E, S, a hyphen and a type.
    """
    found: list[Span] = []
    start, kind = 0, ""
    for place, tag in enumerate(tags):
        mark, _, name = tag.partition("-")
        if mark not in MARKS or len(mark) != 1 or (mark == "O") != (not name) or (mark == "O" and tag != "O"):
            raise refuse(
                f"word {place + 1}",
                f"a tag must be O or B-, I-, E- or S- and a type, and this is {tag!r}.",
                "Write the tags as BIO, IOB2 or BIOES.",
            )
        if kind and (mark in "OBS" or name != kind):
            found.append((start, place, kind))
            kind = ""
        if name and not kind:
            start, kind = place, name
        if mark in "ES":
            found.append((start, place + 1, kind))
            kind = ""
    if kind:
        found.append((start, len(tags), kind))
    return found


def tags(entities: Sequence[Span], words: int) -> list[str]:
    """BIO tags of a sentence of so many words.

    Raises:
        Refusal: where an entity is empty, reaches outside the sentence, or overlaps another.
    """
    out = ["O"] * words
    end = 0
    for first, after, kind in sorted(entities):
        where = f"entity {kind!r} of words {first} to {after}"
        if not 0 <= first < after <= words:
            raise refuse(
                where, f"an entity must lie within the {words} words of its sentence.", "Correct its boundaries."
            )
        if first < end:
            raise refuse(where, "entities must not overlap, and this one does.", "Keep one of the two.")
        out[first:after] = [f"B-{kind}", *[f"I-{kind}"] * (after - first - 1)]
        end = after
    return out
