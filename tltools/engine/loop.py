"""The loop that trains: any backbone, any recipe; resumable to the bit on a CPU.

What is not trained costs nothing: it has no gradients, no optimiser state, stays in eval mode, and below the boundary
it is not even computed when the cached activations are there. Classes weigh the same however rare they are, as in the
closed-form heads and the classical control, so that arms differ in what they know and not in what they count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import autotune
from tltools.engine.backbone import Batch
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.device import Device, moved, threads
from tltools.engine.layouts import Tuned, arrange, kept, opened, schedule, set_rates
from tltools.engine.training_rows import Rows, batches
from tltools.strategies import LOOKED_AT, Recipe
from tltools.tickets import BudgetSpent, Interrupted, Ticket

EVALUATE_EVERY = 20  # optimiser steps at least between two evaluations: with 4 steps an epoch, more would be waste
CLIP = 1.0  # of the gradient's norm
Loss = Callable[[Tensor, Tensor, Mapping[str, float]], Tensor]
T = TypeVar("T", bound="Training")


def as_said(raw: Tensor, targets: Tensor) -> Tensor:
    """Raw outputs as they are: for losses that no temperature belongs to."""
    return raw


class Feed(Protocol):
    """Where batches come from: rows of the dataset by number."""

    lengths: np.ndarray  # (N,) cost of every row of the dataset

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[Batch, Tensor | None]:
        """(batch, cached activations at the boundary or None), on the device."""


@dataclass(frozen=True)
class Place:
    """Where and how it is computed."""

    device: Device
    half: bool = False  # bf16 autocast
    boundary: int = 0  # stages that the feed answers from the cache
    frozen_bottom: int = 0  # stages that are never trained, whatever the layouts say
    threads: int = 0  # of the steps; 0: all
    speedup: float = 1.0  # of the steps by all threads, over one


@dataclass
class Fitted:
    """What training came to, and where it stands: all of it goes into the checkpoint."""

    least: float = math.inf  # of what epochs are chosen by, see `Training.choice`
    train_loss: float = math.nan
    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    stopped_early: bool = False
    phase: int = -1
    epoch: int = 0
    batch: int = 0  # of this epoch, that many are done
    total: float = 0.0  # loss summed over this epoch's rows so far
    waited: int = 0  # evaluations without a better one, in this phase
    seconds: float = 0.0


@dataclass
class Training:
    """One model being trained by one recipe. `multiplier` scales all rates; `told` hears every evaluated epoch.

    The order of batches and all random numbers are functions of `seed`, so that a run that was interrupted goes on
    from its checkpoint as if nothing had happened.
    """

    model: Tuned
    feed: Feed
    recipe: Recipe
    rows: Rows
    place: Place
    loss: Loss
    multiplier: float
    seed: int
    ticket: Ticket
    checkpoint: Checkpoint
    told: Callable[[Mapping[str, float]], None] = lambda facts: None
    honest: Callable[[Tensor, Tensor], Tensor] = as_said  # (n, K) raw outputs of held rows -> what their loss is of
    at: Fitted = field(default_factory=Fitted)
    best: dict[str, Tensor] = field(default_factory=dict)  # the weights of the best epoch so far

    def run(self) -> Fitted:
        """Trains the model in place and leaves it with the weights of the best epoch."""
        with threads(self.place.threads):
            return self._run()

    def _run(self) -> Fitted:
        torch.manual_seed(self.seed)
        recipe, model, bottom = self.recipe, self.model, self.place.frozen_bottom
        per_epoch = len(self.batches())  # as many in every epoch
        epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch), len(recipe.phases))
        ends = [round(epochs * (i + 1) / len(recipe.phases)) for i in range(len(recipe.phases))]
        every = max(1, math.ceil(EVALUATE_EVERY / per_epoch))
        self.moving: set[str] = set().union(*(opened(model, layout, bottom) for layout in recipe.phases))
        named = model.backbone.named_parameters() if recipe.anchor else ()
        self.anchors = {name: parameter.detach().clone() for name, parameter in named}
        began = {n: v.clone() for n, v in model.state_dict().items() if recipe.tuned < 1 and v.is_floating_point()}
        saved = self.checkpoint.load()
        if saved is not None:
            self.at, self.best = Fitted(**saved.fitted), saved.part("best.")
        elif recipe.head_start == "probe" and len(self.rows.validation):
            self.evaluate()  # the closed-form start is a candidate too: tuning must beat it
        at = self.at
        for phase, layout in enumerate(recipe.phases):
            if at.epoch >= ends[phase]:
                continue
            self.optimiser = arrange(model, layout, recipe, self.multiplier, bottom)
            if saved is not None:
                saved.restore(model, self.optimiser if at.phase == phase else None)
            at.waited, at.phase, saved = at.waited if at.phase == phase else 0, phase, None
            while at.epoch < ends[phase] and not (recipe.patience and at.waited >= recipe.patience):
                self._epoch(per_epoch * epochs)
                if at.epoch % every == 0 or at.epoch == ends[phase]:
                    self.evaluate()
            if at.epoch < ends[phase]:  # no progress any more: on to the next phase, or to the end
                at.stopped_early, at.epoch = True, ends[phase]
        model.load_state_dict(self.best, strict=False)
        ended = model.state_dict()
        mixed = {name: start.lerp(ended[name], recipe.tuned) for name, start in began.items()}
        model.load_state_dict(mixed, strict=False)
        model.eval()
        self._let_go()
        return at

    def _let_go(self) -> None:
        """Keeps the model alone of what training needed: another rate may be trained beside it."""
        self.model.zero_grad(set_to_none=True)
        self.best, self.anchors = {}, {}
        vars(self).pop("optimiser", None)  # there is none where a checkpoint was at the end already

    def batches(self) -> list[np.ndarray]:
        """The rows of this epoch, batch by batch: each training row, as often as `Rows.times` says."""
        rows = np.repeat(self.rows.train, self.rows.times[self.rows.train])
        return batches(rows, self.feed.lengths, self.recipe.batch_size, self.seed, self.at.epoch)

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) weighted losses of a batch."""
        device = self.place.device
        weights = moved(self.rows.weights[rows] / torch.from_numpy(self.rows.times[rows]), device.name)
        batch, states = self.feed.take(rows, training=True)
        with device.autocast(self.place.half):
            raw = self.model(batch, states, self.place.boundary)
            targets = moved(self.rows.targets[rows], device.name)
            return self.loss(raw.float(), targets, {"smoothing": self.recipe.smoothing}) * weights

    def _epoch(self, steps: int) -> None:
        """Goes on with the epoch where it stands; `steps` is the length of the schedule."""
        at, started = self.at, time.monotonic() - self.at.seconds
        total = torch.tensor(at.total, device=self.place.device.name)  # read once an epoch: reading waits for a GPU
        order = self.batches()
        name = self.model.backbone.source.name
        for rows in order[at.batch :]:
            try:
                self.ticket.check()
            except Interrupted:
                self._save(total)
                raise
            set_rates(self.optimiser, schedule(at.steps, steps, self.recipe.warmup))
            total += self._step(rows)
            at.steps, at.batch, at.seconds = at.steps + 1, at.batch + 1, time.monotonic() - started
            self.ticket.working_on(f"{name}, epoch {at.epoch + 1} of at most {steps // len(order)}")
            if self.checkpoint.due():
                self._save(total)
        at.train_loss, at.total, at.batch, at.epoch = float(total) / len(self.rows.train), 0.0, 0, at.epoch + 1

    def _step(self, rows: np.ndarray) -> Tensor:
        """One optimiser step; returns the loss summed over the rows. A batch that is computed in parts gives the
        gradient of the whole one, but for norms that read their batch."""
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.place.device.name)
        parts = math.ceil(len(rows) / (self.recipe.rows_at_once or len(rows)))
        for part in np.array_split(rows, parts):
            each = self.losses(part)
            (each.sum() / len(rows)).backward()  # type: ignore[no-untyped-call]
            total += each.detach().sum()
        if self.anchors:
            (self.recipe.anchor / 2 * pull(self.model, self.anchors)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for group in self.optimiser.param_groups for p in group["params"]], CLIP)
        self.optimiser.step()
        return total

    def evaluate(self) -> None:
        """Notes the losses, and the weights when they are the best so far; without validation rows only the first.

        The validation loss is that of `honest` outputs: a model that has become sure of itself too early is mended by
        one number afterwards, so it must not lose to an earlier one that knows less.
        """
        at, held = self.at, self.rows.validation
        facts = {"epoch": float(at.epoch), "train_loss": at.train_loss, "seconds": at.seconds}
        if len(held):
            raw, targets = self.predict(held), self.rows.targets[held]
            each = self.loss(self.honest(raw, targets), targets, {})
            found = float((each * self.rows.weights[held]).sum() / self.rows.weights[held].sum())
            choice = self.choice(found, raw)
            choice = choice if math.isfinite(choice) else math.inf  # weights that went to nothing lose to any others
            at.waited = 0 if choice < at.least or not self.best else at.waited + 1
            if not at.waited:
                at.least = choice
                state = self.model.state_dict()
                self.best = {name: value.detach().clone() for name, value in state.items() if kept(name, self.moving)}
            facts["validation_loss"] = found
        if at.epoch:
            at.curve.append(facts)
            self.told(facts)

    def choice(self, loss: float, raw: Tensor) -> float:
        """What the best epoch has least of, by loss and raw outputs of the validation rows: the loss."""
        return loss

    def predict(self, rows: np.ndarray, *, pooled: bool = False) -> Tensor:
        """`predict` by the model as it stands; a cancelled job stops within a batch."""
        most = self.recipe.looked_at
        return predict(self.model, self.feed, rows, self.place, self._check_cancelled, pooled=pooled, most=most)

    def _check_cancelled(self) -> None:
        try:
            self.ticket.check()
        except BudgetSpent:
            raise
        except Interrupted:  # waits for the next step, which saves a checkpoint first
            pass

    def _save(self, total: Tensor) -> None:
        self.at.total = float(total)
        state = {name: value for name, value in self.model.state_dict().items() if kept(name, self.moving)}
        self.checkpoint.save(state, self.optimiser, self.best, vars(self.at), self.at.steps)


