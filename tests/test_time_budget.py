"""A study with a time budget: the cheap evidence first, a verdict at the end, nothing half written, and a way on.

The clock is made of checks, so that no test depends on how fast the machine is.
"""

from __future__ import annotations

import itertools

import pytest

from tltools import plans, reports, samples, studies
from tltools.artifacts import sealed
from tltools.engine import parallel
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Budget, Refusal, Study
from tltools.store import open_store
from tltools.tickets import BudgetSpent, QuietTicket, TimedTicket

SHORT = {"full_finetune": {"epochs": 2, "min_steps": 4}}


@pytest.fixture
def asked(home: Home) -> Study:
    wine = samples.add(home, "wine")
    arms = {"sources": ("bundled/table-net",), "strategies": (SHORT,), "controls": ("classical",)}
    return Study(dataset=wine.id, fractions=(1.0,), draws=3, budget=Budget(minutes=10), **arms)


def _stop_at(monkeypatch: pytest.MonkeyPatch, checks: int) -> None:
    """Lets the budget end at the n-th look at the clock."""
    looks = itertools.count(1)
    monkeypatch.setattr(TimedTicket, "left", property(lambda self: 1.0 if next(looks) < checks else -1.0))


def _sealed(home: Home, study: Study) -> list[str]:
    return [t.strategy for t in studies.expand(home, study) if sealed(home.trials / t.id)]


def test_a_ticket_ends_with_its_moment_and_passes_all_else_on(home: Home) -> None:
    inner = QuietTicket(home)
    assert TimedTicket(inner, float("inf")).check() is None
    with pytest.raises(BudgetSpent):
        TimedTicket(inner, float("-inf")).check()


def test_what_is_finished_is_judged_and_the_rest_follows_when_the_study_is_run_on(
    home: Home, asked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, key = QuietTicket(home, open_store(home)), studies.save(home, asked)
    with monkeypatch.context() as patched:
        _stop_at(patched, 14)
        result = engine.run(ticket, {"study": key})
    first = _sealed(home, asked)
    assert 0 < len(first) < result["trials"] and result["left_out"] == result["trials"] - len(first)
    assert first.count("classical") == 3, "what costs nothing comes first"
    said = next(p for p in reports.load(home, key).problems if p.where == "study")
    assert "time budget of 10 min" in said.what and f"{result['left_out']} of" in said.what
    assert ticket.store.recall("estimate", key) is None, "a study cut short says nothing about its estimate"

    assert engine.run(ticket, {"study": key})["left_out"] == 0
    assert not any("not there yet" in p.what for p in reports.load(home, key).problems)


def test_a_trial_that_would_not_end_in_time_is_left_out(
    home: Home, asked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "like", lambda trial: "alike")
    took = iter([5.0] * 3 + [1e9] * 9)  # the classical ones are quick, the first trained one is not
    slow = parallel.strategies()

    def timed(strategy):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        def run(kit, trials):  # type: ignore[no-untyped-def]
            for outcome in strategy.run(kit, trials):
                yield replace(outcome, seconds=next(took))

        return replace(strategy, run=run)

    monkeypatch.setattr(parallel, "strategies", lambda: {key: timed(card) for key, card in slow.items()})
    result = engine.run(QuietTicket(home, open_store(home)), {"study": studies.save(home, asked)})
    assert result["left_out"] == 2 and sorted(_sealed(home, asked)) == ["classical"] * 3 + ["full_finetune"]


def test_a_budget_too_short_for_any_trial_is_a_refusal_with_a_remedy(
    home: Home, asked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_at(monkeypatch, 1)
    monkeypatch.setattr(engine.EngineKit, "classical", lambda self, trials: iter([self.ticket.check()]))
    with pytest.raises(Refusal, match="more minutes"):
        engine.run(QuietTicket(home, open_store(home)), {"study": studies.save(home, asked)})
    assert not _sealed(home, asked)


def test_the_estimate_says_how_many_draws_the_budget_covers(home: Home, asked: Study) -> None:
    store = open_store(home)
    roomy = studies.estimate(home, store, asked)
    tight = asked.model_copy(update={"budget": Budget(minutes=roomy.seconds / 60 / 2)})
    short = studies.estimate(home, store, tight)
    none = asked.model_copy(update={"budget": Budget(minutes=0.001)})
    assert any("covers about 1 of 3 draws" in sentence for sentence in short.sentences)
    assert not any("budget" in sentence for sentence in roomy.sentences)
    assert roomy.detectable is not None and short.detectable is not None and short.detectable > roomy.detectable
    nothing = studies.estimate(home, store, none)
    assert any("covers not even one of 3 draws" in sentence for sentence in nothing.sentences)
    assert nothing.detectable is None, "of what is not run no gain will be decided"
