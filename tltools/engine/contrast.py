"""Contrastive tuning: rows of one class are drawn together and rows of two apart, then a head is solved for (SetFit).

The loop is the usual one; what it goes through are pairs of rows, and their loss is the squared difference between the
cosine of the two features and 1 (one class) or 0 (two classes), as in SetFit (arXiv 2209.11055). The head reads the
features as the backbone gives them; a text backbone can give them at length 1, as the pairs see them (`unit`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tltools import plans
from tltools.engine import heads, loop

PARTS = 2  # of a batch, by length: its pairs are of any lengths, and the longest row would pad them all


@dataclass
class Contrast(loop.Training):
    """The loop over pairs: (P, 2) row numbers. The head takes no part in it; `solve_head` gives it afterwards."""

    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def run(self) -> loop.Fitted:
        """Trains as the loop does; rows of one class alone leave the model as it is."""
        return super().run() if len(self.pairs) else self.at

    def visits(self) -> tuple[np.ndarray, np.ndarray]:
        """(numbers of all pairs, cost of each: the same, for batches of like length would all be of one long row)."""
        return np.arange(len(self.pairs)), np.zeros(len(self.pairs))

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) squared errors of the cosines of the pairs with these numbers; a row is computed once a batch."""
        pairs = self.pairs[rows]
        distinct, place = np.unique(pairs, return_inverse=True)
        order = np.argsort(self.feed.lengths[distinct], kind="stable")
        with self.place.device.autocast(self.place.half):
            pooled = torch.cat([self._pooled(some) for some in np.array_split(distinct[order], PARTS) if len(some)])
        unit = torch.nn.functional.normalize(pooled.float(), dim=-1)
        unit = unit[torch.from_numpy(order.argsort()[place.reshape(-1, 2)]).to(pooled.device)]
        targets = self.rows.targets[pairs]
        same = (targets[:, 0] == targets[:, 1]).float().to(pooled.device)
        return (unit.prod(1).sum(1) - same).square()

    def _pooled(self, rows: np.ndarray) -> Tensor:
        """(len(rows), D) features."""
        batch, states = self.feed.take(rows, training=True)
        return self.model.pooled(batch, states, self.place.boundary)

    def evaluate(self) -> None:
        """Notes the loss of the pairs; there is no head yet that validation rows could judge."""
        facts = {"epoch": float(self.at.epoch), "train_loss": self.at.train_loss, "seconds": self.at.seconds}
        self.at.curve.append(facts)
        self.told(facts)

    def solve_head(self, classes: int) -> heads.Head:
        """Fits the closed-form head on the tuned features of the training rows and puts it into the model."""
        features = self.predict(self.rows.train, pooled=True).numpy()
        codes = self.rows.targets[self.rows.train].numpy()
        (head,) = heads.fit_many(features, codes, [np.arange(len(codes))], "classes", classes=classes)
        self.model.take_head(head)
        return head


def draw_pairs(codes: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(P, 2) row numbers, by turns of one class and of two; every class comes equally often.

    codes: (N,) of the whole dataset. count: pairs at most; fewer where there are few rows, none for a single row.
    A class of one row has no pairs of its own, a single class none with another.
    """
    random = np.random.default_rng([seed, len(rows)])
    groups = [rows[codes[rows] == code] for code in np.unique(codes[rows])]
    several = [group for group in groups if len(group) > 1]
    found = []
    for k in range(min(count, plans.PARTNERS * len(rows))):
        if k % 2 == 0 and several:
            found.append(random.choice(several[k // 2 % len(several)], 2, replace=False))
        elif k % 2 == 1 and len(groups) > 1:
            one = k // 2 % len(groups)
            other = (one + int(random.integers(1, len(groups)))) % len(groups)
            found.append(np.array([random.choice(groups[one]), random.choice(groups[other])]))
    return np.array(found, np.int64).reshape(-1, 2)
