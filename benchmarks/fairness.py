"""Whether a remedy narrows the gap between groups, and what it costs: `python -m benchmarks.fairness DATA [CASE ...]`.

DATA is a folder with the datasets under their usual names (see `CASES`). One study a case, in a home of its own; gaps,
balanced accuracies and their differences from the plain linear probe go to docs/fairness.md and docs/fairness.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.known_cases import DOCS, MINILM
from tltools import datasets, reports, studies
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.judging import fairness
from tltools.judging.gain import Gain, measure
from tltools.records import Study
from tltools.reports.readings import read
from tltools.store import open_store
from tltools.tickets import QuietTicket

PLAIN = "linear_probe"
REMEDIES = ("reweighting", "group_balanced", "group_dro", "group_thresholds")
MARGIN = 0.01
ODDS = "equalized_odds_difference"
COMPAS = ["age", "sex", "race", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count",
          "c_charge_degree", "c_charge_desc"]  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "compas": {"file": "compas/compas_two_years.csv", "target": "two_year_recid", "inputs": COMPAS,
               "sensitive": "race", "fractions": (0.5,)},
    "adult": {"file": "adult/income_evaluation.csv", "target": "income", "inputs": None, "sensitive": "sex",
              "fractions": (0.05,)},
}  # fmt: skip


def main() -> None:
    """Runs the cases and writes the documents; a case that was not asked for keeps what an earlier run found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("cases", nargs="*", help=f"from {', '.join(CASES)}; all without")
    parser.add_argument("--draws", type=int, default=5)
    asked = parser.parse_args()
    stored = DOCS / "fairness.json"
    found: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    for name in asked.cases or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            home = open_home(folder)
            dataset = datasets.add(home, asked.data / case["file"], target=case["target"], inputs=case["inputs"])
            found[name] = judged(home, dataset.id, case["sensitive"], case["fractions"], asked.draws)
        stored.write_text(json.dumps(found, indent=1) + "\n")
        (DOCS / "fairness.md").write_text(page(found))
        print(page({name: found[name]}), flush=True)


def judged(
    home: Home, dataset_id: str, sensitive: str, fractions: tuple[float, ...], draws: int, source: str = MINILM
) -> dict[str, Any]:
    """Runs the plain probe and the remedies on a dataset, and compares each remedy with the plain probe, paired."""
    study = studies.settle(home, Study(
        dataset=dataset_id, sources=(source,), strategies=(PLAIN, *REMEDIES), controls=("classical",),
        fractions=fractions, draws=draws, sensitive=(sensitive,), metric="balanced_accuracy", margin=MARGIN,
    ))  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    dataset, split = studies.split_of(home, study)
    metric = reports.metric_of(study, dataset)
    readings = read(home, dataset, metric, studies.expand(home, study))
    names = fairness.groups_of(datasets.rows(home, dataset.id), (sensitive,))
    groups = names[readings.rows]
    kept, few = fairness.judged(groups)
    cells = {arm.strategy: cell for (arm, _), cell in readings.cells.items()}
    said = {key: np.stack([cell.said[draw] for draw in cell.draws]) for key, cell in cells.items()}
    assert metric.influence or metric.per_row
    values = metric.influence or metric.per_row
    wide = np.eye(len(dataset.classes))
    scores = {key: np.stack([values(readings.truth, wide[one]) for one in arm]) for key, arm in said.items()}  # type: ignore[misc]
    truth, classes = readings.truth[kept], len(dataset.classes)
    others = (*REMEDIES, "classical")
    by_row = fairness.resampled(groups[kept], fairness.enough(2 * len(others)))  # of both differences
    again = {
        key: fairness.replicated(truth, said[key][:, kept], groups[kept], classes, by_row=by_row)
        for key in (PLAIN, *others)
    }
    moved = [(key, gap) for key in others for gap in fairness.moved(again[key], again[PLAIN], MARGIN)]
    words = fairness.together([gap for _, gap in moved])
    told = {key: (gap, word) for (key, gap), word in zip(moved, words, strict=True) if gap.metric == ODDS}
    arms = []
    for key in (PLAIN, *others):
        (gap,) = [g for g in fairness.gaps(again[key]) if g.metric == ODDS]
        row = {
            "arm": key,
            "score": _bounds(measure(scores[key], np.zeros_like(scores[key]))),
            "gap": [gap.value, gap.low, gap.high],
        }
        if key != PLAIN:
            delta, word = told[key]
            row |= {"moved": [delta.value, delta.low, delta.high], "verdict": word, "alone": delta.verdict,
                    "cost": _bounds(measure(scores[key], scores[PLAIN]))}  # fmt: skip
        arms.append(row)
    return {"sensitive": sensitive, "draws": draws, "fraction": fractions[0], "rows": len(readings.rows),
            "labels": cells[PLAIN].cards[0]["n_train"], "left_out": few, "groups": fairness.sizes(groups),
            "arms": arms}  # fmt: skip


def _bounds(gain: Gain) -> list[float]:
    return [gain.gain, gain.bound(0.025), gain.bound(0.975)]


def page(found: dict[str, Any]) -> str:
    """The document, of what each case came to."""
    lines = [
        "# Remedies for a gap between groups", "",
        "Written by `python -m benchmarks.fairness DATA`; the datasets are public and not part of this repository.",
        "Frozen MiniLM-L6 reads each row as text. Gap: equalised odds difference on the test rows (largest difference "
        "of true or false positive rates between two groups, groups of fewer than 30 test rows left out). Score: "
        "balanced accuracy. 95 % intervals over draws and rows. The last columns are differences from the linear "
        "probe, paired: a gap is narrower or wider where the judge is sure of it beyond a margin of "
        f"{100 * MARGIN:g} point, all differences of a case, in odds and in demographic parity, held back together "
        "(Holm), as in a report.",
        "Resampling widens a largest difference, so the interval of a gap reaches as far below it as above, down to 0; "
        "differences between arms, resampled together, are less touched by that.",
        "`group_thresholds` needs the group of every row that is predicted, the other remedies only while training.",
        "",
    ]  # fmt: skip
    words = {"positive": "wider", "negative": "narrower", "leaning_positive": "leaning wider", "neutral": "the same",
             "leaning_negative": "leaning narrower", "not_enough_evidence": "not enough evidence"}  # fmt: skip
    for name, case in found.items():
        sizes = ", ".join(f"{group.strip()} {rows}" for group, rows in case["groups"].items())
        lines += [f"## {name}, by {case['sensitive'].strip()}", "",
                  f"{case['labels']} labels, {case['draws']} draws, {case['rows']} test rows ({sizes}).", "",
                  "| arm | score | gap | gap moved by | verdict | score moved by |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for arm in case["arms"]:
            moved = (_signed(arm["moved"]), words[arm["verdict"]], _signed(arm["cost"])) if "moved" in arm else [""] * 3
            lines.append(f"| {arm['arm']} | {_plain(arm['score'])} | {_plain(arm['gap'])} | {' | '.join(moved)} |")
        lines.append("")
    return "\n".join(lines)


def _plain(numbers: list[float]) -> str:
    return f"{numbers[0]:.3f} ({numbers[1]:.3f} to {numbers[2]:.3f})"


def _signed(numbers: list[float]) -> str:
    return f"{numbers[0]:+.3f} ({numbers[1]:+.3f} to {numbers[2]:+.3f})"


if __name__ == "__main__":
    main()
