"""Every task and domain of transfer on public data, beside its bar: `python -m benchmarks tasks --data DATA`.

The studies are those of `benchmarks.known_cases`; the table of what they came to goes to docs/results.md. With
`--quick` nothing runs: the table is written from what docs/known_cases.json holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import known_cases

BUSY = 3.0  # load from which minutes say little
MINUTES = 15  # that a study may take on two cores


@dataclass(frozen=True)
class Wanted:
    """What a study is to show: of the arm, at its most labels, or the words that its verdicts may be."""

    title: str
    strategy: str
    bar: float | None = None  # least score of the arm
    words: tuple[str, ...] = ()  # what the verdict may be; any where there are none


STUDIES = {
    "bccd": Wanted("detection of blood cells", "full_finetune", 0.90, ("positive",)),
    "camvid": Wanted("segmentation of streets", "full_finetune", 0.40, ("positive",)),
    "wikiann": Wanted("entities, English", "full_finetune", 0.66, ("positive",)),
    "wikiann-de-0": Wanted("entities, trained on English, judged on German", "full_finetune"),
    "wikiann-de": Wanted("entities, 200 German sentences, sources with and without English entities", "full_finetune"),
    "wnut17": Wanted("entities of odd texts", "full_finetune"),
    "xquad": Wanted("questions, English, half of the labels", "full_finetune"),
    "multi30k": Wanted("translation, English to German", "full_finetune"),
    "scitldr": Wanted("summaries of papers in a sentence", "linear_probe"),
    "agnews-titles": Wanted("titles of news", "linear_probe"),
    "fsdd": Wanted("spoken digits on an image network", "full_finetune", 0.98, ("positive",)),
    "fsdd-language": Wanted("spoken digits on a language model", "frozen_transformer"),
    "promoters": Wanted("DNA", "linear_probe"),
    "promoters-tokens": Wanted("DNA, k-mers as tokens of a frozen language model", "frozen_transformer"),
    "khan-srbct": Wanted("gene expression", "full_finetune"),
    "heart": Wanted("one hospital to another", "full_finetune"),
    "adult": Wanted("rows as text", "linear_probe", None, ("negative", "leaning_negative", "neutral")),
    "german-credit": Wanted("rows as text", "linear_probe"),
    "german-credit-tokens": Wanted("cells as tokens of a frozen language model", "frozen_transformer"),
    "student-por": Wanted("rows as text, a number", "full_finetune"),
}


def main(data: Path, *, run: bool) -> None:
    """Runs the studies where asked, and writes docs/results.md."""
    if run:
        known_cases.main([str(data), *STUDIES])
    found = json.loads((known_cases.DOCS / "known_cases.json").read_text())
    (known_cases.DOCS / "results.md").write_text(page(found))


def page(found: dict[str, Any]) -> str:
    """The table: one row per study that was run, its arm at the most labels beside every control."""
    lines = [
        "# Every task and domain of transfer", "",
        "Written by `python -m benchmarks tasks --data DATA`; every arm and share stands in known_cases.md. One study",
        "alone: `python -m benchmarks.known_cases DATA STUDY`. Scores: test part, most labels, 95 % intervals.",
        f"Bars: a score, a verdict, and at most {MINUTES} minutes a study on two cores. Minutes are wall clock; where",
        f"more than {BUSY:g} processes shared the cores, their mean number in the last quarter of an hour is said, and",
        "the CPU's instructions where they are not AVX-512, without which networks take longer. Bars are of",
        "the study's metric; what the task's other metrics say stands beside it where that was judged, too.", "",
        "| study | what | metric | labels | arm | score | controls | verdict | minutes | bar | measured |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_row(name, wanted, found[name]) for name, wanted in STUDIES.items() if name in found]
    missing = [name for name in STUDIES if name not in found]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def _row(name: str, wanted: Wanted, case: dict[str, Any]) -> str:
    most = max(arm["n_train"] for arm in case["arms"])
    last = [arm for arm in case["arms"] if arm["n_train"] == most]
    own = [arm for arm in last if arm["strategy"] == wanted.strategy]
    arm = max(own, key=lambda one: _good(case, one))
    same = ("source", "strategy", "n_train")
    verdict = next(v for v in case["verdicts"] if all(v[key] == arm[key] for key in same))
    others = ", ".join(f"{one['strategy']} {one['score']:.3f}" for one in last if one["kind"] == "control")
    told = [f"load {case['load']:.1f}"] if case.get("load", 0.0) > BUSY else []
    told += [case["cpu"]] if case.get("cpu", "AVX512") != "AVX512" else []
    under = f" ({', '.join(told)})" if told else ""
    interval = f"({verdict['low']:+.3f} to {verdict['high']:+.3f})"
    again = [one for one in case.get("other_metrics") or () if all(one[key] == arm[key] for key in same)]
    by = "".join(f"; by {one['metric']} {_word(one)}: {one['gain']:+.3f}" for one in again)
    return (
        f"| {name} | {wanted.title} | {case['metric']} | {most} | {arm['title']} | {arm['score']:.3f} "
        f"({arm['low']:.3f} to {arm['high']:.3f}) | {others} | {_word(verdict)}: {verdict['gain']:+.3f} "
        f"{interval}{by} | {case['seconds'] / 60:.1f}{under} | "
        f"{'; '.join(_bars(wanted, arm, verdict, case))} | {case['measured']} |"
    )


def _word(verdict: dict[str, Any]) -> str:
    return str(verdict["verdict"]).replace("_", " ")


def _good(case: dict[str, Any], arm: dict[str, Any]) -> float:
    same = ("source", "strategy", "n_train")
    return max((v["gain"] for v in case["verdicts"] if all(v[key] == arm[key] for key in same)), default=0.0)


def _bars(wanted: Wanted, arm: dict[str, Any], verdict: dict[str, Any], case: dict[str, Any]) -> list[str]:
    """What was asked for, and whether it was reached."""
    said = []
    if wanted.bar is not None:
        said.append(f"score {wanted.bar:.2f}: {'reached' if arm['score'] >= wanted.bar else '**missed**'}")
    if wanted.words:
        reached = verdict["verdict"] in wanted.words
        said.append(f"{' or '.join(wanted.words).replace('_', ' ')}: {'reached' if reached else '**missed**'}")
    said.append(f"time: {'kept' if case['seconds'] <= 60 * MINUTES else '**exceeded**'}")
    return said
