"""Which precision and memory format pass a backbone fastest here: measured for two seconds, remembered."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tltools import costs
from tltools.engine.device import best, moved, wait

if TYPE_CHECKING:
    from tltools.engine.backbone import Backbone, Encoded

Precision = Literal["float32", "bfloat16"]
C = TypeVar("C")

SECONDS = 2.0  # at most, for all candidates together
TRIED = 0.25  # of a batch: enough to tell who is faster
BEHIND = 1.4  # who takes so many times the best time is not measured again
WORTH = 1.15  # bf16 costs digits; it must be so many times faster
LEAST = 0.25e9  # operations of the measured pass; below, bf16 gains so little that only chance would choose it
TEXT_TOKENS = 2_048  # padded tokens of a batch: what passes from layer to layer stays in the processor's cache
TEXT_ROWS = 256
IMAGE_ROWS = 16
TABLE_ROWS = 4_096
ON_GPU = 4.0  # times as large are batches there


class Memory(Protocol):
    """What is asked of the store: a small JSON memory."""

    def remember(self, kind: str, key: str, value: dict[str, Any]) -> None: ...

    def recall(self, kind: str, key: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Setting:
    """How a backbone is run, and why."""

    precision: Precision
    channels_last: bool
    rows_per_second: float  # of the winner, on the batch that was measured
    reason: str

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Runs what is inside without gradients, in the setting's precision."""
        half = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            yield


PLAIN = Setting("float32", False, 0.0, "32-bit floats, without measuring.")


def choose(
    backbone: Backbone,
    encoded: Encoded | Callable[[], Encoded] | None,
    memory: Memory | None = None,
    *,
    seconds: float | None = None,
) -> Setting:
    """The fastest setting for a backbone here: recalled, or measured on `encoded` and remembered.

    Without `encoded`, and nothing to recall, plain 32-bit floats. The backbone's memory format is left as chosen.
    """
    device = device_of(backbone)
    key = f"{costs.network_key(backbone.source)}|{machine(device)}"
    known = memory.recall("autotune", key) if memory is not None else None
    if known:
        setting = Setting(**known)
    elif encoded is None or backbone.reads == "tabular":
        return PLAIN
    else:
        setting = _measure(backbone, made(encoded), device, SECONDS if seconds is None else seconds)
        if memory is not None:
            memory.remember("autotune", key, asdict(setting))
    arrange(backbone, setting)
    return setting


def made(encoded: Encoded | Callable[[], Encoded]) -> Encoded:
    """The encoded rows, made now if a function was given."""
    return encoded() if callable(encoded) else encoded


def arrange(backbone: Backbone, setting: Setting) -> None:
    """Gives the backbone's convolution weights the setting's memory format; values stay."""
    if backbone.reads == "image":
        layout = torch.channels_last if setting.channels_last else torch.contiguous_format
        for module in backbone.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.to(memory_format=layout)  # type: ignore[call-overload]


def to_device(batch: Mapping[str, Any], device: torch.device, *, channels_last: bool = False) -> dict[str, Any]:
    """Moves a batch; its four-dimensional tensors, which are images, get the memory format too."""
    found = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            value = moved(value, device)
            if value.dim() == 4:
                value = value.contiguous(
                    memory_format=torch.channels_last if channels_last else torch.contiguous_format
                )
        found[name] = value
    return found


