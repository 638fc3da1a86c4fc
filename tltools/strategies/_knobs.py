"""Knobs that several strategies share, so that one name has one meaning, one range and one help text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tltools.records import Knob, Number, Switch

EPOCHS = Number(
    key="epochs",
    title="Epochs",
    default=6,
    low=1,
    high=500,
    integer=True,
    help="Most passes over the training rows, over which the rates fall to nothing; early stopping may end sooner.",
)
MIN_STEPS = Number(
    key="min_steps", title="Steps at least", default=200, low=0, high=100_000, integer=True,
    help="With few rows, epochs are added until this many optimiser steps are possible.",
)  # fmt: skip
BATCH_SIZE = Number(
    key="batch_size",
    title="Batch size",
    default=16,
    instead={"tables": 256},
    low=1,
    high=1024,
    integer=True,
    logarithmic=True,
    help="Rows per optimiser step.",
)
ROWS_AT_ONCE = Number(
    key="rows_at_once", title="Rows at once", default=0, low=0, high=1024, integer=True,
    help="For small memory: so many rows of a batch are computed at once, and the gradients of its parts are added "
    "up before the step; 0: the whole batch.",
)  # fmt: skip
PATIENCE = Number(
    key="patience", title="Patience", default=4, low=0, high=100, integer=True,
    help="Evaluations without a better validation loss before stopping; 0 never stops early.",
)  # fmt: skip
HOLD_OUT = Switch(
    key="hold_out", title="Validation rows apart", default=True,
    help="On: they choose the epoch, the rate and the temperature. Off: they are trained on, too, at one rate to the "
    "last epoch; pays where labels are few and the settings are known to be good.",
)  # fmt: skip
WEIGHT_DECAY = Number(
    key="weight_decay",
    title="Weight decay",
    default=0.01,
    low=0.0,
    high=1.0,
    help="Pull of the trained weights towards zero.",
)
SMOOTHING = Number(
    key="smoothing",
    title="Label smoothing",
    default=0.0,
    low=0.0,
    high=0.5,
    help="Share of the target spread over all classes.",
)
RATES_TRIED = Number(
    key="rates_tried", title="Learning rates tried", default=1, low=1, high=3, integer=True,
    help="1: the rate as given; 2 and 3: also a third and three times of it; the best on validation loss is kept.",
)  # fmt: skip
AUGMENTATION: tuple[Knob, ...] = (
    Switch(key="flip", title="Flip", default=False, help="Images: mirror left and right, half of the time."),
    Number(key="rotate", title="Rotate", default=0, low=0, high=180, help="Images: turn by up to this many degrees."),
    Number(
        key="scale", title="Scale", default=0.0, low=0.0, high=0.5, help="Images: zoom in or out by up to this share."
    ),
    Number(
        key="crop", title="Crop", default=0.0, low=0.0, high=0.5, help="Images: cut away up to this share of a side."
    ),
    Number(
        key="colour",
        title="Colour",
        default=0.0,
        low=0.0,
        high=0.5,
        help="Images: change brightness and contrast by up to this share.",
    ),
)
TRAINING: tuple[Knob, ...] = (
    EPOCHS, MIN_STEPS, BATCH_SIZE, ROWS_AT_ONCE, PATIENCE, HOLD_OUT, WEIGHT_DECAY, SMOOTHING, RATES_TRIED
)  # fmt: skip
_SHORTER: dict[str, dict[str, Any]] = {
    "min_steps": {"default": 60, "instead": {"anew": 200}}, "patience": {"default": 2, "instead": {"anew": 4}}
}  # fmt: skip
BRIEF: tuple[Knob, ...] = tuple(knob.model_copy(update=_SHORTER.get(knob.key, {})) for knob in TRAINING)
"""Of few weights above a head in closed form, which have little way to go: more steps gave no better scores, only
probabilities further from the mark."""


def rate(default: float, help: str = "Learning rate of the top of the backbone.", **instead: float) -> Number:
    """The knob for the main learning rate; `instead`: defaults for some kinds of networks, see `Number.instead`."""
    return Number(
        key="learning_rate", title="Learning rate", default=default, instead=instead, low=1e-6, high=1.0,
        logarithmic=True, help=help,
    )  # fmt: skip


def head_rate(default: float) -> Number:
    """The knob for the new head's learning rate."""
    return Number(
        key="head_rate", title="Learning rate of the head", default=default, low=1e-6, high=1.0, logarithmic=True,
        help="The head is new, so it usually learns faster than the backbone.",
    )  # fmt: skip


def decay(default: float) -> Number:
    """The knob for layer-wise rate decay."""
    return Number(
        key="layer_decay", title="Rate decay per block", default=default, low=0.1, high=1.0,
        help="Each block below the top learns at this share of the rate above it.",
    )  # fmt: skip


def training(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Recipe` that the shared knobs fill."""
    tried = {1: (1.0,), 2: (1.0, 1 / 3), 3: (1.0, 1 / 3, 3.0)}[int(knobs["rates_tried"])]
    given: dict[str, Any] = {
        "epochs": int(knobs["epochs"]),
        "min_steps": int(knobs["min_steps"]),
        "batch_size": int(knobs["batch_size"]),
        "rows_at_once": int(knobs["rows_at_once"]),
        "patience": int(knobs["patience"]),
        "hold_out": bool(knobs["hold_out"]),
        "weight_decay": float(knobs["weight_decay"]),
        "smoothing": float(knobs["smoothing"]),
        "rates_tried": tried if knobs["hold_out"] else tried[:1],
    }
    names = [knob.key for knob in AUGMENTATION if knob.key in knobs]
    if names:
        given["augmentation"] = {name: knobs[name] for name in names}
    return given


def falling(stages: int, top: float, share: float) -> tuple[float, ...]:
    """Rates that fall by `share` with each block below the top: bottom first."""
    return tuple(top * share ** (stages - 1 - i) for i in range(stages))
