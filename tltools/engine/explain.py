"""The job "explain": why a trial says what it says: what it looks at, what it learnt from, what it forgot."""

from __future__ import annotations

import base64
import io
import tempfile
from typing import Any

import numpy as np
import pandas as pd
import torch

from tltools import datasets
from tltools.engine import predict, sanity, trial_model
from tltools.engine.backbone import Backbone
from tltools.engine.trial_model import NeuralModel, TrialModel
from tltools.judging import thresholds
from tltools.modalities import Drawn
from tltools.records import Refusal, refuse
from tltools.tickets import Ticket

MOST_ROWS = 20  # rows explained in one request
MOST_WORDS = 128  # a source model reads about as many
GRID = 8  # an image is covered in 8 x 8 places, one after the other
SIDE = 256  # pixels of the longer side of a picture that is covered, and of the map
NEAREST = 5
MOST_TRAINING_ROWS = 5000  # training rows that are compared
FORGETTING_ROWS = 500
PREDICTIONS = {"text": 1_500, "tabular": 300_000}  # about how many a permutation may cost, by what the model reads
REPEATS = 3


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """Explains {"trial", "what", "rows" | "items"}; `what` is "attribution", "nearest" or "forgetting".

    Raises:
        Refusal: no such trial, no weights, an unknown question, or one that this trial cannot answer.
    """
    what = str(payload.get("what"))
    asked = {"attribution": attribution, "nearest": nearest, "forgetting": forgetting}
    if what not in asked:
        raise refuse("what", f"must be one of {', '.join(asked)}; got {what[:40]!r}.", "Ask for attribution.")
    ticket.progress("loading the model", 0, 1)
    model = trial_model.load(ticket.home, payload["trial"])
    if model.task.objects or model.task.several:
        remedy = "Look at what is predicted beside the truth."
        raise refuse("what", f"a prediction of {model.task.title.lower()} is not explained by {what}.", remedy)
    return {"trial": model.trial.id, "what": what, **asked[what](ticket, model, payload)}


class Rows:
    """The rows that are asked for, as a table with its media; `numbers` are None for new items."""

    def __init__(self, model: TrialModel, payload: dict[str, Any]) -> None:
        if payload.get("items"):
            self.table, self.media, _ = predict.from_items(model.home, model.dataset, payload["items"][:MOST_ROWS])
            self.numbers: list[int | None] = [None] * len(self.table)
            self.truth: list[Any] = [None] * len(self.table)
            return
        whole = datasets.rows(model.home, model.dataset.id)
        asked = payload.get("rows")
        rows = [int(row) for row in (model.stored()["row"][:3] if asked is None else asked)][:MOST_ROWS]
        outside = [row for row in rows if not 0 <= row < len(whole)]
        if outside:
            raise refuse(
                "rows", f"must be from 0 to {len(whole) - 1}; got {outside[0]}.", "Choose rows of the dataset."
            )
        self.table, self.media = whole.iloc[rows].reset_index(drop=True), datasets.media(model.home, model.dataset.id)
        self.numbers = list(rows)
        codes = datasets.target(model.home, model.dataset)[rows]
        classes = model.dataset.classes
        self.truth = [classes[int(code)] if classes else float(code) for code in codes]

    def items(self, model: TrialModel) -> Any:
        return datasets.view(model.dataset, self.table, self.media, model.reads)

    def facts(self, model: TrialModel, k: int, outputs: np.ndarray) -> dict[str, Any]:
        """Row number, truth, prediction and its probability."""
        said = predict.predictions(model, outputs)[0] | {"row": self.numbers[k]}
        return said | {"truth": self.truth[k]}


