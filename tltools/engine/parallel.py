"""Trainings side by side: each in a fork of the job's process, on one thread.

The threads of a training step wait for one another, so two trainings on one thread each get on faster than one after
the other on two. The first trial of its kind is set up in the job's process, on all its threads, and forks where its
training begins: rows, weights and cached activations are in the fork's memory already. What the trial came to returns
through a pipe, and the fork is given the next. Every fork has random numbers of its own, so a trial comes out the same
whatever trains beside it.

A fork that computed on several threads would wait for ever for those of its parent, and one must not use its parent's
connections: so it computes on one thread, and has a ticket and a store of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import psutil
import torch
from threadpoolctl import threadpool_limits

from tltools import rates
from tltools.engine import device as devices
from tltools.engine import loop
from tltools.records import Refusal, Trial
from tltools.store import open_store
from tltools.strategies import Outcome, strategies
from tltools.tickets import Interrupted, SideTicket, Stopped, TimedTicket

if TYPE_CHECKING:
    from tltools.engine.kit import EngineKit

TICK = 0.25  # seconds between two looks at whether the job must stop
LAST_WORDS = 10.0  # seconds from asking trainings to stop to ending them


class Departed(Exception):
    """The trial goes on in a fork: what called the kit for it has nothing more to do here."""


@dataclass
class Side:
    """A fork that trains, as its parent sees it."""

    pid: int
    pipe: Connection
    trial: Trial | None  # None: it waits for one
    grown_mb: float = 0.0  # memory of its own, at the end of a trial at most


def room(trainings: int, memory_mb: float) -> int:
    """How many trainings of a study fit side by side here, by their number and the memory that each may need: 1 on
    systems whose processes cannot fork safely, and on a GPU, which no fork can use."""
    if sys.platform != "linux" or devices.best().name != "cpu":
        return 1
    free = min(psutil.virtual_memory().available / 1e6, devices.memory_mb())  # of the machine, or the whole container's
    fitting = int(free / max(memory_mb, 1.0))
    return max(1, min(torch.get_num_threads(), trainings, fitting))


class Parallel:
    """Calls strategies; up to `places` trainings run at once. As a context: at its end none is left."""

    def __init__(
        self, kit: EngineKit, ticket: TimedTicket, places: int, settle: Callable[[], None] = lambda: None
    ) -> None:
        """`settle` is called before each fork: no other thread may be in the midst of something then."""
        self._kit, self._ticket, self.places, self._settle = kit, ticket, places, settle
        self._sides: list[Side] = []
        self._come = deque[Outcome]()
        self._lost = deque[Trial]()  # a fork was killed over them
        self._known = dict[Any, bool]()  # kinds of trials that were set up here -> whether forks train them
        self._speedups = dict[Any, float]()  # of their steps by all threads, over the one of a fork
        self._at: Trial | None = None  # being set up
        self._back: Connection | None = None  # in a fork: to its parent
        self.extra_mb = 0.0  # memory of the forks beside the first, at most

    def run(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Begins the trials of one call; yields what these and earlier ones came to, as far as it is known."""
        if self.places == 1 or len(trials) > 1:
            yield from self.rest()
            yield from self._here(trials)
            return
        (trial,) = trials
        if self._known.get(_kind(trial)) and (self._waiting() or len(self._sides) == self.places):
            self._hand_over(trial)
        else:
            self._set_up(trial)
        yield from self._taken()

    def rest(self) -> Iterator[Outcome]:
        """Waits for what was begun."""
        while self._busy():
            self._listen()
            yield from self._taken()
        while self._lost:  # one at a time, with all the memory there is
            yield from self._here([self._lost.popleft()])

    def stop(self) -> Iterator[Outcome]:
        """Asks all trainings to save where they stand; yields what still came."""
        until = time.monotonic() + LAST_WORDS
        for side in self._busy():
            with contextlib.suppress(OSError):
                side.pipe.send(None)
        while self._busy() and time.monotonic() < until:
            self._listen(stopping=True)
        yield from self._taken()

    def __enter__(self) -> Parallel:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Interrupted):
            for _late in self.stop():
                pass
        for side in list(self._sides):
            os.kill(side.pid, signal.SIGKILL)  # it holds nothing that is not on the disk, or its parent's
            self._part(side)

    # --- in the job's process ---------------------------------------------------------------------------------------

    def _here(self, trials: Sequence[Trial]) -> Iterator[Outcome]:
        return strategies()[trials[0].strategy].run(self._kit.on(trials[0].split), trials)

    def _set_up(self, trial: Trial) -> None:
        """Runs a trial up to where it departs, or to its end where it does not."""
        kit = self._kit.on(trial.split)
        self._at, kit.parallel = trial, self
        try:
            outcomes = list(self._here([trial]))
            if self._back is not None:
                self._serve(outcomes)
        except Departed:
            return
        except BaseException as error:
            if self._back is None:
                raise
            self._leave(error)  # a fork ends here, whatever happened
        finally:
            kit.parallel = None
        self._come.extend(outcomes)

    def depart(self, training: loop.Training) -> None:
        """Called where a training begins: returns in a fork and raises Departed here, or returns here where it is
        better trained alone."""
        if self._back is not None:
            return
        assert self._at is not None
        kind = _kind(self._at)
        self._known[kind] = rates.pays(self.places, training.place.speedup)
        self._speedups[kind] = max(1.0, training.place.speedup)
        if not self._known[kind]:
            while self._busy():
                self._listen()
            return
        if len(self._sides) == self.places:
            self._hand_over(self._at)
            raise Departed
        self._settle()
        here, there = Pipe()
        pid = os.fork()
        if pid:
            there.close()
            self._sides.append(Side(pid, here, self._at))
            raise Departed
        here.close()
        for side in self._sides:
            side.pipe.close()  # a fork must see when its parent is gone
        self._settle_in(there)

    def _hand_over(self, trial: Trial) -> None:
        while not self._waiting():
            self._listen()
            if self.places == 1:  # one was killed meanwhile
                self._lost.append(trial)
                return
        side = self._waiting()[0]
        side.trial = trial
        try:
            side.pipe.send(trial)
        except OSError:  # it was killed while it waited
            self._mourn(side)

    def _listen(self, *, stopping: bool = False) -> None:
        """Takes in what forks say, for a moment at most. Raises: what one of them raised, or the ticket."""
        heard = connection.wait([side.pipe for side in self._busy()], TICK)
        for side in [side for side in self._sides if side.pipe in heard]:
            try:
                kind, said = side.pipe.recv()
            except (EOFError, OSError):
                self._mourn(side)
                continue
            if kind == "tell":
                name, arguments, numbers = said
                if name == "working_on" and side.trial is not None:
                    if side is self._busy()[0]:  # of several one is told of, or words would jump
                        self._ticket.working_on(arguments[0], strategies()[side.trial.strategy].title)
                else:
                    getattr(self._ticket, name)(*arguments, **numbers)
            elif kind == "came":
                outcomes, grown = said
                assert side.trial is not None
                faster = self._speedups[_kind(side.trial)]
                side.trial, side.grown_mb = None, max(side.grown_mb, grown)
                self.extra_mb = max(self.extra_mb, sum(sorted(one.grown_mb for one in self._sides)[:-1]))
                for one in outcomes:
                    self._come.append(replace(one, card={**one.card, "at_once": self.places}, faster=faster))
            else:
                self._part(side)
                if kind == "refused":
                    raise Refusal(*said)
                if not (stopping and isinstance(said, Interrupted)):
                    raise said
        if not stopping:
            self._ticket.check()

    def _mourn(self, side: Side) -> None:
        """A fork that ends without a word was killed, most likely for want of memory: from now on one at a time."""
        self._part(side)
        self.places = 1
        if side.trial is not None:
            self._lost.append(side.trial)
            note = "its process was killed, most likely for want of memory; from now on one training at a time"
            self._ticket.event("note", trial=side.trial.id, note=note)

    def _part(self, side: Side) -> None:
        self._sides.remove(side)
        side.pipe.close()
        os.waitpid(side.pid, 0)

    def _busy(self) -> list[Side]:
        return [side for side in self._sides if side.trial is not None]

    def _waiting(self) -> list[Side]:
        return [side for side in self._sides if side.trial is None]

    def _taken(self) -> Iterator[Outcome]:
        while self._come:
            yield self._come.popleft()

    # --- in a fork --------------------------------------------------------------------------------------------------

    def _settle_in(self, back: Connection) -> None:
        torch.set_num_threads(1)
        threadpool_limits(1)
        self._back = back
        self._come.clear()  # these are the parent's
        store = open_store(self._kit.home)  # by process: this is a new one
        self._ticket.lend(SideTicket(self._kit.home, store, self._ticket.job, back))
        self._kit.store.remember_in(store)

    def _serve(self, outcomes: list[Outcome]) -> NoReturn:
        """Tells what came, and goes on with what it is given next, until there is nobody to give."""
        assert self._back is not None
        while True:
            self._back.send(("came", (outcomes, psutil.Process().memory_full_info().uss / 1e6)))
            del outcomes  # they may be large
            if (wanted := self._back.recv()) is None:  # it was asked to stop when it just had
                os._exit(0)
            outcomes = list(self._here([wanted]))

    def _leave(self, error: BaseException) -> NoReturn:
        """Tells the parent, and ends without cleaning up: everything here is the parent's."""
        assert self._back is not None
        with contextlib.suppress(OSError):
            refused = ("refused", error.problems) if isinstance(error, Refusal) else None
            self._back.send(refused or ("raised", _portable(error)))
        os._exit(0)


def _kind(trial: Trial) -> Any:
    """What trials have in common that read the same prefixes."""
    return trial.split, trial.source, trial.strategy, str(trial.knobs)


def _portable(error: BaseException) -> BaseException:
    """An exception that can be sent: itself where it has a meaning of its own, else its name, text and place."""
    if isinstance(error, Stopped | MemoryError | OSError):
        return error.with_traceback(None)
    found = RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note("".join(traceback.format_exception(error)))
    return found
