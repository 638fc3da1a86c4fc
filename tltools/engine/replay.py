"""The replay of an export: its script predicts test rows again, without tltools, and must come to the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tltools import datasets
from tltools.engine import export_places, export_words, trial_model
from tltools.engine.trial_model import ClassicalModel, NeuralModel, PlacesModel, WriterModel
from tltools.judging import thresholds
from tltools.modalities import modalities
from tltools.tasks import Written
from tltools.tickets import Ticket

REPLAYED = 500  # test rows that the exported script predicts again, at most
REPLAY_SECONDS = 1200.0
EXACT, ROUNDED = 2e-3, 0.15  # greatest difference of a probability: computed in 32 bits, or partly in bf16
ROUNDED_MEAN = 0.03  # and the mean difference in bf16; numbers: in standard deviations of the truth


Model = NeuralModel | ClassicalModel | PlacesModel | WriterModel


def check(ticket: Ticket, model: Model, folder: Path) -> dict[str, Any]:
    """Runs the exported script on test rows, where tltools cannot be imported, and compares with what was sealed.

    Returns {"rows", "max_difference", "mean_difference", "same_class", "tolerance", "agrees", "note"}. Differences are
    of probabilities; of numbers in standard deviations of the truth; of masks in shares of their pixels; of tags,
    answers and texts in the share of all words; of boxes in score and in shares of the picture, where one that is
    missing counts with its score. A class may differ where the sealed probabilities of two classes lie within the
    tolerance.
    """
    stored = model.stored()
    stored = stored.iloc[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), REPLAYED)).astype(np.int64))]
    with tempfile.TemporaryDirectory(prefix="tltools-replay-") as name:
        given, out = _write_rows(model, stored["row"].to_numpy(), Path(name)), Path(name) / "out.csv"
        said = _run_script(ticket, folder / "predict.py", given, out)
        if said:
            return {"rows": 0, "max_difference": 1.0, "agrees": False, "note": f"predict.py failed: {said}"}
        if objects := model.task.objects:
            if isinstance(objects, Written) or objects.texts:
                apart = export_words.differences(model, stored, out)
            else:
                apart = export_places.differences(model, list(stored["prediction"]), sorted(given.iterdir()), out)
            return _answer(model, len(stored), apart, float((apart <= _tolerance(model)).mean()), True)
        again = pd.read_csv(out, keep_default_na=False)
    tolerance = _tolerance(model)
    if model.dataset.classes:
        columns = [f"p_{k}" for k in range(len(model.dataset.classes))]
        before = stored[columns].to_numpy(np.float64)
        after = again[[f"p_{name}" for name in model.dataset.classes]].to_numpy(np.float64)
        apart = np.abs(before - after).max(1)
        same, close = _decided(before, after, tolerance, several=model.task.several is not None)
        classes = float(same.mean())
        sound = float((same | close).mean()) >= 0.99
    else:
        spread = float(stored["truth"].std()) or 1.0
        apart = np.abs(stored["prediction"].to_numpy() - again["prediction"].to_numpy()) / spread
        classes, sound = 1.0, True
    return _answer(model, len(stored), apart, classes, sound)


def _answer(model: Model, rows: int, apart: np.ndarray, same: float, sound: bool) -> dict[str, Any]:
    greatest, mean = float(apart.max(initial=0.0)), float(apart.mean()) if len(apart) else 0.0
    half = _tolerance(model) == ROUNDED
    how = "The sealed predictions were computed partly in bf16, the script computes in 32 bits." if half else ""
    return {
        "rows": rows,
        "max_difference": greatest,
        "mean_difference": mean,
        "same_class": same,
        "tolerance": _tolerance(model),
        "agrees": bool(sound and greatest <= _tolerance(model) and (not half or mean <= ROUNDED_MEAN)),
        "note": how,
    }


def _tolerance(model: Model) -> float:
    return ROUNDED if not isinstance(model, ClassicalModel) and _rounded(model) else EXACT


def _decided(before: np.ndarray, after: np.ndarray, tolerance: float, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """(rows whose class, or set of labels, is the same; rows that lie so near the border that it need not be)."""
    if several:
        return ((before >= 0.5) == (after >= 0.5)).all(1), np.abs(before - 0.5).min(1) <= tolerance
    pairs = np.sort(before, 1)[:, ::-1]
    close = pairs[:, 0] - pairs[:, 1] <= 2 * tolerance if pairs.shape[1] > 1 else np.ones(len(pairs), bool)
    return before.argmax(1) == after.argmax(1), close


def _rounded(model: NeuralModel | PlacesModel | WriterModel) -> bool:
    """Whether bf16 had a part in the sealed predictions: in the passes, or in the activations they went on from."""
    card = model.card
    return bool(card.get("bf16", model.device.bf16)) or bool(card.get("resumed_from_stage"))


def _write_rows(model: Model, rows: np.ndarray, place: Path) -> Path:
    """The rows as a user would give them: a CSV file, or a folder of files whose names keep the order."""
    if modalities()[model.dataset.modality].files:
        paths = trial_model.picked(datasets.items(model.home, model.dataset, model.dataset.modality), rows)
        folder = place / "files"
        folder.mkdir()
        for k, path in enumerate(paths):
            (folder / f"{k:07d}{Path(str(path)).suffix}").symlink_to(str(path))
        return folder
    names = dict.fromkeys([*model.dataset.inputs, *thresholds.columns(model.card)])
    table = datasets.rows(model.home, model.dataset.id, *names).iloc[rows]
    table.to_csv(place / "rows.csv", index=False)
    return place / "rows.csv"


def _run_script(ticket: Ticket, script: Path, given: Path, out: Path) -> str:
    """Runs `python predict.py given out` with tltools out of reach; returns what went wrong, or ""."""
    code = (
        "import runpy, sys; sys.modules['tltools'] = None; sys.dont_write_bytecode = True; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", code, str(script), str(given), str(out)]
    until = time.monotonic() + REPLAY_SECONDS
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, cwd=given.parent, stdout=subprocess.DEVNULL, stderr=errors) as process:
            try:
                while process.poll() is None:
                    ticket.check()
                    if time.monotonic() > until:
                        return f"it took more than {REPLAY_SECONDS:.0f} s"
                    time.sleep(0.05)
            finally:
                process.kill()
        errors.seek(0)
        lines = errors.read().strip().splitlines()
    return "" if process.returncode == 0 else (lines[-1] if lines else f"exit code {process.returncode}")
