"""Tiny speech and audio models with random weights, as transformers saves them: weights, configuration, extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

LAYERS = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.1,
}
FRONT = {"conv_dim": [16, 16, 16], "conv_kernel": [10, 8, 4], "conv_stride": [5, 8, 4], "num_feat_extract_layers": 3}
WAVES = {**LAYERS, **FRONT, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
LAYERED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> model type, what makes it small
    "wav2vec2": ("wav2vec2", WAVES),
    "wav2vec2 with layer norms": ("wav2vec2", {**WAVES, **LAYERED}),
    "hubert": ("hubert", {**WAVES, "conv_bias": False}),
    "wavlm": ("wavlm", {**WAVES, "num_buckets": 16, "max_bucket_distance": 40}),
    "whisper": (
        "whisper",
        {
            "d_model": 32, "encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "num_mel_bins": 80,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 64,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
            "init_std": 0.15,
        },
    ),
    "ast": (
        "audio-spectrogram-transformer",
        {**LAYERS, "num_mel_bins": 64, "max_length": 64, "patch_size": 16, "frequency_stride": 16, "time_stride": 16},
    ),
}  # fmt: skip


def save(name: str, folder: Path) -> Path:
    """Saves one of `MODELS` into a folder."""
    from transformers import (
        ASTFeatureExtractor,
        AutoConfig,
        AutoModel,
        Wav2Vec2FeatureExtractor,
        WhisperFeatureExtractor,
    )

    kind, small = MODELS[name]
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **small)).save_pretrained(folder)
    if kind == "whisper":
        WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    elif "max_length" in small:
        ASTFeatureExtractor(num_mel_bins=64, max_length=64).save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor(return_attention_mask=name.endswith("norms")).save_pretrained(folder)
    return folder
