"""Checkpoints of one trial: model, optimiser, random state and where it was; safetensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from tltools.home import write_bytes

KEPT = 2  # the older one is there in case the newer is damaged


@dataclass
class Saved:
    """A checkpoint that was read back."""

    epoch: int
    fitted: dict[str, Any]
    waited: int
    tensors: dict[str, Tensor]

    def restore(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, fitted: Any
    ) -> tuple[Any, dict[str, Tensor], int]:
        """Puts model, optimiser and random state back; returns (fitted, best weights, evaluations waited)."""
        model.load_state_dict(self._part("model."), strict=False)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for i, parameter in enumerate(parameters):
            state = self._part(f"optimiser.{i}.")
            if state:
                optimiser.state[parameter] = state
        torch.set_rng_state(self.tensors["random"])
        return fitted, self._part("best."), self.waited

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


class Checkpoint:
    """Where one trial's checkpoints lie. `every` seconds at least pass between two saves."""

    def __init__(self, folder: Path, every: float = 10.0) -> None:
        self.folder, self.every = folder, every
        self._last = time.monotonic()

    def save(
        self,
        epoch: int,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        fitted: Mapping[str, Any],
        best: Mapping[str, Tensor],
        waited: int,
    ) -> None:
        """Writes a checkpoint when enough time has passed since the last."""
        if time.monotonic() - self._last < self.every:
            return
        open_names = {name for name, p in model.named_parameters() if p.requires_grad}
        state = {
            n: v for n, v in model.state_dict().items() if n in open_names or "running_" in n or "num_batches" in n
        }
        tensors = {f"model.{name}": value for name, value in state.items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for i, parameter in enumerate(parameters):
            tensors |= {f"optimiser.{i}.{key}": value for key, value in optimiser.state.get(parameter, {}).items()}
        tensors["random"] = torch.get_rng_state()
        body = save({key: value.detach().contiguous().clone() for key, value in tensors.items()})
        facts = {"epoch": epoch, "fitted": _plain(fitted), "waited": waited, "sha256": hashlib.sha256(body).hexdigest()}
        write_bytes(self.folder / f"{epoch:06d}.safetensors", body)
        write_bytes(self.folder / f"{epoch:06d}.json", json.dumps(facts).encode())
        for old in sorted(self.folder.glob("*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)
        self._last = time.monotonic()

    def load(self) -> Saved | None:
        """The newest sound checkpoint; None when there is none."""
        for path in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                facts = json.loads(path.read_text())
                body = path.with_suffix(".safetensors").read_bytes()
                if hashlib.sha256(body).hexdigest() != facts["sha256"]:
                    continue
                fitted = {**facts["fitted"], "validation_loss": _number(facts["fitted"]["validation_loss"])}
                fitted["train_loss"] = _number(fitted["train_loss"])
                return Saved(facts["epoch"], fitted, facts["waited"], load(body))
            except (OSError, ValueError, KeyError, SafetensorError):
                continue  # damaged: the older one serves
        return None

    def clear(self) -> None:
        """Removes all checkpoints of the trial."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            self.folder.rmdir()


def _plain(fitted: Mapping[str, Any]) -> dict[str, Any]:
    def finite(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: finite(value) for key, value in fitted.items()}


def _number(value: float | None) -> float:
    return math.inf if value is None else value
