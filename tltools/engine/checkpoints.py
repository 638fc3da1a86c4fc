"""Checkpoints of one trial: model, optimiser, random state and where it was; safetensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from tltools.home import write_bytes

KEPT = 2  # the older one is there in case the newer is damaged
SHARE = 0.05  # of the time at most goes into writing checkpoints


@dataclass
class Saved:
    """A checkpoint that was read back: the loop's own facts, and all tensors."""

    fitted: dict[str, Any]
    tensors: dict[str, Tensor]

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer | None) -> None:
        """Puts model, random state and, where it still is the same one, the optimiser back."""
        model.load_state_dict(self.part("model."), strict=False)
        parameters = [p for group in optimiser.param_groups for p in group["params"]] if optimiser else []
        for i, parameter in enumerate(parameters):
            state = self.part(f"optimiser.{i}.")
            if optimiser and state:
                optimiser.state[parameter] = {
                    key: value.to(value.device if key == "step" and not parameter.is_cuda else parameter.device)
                    for key, value in state.items()
                }
        torch.set_rng_state(self.tensors["random"])
        if "random_cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["random_cuda"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


class Checkpoint:
    """Where one trial's checkpoints lie. `every` seconds at least pass between two saves that are due."""

    def __init__(self, folder: Path, every: float = 10.0) -> None:
        self.folder, self.every = folder, every
        self._last = time.monotonic()
        self._cost = 0.0  # seconds that the last save took

    def due(self) -> bool:
        """Whether it is time for another one; large ones are written less often."""
        return time.monotonic() - self._last >= max(self.every, self._cost / SHARE)

    def save(
        self,
        state: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        best: Mapping[str, Tensor],
        fitted: Mapping[str, Any],
        step: int,
    ) -> None:
        """Writes what is needed to go on from after `step` steps."""
        started = time.monotonic()
        tensors = {f"model.{name}": value for name, value in state.items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for i, parameter in enumerate(parameters):
            tensors |= {f"optimiser.{i}.{key}": value for key, value in optimiser.state.get(parameter, {}).items()}
        tensors["random"] = torch.get_rng_state()
        if any(parameter.is_cuda for parameter in parameters):
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        facts = {"fitted": _plain(fitted), "sha256": _write(tensors, self.folder / f"{step:09d}.safetensors")}
        write_bytes(self.folder / f"{step:09d}.json", json.dumps(facts).encode())
        for old in sorted(self.folder.glob("*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> Saved | None:
        """The newest sound checkpoint; None when there is none."""
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                facts = json.loads(path.read_text())
                body = path.with_suffix(".safetensors").read_bytes()
                if hashlib.sha256(body).hexdigest() == facts["sha256"]:
                    return Saved(_numbers(facts["fitted"]), load(body))
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue  # damaged: the older one serves
        return None

    def clear(self) -> None:
        """Removes all checkpoints of the trial."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            self.folder.rmdir()


def _write(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Writes tensors as they lie in memory, without a copy of them all; returns the file's sha256."""
    seen, own = set[int](), dict[str, Tensor]()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        own[name] = value.clone() if value.data_ptr() in seen else value  # weights that are tied lie there once
        seen.add(value.data_ptr())
    temporary = path.with_name(f".{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(own, temporary)
    with open(temporary, "rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return digest


def _plain(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: what is not finite becomes its name."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in fitted.items()
    }


def _numbers(fitted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) if isinstance(value, str) else value for key, value in fitted.items()}
