"""The room of strategies: one file each, ending in one `Strategy` value; the engine lends a `Kit` to run it.

A strategy says what is trained and at which rate (`layout`), and calls the kit to do it. It never imports torch or
the engine, so that screens can draw it and tests can run it with a fake kit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tltools import registry
from tltools.records import Knob, Trial

Knobs = Mapping[str, Any]
LOOKED_AT = 64  # rows of a batch without gradients, at most
HeadKind = Literal["ridge", "prototypes", "neighbours", "reweighted", "group_balanced", "group_dro", "own"]


@dataclass(frozen=True)
class Layout:
    """What is trained in a backbone of `len(rates)` stages: the screen draws it, the engine obeys it."""

    rates: tuple[float, ...]  # learning rate per stage, bottom (input side) first; 0.0 = frozen
    head: float  # learning rate of the head; 0.0 = closed form, no gradient steps
    part: Literal["all", "norms", "adapters", "inputs"] = "all"  # which parameters of a stage whose rate is above 0

    @property
    def boundary(self) -> int:
        """Number of stages, from the bottom, in which nothing is trained (0 = none)."""
        return next((i for i, rate in enumerate(self.rates) if rate > 0), len(self.rates))


@dataclass(frozen=True)
class Recipe:
    """How gradient steps are taken; every field has one meaning for every strategy."""

    phases: tuple[Layout, ...]  # trained one after the other (gradual unfreezing has several)
    epochs: int = 20
    min_steps: int = 0  # epochs grow until this many optimiser steps are possible; early stopping may end sooner
    batch_size: int = 32
    rows_at_once: int = 0  # of a batch; the gradients of its parts are added up before the step; 0 = the whole batch
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    patience: int = 5  # epochs without a better validation loss before stopping; 0 = never
    hold_out: bool = True  # validation rows choose; else they are trained on, too, and the last epoch is kept
    smoothing: float = 0.0  # label smoothing
    init: Literal["source", "random"] = "source"  # where the backbone's weights come from
    head_start: Literal["probe", "random"] = "random"  # "probe": the head starts at the closed-form solution
    anchor: float = 0.0  # L2-SP: pull of trained source weights towards where they started
    tuned: float = 1.0  # WiSE-FT: share of the tuned weights in what is kept; the others are those of the start
    rates_tried: tuple[float, ...] = (1.0,)  # multipliers of all rates; the best on validation loss is kept
    adapter: Mapping[str, Any] = field(default_factory=dict)  # LoRA: {"r": 8, "alpha": 16, "dropout": 0.05}
    augmentation: Mapping[str, Any] = field(default_factory=dict)  # images: {"flip": True, "rotate": 10, ...}

    @property
    def smallest(self) -> int:
        """Rows that a norm which reads its batch sees at once."""
        return min(self.rows_at_once or self.batch_size, self.batch_size)

    @property
    def looked_at(self) -> int:
        """Rows of a batch that is only looked at: four take no more memory than one with its gradients."""
        return min(4 * self.smallest, LOOKED_AT)

    @property
    def augmentation_on(self) -> bool:
        """Whether training rows change from one visit to the next, so that their activations cannot be cached."""
        return any(self.augmentation.values())


@dataclass(frozen=True)
class Outcome:
    """What one trial came to: outputs of all test rows, and the model. Arrays are numpy, float32."""

    trial: Trial
    rows: Any  # (M,) int64: row numbers of the test part
    outputs: Any  # (M, K): class probabilities, or (M, 1) predicted numbers
    weights: Mapping[str, Any]  # name -> array: everything that differs from the source; "head.*" for the head
    card: Mapping[str, Any]  # facts for card.json: rates, epochs run, temperature, train/validation scores ...
    seconds: float  # that passed
    peak_mb: float
    trainable_parameters: int
    curve: Sequence[Mapping[str, float]] = ()  # per epoch: epoch, train_loss, validation_loss, seconds
    shared: float = 0.0  # of `seconds`: made what other trials use, too, or waited for others
    reading: float | None = 0.0  # seconds that reading its rows takes, whoever read them; None: nobody timed it
    faster: float = 1.0  # times that its steps are as fast by themselves, where it trained beside others

    @property
    def alone(self) -> float | None:
        """Seconds that the trial takes by itself, once its network is loaded; None where that is not known."""
        return None if self.reading is None else (self.seconds - self.shared) / self.faster + self.reading


class Kit(Protocol):
    """What the engine lends to a strategy. Each call serves every trial given, sharing all that can be shared."""

    def probe(
        self,
        trials: Sequence[Trial],
        *,
        features: Literal["pooled", "layers"] = "pooled",
        init: Literal["source", "random"] = "source",
        head: HeadKind = "ridge",
    ) -> Iterator[Outcome]:
        """Heads on frozen features without gradient steps: all draws, fractions and strengths of `trials` together."""

    def finetune(self, trial: Trial, recipe: Recipe) -> Outcome:
        """Gradient steps, from the cached boundary where the recipe leaves one."""

    def contrast(self, trial: Trial, recipe: Recipe, *, texts: int, names: bool) -> Outcome:
        """Gradient steps on all pairs of the rows of a batch, until about `texts` rows were read, then a closed-form
        head; with `names` those of the classes are a row more of each."""

    def by_group(self, outcome: Outcome, worth: float) -> Outcome:
        """The outcome with thresholds per group of the study's sensitive columns, chosen on its held-out rows: a point
        less between groups is worth so many points of balanced accuracy."""

    def classical(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """The modality's classical baseline for the trials' task, fitted anew for each; rows are read once."""

    def boost(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Boosting on the rows of the source's own table, continued on those of each trial."""

    def stages(self, trial: Trial) -> int:
        """Number of stages of the trial's backbone."""


Run = Callable[[Kit, Sequence[Trial]], Iterator[Outcome]]


@dataclass(frozen=True)
class Strategy:
    """A strategy's card. Keys are fixed: they stand in study files."""

    key: str
    title: str
    kind: Literal["transfer", "control"]
    what: str  # one sentence: what is trained
    when: str  # one sentence: when it pays
    run: Run
    layout: Callable[[int, Knobs], Layout]  # (number of stages, knobs) -> what is trained; for the picture and costs
    knobs: tuple[Knob, ...] = ()
    reads: tuple[str, ...] = ("text", "image", "tabular", "audio")  # sources it can work with
    families: tuple[str, ...] = ("transformers", "timm", "tabular")
    targets: tuple[Literal["classes", "number", "labels", "places"], ...] = (
        "classes",
        "number",
        "labels",
    )  # it can serve
    twin: str = ""  # the control that takes the same steps from random weights; it goes into every study of this arm
    needs_groups: bool = False  # True: only where the study names a sensitive column, which the trial then depends on
    continues: bool = False  # True: only from a table of one's own, of the same task, with matched columns
    own_head: bool = False  # True: only from a source whose own head knows all classes of the dataset by name
    needs_source: bool = True  # False: the classical control
    by_steps: tuple[str, str] | None = None  # what and when of tasks without a closed form, where it else has one
    order: int = 0  # place in lists: cheap ones first


def strategies() -> dict[str, Strategy]:
    """Returns every strategy and control of the room by key."""
    return registry.members(__name__, Strategy)
