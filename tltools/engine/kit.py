"""The kit that the engine lends to strategies: probes, fine-tuning and the classical baseline, sharing all they can."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from tltools import datasets, plans, rates
from tltools.engine import adapters, boosting, classical, contrast, dense, heads, layouts, loop, outcomes, source_heads
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone
from tltools.engine.boundaries import BoundaryReader
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.fair_heads import fair_head
from tltools.engine.feeds import Feed
from tltools.engine.frame_backbone import FrameBackbone
from tltools.engine.neighbours import Neighbours, neighbours
from tltools.engine.parallel import Parallel
from tltools.engine.prototypes import prototypes
from tltools.engine.shared import Init, Shared
from tltools.engine.sweep import Want
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.training_rows import Rows, balance, scaled
from tltools.records import Dataset, Refusal, Split, Study, Trial
from tltools.strategies import HeadKind, Outcome, Recipe
from tltools.tickets import Ticket

LEAST_VALIDATION = 16  # rows below which there is no early stopping


class EngineKit(Shared):
    """One study's kit. Backbones, encoded rows and features are made once and shared by all its trials.

    Of a cross-validation each fold has a kit (`on`), which shares with the first what owes nothing to a fold's rows."""

    def __init__(self, ticket: Ticket, study: Study, dataset: Dataset, split: Split) -> None:
        super().__init__(ticket, study, dataset, split)
        self._fold: EngineKit | None = None
        self.parallel: Parallel | None = None  # where a training may go on beside others

    def on(self, split: str) -> EngineKit:
        """The kit for trials of a split, by its id: this one, or that of a fold; the last is kept."""
        fold = self if split == self.split.id else self._fold
        if fold is None or fold.split.id != split:
            fold = EngineKit(self.ticket, self.study, self.dataset, datasets.stored_split(self.home, split))
            fold.store, fold._plan, fold._backbones = self.store, self._plan, self._backbones
            fold._encoded, fold._views = self._encoded, self._views
            self._fold = fold
        return fold

    # --- what a strategy calls --------------------------------------------------------------------------------------

    def stages(self, trial: Trial) -> int:
        return len(self.backbone(trial, "source").stages)

    def probe(
        self,
        trials: Sequence[Trial],
        *,
        features: Literal["pooled", "layers"] = "pooled",
        init: Init = "source",
        head: HeadKind = "ridge",
    ) -> Iterator[Outcome]:
        if self.own:
            yield from (self.own.probe(self, trial, init) for trial in trials)
            return
        by_source: dict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            by_source[trial.source].append(trial)
        for group in by_source.values():
            clock = self.clock()
            backbone = self.backbone(group[0], init)
            table = self._features(backbone, features)
            drawn = [np.sort(np.concatenate(self.draw(trial))) for trial in group]
            place = np.full(self.dataset.rows, -1, np.int64)
            place[self._read] = np.arange(len(self._read))
            if head == "own":
                drawn = [rows[:0] for rows in drawn]  # no label is used
            fitted = self._heads(head, backbone, table, [place[rows] for rows in drawn])
            each = {name: seconds / len(group) for name, seconds in clock().items()}
            for trial, rows, one in zip(group, drawn, fitted, strict=True):
                self.ticket.check()
                clock, count = self.clock(), len(rows) + len(self.test)
                outputs = one.outputs(table[place[self.test]]).astype(np.float32)
                outcome = outcomes.of_probe(self, trial, backbone, one, outputs, rows, features, init)
                reading = self.store.reading(backbone, count, {features: count})
                yield replace(outcome, **_sum(each, clock()), reading=reading)

    def finetune(self, trial: Trial, recipe: Recipe) -> Outcome:
        if self.own:
            outcome: Outcome = self.own.finetune(self, trial, recipe)
            return outcome
        clock = self.clock()
        base = self.backbone(trial, recipe.init, seed=_seed(trial) if recipe.init == "random" else 0)
        train, validation = self.parts(trial, recipe)
        frozen = layouts.frozen_bottom(base, recipe, len(train))
        with self.aside():
            reader, boundary = self._reader(base, trial, recipe, frozen)
        if reader is not None:
            reader.hold(np.concatenate([train, validation]), self.device)
        encoded, steps = self.ready(base)
        place = loop.Place(self.device, steps.half, boundary, frozen, steps.threads, steps.speedup)
        values, scaling = scaled(self.targets, train, self.kind == "number")
        weights = balance(self.targets, train) if self.kind == "classes" else torch.ones(len(values))
        rows = Rows(train, validation, values, weights)

        def begin(k: int, multiplier: float) -> loop.Training:
            feed = Feed(encoded, reader, self.device, steps.channels_last, recipe)
            model = self._tuned(base, recipe, rows, feed, place, _seed(trial) + k)
            return loop.Training(
                model, feed, recipe, rows, place, self.task.loss, multiplier, _seed(trial) + k, self.ticket,
                self.checkpoint(trial, k), self.telling(trial),
                honest=loop.as_said if self.kind == "number" else outcomes.honest,
            )  # fmt: skip

        best = loop.best_of(recipe.rates_tried, begin, self.train)
        outcome = outcomes.of_training(self, trial, best, base, scaling, _seed(trial))
        count, wants = len(train) + len(validation) + len(self.test), dict[Want, int]()
        if reader is not None:
            wants[boundary] = count
        if _probed(base, recipe):
            wants["pooled"] = len(train)
        return replace(outcome, **clock(), reading=self.store.reading(base, count, wants))

    def contrast(self, trial: Trial, recipe: Recipe, *, texts: int, names: bool) -> Outcome:
        clock, seed = self.clock(), _seed(trial)
        base = self.backbone(trial, "source")
        train, validation = self.parts(trial, recipe)
        recipe = replace(recipe, epochs=plans.passes(texts, len(train)))
        frozen = layouts.frozen_bottom(base, recipe, len(train))
        encoded, steps = self.ready(base)
        rows = Rows(train, validation, torch.from_numpy(self.targets), balance(self.targets, train))
        with devices.seeded(seed):
            model = layouts.Tuned(base.twin(), self.task.width(self.dataset)).to(self.device.name)
        assert isinstance(model.backbone, TextBackbone)
        model.backbone.unit = True
        place = loop.Place(self.device, steps.half, 0, frozen, steps.threads, steps.speedup)
        told = contrast.named(self.dataset.classes) if names else []
        training = contrast.Contrast(
            model, Feed(encoded, None, self.device, steps.channels_last, recipe), recipe, rows,
            place, self.task.loss, 1.0, seed, self.ticket,
            self.checkpoint(trial, 0), self.telling(trial),
            names=Feed(base.encode(told), None, self.device, steps.channels_last, recipe) if told else None,
        )  # fmt: skip
        self.train(training)
        training.solve_head(model.head.out_features)
        outcome = outcomes.of_training(self, trial, training, base, (0.0, 1.0), seed)
        reading = self.store.reading(base, len(train) + len(validation) + len(self.test), {})
        return replace(outcome, card={**outcome.card, "unit": True}, **clock(), reading=reading)

    def by_group(self, outcome: Outcome, worth: float) -> Outcome:
        return outcomes.by_group(self, outcome, self._groups, worth)

    def classical(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        if self.own:
            yield from (dense.classical(self, trial) for trial in trials)
            return
        clock = self.clock()
        with self.aside():
            seen = classical.read(self.dataset.modality, classical.pick(self.view(self.dataset.modality), self._read))
        spent = clock()
        each, row = {name: seconds / len(trials) for name, seconds in spent.items()}, spent["shared"] / len(self._read)
        place = np.full(self.dataset.rows, -1, np.int64)
        place[self._read] = np.arange(len(self._read))
        made: dict[tuple[bytes, int], tuple[str, np.ndarray, dict[str, Any]]] = {}  # draws of all labels are alike
        for trial in trials:
            self.ticket.check()
            clock = self.clock()
            rows = np.sort(np.concatenate(self.draw(trial)))
            seed = _seed(trial) if classical.seeded(self.dataset.modality, len(rows)) else 0
            if (key := (rows.tobytes(), seed)) not in made:
                train, targets = classical.pick(seen, place[rows]), self.targets[rows]
                fitted = classical.Control(self.dataset, self.task, train, targets, seed=seed, was_read=True)
                made[key] = fitted.method, fitted.outputs(classical.pick(seen, place[self.test])), clock()
            method, outputs, took = made[key]
            card = {"method": method, "n_train": len(rows), "weights": classical.REFITTED}
            outcome = Outcome(trial, self.test, outputs, {}, card, 0.0, devices.peak_mb(), 0)
            yield replace(outcome, **_sum(each, took), reading=row * (len(rows) + len(self.test)))

    def boost(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        return (boosting.outcome(self, trial, _seed(trial)) for trial in trials)

    def train(self, training: loop.Training) -> loop.Fitted:
        """Runs a training that a trial has set up."""
        if self.parallel is not None:
            with self.aside():
                self.parallel.depart(training)
        return training.run()

    def checkpoint(self, trial: Trial, k: int) -> Checkpoint:
        """Where a trial's training by its k-th rate is kept until the trial is sealed."""
        return Checkpoint(self.checkpoints / f"{trial.id}-{k}")

    # --- shared parts -----------------------------------------------------------------------------------------------

    def parts(self, trial: Trial, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """(train rows, validation rows) for gradient steps: a handful of rows would choose by chance, so they train."""
        train, validation = self.draw(trial)
        if len(validation) < LEAST_VALIDATION or not recipe.hold_out:
            train, validation = np.sort(np.concatenate([train, validation])), validation[:0]
        return train, validation

    def _heads(
        self, kind: HeadKind, backbone: Backbone, table: np.ndarray, draws: list[np.ndarray]
    ) -> Sequence[heads.Head | Neighbours]:
        """A head per draw, of (rows of `_read`, D) features and positions in it."""
        if kind == "own":
            return [source_heads.of_classes(self.home, backbone, self.dataset.classes)] * len(draws)
        targets, width = self.targets[self._read], self.task.width(self.dataset)
        if kind == "ridge":
            return heads.fit_many(table, targets, draws, self.kind, classes=width)
        if kind == "prototypes" or kind == "neighbours":
            fit = prototypes if kind == "prototypes" else neighbours
            return heads.each_draw(draws, lambda rows: fit(table[rows], targets[rows], width))
        groups = self._groups[self._read]
        return heads.each_draw(draws, lambda rows: fair_head(kind, table[rows], targets[rows], groups[rows], width))

    def _reader(self, base: Backbone, trial: Trial, recipe: Recipe, frozen: int) -> tuple[BoundaryReader | None, int]:
        """Cached activations at the deepest boundary that no phase opens, and that boundary; (None, 0) where there is
        none, it does not pay, or it cannot be kept: then all stages are computed."""
        boundary = min(layout.boundary for layout in recipe.phases)
        if self._plan is not None:
            boundary = min(boundary, self._plan.boundary(trial, len(base.stages)))
        if recipe.augmentation_on or base.reads == "tabular" or recipe.init == "random":
            return None, 0
        if not frozen < boundary < len(base.stages) or not base.resumable[boundary]:
            return None, 0
        try:
            reader = self.store.boundary(base, lambda: self.encoded(base), self.keys, self._read, boundary, self.ticket)
        except Refusal as refusal:
            self.ticket.event("note", note=str(refusal))
            return None, 0
        return reader, boundary

    def _tuned(
        self, base: Backbone, recipe: Recipe, rows: Rows, feed: Feed, place: loop.Place, seed: int
    ) -> layouts.Tuned:
        """A model to train: a twin of the backbone, features standardised on the training rows, the head's start."""
        width = self.task.width(self.dataset)
        with devices.seeded(seed):
            model = layouts.Tuned(base.twin(), width)
            if isinstance(model.backbone, FrameBackbone):
                model.backbone.entry.draw()  # by the draw, whatever the frozen weights are
            if recipe.adapter:
                adapters.inject(model.backbone.core, **recipe.adapter)
        model.to(self.device.name)
        if _from_nothing(base, recipe):
            return model  # features of random weights say nothing about the features to come
        if recipe.head_start == "probe":
            features = self._features(base, "pooled")[np.searchsorted(self._read, rows.train)]
            values = rows.targets[rows.train].numpy()
            (head,) = heads.fit_many(features, values, [np.arange(len(values))], self.kind, classes=width)
            model.take_head(head)
        else:
            some = rows.train[np.linspace(0, len(rows.train) - 1, min(rates.STARTED, len(rows.train))).astype(np.int64)]
            layout, size = recipe.phases[0], recipe.smallest
            some = some[np.argsort(feed.lengths[some], kind="stable")]
            with torch.no_grad(), devices.seeded(seed), place.device.autocast(place.half):
                # norms that will read their batch see features unlike those that the source's statistics give
                if not layouts.set_modes(model, layout, recipe, place.boundary):
                    model.eval()
                taken = (feed.take(p, training=False) for p in np.array_split(some, max(1, len(some) // size)))
                backbone = model.backbone
                pooled = torch.cat(
                    [backbone(b) if s is None else backbone.resume(b, s, place.boundary) for b, s in taken]
                ).float()
                spread = pooled.std(0).nan_to_num(1.0) if len(some) > 1 else torch.ones_like(pooled[0])
                model.mean.copy_(pooled.mean(0))
                model.scale.copy_(torch.where(spread < spread.median() / 100, spread.median(), spread).clamp(min=1e-6))
        return model

    def telling(self, trial: Trial) -> Callable[[Mapping[str, float]], None]:
        return lambda facts: self.ticket.event("epoch", trial=trial.id, note=trial.strategy, **facts)


def _from_nothing(base: Backbone, recipe: Recipe) -> bool:
    return (recipe.init == "random" or not base.source.pretrained) and recipe.phases[0].part != "inputs"


def _probed(base: Backbone, recipe: Recipe) -> bool:
    """Whether the head starts on pooled features of the training rows."""
    return recipe.head_start == "probe" and not _from_nothing(base, recipe)


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one[name] + other[name] for name in one}


def _seed(trial: Trial) -> int:
    return 1 + trial.seed * 1009 + trial.draw