def attribution(ticket: Ticket, model: TrialModel, payload: dict[str, Any]) -> dict[str, Any]:
    """What the prediction hangs on: words, places of the image, or columns of the table."""
    if model.dataset.modality == "tabular":
        return _columns(ticket, model)
    if model.reads not in ("text", "image"):
        what = f"reads {model.reads} in numbers of its own, in which no word or place can be covered."
        raise refuse(f"trial {model.trial.id}", what, "Ask a trial with a source model.")
    asked = Rows(model, payload)
    one, kind = (_words, "words") if model.reads == "text" else (_places, "places")
    found = []
    for k, item in enumerate(asked.items(model)):
        ticket.check()
        ticket.progress("covering", k, len(asked.table))
        outputs, explained = one(model, item)
        found.append(asked.facts(model, k, outputs) | explained)
    return {"kind": kind, "rows": found, "sanity": _sanity(ticket, model, asked, found)}


def _sanity(ticket: Ticket, model: TrialModel, asked: Rows, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How alike the explanations of the same model with random weights are: {"likeness", "rows"}; None of a model that
    has none to draw."""
    if not isinstance(model, NeuralModel) or model.task.closed_form not in ("classes", "number"):
        return None
    ticket.progress("explaining random weights", 0, 1)
    twin, one = sanity.unlearned(model, ticket), _words if model.reads == "text" else _places
    again = []
    for item in asked.items(model)[: sanity.EXPLAINED]:
        ticket.check()
        again.append(_weights(one(twin, item)[1]))
    ours = [_weights(row) for row in found[: len(again)]]
    return {"likeness": round(sanity.likeness(ours, again), 4), "rows": len(again)}


def _weights(explained: dict[str, Any]) -> np.ndarray:
    """(N,) the weight of each word or place."""
    found = [weight for _, weight in explained["words"]] if "words" in explained else explained["weights"]
    return np.asarray(found, np.float64).ravel()


def _drop(outputs: np.ndarray) -> np.ndarray:
    """(1 + N, K) outputs, the first of the whole item -> (N,) what each covering takes from the prediction."""
    column = int(outputs[0].argmax()) if outputs.shape[1] > 1 else 0
    return np.asarray(outputs[0, column] - outputs[1:, column], np.float64)


def _words(model: TrialModel, text: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Each word left out once; its weight is what the prediction loses (a probability, or the number's unit)."""
    words = text.split()
    seen = words[:MOST_WORDS]
    without = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(seen))]
    outputs = model.outputs([text, *without])
    weights = [[word, float(weight)] for word, weight in zip(seen, _drop(outputs), strict=True)]
    return outputs[:1], {"text": text, "words": weights, "words_left_out": len(words) - len(seen)}


def _places(model: TrialModel, item: str | Drawn) -> tuple[np.ndarray, dict[str, Any]]:
    """Each of 8 x 8 places covered with the picture's mean colour once; the map shows what the prediction loses."""
    from PIL import Image

    if isinstance(item, Drawn):
        picture = item.picture()
    else:
        with Image.open(item) as image:
            picture = image.convert("RGB")
    if max(picture.size) > 4 * SIDE:
        picture.thumbnail((4 * SIDE, 4 * SIDE))
    pixels = np.asarray(picture)
    down = np.linspace(0, pixels.shape[0], GRID + 1).astype(int)
    across = np.linspace(0, pixels.shape[1], GRID + 1).astype(int)
    colour = pixels.reshape(-1, 3).mean(0).astype(np.uint8)
    with tempfile.TemporaryDirectory(prefix="tltools-covered-") as folder:
        paths: list[str | Drawn] = [item]
        for row in range(GRID):
            for column in range(GRID):
                covered = pixels.copy()
                covered[down[row] : down[row + 1], across[column] : across[column + 1]] = colour
                paths.append(covered_at := f"{folder}/{row}-{column}.png")
                Image.fromarray(covered).save(covered_at, compress_level=1)
        outputs = model.outputs(paths)
    weights = _drop(outputs).reshape(GRID, GRID)
    map_png = base64.b64encode(_map(weights, pixels.shape[1], pixels.shape[0])).decode()
    return outputs[:1], {"image": str(item), "weights": weights.tolist(), "map_png": map_png}


