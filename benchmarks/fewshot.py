"""Eight labels a class on AG News: `python -m benchmarks.fewshot DATA [--draws 10]`.

DATA is a folder with `agnews/agnews_train.csv` and `agnews/agnews_test.csv`. One study runs as `python -m tltools run`
in a home of its own; what each strategy came to is printed and goes to docs/fewshot.md and docs/fewshot.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from pathlib import Path
from statistics import mean, pstdev, stdev
from typing import Any

import yaml
from scipy.special import stdtrit

from benchmarks.known_cases import DOCS, MINILM, _tltools

PUBLISHED = "0.831 ± 0.023"  # SetFit's own raw results for a MiniLM-L6, 10 splits of 8 labels a class
BAR = 0.82  # mean accuracy that SetFit must reach here
SECONDS = 60.0  # that a draw of it may take
STRATEGIES = ("linear_probe", "prototype", "knn", "setfit", {"setfit": {"names": True}})
LABELS = 8  # of each class


def main() -> None:
    """Runs the study, prints the table and writes both documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = _run(Path(folder), asked.data.resolve(), asked.draws)
    (DOCS / "fewshot.json").write_text(json.dumps(found, indent=1) + "\n")
    (DOCS / "fewshot.md").write_text(_page(found))
    print(_page(found))


def _run(folder: Path, data: Path, draws: int) -> dict[str, Any]:
    path = folder / "fewshot.yaml"
    study = {
        "name": "few labels", "dataset": str(data / "agnews/agnews_train.csv"),
        "test": str(data / "agnews/agnews_test.csv"), "target": "label", "inputs": ["title", "description"],
        "sources": [MINILM], "strategies": list(STRATEGIES), "controls": ["classical"], "per_class": [LABELS],
        "draws": draws, "metric": "accuracy",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(study))
    report = _tltools(str(folder), "run", str(path))
    arms: dict[str, list[dict[str, float]]] = {}
    for trial in _tltools(str(folder), "plan", str(path))["trials"]:
        card = json.loads((folder / "home" / "trials" / trial["id"] / "card.json").read_text())
        facts = {"draw": trial["draw"], "labels": card["n_train"], **card["metrics"], "seconds": card["seconds"]}
        named = ", classes' names read" if trial["knobs"].get("names") else ""
        arms.setdefault(trial["strategy"] + named, []).append(facts)
    return {
        "labels_per_class": LABELS, "rows": report["rows"], "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load": round(os.getloadavg()[2], 1), "cores": os.cpu_count(), "published": PUBLISHED, "arms": arms,
    }  # fmt: skip


def _page(found: dict[str, Any]) -> str:
    lines = [
        "# Eight labels a class", "",
        "Written by `python -m benchmarks.fewshot DATA`; AG News is public and not part of this repository.",
        f"Source: MiniLM-L6. {found['labels_per_class']} labels of each of the four classes, the same draws for every "
        f"strategy, settings at their defaults but where a row says otherwise; {found['rows']['test']} test rows. "
        f"Threads: {found['threads']}.",
        f"Seconds are wall clock, of training and of predicting the test rows; {found['cores']} cores, mean load "
        f"{found['load']} in the last quarter of an hour.", "",
        "| strategy | accuracy | deviation of draws | least | log loss | seconds a draw | longest |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, trials in found["arms"].items():
        accuracy, seconds = [one["accuracy"] for one in trials], [one["seconds"] for one in trials]
        lines.append(
            f"| {name} | {mean(accuracy):.3f} | {pstdev(accuracy):.3f} | {min(accuracy):.3f} | "
            f"{mean(one['log_loss'] for one in trials):.3f} | {mean(seconds):.1f} | {max(seconds):.1f} |"
        )
    trials = found["arms"]["setfit"]
    score, longest = mean(one["accuracy"] for one in trials), max(one["seconds"] for one in trials)
    half = math.inf  # one draw says nothing of others
    if len(trials) > 1:
        error = stdev(one["accuracy"] for one in trials) / len(trials) ** 0.5
        half = error * float(stdtrit(len(trials) - 1, 0.975))
    lines += ["", f"SetFit, {len(trials)} draws: mean accuracy {score:.3f} (95 % interval over draws "
              f"{score - half:.3f} to {score + half:.3f}), asked for {BAR:.2f}: "
              f"{'reached' if score >= BAR else 'missed'}. Longest draw {longest:.0f} s, asked for at most "
              f"{SECONDS:.0f} s: {'kept' if longest <= SECONDS else 'exceeded'}. Its authors' raw results with a "
              f"MiniLM-L6 on AG News: {found['published']} (10 splits of their own, all test rows).", ""]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
