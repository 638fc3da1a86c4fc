"""Models that write a text for each row: a backbone and what writes from it, new or as the source was pre-trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tltools.engine import generators, layouts
from tltools.engine.backbone import Batch
from tltools.engine.decoder import decoder_for, decoder_of
from tltools.engine.dense import KEPT
from tltools.engine.generators import OwnPieces
from tltools.engine.pieces import Wording, learned
from tltools.engine.text_backbone import TextBackbone

TAUGHT = "wanted"  # of a batch: (B, T) pieces of the references


class Writer(layouts.Tuned):
    """An encoder and a decoder over its states, which is its head."""

    def __init__(self, backbone: TextBackbone, head: Any) -> None:
        nn.Module.__init__(self)
        self.backbone, self.head = backbone, head

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, T, V) scores in the places of `batch["wanted"]`."""
        found: Tensor = self.head(self.maps(batch)[0], batch["attention_mask"], batch[TAUGHT])
        return found

    def maps(self, batch: Batch) -> list[Tensor]:
        """The states of the tokens (B, S, D), alone in a list."""
        return [batch[KEPT]] if KEPT in batch else [one for _, one in self.backbone.maps(batch)]

    def write(self, batch: Batch, once: int) -> list[str]:
        """A text for each row of a batch."""
        head: Any = self.head
        written = head.write(self.maps(batch)[0], batch["attention_mask"], once)
        return [head.pieces.text(ids) for ids in written]


class Continuer(Writer):
    """A language model that goes on from texts and their prompt; its head is the output layer."""

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """(B, T, V) scores in the places of `batch["wanted"]`, which begin where a row ends."""
        ids, mask, wanted = batch["input_ids"], batch["attention_mask"], batch[TAUGHT]
        places = mask.sum(1, keepdim=True) + torch.arange(wanted.shape[1], device=ids.device)
        head: Any = self.head
        ids = nn.functional.pad(ids, (0, wanted.shape[1]), value=head.pieces.pad).scatter(
            1, places, wanted.clamp(min=0)
        )
        seen = torch.arange(ids.shape[1], device=ids.device) <= places[:, -1:]
        found = self.backbone.maps({"input_ids": ids, "attention_mask": seen.long()})[0][1]
        before = (places - 1).unsqueeze(-1).expand(-1, -1, found.shape[-1])
        scores: Tensor = self.head(found.gather(1, before))
        return scores

    def write(self, batch: Batch, once: int) -> list[str]:
        from transformers import LogitsProcessorList
        from transformers.generation import NoRepeatNGramLogitsProcessor

        head: Any = self.head
        backbone: Any = self.backbone
        (network,) = backbone.generator
        head.settle(network, once)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        width = ids.shape[1]
        turned = (torch.arange(width, device=ids.device) + mask.sum(1, keepdim=True)) % width  # padded on the left
        ids, mask = ids.gather(1, turned), mask.gather(1, turned)
        once_only = NoRepeatNGramLogitsProcessor(once) if once else None
        rules = (
            [lambda said, scores: once_only(said[:, width:], scores)] if once_only else []
        )  # what is read may be said
        said = network.generate(ids, attention_mask=mask, logits_processor=LogitsProcessorList(rules))
        return [head.pieces.text(row) for row in said[:, width:].tolist()]


def wording(backbone: TextBackbone, references: list[str]) -> Wording:
    """The pieces that texts are written in: the source's own if it writes, else learned from references."""
    return OwnPieces(backbone) if backbone.generator else learned(references)


def writer(backbone: TextBackbone, pieces: Any, longest: int) -> Writer:
    """A model that writes texts of at most `longest` pieces, with weights of a backbone that are its own."""
    if not backbone.generator:
        return Writer(backbone, decoder_for(backbone, pieces, longest + 1))
    return (Continuer if backbone.causal else Writer)(backbone, generators.head(backbone, longest))


def writer_of(backbone: TextBackbone, tensors: dict[str, Tensor]) -> Writer:
    """The model that these tensors of its head make."""
    if not backbone.generator:
        return Writer(backbone, decoder_of(backbone, tensors))
    made = writer(backbone, None, int(tensors["longest"]))
    made.head.load_state_dict(tensors, strict=False)  # what is shared with the backbone is there
    return made
