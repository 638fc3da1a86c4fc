"""Splits any backbone into a chain of stages, found by its own structure and one dry run; no list of architectures.

A unit is a child module, or an element of the container that holds the blocks. Units are grouped, bottom first: what
comes before the first block is the stem (stage 0), every block is a stage, what follows the last block belongs to it.
A stage's exit, the last of its modules, is the unit whose output enters the next stage. To resume above a boundary,
every unit below it answers at once, without computing: the exit with the cached activation, the others with zeros of
the shape they had in the dry run. A boundary counts as resumable only when the dry run's output comes out the same
that way, so a skip connection across it is noticed, not assumed away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Stage:
    """One link of the chain."""

    name: str
    modules: tuple[nn.Module, ...]
    parameters: int


@dataclass
class Unit:
    """A module that is skipped or run as a whole."""

    name: str
    module: nn.Module
    rank: int  # 2: an element of an opened container of blocks; 1: a container left whole; 0: any other module
    parameters: int
    layers: int
    answer: Any = None  # what it returned in the dry run: the template for skipping it
    entered: tuple[int, ...] = ()  # identities of the tensors that it was called with in the dry run


class Reached(Exception):
    """Ends a forward pass once every wanted activation is known."""


OPENED = 0.25  # a container is opened when it holds at least this share of all layers: stems and heads stay whole


def units(core: nn.Module, shut: Sequence[nn.Module] = ()) -> list[Unit]:
    """The children of a backbone in order, with the containers that hold its blocks opened one level."""
    return list(_units(core, "", _layers(core), {id(inner) for module in shut for inner in module.modules()}))


def _units(module: nn.Module, prefix: str, whole: int, shut: set[int]) -> Iterator[Unit]:
    def opens(child: nn.Module) -> bool:
        return id(child) not in shut and _is_container(child) and _layers(child) >= OPENED * whole

    children = list(module.named_children())
    several = sum(_is_container(child) for _, child in children) > 2  # as in ResNets, where each of four is a stage
    for name, child in children:
        full = f"{prefix}{name}"
        if opens(child) and not several:
            for key, element in child.named_children():
                yield _unit(f"{full}.{key}", element, rank=2)
        elif not isinstance(child, nn.Sequential | nn.ModuleList) and any(opens(inner) for inner in child.modules()):
            yield from _units(child, f"{full}.", whole, shut)
        else:
            yield _unit(full, child, rank=1 if isinstance(child, nn.Sequential | nn.ModuleList) else 0)


def _unit(name: str, module: nn.Module, *, rank: int) -> Unit:
    size = sum(parameter.numel() for parameter in module.parameters())
    return Unit(name, module, rank, size, _layers(module))


def _is_container(module: nn.Module) -> bool:
    filled = [child for child in module.children() if any(True for _ in child.parameters())]
    return isinstance(module, nn.Sequential | nn.ModuleList) and len(filled) >= 2


def _layers(module: nn.Module) -> int:
    """How many linear and convolutional layers: modules with a matrix or kernel, tables of embeddings left out."""
    return sum(
        any(parameter.dim() >= 2 for parameter in inner.parameters(recurse=False))
        for inner in module.modules()
        if not isinstance(inner, nn.Embedding)
    )


def chain(
    core: nn.Module, run: Callable[[], Any], shut: Sequence[nn.Module] = ()
) -> tuple[list[Stage], list[list[Unit]]]:
    """Finds the stages of a backbone: its units in the order in which `run` calls them; `shut` modules stay whole.

    Returns the stages and, for each, its units. Units that `run` never calls (an unused pooler) are left out.
    """
    called: list[Unit] = []
    held: list[Any] = []  # keeps the tensors of the dry run alive, so that an identity means one tensor
    with ExitStack() as stack:
        for unit in units(core, shut):

            def before(_: nn.Module, args: Any, named: Any, unit: Unit = unit) -> None:
                given = [value for value in (*args, *named.values()) if isinstance(value, Tensor)]
                held.extend(given)
                unit.entered += tuple(map(id, given))

            def after(_: nn.Module, __: Any, output: Any, unit: Unit = unit) -> None:
                if unit not in called:
                    called.append(unit)
                unit.answer = output

            stack.callback(unit.module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(unit.module.register_forward_hook(after).remove)
        run()
    groups = group(called)
    for stage, following in zip(groups, groups[1:], strict=False):
        _exit_last(stage, following[0])
    return [_stage(found, bottom=found is groups[0]) for found in groups], groups


def group(called: Sequence[Unit]) -> list[list[Unit]]:
    """Groups units into stem, blocks, and what follows the last block."""
    for rank in (2, 1, 0):
        blocks = [i for i, unit in enumerate(called) if unit.rank >= rank and unit.layers]
        if len(blocks) >= 2 and sum(called[i].layers for i in blocks) * 2 >= sum(unit.layers for unit in called):
            break
    stem_is_block = bool(blocks) and blocks[0] == 0
    starts = sorted({0, *(blocks[1:] if stem_is_block else blocks)})
    return [list(called[a:b]) for a, b in zip(starts, [*starts[1:], len(called)], strict=True)]


def joined(stages: Sequence[Stage], groups: Sequence[list[Unit]], count: int) -> tuple[list[Stage], list[list[Unit]]]:
    """The same chain, whose first stage takes the next `count` in: 0 of them, or all, for example."""
    if not count:
        return list(stages), list(groups)
    first = [unit for one in groups[: count + 1] for unit in one]
    return [_stage(first, bottom=True), *stages[count + 1 :]], [first, *groups[count + 1 :]]


def _exit_last(stage: list[Unit], following: Unit) -> None:
    """Moves the unit whose output enters the next stage to the end: side branches (rotary tables) may run after it."""
    for unit in reversed(stage):
        with suppress(TypeError, IndexError, KeyError):
            if id(first_tensor(unit.answer)) in following.entered:
                stage.remove(unit)
                stage.append(unit)
                return


def _stage(found: Sequence[Unit], *, bottom: bool) -> Stage:
    named = max(found, key=lambda unit: unit.parameters) if bottom else max(found, key=lambda unit: unit.rank)
    return Stage(named.name, tuple(unit.module for unit in found), sum(unit.parameters for unit in found))


def first_tensor(output: Any) -> Tensor:
    """The activation in a module's output: the tensor itself, or the first of a tuple or model output."""
    if isinstance(output, Tensor):
        return output
    found: Tensor = output[0]
    return found


