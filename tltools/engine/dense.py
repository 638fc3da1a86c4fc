"""Trials of tasks that judge places of a row: a head over the maps of a backbone, trained by the usual loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tltools import augmentation
from tltools.engine import (
    adapters,
    augment,
    classical_dense,
    classical_written,
    heads_dense,
    layouts,
    loop,
    outcomes,
    plain_rules,
)
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Batch
from tltools.engine.classical_dense import Held
from tltools.engine.feeds import Feed
from tltools.engine.training_rows import Rows
from tltools.places import as_rows
from tltools.records import Dataset, Trial, refuse
from tltools.strategies import LOOKED_AT, Layout, Outcome, Recipe
from tltools.tasks import Task

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit
    from tltools.engine.shared import Init

LEVELS = 4  # maps that a head reads, the deepest first
FROZEN = Recipe(phases=(), epochs=20, min_steps=200)  # of a head on a frozen backbone
FROZEN_RATE = 3e-3
TIE = 1e-4  # what a loss weighs beside a score
MOST_KEPT = 1e9  # bytes of maps that are kept in a CPU's memory
KEPT = "map"  # of a batch whose map was computed before


class Places(layouts.Tuned):
    """A backbone and a head over its maps."""

    sound_batch = 8  # a scene counts for several pictures of one thing: blood cells were found better from 8 on

    def __init__(self, backbone: Backbone, task: Task, width: int) -> None:
        nn.Module.__init__(self)
        assert task.dense is not None
        self.backbone, self.task, self.dense = backbone, task, task.dense
        sizes = [one.shape[1 if one.dim() == 4 else -1] for one in self.maps(_sample(backbone))]
        self.head = getattr(heads_dense, task.dense.head)(sizes, width)

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, K, h, w) raw maps, or (B, W, K) of words; no activations are ever cached for them."""
        return self.backbone.settled(self.head(self.maps(batch)), batch)

    def taught(self, batch: Batch, targets: Tensor, options: Mapping[str, float]) -> Tensor:
        """(B,) losses of a batch that is learnt from."""
        return self.loss(self(batch).float(), targets, options)

    def loss(self, raw: Tensor, targets: Tensor, options: Mapping[str, float]) -> Tensor:
        """(B,) losses of raw outputs."""
        found: Tensor = self.task.loss(raw, targets, options)
        return found

    def decode(self, raw: np.ndarray) -> np.ndarray:
        """Raw outputs (M, ...) as outputs of the task."""
        return self.task.decode(raw)

    def facts(self) -> dict[str, Any]:
        """What a trial's card says of the model."""
        return {"features": "maps"}

    def shape(self) -> tuple[int, ...]:
        """(h, w) of the raw maps."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        with torch.no_grad():
            raw = self(_sample(self.backbone))
        for module, mode in modes:
            module.training = mode
        return tuple(raw.shape[2:])

    def maps(self, batch: Batch) -> list[Tensor]:
        if KEPT in batch:
            return [batch[KEPT]]
        found = [one for _, one in self.backbone.maps(batch)]
        if len(found) < self.dense.levels:
            what = "gives no maps at several strides, which a head for places of a picture needs."
            raise refuse(self.backbone.source.id, what, "Choose a convolutional network, such as a MobileNet.")
        return found[-LEVELS:]


class Mapped(Protocol):
    """A model whose head reads maps."""

    backbone: Backbone

    def eval(self) -> Any: ...
    def maps(self, batch: Batch) -> list[Tensor]:
        """Maps of a batch, or those that it brings."""


class KeptMaps:
    """Batches of a frozen backbone, whose single map of rows is computed once: a vector a word or token, of texts."""

    def __init__(
        self,
        feed: loop.Feed,
        model: Mapped,
        rows: np.ndarray,
        place: loop.Place,
        check: Callable[[], None],
        most: int = LOOKED_AT,
    ) -> None:
        """most: rows of a batch."""
        self.feed, self.lengths = feed, feed.lengths
        self.maps: dict[int, Tensor] = {}
        model.eval()
        order = rows[np.argsort(feed.lengths[rows], kind="stable")]
        with torch.no_grad(), place.device.autocast(place.half):
            for start in range(0, len(order), most):
                check()
                some = order[start : start + most]
                batch, _ = feed.take(some, training=False)
                (found,) = model.maps(batch)
                self.maps |= {int(row): one.float() for row, one in zip(some, found, strict=True)}

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[Batch, Tensor | None]:
        batch, states = self.feed.take(rows, training=training)
        if all(int(row) in self.maps for row in rows):
            width = batch.get("starts", batch["attention_mask"]).shape[1]
            kept = [self.maps[int(row)][:width] for row in rows]
            batch[KEPT] = torch.stack([nn.functional.pad(one, (0, 0, 0, width - len(one))) for one in kept])
        return batch, states


@dataclass
class Training(loop.Training):
    """As the loop trains everything; pictures and their truth are changed alike, at least mirrored half of the time.

    The best epoch is that of the best score of the validation rows: their loss counts every place, and was seen to rise
    from the third epoch of a tagger on, while its entities still got better.
    """

    task: Task | None = None
    truth: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (N,) of the whole dataset
    changed: Mapping[str, Any] = field(default_factory=dict)  # settings of `tltools.augmentation`

    @property
    def places(self) -> Places:
        """The model, where it judges places."""
        assert isinstance(self.model, Places)
        return self.model

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) losses of a batch."""
        assert self.task is not None and self.task.dense is not None
        batch, _ = self.feed.take(rows, training=True)
        targets = devices.moved(self.rows.targets[rows], self.place.device.name)
        if moved := self.task.dense.moved:
            part = rows[:1] if self.recipe.rows_at_once else ()  # each part of a batch is changed in its own way
            random = np.random.default_rng([self.seed, self.at.steps, *part])
            changes = augmentation.drawn({**self.changed, "flip": True}, len(rows), random)
            targets = moved(targets, torch.from_numpy(changes.matrix).to(targets.device))
            batch = {**batch, "pixel_values": augment.moved(batch["pixel_values"], changes)}
        with self.place.device.autocast(self.place.half):
            return self.places.taught(batch, targets, {"smoothing": self.recipe.smoothing})

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) object array of what the model as it stands says of rows."""
        assert self.task is not None and self.task.dense is not None
        some_rows = (
            8 * self.task.dense.batch
        )  # decoded at a time: raw maps are large, and texts sorted by length within
        parts = np.array_split(rows, -(-len(rows) // some_rows))
        return np.concatenate([self.places.decode(self.predict(some).numpy()) for some in parts])

    def choice(self, loss: float, raw: Tensor) -> float:
        """The score, negated where more is better; the loss decides between epochs that find nothing or everything."""
        assert self.task is not None
        metric = self.task.metrics[0]
        score = metric.score(self.truth[self.rows.validation], self.places.decode(raw.numpy()))
        score = 0.0 if math.isnan(score) else score  # rows without a single object: the loss alone decides
        return (-score if metric.higher_is_better else score) + TIE * loss


def places(backbone: Backbone, task: Task, dataset: Dataset) -> Places:
    """The model of a task: with the head that the network brings, or with one of the house's."""
    return backbone.with_own_head(task, dataset) or Places(backbone, task, task.width(dataset))


