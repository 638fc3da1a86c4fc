"""Tiny detection transformers with random weights, as transformers saves them: weights, configuration, processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SIDE = 64
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
HGNET = {
    "embedding_size": 8, "hidden_sizes": [16, 16, 24, 32], "stem_channels": [3, 8, 8], "stage_num_blocks": [1] * 4,
    "stage_in_channels": [8, 16, 16, 24], "stage_mid_channels": [8] * 4, "stage_out_channels": [16, 16, 24, 32],
    "stage_numb_of_layers": [1] * 4,
}  # fmt: skip
THREE = {"out_features": ["stage2", "stage3", "stage4"]}
HYBRID = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [16, 24, 32], "encoder_ffn_dim": 48, "encoder_attention_heads": 2,
    "d_model": 32, "num_queries": 20, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 48, "decoder_layers": 2,
    "decoder_attention_heads": 2, "num_denoising": 10, "feat_strides": [8, 16, 32], "num_feature_levels": 3,
}  # fmt: skip
PLAIN = {
    "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 20,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip
WIDE = {**PLAIN, "d_model": 32}
YOLOS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
         "image_size": [SIDE, SIDE], "patch_size": 8, "num_detection_tokens": 20}  # fmt: skip
MODELS: dict[str, tuple[dict[str, Any], tuple[str, dict[str, Any]] | None, str]] = {
    # model type -> what makes it small, (model type, what makes it small) of its vision network, its processor
    "rt_detr": (HYBRID, ("rt_detr_resnet", {**RESNET, **THREE}), "RTDetr"),
    "rt_detr_v2": (HYBRID, ("rt_detr_resnet", {**RESNET, **THREE}), "RTDetr"),
    "d_fine": (HYBRID, ("hgnet_v2", {**HGNET, **THREE}), "RTDetr"),
    "detr": (WIDE, ("resnet", {**RESNET, "out_features": ["stage4"]}), "Detr"),
    "conditional_detr": (WIDE, ("resnet", {**RESNET, "out_features": ["stage4"]}), "ConditionalDetr"),
    "dab-detr": ({**PLAIN, "hidden_size": 32}, ("resnet", {**RESNET, "out_features": ["stage4"]}), "ConditionalDetr"),
    "deformable_detr": (WIDE, ("resnet", {**RESNET, **THREE}), "DeformableDetr"),
    "table-transformer": (WIDE, ("resnet", {**RESNET, "out_features": ["stage4"]}), "Detr"),
    "yolos": (YOLOS, None, "Yolos"),
}
KNOWN = {0: "ball", 1: "box", 2: "rod", 3: "bag"}  # classes of the source


def config_of(kind: str) -> Any:
    """The configuration of one of `MODELS`."""
    from transformers import AutoConfig

    small, tower, _ = MODELS[kind]
    more = {"id2label": KNOWN, "label2id": {name: code for code, name in KNOWN.items()}}
    if tower is not None:
        more |= {"backbone_config": AutoConfig.for_model(tower[0], **tower[1])}
    return AutoConfig.for_model(kind, **small, **more)


def save(kind: str, folder: Path, side: int = SIDE) -> Path:
    """Saves one of `MODELS` into a folder."""
    import transformers

    torch.manual_seed(0)
    transformers.AutoModelForObjectDetection.from_config(config_of(kind)).save_pretrained(folder)
    processor = getattr(transformers, f"{MODELS[kind][2]}ImageProcessor")
    processor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder
