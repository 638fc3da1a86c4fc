"""What this machine computes with, and why: device, threads, and whether bf16 pays."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import torch
from torch import Tensor

from tltools.records import refuse

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT = 1 << 30
GROUPS = Path("/proc/self/cgroup")  # the control groups of this process: of a container, a service, a cluster's job
SPARE = 0.25  # of a GPU's free memory may hold what is read again and again; the rest is for networks and their steps


@dataclass(frozen=True)
class Device:
    """One place to compute. `name` is what torch calls it; the reasons are for people."""

    name: str
    threads: int
    bf16: bool
    reason: str  # why this device, and why bf16 or not
    memory_mb: float

    def autocast(self, wanted: bool = True) -> contextlib.AbstractContextManager[Any]:
        """bf16 autocast where it pays; never fp16, which a CPU computes some 60 times slower than fp32."""
        if self.bf16 and wanted:
            return torch.autocast(self.name.split(":")[0], dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def spare(self, on_cpu: float) -> float:
        """Bytes that may be held beside networks: a share of what is free in a GPU's memory now, else as given."""
        return on_cpu if self.name == "cpu" else SPARE * torch.cuda.mem_get_info(self.name)[0]


def cpu_flags() -> set[str]:
    """The CPU's instruction-set flags as Linux names them; empty where they cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


@functools.cache
def best(name: str | None = None) -> Device:
    """Chooses the device: `name`, else `TLTOOLS_DEVICE`, else CUDA when there is one, else the CPU.

    Raises:
        Refusal: there is no such device here.
    """
    asked = name or os.environ.get("TLTOOLS_DEVICE")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = asked or ("cuda" if count else "cpu")
    known = ["cpu", *(["cuda", *(f"cuda:{number}" for number in range(count))] if count else [])]
    built = torch.version.cuda or torch.version.hip
    none = f"torch {torch.__version__} {'finds no CUDA device' if built else 'was built without CUDA'}"
    if wanted not in known:
        what = f"must be {' or '.join(known)}{'' if count else f', as {none}'}; got {wanted!r}."
        raise refuse("TLTOOLS_DEVICE", what, "Leave it out: the best device is found.")
    if wanted != "cpu":
        wanted = "cuda:0" if wanted == "cuda" else wanted
        torch.cuda.set_device(wanted)  # what names no device, as random numbers do, means this one
        torch.backends.cudnn.allow_tf32 = False  # else convolutions round the fractions of 32-bit floats to 10 bits
        facts, bf16 = torch.cuda.get_device_properties(wanted), torch.cuda.is_bf16_supported(including_emulation=False)
        reason = f"CUDA device {facts.name}; bf16 {'supported' if bf16 else 'not supported'}"
        return Device(wanted, torch.get_num_threads(), bf16, reason, facts.total_memory / 1e6)
    keep_freed_memory()
    found = {"avx512_bf16", "amx_bf16"} & cpu_flags()
    # without these instructions bf16 is emulated and 44 to 499 times slower (pytorch issue 146508)
    why = f"the CPU has {' and '.join(sorted(found))}" if found else "the CPU lacks avx512_bf16 and amx_bf16"
    chosen = "as asked" if asked else none
    reason = f"CPU ({chosen}), {torch.get_num_threads()} threads; bf16 {'on' if found else 'off'}: {why}"
    return Device("cpu", torch.get_num_threads(), bool(found), reason, memory_mb())


def memory_mb(groups: Path = GROUPS, mounted: str = "/sys/fs/cgroup") -> float:
    """Memory of this machine, or of a control group that this process is in where that has less."""
    found = [psutil.virtual_memory().total]
    for path in _limits(groups, mounted):
        with contextlib.suppress(OSError, ValueError):  # "max": none
            found.append(int(Path(path).read_text()))
    return min(found) / 1e6


def _limits(groups: Path, mounted: str) -> list[str]:
    """Where limits on the memory of this process may stand: of its own groups, and of those around them, of which a
    container shows the outermost alone."""
    found = []
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        kinds, group = line.split(":", 2)[1:]
        if not kinds or "memory" in kinds.split(","):  # of version 2, or of version 1
            root, name = (f"{mounted}/memory", "memory.limit_in_bytes") if kinds else (mounted, "memory.max")
            own = PurePosixPath(group)
            found += [f"{root}{str(one).rstrip('/')}/{name}" for one in (own, *own.parents)]
    return found


def keep_freed_memory() -> None:
    """Has glibc keep up to `KEPT` bytes of freed memory for the next step, where there is glibc.

    By itself it asks the system for every large tensor anew and gives it back at once, and the system clears each page
    of it: networks with little to compute per activation, as of depthwise convolutions, wait for that most.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        adjust = ctypes.CDLL(None).mallopt
        adjust(M_MMAP_MAX, 0)
        adjust(M_TRIM_THRESHOLD, KEPT)


def moved(value: Tensor, device: str | torch.device) -> Tensor:
    """A tensor on a device. To a GPU it goes from pinned memory: then nobody waits for it, nor for the steps before."""
    if torch.device(device).type == "cuda" and not value.is_cuda:
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def wait(device: str | torch.device) -> None:
    """Until a GPU has done what it was given; a CPU always has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """For a while torch draws from `seed`; afterwards it goes on as if nothing had happened."""
    with torch.random.fork_rng([] if best().name == "cpu" else [best().name]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """For a while torch computes with so many threads; 0: as it does."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_mb() -> float:
    """Peak memory of this process since its program started, in MB: of a GPU's, where it computes on one.

    Not `getrusage` on Linux: there a process begins with the peak of the one that started it.
    """
    if best().name != "cpu":
        return torch.cuda.max_memory_allocated(best().name) / 1e6
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):  # not every sandbox says it
            return float(line.split()[1]) / 1e3
    if os.name == "nt":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource  # there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, others kilobytes
