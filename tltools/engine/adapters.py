"""LoRA adapters on a backbone (peft), and the columns of a tabular network."""

from __future__ import annotations

from typing import Any

from torch import nn

from tltools.engine import torchvision_operators

OUTPUT = "lm_head"  # often one table with the words that are read: merging would change these, too


def inject(network: nn.Module, *, r: int, alpha: float, dropout: float) -> None:
    """Puts low-rank adapters beside every linear layer but an output layer for words, in place."""
    torchvision_operators.ensure()
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    linear = (name for name, module in network.named_modules() if isinstance(module, nn.Linear | Conv1D))
    layers = sorted(name for name in linear if not name.endswith(OUTPUT))
    transposed = any(isinstance(module, Conv1D) for module in network.modules())
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers, fan_in_fan_out=transposed)
    inject_adapter_in_model(config, network)


def merge(network: nn.Module) -> None:
    """Adds the adapters to the weights that they stand beside and removes them, so that the names are the source's."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent = network.get_submodule(name.rpartition(".")[0])
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
