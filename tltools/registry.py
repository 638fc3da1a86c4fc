"""Finds the one value that each plugin file of a room defines; adding a plugin is adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any


@cache
def members(room: str, kind: type) -> dict[str, Any]:
    """Returns the plugins of a room by key, in the order of their `order` field, then key.

    `room` is a package name such as "tltools.strategies"; `kind` the frozen dataclass that its files end in.

    Raises:
        TypeError: a file of the room defines no value of `kind`, or more than one, or a key twice.
    """
    package = importlib.import_module(room)
    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        value = _the_value(importlib.import_module(f"{room}.{info.name}"), kind)
        if value.key in found:
            raise TypeError(f"{room}.{info.name}: the key {value.key!r} is taken; give it another one.")
        found[value.key] = value
    return dict(sorted(found.items(), key=lambda item: (getattr(item[1], "order", 0), item[0])))


def _the_value(module: ModuleType, kind: type) -> Any:
    values = [value for value in vars(module).values() if isinstance(value, kind)]
    if len(values) != 1:
        raise TypeError(f"{module.__name__}: must end in one {kind.__name__}; found {len(values)}.")
    return values[0]
