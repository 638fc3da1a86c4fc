"""A device that is none: tensors that say they are on cuda:0 and refuse to meet those of the CPU, with real numbers.

Where there is no GPU, this finds what would fail on one for a tensor that was left behind: networks train, predict and
are saved on it as a whole, by the CPU's own kernels, so that they come to the same numbers. It shows nothing that only
hardware does: CUDA's kernels and their rounding, streams, memory, and autocast, which torch turns off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tltools.engine import autotune
from tltools.engine import device as devices

CUDA = torch.device("cuda", 0)
BEHIND = torch.device("lazy", 0)  # what torch itself takes such tensors for: a device without a library of its own
DEVICE = devices.Device("cuda:0", 1, False, "pretended", 8000.0)
FREE = 6_000_000_000  # bytes of its memory
PINNED: list[tuple[int, ...]] = []  # shapes of what was
ATEN = torch.ops.aten
# what takes tensors of both, as on a GPU: indices may stay on the CPU
MIXES = {ATEN.copy_.default, ATEN._to_copy.default, ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default}


class OnDevice(torch.Tensor):
    """A tensor of the device; `held` has its numbers."""

    held: torch.Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, held: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=BEHIND
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def tolist(self) -> Any:
        return self.held.tolist()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> OnDevice:
        return OnDevice(inner["held"])

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        copied: torch.Tensor = OnDevice(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: used after the device was left")


class Device(TorchDispatchMode):
    """While it is entered, tensors can be made on the device and moved to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Made(TorchFunctionMode):
    """Numbers of Python reach a device out of a dispatch mode's sight: they are made on the CPU, and moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wanted = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(wanted.get("device") or "cpu") == CUDA:
            return func(*args, **{**wanted, "device": "cpu"}).to(CUDA)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            where = tuple(torch.tensor(one, dtype=torch.long) if isinstance(one, list) else one for one in parts)
            return func(args[0], where if isinstance(args[1], tuple) else where[0], *args[2:])
        return func(*args, **wanted)


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation of torch, where its tensors are. Raises: RuntimeError when these are not all there."""
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    here = [one for one in given if isinstance(one, OnDevice)]
    if here and func not in MIXES:
        apart = [tuple(one.shape) for one in given if not isinstance(one, OnDevice) and one.dim()]
        if apart:  # a number by itself is taken along
            raise RuntimeError(f"{func}: tensors {apart} are on the CPU, others on cuda:0")
    args_, kwargs_ = tree_map(lambda one: one.held if isinstance(one, OnDevice) else one, (args, kwargs))
    wanted, made_here = kwargs.get("device"), bool(here)
    if wanted is not None:
        made_here = torch.device(wanted) in (CUDA, BEHIND)
        kwargs_["device"] = torch.device("cpu") if made_here else wanted
    out = func(*args_, **kwargs_)
    if func is ATEN.copy_.default:
        return args[0]
    if not made_here:
        return out
    out = tree_map(lambda one: OnDevice(one) if isinstance(one, torch.Tensor) else one, out)
    return return_and_correct_aliasing(func, args, kwargs, out)


def pin(tensor: torch.Tensor) -> torch.Tensor:
    """Notes a tensor as pinned."""
    assert not isinstance(tensor, OnDevice), "only memory of the CPU can be pinned"
    PINNED.append(tuple(tensor.shape))
    return tensor


@contextmanager
def entered() -> Iterator[None]:
    """The engine's device is this one for a while."""
    forked = torch.random.fork_rng
    with pytest.MonkeyPatch.context() as patch, Made(), Device():
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "get_device_name", lambda device: "pretended")
        patch.setattr(torch.cuda, "synchronize", lambda device: None)
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (FREE, 8_000_000_000))
        patch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123_000_000)
        patch.setattr(torch.random, "fork_rng", lambda names: forked([]))
        patch.setattr(torch.cuda, "get_rng_state", lambda: torch.zeros(16, dtype=torch.uint8))
        patch.setattr(torch.cuda, "set_rng_state", lambda state: None)
        patch.setattr(torch.Tensor, "pin_memory", pin)
        patch.setattr(torch, "inference_mode", torch.no_grad)  # whose tensors cannot be views of such as these
        patch.setattr(devices, "best", lambda name=None: DEVICE)
        patch.setattr(autotune, "best", lambda name=None: DEVICE)
        patch.setattr(autotune, "ON_GPU", 1.0)  # rows beside each other round each other's sums: as on the CPU
        yield
