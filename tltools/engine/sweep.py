"""One pass of a frozen backbone over rows that no block holds yet; it writes every output that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tltools.engine import autotune, stages
from tltools.engine.autotune import Setting
from tltools.engine.blocks import FORMAT, Writer
from tltools.records import Refusal

if TYPE_CHECKING:
    from tltools.engine.backbone import Backbone, Encoded
    from tltools.tickets import Ticket

Array = NDArray[Any]
Want = Literal["pooled", "layers"] | int  # an int is a boundary: the activations that leave stage boundary - 1

COMMIT_ROWS = 256  # a killed sweep loses at most so many rows, or
COMMIT_SECONDS = 1.0  # the rows of so long a time


class Room(Protocol):
    """What is asked of the feature store: a place on disk."""

    def make_room(self, coming: int, names: Iterable[str], *, must: bool) -> None: ...

    def folder(self, name: str) -> Path: ...


class Sweep:
    """One pass over missing rows that feeds every block that is asked for."""

    def __init__(
        self, store: Room, backbone: Backbone, encoded: Encoded, setting: Setting,
        names: Mapping[Want, str], ticket: Ticket | None, *, optional: Iterable[Want] = (),
    ) -> None:  # fmt: skip
        """optional: wants that are let go when they do not fit into the budget."""
        self._store, self._backbone, self._encoded = store, backbone, encoded
        self._setting, self._names, self._ticket = setting, names, ticket
        self._writers: dict[Want, Writer] = {}
        self._optional, self._dropped = set(optional), set[Want]()
        self.rows, self.seconds = 0, 0.0  # what was computed, and in what time
        self._coming = 0  # bytes that this sweep will have written

    def run(self, unique: Array, rows: Array, absent: Mapping[Want, Array]) -> int:
        """Computes the rows that any want lacks; returns their number. unique, rows: (U,) keys and a row of each."""
        todo = np.flatnonzero(np.any(list(absent.values()), axis=0))
        lengths = np.asarray(self._encoded.lengths)[rows[todo]]
        device = autotune.device_of(self._backbone)
        done, started = 0, time.monotonic()
        self._backbone.eval()
        try:
            for part in autotune.batches(self._backbone.reads, lengths, scale=autotune.scale_on(device)):
                places = todo[part]
                if self._ticket:
                    self._ticket.check()
                batch = self._encoded.take(rows[places])
                with self._setting.running(device):
                    moved = autotune.to_device(batch, device, channels_last=self._setting.channels_last)
                    outputs = outputs_of(self._backbone, moved, [w for w in absent if w not in self._dropped])
                for want, output in outputs.items():
                    self._write(want, output, unique, places, absent[want], lengths, part)
                done += len(part)
                self.rows, self.seconds = done, time.monotonic() - started
                if self._ticket:
                    rate = done / max(self.seconds, 1e-9)
                    self._ticket.progress(
                        "reading features", done, len(todo), note=self._backbone.source.name, rows_per_second=rate
                    )
        finally:
            for writer in self._writers.values():
                writer.close()
        return done

    def _write(
        self, want: Want, output: torch.Tensor, unique: Array, places: Array, absent: Array, lengths: Array, part: Array
    ) -> None:
        """Queues a batch's rows that `want` lacks. lengths: of all rows of the sweep; part: those of the batch."""
        states = isinstance(want, int)
        ragged = states and self._backbone.reads in ("text", "audio")
        if states:
            stored = output.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().view(np.uint16)
        else:
            stored = output.float().cpu().numpy()
        if want not in self._writers:
            coming = stored[0, :1].nbytes * int(lengths.sum()) if ragged else stored[0].nbytes * len(lengths)
            try:
                self._store.make_room(self._coming + coming, self._names.values(), must=states)
            except Refusal:
                if want not in self._optional:
                    raise
                self._dropped.add(want)
                return
            self._coming += coming
            self._writers[want] = Writer(
                self._store.folder(self._names[want]),
                unit_shape=stored.shape[2:] if ragged else stored.shape[1:],
                ragged=ragged,
                dtype="uint16" if states else "float32",
                about={
                    "source": self._backbone.source.id, "kind": str(want), "precision": self._setting.precision,
                    "format": FORMAT,
                },
            )  # fmt: skip
        writer = self._writers[want]
        for i, place in enumerate(places):
            if absent[place]:
                units = int(min(lengths[part[i]], stored.shape[1])) if ragged else 1
                writer.add(bytes(unique[place]).ljust(32, b"\0"), stored[i, :units] if ragged else stored[i], units)
        writer.commit(at_least=COMMIT_ROWS, seconds=COMMIT_SECONDS)


def outputs_of(backbone: Backbone, batch: Mapping[str, Any], wants: Sequence[Want]) -> dict[Want, torch.Tensor]:
    """Every output that is asked for, of one batch, in one pass; it ends at the deepest boundary if that is enough."""
    boundaries = sorted(want for want in wants if isinstance(want, int))
    outlets = [backbone.stages[boundary - 1].modules[-1] for boundary in boundaries]
    found: dict[Want, torch.Tensor] = {}
    with stages.capturing(outlets, stop=len(boundaries) == len(wants)) as captured:
        if "layers" in wants:
            layers = backbone.forward_stages(dict(batch))
            found["layers"], found["pooled"] = torch.cat(layers, 1), layers[-1]
        else:
            found["pooled"] = backbone(dict(batch))
    found.update((boundary, captured[i]) for i, boundary in enumerate(boundaries))
    return {want: found[want] for want in wants}
