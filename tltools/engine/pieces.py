"""The pieces that texts are written in: byte pairs learned from references, so that any text can be said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIZE = 4000  # pieces at most
PAD, BEGIN, END = 0, 1, 2  # PAD is `tasks._written.NO_PIECE`
LONGEST = 128  # pieces of a text at most
_MARKS = ("<pad>", "<begin>", "<end>")


class Pieces:
    """Texts as numbers of pieces and back; case and letters of every script are kept."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """The pieces of each text, between `BEGIN` and `END`; a longer text than `LONGEST` has no end."""
        found = self.tokenizer.encode_batch(list(texts))
        return [[BEGIN, *one.ids, END][:LONGEST] for one in found]

    def rows(self, texts: Sequence[str] | np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(N, L) int64 pieces of all texts, those of `rows` alone, the others empty; filled up with `PAD`."""
        cut = self.cut([texts[row] for row in rows])
        found = np.full((len(texts), max(map(len, cut), default=1)), PAD, np.int64)
        for row, ids in zip(rows, cut, strict=True):
            found[row, : len(ids)] = ids
        return found

    def text(self, ids: Sequence[int]) -> str:
        """What pieces say."""
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
