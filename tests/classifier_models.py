"""Tiny classifiers of transformers, each with its own head, as the library saves them; and texts that they classify."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tests import sound_models, text_models
from tests.hub_server import _minilm
from tltools.engine import torchvision_operators

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
         "initializer_range": 0.3}  # fmt: skip
READS = {**SMALL, "max_position_embeddings": 80}
WIDE = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "init_std": 0.3,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip
TEXTS: dict[str, dict[str, Any]] = {  # model type -> what makes it small
    "bert": READS, "roberta": READS, "bart": {**WIDE, "max_position_embeddings": 80},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 80,
                   "initializer_range": 0.3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80, "initializer_range": 0.3},
}  # fmt: skip
VISION = {"vit": {**SMALL, "image_size": 32, "patch_size": 8}}
SOUNDS = {name: sound_models.MODELS[name] for name in ("wav2vec2", "whisper", "ast")}
EXTRACTOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.3], "size": {"height": 32, "width": 32}}
NOUNS = ("film", "story", "book", "song", "evening", "meal")
SAID = {"negative": ("dull", "awful", "weak"), "positive": ("lovely", "great", "fine")}


def save(kind: str, folder: Path, classes: Sequence[str] | None, **other: Any) -> Path:
    """Saves one of `TEXTS`, `VISION` or `SOUNDS` with a random head for classes of these names, or for three that are
    only counted; other: more of its configuration."""
    torchvision_operators.ensure()
    import transformers

    named = {"id2label": dict(enumerate(classes))} if classes else {"num_labels": 3}
    torch.manual_seed(1)
    if kind in SOUNDS:
        sound_models.save(kind, folder)  # its extractor stays
        made, small = SOUNDS[kind]
        config, auto = transformers.AutoConfig.for_model(made, **small, **named), "Audio"
    elif kind in VISION:
        config, auto = transformers.AutoConfig.for_model(kind, **VISION[kind], **named), "Image"
        folder.mkdir(parents=True)
        (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    else:
        tokenizer = read(kind)
        tokenizer.save_pretrained(folder)
        ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id}
        if kind == "gpt2":
            ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id}
        if kind == "bart":
            ends |= {"decoder_start_token_id": tokenizer.sep_token_id, "bos_token_id": tokenizer.cls_token_id}
        small = {"vocab_size": len(tokenizer), **ends, **TEXTS[kind]}
        config, auto = transformers.AutoConfig.for_model(kind, **{**small, **other}, **named), "Sequence"
    getattr(transformers, f"AutoModelFor{auto}Classification").from_config(config).save_pretrained(folder)
    return folder


def read(kind: str) -> Any:
    """The tokenizer of a kind: one that has learned its pieces from the texts, or MiniLM's."""
    from transformers import AutoTokenizer

    if kind == "gpt2":
        return text_models.tokenizer("gpt2", list(sentences(200, seed=9)["text"]))
    return AutoTokenizer.from_pretrained(_minilm())


def sentences(rows: int, seed: int) -> pd.DataFrame:
    """Texts of several lengths, each with the word that says its `label`, negative or positive."""
    random, found = np.random.default_rng(seed), []
    for row in range(rows):
        label = ("negative", "positive")[row % 2]
        nouns = [f"a {noun}" for noun in random.choice(NOUNS, int(random.integers(1, 7)))]
        found.append((f"{' and '.join(nouns)}, it was {random.choice(SAID[label])} ({row})", label))
    return pd.DataFrame(found, columns=["text", "label"])


def taught(folder: Path, classes: Sequence[str]) -> Path:
    """Teaches a saved classifier of texts for some steps: of its classes the ones called negative and positive, in any
    case."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = (kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForSequenceClassification))
    known = sentences(60, seed=3)
    places = [[name.strip().lower() for name in classes].index(label) for label in known["label"]]
    batch, wanted = tokenizer(list(known["text"]), padding=True, return_tensors="pt"), torch.tensor(places)
    steps = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(25):
        loss = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=wanted).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
    model.save_pretrained(folder)
    return folder


def without_head(folder: Path, parts: str = "classifier") -> Path:
    """Takes the tensors of a head out of a saved classifier; its configuration goes on claiming them."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.startswith(parts)}
    save_file(kept, path, {"format": "pt"})
    return folder


def plain(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """(N, K) logits as the library gives them, of each text by itself."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    found = []
    with torch.inference_mode():
        for text in texts:
            batch = tokenizer(text, truncation=True, max_length=80, return_tensors="pt")
            given = {name: batch[name] for name in ("input_ids", "attention_mask")}
            found.append(model.eval()(**given).logits[0].numpy())
    return np.stack(found)