def best_of(rates: Sequence[float], begin: Callable[[int, float], T], run: Callable[[T], Fitted]) -> T:
    """The training with the least loss, the first of equal ones; `begin` sets up that of the k-th rate. Without
    validation rows there is no loss to choose by: then the first rate alone is tried.

    Of the others nothing is held, so that two models at most are in memory."""
    best: T | None = None
    for k, multiplier in enumerate(rates):
        training = begin(k, multiplier)
        fitted = run(training)
        if best is None or fitted.least < best.at.least:
            best = training
        if not len(training.rows.validation):
            break  # nothing says which is the best
        del training  # else it would live until the next one is set up
    assert best is not None, "a recipe tries one rate at least"
    return best


def predict(
    model: Tuned,
    feed: Feed,
    rows: Sequence[int] | np.ndarray,
    place: Place,
    check: Callable[[], None] = lambda: None,
    *,
    pooled: bool = False,
    most: int = LOOKED_AT,
) -> Tensor:
    """(len(rows), K, or K and places) raw outputs in the order of `rows`, float32 on the CPU; in batches
    of a sweep, of `most` rows at most, `check` called before each. With `pooled` the (len(rows), D) features that the
    head reads."""
    rows = np.asarray(rows, np.int64)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    sweep = autotune.batches(model.backbone.reads, feed.lengths[rows])
    order = [part for some in sweep for part in np.array_split(some, -(-len(some) // most))]
    read = model.pooled if pooled else model
    found = torch.empty(0, model.backbone.width if pooled else model.head.out_features)
    with torch.no_grad(), place.device.autocast(place.half):
        for k, some in enumerate(order):
            check()
            batch, states = feed.take(rows[some], training=False)
            raw = read(batch, states, place.boundary).float().cpu()
            if not k:
                found = torch.empty(len(rows), *raw.shape[1:])
            found[torch.from_numpy(some)] = raw
    for module, mode in modes:
        module.training = mode
    return found


def pull(model: Tuned, anchors: Mapping[str, Tensor]) -> Tensor:
    """Squared distance of the trained source weights from where they started (L2-SP, arXiv 1802.01483)."""
    return torch.stack(
        [(p - anchors[name]).square().sum() for name, p in model.backbone.named_parameters() if p.requires_grad]
    ).sum()
