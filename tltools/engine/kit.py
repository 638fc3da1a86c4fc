"""The kit that the engine lends to strategies: probes, fine-tuning and the classical baseline, sharing all they can."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tltools import datasets, sources
from tltools.engine import adapters, classical, heads, loop
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Encoded, load_backbone
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.features import BoundaryReader, FeatureStore
from tltools.engine.feeds import Feed
from tltools.plans import Plan
from tltools.records import Dataset, Refusal, Source, Split, Study, Trial
from tltools.strategies import Outcome, Recipe
from tltools.tasks import Task, tasks
from tltools.tickets import Ticket

RARE_ROWS = 5000  # labelled texts below which the word table stays frozen: most of its words never occur in them
Init = Literal["source", "random"]


class EngineKit:
    """One study's kit. Backbones, encoded rows and features are made once and shared by all its trials."""

    def __init__(self, ticket: Ticket, study: Study, dataset: Dataset, split: Split) -> None:
        self.ticket, self.study, self.dataset, self.split = ticket, study, dataset, split
        self.home = ticket.home
        self.task: Task = tasks()[dataset.task]
        self.targets = datasets.target(self.home, dataset)
        self.keys = datasets.content_keys(self.home, dataset)
        self.test = np.sort(np.asarray(split.test, np.int64))
        self.labelled = np.sort(np.asarray([*split.train, *split.validation], np.int64))
        self.kind: heads.Kind = "classes" if self.task.closed_form == "classes" else "number"
        self.device = devices.best()
        self.store = FeatureStore(self.home, study.budget.cache_gb, memory=ticket.store)
        self._backbones: dict[tuple[str, Init], Backbone] = {}
        self._encoded: dict[str, Encoded] = {}
        self._views: dict[str, Any] = {}
        self._plan: Plan | None = None

    def follow(self, plan: Plan) -> None:
        """Takes a plan's word for which activations are kept; without one all that can be are."""
        self._plan = plan

    # --- what a strategy calls --------------------------------------------------------------------------------------

    def stages(self, trial: Trial) -> int:
        return len(self.backbone(trial.source, "source").stages)

    def probe(
        self,
        trials: Sequence[Trial],
        *,
        features: Literal["pooled", "layers"] = "pooled",
        init: Init = "source",
    ) -> Iterator[Outcome]:
        by_source: dict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            by_source[trial.source].append(trial)
        for source_id, group in by_source.items():
            started = time.monotonic()
            backbone = self.backbone(source_id, init)
            table = self._features(backbone, features)
            read = time.monotonic() - started
            drawn = [np.sort(np.concatenate(self.draw(trial))) for trial in group]
            place = np.full(self.dataset.rows, -1, np.int64)
            place[self._rows()] = np.arange(len(self._rows()))
            width = self.task.width(self.dataset)
            started = time.monotonic()
            fitted = heads.fit_many(
                table, self.targets[self._rows()], [place[rows] for rows in drawn], self.kind, classes=width
            )
            each = (time.monotonic() - started + read) / len(group)
            for trial, rows, head in zip(group, drawn, fitted, strict=True):
                self.ticket.check()
                yield self._probed(trial, backbone, head, table[place[self.test]], rows, features, init, each)

    def finetune(self, trial: Trial, recipe: Recipe) -> Outcome:
        started = time.monotonic()
        base = self.backbone(trial.source, recipe.init, seed=_seed(trial) if recipe.init == "random" else 0)
        train_rows, validation_rows = self.draw(trial)
        frozen = 1 if base.reads == "text" and len(train_rows) < RARE_ROWS and recipe.init == "source" else 0
        deepest = min(layout.boundary for layout in recipe.phases)
        boundary = self._kept(trial, deepest, base) if deepest > frozen and not recipe.augmentation_on else 0
        encoded = self.encoded(base)
        reader = self._reader(base, boundary) if boundary else None
        boundary = boundary if reader is not None else 0
        setting = self.store.setting(base, encoded)
        half = setting.precision == "bfloat16"
        values, centre, spread = self._scaled_targets(train_rows)
        outcomes = []
        for k, multiplier in enumerate(recipe.rates_tried):
            model = self._tuned(base, recipe, train_rows, values, encoded, reader, boundary, _seed(trial) + k)
            feed = Feed(encoded, reader, self.device, setting.channels_last, recipe, _seed(trial))
            checkpoint = Checkpoint(self.home.jobs / "checkpoints" / f"{trial.id}-{k}")
            fitted = loop.train(
                model,
                feed,
                recipe,
                targets=values,
                train_rows=train_rows,
                validation_rows=validation_rows,
                loss=self.task.loss,
                boundary=boundary,
                multiplier=multiplier,
                seed=_seed(trial) + k,
                device=self.device,
                half=half,
                ticket=self.ticket,
                checkpoint=checkpoint,
                frozen_bottom=frozen,
                told=self._telling(trial),
            )
            outcomes.append((fitted.validation_loss, k, fitted, model, feed))
        _, k, fitted, model, feed = min(outcomes, key=lambda item: (item[0], item[1]))
        return self._finetuned(
            trial, recipe, base, model, feed, fitted, boundary, half, (train_rows, validation_rows), (centre, spread),
            multiplier=recipe.rates_tried[k], seconds=time.monotonic() - started,
        )  # fmt: skip

    def classical(self, trial: Trial) -> Outcome:
        started = time.monotonic()
        rows = np.sort(np.concatenate(self.draw(trial)))
        items = self.view(self.dataset.modality)
        outputs, facts = classical.fit_predict(
            self.dataset, self.task, items, self.targets, rows, self.test, seed=_seed(trial)
        )
        card = {"method": facts, "n_train": len(rows), "weights": "not kept: refitted from its rows when needed"}
        seconds = time.monotonic() - started
        return Outcome(trial, self.test, outputs, {}, card, seconds, _peak_mb(), 0)

    # --- shared parts -----------------------------------------------------------------------------------------------

    def draw(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """(train rows, validation rows) of a trial."""
        return datasets.draw(
            self.split,
            self.targets,
            fraction=trial.fraction,
            per_class=trial.per_class,
            draw=trial.draw,
            seed=trial.seed,
        )

    def source(self, source_id: str) -> Source:
        return sources.get(self.home, source_id)

    def backbone(self, source_id: str, init: Init, seed: int = 0) -> Backbone:
        """A source's backbone, never trained itself; random ones of other seeds are made anew each time."""
        key = (source_id, init)
        if seed or key not in self._backbones:
            made = load_backbone(self.home, self.source(source_id), init=init, seed=seed or self.study.seed)
            if made.reads == "tabular":
                with devices.seeded(seed or self.study.seed):
                    made.fit_items(self.view("tabular"), self.labelled)
            made.to(self.device.name)
            if seed:
                return made
            if init == "source" and self._plan is not None:
                self.store.expect(made, self._plan.wants(source_id))
            self._backbones[key] = made
        return self._backbones[key]

    def encoded(self, backbone: Backbone) -> Encoded:
        key = f"{backbone.source.id}|{backbone.preprocessing}"
        if key not in self._encoded:
            self.ticket.progress("preparing rows", 0, 1, note=backbone.source.name)
            self._encoded[key] = backbone.encode(self.view(backbone.reads))
        return self._encoded[key]

    def view(self, reads: str) -> Any:
        if reads not in self._views:
            self._views[reads] = datasets.items(self.home, self.dataset, reads)
        return self._views[reads]

    def _rows(self) -> np.ndarray:
        return np.sort(np.concatenate([self.labelled, self.test]))

    def _features(self, backbone: Backbone, kind: str) -> np.ndarray:
        """(rows of `_rows`, D) float32."""

        def encoded() -> Encoded:
            return self.encoded(backbone)

        if kind == "pooled":
            return self.store.pooled(backbone, encoded, self.keys, self._rows(), self.ticket)
        return self.store.layers(backbone, encoded, self.keys, self._rows(), self.ticket)[0]

    def _kept(self, trial: Trial, deepest: int, base: Backbone) -> int:
        """The boundary whose activations the plan keeps for a trial; 0 when it reads its rows itself."""
        return deepest if self._plan is None else min(deepest, self._plan.boundary(trial, len(base.stages)))

    def _reader(self, base: Backbone, boundary: int) -> BoundaryReader | None:
        """Cached activations of the study's rows; None where they cannot be kept, so that all stages are computed."""
        if not (0 < boundary < len(base.stages)) or not base.resumable[boundary] or base.reads == "tabular":
            return None
        try:
            return self.store.boundary(base, lambda: self.encoded(base), self.keys, self._rows(), boundary, self.ticket)
        except Refusal as refusal:
            self.ticket.event("note", note=str(refusal))
            return None

    def _scaled_targets(self, rows: np.ndarray) -> tuple[Tensor, float, float]:
        """Targets for the loss: codes as they are, numbers standardised by the training rows."""
        if self.kind == "classes":
            return torch.from_numpy(self.targets), 0.0, 1.0
        centre, spread = float(self.targets[rows].mean()), float(self.targets[rows].std()) or 1.0
        return torch.from_numpy(((self.targets - centre) / spread).astype(np.float32)), centre, spread

    def _tuned(
        self,
        base: Backbone,
        recipe: Recipe,
        rows: np.ndarray,
        values: Tensor,
        encoded: Encoded,
        reader: BoundaryReader | None,
        boundary: int,
        seed: int,
    ) -> loop.Tuned:
        """A model to train: a twin of the backbone, features standardised on the training rows, the head's start."""
        with devices.seeded(seed):
            model = loop.Tuned(base.twin(), self.task.width(self.dataset))
            if recipe.adapter:
                adapters.inject(model.backbone, **recipe.adapter)
        model.to(self.device.name)
        trusted = recipe.init == "source" and base.source.pretrained
        if recipe.head_start == "probe" and trusted:
            table = self._features(base, "pooled")
            place = np.searchsorted(self._rows(), rows)
            width = self.task.width(self.dataset)
            head = heads.fit_many(table[place], values[rows].numpy(), [np.arange(len(rows))], self.kind, classes=width)[
                0
            ]
            with torch.no_grad():
                model.mean.copy_(torch.from_numpy(head.mean))
                model.scale.copy_(torch.from_numpy(head.scale))
                model.head.weight.copy_(torch.from_numpy(head.weight / np.float32(head.temperature)))
                model.head.bias.copy_(torch.from_numpy(head.bias / np.float32(head.temperature)))
        elif trusted:
            some = rows[np.linspace(0, len(rows) - 1, min(256, len(rows))).astype(np.int64)]
            feed = Feed(encoded, reader, self.device, False, recipe, 0)
            with torch.no_grad():
                batch, states = feed.take(some, training=False)
                pooled = base(batch) if states is None else base.resume(batch, states, boundary)
                model.mean.copy_(pooled.mean(0))
                model.scale.copy_(pooled.std(0).nan_to_num(1.0).clamp(min=float(pooled.std()) * 1e-2 + 1e-6))
        return model

    def _probed(
        self,
        trial: Trial,
        backbone: Backbone,
        head: heads.Head,
        test: np.ndarray,
        rows: np.ndarray,
        features: str,
        init: Init,
        seconds: float,
    ) -> Outcome:
        card = {
            "features": features,
            "init": init,
            "init_seed": self.study.seed,
            "n_train": len(rows),
            "strength": head.strength,
            "validation_score": head.loo_score,
            "temperature": head.temperature,
            "backbone_trained": False,
        }
        weights: dict[str, Any] = dict(head.tensors())
        if backbone.reads == "tabular":
            weights |= _differing(backbone, None)
            card |= adapters.columns(backbone)
        outputs = head.outputs(test).astype(np.float32)
        count = int(head.weight.size + head.bias.size)
        return Outcome(trial, self.test, outputs, weights, card, seconds, _peak_mb(), count)

    def _finetuned(
        self,
        trial: Trial,
        recipe: Recipe,
        base: Backbone,
        model: loop.Tuned,
        feed: Feed,
        fitted: loop.Fitted,
        boundary: int,
        half: bool,
        rows: tuple[np.ndarray, np.ndarray],
        scaling: tuple[float, float],
        *,
        multiplier: float,
        seconds: float,
    ) -> Outcome:
        train, validation = rows
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)

        def raw(of: np.ndarray) -> np.ndarray:
            return loop.predict(model, feed, of, boundary, self.device, half).numpy()

        seen, held = raw(train), raw(validation) if len(validation) else None
        temperature = self._temperature(held, validation)
        metric = self.task.metrics[0]
        with torch.no_grad():  # a number's scale goes into the head, so that outputs are in the target's unit
            model.head.weight.mul_(scaling[1])
            model.head.bias.mul_(scaling[1]).add_(scaling[0])

        def outputs(values: np.ndarray) -> np.ndarray:
            return self.task.decode(values / temperature if self.kind == "classes" else values)

        test = outputs(raw(self.test))
        again = scaling[1] * seen + scaling[0]
        card: dict[str, Any] = {
            "features": "pooled",
            "init": recipe.init,
            "init_seed": _seed(trial) if recipe.init == "random" else 0,
            "n_train": len(train) + len(validation),
            "n_validation": len(validation),
            "rate_multiplier": multiplier,
            "steps": fitted.steps,
            "stopped_early": fitted.stopped_early,
            "temperature": temperature,
            "train_score": metric.score(self.targets[train], outputs(again)),
            "backbone_trained": True,
            "resumed_from_stage": boundary,
            "bf16": half,
        }
        if held is not None:
            scored = outputs(scaling[1] * held + scaling[0])
            card["validation_score"] = metric.score(self.targets[validation], scored)
            card["validation_outputs"] = {"rows": validation, "outputs": scored}
        if recipe.adapter:
            adapters.merge(model.backbone)
        weights = {
            "head.weight": model.head.weight.detach().cpu().numpy(),
            "head.bias": model.head.bias.detach().cpu().numpy(),
            "head.mean": model.mean.cpu().numpy(),
            "head.scale": model.scale.cpu().numpy(),
            "head.temperature": np.array([temperature], np.float32),
            **_differing(model.backbone, None if base.reads == "tabular" else base),
        }
        if base.reads == "tabular":
            card |= adapters.columns(base)
        return Outcome(trial, self.test, test, weights, card, seconds, _peak_mb(), trainable, fitted.curve)

    def _temperature(self, held: np.ndarray | None, rows: np.ndarray) -> float:
        """The temperature that makes probabilities honest on the validation rows; 1 with fewer than 10 of them."""
        if held is None or len(rows) < 10 or self.kind != "classes":
            return 1.0
        return 1.0 / heads.slope(held.astype(np.float64), self.targets[rows], np.ones(len(rows)))

    def _telling(self, trial: Trial) -> Callable[[int, int, dict[str, float]], None]:
        def told(done: int, total: int, facts: dict[str, float]) -> None:
            self.ticket.event("epoch", trial=trial.id, note=trial.strategy, **facts)

        return told


def _differing(backbone: Backbone, base: Backbone | None) -> dict[str, np.ndarray]:
    """The tensors of a backbone that differ from where it started, as `backbone.<name>`; all of them without a base."""
    before = {} if base is None else base.core.state_dict()
    return {
        f"backbone.{name}": value.detach().cpu().float().numpy() if value.is_floating_point() else value.cpu().numpy()
        for name, value in backbone.core.state_dict().items()
        if name not in before or not torch.equal(value.cpu(), before[name].cpu())
    }


def _seed(trial: Trial) -> int:
    return 1 + trial.seed * 1009 + trial.draw


def _peak_mb() -> float:
    """Peak memory of this process, in MB; macOS counts bytes, Linux kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
