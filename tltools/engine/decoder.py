"""Texts written piece by piece: a small causal transformer that looks at the states of an encoder.

It is started from the encoder's own last blocks where those are built as in BERT or DistilBERT, as "Leveraging
pre-trained checkpoints for sequence generation" (arXiv 1907.12461) does; what looks at the states is always new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tltools.engine.backbone import Backbone
from tltools.engine.pieces import BEGIN, END, PAD, Pieces, behind, loaded
from tltools.engine.text_backbone import TextBackbone

LAYERS = 2
DROPOUT = 0.1
SPREAD = 0.02  # of new weights
# parts of a block of the encoder -> parts of a layer here
_BERT = {
    "attention.self.query": "own.query", "attention.self.key": "own.key", "attention.self.value": "own.value",
    "attention.output.dense": "own.out", "attention.output.LayerNorm": "norms.0", "intermediate.dense": "up",
    "output.dense": "down", "output.LayerNorm": "norms.2",
}  # fmt: skip
_DISTILBERT = {
    "attention.q_lin": "own.query", "attention.k_lin": "own.key", "attention.v_lin": "own.value",
    "attention.out_lin": "own.out", "sa_layer_norm": "norms.0", "ffn.lin1": "up", "ffn.lin2": "down",
    "output_layer_norm": "norms.2",
}  # fmt: skip
Memory = dict[str, Tensor]  # keys and values of one layer: own (of what was written) and seen (of the encoder)


class Attention(nn.Module):
    """Several heads of attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        """(B, T, D) of queries x (B, T, D); keys, values (B, H, S, D / H); mask (B, 1, 1, S): where it looks."""
        query = self.split(self.query(x))
        mixed = functional.scaled_dot_product_attention(query, keys, values, mask, is_causal=causal)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D / H) of what is looked at, (B, S, D)."""
        return self.split(self.key(x)), self.split(self.value(x))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Layer(nn.Module):
    """Attention to what was written, to the states of the encoder, and two linear layers; each normed afterwards."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.own, self.seen = Attention(width, heads), Attention(width, heads)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, memory: Memory, mask: Tensor) -> Tensor:
        """(B, T, D); what `x` adds to `memory` is noted there. Several places at once only where none were before."""
        keys, values = self.own.read(x)
        first = "own_keys" not in memory
        if not first:
            keys, values = torch.cat([memory["own_keys"], keys], 2), torch.cat([memory["own_values"], values], 2)
        memory |= {"own_keys": keys, "own_values": values}
        x = self.norms[0](x + self.drop(self.own(x, keys, values, None, causal=first)))
        x = self.norms[1](x + self.drop(self.seen(x, memory["seen_keys"], memory["seen_values"], mask)))
        normed: Tensor = self.norms[2](x + self.drop(self.down(functional.gelu(self.up(x)))))
        return normed


