"""The benchmark of rows as text: it writes rows as the modality does, and takes away what rows have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import rows_as_text
from tltools.modalities import modalities


def test_the_form_that_was_taken_is_the_one_of_the_modality() -> None:
    table = pd.DataFrame({"age": [39.0, np.nan], "rate": [0.25, 12.0], "job": ["clerk", "nurse"]})
    rows = [list(zip(table.columns, row, strict=True)) for row in table.to_numpy(object)]
    taken = modalities()["tabular"].views["text"](table, list(table.columns), Path(), {})
    assert (
        rows_as_text.written(rows, "column value, ...")
        == taken
        == ["age 39, rate 0.25, job clerk", "rate 12, job nurse"]
    )
    assert rows_as_text.written(rows, "column is value; ...")[1] == "rate is 12; job is nurse"


def test_what_rows_have_in_common_is_gone() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=16)
    features = rng.normal(size=(50, 16)) + 5 + np.outer(rng.normal(size=50) * 30, common)
    left = rows_as_text.without_common(features)
    assert np.abs(left.mean(0)).max() < 1e-4 and np.linalg.matrix_rank(left, tol=1e-3) == 15
    assert np.abs(left).std() < 2 < features.std()
