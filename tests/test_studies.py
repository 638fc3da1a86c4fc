"""A sentence per thing that study files, their checks, their trials and their estimates promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tltools import datasets, samples, sources, studies, trials
from tltools.home import Home
from tltools.records import Budget, Dataset, Refusal, Study
from tltools.store import open_store
from tltools.strategies import strategies
from tltools.trials import RECIPE_VERSION

TEXT = """
dataset: reviews.csv
target: label
sources: [bundled/minilm-l6]
strategies: [linear_probe, {lp_ft: {learning_rate: 1e-4}}]
fractions: [0.1, 1.0]
budget: {minutes: 10, cache_gb: 4}
"""


@pytest.fixture
def film_notes(home: Home) -> Dataset:
    return samples.add(home, "film-notes")


@pytest.fixture
def wine(home: Home) -> Dataset:
    return samples.add(home, "wine")


def study(dataset: Dataset, **fields: object) -> Study:
    given: dict[str, object] = {"sources": ("bundled/minilm-l6",), "strategies": ("linear_probe",)}
    return Study.model_validate({"dataset": dataset.id, **given, **fields})


def problems(text: str) -> list[str]:
    with pytest.raises(Refusal) as refused:
        studies.parse(text)
    return [problem.sentence() for problem in refused.value.problems]


def errors(home: Home, asked: Study) -> list[str]:
    return [p.sentence() for p in studies.check(home, asked) if p.severity == "error"]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_study_file_is_read_and_written_back_the_same() -> None:
    found = studies.parse(TEXT)
    assert found.sources == ("bundled/minilm-l6",) and found.fractions == (0.1, 1.0) and found.budget.minutes == 10
    assert studies.parse(studies.dump(found)) == found
    assert studies.study_id(studies.parse(studies.dump(found))) == studies.study_id(found)


def test_a_file_path_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert studies.parse(path) == studies.parse(str(path)) == studies.parse(TEXT)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fractions=some.lists(some.floats(0.01, 1), min_size=1, max_size=5),
    draws=some.integers(2, 50),
    margin=some.floats(0, 10, allow_nan=False),
    name=some.none() | some.text(some.characters(blacklist_categories=("Cs", "Cc")), max_size=40),
    rate=some.floats(1e-6, 1.0),
    sensitive=some.lists(some.text("abä:#[]{}&*'\" ", min_size=1, max_size=8), max_size=3),
)
def test_any_study_survives_its_file(fractions, draws, margin, name, rate, sensitive) -> None:  # type: ignore[no-untyped-def]
    made = Study(
        dataset="d" * 16, sources=("a/b",), strategies=("linear_probe", {"lp_ft": {"learning_rate": rate}}),
        fractions=tuple(fractions), draws=draws, margin=margin, name=name, sensitive=tuple(sensitive),
    )  # fmt: skip
    assert studies.parse(studies.dump(made)) == made


def test_all_mistakes_are_told_at_once_with_the_nearest_name() -> None:
    said = problems("dataset: d\nsource: [a]\nstrategy: [b]\ndraws: many\nbudget: {minutes: -1}\nwhatever: 1\n")
    assert len(said) == 5
    assert any("source: is not a field. Did you mean 'sources'?" in line for line in said)
    assert any("strategy" in line and "'strategies'" in line for line in said)
    assert any("draws" in line and "'many'" in line for line in said)
    assert any("budget.minutes" in line and "-1" in line for line in said)
    assert any("whatever: is not a field. The fields are" in line for line in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: a\nseed: 1\nseed: 2\n", "seed stands twice (line 3)"),
        ("dataset: &a x\ntarget: *a\n", "aliases"),
        ("dataset: [unclosed\n", "not a readable YAML file"),
        ("- a\n- b\n", "table of fields"),
        ("dataset: !!python/object/apply:os.system ['true']\n", "not a readable YAML file"),
        ("dataset: x\n" + "# " + "y" * 1_000_001, "at most 1 MB"),
        ("dataset: " + "[" * 5000 + "]" * 5000, "not a readable YAML file"),
        ("sources: [a]\n", "dataset"),
        ("dataset: \x00\n", "not a readable YAML file"),
        ("dataset: x\nname: 2023-02-30\n", "not a readable YAML file: day is out of range"),
        ("dataset: !!map [1, 2]\n", "not a readable YAML file"),
        ("dataset: x\nseed: " + "9" * 5000, "not a readable YAML file"),
        ("no_such_file_" * 30, "is not a file"),
        ("~nobodyhere/study.yaml", "is not a file"),
    ],
)
def test_a_dangerous_or_broken_file_is_refused_in_a_sentence(text: str, said: str) -> None:
    assert any(said in line for line in problems(text))


def test_half_of_a_sign_in_a_study_file_is_a_question_mark() -> None:
    assert studies.dump(studies.parse('dataset: a\nname: "x\\ud83d"\n')).encode().endswith(b"name: x?\n")


def test_no_file_and_no_text_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in problems(str(tmp_path / "absent.yaml"))[0]
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00d")
    assert "is not UTF-8" in problems(str(tmp_path / "bytes.yaml"))[0]


def test_a_wrong_line_of_a_list_is_named_with_its_field() -> None:
    said = problems("dataset: d\nsources: [a, 3]\n")
    assert len(said) == 1 and "study, sources.1" in said[0], said


@pytest.mark.parametrize("entry", ["3", "null", "[linear_probe]", "{full_finetune: }", "{full_finetune: fast}"])
def test_an_arm_of_a_wrong_form_is_one_problem_that_shows_the_form(entry: str) -> None:
    said = problems(f"dataset: d\nstrategies: [{entry}]\n")
    assert len(said) == 1 and "study, strategies.0: must be a name" in said[0] and "{full_fine" in said[0], said


def test_a_line_that_names_no_strategy_says_so() -> None:
    with pytest.raises(Refusal, match="one strategy a line; got none"):
        trials.arms(studies.parse("dataset: d\nstrategies: [{}]\n"))


@pytest.mark.parametrize("line", ["dataset: 1234567890123456", "dataset: d\ntarget: 7", "dataset: d\nname: 2026-01-01"])
def test_a_name_that_yaml_reads_as_a_number_or_a_day_is_to_be_quoted(line: str) -> None:
    assert [said.endswith("Put it in quotes.") for said in problems(line + "\n")] == [True]


def test_a_number_written_as_1e_4_is_a_number() -> None:
    arms = {s.key: knobs for s, knobs in trials.arms(studies.parse(TEXT))}
    assert arms["lp_ft"]["learning_rate"] == 1e-4


# --- checks -----------------------------------------------------------------------------------------------------------


def test_a_proposed_study_has_no_errors(home: Home, film_notes: Dataset, wine: Dataset) -> None:
    for dataset, source in ((film_notes, "bundled/minilm-l6"), (wine, "bundled/table-net")):
        proposed = studies.propose(home, dataset, [sources.get(home, source)])
        assert not errors(home, proposed)
        assert proposed.draws in (3, 5) and proposed.controls and proposed.metric == "balanced_accuracy"


def test_unknown_strategies_and_knobs_are_named_together_with_the_nearest(home: Home, film_notes: Dataset) -> None:
    asked = study(
        film_notes,
        strategies=("linear_prob", "scratch", {"lp_ft": {"learning_rat": 1, "epochs": 0, "flip": "yes"}}),
        controls=("classicle",),
    )
    said = errors(home, asked)
    assert len(said) == 6
    assert any("linear_prob: is not" in line and "'linear_probe'" in line for line in said)
    assert any("scratch: is a control arm" in line for line in said)
    assert any("'classical'" in line for line in said)
    assert any("epochs: must be from 1 to 500; got 0" in line for line in said)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("draws", 1, "draws: must be from 2 to 50; got 1"),
        ("draws", 51, "draws: must be from 2 to 50; got 51"),
        ("fractions", (0.0, 1.5), "fractions: must be above 0 and at most 1; got 0"),
        ("fractions", (), "fractions: must name at least one"),
        ("per_class", (0,), "per_class: must be at least 1; got 0"),
        ("per_class", (), "per_class: must name at least one"),
        ("margin", -0.1, "margin: must be 0 or more"),
        ("margin", 1.0, "margin: must be below 1, as balanced_accuracy is a share from 0 to 1; got 1. Set 0.01."),
        ("metric", "r2", "'r2' is not a metric of classification"),
        ("sensitive", ("no such",), "there is no column 'no such'"),
        ("group", "no such", "no such"),
        ("group", "_where", 'no column "_where" to group by'),
        ("sources", (), "sources: must name at least one"),
        ("sources", ("bundled/minilm",), "bundled/minilm"),
        ("strategies", (), "strategies: must name at least one"),
        ("target", "other", "target: is 'other', but the dataset was stored with"),
        ("task", "regression", "task: is 'regression'"),
        ("inputs", ("note", "film"), "inputs: is note, film, but the dataset was stored with "),
        ("seed", -1, "seed: must be from 0"),
        ("strategies", ({"lp_ft": {"epochs": 10**400}},), "epochs: must be from 1 to 500; got inf"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(home: Home, film_notes: Dataset, field, value, said) -> None:  # type: ignore[no-untyped-def]
    assert any(said in line for line in errors(home, study(film_notes, **{field: value})))


def test_a_source_that_cannot_read_the_data_is_an_error_that_names_another(home: Home, film_notes: Dataset) -> None:
    said = errors(home, study(film_notes, sources=("bundled/tiny-resnet",)))
    assert len(said) == 1 and "bundled/tiny-resnet" in said[0]


def test_more_labels_a_class_than_there_are_is_a_warning(home: Home, wine: Dataset) -> None:
    asked = study(wine, sources=("bundled/table-net",), strategies=("full_finetune",), per_class=(4, 5000))
    found = [p.sentence() for p in studies.check(home, asked) if p.severity == "warning"]
    assert any("5000 labels a class" in line for line in found)


def test_a_test_part_that_cannot_be_scored_is_refused(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=40).round(5), "kind": ["a", "b"] * 20})
    for rows, name in ((slice(0, 30), "train"), (slice(30, None, 2), "one_class"), (slice(39, None), "one_row")):
        table.iloc[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    given = {"target": "kind", "inputs": ["size"], "task": "classification"}
    kinds = datasets.add(home, tmp_path / "train.csv", test=tmp_path / "one_class.csv", **given)
    arms = {"sources": ("bundled/table-net",), "strategies": ("full_finetune",)}
    assert errors(home, study(kinds, metric="auroc", **arms)) == [
        "test part: has rows of one class only. Add rows to it, or choose another metric."
    ]
    assert not errors(home, study(kinds, metric="accuracy", **arms))
    single = datasets.add(home, tmp_path / "train.csv", test=tmp_path / "one_row.csv", **given)
    assert errors(home, study(single, **arms)) == [
        "test part: has 1 row(s), of which no spread can be told. Add rows to it."
    ]


def test_shares_that_come_to_the_same_rows_are_named(home: Home, wine: Dataset) -> None:
    few = study(wine, sources=("bundled/table-net",), strategies=("full_finetune",), fractions=(0.001, 0.002, 1.0))
    (said,) = [p for p in studies.check(home, few) if "some are the same" in p.what]
    assert said.severity == "warning" and said.where == "fractions"


def test_numbers_have_no_labels_per_class(home: Home) -> None:
    diabetes = samples.add(home, "diabetes")
    asked = study(diabetes, sources=("bundled/table-net",), strategies=("full_finetune",), per_class=(8,))
    assert any("needs rows of one class each" in line for line in errors(home, asked))


def test_no_controls_is_a_warning_and_an_arm_that_does_not_fit_is_a_note(home: Home) -> None:
    digits = samples.add(home, "digits-low")
    asked = study(digits, sources=("bundled/tiny-resnet",), strategies=("full_finetune", "lora"), controls=())
    found = {(p.severity, p.where) for p in studies.check(home, asked)}
    assert ("warning", "controls") in found and ("note", "strategy lora") in found
    assert {trial.strategy for trial in studies.expand(home, asked)} == {"full_finetune"}


@pytest.mark.parametrize("key", ["prototype", "knn", "setfit"])
def test_a_strategy_that_needs_classes_is_refused_where_numbers_are_predicted(home: Home, key: str) -> None:
    diabetes = samples.add(home, "diabetes")
    asked = study(diabetes, strategies=("linear_probe", key))
    (said,) = errors(home, asked)
    assert said.startswith(f"strategy {key}: can predict classes only, but the task is regression. ")
    assert "choose linear_probe" in said
    assert errors(home, study(diabetes)) == []


def test_setfit_is_for_text_sources_only(home: Home, film_notes: Dataset) -> None:
    assert errors(home, study(film_notes, strategies=("setfit",))) == []
    digits = samples.add(home, "digits-low")
    asked = study(digits, sources=("bundled/tiny-resnet",), strategies=("full_finetune", "setfit"), controls=())
    assert ("note", "strategy setfit") in {(p.severity, p.where) for p in studies.check(home, asked)}
    assert {trial.strategy for trial in studies.expand(home, asked)} == {"full_finetune"}


def test_submitting_a_wrong_study_is_refused_and_keeps_nothing(home: Home, film_notes: Dataset) -> None:
    with pytest.raises(Refusal, match="draws"):
        studies.submit(home, open_store(home), study(film_notes, draws=1, metric="nonsense"))
    assert studies.listing(home) == []


# --- trials -----------------------------------------------------------------------------------------------------------


def test_a_study_expands_into_every_arm_share_and_draw(home: Home, film_notes: Dataset) -> None:
    asked = study(film_notes, strategies=("linear_probe", "lp_ft"), fractions=(0.5, 1.0, 1.0), draws=3)
    found = studies.expand(home, asked)
    assert len(found) == len({trial.id for trial in found}) == (2 + 3) * 2 * 3
    assert all((trial.fraction is None) != (trial.per_class is None) for trial in found)
    assert {trial.source for trial in found if trial.strategy == "classical"} == {"none"}
    assert all(set(trial.knobs) == {k.key for k in strategies()[trial.strategy].knobs} for trial in found)


def test_another_study_asks_for_the_same_trials_by_the_same_ids(home: Home, film_notes: Dataset) -> None:
    first = study(film_notes, strategies=("linear_probe",), fractions=(0.5, 1.0), name="one", margin=0.01)
    second = study(film_notes, strategies=("lp_ft", "linear_probe"), fractions=(1.0,), name="two", margin=0.02)
    shared = {t.id for t in studies.expand(home, first)} & {t.id for t in studies.expand(home, second)}
    assert len(shared) == 5 * (1 + 3)
    assert studies.study_id(first) != studies.study_id(second)


@pytest.mark.parametrize("written", [{"lp_ft": {"epochs": 6}}, {"last_block": {"patience": 2}}])
def test_a_knob_that_is_set_to_its_default_makes_the_same_trials(
    home: Home, film_notes: Dataset, written: dict[str, dict[str, int]]
) -> None:
    arms = (next(iter(written)), written)
    usual, same = ({t.id for t in studies.expand(home, study(film_notes, strategies=(arm,)))} for arm in arms)
    assert usual == same


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"fractions": (0.9,)},
        {"per_class": (8,)},
        {"strategies": ({"lp_ft": {"epochs": 3}},)},
        {"sources": ("bundled/table-net",)},
    ],
)
def test_whatever_decides_an_outcome_is_in_the_id(home: Home, film_notes: Dataset, change) -> None:  # type: ignore[no-untyped-def]
    asked = study(film_notes, strategies=("lp_ft",), controls=())
    other = asked.model_copy(update=change)
    assert not {t.id for t in studies.expand(home, asked)} & {t.id for t in studies.expand(home, other)}


def test_groups_that_the_split_tears_apart_are_a_warning(home: Home, tmp_path: Path) -> None:
    rows = "".join(f"{k * 7 % 90},{k * 3 % 11},{'mf'[k % 2]},p{k // 4},{'xy'[k % 3 > 0]}\n" for k in range(100))
    (tmp_path / "people.csv").write_text("a,b,sex,person,kind\n" + rows)
    dataset = datasets.add(home, tmp_path / "people.csv", target="kind")
    asked = study(dataset, sources=("bundled/table-net",), strategies=("full_finetune",))
    torn = [p for p in studies.check(home, asked.model_copy(update={"group": "sex"})) if p.where == "group"]
    assert len(torn) == 1 and torn[0].severity == "warning" and "2 value(s)" in torn[0].what
    whole = studies.check(home, asked.model_copy(update={"group": "person"}))
    assert not any(p.where == "group" for p in whole)


def test_another_grouping_of_the_rows_makes_other_trials(home: Home, wine: Dataset) -> None:
    asked = study(wine, sources=("bundled/table-net",), strategies=("full_finetune",))
    other = asked.model_copy(update={"group": wine.inputs[0]})
    assert not {t.id for t in studies.expand(home, asked)} & {t.id for t in studies.expand(home, other)}


def test_ids_are_the_same_in_every_process(home: Home, film_notes: Dataset) -> None:
    asked = study(film_notes)
    key = studies.save(home, asked)
    code = (
        "from tltools import studies; from tltools.home import open_home; h = open_home(); "
        f"print(*[t.id for t in studies.expand(h, studies.load(h, '{key}'))])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == [trial.id for trial in studies.expand(home, asked)]
    assert RECIPE_VERSION >= 1


def test_controls_try_as_many_rates_as_the_arm_that_tries_most(home: Home, film_notes: Dataset) -> None:
    arms = trials.arms(study(film_notes, strategies=({"lp_ft": {"rates_tried": 3}}, "l2_sp")))
    tried = {s.key: knobs.get("rates_tried") for s, knobs in arms}
    assert tried == {"lp_ft": 3, "l2_sp": 1, "scratch": 3, "random_frozen": None, "classical": None}


def test_controls_may_train_as_long_as_the_arm_that_trains_longest_unless_told(home: Home, film_notes: Dataset) -> None:
    longer = {"full_finetune": {"epochs": 40, "min_steps": 900, "patience": 0}}

    def scratch(*strategies: Any, **given: int) -> Any:
        asked = study(film_notes, strategies=strategies, controls=({"scratch": given},))
        knobs = {s.key: knobs for s, knobs in trials.arms(asked)}["scratch"]
        return knobs["epochs"], knobs["min_steps"], knobs["patience"]

    usual = scratch("linear_probe")
    assert scratch(longer, "last_block") == (40, 900, 0)
    assert scratch({"last_block": {"epochs": 1, "min_steps": 0, "patience": 1}}) == usual
    assert scratch(longer, epochs=3, patience=2) == (3, 900, 2)


def test_controls_train_on_the_validation_rows_where_all_arms_do(home: Home, film_notes: Dataset) -> None:
    def apart(*strategies: Any) -> Any:
        return {s.key: knobs["hold_out"] for s, knobs in trials.arms(study(film_notes, strategies=strategies))
                if "hold_out" in knobs}  # fmt: skip

    assert apart({"l2_sp": {"hold_out": False}}, "linear_probe") == {"l2_sp": False, "scratch": False}
    assert apart({"l2_sp": {"hold_out": False}}, "lp_ft") == {"l2_sp": False, "lp_ft": True, "scratch": True}
    assert apart("linear_probe") == {"scratch": True}


# --- keeping, submitting, estimating ----------------------------------------------------------------------------------


def test_a_study_is_kept_once_and_loaded_the_same(home: Home, film_notes: Dataset) -> None:
    asked = study(film_notes)
    key = studies.save(home, asked)
    assert studies.save(home, asked.model_copy(update={"name": "another name"})) == key
    assert studies.load(home, key) == asked and studies.listing(home) == [key]
    for wrong in ("0" * 16, "../../etc", "x"):
        with pytest.raises(Refusal, match="there is no study"):
            studies.load(home, wrong)


def test_submitting_twice_gives_one_job(home: Home, film_notes: Dataset) -> None:
    store = open_store(home)
    first, second = (studies.submit(home, store, study(film_notes)) for _ in range(2))
    assert first.id == second.id and first.kind == "study" and first.state == "queued"


def test_a_path_becomes_a_dataset_that_lies_beside_the_study_file(home: Home, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"good {k}" for k in range(30)] + [f"bad {k}" for k in range(30)]})
    rows["label"] = np.repeat(["yes", "no"], 30)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    asked = Study(dataset="rows.csv", target="label", sources=("bundled/minilm-l6",), strategies=("linear_probe",))
    settled = studies.settle(home, asked, tmp_path)
    assert settled.dataset == datasets.listing(home)[0].id and settled.target == "label"
    assert studies.settle(home, settled) == settled
    with pytest.raises(Refusal, match=r"test: belongs to a dataset that is given as a path.*or leave test out"):
        studies.settle(home, settled.model_copy(update={"test": "own.csv"}))
    with_test = studies.settle(home, asked.model_copy(update={"test": "rows.csv"}), tmp_path)
    assert studies.settle(home, studies.parse(studies.dump(with_test))) == with_test  # saved and opened again
    with pytest.raises(Refusal, match="neither a dataset id nor a path"):
        studies.settle(home, asked, tmp_path / "elsewhere")
    for bad in ("long" * 70, "~nobodyhere/rows.csv"):
        for field in ("dataset", "test"):
            with pytest.raises(Refusal, match=f"^{field}: '{bad}' is n"):
                studies.settle(home, asked.model_copy(update={field: bad}), tmp_path)


def test_an_estimate_counts_what_is_not_done_yet(home: Home, film_notes: Dataset) -> None:
    store = open_store(home)
    small = studies.estimate(home, store, study(film_notes, fractions=(0.5,), draws=2))
    large = studies.estimate(home, store, study(film_notes, strategies=("linear_probe", "lp_ft"), draws=5))
    assert small.trials == 8 and small.sealed == 0
    assert small.seconds_low <= small.seconds <= small.seconds_high < large.seconds_high
    assert small.peak_mb > 0 and small.detectable and 0 < small.detectable < 1
    assert large.prefix_rows <= large.prefix_rows_naive


def test_a_rare_class_decides_what_a_study_can_tell(home: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=600).round(5), "even": ["a", "b"] * 300})
    table["rare"] = np.where(np.arange(600) % 30, "a", "b")
    table.to_csv(tmp_path / "rows.csv", index=False)
    store, arms = open_store(home), {"sources": ("bundled/table-net",), "strategies": ("full_finetune",)}
    given = {"inputs": ["size"], "task": "classification"}
    even, rare = (datasets.add(home, tmp_path / "rows.csv", target=name, **given) for name in ("even", "rare"))

    def told(dataset: Dataset, **fields: object) -> float:
        found = studies.estimate(home, store, study(dataset, **arms, **fields)).detectable
        assert found is not None
        return found

    assert told(even) == pytest.approx(told(even, metric="accuracy"))
    assert told(rare) > 2 * told(even) and told(rare, folds={"repeats": 1, "k": 5}) < told(rare)
    assert told(rare, metric="accuracy") == pytest.approx(told(even, metric="accuracy"))
    assert studies.estimate(home, store, study(even, metric="log_loss", **arms)).detectable is None, "not in points"


def test_a_long_study_is_told_what_takes_the_time(home: Home, film_notes: Dataset) -> None:
    store, wanted = open_store(home), ("linear_probe", "full_finetune")
    long = study(film_notes, strategies=wanted, draws=200)
    (said,) = [one for one in studies.estimate(home, store, long).sentences if "Most of the time" in one]
    assert "Full fine-tuning (" in said and "time budget" in said
    for other in (study(film_notes, strategies=wanted[:1]), long.model_copy(update={"budget": Budget(minutes=30)})):
        assert not any("Most of the time" in one for one in studies.estimate(home, store, other).sentences)
