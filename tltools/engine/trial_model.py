"""A sealed trial made a model again: the backbone with what the trial changed, its head, and predictions for items."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from tltools import datasets
from tltools.artifacts import sealed
from tltools.engine import boosting, classical, dense, kit, torchvision_operators, written
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Batch, Encoded, load_backbone, load_changes, load_start
from tltools.engine.neighbours import of_tensors
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.writers import writer_of
from tltools.home import Home
from tltools.places import as_rows
from tltools.records import Dataset, Source, Trial, refuse
from tltools.strategies import strategies
from tltools.tasks import Task, tasks
from tltools.tickets import Ticket

CHUNK = 10_000  # items encoded at a time: bounded memory, also for a million rows
BATCH = 64
RANDOM = 20_180_810  # seed of the random weights that explanations are held against


class TrialModel:
    """What both kinds share: the trial's card, its dataset and task. `reads` is how it wants its items."""

    def __init__(self, home: Home, card: dict[str, Any]) -> None:
        self.home, self.card = home, card
        self.trial = Trial.model_validate(card["trial"])
        self.dataset: Dataset = datasets.get(home, self.trial.dataset)
        self.task: Task = tasks()[self.dataset.task]
        self.reads = self.dataset.modality

    def outputs(self, items: Any, ticket: Ticket | None = None) -> np.ndarray:
        """Class probabilities (N, C) or numbers (N, 1), float32, for items as `datasets.view` gives them."""
        parts = []
        for start in range(0, len(items), CHUNK):
            part = (
                items.iloc[start : start + CHUNK] if isinstance(items, pd.DataFrame) else items[start : start + CHUNK]
            )
            parts.append(self._outputs(part, ticket, start, len(items)))
        return np.concatenate(parts) if parts else np.zeros((0, self.task.width(self.dataset)), np.float32)

    def _outputs(self, items: Any, ticket: Ticket | None, done: int, total: int) -> np.ndarray:
        raise NotImplementedError

    def rows(self) -> np.ndarray:
        """Row numbers that the trial learnt from, validation rows included, ascending."""
        split = datasets.stored_split(self.home, self.trial.split)
        targets = datasets.target(self.home, self.dataset)
        drawn = datasets.draw(
            split, targets, fraction=self.trial.fraction, per_class=self.trial.per_class, draw=self.trial.draw,
            seed=self.trial.seed,
        )  # fmt: skip
        return np.sort(np.concatenate(drawn))

    def stored(self) -> pd.DataFrame:
        """The predictions of the test rows that were made when the trial was sealed."""
        return pd.read_parquet(folder_of(self.home, self.trial.id) / "predictions.parquet")


class ClassicalModel(TrialModel):
    """A classical control, or boosting continued, fitted again on the rows of its trial: the same rows and seed give
    the same model."""

    def __init__(self, home: Home, card: dict[str, Any]) -> None:
        super().__init__(home, card)
        items = datasets.items(home, self.dataset, self.reads)
        rows, targets = self.rows(), datasets.target(home, self.dataset)
        if self.task.objects:
            self.fitted = items, targets, rows
            return
        seed, train = kit._seed(self.trial), classical.pick(items, rows)
        self.control: classical.Fitted
        if self.trial.source == "none":
            self.control = classical.Control(self.dataset, self.task, train, targets[rows], seed=seed)
            return
        learnt = boosting.learnt_rows(home, Source.model_validate(card["source"]), self.dataset)
        knobs = self.trial.knobs
        self.control = boosting.Continued(self.dataset, self.task, learnt, train, targets[rows], knobs, seed)

    def _outputs(self, items: Any, ticket: Ticket | None, done: int, total: int) -> np.ndarray:
        if self.task.objects:
            known, targets, rows = self.fitted
            found = dense.control(self.task)([known[i] for i in rows], targets[rows], items, self.trial.seed)[0]
        else:
            found = self.control.outputs(items)
        _tell(ticket, done + len(items), total)
        return found


