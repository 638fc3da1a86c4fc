"""Draws that need not be run: arms that are decided stop early, and the verdict is none the less sure for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.judge import adaptive
from tltools import datasets, reports, studies
from tltools.artifacts import sealed
from tltools.engine import study as engine
from tltools.home import Home
from tltools.judging.multiplicity import against_best
from tltools.judging.sequential import LEAST, beaten, decided
from tltools.records import Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

WEAK = {"epochs": 1, "min_steps": 1, "learning_rate": 1e-6, "head_rate": 1e-6, "rates_tried": 1}


def _hits(share: float, draws: int = 4, rows: int = 300) -> np.ndarray:
    return (np.random.default_rng(int(1000 * share)).random((draws, rows)) < share).astype(float)


def test_a_large_gain_is_decided_from_three_draws_on_and_a_small_one_is_not() -> None:
    large, small, control = _hits(0.95), _hits(0.72), {"classical": _hits(0.70)}
    assert decided([against_best(large, control, 0.01)], 4) == [True]
    assert decided([against_best(small, control, 0.01)], 4) == [False]
    two = against_best(large[: LEAST - 1], {"classical": control["classical"][: LEAST - 1]}, 0.01)
    assert decided([two], 4) == [False], "two draws say too little of the others"


def test_many_comparisons_make_it_harder() -> None:
    one = against_best(_hits(0.80), {"classical": _hits(0.70)}, 0.01)
    p = min(one.p_values().values())
    assert p < 0.05
    assert decided([one], int(0.5 * 0.001 / p) or 1) == [p <= 0.001]
    assert decided([one], int(2 * 0.001 / p) + 1) == [False]


def test_a_control_is_out_of_reach_only_when_it_is_surely_below_the_best() -> None:
    assert beaten(_hits(0.9), _hits(0.5), 2) and not beaten(_hits(0.9), _hits(0.89), 2)
    assert not beaten(_hits(0.9)[:2], _hits(0.5)[:2], 2)


@pytest.mark.parametrize("correlation", ["low", "high"])
def test_stopping_early_claims_no_more_falsely_and_saves_draws(correlation: str) -> None:
    false = adaptive(300, 0.01, correlation)
    assert false["early"][0] <= false["all"][0] + 0.02
    assert false["until decided"][0] > false["all"][0], "else this test could not see a rule that looks too easily"
    true = adaptive(100, 0.1, correlation)
    assert true["early"][0] >= true["all"][0] - 0.02 and true["early"][2] < 8 and true["all"][2] == 10


@pytest.fixture
def asked(home: Home, tmp_path: Path) -> Study:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(800, 20)), columns=[f"x{k}" for k in range(20)])
    inside = table["x0"].abs() < 0.67  # trees see it, an untrained net does not
    table.assign(kind=inside.map({True: "a", False: "b"})).to_csv(tmp_path / "a.csv", index=False)
    dataset = datasets.add(home, tmp_path / "a.csv", target="kind")
    arms = {"strategies": ({"full_finetune": WEAK},), "controls": ({"scratch": WEAK}, "classical")}
    return Study(dataset=dataset.id, sources=("bundled/table-net",), fractions=(1.0,), draws=6, adaptive=True, **arms)


def _counts(home: Home, study: Study) -> Counter[str]:
    return Counter(one.strategy for one in studies.expand(home, study) if sealed(home.trials / one.id))


def test_a_study_leaves_out_the_draws_that_nothing_depends_on(home: Home, asked: Study) -> None:
    ticket, key = QuietTicket(home, open_store(home)), studies.save(home, asked)
    engine.run(ticket, {"study": key})
    first, report = _counts(home, asked), reports.load(home, key)
    assert first["classical"] == 6 and all(LEAST <= first[name] < 6 for name in ("full_finetune", "scratch"))
    (verdict,) = report.verdicts
    assert verdict["verdict"] == "negative" and verdict["draws"] == first["full_finetune"]
    (said,) = [one for one in report.problems if one.where == "study"]
    assert said.severity == "note" and said.what.startswith(f"{18 - first.total()} trials were not needed")

    every = asked.model_copy(update={"adaptive": False})
    assert engine.run(ticket, {"study": studies.save(home, every)})["trials_run"] == 18 - first.total()
    assert set(_counts(home, every).values()) == {6}


def test_without_being_asked_a_study_runs_every_draw_and_is_not_looked_at(home: Home, asked: Study) -> None:
    assert reports.decided_early(home, asked.model_copy(update={"adaptive": False})) == set()
