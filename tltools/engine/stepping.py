"""In which precision, memory format and threads training steps run fastest here: measured on a copy, remembered.

A pass alone does not tell: bf16 passes networks of depthwise convolutions faster than 32-bit floats do, but some of
their gradients take several times as long in it; and what is as fast channels first on all threads is not on one, on
which trainings run side by side: convolutions of single places are slow there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tltools import costs
from tltools.engine import autotune
from tltools.engine.device import threads

if TYPE_CHECKING:
    from tltools.engine.backbone import Backbone, Encoded

ROWS = {"image": 8}  # of the measured step; pictures of a usual size fill a processor from a few on
OTHERS = 16  # rows of other kinds, as strategies train by default
SECONDS = 1.0  # for each of the races, at most, once everybody has run twice
CLEARLY = 1.1  # times as fast: what is nearly alike must not be chosen anew on the next machine of a kind


@dataclass(frozen=True)
class Steps:
    """How a backbone is trained here."""

    half: bool  # bf16 autocast
    threads: int  # 0 = all, whose waiting for each other slows small networks
    speedup: float = 1.0  # of a step by all threads, over one
    channels_last: bool = False  # pictures and what is made of them


def choose(
    backbone: Backbone, encoded: Encoded, setting: autotune.Setting, memory: autotune.Memory | None = None
) -> Steps:
    """The fastest steps for a backbone on rows of such a length here: recalled, or measured on `encoded` and kept.

    bf16 serves where the backbone's passes use it, unless steps in 32 bits are clearly faster; networks too small to
    gain never do. Channels last where passes use it, or where steps on one thread are clearly faster so. Other devices
    than a CPU are not measured.
    """
    device, half = autotune.device_of(backbone), setting.precision == "bfloat16"
    if setting == autotune.PLAIN:
        return Steps(False, 1)
    if device.type != "cpu" or (torch.get_num_threads() == 1 and not half):
        return Steps(half, 0, channels_last=setting.channels_last)
    count = ROWS.get(backbone.reads, OTHERS)
    middle = np.argsort(encoded.lengths, kind="stable")[max(0, (len(encoded.lengths) - count) // 2) :][:count]
    # one thread may be as good for a batch of titles, and half as fast for one of letters
    length = int(encoded.lengths[middle].max(initial=1)).bit_length()
    key = f"{costs.network_key(backbone.source)}|{autotune.machine(device)}|{length}"
    known = memory.recall("steps", key) if memory is not None else None
    if known:
        return Steps(**known)
    found = _measure(backbone, autotune.to_device(encoded.take(middle), device), half, setting.channels_last)
    if memory is not None:
        memory.remember("steps", key, asdict(found))
    return found


def _measure(backbone: Backbone, batch: Mapping[str, Any], half: bool, wide: bool) -> Steps:
    """Precision first, on all threads; then the memory format on one; then whether one thread is enough in them."""
    twin, cpu = backbone.twin().train().requires_grad_(True), torch.device("cpu")
    laid = {one: autotune.to_device(batch, cpu, channels_last=one) for one in (False, True)}
    with torch.random.fork_rng(devices=()):
        if half:
            precise = autotune.race((False, True), lambda one: _step(twin, laid[wide], one, 0), SECONDS)
            half = CLEARLY * precise[False] >= precise[True]
        if torch.get_num_threads() == 1:
            return Steps(half, 0, channels_last=wide)
        if backbone.reads == "image" and not wide:
            formats = autotune.race((False, True), lambda one: _step(twin, laid[one], half, 1), SECONDS)
            wide = CLEARLY * formats[True] < formats[False]
        shared = autotune.race((0, 1), lambda count: _step(twin, laid[wide], half, count), SECONDS)
        return Steps(half, int(CLEARLY * shared[1] < shared[0]), shared[1] / shared[0], wide)


def _step(twin: Backbone, batch: Mapping[str, Any], half: bool, count: int) -> float:
    """Seconds of one pass with its gradients."""
    with threads(count):
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            pooled = twin(batch)
        pooled.float().square().sum().backward()
        twin.zero_grad(set_to_none=True)
        return time.perf_counter() - begin