def prepare(backbone: Backbone, task: Task, dataset: Dataset) -> None:
    """Lets a new backbone read rows as the task needs them; called once."""
    assert task.dense is not None
    backbone.read_at(task.dense.side, task.dense.tokens, task.dense.asked)


def finetune(kit: EngineKit, trial: Trial, recipe: Recipe) -> Outcome:
    """As `EngineKit.finetune`; the layouts say what of the backbone is trained beside the head."""
    clock, seed, dense = kit.clock(), 1 + trial.seed * 1009 + trial.draw, kit.task.dense
    assert dense is not None
    if recipe.augmentation.get("rotate"):
        raise refuse("rotate", "cannot turn boxes or masks with their pictures.", "Set it to 0; scale and crop can.")
    changed = recipe.augmentation
    recipe = replace(recipe, batch_size=min(dense.batch, recipe.batch_size), head_start="random", augmentation={})
    base = kit.backbone(trial, recipe.init, seed=seed if recipe.init == "random" else 0)
    train, validation = kit.parts(trial, recipe)
    encoded, steps = kit.ready(base)
    frozen = layouts.frozen_bottom(base, recipe, len(train))
    place = loop.Place(kit.device, steps.half, 0, frozen, steps.threads, steps.speedup)

    def begin(k: int, multiplier: float) -> Training:
        with devices.seeded(seed + k):
            model = places(base.twin(), kit.task, kit.dataset)
            if recipe.adapter:
                adapters.inject(model.backbone.core, **recipe.adapter)
        model.to(kit.device.name)
        targets = torch.from_numpy(dense.tensors(kit.targets, model.shape()))
        rows = Rows(train, validation, targets, torch.ones(len(targets)))
        feed = Feed(encoded, None, kit.device, steps.channels_last, recipe)
        return Training(
            model, read_once(kit, feed, model, rows, place, recipe), recipe, rows, place, model.loss, multiplier,
            seed + k, kit.ticket, kit.checkpoint(trial, k), kit.telling(trial),
            task=kit.task, truth=kit.targets, changed=changed,
        )  # fmt: skip

    best = loop.best_of(recipe.rates_tried, begin, kit.train)
    found = outcome(kit, trial, best, base, seed, train)
    reading = kit.store.reading(base, len(train) + len(validation) + len(kit.test), {})
    return replace(found, card={**found.card, **best.places.facts()}, **clock(), reading=reading)


