"""Which arms of a study need no more draws: the study stops them early where it asks for that (`adaptive`)."""

from __future__ import annotations

from tltools.judging.sequential import decided
from tltools.reports import figures
from tltools.reports.readings import ArmKey, Readings, Share

Stopped = set[tuple[ArmKey, Share]]


def stopped(found: Readings, margin: float) -> Stopped:
    """Transfer arms that are decided; controls that cannot be the best, or that nothing is compared with any more."""
    asked = [key for key in found.cells if key[0].kind == "transfer"]
    judged = figures.judge_all(found, margin)
    sure = decided([one.found for one in judged], len(asked))
    done: Stopped = {(one.cell.arm, one.cell.share) for one, enough in zip(judged, sure, strict=True) if enough}
    for share in found.shares():
        controls = found.of_kind("control", share)
        over = all(key in done for key in asked if key[1] == share)
        done |= {(arm, share) for arm in (controls if over else figures.out_of_reach(controls, found.scale))}
    return done
