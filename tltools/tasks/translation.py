"""Translation: a text written anew in another language, or in another way of writing."""

from __future__ import annotations

from tltools.records import Column
from tltools.tasks import Task, Written, _written
from tltools.tasks import _written_scores as scores


def recognise(column: Column) -> float:
    """How sure, 0..1: free texts beside other texts; those that sum them up are taken by summarisation."""
    return 0.6 if column.brevity else 0.0


TRANSLATION = Task(
    key="translation",
    title="Translation",
    recognise=recognise,
    classes=_written.classes,
    encode=_written.encode,
    problems=_written.problems,
    width=_written.width,
    closed_form=None,
    loss=_written.loss,
    decode=_written.decode,
    frame=_written.frame,
    metrics=(scores.CHRF, scores.BLEU, scores.ROUGE_L, scores.LENGTH, scores.REPETITION),
    written=Written(
        read_frame=_written.read_frame,
        cell=_written.cell,
        numbers=_written.numbers,
        classical="word_dictionary",
        prompt="{} =",
        known_as="translation_{}_to_{}",
    ),
    order=7,
)