def read_once(
    kit: EngineKit, feed: loop.Feed, model: Mapped, rows: Rows, place: loop.Place, recipe: Recipe
) -> loop.Feed:
    """The feed itself, or one that holds the maps of a frozen backbone: of texts, which are never changed."""
    seen = np.concatenate([rows.train, rows.validation])
    frozen = not any(any(layout.rates) for layout in recipe.phases)
    few = 4 * model.backbone.width * feed.lengths[seen].sum() < kit.device.spare(MOST_KEPT)
    moved = kit.task.dense is not None and kit.task.dense.moved is not None
    keep = frozen and few and not moved
    return KeptMaps(feed, model, seen, place, kit.ticket.check, recipe.looked_at) if keep else feed


def probe(kit: EngineKit, trial: Trial, init: Init) -> Outcome:
    """A head on a frozen backbone: there is no closed form for it, so it takes gradient steps."""
    layout = Layout(rates=(0.0,) * kit.stages(trial), head=FROZEN_RATE)
    return finetune(kit, trial, replace(FROZEN, phases=(layout,), init=init))


def control(task: Task) -> Callable[[Any, np.ndarray, Any, int], tuple[np.ndarray, str]]:
    """The task's classical control: (rows, truth, wanted rows, seed) -> (outputs, what it is)."""
    assert task.objects is not None
    found: Callable[[Any, np.ndarray, Any, int], tuple[np.ndarray, str]]
    if task.written:
        return _by_rule(getattr(classical_written, task.objects.classical))
    found = getattr(classical_dense, task.objects.classical)
    return found


def _by_rule(learned: Callable[[Any, np.ndarray], plain_rules.Rule]) -> Callable[..., tuple[np.ndarray, str]]:
    def said(rows: Any, truth: np.ndarray, wanted: Any, seed: int) -> tuple[np.ndarray, str]:
        rule = learned(rows, truth)
        return as_rows([rule.say(str(item), rule.known) for item in wanted]), rule.method

    return said


def classical(kit: EngineKit, trial: Trial) -> Outcome:
    """What one would do without a network; see `control`."""
    clock, rows = kit.clock(), np.sort(np.concatenate(kit.draw(trial)))
    with kit.aside():
        items, truth = kit.seen_by_control
        train, codes, test = items.of(rows), as_rows(truth.of(rows)), items.of(kit.test)
    outputs, method = control(kit.task)(train, codes, test, trial.seed)
    card = {"method": method, "n_train": len(rows), "weights": "not kept: refitted from its rows when needed"}
    found = Outcome(trial, kit.test, outputs, {}, card, 0.0, devices.peak_mb(), 0)
    reading = items.seconds([*rows, *kit.test]) + truth.seconds(rows)
    return replace(found, **clock(), reading=reading)


def seen_by_control(task: Task, items: Sequence[Any], truth: np.ndarray) -> tuple[Held, Held]:
    """Items and truth of all rows as the task's control reads them, which is the same in each of its trials."""
    assert task.objects is not None
    read, fitted = classical_dense.READ.get(task.objects.classical, (None, None))
    return Held(items, read), Held(truth, fitted)


def outcome(kit: EngineKit, trial: Trial, training: Training, base: Backbone, seed: int, train: np.ndarray) -> Outcome:
    """What a trained model came to; `train` are the training rows that it is scored on, too."""
    model, rows, fitted, metric = training.model, training.rows, training.at, kit.task.metrics[0]
    card: dict[str, Any] = {
        "init": training.recipe.init, "init_seed": seed if training.recipe.init == "random" else 0,
        "n_train": len(rows.train) + len(rows.validation), "n_validation": len(rows.validation),
        "rate_multiplier": training.multiplier, "steps": fitted.steps, "stopped_early": fitted.stopped_early,
        "side": base.size, "bf16": training.place.half,
        "backbone_trained": any(max(one.rates) > 0 for one in training.recipe.phases),
        "train_score": metric.score(kit.targets[train], training.outputs(train)),
    }  # fmt: skip
    if len(rows.validation):
        held = training.outputs(rows.validation)
        card["validation_score"] = metric.score(kit.targets[rows.validation], held)
        card["validation_outputs"] = {"rows": rows.validation, "outputs": held}
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    test = training.outputs(kit.test)
    if training.recipe.adapter:
        adapters.merge(model)
    weights = outcomes.of_head(model)
    weights |= outcomes.differing(model.backbone, base)
    return Outcome(trial, kit.test, test, weights, card, 0.0, devices.peak_mb(), trained, fitted.curve)


def _sample(backbone: Backbone) -> Batch:
    device = next(backbone.parameters()).device
    return {name: value.to(device) for name, value in backbone.sample(1, 1).items()}
