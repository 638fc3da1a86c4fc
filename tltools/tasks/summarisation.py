"""Summarisation: a short text that says what a longer one is about."""

from __future__ import annotations

from tltools.records import Column
from tltools.tasks import Task, Written, _written
from tltools.tasks import _written_scores as scores

SHORT = 0.6  # words for each word of the text, up to which it is summed up
SAME = 0.3  # share of its words that the text has, too: of translations it is about 0.05


def recognise(column: Column) -> float:
    """How sure, 0..1: free texts much shorter than the other texts of their rows, and in their words."""
    return 0.9 if 0 < column.brevity <= SHORT and column.copied >= SAME else 0.0


SUMMARISATION = Task(
    key="summarisation",
    title="Summarisation",
    recognise=recognise,
    classes=_written.classes,
    encode=_written.encode,
    problems=_written.problems,
    width=_written.width,
    closed_form=None,
    loss=_written.loss,
    decode=_written.decode,
    frame=_written.frame,
    metrics=(scores.ROUGE_L, scores.ROUGE_1, scores.ROUGE_2, scores.CHRF, scores.LENGTH, scores.REPETITION),
    written=Written(
        read_frame=_written.read_frame,
        cell=_written.cell,
        numbers=_written.numbers,
        classical="lead_words",
        tokens=256,
        once=3,
        prompt="{}\nTL;DR:",
        known_as="summarization",
    ),
    order=8,
)