def batches(reads: str, lengths: NDArray[Any], *, scale: float = 1.0) -> list[NDArray[np.int64]]:
    """Positions 0..N-1 in batches, longest rows first: texts by a limit of padded tokens, others by rows.

    lengths: (N,) cost of each row. scale: size of a batch, 1 = the default for this kind of input.
    """
    order = np.argsort(-lengths, kind="stable")
    if reads not in ("text", "frames", "audio"):
        step = max(1, int((IMAGE_ROWS if reads == "image" else TABLE_ROWS) * scale))
        return [order[i : i + step] for i in range(0, len(order), step)]
    found, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        count = int(min(max(1, TEXT_TOKENS * scale // longest), TEXT_ROWS * scale))
        found.append(order[start : start + max(1, count)])
        start += max(1, count)
    return found


def scale_on(device: torch.device) -> float:
    """The size of batches on a device, for `batches`."""
    return 1.0 if device.type == "cpu" else ON_GPU


def device_of(module: torch.nn.Module) -> torch.device:
    """Where a module's parameters live; the CPU when it has none."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@lru_cache(maxsize=8)
def machine(device: torch.device) -> str:
    """A short name for this processor, its threads, this accelerator and this torch: what measured times depend on."""
    parts = [platform.machine(), _processor(), str(torch.get_num_threads()), torch.__version__]
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    return f"{device.type}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


def _measure(backbone: Backbone, encoded: Encoded, device: torch.device, seconds: float) -> Setting:
    lengths = np.asarray(encoded.lengths)
    if not len(lengths):
        return PLAIN
    plan = batches(backbone.reads, lengths, scale=TRIED if device.type == "cpu" else ON_GPU)  # a part would not fill it
    rows = plan[len(plan) // 2]
    batch = encoded.take(rows)
    where = best(str(device))
    formats = (False, True) if backbone.reads == "image" else (False,)
    candidates: list[tuple[Precision, bool]] = [("float32", wide) for wide in formats]
    backbone.eval()
    small = where.bf16 and _operations(backbone, to_device(batch, device)) < LEAST
    candidates += [("bfloat16", wide) for wide in formats] if where.bf16 and not small else []
    found = race(candidates, lambda one: _run_time(backbone, batch, device, one), seconds)
    rates = {candidate: len(rows) / best for candidate, best in found.items()}
    plain = max((c for c in candidates if c[0] == "float32"), key=lambda c: rates[c])
    fastest = max(candidates, key=lambda c: rates[c])
    if rates[fastest] < WORTH * rates[plain]:
        fastest = plain
    tried = ", ".join(f"{_words(c)} {rates[c]:.0f}" for c in candidates)
    said = f"Rows per second measured here: {tried}; {where.reason}{', but this network is too small for it' * small}."
    return Setting(*fastest, rates[fastest], said)


def _operations(backbone: Backbone, batch: Mapping[str, Any]) -> int:
    """Floating-point operations of one pass: of its matrix products and convolutions."""
    with torch.no_grad(), _Counter() as counter:  # type: ignore[no-untyped-call]
        backbone(batch)
    return counter.operations


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """torch's own counter also follows modules, which does not go with those of transformers."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def race(candidates: Sequence[C], run: Callable[[C], float], seconds: float) -> dict[C, float]:
    """Seconds of every candidate's best run, after one to warm up. They take turns, so that a busy moment meets all;
    who is far behind drops out, and the race ends with the time or when one is left."""
    times: dict[C, list[float]] = {candidate: [] for candidate in candidates}
    running, started = list(candidates), time.perf_counter()
    while any(len(found) < 2 for found in times.values()) or (
        len(running) > 1 and time.perf_counter() - started < seconds
    ):
        for candidate in running:
            times[candidate].append(run(candidate))
        if all(len(found) > 1 for found in times.values()):
            best = {candidate: min(found[1:]) for candidate, found in times.items()}
            running = [candidate for candidate in running if best[candidate] < BEHIND * min(best.values())]
    return {candidate: min(found[1:]) for candidate, found in times.items()}


def _run_time(
    backbone: Backbone, batch: Mapping[str, Any], device: torch.device, candidate: tuple[Precision, bool]
) -> float:
    """Seconds of one run."""
    setting = Setting(candidate[0], candidate[1], 0.0, "")
    arrange(backbone, setting)
    with setting.running(device):
        begin = time.perf_counter()
        backbone(to_device(batch, device, channels_last=candidate[1]))
        wait(device)
        return time.perf_counter() - begin


def _words(candidate: tuple[Precision, bool]) -> str:
    return ("bf16" if candidate[0] == "bfloat16" else "fp32") + (" channels last" if candidate[1] else "")


@lru_cache(maxsize=1)
def _processor() -> str:
    name = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), "")
    return name or platform.processor()


def _cpuinfo() -> Sequence[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace").splitlines() if path.is_file() else ()