def _map(weights: np.ndarray, width: int, height: int) -> bytes:
    """A PNG to lay over the picture: orange where it speaks for the prediction, blue where against, else clear."""
    from PIL import Image

    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    strength = weights / max(float(np.abs(weights).max()), 1e-12)
    smooth = np.asarray(Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    overlay = np.zeros((*smooth.shape, 4), np.uint8)
    overlay[..., :3] = np.where(smooth[..., None] > 0, (230, 97, 1), (43, 131, 186))
    overlay[..., 3] = (np.abs(smooth) * 200).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(overlay, "RGBA").save(held, "PNG")
    return held.getvalue()


def _columns(ticket: Ticket, model: TrialModel) -> dict[str, Any]:
    """Permutation importance on the test rows: what the score loses when a column is shuffled among them."""
    names = list(model.dataset.inputs)
    repeats = REPEATS if len(names) <= 100 and model.reads == "tabular" else 1
    budget = PREDICTIONS.get(model.reads, 1_500) // (len(names) * repeats)
    stored = model.stored()["row"].to_numpy()
    rows = stored[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), max(20, budget), 1000)).astype(int))]
    whole, media = datasets.rows(model.home, model.dataset.id), datasets.media(model.home, model.dataset.id)
    table = whole.iloc[rows].reset_index(drop=True)
    truth = datasets.target(model.home, model.dataset)[rows]
    metric = model.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0

    def score(changed: pd.DataFrame) -> float:
        outputs = model.outputs(datasets.view(model.dataset, changed, media, model.reads))
        return metric.score(truth, thresholds.put(model.card, changed, outputs))

    whole_score, random = score(table), np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        ticket.check()
        ticket.progress("shuffling columns", k, len(names), note=name)
        drops = [
            sign * (whole_score - score(table.assign(**{name: table[name].to_numpy()[random.permutation(len(table))]})))
            for _ in range(repeats)
        ]
        found.append({"column": name, "importance": float(np.mean(drops)), "low": min(drops), "high": max(drops)})
    found.sort(key=lambda one: -float(one["importance"]))
    return {"kind": "columns", "metric": metric.key, "score": whole_score, "test_rows": len(rows), "columns": found}


def nearest(ticket: Ticket, model: TrialModel, payload: dict[str, Any]) -> dict[str, Any]:
    """The training rows most like each row asked for, by the cosine of the features as the head weighs them."""
    if not isinstance(model, NeuralModel):
        what = "is a classical control, which has no features to compare rows in."
        raise refuse(f"trial {model.trial.id}", what, "Ask a trial with a source model.")
    asked = Rows(model, payload)
    rows = model.rows()
    if len(rows) > MOST_TRAINING_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_TRAINING_ROWS).astype(np.int64)]
    items = datasets.items(model.home, model.dataset, model.reads)
    known = _directions(model, model.features(trial_model.picked(items, rows), ticket))
    wanted = model.features(asked.items(model), ticket)
    likeness = _directions(model, wanted) @ known.T
    codes, classes = datasets.target(model.home, model.dataset), model.dataset.classes
    outputs, found = model.decide(wanted), []
    for k, line in enumerate(likeness):
        same = rows == (-1 if asked.numbers[k] is None else asked.numbers[k])
        best = np.argsort(-np.where(same, -2.0, line), kind="stable")[: min(NEAREST, len(rows) - int(same.sum()))]
        near = [
            {
                "row": int(rows[i]),
                "similarity": float(line[i]),
                "truth": classes[int(codes[rows[i]])] if classes else float(codes[rows[i]]),
            }
            for i in best
        ]
        found.append(asked.facts(model, k, outputs[k : k + 1]) | {"nearest": near})
    return {"training_rows": len(rows), "rows": found}


def _directions(model: NeuralModel, features: np.ndarray) -> np.ndarray:
    """(N, D) features, standardised and of length 1."""
    standard = model.standardised(features)
    return np.asarray(standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-12))


