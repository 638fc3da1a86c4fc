"""Each benchmark runs at a toy size, returns plain numbers beside their bars, and gives everybody the same rows."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    baselines,
    budget,
    estimate,
    figures,
    finetune,
    ground,
    heads,
    known_cases,
    scale,
    screens,
    start,
    study,
    sweep,
    tail,
    tasks,
    warm,
)
from benchmarks.figures import Figure
from tltools import datasets, studies
from tltools.engine.kit import EngineKit
from tltools.engine.text_backbone import TextBackbone
from tltools.home import Home
from tltools.tickets import QuietTicket


def numbers(found: list[Figure]) -> dict[str, float]:
    """The figures by name, after a look at their shape: finite numbers that survive JSON, every name once."""
    names = [figure.what for figure in found]
    assert len(set(names)) == len(names) and all(math.isfinite(figure.value) for figure in found)
    assert all(figure.unit and isinstance(figure.met, bool | None) for figure in found)
    json.dumps([figure.row() for figure in found], allow_nan=False)
    return {figure.what: figure.value for figure in found}


def barred(found: list[Figure]) -> list[float]:
    return [figure.bar for figure in found if figure.bar is not None]


# --- the figures and the command --------------------------------------------------------------------------------------


def test_a_figure_says_whether_its_bar_is_met() -> None:
    assert Figure("a", 2.0, "times", 2.0).met is True and Figure("a", 1.99, "times", 2.0).met is False
    assert Figure("a", 2.0, "s", 1.5, "at most").met is False and Figure("a", 2.0, "s").met is None


def test_a_missed_bar_is_written_as_missed_beside_its_command(tmp_path: Path) -> None:
    found = [Figure("speed", 1.234, "times", 2.0), Figure("rows", 0, "rows", 0, "at most")]
    figures.keep(tmp_path, "one", found, title="One", command="python -m benchmarks one", load=0.4, note="Alone.")
    figures.keep(tmp_path, "two", found[1:], title="Two", command="python -m benchmarks two", load=3)
    stored, page = json.loads((tmp_path / "performance.json").read_text()), (tmp_path / "performance.md").read_text()
    assert [row["met"] for row in stored["one"]["figures"]] == [False, True] and set(stored) == {"one", "two"}
    assert "| speed | 1.23 times | at least 2 times | **missed** |  |" in page
    assert "`python -m benchmarks one`" in page and "load before the start 0.4. Alone." in page


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def contender(name: str) -> Any:
        return lambda: (float(order.append(name) or len(order)), name)

    seconds, answers = ground.turns({"a": contender("a"), "b": contender("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"] and answers == {"a": "a", "b": "b"}
    assert seconds == {"a": 4.0, "b": 3.0}  # medians of 1, 4, 5 and of 2, 3, 6


def test_the_command_runs_what_is_named_and_writes_both_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "QUICK", {"rows": 60, "rounds": 1})
    assert command.main(["--quick", "--docs", str(tmp_path), "--note", "A toy.", "warm"]) == 0
    assert "`python -m benchmarks --quick warm`" in (tmp_path / "performance.md").read_text()
    assert list(json.loads((tmp_path / "performance.json").read_text())) == ["warm"]


@pytest.mark.parametrize("words", [["nonsense"], ["--data", "/no/such/folder"]])
def test_what_cannot_be_run_is_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([*words, "--docs", str(tmp_path)])
    assert ended.value.code == 2 and not list(tmp_path.iterdir())


def test_the_table_of_tasks_sets_what_was_found_beside_its_bar() -> None:
    arm = {"title": "Full fine-tuning", "source": "s", "n_train": 40, "low": 0.3, "high": 0.5}
    arms = [{**arm, "strategy": "full_finetune", "kind": "transfer", "score": 0.39},
            {**arm, "strategy": "scratch", "kind": "control", "score": 0.2}]  # fmt: skip
    verdict = {"strategy": "full_finetune", "source": "s", "n_train": 40, "gain": 0.19, "low": 0.1, "high": 0.3}
    case = {"metric": "miou", "seconds": 1000.0, "arms": arms, "verdicts": [{**verdict, "verdict": "positive"}],
            "measured": "2026-11-27"}  # fmt: skip
    (row,) = [line for line in tasks.page({"camvid": case}).splitlines() if line.startswith("| camvid")]
    assert "| 0.390 (0.300 to 0.500) | scratch 0.200 | positive: +0.190 (+0.100 to +0.300) | 16.7 |" in row
    assert row.endswith("score 0.40: **missed**; positive: reached; time: **exceeded** | 2026-11-27 |")
    assert set(tasks.STUDIES) <= set(known_cases.CASES)


@pytest.mark.parametrize("name", command.NAMES)
def test_every_benchmark_has_a_title_and_two_sizes_of_the_same_shape(name: str) -> None:
    one = importlib.import_module(f"benchmarks.{name}")
    assert one.TITLE and set(one.QUICK) == set(one.FULL)


# --- the benchmarks ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_is_compared_on_the_rows_of_its_own_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "FRACTIONS", (0.5, 1.0))
    given: list[set[str]] = []
    drawn: dict[tuple[float, int], set[str]] = {}
    trainer, draw = baselines.trainer_text, EngineKit.draw

    def seen(folder: Path, texts: list[str], labels: np.ndarray, tests: list[str], **more: Any) -> Any:
        given.append(set(texts))
        return trainer(folder, texts, labels, tests, **more)

    def noted(kit: EngineKit, trial: Any) -> Any:
        found = draw(kit, trial)
        drawn[trial.fraction, trial.draw] = {kit.view("text")[i] for rows in found for i in rows}
        return found

    monkeypatch.setattr(baselines, "trainer_text", seen)
    monkeypatch.setattr(EngineKit, "draw", noted)
    quick = {"last": {"epochs": 1, "min_steps": 0}, "rounds": 1, "sampled": 1}
    found = study.run(None, rows=100, draws=2, **quick)
    values = numbers(found)
    assert given == [drawn[fraction, 0] for fraction in (0.5, 0.5, 1.0, 1.0)]
    assert sorted(barred(found)) == [0, 0, 0, 20, 20]
    theirs = values["texts: a Trainer per trial, backbone frozen, 3 epochs"]
    for way in ("as the Trainer trains", "by its defaults"):
        assert values[f"texts: against the Trainer, {way}"] == pytest.approx(theirs / values[f"texts: tltools, {way}"])
    assert any("extrapolated from 1 of 2 draws" in figure.note for figure in found)


@pytest.mark.slow
def test_heads_are_compared_with_what_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "FRACTIONS", (1.0,))
    monkeypatch.setattr(study, "FRACTIONS", (1.0,))
    found = heads.run(None, rows=100, draws=1, a_class=0, rounds=1)
    values = numbers(found)
    assert sorted(barred(found)) == [0, 0, 3, 3]
    gain = values["bf16 matrix product against fp32"]
    assert values["texts, heads only: the most that bf16 allows"] >= gain, "the embedding is a part of the whole"


@pytest.mark.slow
def test_a_start_is_timed_and_imports_nothing_heavy() -> None:
    found = start.run(None, rows=60, rounds=1)
    values = numbers(found)
    assert values["new server: until the first page has run"] > values["new server: until the server answers"] > 0
    assert values["what `make run` installs"] > 500
    assert not set(found[0].note.split(": ")[1].split(", ")) & {"torch", "timm", "transformers", "sklearn", "streamlit"}


def test_scores_are_compared_on_the_same_test_rows_only() -> None:
    right = {("a", 1.0, 0): np.array([True, True, False]), ("a", 1.0, 1): np.array([True, False, False])}
    ours, theirs = (
        study.Scores(np.array([1, 2, 3]), right),
        study.Scores(np.array([1, 2, 3]), {("a", 1.0, 0): right["a", 1.0, 1]}),
    )
    mine, other, gap, _ = ours.beside(theirs, "a", 1.0)
    assert (mine, other, gap) == pytest.approx((2 / 3, 1 / 3, 1 / 3))
    with pytest.raises(AssertionError, match="same test rows"):
        ours.beside(study.Scores(np.array([1, 2, 4]), right), "a", 1.0)


@pytest.mark.slow
def test_everybody_sweeps_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, list[list[str]]] = {"tltools": [], "pipeline": []}
    encode, piped = TextBackbone.encode, baselines.piped
    monkeypatch.setattr(
        TextBackbone, "encode", lambda self, items: read["tltools"].append(list(items)) or encode(self, items)
    )
    monkeypatch.setattr(
        baselines, "piped", lambda made, texts, *more: read["pipeline"].append(list(texts)) or piped(made, texts, *more)
    )

    @contextmanager
    def here(make: Any, *arguments: Any) -> Iterator[dict[str, Any]]:
        yield {name: lambda work=work: ground.timed(work) for name, work in make(*arguments).items()}

    monkeypatch.setattr(ground, "elsewhere", here)
    found = sweep.run(None, rows=24, long_rows=4, a_class=0, rounds=1)
    values = numbers(found)
    assert all(texts in read["tltools"] for texts in read["pipeline"]) and len(read["pipeline"]) == 4
    assert {len(texts) for texts in read["pipeline"]} == {24, 4}
    assert sorted(barred(found)) == [2] * 7 + [50] and all(value > 0 for value in values.values())
    close = [figure.note for figure in found if "differ by at most" in figure.note]
    assert len(close) == 6 and all(float(note.split()[5]) < sweep.AGREE for note in close)


def test_contenders_elsewhere_answer_from_one_process_of_their_own() -> None:
    with ground.elsewhere(dict, [("who", os.getpid), ("from", os.getppid)]) as lent:
        seconds, who = lent["who"]()
        assert seconds >= 0 and who != os.getpid() and lent["who"]()[1] == who and lent["from"]()[1] == os.getpid()
    assert not psutil.pid_exists(who)


@pytest.mark.slow
def test_the_tail_learns_the_same_from_the_boundary() -> None:
    found = tail.run(None, rows=90, epochs=1, a_class=0, rounds=1)
    values = numbers(found)
    assert barred(found) == [85] and values["MiniLM-L6 on texts: times faster"] > 0
    allowed = float(next(f for f in found if f.what.endswith("times faster")).note.split()[3])
    assert 1.5 < allowed < 7  # six blocks and a word table below the last block; it alone goes backwards
    note = next(f for f in found if f.what.endswith("from the boundary")).note
    cached, whole = (float(part.split()[-1]) for part in note.split(","))
    assert cached == pytest.approx(whole, rel=0.05)


@pytest.mark.slow
def test_fine_tuning_takes_as_many_steps_as_the_trainer() -> None:
    found = finetune.run(None, rows=150, epochs=1, rounds=1)
    values = numbers(found)
    assert barred(found) == [1.5]
    assert values["steps per second: against the Trainer"] == pytest.approx(
        values["steps per second: tltools"] / values["steps per second: Trainer"]
    )
    assert 0 <= values["score on the test rows: Trainer"] <= 1
    ours, theirs = (figure.note for figure in found if figure.unit == "steps/s")
    assert ours == theirs  # the same number of steps of the same size over as many rows


def test_warm_studies_compute_new_rows_only() -> None:
    values = numbers(warm.run(None, rows=60, rounds=1))
    assert values["the same again: rows computed"] == values["another label column: rows computed"] == 0
    assert values["a tenth more rows: rows computed"] == warm.BACKBONES * 6


def test_grown_rows_are_different_and_keep_their_labels() -> None:
    table = scale.grown(None, 2000)
    assert len(table) == table["text"].nunique() == 2000 and table["label"].nunique() == 2
    assert table["label"].value_counts(normalize=True).min() > 0.4


def test_drawn_pictures_are_different_and_keep_their_classes(tmp_path: Path) -> None:
    folder = scale.drawn(2000, tmp_path)
    pictures = {path.read_bytes() for path in folder.rglob("*.png")}
    assert len(pictures) > 1990 and sorted(path.name for path in folder.iterdir()) == [str(k) for k in range(10)]


@pytest.mark.slow
def test_cost_and_memory_are_told_for_every_size() -> None:
    found = scale.run(None, rows=(100, 200), draws=(2, 3))
    values = numbers(found)
    assert barred(found) == 2 * [3000, 3000, 1.25, 1.25]
    assert values["200 texts: peak memory of the job"] > 100 and values["200 images: peak memory of the job"] > 100


@pytest.mark.slow
def test_a_study_with_too_little_time_has_a_verdict_all_the_same() -> None:
    time, verdicts = budget.run(None, rows=120, minutes=(0.25,))
    assert verdicts.value >= 1 and barred([time, verdicts]) == [pytest.approx(16.5), 1] and time.value > 1
    assert "of 160 trials" in time.note and not time.note.startswith("160"), "it was cut short"


@pytest.mark.slow
def test_estimates_stand_beside_what_came_true() -> None:
    found = estimate.run(None, rows=40, count=2)
    assert len(numbers(found)) == 2 + 2 * 2 and barred(found) == [2, 2]


def test_the_estimated_studies_differ_and_share_no_text(home: Home) -> None:
    made = [study for _, study in estimate._studies(home, None, 40, 12)]
    assert len({studies.study_id(one) for one in made}) == 12
    for one in made:
        assert not [problem for problem in studies.check(home, one) if problem.severity == "error"]
    keys = [datasets.content_keys(home, datasets.get(home, one.dataset)) for one in made]
    assert len(set().union(*keys)) == sum(len(set(found)) for found in keys)


@pytest.mark.slow
def test_sessions_get_every_page_while_a_study_trains() -> None:
    found = screens.run(None, sessions=(2,), seconds=8.0, pause=0.1)
    assert barred(found) == [500, 80] and numbers(found)["2 sessions: rerun, median"] > 1
    assert "Compare" in found[1].note


def test_drawn_rows_are_those_of_the_kit(home: Home) -> None:
    dataset = ground.add(home, ground.texts(None, 80))
    asked = ground.study_of(dataset, ["linear_probe"], fractions=(0.5, 1.0))
    rows, _ = study.rows_of(home, lambda home: (dataset, ground.MINILM))
    kit = EngineKit(QuietTicket(home), asked, *studies.split_of(home, asked))
    for trial in studies.expand(home, asked):
        assert (rows.drawn(float(trial.fraction or 0), trial.draw) == np.sort(np.concatenate(kit.draw(trial)))).all()
    assert (rows.test == kit.test).all()
