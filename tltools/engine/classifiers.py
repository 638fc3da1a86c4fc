"""Classifiers of transformers asked as they are: the whole network, whose logits stand where others have features.

A head is rarely one linear layer on what is pooled here (BERT's reads a pooled first token, RoBERTa's has a layer of
its own, GPT-2's reads the last token), so none is taken apart: the library's network says what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tltools.engine import audio_backbone, image_backbone, text_backbone, torchvision_operators
from tltools.engine.audio_backbone import Patches, Waves, Whispers
from tltools.engine.backbone import Backbone, Batch
from tltools.engine.image_backbone import ImageBackbone
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.weights import pretrained
from tltools.records import Source, refuse

NETWORKS = {  # what a source reads -> the library's automatic class of such classifiers
    "text": "AutoModelForSequenceClassification",
    "image": "AutoModelForImageClassification",
    "audio": "AutoModelForAudioClassification",
}
APART = ("position_ids", "mask_token", "masked_spec_embed")  # names of tensors that only pre-training needs
ALONE = 1e-3  # of the logits' size: how far those of a text may change beside a longer one


class Whole(Backbone):
    """What all kinds share: (B, K) logits are what is pooled."""

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        logits: Tensor = output.logits
        return logits


class TextClassifier(Whole, TextBackbone):
    def sample(self, rows: int, length: int) -> Batch:
        batch = super().sample(rows, length)
        end: Any = getattr(self.core.config, "eos_token_id", None)
        if isinstance(end, int):  # some heads read the state of the mark that ends a text
            batch["input_ids"][:, -1] = end
        return batch

    def _before_dry_run(self) -> None:
        """Which way its states look is not asked: the head knows."""
        self.core.config.pad_token_id = self.pad  # type: ignore[union-attr]  # by which heads find the last token


class ImageClassifier(Whole, ImageBackbone):
    pass


class WavesClassifier(Whole, Waves):
    pass


class WhispersClassifier(Whole, Whispers):
    """Its head averages over all of its 30 s, so it is given all of them."""

    def __init__(self, source: Source, core: Any, extractor: Any) -> None:
        super().__init__(source, core, extractor)
        self.preprocessing += "|filled up"

    def encoder(self) -> Any:
        return self.core.encoder

    def every(self, seconds: float) -> int:
        return self.most


class PatchesClassifier(Whole, Patches):
    pass


SOUNDS: audio_backbone.Kinds = {
    "conv_kernel": WavesClassifier, "max_source_positions": WhispersClassifier, "frequency_stride": PatchesClassifier,
}  # fmt: skip
KINDS: Mapping[str, tuple[Callable[[Path], Any], Callable[..., Backbone]]] = {
    "text": (text_backbone.configured, partial(text_backbone.around, kind=TextClassifier)),
    "image": (image_backbone.configured, partial(image_backbone.around, kind=ImageClassifier)),
    "audio": (audio_backbone.configured, partial(audio_backbone.around, kinds=SOUNDS)),
}


def build(source: Source, folder: Path, random: bool) -> Backbone:
    """Builds a classifier with its head from a local folder; nothing is downloaded, no code of the folder is run.

    Raises:
        Refusal: the file lacks a part of it, the head's too, or it reads batches in a way of its own.
    """
    torchvision_operators.ensure()
    import transformers

    configured, around = KINDS[source.reads]
    config, kind = configured(folder), getattr(transformers, NETWORKS[source.reads])
    if type(config) not in kind._model_mapping:
        what = f"is a {config.model_type}, of which the library knows no classifier of what it reads."
        raise refuse(source.id, what, "Leave zero_shot out.")
    network = kind.from_config(config) if random else pretrained(folder, config, source.id, APART, kind)
    backbone = around(source, folder, network, config)
    backbone.find_stages()
    if isinstance(backbone, TextClassifier):
        _must_read_alone(backbone)
    return backbone


def network_class(backbone: Backbone) -> str:
    """The automatic class of the library that makes a backbone's network."""
    return NETWORKS[backbone.reads] if isinstance(backbone, Whole) else "AutoModel"


def _must_read_alone(backbone: TextClassifier) -> None:
    """Raises:
    Refusal: what is said of a text hangs on how much its batch was filled up."""
    texts = backbone.encode([text_backbone.PROBE[:12], 3 * text_backbone.PROBE])
    with torch.inference_mode():
        alone, beside = (backbone(texts.take(np.array(rows)))[0] for rows in ([0], [0, 1]))
    if bool((alone - beside).abs().max() > ALONE * alone.abs().max().clamp(min=1.0)):
        what = "says something else of a text when it is filled up to the length of another: its head reads the end."
        raise refuse(backbone.source.id, what, "Leave zero_shot out.")