def forgetting(ticket: Ticket, model: TrialModel, payload: dict[str, Any]) -> dict[str, Any]:
    """How alike each stage of the backbone still is to the source: linear CKA on up to 500 test rows, 1 = the same."""
    if not isinstance(model, NeuralModel):
        what = "is a classical control: it has no source that it could forget."
        raise refuse(f"trial {model.trial.id}", what, "Ask a fine-tuned trial.")
    if model.card.get("init") == "random":
        what = "started from random weights: it has no source that it could forget."
        raise refuse(f"trial {model.trial.id}", what, "Ask a fine-tuned trial.")
    names = [stage.name for stage in model.backbone.stages]
    if not model.card.get("backbone_trained"):
        same = [{"stage": name, "cka": 1.0} for name in names]
        return {"rows": 0, "stages": same, "note": "The backbone stayed frozen, so nothing was forgotten."}
    stored = model.stored()["row"].to_numpy()
    rows = stored[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), FORGETTING_ROWS)).astype(np.int64))]
    items = trial_model.picked(datasets.items(model.home, model.dataset, model.reads), rows)
    before = _by_stage(ticket, trial_model.start_of(model), items, "the source")
    after = _by_stage(ticket, model.backbone.to("cpu"), items, "the tuned backbone")
    stages = [{"stage": name, "cka": cka(one, two)} for name, one, two in zip(names, before, after, strict=True)]
    note = "" if model.backbone.source.pretrained else "The source was untrained: this is what training changed."
    return {"rows": len(rows), "stages": stages, "note": note, "source_task": _source_task(ticket, model)}


def _source_task(ticket: Ticket, model: NeuralModel) -> dict[str, Any] | None:
    """What the tuned backbone still scores under the head of the trial that was its source, on that trial's test rows:
    {"dataset", "metric", "before", "after", "rows"}; None where the source has no head of its own here."""
    source_id = model.trial.source
    if not source_id.startswith("own/") or model.reads == "tabular":  # a table has columns of its own
        return None
    try:
        source = trial_model.load(model.home, source_id.removeprefix("own/"))
    except Refusal:  # its dataset is gone, or only its backbone was kept
        return None
    if not isinstance(source, NeuralModel):
        return None
    stored = source.stored()["row"].to_numpy()
    rows = stored[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), FORGETTING_ROWS)).astype(np.int64))]
    items = trial_model.picked(datasets.items(source.home, source.dataset, source.reads), rows)
    truth, metric = datasets.target(source.home, source.dataset)[rows], source.task.metrics[0]
    before = metric.score(truth, source.decide(source.features(items, ticket)))
    source.backbone = model.backbone.to(source.device.name)
    after = metric.score(truth, source.decide(source.features(items, ticket)))
    said = {"dataset": source.dataset.name, "metric": metric.title, "rows": len(rows)}
    return said | {"before": round(before, 6), "after": round(after, 6)}


def _by_stage(ticket: Ticket, backbone: Backbone, items: Any, note: str) -> list[np.ndarray]:
    encoded = backbone.encode(items)
    parts: list[list[np.ndarray]] = []
    with torch.inference_mode():
        for start in range(0, len(encoded), 64):
            ticket.check()
            ticket.progress("comparing stages", start, len(encoded), note=note)
            batch = encoded.take(np.arange(start, min(start + 64, len(encoded))))
            parts.append([layer.float().numpy() for layer in backbone.forward_stages(batch)])
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def cka(one: np.ndarray, two: np.ndarray) -> float:
    """Linear centred kernel alignment of (N, D) and (N, E): 1 for the same up to rotation and scale (1905.00414)."""
    one, two = (np.asarray(x, np.float64) - x.mean(0, dtype=np.float64) for x in (one, two))
    own = np.linalg.norm(one @ one.T) * np.linalg.norm(two @ two.T)  # Gram matrices of N rows: N is at most 500
    return 1.0 if own == 0 else float(np.sum((one @ one.T) * (two @ two.T)) / own)
