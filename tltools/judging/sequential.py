"""Draws that need not be run: claims so sure before the last draw that looking early hardly costs anything.

The rule is that of Haybittle (1971) and Peto et al. (1976): at every look before the last a claim must hold at 0.1 %,
and the last is judged as if nobody had looked. A look adds at most 0.001 to the 5 % of false verdicts of a study, all
its comparisons together; `benchmarks/judge.py` measures by how much it really does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from tltools.judging.gain import measure
from tltools.judging.multiplicity import AgainstBest

Array = NDArray[Any]

LEAST = 3  # draws before the first look
EARLY = 0.001  # of wrong claims at a look, over all comparisons of a study


def decided(found: Sequence[AgainstBest], comparisons: int) -> list[bool]:
    """Which comparisons need no further draw; `comparisons` is how many the whole study asks for (Bonferroni)."""
    level = EARLY / max(comparisons, 1)
    return [one.found.draws >= LEAST and min(one.p_values().values()) <= level for one in found]


def beaten(best: Array, other: Array, rivals: int, *, scale: float | None = None) -> bool:
    """Whether a rival of the best control seen surely is not the best itself: (draws, rows) scores of both."""
    enough = len(best) >= LEAST
    return enough and measure(best, other, scale=scale).above(0.0) >= 1 - EARLY / max(rivals, 1)
