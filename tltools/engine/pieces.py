"""The pieces that texts are written in: those of a source, or byte pairs learned from references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

SIZE = 4000  # pieces at most
PAD, BEGIN, END = 0, 1, 2
NONE = -100  # behind the end of a text: `tasks._written.NO_PIECE`
LONGEST = 128  # pieces of a text at most
_MARKS = ("<pad>", "<begin>", "<end>")


class Wording(Protocol):
    """Texts as numbers of pieces and back."""

    def __len__(self) -> int: ...
    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """The pieces of each text with its end; a text that is longer than what is written has no end."""

    def text(self, ids: Sequence[int]) -> str:
        """What pieces say."""


def rows_of(wording: Wording, texts: Sequence[str] | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N, L) int64 pieces of all texts, those of `rows` alone, the others empty; filled up with `NONE`."""
    cut = wording.cut([texts[row] for row in rows])
    found = np.full((len(texts), max(map(len, cut), default=1)), NONE, np.int64)
    for row, ids in zip(rows, cut, strict=True):
        found[row, : len(ids)] = ids
    return found


def behind(first: int, pieces: Tensor, filling: int) -> Tensor:
    """(B, T) what stands before each of the pieces (B, T): `first`, then all but the last of them."""
    start = torch.full_like(pieces[:, :1], first)
    return torch.cat([start, pieces[:, :-1].masked_fill(pieces[:, :-1] == NONE, filling)], 1)


class Pieces:
    """Pieces that were learned; case and letters of every script are kept."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        found = self.tokenizer.encode_batch(list(texts))
        return [[*one.ids, END][: LONGEST - 1] for one in found]

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def words(self) -> list[str]:
        """Each piece by itself as text; the marks are empty, and half a letter is a sign that no text has."""
        return [self.text([k]) for k in range(len(self))]

    def dumped(self) -> bytes:
        """As JSON, from which `loaded` makes it again."""
        return str(self.tokenizer.to_str()).encode()


def learned(texts: Sequence[str]) -> Pieces:
    """Learns byte pairs from texts: the 256 bytes, and what stands side by side most often, up to `SIZE`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=list(_MARKS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return Pieces(tokenizer)


def loaded(dumped: bytes) -> Pieces:
    """The pieces that `Pieces.dumped` wrote."""
    from tokenizers import Tokenizer

    return Pieces(Tokenizer.from_str(dumped.decode()))
