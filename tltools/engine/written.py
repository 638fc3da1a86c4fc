"""Trials of tasks whose target is a text: what writes it is trained by the usual loop, as the head of a backbone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tltools.engine import adapters, dense, generators, layouts, loop, training_rows
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Batch
from tltools.engine.decoder import Decoder
from tltools.engine.feeds import Feed
from tltools.engine.generators import PretrainedDecoder
from tltools.engine.pieces import NONE, rows_of
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.writers import TAUGHT, Continuer, wording, writer
from tltools.places import as_rows
from tltools.records import Dataset, Trial, refuse
from tltools.strategies import Layout, Outcome, Recipe
from tltools.tasks import Task, Written

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit
    from tltools.engine.shared import Init

FROZEN = Recipe(phases=(), epochs=15, min_steps=200)  # of a decoder on a frozen encoder
FROZEN_RATE = 1e-3
KNOWN_RATE = 1e-4  # of what knows how to write, where no rate of the backbone is its own
SMOOTHING = 0.1  # of the pieces, where the recipe says nothing else
JUDGED = 200  # validation rows that are written after an epoch, and training rows at the end


@dataclass
class Training(dense.Training):
    """As the loop trains everything, by the next piece of the reference.

    The best epoch is that of the best score of what is written of some validation rows: their loss rises while what is
    written still gets better. Writing is slow, so that more rows would cost more than they tell.
    """

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) losses of a batch."""
        batch, _ = self.feed.take(rows, training=True)
        return self._teach(batch, rows, {"smoothing": self.recipe.smoothing or SMOOTHING})

    def predict(self, rows: np.ndarray, *, pooled: bool = False) -> Tensor:
        """(len(rows), 1) losses of the references: all that the loop asks for. Texts come from `outputs`."""
        found = torch.empty(len(rows), 1)
        for some, batch in self._looked(rows):
            found[torch.from_numpy(some), 0] = self._teach(batch, rows[some], {}).cpu()
        return found

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) object array of the texts that the model as it stands writes."""
        found = [""] * len(rows)
        for some, batch in self._looked(rows):
            with self.place.device.autocast(self.place.half):
                for place, text in zip(some, self.model.write(batch, self.card.once), strict=True):  # type: ignore[operator]
                    found[place] = text
        assert self.task is not None
        return self.task.decode(as_rows(found))

    def choice(self, loss: float, raw: Tensor) -> float:
        """The score, negated where more is better, of some validation rows; the loss decides between equal ones."""
        rows = spread(self.rows.validation)
        assert self.task is not None
        metric = self.task.metrics[0]
        score = metric.score(self.truth[rows], self.outputs(rows))
        return (-score if metric.higher_is_better else score) + dense.TIE * loss

    @property
    def card(self) -> Written:
        assert self.task is not None and self.task.written is not None
        return self.task.written

    def _teach(self, batch: Batch, rows: np.ndarray, options: dict[str, float]) -> Tensor:
        assert self.task is not None
        wanted = self.rows.targets[rows]
        wanted = devices.moved(wanted[:, : int((wanted != NONE).sum(1).max())], self.place.device.name)
        with self.place.device.autocast(self.place.half):
            raw = self.model({**batch, TAUGHT: wanted})
        found: Tensor = self.task.loss(raw.float(), wanted, options)
        return found

    def _looked(self, rows: np.ndarray) -> Any:
        """Batches of rows of similar length that are only looked at: (places in `rows`, batch)."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        order = np.argsort(self.feed.lengths[rows], kind="stable")
        with torch.no_grad():
            for start in range(0, len(order), self.recipe.looked_at):
                self._check_cancelled()
                some = order[start : start + self.recipe.looked_at]
                yield some, self.feed.take(rows[some], training=False)[0]
        for module, mode in modes:
            module.training = mode


def spread(rows: np.ndarray) -> np.ndarray:
    """At most `JUDGED` of some rows, from everywhere among them."""
    return rows[np.linspace(0, len(rows) - 1, min(JUDGED, len(rows))).astype(np.int64)]


