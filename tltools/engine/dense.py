"""Trials of tasks that judge places of a picture: a head over the maps of a backbone, trained by the usual loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import classical_dense, heads_dense, layouts, loop, outcomes
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Batch
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.feeds import Feed
from tltools.records import Trial, refuse
from tltools.strategies import Layout, Outcome, Recipe
from tltools.tasks import Dense, Task

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit, Init

BATCH = 8  # rows of a step at most: each of them has thousands of places to learn from
LEVELS = 4  # maps that a head reads, the deepest first
FROZEN = Recipe(phases=(), epochs=20, min_steps=200, batch_size=BATCH)  # of a head on a frozen backbone
FROZEN_RATE = 3e-3


class Places(layouts.Tuned):
    """A backbone and a head over its maps."""

    def __init__(self, backbone: Backbone, task: Task, width: int) -> None:
        nn.Module.__init__(self)
        assert task.dense is not None
        self.backbone = backbone
        sizes = [one.shape[1] for one in self._maps(_sample(backbone))]
        self.head = getattr(heads_dense, task.dense.head)(sizes, width)

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, K, h, w) raw maps; no activations are ever cached for them."""
        raw: Tensor = self.head(self._maps(batch))
        return raw

    def shape(self) -> tuple[int, int]:
        """(h, w) of the raw maps."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        with torch.no_grad():
            raw = self(_sample(self.backbone))
        for module, mode in modes:
            module.training = mode
        return int(raw.shape[2]), int(raw.shape[3])

    def _maps(self, batch: Batch) -> list[Tensor]:
        found = self.backbone.maps(batch)
        if len(found) < 2:
            what = "gives no maps at several strides, which a head for places of a picture needs."
            raise refuse(self.backbone.source.id, what, "Choose a convolutional network, such as a MobileNet.")
        return found[-LEVELS:]


@dataclass
class Training(loop.Training):
    """As the loop trains everything, and every other batch turned left to right with its truth."""

    dense: Dense | None = None

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) losses of a batch."""
        assert self.dense is not None
        batch, _ = self.feed.take(rows, training=True)
        targets = self.rows.targets[rows].to(self.place.device.name)
        if np.random.default_rng([self.seed, self.at.steps]).random() < 0.5:
            batch = {name: value.flip(-1) for name, value in batch.items()}
            targets = self.dense.mirrored(targets)
        with self.place.device.autocast(self.place.half):
            raw = self.model(batch)
        return self.loss(raw.float(), targets, {"smoothing": self.recipe.smoothing})


def finetune(kit: EngineKit, trial: Trial, recipe: Recipe) -> Outcome:
    """As `EngineKit.finetune`; the layouts say what of the backbone is trained beside the head."""
    started, seed, dense = time.monotonic(), 1 + trial.seed * 1009 + trial.draw, kit.task.dense
    assert dense is not None
    if recipe.augmentation_on:
        what = "changes pictures but not their masks or boxes; they are mirrored together without it."
        raise refuse("augmentation", what, "Set its knobs to 0.")
    recipe = replace(recipe, batch_size=min(BATCH, recipe.batch_size), head_start="random")
    base = kit.backbone(trial.source, recipe.init, seed=seed if recipe.init == "random" else 0)
    train, validation = kit.draw(trial)
    encoded = kit.encoded(base)
    place = loop.Place(kit.device)
    tried: list[tuple[float, int, Training]] = []
    for k, multiplier in enumerate(recipe.rates_tried):
        with devices.seeded(seed + k):
            model = Places(base.twin(), kit.task, kit.task.width(kit.dataset))
        model.to(kit.device.name)
        targets = torch.from_numpy(dense.tensors(kit.targets, model.shape()))
        rows = loop.Rows(train, validation, targets, torch.ones(len(targets)))
        training = Training(
            model, Feed(encoded, None, kit.device, False, recipe), recipe, rows, place, kit.task.loss, multiplier,
            seed + k, kit.ticket, Checkpoint(kit.home.jobs / "checkpoints" / f"{trial.id}-{k}"), kit.telling(trial),
            dense=dense,
        )  # fmt: skip
        tried.append((training.run().validation_loss, k, training))
    *_, best = min(tried, key=lambda item: item[:2])
    return replace(_outcome(kit, trial, best, base, seed), seconds=time.monotonic() - started)


def probe(kit: EngineKit, trial: Trial, init: Init) -> Outcome:
    """A head on a frozen backbone: there is no closed form for it, so it takes gradient steps."""
    layout = Layout(rates=(0.0,) * kit.stages(trial), head=FROZEN_RATE)
    return finetune(kit, trial, replace(FROZEN, phases=(layout,), init=init))


def control(task: Task) -> Callable[[Any, np.ndarray, Any, int], tuple[np.ndarray, str]]:
    """The task's classical control: (pictures, truth, wanted pictures, seed) -> (outputs, what it is)."""
    assert task.dense is not None
    found: Callable[[Any, np.ndarray, Any, int], tuple[np.ndarray, str]]
    found = getattr(classical_dense, task.dense.classical)
    return found


def classical(kit: EngineKit, trial: Trial) -> Outcome:
    """What one would do without a network; see `classical_dense`."""
    started = time.monotonic()
    rows = np.sort(np.concatenate(kit.draw(trial)))
    items = kit.view(kit.dataset.modality)
    outputs, method = control(kit.task)(
        [items[i] for i in rows], kit.targets[rows], [items[i] for i in kit.test], trial.seed
    )
    card = {"method": method, "n_train": len(rows), "weights": "not kept: refitted from its rows when needed"}
    return Outcome(trial, kit.test, outputs, {}, card, time.monotonic() - started, outcomes.peak_mb(), 0)


def _outcome(kit: EngineKit, trial: Trial, training: Training, base: Backbone, seed: int) -> Outcome:
    model, rows, fitted, metric = training.model, training.rows, training.at, kit.task.metrics[0]

    def outputs(of: np.ndarray) -> np.ndarray:
        found = [kit.task.decode(training.predict(some).numpy()) for some in np.array_split(of, -(-len(of) // 64))]
        return np.concatenate(found)

    card: dict[str, Any] = {
        "features": "maps", "init": training.recipe.init, "init_seed": seed if training.recipe.init == "random" else 0,
        "n_train": len(rows.train) + len(rows.validation), "n_validation": len(rows.validation),
        "rate_multiplier": training.multiplier, "steps": fitted.steps, "stopped_early": fitted.stopped_early,
        "side": base.size, "backbone_trained": any(max(one.rates) > 0 for one in training.recipe.phases),
        "train_score": metric.score(kit.targets[rows.train], outputs(rows.train)),
    }  # fmt: skip
    if len(rows.validation):
        held = outputs(rows.validation)
        card["validation_score"] = metric.score(kit.targets[rows.validation], held)
        card["validation_outputs"] = {"rows": rows.validation, "outputs": held}
    weights = {f"head.{name}": value.cpu().numpy() for name, value in model.head.state_dict().items()}
    weights |= outcomes.differing(model.backbone, base)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    test = outputs(kit.test)
    return Outcome(trial, kit.test, test, weights, card, 0.0, outcomes.peak_mb(), trained, fitted.curve)


def _sample(backbone: Backbone) -> Batch:
    device = next(backbone.parameters()).device
    return {name: value.to(device) for name, value in backbone.sample(1, 1).items()}
