"""Contrastive tuning: rows of one class are drawn together and rows of two apart, then class means are a head (SetFit).

The loop is the usual one; the loss of a pair of rows is the squared difference between the cosine of their features and
1 (one class) or 0 (two classes), as in SetFit (arXiv 2209.11055). SetFit draws pairs and computes both rows of each.
Here a batch is of rows, and all its pairs count: 32 rows are 496 pairs at the price of 16. The head reads the features
as the backbone gives them; a text backbone can give them at length 1, as the pairs see them (`unit`).

The name of a class is a row more: `names` holds it as a text, which every batch that shows the class compares with its
rows, and which the head counts as one of them (the templated examples of SetFit's code).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tltools.engine import heads, loop
from tltools.engine.device import moved
from tltools.engine.prototypes import prototypes

_WORD = re.compile(r"[^\W\d_]{2}")  # two letters
PARTS = 2  # of a batch, by length: its rows are of any lengths, and the longest would pad them all


@dataclass
class Contrast(loop.Training):
    """The loop, over pairs of rows. The head takes no part in it; `solve_head` gives it afterwards."""

    names: loop.Feed | None = None  # a row for each class, by code; None: they are not read

    def run(self) -> loop.Fitted:
        """Trains as the loop does; rows of one class alone leave the model as it is."""
        return super().run() if len(np.unique(self._codes)) > 1 else self.at

    def batches(self) -> list[np.ndarray]:
        """The rows of this epoch, batch by batch, see `in_company`."""
        return in_company(self.rows.train, self._codes, self.recipe.batch_size, self.seed, self.at.epoch)

    def losses(self, rows: np.ndarray) -> Tensor:
        """(B,) weighted mean squared errors of the cosines of a row and the others of its batch, names included.

        The rows of its class together weigh as much as those of all other classes.
        """
        order = rows[np.argsort(self.feed.lengths[rows], kind="stable")]
        codes = others = self.rows.targets[order]
        with self.place.device.autocast(self.place.half):
            pooled = [self._pooled(self.feed, some) for some in np.array_split(order, PARTS) if len(some)]
            if self.names is not None:
                shown = np.unique(codes)
                pooled.append(self._pooled(self.names, shown))
                others = torch.cat([codes, torch.from_numpy(shown)])
        unit = torch.nn.functional.normalize(torch.cat(pooled).float(), dim=-1)
        same = moved((codes[:, None] == others).float(), unit.device)
        errors = (unit[: len(rows)] @ unit.T - same).square()
        near, far = same - torch.eye(*same.shape, device=unit.device), 1 - same
        each = [(errors * kind).sum(1) / kind.sum(1).clamp(min=1) for kind in (near, far)]
        return torch.stack(each).mean(0) * moved(self.rows.weights[order], unit.device)

    @property
    def _codes(self) -> np.ndarray:
        """Of the training rows."""
        return self.rows.targets[self.rows.train].numpy()

    def _pooled(self, feed: loop.Feed, rows: np.ndarray) -> Tensor:
        """(len(rows), D) features."""
        batch, states = feed.take(rows, training=True)
        return self.model.pooled(batch, states, self.place.boundary)

    def evaluate(self) -> None:
        """Notes the training loss; there is no head yet that validation rows could judge."""
        facts = {"epoch": float(self.at.epoch), "train_loss": self.at.train_loss, "seconds": self.at.seconds}
        self.at.curve.append(facts)
        self.told(facts)

    def solve_head(self, classes: int) -> heads.Head:
        """Puts a head of class means of the tuned features of the training rows, and of names, into the model.

        A ridge would choose its strength by rows left out, but these have tuned the features, in which classes now lie
        apart: it would choose one too weak. Class means have none to choose.
        """
        features, codes = self.predict(self.rows.train, pooled=True).numpy(), self._codes
        if self.names is not None:
            shown = np.unique(codes)
            of_names = loop.predict(self.model, self.names, shown, self.place, pooled=True).numpy()
            features, codes = np.concatenate([features, of_names]), np.concatenate([codes, shown])
        head = prototypes(features, codes, classes)
        self.model.take_head(head)
        return head


def named(classes: Sequence[str]) -> list[str]:
    """A text for each class, by its name; none at all where one has no word for a name, as 0 or B: those mislead."""
    return [f"This text is about {name}." for name in classes] if all(map(_WORD.search, classes)) else []


def in_company(rows: np.ndarray, codes: np.ndarray, size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Random batches of about `size` rows, each row once, none without another of its class (but the only one of it).

    codes: of `rows`. The order depends on (seed, epoch) alone, so a resumed run sees the same batches.
    """
    random = np.random.default_rng([seed, epoch])
    of_class = [random.permutation(rows[codes == code]) for code in np.unique(codes)]
    twos = [two for own in of_class for two in np.array_split(own, max(1, len(own) // 2))]
    order = [twos[place] for place in random.permutation(len(twos))]
    step = max(1, size // 2)
    return [np.concatenate(order[start : start + step]) for start in range(0, len(order), step)]
