"""The job "predict": new rows through a finished trial, with probabilities, into a file or back to the screen."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tltools import datasets
from tltools.engine import trial_model
from tltools.engine.trial_model import TrialModel
from tltools.home import Home, write_bytes
from tltools.judging import thresholds
from tltools.modalities import modalities
from tltools.records import Dataset, Skipped, refuse
from tltools.tickets import Ticket

SHOWN = 100  # predictions in the answer; all of them are in the file
FEW = 24  # of them where each is a mask or boxes
KINDS = (".csv", ".parquet", ".jsonl")
NUMBER = re.compile(r"[+-](\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # a cell that begins as formulas may, but is none


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """Predicts {"trial", "file" | "items", "out"} -> {"out", "rows", "predictions", "files", "texts", "skipped",
    "problems"}. Where words of a text are said, each prediction has them as "answer".

    An item is a text, the path of a file, or the cells of a row by column name; `files` are the stored forms of the
    first rows, where rows are files, and `texts` the first rows whose words are judged.

    Raises:
        Refusal: no such trial, no weights, a missing column, an unknown kind of output file.
    """
    out = Path(payload["out"]) if payload.get("out") else None
    if out is not None and out.suffix.lower() not in KINDS:
        raise refuse(str(out), f"must end in {', '.join(KINDS)}; got {out.suffix!r}.", "Write predictions.csv.")
    ticket.progress("loading the model", 0, 1)
    model = trial_model.load(ticket.home, payload["trial"])
    if payload.get("file"):
        table, written, media, profile = datasets.read_like(ticket.home, model.dataset, payload["file"])
        skipped, problems = list(profile.skipped), list(profile.problems)
    elif payload.get("items"):
        also = thresholds.columns(model.card)
        table, media, skipped = from_items(ticket.home, model.dataset, payload["items"], also)
        written, problems = table, []
    else:
        raise refuse("predict", "needs a file or items.", "Give one of them.")
    items = datasets.view(model.dataset, table, media, model.reads)
    outputs = thresholds.put(model.card, table, model.outputs(items, ticket))
    ticket.check()
    if out is not None:
        write(out, joined(model, written if out.suffix.lower() == ".csv" else table, outputs, items))
    files, shown = modalities()[model.dataset.modality].files, FEW if model.task.objects else SHOWN
    said = predictions(model, outputs[:shown])
    if model.task.dense and (told := model.task.dense.told):
        said = [one | {"answer": told(text, found)} for one, text, found in zip(said, items, outputs, strict=False)]
    return {
        "out": None if out is None else str(out),
        "rows": len(table),
        "predictions": said,
        "files": [str(media / name) for name in table[model.dataset.inputs[0]][:shown]] if files else [],
        "texts": [str(text) for text in items[:shown]] if model.task.objects and not files else [],
        "skipped": [one.model_dump() for one in skipped],
        "problems": [one.model_dump() for one in problems],
    }


def from_items(
    home: Home, dataset: Dataset, items: Sequence[str | Mapping[str, Any]], also: Sequence[str] = ()
) -> tuple[pd.DataFrame, Path, list[Skipped]]:
    """(table, media folder, skipped) of single items, read as a file of them would be; `also`: columns that are needed
    beside the inputs.

    Raises:
        Refusal: a column is missing, a number column holds no number, or an image cannot be read.
    """
    if modalities()[dataset.modality].files:
        return _files(home, dataset, [str(item) for item in items])
    rows = [item if isinstance(item, Mapping) else {dataset.inputs[0]: item} for item in items]
    own = datasets.rows(home, dataset.id).head(1)
    wanted = dict.fromkeys([*dataset.inputs, *also])
    missing = [name for name in wanted if any(name not in row for row in rows)]
    if missing:
        what = f"the column(s) {', '.join(missing[:8])} are missing, which the model needs."
        raise refuse("items", what, "Give a value for each of them; an empty one is read as missing.")
    columns: dict[str, Any] = {}
    for name in wanted:
        cells = [None if row[name] is None or row[name] == "" else row[name] for row in rows]
        if own[name].dtype == float:
            columns[name] = [_number(name, cell) for cell in cells]
        else:
            columns[name] = pd.array([None if cell is None else str(cell) for cell in cells], dtype="str")
    table = pd.DataFrame(columns).assign(_where=[f"item {k}" for k in range(1, len(rows) + 1)])
    return table, datasets.media(home, dataset.id), []


def _files(home: Home, dataset: Dataset, paths: list[str]) -> tuple[pd.DataFrame, Path, list[Skipped]]:
    """Files by path, decoded as they were for training; the table names the decoded ones absolutely."""
    tables, skipped = [], []
    for path in paths:
        table, _, media, profile = datasets.read_like(home, dataset, path)
        column = dataset.inputs[0]
        tables.append(table.assign(**{column: [str(media.resolve() / name) for name in table[column]]}))
        skipped += list(profile.skipped)
    return pd.concat(tables, ignore_index=True), Path("/"), skipped


def _number(name: str, cell: Any) -> float:
    try:
        return float("nan") if cell is None else float(cell)
    except (TypeError, ValueError):
        raise refuse(f'column "{name}"', f"must hold numbers; got {str(cell)[:40]!r}.", "Write 3.5.") from None


def predictions(model: TrialModel, outputs: np.ndarray) -> list[dict[str, Any]]:
    """Outputs (N, K) as rows for people: {"row", "prediction", "probabilities": {class: share}}."""
    classes, objects, several = model.dataset.classes, model.task.objects, model.task.several
    if objects:
        return [{"row": row, "prediction": objects.cell(found, classes)} for row, found in enumerate(outputs)]
    if not classes:
        return [{"row": row, "prediction": float(value)} for row, value in enumerate(outputs[:, 0])]
    said = several.cells(outputs, classes) if several else [classes[int(found.argmax())] for found in outputs]
    return [
        {
            "row": row,
            "prediction": said[row],
            "probabilities": {name: float(share) for name, share in zip(classes, found, strict=True)},
        }
        for row, found in enumerate(outputs)
    ]


def joined(model: TrialModel, table: pd.DataFrame, outputs: np.ndarray, items: Sequence[Any]) -> pd.DataFrame:
    """The rows with what is predicted of them: `prediction`, `p_<class>` for classes, `answer` where words are said."""
    classes = model.dataset.classes
    own = table.drop(columns="_part", errors="ignore").rename(columns={"_where": "where"})
    if modalities()[model.dataset.modality].files:
        own = own[["where"]]
    found: dict[str, Any]
    if objects := model.task.objects:
        found = {"prediction": [objects.cell(one, classes) for one in outputs]}
        if model.task.dense and (told := model.task.dense.told):
            found["answer"] = [told(text, one) for text, one in zip(items, outputs, strict=True)]
    else:
        found = {"prediction": outputs[:, 0].astype(np.float64)}
    if classes and not objects:
        several = model.task.several
        found["prediction"] = (
            several.cells(outputs, classes) if several else [classes[code] for code in outputs.argmax(1)]
        )
        found |= {f"p_{name}": outputs[:, k].astype(np.float64).round(6) for k, name in enumerate(classes)}
    taken = set(map(str, own.columns))
    made = {f"{name} (tltools)" if name in taken else name: values for name, values in found.items()}
    return pd.concat([own, pd.DataFrame(made, index=own.index)], axis=1)


def write(out: Path, frame: pd.DataFrame) -> None:
    """Writes a table by its file's ending, whole or not at all; in CSV no text can be taken for a formula."""
    kind = out.suffix.lower()
    if kind == ".parquet":
        held = io.BytesIO()
        frame.to_parquet(held, index=False)
        write_bytes(out, held.getvalue())
    elif kind == ".jsonl":
        write_bytes(out, frame.to_json(orient="records", lines=True, force_ascii=False).encode())
    else:
        from defusedcsv import csv

        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow([str(name) for name in frame.columns])
        plain = frame.astype(object).where(frame.notna(), "")
        writer.writerows(map(_as_written, row) for row in plain.itertuples(index=False, name=None))
        write_bytes(out, text.getvalue().encode("utf-8"))


def _as_written(cell: Any) -> Any:
    return _Spelled(cell) if isinstance(cell, str) and NUMBER.fullmatch(cell) else cell


class _Spelled(str, Number):
    """A number in its own spelling: as one it's no formula, so what keeps formulas out leaves its sign alone."""