def prepare(backbone: Backbone, task: Task, dataset: Dataset) -> None:
    """Lets a new backbone read rows as the task needs them; called once.

    Raises:
        Refusal: it gives no states of tokens, or see `generators.prepare`.
    """
    assert task.written is not None
    if not isinstance(backbone, TextBackbone):
        what = "reads no texts, so that there is nothing to write from."
        raise refuse(backbone.source.id, what, "Choose a text source model.")
    if backbone.generator:
        generators.prepare(backbone, task, dataset)
    backbone.read_at(0, task.written.tokens, words=False)


def finetune(kit: EngineKit, trial: Trial, recipe: Recipe) -> Outcome:
    """As `EngineKit.finetune`; the layouts say what of the encoder is trained beside the decoder."""
    clock, seed, card = kit.clock(), 1 + trial.seed * 1009 + trial.draw, kit.task.written
    assert card is not None
    recipe = replace(recipe, batch_size=min(card.batch, recipe.batch_size), head_start="random")
    base = kit.backbone(trial, recipe.init, seed=seed if recipe.init == "random" else 0)
    assert isinstance(base, TextBackbone), "`prepare` refuses others"
    knows = recipe.init == "source" and base.source.pretrained
    if knows and base.generator:
        recipe = replace(recipe, phases=tuple(_gently(layout, base.causal) for layout in recipe.phases))
    train, validation = kit.parts(trial, recipe)
    encoded, steps = kit.ready(base)
    frozen = layouts.frozen_bottom(base, recipe, len(train))
    place = loop.Place(kit.device, steps.half, 0, frozen, steps.threads, steps.speedup)
    pieces = wording(base, [kit.targets[row] for row in train])
    targets = torch.from_numpy(rows_of(pieces, kit.targets, np.concatenate([train, validation])))
    rows = training_rows.Rows(train, validation, targets, torch.ones(len(targets)))

    def begin(k: int, multiplier: float) -> Training:
        nonlocal knows
        with devices.seeded(seed + k):
            twin = base.twin()
            assert isinstance(twin, TextBackbone)
            model = writer(twin, pieces, targets.shape[1])
            if isinstance(model.head, Decoder):
                knows = knows and model.head.start_from(twin)
            if recipe.adapter:
                adapters.inject(twin.core, **recipe.adapter)
                if isinstance(model.head, PretrainedDecoder):
                    adapters.inject(model.head, **recipe.adapter)
        model.to(kit.device.name)
        feed: loop.Feed = Feed(encoded, None, kit.device, steps.channels_last, recipe)
        if not isinstance(model, Continuer):  # whose states depend on what was written
            feed = dense.read_once(kit, feed, model, rows, place, recipe)
        return Training(
            model, feed, recipe, rows, place, _as_measured,
            multiplier, seed + k, kit.ticket, kit.checkpoint(trial, k), kit.telling(trial),
            task=kit.task, truth=kit.targets,
        )  # fmt: skip

    best = loop.best_of(recipe.rates_tried, begin, kit.train)
    outcome = dense.outcome(kit, trial, best, base, seed, spread(train))
    start = "the source" if base.generator else "the last layers of the source"
    said = {"features": "states", "pieces": len(pieces), "longest": targets.shape[1],
            "decoder_from": start if knows else "nothing"}  # fmt: skip
    reading = kit.store.reading(base, len(train) + len(validation) + len(kit.test), {})
    return replace(outcome, card={**outcome.card, **said}, **clock(), reading=reading)


def _gently(layout: Layout, whole: bool) -> Layout:
    """Lets what knows how to write already learn no faster than the blocks that it is used to; `whole`: it never has
    adapters, so that their rate is none for it."""
    own = 0.0 if whole and layout.part != "all" else max(layout.rates)
    return replace(layout, head=min(layout.head, own or KNOWN_RATE))


def _as_measured(raw: Tensor, targets: Tensor, options: Any) -> Tensor:
    """(B,) losses as `Training.predict` gives them (B, 1)."""
    return raw[:, 0]


def probe(kit: EngineKit, trial: Trial, init: Init) -> Outcome:
    """A decoder on a frozen encoder: there is no closed form for it, so it takes gradient steps."""
    layout = Layout(rates=(0.0,) * kit.stages(trial), head=FROZEN_RATE)
    return finetune(kit, trial, replace(FROZEN, phases=(layout,), init=init))
