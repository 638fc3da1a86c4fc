"""Sequences over a small alphabet (DNA, protein, events): recognised, and read as k-mers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

MOST_LETTERS = 20  # of an alphabet that is not the amino acids': words that are run together have more
LEAST_LENGTH = 20  # letters of a mean sequence; shorter ones are words and codes
FEW_LETTERS, LEAST_SHORT = 6, 8  # letters of an alphabet, or amino acids, of which also short sequences are taken
MOST_WORDS = 130  # different k-mers: all of them occur often enough to be learned
LONG = 100  # letters of the median sequence above which k-mers do not overlap: a text source reads about as many words
_AMINO_ACIDS = frozenset("ACDEFGHIKLMNPQRSTVWYX*")  # X: unknown, *: stop
_RARE_AMINO_ACIDS = frozenset("BUZ")  # in long sequences
_CELL = re.compile(r"[A-Z*]+|[a-z*]+")


def alphabet(cells: Sequence[str]) -> str:
    """Returns the sorted upper-case letters of cells that are sequences; "" where they are something else.

    Each cell must be one word of letters (and `*`) of one case; base64 mixes cases, and most codes hold digits. One
    cell in fifty may be something else.
    """
    taken = [cell for cell in cells if _CELL.fullmatch(cell)]
    if not taken or len(taken) < 0.98 * len(cells):
        return ""
    letters = letters_of(taken)
    short = len(letters) <= FEW_LETTERS or letters <= _AMINO_ACIDS
    mean = sum(map(len, taken)) / len(taken)
    long = len(letters) <= MOST_LETTERS or letters <= _AMINO_ACIDS | _RARE_AMINO_ACIDS
    taken_for_one = short and mean >= LEAST_SHORT or long and mean >= LEAST_LENGTH
    return "".join(sorted(letters)) if taken_for_one and len(letters) >= 2 else ""


def letters_of(cells: Sequence[str]) -> frozenset[str]:
    """Returns the upper-case letters of those cells that are one word of letters of one case."""
    return frozenset("".join(cell for cell in cells if _CELL.fullmatch(cell)).upper())


def reading_of(letters: int, length: float) -> dict[str, float]:
    """Chooses how sequences over so many letters, of this median length, are read.

    Returns {"letters": size of the alphabet, "k": letters of a word, "step": letters from one word to the next}: the
    longest words of which there are at most 130 (3 for DNA, 1 for proteins, 7 for two kinds of events), overlapping
    where the median sequence has at most 100 letters.
    """
    k = max(1, int(math.log(MOST_WORDS) / math.log(max(letters, 2))))
    return {"letters": float(letters), "k": float(k), "step": 1.0 if length <= LONG else float(k)}


def kmers(sequence: str, reading: Mapping[str, float]) -> str:
    """Returns the upper-case words of a sequence, blanks between; of one that does not divide by the step, the last
    word is shorter. Parts that blanks divide are cut each by itself."""
    k, step = int(reading["k"]), int(reading["step"])
    words = []
    for part in sequence.upper().split():
        stop = len(part) if step > 1 else max(len(part) - k + 1, 1)
        words += [part[start : start + k] for start in range(0, stop, step)]
    return " ".join(words)


def lit(words: Sequence[str], k: int) -> np.ndarray:
    """Returns (T, 27 k) uint8: of each word its k letters, each as a 1 in one of 27 places (A to Z, then *). What is
    no letter, and what a shorter word lacks, lights none; without a word there is one dark row."""
    table = np.zeros((128, 27), np.uint8)
    for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ*"):
        table[ord(letter), place] = 1
    letters = "".join(word.ljust(k) for word in words or [""]).encode("ascii", "replace").replace(b"?", b" ")
    return table[np.frombuffer(letters, np.uint8)].reshape(-1, 27 * k)
