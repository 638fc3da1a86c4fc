"""Words and groups of letters, counted once for all trials of a study: TF-IDF of any of its rows costs no second count.

A vectoriser that is fitted on some rows sees the same counts as one that was fitted on more, but for the terms that its
own rows lack. So the rows of a study are counted together, and `TfIdf` lets go of what its own rows do not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 50_000  # terms of each kind: those that occur most often in the fitted rows


@dataclass(frozen=True)
class Counts:
    """How often each term occurs in each row: one (N, terms) sparse matrix a kind of term."""

    blocks: tuple[Any, ...]

    def __len__(self) -> int:
        return int(self.blocks[0].shape[0])

    def pick(self, rows: np.ndarray) -> Counts:
        """The counts of some rows."""
        return Counts(tuple(block[rows] for block in self.blocks))


def count(texts: Sequence[str], kinds: Sequence[Mapping[str, Any]]) -> Counts:
    """Counts all texts, for each kind of term (arguments of `CountVectorizer`); terms are in alphabetical order."""
    from sklearn.feature_extraction.text import CountVectorizer

    return Counts(tuple(CountVectorizer(**kind, dtype=np.int32).fit_transform(texts) for kind in kinds))


class TfIdf:
    """A scikit-learn transformer: `Counts` in, what `TfidfVectorizer` would say of the texts themselves out."""

    def fit(self, counts: Counts, targets: Any = None) -> TfIdf:
        self.fit_transform(counts, targets)
        return self

    def fit_transform(self, counts: Counts, targets: Any = None) -> Any:
        """(N, terms that are kept) sparse, each kind of term scaled to unit length."""
        from sklearn.feature_extraction.text import TfidfTransformer

        self.kept_, self.scales_, found = [], [], []
        for block in counts.blocks:
            kept = np.unique(block.indices)  # the terms that the rows show
            if len(kept) > MOST:
                often = np.asarray(block.sum(axis=0)).ravel()[kept]
                kept = kept[np.sort((-often).argsort()[:MOST])]  # ties fall as in TfidfVectorizer
            self.kept_.append(kept)
            self.scales_.append(TfidfTransformer(sublinear_tf=True))
            found.append(self.scales_[-1].fit_transform(block[:, kept]))
        return _beside(found)

    def transform(self, counts: Counts) -> Any:
        """(N, terms that are kept) sparse; terms that the fitted rows lacked are passed over."""
        found = zip(counts.blocks, self.kept_, self.scales_, strict=True)
        return _beside([scale.transform(block[:, kept]) for block, kept, scale in found])


def _beside(blocks: list[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(blocks, format="csr")
