"""The job "explain": why a trial says what it says: what it looks at, what it learnt from, what it forgot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tltools import datasets
from tltools.engine import gradients, importance, occlusion, predict, sanity, trial_model
from tltools.engine.backbone import Backbone
from tltools.engine.trial_model import NeuralModel, TrialModel
from tltools.fits import weights_of
from tltools.judging import thresholds
from tltools.modalities import modalities
from tltools.records import Refusal, refuse
from tltools.tickets import Ticket

MOST_ROWS = 20  # rows explained in one request
NEAREST = 5
MOST_TRAINING_ROWS = 5000  # training rows that are compared
FORGETTING_ROWS = 500
HOW: dict[str, dict[str, Callable[..., tuple[np.ndarray, dict[str, Any]]]]] = {
    "occlusion": {"text": occlusion.words, "image": occlusion.places},
    "gradients": {"text": gradients.words, "image": gradients.places},
}


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """Explains {"trial", "what", "how", "rows" | "items"}; `what` is "attribution", "nearest" or "forgetting", `how` is
    "occlusion" (by default) or "gradients", for attribution to words and places.

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
            self.table, self.media, _ = predict.from_items(
                model.home, model.dataset, payload["items"][:MOST_ROWS], thresholds.columns(model.card)
            )
            self.numbers: list[int | None] = [None] * len(self.table)
            self.truth: list[Any] = [None] * len(self.table)
            return
        whole = datasets.rows(model.home, model.dataset.id)
        asked = payload.get("rows")
        rows = [int(row) for row in (asked or model.stored()["row"][:3])][:MOST_ROWS]
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
    how = str(payload.get("how", "occlusion"))
    if how not in HOW:
        raise refuse("how", f"must be one of {', '.join(HOW)}; got {how[:40]!r}.", "Ask for occlusion.")
    if thresholds.columns(model.card):
        what = "has thresholds per group, which decide after the model: what it looks at is not all that counts."
        raise refuse(f"trial {model.trial.id}", what, "Ask the linear probe of the study.")
    if modalities()[model.dataset.modality].cells:
        return _columns(ticket, model, payload, how)
    if model.reads not in ("text", "image"):
        what = f"reads {model.reads} in numbers of its own, in which no word or place can be covered."
        raise refuse(f"trial {model.trial.id}", what, "Ask a trial with a source model.")
    if how == "gradients":
        gradients.check(model)
    asked, one = Rows(model, payload), HOW[how][model.reads]
    found = []
    for k, item in enumerate(asked.items(model)):
        ticket.check()
        ticket.progress("explaining", k, len(asked.table))
        outputs, explained = one(model, item)
        found.append(asked.facts(model, k, outputs) | explained)
    kind = "words" if model.reads == "text" else "places"
    return {"kind": kind, "how": how, "rows": found, "sanity": _sanity(ticket, model, asked, found, one)}


def _sanity(
    ticket: Ticket, model: TrialModel, asked: Rows, found: list[dict[str, Any]], one: Callable[..., Any]
) -> dict[str, Any] | None:
    """How alike the explanations of the same model with random weights are: {"likeness", "rows"}; None of a model that
    has none to draw."""
    if not isinstance(model, NeuralModel) or model.task.closed_form not in ("classes", "number"):
        return None
    ticket.progress("explaining random weights", 0, 1)
    twin, again = sanity.unlearned(model, ticket), []
    for item in asked.items(model)[: sanity.EXPLAINED]:
        ticket.check()
        again.append(_weights(one(twin, item)[1]))
    ours = [_weights(row) for row in found[: len(again)]]
    return {"likeness": round(sanity.likeness(ours, again), 4), "rows": len(again)}


def _weights(explained: dict[str, Any]) -> np.ndarray:
    """(N,) the weight of each word or place."""
    found = [weight for _, weight in explained["words"]] if "words" in explained else explained["weights"]
    return np.asarray(found, np.float64).ravel()


def _columns(ticket: Ticket, model: TrialModel, payload: dict[str, Any], how: str) -> dict[str, Any]:
    """What columns are worth to the score, and what they add to what is said of the rows asked for."""
    if how == "gradients":
        what = "must be occlusion for a table: its columns are shuffled and exchanged, for networks and trees alike."
        raise refuse("how", what, "Leave it out.")
    found, asked, credited = importance.permuted(ticket, model), Rows(model, payload), []
    outputs = model.outputs(asked.items(model))
    for k in range(len(asked.table)):
        ticket.check()
        ticket.progress("exchanging columns", k, len(asked.table))
        shared = importance.shared(model, asked.table.iloc[[k]], len(asked.table))
        if shared is not None:
            credited.append(asked.facts(model, k, outputs[k : k + 1]) | shared)
    return found | {"how": how, "rows": credited}


def nearest(ticket: Ticket, model: TrialModel, payload: dict[str, Any]) -> dict[str, Any]:
    """The training rows most like each row asked for, by the cosine of the features as the head weighs them."""
    if not isinstance(model, NeuralModel):
        what = "is a classical control, which has no features to compare rows in."
        raise refuse(f"trial {model.trial.id}", what, "Ask a trial with a source model.")
    if not model.card["n_train"]:
        what = "has learnt from no row, so there is none that it could be like."
        raise refuse(f"trial {model.trial.id}", what, "Ask a trial that was trained, or the source trial.")
    asked = Rows(model, payload)
    rows = model.rows()
    if len(rows) > MOST_TRAINING_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_TRAINING_ROWS).astype(np.int64)]
    items = datasets.items(model.home, model.dataset, model.reads)
    known = _directions(model, model.features(trial_model.picked(items, rows), ticket))
    wanted = model.features(asked.items(model), ticket)
    likeness = _directions(model, wanted) @ known.T
    codes, classes = datasets.target(model.home, model.dataset), model.dataset.classes
    outputs, found = thresholds.put(model.card, asked.table, model.decide(wanted)), []
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
        source = trial_model.load(model.home, weights_of(source_id).removeprefix("own/"))
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
