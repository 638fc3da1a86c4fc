"""A source model without its head: rows in, pooled features out, and a door at every boundary between two stages."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tltools import sources
from tltools.engine import device as devices
from tltools.engine import stages as staging
from tltools.engine.stages import Stage
from tltools.home import Home
from tltools.records import Dataset, Source, refuse

if TYPE_CHECKING:
    from tltools.tasks import Task

Batch = dict[str, Tensor]
DRY_LENGTH = 7  # tokens in the dry run; a number that no weight of a model is wide
# what an unfamiliar network may raise when it is fed zeros, or fed at all
DRY_RUN_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError)


class Encoded(Protocol):
    """All rows of a dataset, made ready once for one backbone; `take` gives a batch on the CPU."""

    lengths: np.ndarray  # (N,) int64: cost of a row (tokens; 1 for images and tables)

    def __len__(self) -> int: ...
    def take(self, rows: np.ndarray) -> Batch: ...


class Backbone(nn.Module):
    """The part that all kinds share. A kind gives `core`, `encode`, `sample`, `_run`, `_pool` and `_pool_stage`."""

    reads = ""
    fitted: tuple[str, ...] = ()  # what begins the names of tensors that come from the dataset, not from a source
    size = 0  # pixels of a side, for kinds that read pictures
    made_with = ""  # the library, padding, epsilon, heads, activations: no weights, yet they count
    own_loss = False  # True: the core gives its loss, and in training says more for it than else
    writes = False  # True: the core writes into what its modules give, which then needs memory of its own

    def __init__(self, source: Source, core: nn.Module, preprocessing: str) -> None:
        super().__init__()
        self.source = source
        self.core = core
        self.preprocessing = preprocessing  # everything about encode() that changes its output; part of fingerprints
        self.stages: tuple[Stage, ...] = ()
        self.width = 0
        self.stage_widths: tuple[int, ...] = ()
        self.resumable: tuple[bool, ...] = ()  # per boundary 0..len(stages): may a cached activation be resumed?
        self._groups: list[list[staging.Unit]] = []
        self._rerun_stem = False  # True: of the stem only the exit is skipped, because blocks need its side branches
        self._dry_length: int | None = None
        self._prints: dict[int, str] = {}

    def read_at(self, side: int, tokens: int = 0, asked: bool = False, words: bool = True) -> None:
        """Reads rows for a task of places from now on: pictures at another size if it can, texts with their words, up
        to `tokens` if it can; `asked`: questions and contexts; not `words`: all tokens are places. Called once."""

    def with_own_head(self, task: Task, dataset: Dataset) -> Any:
        """The network as a model of a dataset's task by the head, loss and decoding that it brings (see
        `dense.Places`), which takes over this backbone; None: it brings none."""

    def take_head(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes what fits of a trial's `head.*` tensors into the head that it brings."""

    def settled(self, raw: Tensor, batch: Batch) -> Tensor:
        """Scores of places, where a row has fewer places than its batch has room for."""
        return raw

    # --- what a kind gives ------------------------------------------------------------------------------------------

    def encode(self, items: Sequence[Any]) -> Encoded:
        raise NotImplementedError

    def fit_items(self, items: Any, rows: np.ndarray) -> None:
        """Learns from the training rows what encoding needs; only tables need anything."""

    def as_trial(self, card: Mapping[str, Any]) -> None:
        """Takes the form that a trial's card tells of its network, before its weights are put in. Most have one."""

    def sample(self, rows: int, length: int) -> Batch:
        """A tiny batch for the dry run; `length` tokens where rows are sequences."""
        raise NotImplementedError

    def _run(self, batch: Batch) -> Any:
        """The core's own forward."""
        raise NotImplementedError

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        """(B, D) from the core's output."""
        raise NotImplementedError

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        """(B, D_i) from one stage's activation."""
        raise NotImplementedError

    def whole(self) -> tuple[nn.Module, ...]:
        """Modules of the core whose parts are no blocks of the chain, however many layers they hold."""
        return ()

    def _places(self, batch: Batch) -> int | None:
        """Places of a row in a batch of the dry run, where rows differ in their number."""
        return DRY_LENGTH if "attention_mask" in batch else None

    # --- forward ----------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Tensor:
        """Pooled features (B, D), float32."""
        return self._pool(self._run(batch), batch).float()

    def forward_stages(self, batch: Batch) -> list[Tensor]:
        """Pooled output of every stage, bottom first, each (B, D_i) float32; the last equals `forward`."""
        with staging.capturing([self._last(i) for i in range(len(self.stages))], stop=False) as found:
            pooled = self.forward(batch)
        between = [self._pool_stage(found[i], batch).float() for i in range(len(self.stages) - 1)]
        return [*between, pooled]

    def maps(self, batch: Batch) -> list[tuple[int, Tensor]]:
        """(stage, deepest map (B, C, h, w) float32) at every size that there is, the largest first; none of most
        kinds."""
        return []

    def states(self, batch: Batch, boundary: int) -> Tensor:
        """The activation that leaves stage `boundary - 1`; (B, L, D) or (B, C, H, W)."""
        self._check(boundary)
        with staging.capturing([self._last(boundary - 1)], stop=True) as found:
            self._run(batch)
        return found[0]

    def resume(self, batch: Batch, states: Tensor, boundary: int) -> Tensor:
        """Pooled features (B, D) from the activation at a boundary; only stages from `boundary` up are computed."""
        if boundary == 0:
            return self.forward(batch)
        self._check(boundary)
        rows = states.shape[0]
        length = states.shape[1] if self._dry_length else None
        answers = []
        for i, group in enumerate(self._groups[:boundary]):
            for unit in group:
                if i == boundary - 1 and unit.module is self._last(i):
                    answers.append((unit.module, staging.with_states(unit.answer, states)))
                elif i or not self._rerun_stem or unit.module is self._last(i):
                    zeros = staging.like(unit.answer, rows, length, self._dry_length, states.device, states.dtype)
                    answers.append((unit.module, staging.owned(zeros) if self.writes else zeros))
        with staging.answering(answers):
            return self.forward(batch)

    # --- structure --------------------------------------------------------------------------------------------------

    def find_stages(self) -> None:
        """Fills in stages, widths and resumable boundaries by a dry run on `sample`. Called once, by the builder.

        Raises:
            Refusal: the network does not turn such a batch into one vector a row.
        """
        self.eval()
        batch, other = self.sample(2, DRY_LENGTH), self.sample(3, DRY_LENGTH + 4)
        self._dry_length = self._places(batch)
        with torch.no_grad():
            try:
                self._before_dry_run()
                found, groups = staging.chain(self.core, lambda: self._run(batch), self.whole())
                wanted = self.forward(other)
                self._take_as_found(found, groups, batch)
                for unit in (unit for group in self._groups for unit in group):
                    unit.answer, unit.entered = staging.outlined(unit.answer), ()
                self.resumable = self._try_boundaries(other, wanted)
            except DRY_RUN_ERRORS as error:
                what = f"cannot serve as a {self.reads} source: a trial batch failed ({str(error)[:200]})."
                raise refuse(self.source.id, what, "Choose another model.") from error

    def _take_as_found(self, found: list[Stage], groups: list[list[staging.Unit]], batch: Batch) -> None:
        """What leaves a stem may be no activation of its own (two are added by the core): then the first block is part
        of it; where other activations cannot be pooled either, everything is one stage."""
        for count in (0, 1):
            with suppress(*DRY_RUN_ERRORS):
                return self._take(*staging.joined(found, groups, count), batch)
        return self._take(*staging.joined(found, groups, len(groups) - 1), batch)

    def _before_dry_run(self) -> None:
        """What a kind must find out about the core before it can pool."""

    def _take(self, found: list[Stage], groups: list[list[staging.Unit]], batch: Batch) -> None:
        known = {id(parameter) for stage in found for module in stage.modules for parameter in module.parameters()}
        loose = sum(p.numel() for p in self.core.parameters() if id(p) not in known)
        found[0].parameters += loose  # class token, position table: they enter at the bottom
        self.stages, self._groups = tuple(found), groups
        pooled = self.forward_stages(batch)
        if any(layer.dim() != 2 or len(layer) != 2 for layer in pooled):
            raise ValueError("a stage does not give one vector a row")
        self.stage_widths = tuple(layer.shape[1] for layer in pooled)
        self.width = self.stage_widths[-1]

    def _try_boundaries(self, batch: Batch, wanted: Tensor) -> tuple[bool, ...]:
        """Per boundary: does the cached activation give the same output? Tried with the stem skipped, then rerun."""
        inner = range(1, len(self.stages))
        with staging.capturing([self._last(i) for i in range(len(self.stages))], stop=False) as states:
            self._run(batch)
        tried = []
        for self._rerun_stem in (False, True):
            tried.append([self._resumes(batch, states[b - 1].clone(), b, wanted) for b in inner])
            if all(tried[-1]):
                break
        self._rerun_stem = sum(tried[-1]) > sum(tried[0])
        return (True, *(tried[-1] if self._rerun_stem else tried[0]), False)

    def _resumes(self, batch: Batch, states: Tensor, boundary: int, wanted: Tensor) -> bool:
        self.resumable = (True,) * (len(self.stages) + 1)  # for this trial; find_stages sets the truth
        try:
            got = self.resume(batch, states, boundary)
        except DRY_RUN_ERRORS:
            return False
        # the same operations on the same numbers: a looser bound lets a wrong shortcut pass in an untrained network
        return bool((got - wanted).abs().max() <= 1e-6 * wanted.abs().max())

    def stage_parameters(self, stage: int) -> dict[str, nn.Parameter]:
        """The parameters of one stage by name."""
        index = self._stage_index()
        return {name: p for name, p in self.core.named_parameters() if index[id(p)] == stage}

    def _stage_index(self) -> dict[int, int]:
        index = dict.fromkeys((id(p) for p in self.core.parameters()), 0)
        for i, stage in enumerate(self.stages):
            index.update((id(p), i) for module in stage.modules for p in module.parameters())
        return index

    def norm_parameters(self) -> set[str]:
        """Names of normalisation weights and of all biases (q_bias and such, too): what norm tuning trains."""
        return {
            key
            for name, module in self.core.named_modules()
            for key, _ in module.named_parameters(prefix=name, recurse=False)
            if "norm" in type(module).__name__.lower() or key.endswith("bias")
        }

    def fingerprint(self, boundary: int) -> str:
        """sha256 over the preprocessing and all weights and statistics of the stages below `boundary`."""
        if boundary not in self._prints:
            about = (self.source.architecture, self.made_with, self.preprocessing, boundary)
            digest = hashlib.sha256("|".join(map(str, about)).encode())
            index = self._stage_index()
            allowed = {id(p) for p in self.core.parameters() if index[id(p)] < boundary}
            below = [module for stage in self.stages[:boundary] for module in stage.modules]
            allowed |= {id(buffer) for module in below for buffer in module.buffers()}
            tensors = dict(self.core.named_parameters()) | dict(self.core.named_buffers())
            for name, value in sorted(tensors.items()):
                if id(value) in allowed:
                    digest.update(name.encode())
                    digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            self._prints[boundary] = digest.hexdigest()
        return self._prints[boundary]

    def twin(self) -> Backbone:
        """A copy with weights of its own, to be trained; the stages point into the copy."""
        other = copy.deepcopy(self)
        other._prints = {}
        return other

    def _last(self, stage: int) -> nn.Module:
        """The unit whose output enters the next stage."""
        return self._groups[stage][-1].module

    def _check(self, boundary: int) -> None:
        if not (0 < boundary < len(self.stages)) or not self.resumable[boundary]:
            possible = [i for i, ok in enumerate(self.resumable) if ok and i]
            what = "is not a place where a cached activation can be resumed."
            raise refuse(f"boundary {boundary} of {self.source.id}", what, f"Choose one of {possible}.")