class NeuralModel(TrialModel):
    """A backbone and a head on standardised features, of the last layer or of all layers: linear, or neighbours."""

    def __init__(self, home: Home, card: dict[str, Any], backbone: Backbone, head: dict[str, Tensor]) -> None:
        super().__init__(home, card)
        self.backbone, self.head = backbone, head
        self.reads = backbone.reads
        self.all_layers = card.get("features") == "layers"
        self.device = devices.best()
        backbone.to(self.device.name)
        backbone.eval()

    def features(self, items: Any, ticket: Ticket | None = None, done: int = 0, total: int = 0) -> np.ndarray:
        """(N, D) float32: what the head reads, before it is standardised."""
        encoded = self.backbone.encode(items)
        return self.features_of(encoded, np.arange(len(encoded)), ticket, done, total or len(encoded))

    def features_of(
        self, encoded: Encoded, rows: np.ndarray, ticket: Ticket | None = None, done: int = 0, total: int = 0
    ) -> np.ndarray:
        """(len(rows), D) float32 of rows that are encoded already."""
        order = np.argsort(encoded.lengths[rows], kind="stable")
        found = np.zeros((len(rows), len(self.head["head.mean"])), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                place = order[start : start + BATCH]
                batch = {k: devices.moved(v, self.device.name) for k, v in encoded.take(rows[place]).items()}
                found[place] = self.read(batch).cpu().numpy()
                _tell(ticket, done + start + len(place), total)
        return found

    def read(self, batch: Batch) -> Tensor:
        """(B, D) float32 of a batch on the model's device: what the head reads, before it is standardised."""
        return torch.cat(self.backbone.forward_stages(batch), 1) if self.all_layers else self.backbone(batch)

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features as the head weighs them."""
        return (features - self.head["head.mean"].numpy()) / self.head["head.scale"].numpy()

    def decide(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features -> outputs (N, K) float32."""
        if "head.rows" in self.head:
            tensors = {name: value.numpy() for name, value in self.head.items()}
            return of_tensors(tensors, self.task.width(self.dataset)).outputs(features)
        raw = self.standardised(features) @ self.head["head.weight"].numpy().T + self.head["head.bias"].numpy()
        return np.asarray(self.task.decode(raw / self.head["head.temperature"].numpy()), np.float32)

    def _outputs(self, items: Any, ticket: Ticket | None, done: int, total: int) -> np.ndarray:
        return self.decide(self.features(items, ticket, done, total))


class PlacesModel(TrialModel):
    """A backbone and a head over its maps."""

    def __init__(self, home: Home, card: dict[str, Any], backbone: Backbone, head: dict[str, Tensor]) -> None:
        super().__init__(home, card)
        dense.prepare(backbone, self.task, self.dataset)
        self.reads, self.device = backbone.reads, devices.best()
        self.model = dense.places(backbone, self.task, self.dataset)
        self.model.head.load_state_dict({name.removeprefix("head."): value for name, value in head.items()})
        self.model.to(self.device.name).eval()

    def _outputs(self, items: Any, ticket: Ticket | None, done: int, total: int) -> np.ndarray:
        encoded, found = self.model.backbone.encode(items), []
        order = np.argsort(encoded.lengths, kind="stable")
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                batch = {k: devices.moved(v, self.device.name) for k, v in encoded.take(rows).items()}
                found.append(self.model.decode(self.model(batch).float().cpu().numpy()))
                _tell(ticket, done + start + len(rows), total)
        return np.concatenate(found)[np.argsort(order)]


class WriterModel(TrialModel):
    """A model that writes a text for each item."""

    def __init__(self, home: Home, card: dict[str, Any], backbone: Backbone, head: dict[str, Tensor]) -> None:
        super().__init__(home, card)
        written.prepare(backbone, self.task, self.dataset)
        assert isinstance(backbone, TextBackbone), "`prepare` refuses others"
        self.reads, self.device = backbone.reads, devices.best()
        self.model = writer_of(backbone, {name.removeprefix("head."): value for name, value in head.items()})
        self.model.to(self.device.name).eval()

    def _outputs(self, items: Any, ticket: Ticket | None, done: int, total: int) -> np.ndarray:
        assert self.task.written is not None
        encoded = self.model.backbone.encode(items)
        order, texts = np.argsort(encoded.lengths, kind="stable"), [""] * len(encoded)
        half = self.device.autocast(bool(self.card["bf16"]))  # as it wrote when it was sealed
        with torch.inference_mode(), half:
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                batch = {k: devices.moved(v, self.device.name) for k, v in encoded.take(rows).items()}
                for row, text in zip(rows, self.model.write(batch, self.task.written.once), strict=True):
                    texts[row] = text
                _tell(ticket, done + start + len(rows), total)
        return self.task.decode(as_rows(texts))


def load(home: Home, trial_id: str) -> NeuralModel | ClassicalModel | PlacesModel | WriterModel:
    """Rebuilds the model of a sealed trial.

    Raises:
        Refusal: there is no such trial, its weights were not kept, or its dataset or source is gone.
    """
    torchvision_operators.ensure()
    card = card_of(home, trial_id)
    trial = Trial.model_validate(card["trial"])
    if trial.source == "none" or strategies()[trial.strategy].continues:
        return ClassicalModel(home, card)
    path = folder_of(home, trial_id) / "model.safetensors"
    tensors = load_file(path) if path.is_file() else {}
    head = {name: value.float() for name, value in tensors.items() if name.startswith("head.")}
    source = Source.model_validate(card["source"])
    needs_backbone = bool(card.get("backbone_trained")) or source.family == "tabular"
    if not head or (needs_backbone and str(card.get("weights", "")).startswith("not kept")):
        raise _not_kept(home, card)
    changes = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    task = tasks()[card["task"]]
    kind = PlacesModel if task.dense else WriterModel if task.written else NeuralModel
    return kind(home, card, _backbone(home, card, trial, source, changes), head)


def start_of(model: NeuralModel) -> Backbone:
    """The backbone that a trial started from, in eval mode; for tables with the statistics of the training rows."""
    home, card, trial = model.home, model.card, model.trial
    source = Source.model_validate(card["source"])
    if source.family != "tabular":
        own = model.backbone.core.state_dict()
        fitted = {f"backbone.{name}": own[name] for name in own if name.startswith(model.backbone.fitted)}
        return _backbone(home, card, trial, source, fitted)
    split = datasets.stored_split(home, trial.split)
    backbone = load_backbone(home, source, seed=trial.seed)
    with devices.seeded(trial.seed):
        labelled = np.sort(np.asarray([*split.train, *split.validation], np.int64))
        backbone.fit_items(datasets.items(home, model.dataset, "tabular"), labelled)
    return backbone.eval()


def random_like(model: NeuralModel) -> Backbone:
    """The backbone of a trial with random weights, in eval mode."""
    source = Source.model_validate(model.card["source"])
    return _backbone(model.home, {**model.card, "init": "random", "init_seed": RANDOM}, model.trial, source, {})


def _backbone(home: Home, card: dict[str, Any], trial: Trial, source: Source, changes: dict[str, Tensor]) -> Backbone:
    backbone = load_start(home, source, card)
    backbone.as_trial(card)
    if isinstance(backbone, TextBackbone):
        backbone.unit = bool(card.get("unit"))
    load_changes(backbone, changes)
    return backbone.eval()


def folder_of(home: Home, trial_id: str) -> Path:
    """The folder of a sealed trial.

    Raises:
        Refusal: there is none with this id.
    """
    folder = home.trials / trial_id
    if not re.fullmatch(r"[0-9a-f]{16}", trial_id) or not sealed(folder):
        raise refuse(f"trial {trial_id[:40]!r}", "is not a finished trial.", "Take an id from a study's report.")
    return folder


def card_of(home: Home, trial_id: str) -> dict[str, Any]:
    """The card of a sealed trial; see `folder_of`."""
    card: dict[str, Any] = json.loads((folder_of(home, trial_id) / "card.json").read_text())
    return card


def _not_kept(home: Home, card: dict[str, Any]) -> Exception:
    """The refusal of a trial without weights, which names the trials of the same arm that have them."""
    trial = card["trial"]
    same = ("dataset", "source", "strategy", "knobs", "seed")
    found = []
    for path in sorted(home.trials.glob("*/sealed.json")):
        other = json.loads((path.parent / "card.json").read_text())
        if other.get("weights") == "kept" and all(other["trial"][key] == trial[key] for key in same):
            found.append(other["trial"]["id"])
    kept = f"Take trial {' or '.join(found[:3])}: the same strategy and source, with weights." if found else ""
    what = "has no weights: of large models only draw 0 at the largest share of the labels is kept."
    return refuse(f"trial {trial['id']}", what, kept or "Run a study that has this arm at its largest share.")


def _tell(ticket: Ticket | None, done: int, total: int) -> None:
    if ticket is not None:
        ticket.check()
        ticket.progress("predicting", done, total)


def picked(items: Sequence[Any] | pd.DataFrame, rows: Sequence[int] | np.ndarray) -> Any:
    """The items of some rows, in the form that they came in."""
    return classical.pick(items, np.asarray(rows, np.int64))
