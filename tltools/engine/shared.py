"""What the trials of a study share: its rows, their targets, backbones, encoded rows and features, each made once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from tltools import datasets, matching, plans, studies, trials
from tltools.engine import dense, heads, written
from tltools.engine import device as devices
from tltools.engine.backbone import Backbone, Encoded, load_backbone
from tltools.engine.classical_dense import Held
from tltools.engine.features import FeatureStore, encoding_of
from tltools.engine.stepping import Steps
from tltools.judging import fairness
from tltools.plans import Plan
from tltools.records import Dataset, Source, Split, Study, Trial, refuse
from tltools.tasks import Task, tasks
from tltools.tickets import Ticket

FITTED = ("tabular", "frames")  # what backbones read that take statistics from the labelled rows
Init = Literal["source", "random"]


class Shared:
    """Backbones, encoded rows and features of one study on one split."""

    def __init__(self, ticket: Ticket, study: Study, dataset: Dataset, split: Split) -> None:
        self.ticket, self.study, self.dataset, self.split = ticket, study, dataset, split
        self.home = ticket.home
        self.checkpoints = self.home.jobs / "checkpoints"
        self.task: Task = tasks()[dataset.task]
        self.targets = datasets.target(self.home, dataset)
        self.test = np.sort(np.asarray(split.test, np.int64))
        self.labelled = np.sort(np.asarray([*split.train, *split.validation], np.int64))
        self.own: Any = written if self.task.written else dense if self.task.dense else None  # trials of such tasks
        self.kind: heads.Kind = self.task.closed_form or "number"
        self.device = devices.best()
        self.store = FeatureStore(self.home, study.budget.cache_gb, memory=ticket.store, dataset=dataset.id)
        self._backbones: dict[tuple[str, Init], Backbone] = {}
        self._fitted: dict[tuple[str, Init], Backbone] = {}  # those that hold statistics of the labelled rows
        self._encoded: dict[str, Encoded] = {}
        self._views: dict[str, Any] = {}
        self._plan: Plan | None = None
        self._aside = 0.0  # seconds, see `aside`

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Seconds inside are not those of the trial under way: what they make is for all, or they go by in waiting."""
        started, before = time.monotonic(), self._aside
        try:
            yield
        finally:
            self._aside = before + time.monotonic() - started  # of one inside another the outer counts

    def clock(self) -> Callable[[], dict[str, Any]]:
        """A function that tells what an `Outcome` says of time from now on: "seconds", and those of them "shared"."""
        started, before = time.monotonic(), self._aside
        return lambda: {"seconds": time.monotonic() - started, "shared": self._aside - before}

    def follow(self, plan: Plan) -> None:
        """Takes a plan's word for which activations are kept; without one all that can be are."""
        self._plan = plan
        for (reader, init), backbone in (self._backbones | self._fitted).items():
            if init == "source":
                self.store.expect(backbone, plan.wants(reader))

    def draw(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """(train rows, validation rows) of a trial."""
        return datasets.draw(
            self.split,
            self.targets,
            fraction=trial.fraction,
            per_class=trial.per_class,
            draw=trial.draw,
            seed=trial.seed,
        )

    def source(self, trial: Trial) -> Source:
        return trials.card(self.home, trial, self.dataset, self.study.columns.get(trial.source))

    def backbone(self, trial: Trial, init: Init, seed: int = 0) -> Backbone:
        """A trial's backbone, never trained itself; random ones of other seeds are made anew each time."""
        reader = plans.reader(trial)
        key = (reader, init)
        known = self._backbones.get(key) or self._fitted.get(key)
        if seed or known is None:
            with self.aside():
                made = self._load(trial, init, seed or self.study.seed)
            if seed:
                return made
            if init == "source" and self._plan is not None:
                self.store.expect(made, self._plan.wants(reader))
            known = (self._fitted if made.reads in FITTED else self._backbones)[key] = made
        return known

    def _load(self, trial: Trial, init: Init, seed: int) -> Backbone:
        made = load_backbone(self.home, self.source(trial), init=init, seed=seed)
        if made.reads in FITTED:
            with devices.seeded(seed):
                made.fit_items(self.view(made.reads), self.labelled)
        if self.own:
            self.own.prepare(made, self.task, self.dataset)
        return made.to(self.device.name)

    def encoded(self, backbone: Backbone) -> Encoded:
        key = encoding_of(backbone)
        if key not in self._encoded:
            self.ticket.progress("preparing rows", 0, 1, note=backbone.source.name)
            with self.aside():
                self._encoded[key] = self.store.encode(backbone, self.view(backbone.reads))
        return self._encoded[key]

    def ready(self, backbone: Backbone) -> tuple[Encoded, Steps]:
        """Encoded rows, and how a backbone is trained on them here, measured on first use."""
        encoded = self.encoded(backbone)
        with self.aside():
            return encoded, self.store.steps(backbone, encoded)

    def view(self, reads: str) -> Any:
        if reads not in self._views:
            self._views[reads] = datasets.items(self.home, self.dataset, reads)
        return self._views[reads]

    @functools.cached_property
    def keys(self) -> Sequence[bytes]:
        return datasets.content_keys(self.home, self.dataset)

    @functools.cached_property
    def _read(self) -> np.ndarray:
        """Rows that any trial of the study trains, validates or tests on: no other row goes through a backbone."""
        own = [trial for trial in studies.expand(self.home, self.study) if trial.split == self.split.id]
        one_a_draw = {(t.fraction, t.per_class, t.draw, t.seed): t for t in own}
        drawn = [rows for trial in one_a_draw.values() for rows in self.draw(trial)]
        return np.unique(np.concatenate([*drawn, self.test]))

    @property
    def seen_by_control(self) -> tuple[Held, Held]:
        """Items and truth of all rows as the control of a task of places reads them; folds share them."""
        if "control" not in self._views:
            items = self.view(self.dataset.modality)
            self._views["control"] = dense.seen_by_control(self.task, items, self.targets)
        found: tuple[Held, Held] = self._views["control"]
        return found

    @functools.cached_property
    def learnt_columns(self) -> list[matching.Column]:
        """What a later study may compare of the table's columns, without the test rows."""
        return matching.columns_of(self.view("tabular").iloc[self.labelled])

    @functools.cached_property
    def _groups(self) -> np.ndarray:
        """(N,) names of the groups that the study's sensitive columns make together.

        Raises:
            Refusal: the study names none.
        """
        if not self.study.sensitive:
            raise refuse("sensitive", "must name a column for this strategy; got none.", "Name the column of groups.")
        return fairness.groups_of(
            datasets.rows(self.home, self.dataset.id, *self.study.sensitive), self.study.sensitive
        )

    def _features(self, backbone: Backbone, kind: str) -> np.ndarray:
        """(rows of `_read`, D) float32."""
        encoded = functools.partial(self.encoded, backbone)
        with self.aside():
            if kind == "pooled":
                return self.store.pooled(backbone, encoded, self.keys, self._read, self.ticket)
            return self.store.layers(backbone, encoded, self.keys, self._read, self.ticket)[0]