def like(template: Any, rows: int, length: int | None, old_length: int | None, device: Any, dtype: Any) -> Any:
    """Zeros in the shape of a dry run's output, for another batch size and sequence length; they take no memory."""
    if isinstance(template, Tensor):
        shape = [length if length and size == old_length and i else size for i, size in enumerate(template.shape)]
        if shape:
            shape[0] = rows if template.shape[0] > 1 else 1
        kind = dtype if template.is_floating_point() else template.dtype
        return torch.zeros((), dtype=kind, device=device).expand(shape)
    if isinstance(template, tuple | list):
        return type(template)(like(item, rows, length, old_length, device, dtype) for item in template)
    return template


def outlined(value: Any) -> Any:
    """A dry run's output reduced to its shape: one number expanded, so that it holds no memory."""
    if isinstance(value, Tensor):
        return torch.zeros((), dtype=value.dtype).expand(value.shape)
    if isinstance(value, tuple | list):
        return type(value)(outlined(item) for item in value)
    return None if not isinstance(value, str | int | float | bool) else value


def owned(value: Any) -> Any:
    """A unit's output as a copy that may be written to."""
    if isinstance(value, Tensor):
        return value.clone(memory_format=torch.contiguous_format)
    return type(value)(owned(item) for item in value) if isinstance(value, tuple | list) else value


def with_states(template: Any, states: Tensor) -> Any:
    """A unit's output with the cached activation in the place where the activation was."""
    if isinstance(template, Tensor):
        return states
    return type(template)([states, *template[1:]])


@contextmanager
def answering(answers: Sequence[tuple[nn.Module, Any]]) -> Iterator[None]:
    """For a while, the given modules return the given values without computing."""
    modules = [module for module, _ in answers]
    for module, value in answers:
        module.forward = lambda *args, value=value, **named: value
    try:
        yield
    finally:
        for module in modules:
            del module.forward  # the class's own forward shows again


@contextmanager
def capturing(wanted: Sequence[nn.Module], *, stop: bool) -> Iterator[dict[int, Any]]:
    """Collects the outputs of modules by position in `wanted`; with `stop` the pass ends at the last of them."""
    found: dict[int, Any] = {}
    last = len(wanted) - 1
    with ExitStack() as stack:
        for i, module in enumerate(wanted):

            def keep(_: nn.Module, __: Any, output: Any, i: int = i) -> None:
                found[i] = first_tensor(output)
                if stop and i == last:
                    raise Reached

            stack.callback(module.register_forward_hook(keep).remove)
        with suppress(Reached):
            yield found
