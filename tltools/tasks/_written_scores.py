"""Formulas of the metrics of written texts: chrF and BLEU by sacrebleu, ROUGE by rouge-score, lengths, repetition."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tltools.tasks import Metric

Array = NDArray[Any]
Rouge = Literal["rouge1", "rouge2", "rougeL"]

ORDERS = 4  # of the runs of words that BLEU counts
RUN = 3  # words in a run that counts as repeated
_WORD = re.compile(r"\w+")


class Words:
    """How texts are cut for ROUGE: as in the original script, but letters of all scripts are kept."""

    def tokenize(self, text: str) -> list[str]:
        """Words in small letters."""
        return _WORD.findall(text.lower())


def chrf_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) sentence chrF (letters up to runs of 6, beta 2), 0..1."""
    chrf = _chrf()
    return np.array([chrf.sentence_score(said, [one]).score / 100 for one, said in zip(truth, outputs, strict=True)])


def rouge_by_row(kind: Rouge) -> Callable[[Array, Array], Array]:
    """A function for the (M,) F1 of a kind of ROUGE, 0..1."""

    def by_row(truth: Array, outputs: Array) -> Array:
        rouge = _rouge(kind)
        return np.array(
            [rouge.score(one, said)[kind].fmeasure for one, said in zip(truth, outputs, strict=True)], np.float64
        )

    return by_row


def length_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) words of the shorter of reference and output for each word of the longer: 1 where they are equally long."""
    counts = np.array([[len(one.split()), len(said.split())] for one, said in zip(truth, outputs, strict=True)])
    return np.asarray(counts.min(1) / counts.max(1).clip(min=1))


def fresh_by_row(truth: Array, outputs: Array) -> Array:
    """(M,) minus the share of an output's runs of three words that it has said before."""
    return np.array([-_repeated(said.lower().split()) for said in outputs], np.float64)


def bleu(truth: Array, outputs: Array) -> float:
    """BLEU of all rows together, 0..1, as sacrebleu computes it (tokens of 13a, exponential smoothing)."""
    return _bleu_of(_counts(truth, outputs).sum(0))


def bleu_influence(truth: Array, outputs: Array) -> Array:
    """(M,) pseudo-values of BLEU: the score, and the first-order effect of one more row like this one."""
    counts = _counts(truth, outputs)
    total, score = counts.sum(0), _bleu_of(counts.sum(0))
    slope = np.zeros_like(total)
    for order in range(ORDERS):
        right, seen = order, ORDERS + order
        if total[right] > 0:
            slope[right], slope[seen] = 1 / (ORDERS * total[right]), -1 / (ORDERS * total[seen])
    said, wanted = total[-2:]
    if 0 < said < wanted:  # the penalty of outputs that are too short
        slope[-2] += wanted / said**2
        slope[-1] -= 1 / said
    return np.asarray(score + len(counts) * score * (counts @ slope))


def _bleu_of(total: Array) -> float:
    from sacrebleu.metrics.bleu import BLEU

    right, seen = [int(x) for x in total[:ORDERS]], [int(x) for x in total[ORDERS : 2 * ORDERS]]
    found = BLEU.compute_bleu(right, seen, int(total[-2]), int(total[-1]), smooth_method="exp")
    return float(found.score) / 100


def _counts(truth: Array, outputs: Array) -> Array:
    """(M, 2 * ORDERS + 2): right runs of words by length, all runs by length, words of output and reference."""
    from sacrebleu.metrics.bleu import BLEU

    one_row = BLEU(effective_order=True)
    found = [one_row.sentence_score(said, [one]) for one, said in zip(truth, outputs, strict=True)]
    rows = [[*row.counts, *row.totals, row.sys_len, row.ref_len] for row in found]
    return np.array(rows, np.float64).reshape(len(found), 2 * ORDERS + 2)


def _repeated(words: list[str]) -> float:
    runs = [tuple(words[k : k + RUN]) for k in range(len(words) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@functools.cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@functools.cache
def _rouge(kind: Rouge) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=Words())


def mean(by_row: Callable[[Array, Array], Array], sign: int = 1) -> Callable[[Array, Array], float]:
    """The score whose values by row, higher is better, `by_row` gives."""
    return lambda truth, outputs: sign * float(by_row(truth, outputs).mean())


CHRF = Metric("chrf", "chrF", True, "share", mean(chrf_by_row), chrf_by_row)
BLEU = Metric("bleu", "BLEU", True, "share", bleu, influence=bleu_influence)
ROUGE_1 = Metric("rouge1", "ROUGE-1", True, "share", mean(rouge_by_row("rouge1")), rouge_by_row("rouge1"))
ROUGE_2 = Metric("rouge2", "ROUGE-2", True, "share", mean(rouge_by_row("rouge2")), rouge_by_row("rouge2"))
ROUGE_L = Metric("rouge_l", "ROUGE-L", True, "share", mean(rouge_by_row("rougeL")), rouge_by_row("rougeL"))
LENGTH = Metric("length", "Length, shorter to longer", True, "share", mean(length_by_row), length_by_row, judges=False)
REPETITION = Metric("repetition", "Repetition", False, "share", mean(fresh_by_row, -1), fresh_by_row, judges=False)