class Decoder(nn.Module):
    """See the module's text. `vocabulary` holds the pieces as bytes, so that they travel with the weights."""

    vocabulary: Tensor

    def __init__(self, width: int, heads: int, inner: int, longest: int, pieces: Pieces) -> None:
        super().__init__()
        self.pieces = pieces
        self.words, self.places = nn.Embedding(len(pieces), width), nn.Embedding(longest, width)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(LAYERS))
        self.bias = nn.Parameter(torch.zeros(len(pieces)))
        self.register_buffer("vocabulary", torch.frombuffer(bytearray(pieces.dumped()), dtype=torch.uint8))
        self.out_features = len(pieces)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=SPREAD)

    def start_from(self, backbone: TextBackbone) -> bool:
        """Takes over the last blocks of an encoder, and for each piece the mean of the encoder's vectors of the same
        letters; says whether it could, else nothing is changed."""
        blocks = [backbone.core.get_submodule(stage.name).state_dict() for stage in backbone.stages[-LAYERS:]]
        for names in (_BERT, _DISTILBERT):
            kinds = [(theirs, ours, kind) for theirs, ours in names.items() for kind in ("weight", "bias")]
            if all(f"{theirs}.{kind}" in block for theirs, _, kind in kinds for block in blocks):
                for layer, block in zip(self.layers, blocks, strict=True):
                    layer.load_state_dict({f"{o}.{k}": block[f"{t}.{k}"] for t, o, k in kinds}, strict=False)
                self._start_words(backbone)
                return True
        return False

    def _start_words(self, backbone: TextBackbone) -> None:
        core: Any = backbone.core
        table, tokenizer = core.get_input_embeddings().weight.to(self.words.weight.device), backbone.tokenizer
        found = tokenizer(self.pieces.words(), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            for place, ids in enumerate(found):
                if ids and tokenizer.unk_token_id not in ids:
                    self.words.weight[place] = table[ids].mean(0)

    def forward(self, states: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """(B, T, V) scores in the places of `wanted` (B, T), each after those before it; states (B, S, D), of which
        mask (B, S)."""
        return self._next(behind(BEGIN, wanted, PAD), 0, self._look(states), mask[:, None, None].bool())

    def write(self, states: Tensor, mask: Tensor, once: int = 0) -> Sequence[Sequence[int]]:
        """The likeliest pieces of each row, one after the other; no run of `once` of them is written twice."""
        memory, seen = self._look(states), mask[:, None, None].bool()
        last = torch.full((len(states), 1), BEGIN, device=states.device)
        said: list[list[int]] = [[] for _ in range(len(states))]
        runs: list[dict[tuple[int, ...], set[int]]] = [{} for _ in said]
        done = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        for place in range(self.places.num_embeddings - 1):
            scores = self._next(last, place, memory, seen)[:, -1].float()
            scores[:, [PAD, BEGIN]] = -torch.inf
            if once:
                for row, pieces in enumerate(said):
                    scores[row, list(runs[row].get(tuple(pieces[len(pieces) - once + 1 :]), ()))] = -torch.inf
            last = scores.argmax(1, keepdim=True)
            done |= last[:, 0] == END
            if done.all():
                break
            for row, (piece, over) in enumerate(zip(last[:, 0].tolist(), done.tolist(), strict=True)):
                if over:
                    continue
                if once and len(said[row]) >= once - 1:
                    runs[row].setdefault(tuple(said[row][len(said[row]) - once + 1 :]), set()).add(piece)
                said[row].append(piece)
        return said

    def _look(self, states: Tensor) -> list[Memory]:
        read = [layer.seen.read(states) for layer in self.layers]  # type: ignore[union-attr, operator]
        return [{"seen_keys": keys, "seen_values": values} for keys, values in read]

    def _next(self, pieces: Tensor, first: int, memory: Sequence[Memory], mask: Tensor) -> Tensor:
        places = torch.arange(first, first + pieces.shape[1], device=pieces.device)
        x = self.drop(self.norm(self.words(pieces) + self.places(places)))
        for layer, own in zip(self.layers, memory, strict=True):
            x = layer(x, own, mask)
        return functional.linear(x, self.words.weight, self.bias)


def decoder_for(backbone: Backbone, pieces: Pieces, longest: int) -> Decoder:
    """A new decoder of an encoder's width for texts of up to `longest` pieces, marks included."""
    config = backbone.core.config
    heads = int(getattr(config, "num_attention_heads", 0) or max(1, backbone.width // 64))
    inner = int(getattr(config, "intermediate_size", 0) or 4 * backbone.width)
    return Decoder(backbone.width, heads, inner, longest, pieces)


def decoder_of(backbone: Backbone, tensors: dict[str, Tensor]) -> Decoder:
    """The decoder that these tensors of its state make."""
    pieces = loaded(bytes(tensors["vocabulary"].to(torch.uint8).tolist()))
    decoder = decoder_for(backbone, pieces, len(tensors["places.weight"]))
    decoder.load_state_dict(tensors)
    return decoder
