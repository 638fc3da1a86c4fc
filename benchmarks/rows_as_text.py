"""How rows of a table should be written for a text model, and whether the common component should go:
`python -m benchmarks.rows_as_text DATA [--rows N]`.

Prints the leave-one-out score (balanced accuracy, R2) of the linear probe on MiniLM's features of labelled rows of
`german-credit`, `student-por` and `adult`; test rows are not read. The common component is the mean and the first
principal direction of the features, which rows of one table share.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tltools import datasets, sources
from tltools.engine import heads
from tltools.engine.backbone import Backbone, load_backbone
from tltools.home import Home, open_home
from tltools.tasks import tasks

FORMS = {
    "column is value; ...": ("{} is {}", "; "),
    "column value, ...": ("{} {}", ", "),
    "column value ...": ("{} {}", " "),
}
TABLES = {
    "german-credit": ("german-credit/german_credit.csv", "class"),
    "student-por": ("student-por/student-por.csv", "G3"),
    "adult": ("adult/income_evaluation.csv", "income"),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=300)
    asked = parser.parse_args(words)
    os.environ["TLTOOLS_OFFLINE"] = "1"
    print("| table | form | tokens | cut | score | without the common component |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(Path(folder))
        backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
        for name, (file, target) in TABLES.items():
            for form in FORMS:
                print(f"| {name} | {form} | {measured(home, backbone, asked.data / file, target, form, asked.rows)} |")


def measured(home: Home, backbone: Backbone, path: Path, target: str, form: str, most: int) -> str:
    """Tokens a row, share of rows that are cut, and both scores, as cells."""
    dataset = datasets.add(home, path, target=target)
    split = datasets.split(home, dataset)
    labelled = np.sort(np.asarray([*split.train, *split.validation], np.int64))
    rows = np.sort(np.random.default_rng(0).permutation(labelled)[:most])
    cells = datasets.rows(home, dataset.id)[list(dataset.inputs)].iloc[rows]
    encoded = backbone.encode(
        written([list(zip(cells.columns, row, strict=True)) for row in cells.to_numpy(object)], form)
    )
    with torch.inference_mode():
        parts = [
            backbone(encoded.take(part)).numpy() for part in np.array_split(np.arange(len(rows)), len(rows) // 32 + 1)
        ]
    features, targets = np.concatenate(parts), datasets.target(home, dataset)[rows]
    cut = float((encoded.lengths >= backbone.limit).mean())
    scores = [
        heads.fit_many(
            held, targets, [np.arange(len(rows))], tasks()[dataset.task].closed_form, classes=len(dataset.classes)
        )[0]
        for held in (features, without_common(features))
    ]
    said = " | ".join(f"{head.loo_score:.3f}" for head in scores)
    return f"{encoded.lengths.mean():.0f} | {100 * cut:.0f} % | {said}"


def written(rows: Sequence[Sequence[tuple[str, object]]], form: str) -> list[str]:
    """Rows of (column, value) in one of the forms; what is missing is left out."""
    each, between = FORMS[form]
    return [between.join(each.format(name, _said(value)) for name, value in row if value == value) for row in rows]


def _said(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def without_common(features: np.ndarray) -> np.ndarray:
    """(N, D) features without their mean and their first principal direction."""
    centred = features - features.mean(0)
    (first,) = np.linalg.svd(centred, full_matrices=False)[2][:1]
    return np.asarray(centred - np.outer(centred @ first, first), np.float32)


if __name__ == "__main__":
    main()
