"""A study with a time budget: the cheap evidence first, a verdict at the end, nothing half written, and a way on.

The clock is made of checks, so that no test depends on how fast the machine is.
"""

from __future__ import annotations

import itertools

import pytest

from tltools import budgets, costs, plans, reports, samples, sources, studies
from tltools.artifacts import sealed
from tltools.engine import parallel
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Budget, Folds, Refusal, Study
from tltools.store import open_store
from tltools.tickets import BudgetSpent, QuietTicket, TimedTicket

SHORT = {"full_finetune": {"epochs": 2, "min_steps": 4, "batch_size": 16}}


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

    cost = reports.load(home, key).cost
    assert cost["actual_seconds"] == result["actual_seconds"], "of the run, not of its trials one by one"
    again = engine.run(ticket, {"study": key})
    assert again["left_out"] == 0
    assert not any("not there yet" in p.what for p in reports.load(home, key).problems)
    cost = reports.load(home, key).cost
    assert cost["actual_seconds"] == pytest.approx(result["actual_seconds"] + again["actual_seconds"])
    estimated = min(result["estimated_seconds"], 600) + min(again["estimated_seconds"], 600)
    assert cost["estimated_seconds"] == pytest.approx(estimated)


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


def test_the_estimate_says_what_the_budget_buys(home: Home, asked: Study) -> None:
    store, longer = open_store(home), {**SHORT["full_finetune"], "epochs": 30}
    asked = asked.model_copy(update={"strategies": ({"full_finetune": longer},)})
    roomy = studies.estimate(home, store, asked)
    assert roomy.in_time == roomy.trials == 6 and roomy.judged_in_time and roomy.within == roomy.seconds
    assert not any("min buy" in sentence for sentence in roomy.sentences)
    tight = asked.model_copy(update={"budget": Budget(minutes=0.9 * roomy.seconds / 60)})
    short = studies.estimate(home, store, tight)
    assert 3 < short.in_time < 6 and not short.judged_in_time and short.within == pytest.approx(0.9 * short.seconds)
    assert any("all of Classical" in sentence for sentence in short.sentences)
    assert any("nothing of Full fine-tuning" in sentence for sentence in short.sentences)
    assert roomy.detectable is not None and short.detectable is None, "of one draw there is no verdict"
    nothing = studies.estimate(home, store, asked.model_copy(update={"budget": Budget(minutes=0.001)}))
    assert any("nothing of Full fine-tuning and Classical" in sentence for sentence in nothing.sentences)
    assert nothing.detectable is None, "of what is not run no gain will be decided"
    assert any("Too little for a verdict" in sentence for sentence in nothing.sentences)
    assert not any("Too little for a verdict" in sentence for sentence in roomy.sentences)


def test_what_a_budget_does_not_bring_to_a_verdict_decides_no_gain(home: Home, dear: Study) -> None:
    store, tight = open_store(home), dear.model_copy(update={"strategies": ("full_finetune",), "draws": 3})
    seconds = studies.estimate(home, store, tight).seconds
    found = [
        studies.estimate(home, store, _with_minutes(tight, share * seconds / 60)) for share in (0.1, 0.2, 0.3, 0.4, 0.6)
    ]
    without = [one for one in found if any("nothing of Full fine-tuning" in said for said in one.sentences)]
    assert without and len(without) < len(found)
    for one in found:
        assert (one.detectable is None) == (one in without), "what is called nothing promises no gain"
        assert any("Too little for a verdict" in said for said in one.sentences) == (one in without)


def test_what_is_finished_already_counts_beside_what_a_budget_buys(
    home: Home, asked: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, hurried = open_store(home), asked.model_copy(update={"budget": Budget(minutes=0.0001)})
    whole = studies.estimate(home, store, asked).detectable
    monkeypatch.setattr(costs.trials, "finished", lambda home, study, trial: trial.kind == "control" or trial.draw < 2)
    rest = studies.estimate(home, store, hurried)
    assert (rest.sealed, rest.in_time) == (5, 0)
    assert whole is not None and rest.detectable is not None and rest.detectable > whole, "two draws of three"


@pytest.fixture
def dear(home: Home) -> Study:
    """A study whose trainings take most of the time, by far."""
    wine = samples.add(home, "wine")
    arms = {"strategies": ("linear_probe", "last_block", "full_finetune"), "controls": ("scratch", "classical")}
    return Study(dataset=wine.id, sources=("bundled/minilm-l6",), fractions=(0.5, 1.0), draws=5, **arms)


def _with_minutes(study: Study, minutes: float) -> Study:
    return study.model_copy(update={"budget": Budget(minutes=minutes)})


def test_within_a_budget_whole_comparisons_come_one_after_the_other_the_cheapest_first(home: Home, dear: Study) -> None:
    dataset, split = studies.split_of(home, dear)
    counts = plans.Counts(len(split.train), len(split.validation), len(split.test), len(dataset.classes))
    trials = studies.expand(home, dear)
    known = {"bundled/minilm-l6": costs.rate(open_store(home), sources.get(home, "bundled/minilm-l6"), dataset)[0]}
    usual = budgets.groups(dear, trials, known, counts)
    assert usual == plans.ordered(trials, {"bundled/minilm-l6": plans.STAGES}), "without a budget draw by draw"
    groups = budgets.groups(_with_minutes(dear, 1), trials, known, counts)
    assert sorted(t.id for group in groups for t in group) == sorted(t.id for t in trials)
    assert [group[0].strategy for group in groups[:2]] == ["classical", "linear_probe"]
    first, rest = groups[2 : 2 + 18], groups[2 + 18 :]  # three draws of six cells, then what is left
    blocks = [{(t.strategy, t.fraction) for (t,) in some} for some in (first[:3], first[3:6], first[6:12], first[12:])]
    assert blocks == [
        {("last_block", 0.5)}, {("last_block", 1.0)},
        {("full_finetune", 0.5), ("scratch", 0.5)}, {("full_finetune", 1.0), ("scratch", 1.0)},
    ]  # fmt: skip
    assert [t.draw for (t,) in first[6:12]] == [0, 0, 1, 1, 2, 2], "a control beside its arm"
    assert [t.draw for (t,) in rest] == [3] * 6 + [4] * 6
    for drawn in ({"adaptive": True}, {"folds": Folds(repeats=1, k=5)}):
        whole = _with_minutes(dear, 1).model_copy(update=drawn)
        assert budgets.groups(whole, trials, known, counts) == usual


def test_more_minutes_never_buy_less_and_what_they_buy_is_said(home: Home, dear: Study) -> None:
    store = open_store(home)
    seconds = studies.estimate(home, store, dear).seconds
    minutes = [share * seconds / 60 for share in (0.05, 0.2, 0.35, 0.9, 1.1)]
    found = [studies.estimate(home, store, _with_minutes(dear, some)) for some in minutes]
    assert [one.in_time for one in found] == sorted(one.in_time for one in found)
    assert found[-1].in_time == found[-1].trials and not any("min buy" in said for said in found[-1].sentences)
    said = [next(said for said in one.sentences if "min buy" in said) for one in found[:-1]]
    assert "nothing of" in said[0] and "From scratch" in said[0].split("nothing of")[1]
    assert "Full fine-tuning with 50 %" in said[2] and "From scratch with 50 % of the labels" in said[2]
    assert "fewer draws of" in said[3] and all("all of Linear probe and Classical" in one for one in said[1:])
