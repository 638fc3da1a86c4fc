"""Calibration before and after temperature scaling: `python -m benchmarks.calibration DATA`.

DATA is a folder with `sst2` and `hymenoptera` beside the weights, under their usual names. Each study trains long
enough to make an arm too sure of itself. What tltools stores is scaled already by a temperature fitted on validation
rows; the output before that is p to the power of the temperature, renormalised. Both are judged on the same test rows.
The table goes to docs/calibration.md and docs/calibration.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ground
from benchmarks.known_cases import DOCS
from tltools import datasets, sources, studies
from tltools.home import Home
from tltools.judging import calibration
from tltools.records import Dataset, Study
from tltools.reports import cards, views

LONG: dict[str, Any] = {"epochs": 15, "patience": 0, "rates_tried": 1}
LABELS = (64, 512)  # of each class, texts
BAR = 0.5  # of the error before, at most


def main() -> None:
    """Runs both studies, prints the table and writes both documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data.resolve()
    found: list[dict[str, Any]] = []
    with ground.fresh_home() as home:
        texts = datasets.add(home, data / "sst2/sst2_train.csv", test=data / "sst2/sst2_test.csv", target="label")
        found += _study(home, texts, ground.MINILM, {"learning_rate": 1e-4, **LONG}, {"per_class": LABELS})
        images = datasets.add(
            home, data / "hymenoptera/hymenoptera_train.zip", test=data / "hymenoptera/hymenoptera_val.zip"
        )
        source = sources.add(home, data / "weights/mobilenetv2-035-imagenet", name="mobilenetv2-035",
                             architecture="timm/mobilenetv2_035")  # fmt: skip
        found += _study(home, images, source.id, LONG, {"fractions": (1.0,)})
    (DOCS / "calibration.json").write_text(json.dumps(found, indent=1) + "\n")
    (DOCS / "calibration.md").write_text(_page(found))
    print(_page(found))


def _study(
    home: Home, dataset: Dataset, source: str, knobs: dict[str, Any], fields: dict[str, Any]
) -> list[dict[str, Any]]:
    study = Study(dataset=dataset.id, sources=(source,), strategies=({"full_finetune": knobs},), controls=(),
                  draws=3, **fields)  # fmt: skip
    ground.run(home, study)
    found = []
    for trial in studies.expand(home, study):
        card = cards.trial_card(home, trial.id)
        assert card is not None
        _, _, truth, after = views.scored(home, trial.id)
        before = unscaled(after, card["temperature"])
        found.append({
            "dataset": dataset.name, "labels": card["n_train"], "draw": trial.draw, "rows": len(truth),
            "temperature": card["temperature"], "accuracy": float(np.mean(after.argmax(1) == truth)),
            "before": calibration.ece_interval(before, truth), "after": calibration.ece_interval(after, truth),
            "loss_before": _log_loss(before, truth), "loss_after": _log_loss(after, truth),
        })  # fmt: skip
    return found


def unscaled(probabilities: NDArray[Any], temperature: float) -> NDArray[Any]:
    """(M, C) outputs as they were before they were divided by a temperature."""
    logs = temperature * np.log(np.maximum(probabilities.astype(np.float64), calibration.TINY))
    powers = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _log_loss(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, calibration.TINY)).mean())


def _page(found: list[dict[str, Any]]) -> str:
    lines = [
        "# Calibration before and after temperature scaling", "",
        "Written by `python -m benchmarks.calibration DATA`; the datasets are public and not part of this repository.",
        f"Full fine-tuning over {LONG['epochs']} epochs without early stopping. ECE: expected calibration error in "
        "points over 15 equally full bins of the test part, with the basic bootstrap's 95 % interval; small test "
        "parts show some error by chance alone.", "",
        "| dataset | labels | draw | test rows | accuracy | temperature | ECE before | ECE after | after / before | "
        "log loss before | after |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found:
        lines.append(
            f"| {one['dataset']} | {one['labels']} | {one['draw']} | {one['rows']} | {one['accuracy']:.3f} | "
            f"{one['temperature']:.2f} | {_points(one['before'])} | {_points(one['after'])} | "
            f"{one['after'][0] / one['before'][0]:.2f} | {one['loss_before']:.3f} | {one['loss_after']:.3f} |"
        )
    lines.append("")
    for name, labels in dict.fromkeys((one["dataset"], one["labels"]) for one in found):
        same = [one for one in found if (one["dataset"], one["labels"]) == (name, labels)]
        share = mean(one["after"][0] for one in same) / mean(one["before"][0] for one in same)
        lines.append(f"{name}, {labels} labels: mean error after scaling is {share:.2f} of before, asked for at most "
                     f"{BAR:.2f}: {'reached' if share <= BAR else 'missed'}.")  # fmt: skip
    return "\n".join([*lines, ""])


def _points(found: tuple[float, float, float]) -> str:
    return f"{100 * found[0]:.1f} ({100 * found[1]:.1f} to {100 * found[2]:.1f})"


if __name__ == "__main__":
    main()
