"""Splits any backbone into a chain of stages, found by its own structure and one dry run; no list of architectures.

A unit is a child module, or an element of the container that holds the blocks. Units are grouped, bottom first: what
comes before the first block is the stem (stage 0), every block is a stage, what follows the last block belongs to it.
To resume above a boundary, every unit below it answers at once, without computing: the last one with the cached
activation, the others with zeros of the shape they had in the dry run. A boundary counts as resumable only when the
dry run's output comes out the same that way, so a skip connection across it is noticed, not assumed away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
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
    block: bool  # an element of a container of blocks
    answer: Any = None  # what it returned in the dry run: the template for skipping it
    parameters: int = field(default=0)


class Reached(Exception):
    """Ends a forward pass once every wanted activation is known."""


def units(module: nn.Module, prefix: str = "") -> Iterator[Unit]:
    """Yields the children of a backbone in order, with the containers of its blocks opened one level."""
    children = [(name, child) for name, child in module.named_children() if any(True for _ in child.modules())]
    containers = [child for _, child in children if _is_container(child)]
    for name, child in children:
        full = f"{prefix}{name}"
        if _is_container(child) and len(containers) <= 2:
            for key, element in child.named_children():
                yield Unit(f"{full}.{key}", element, block=True, parameters=_size(element))
        elif not _is_container(child) and any(_is_container(inner) for inner in child.children()):
            yield from units(child, f"{full}.")
        else:
            yield Unit(full, child, block=_is_container(child), parameters=_size(child))


def _is_container(module: nn.Module) -> bool:
    filled = [child for child in module.children() if _size(child)]
    return isinstance(module, nn.Sequential | nn.ModuleList) and len(filled) >= 2


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def chain(core: nn.Module, run: Callable[[], Any]) -> tuple[list[Stage], list[list[Unit]]]:
    """Finds the stages of a backbone: its units in the order in which `run` calls them.

    Returns the stages and, for each, its units. Units that `run` never calls (an unused pooler) are left out.
    """
    called: list[Unit] = []
    with ExitStack() as stack:
        for unit in units(core):

            def note(_: nn.Module, __: Any, output: Any, unit: Unit = unit) -> None:
                if unit not in called:
                    called.append(unit)
                unit.answer = output

            stack.callback(unit.module.register_forward_hook(note).remove)
        run()
    return group(called)


def group(called: Sequence[Unit]) -> tuple[list[Stage], list[list[Unit]]]:
    """Groups units into stem, blocks, and what follows the last block."""
    blocks = [i for i, unit in enumerate(called) if unit.block and unit.parameters]
    if len(blocks) < 2:  # no container of blocks: every unit with parameters is one
        blocks = [i for i, unit in enumerate(called) if unit.parameters][1:]
    starts = [0, *[i for i in blocks if i > 0]]
    groups = [list(called[a:b]) for a, b in zip(starts, [*starts[1:], len(called)], strict=True)]
    stages = [
        Stage(
            max(found, key=lambda unit: unit.parameters).name,
            tuple(u.module for u in found),
            sum(u.parameters for u in found),
        )
        for found in groups
    ]
    return stages, groups


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