def load_backbone(home: Home, source: Source, *, init: str = "source", seed: int = 0) -> Backbone:
    """Builds a source model's backbone, in eval mode, on the CPU.

    `init="random"` gives the same architecture with weights drawn from `seed`.

    Raises:
        Refusal: the weights are not here and may not be downloaded, or do not fit the architecture.
    """
    folder = sources.fetch(home, source)
    if source.provider == "own":
        return _own(home, source, folder, init, seed)
    from tltools.engine.builders import builder

    with devices.seeded(seed):
        backbone: Backbone = builder(source)(source, folder, init == "random" or not source.pretrained)
    config, options = folder / "config.json", json.dumps(source.options, sort_keys=True)
    backbone.made_with = _library(source) + options + (config.read_text() if config.is_file() else "")
    return backbone


def _library(source: Source) -> str:
    """What computes a source, with its version: another one may compute the same weights otherwise."""
    return "" if source.family == "tabular" else f"{source.family}=={metadata.version(source.family)}"


def _own(home: Home, source: Source, folder: Path, init: str, seed: int) -> Backbone:
    """A finished trial as a source: the source that it started from, with what it changed."""
    from tltools.engine import generators

    card = json.loads((folder / "card.json").read_text())
    base = Source.model_validate(card["source"])
    base = base.model_copy(update={"options": source.options, "max_length": source.max_length})  # it may read more
    backbone = load_backbone(home, base, init=init, seed=seed) if init == "random" else load_start(home, base, card)
    if init != "random":
        tensors = load_file(folder / "model.safetensors")
        backbone.as_trial(card)
        load_changes(backbone, tensors)
        generators.take(backbone, tensors)
        backbone.take_head(tensors)
    backbone.source = source
    return backbone


def load_start(home: Home, source: Source, card: Mapping[str, Any]) -> Backbone:
    """The backbone that a trial started from: untrained sources by the study's seed, random starts by their own."""
    init, seed = str(card.get("init", "source")), int(card["trial"]["seed"])
    return load_backbone(home, source, init=init, seed=int(card.get("init_seed") or seed) if init == "random" else seed)


def load_changes(backbone: Backbone, tensors: dict[str, Tensor]) -> None:
    """Puts a trial's `backbone.*` tensors into a backbone of the same architecture.

    Raises:
        Refusal: a tensor has no place in it, or another shape.
    """
    own = backbone.core.state_dict()
    for name, value in tensors.items():
        if not name.startswith("backbone."):
            continue
        key = name.removeprefix("backbone.")
        if key not in own or own[key].shape != value.shape:
            raise refuse(
                backbone.source.id, f"has no tensor {key} of shape {tuple(value.shape)}.", "Run the trial again."
            )
        own[key].copy_(value)
    backbone._prints.clear()
