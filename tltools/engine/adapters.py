"""LoRA adapters on a backbone (peft), and the columns of a tabular network."""

from __future__ import annotations

from typing import Any

from torch import nn

from tltools.engine import torchvision_operators
from tltools.engine.backbone import Backbone


def inject(backbone: Backbone, *, r: int, alpha: float, dropout: float) -> None:
    """Puts low-rank adapters beside every linear layer of the stages, in place."""
    torchvision_operators.ensure()
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    layers = sorted(name for name, module in backbone.core.named_modules() if isinstance(module, nn.Linear | Conv1D))
    transposed = any(isinstance(module, Conv1D) for module in backbone.core.modules())
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers, fan_in_fan_out=transposed)
    inject_adapter_in_model(config, backbone.core)


def merge(backbone: Backbone) -> None:
    """Adds the adapters to the weights that they stand beside and removes them, so that the names are the source's."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.core.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent = backbone.core.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())


def columns(backbone: Any) -> dict[str, Any]:
    """What a tabular network must know to be built again: its columns."""
    return {
        "columns": {
            "numbers": list(backbone.numbers),
            "categories": list(backbone.categories),
            "shared": list(backbone.shared),
        }
    }
