"""What a study shares, in what order it runs, and what it is expected to cost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from argparse import Namespace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltools import plans, rates
from tltools.engine import training_rows
from tltools.home import Home
from tltools.plans import Counts
from tltools.records import Refusal, Source, Trial
from tltools.strategies import strategies

COUNTS = Counts(train=1000, validation=200, test=300, classes=2)
SOURCE = Source(
    id="local/a", name="a", provider="local", reads="text", family="transformers", architecture="bert",
    parameters=10_000_000,
)  # fmt: skip


def trial(strategy: str, *, draw: int = 0, fraction: float | None = 1.0, **more: Any) -> Trial:
    card = strategies()[strategy]
    knobs = {knob.key: knob.default for knob in card.knobs} | more.pop("knobs", {})
    values: dict[str, Any] = {
        "source": "local/a" if card.needs_source else "none", "kind": card.kind, "per_class": None, "seed": draw,
        "study": "s", "dataset": "d", "split": "p", "id": f"{strategy}-{fraction}-{draw}",
    }  # fmt: skip
    return Trial(strategy=strategy, knobs=knobs, fraction=fraction, draw=draw, **(values | more))


def study(*names: str, draws: int = 5, fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)) -> list[Trial]:
    return [trial(name, draw=d, fraction=f) for name, d, f in product(names, range(draws), fractions)]


def test_probes_of_all_draws_and_fractions_share_one_pass() -> None:
    (prefix,) = plans.prefixes(study("linear_probe", "multilayer_probe"), {"local/a": 7}, COUNTS)
    assert prefix.whole and prefix.trials == 40 and prefix.rows == 1500
    assert prefix.rows_naive == 2 * 5 * (round(1.85 * 1200) + 4 * 300)


def test_boundaries_share_the_sweep_of_their_source() -> None:
    found = plans.prefixes(study("linear_probe", "last_block", "full_finetune"), {"local/a": 7}, COUNTS)
    assert [p.boundary for p in found] == [6, 7]
    once, naive = plans.rows_shared(found)
    assert (
        once == 1500 and naive > 50 * once
    )  # last_block: about six epochs and their validation, for each of 20 trials


def test_augmented_images_and_whole_backbones_have_no_prefix() -> None:
    assert plans.depth(trial("full_finetune"), 7) == 0
    assert plans.depth(trial("last_block", knobs={"flip": True}), 7) == 0
    assert plans.depth(trial("classical"), 7) == 0
    assert plans.prefixes(study("scratch", "classical"), {"local/a": 7}, COUNTS) == []


def test_each_random_network_is_swept_for_itself() -> None:
    (prefix,) = plans.prefixes(study("random_frozen", draws=3), {"local/a": 7}, COUNTS)
    assert prefix.init == "random" and prefix.rows == 3 * 1500


def test_cheap_evidence_comes_first_and_gradient_trials_draw_by_draw() -> None:
    trials = study("full_finetune", "linear_probe", "classical", "last_block", draws=2, fractions=(0.1, 1.0))
    order = plans.ordered(trials, {"local/a": 7})
    assert sorted(t.id for group in order for t in group) == sorted(t.id for t in trials)
    assert [len(group) for group in order[:2]] == [4, 4]
    assert [group[0].strategy for group in order[:2]] == ["classical", "linear_probe"], "no verdict without a control"
    rest = [group[0] for group in order[2:]]
    assert [t.draw for t in rest] == [0] * 4 + [1] * 4
    assert [t.fraction for t in rest] == [0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1], "no long one alone at the end"


def test_labels_per_class_are_counted() -> None:
    assert plans.labelled(trial("linear_probe", fraction=None, per_class=8), COUNTS) == (13, 3)
    assert plans.labelled(trial("linear_probe", fraction=0.25), COUNTS) == (250, 50)


def test_rows_that_are_not_held_out_are_trained_on_at_one_rate() -> None:
    apart, together = (trial("full_finetune", knobs={"hold_out": on, "rates_tried": 3}) for on in (True, False))
    assert plans.labelled(apart, COUNTS) == (1000, 200) and plans.labelled(together, COUNTS) == (1200, 0)
    assert plans.epochs(apart, 1000) == 3 * plans.epochs(together, 1200)


@given(rows=st.integers(1, 300), batch=st.integers(2, 40))
def test_steps_are_planned_as_the_loop_takes_them(rows: int, batch: int) -> None:
    taken = training_rows.batches(np.arange(rows), np.ones(rows), batch, seed=0, epoch=0)
    assert plans.steps(rows, batch) == len(taken)


def test_one_row_more_than_a_batch_costs_no_second_step() -> None:
    few = trial("full_finetune", knobs={"epochs": 1, "min_steps": 40, "batch_size": 16.0, "patience": 0})
    assert [rates.passes_of(few, rows, 0, {})[0] for rows in (16, 17, 18)] == [40, 40, 20]


def test_a_last_batch_of_few_rows_is_a_step_as_the_loop_counts_it_but_not_one_of_one_row() -> None:
    few = trial("full_finetune", knobs={"epochs": 4, "min_steps": 40, "batch_size": 16.0, "rates_tried": 1})
    assert [plans.epochs(few, rows) for rows in (8, 17, 18, 32, 1000)] == [40, 40, 20, 20, 4]


def test_activations_are_kept_where_reading_is_cheaper() -> None:
    prefixes = plans.prefixes(study("last_block"), {"local/a": 7}, COUNTS)
    slow, fast = {"rows_per_second": 50.0}, {"rows_per_second": 1e6}
    assert plans.keep(prefixes[0], slow)[0]
    kept, why = plans.keep(prefixes[0], fast)
    assert not kept and "computed again" in why


def test_a_step_from_where_none_was_measured_costs_by_the_stages_above() -> None:
    ways = {"last_block:6:16": {"step": 0.01}, "full_finetune:0:16": {"step": 0.08}}
    rate = {**rates.guess(SOURCE, 64), "stages": 8, "ways": ways}
    each = [rates.step_seconds(rate, boundary) for boundary in range(9)]
    assert each[0] == 0.08 and each[6] == 0.01 and each == sorted(each, reverse=True)
    assert each[5] == pytest.approx(0.015) and each[2] == pytest.approx(0.06)


def test_early_stopping_leaves_at_least_the_epochs_that_it_waits() -> None:
    short = trial("full_finetune", knobs={"epochs": 3, "min_steps": 0, "patience": 4})
    assert rates.passes_of(short, 160, 40, {}) == (3, 1.5)
    long = trial("full_finetune", knobs={"epochs": 60, "min_steps": 0, "patience": 4, "rates_tried": 2})
    passes, looks = rates.passes_of(long, 160, 40, {})
    assert passes == pytest.approx(2 * 60 * rates.EARLY) and looks == passes / 2
    assert rates.passes_of(long, 160, 0, {})[0] == 120
    frozen = trial("linear_probe")
    assert rates.passes_of(frozen, 80, 16, {"epochs": 20, "min_steps": 200, "batch_size": 4}) == (20, 20)


def test_a_control_costs_what_the_line_through_its_measurements_says() -> None:
    points = [[100, 1.0], [300, 2.0]]
    assert rates.fitted(points, 500) == pytest.approx(3.0) and rates.fitted(points, 200) == pytest.approx(1.5)
    assert rates.fitted([[100, 1.0], [300, 0.9]], 600) == pytest.approx(0.9), "noise is no slope"
    assert rates.fitted([[100, 1.0]], 50) == pytest.approx(0.5)


def test_a_control_of_all_labels_counts_once_where_its_draws_are_alike() -> None:
    trials, cost = study("classical", draws=3, fractions=(0.1, 1.0)), {"read": 0.0, "fit": [[1200, 60.0]]}
    each, once = (rates.seconds(trials, {}, {}, COUNTS, {**cost, "once": same}) for same in (False, True))
    assert each - once == pytest.approx(2 * 60.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(strategies())), min_size=1, max_size=4, unique=True),
    st.integers(1, 5),
    st.integers(50, 5000),
)
def test_more_draws_never_cost_less_and_sharing_never_costs_more(names: list[str], draws: int, train: int) -> None:
    counts = Counts(train=train, validation=train // 5, test=100, classes=2)
    few, many = study(*names, draws=draws), study(*names, draws=draws + 1)
    known, guess = {"local/a": SOURCE}, {"local/a": rates.guess(SOURCE, 64)}
    assert 0 < rates.seconds(few, known, guess, counts) <= rates.seconds(many, known, guess, counts)
    found = plans.prefixes(few, {"local/a": 7}, counts)
    assert all(prefix.boundary > 0 and prefix.trials > 0 for prefix in found)
    assert rates.peak_mb(few, known, guess, counts) >= rates.LIBRARIES_MB


def test_a_measured_rate_takes_the_place_of_the_guess() -> None:
    trials, known = study("linear_probe"), {"local/a": SOURCE}
    slow = rates.guess(SOURCE, 64)
    fast = {**slow, "rows_per_second": 1e5, "encode_rows_per_second": 1e6, "load_seconds": 0.1, "stages": 7}
    seconds = [rates.seconds(trials, known, {"local/a": rate}, COUNTS) for rate in (fast, slow)]
    assert seconds[0] < seconds[1]


def test_the_estimator_learns_from_what_came_true() -> None:
    assert rates.correction([]) == (1.0, 0.5, 2.0)
    ledger = [{"raw_seconds": 10.0, "actual_seconds": 15.0}] * 9
    factor, low, high = rates.correction(ledger)
    assert 1.3 < factor < 1.5 and low < factor < high and high / low < 1.8
    assert rates.correction([{"raw_seconds": 0, "actual_seconds": 3}])[0] == 1.0


def test_a_dry_run_measures_and_the_plan_goes_by_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tltools import costs, datasets, samples, studies
    from tltools.engine import autotune, measuring, planner
    from tltools.store import open_store
    from tltools.tickets import QuietTicket

    def here(home: Home, store: Any, source: Source, study: Any, trials: Any, check: Any) -> None:
        planner.remember(
            store, source, dataset, *measuring.measured(home, study, *studies.split_of(home, study), trials)
        )

    monkeypatch.setattr(planner, "measure", here)  # the child process has a test of its own
    monkeypatch.setattr(measuring, "SECONDS", 0.1)
    monkeypatch.setattr(autotune, "SECONDS", 0.1)
    store = open_store(home)
    dataset = samples.add(home, "digits")
    text = f"dataset: {dataset.id}\nsources: [bundled/tiny-resnet]\nstrategies: [linear_probe, last_block]\ndraws: 2\n"
    study = studies.parse(text)
    estimate = planner.dry_run(home, store, study, QuietTicket(home, store))
    assert 0 < estimate.seconds_low <= estimate.seconds <= estimate.seconds_high
    (record,) = store.memories("rate")
    assert record["rows_per_second"] > 0 and record["stages"] >= 2 and record["peak_mb"] >= 0
    ways = record["ways"]
    assert set(ways) == {"last_block:4:16", "scratch:0:16"} and ways["last_block:4:16"]["seen"] > 0
    assert not costs.unmeasured(home, store, dataset, studies.expand(home, study))
    fit = store.recall("classical", dataset.id)["fit"]
    assert [rows for rows, _ in fit] == [128, 512] and all(seconds > 0 for _, seconds in fit)
    split, trials = datasets.split(home, dataset), studies.expand(home, study)
    counts = Counts(len(split.train), len(split.validation), len(split.test), len(dataset.classes))
    made = planner.plan(store, home, study, trials, counts)
    assert made.rows < made.rows_naive and made.decisions
    assert sum(map(len, made.order)) == len(trials)
    assert made.wants("bundled/tiny-resnet") >= {"pooled"}
    probe, block = (next(t for t in trials if t.strategy == key) for key in ("linear_probe", "last_block"))
    assert made.boundary(block, 5) in (0, 4) and made.boundary(probe, 5) in (0, 4)


def ways(mb: float, **more: Any) -> dict[str, Any]:
    way = {"step": 0.01, "seen": 0.003, "mb": mb, "batch_size": 16, "epochs": 6, "min_steps": 200, "patience": 4}
    return {"rows_per_second": 300.0, "stages": 7, "peak_mb": 400.0, "idle_mb": 300.0, "encoded_row_bytes": 400,
            "ways": {"full_finetune:0:16": {**way, "places": 2, "speedup": 1.2}}, **more}  # fmt: skip


@given(st.floats(500, 50_000), st.integers(1, 15))
def test_fewer_rows_at_once_never_need_more_memory(mb: float, part: int) -> None:
    counts, cards, known = COUNTS, {"local/a": SOURCE}, {"local/a": {**rates.guess(SOURCE, 64), **ways(mb)}}
    peaks = [
        rates.peak_mb([trial("full_finetune", knobs={"rows_at_once": rows})], cards, known, counts, alone=True)
        for rows in (part, part + 1, 16, 0)
    ]
    assert peaks == sorted(peaks) and peaks[2] == peaks[3]
    held = min(240.0, mb)  # six copies of ten million parameters stay, however few rows
    assert peaks[0] == pytest.approx(300 + max(400, held + (mb - held) * part / 16) + counts.rows * 400e-6)


def test_what_was_measured_in_parts_takes_the_place_of_the_share() -> None:
    known = {**rates.guess(SOURCE, 64), **ways(8000.0)}
    known["ways"]["full_finetune:0:16:4"] = {**known["ways"]["full_finetune:0:16"], "mb": 1234.0}
    asked = [trial("full_finetune", knobs={"rows_at_once": 4})]
    assert rates.peak_mb(asked, {"local/a": SOURCE}, {"local/a": known}, COUNTS, alone=True) == pytest.approx(1534.6)


def test_a_study_that_the_memory_cannot_hold_is_refused_with_what_it_can(home: Home) -> None:
    from tltools import costs, samples, studies
    from tltools.commands import plan
    from tltools.store import open_store

    store, dataset = open_store(home), samples.add(home, "digits-low")
    text = (
        f"dataset: {dataset.id}\nsources: [bundled/tiny-resnet]\nstrategies: [full_finetune]\ncontrols: [scratch]\n"
        "draws: 2\n"
    )
    study = studies.parse(text)
    (source,) = {t.source for t in studies.expand(home, study)}
    key = costs.rate_key(studies.sources.get(home, source), dataset.id)
    known = ways(9000.0, memory_mb=8000.0)
    scratch = {"scratch:0:16": known["ways"]["full_finetune:0:16"]}
    store.remember("rate", key, {name: value for name, value in known.items() if name != "ways"})
    assert not studies.estimate(home, store, study).problems, "nothing was measured yet, so nothing is refused"
    store.remember("rate", key, {**known, "ways": {**known["ways"], **scratch}})
    (problem,) = studies.estimate(home, store, study).problems
    assert (
        problem.severity == "error"
        and "9.3 GB; this machine has 8.0, of which a job may take 7.2." in problem.sentence()
    )
    assert "rows_at_once) to 8: the same batches in about 4.8 GB" in problem.sentence()
    half = {
        name: {**way, "mb": 4500.0, "places": 2, "speedup": 1.0} for name, way in {**known["ways"], **scratch}.items()
    }
    store.remember("rate", key, {**known, "ways": half})
    two = studies.estimate(home, store, study)
    assert not two.problems and two.peak_mb == costs.FITS * 8000.0, (
        "the second waits until there is room beside the first"
    )
    store.remember("rate", key, {**known, "ways": {**known["ways"], **scratch}})
    with pytest.raises(Refusal, match="rows_at_once"):
        studies.submit(home, store, study)
    path = home.root / "study.yaml"
    path.write_text(text)
    with pytest.raises(Refusal, match="rows_at_once"):
        plan(home, Namespace(study=str(path), measure=False))
    lesser = text.replace("[full_finetune]", "[{full_finetune: {rows_at_once: 8}}]").replace(
        "[scratch]", "[{scratch: {rows_at_once: 8}}]"
    )
    assert studies.submit(home, store, studies.parse(lesser)).state == "queued"
    store.remember("rate", key, {**store.recall("rate", key), "memory_mb": 300.0})
    (problem,) = studies.estimate(home, store, study).problems
    assert problem.remedy == "Choose a smaller source model.", "not even one row fits"


def test_a_source_that_cannot_be_loaded_is_refused_by_the_child(home: Home) -> None:
    from tltools import samples
    from tltools.engine import planner
    from tltools.records import Study
    from tltools.store import open_store

    study = Study(dataset=samples.add(home, "film-notes").id, sources=("local/a",), strategies=("linear_probe",))
    with pytest.raises(Refusal):
        planner.measure(home, open_store(home), SOURCE, study, [trial("linear_probe")])


@pytest.mark.parametrize(
    ("how", "strategy", "said"),
    [
        (signal.SIGKILL, "linear_probe", "memory did not suffice. Choose a smaller source model"),
        (signal.SIGKILL, "full_finetune", r"memory did not suffice. Set .*rows_at_once. to 8, or choose a smaller"),
        (signal.SIGTERM, "linear_probe", "exit code -15"),
    ],
)
def test_a_measuring_process_that_ends_is_a_sentence(home: Home, how: signal.Signals, strategy: str, said: str) -> None:
    from tltools import samples
    from tltools.engine import planner
    from tltools.records import Study
    from tltools.store import open_store

    def end() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, how)

    study = Study(dataset=samples.add(home, "wine").id, sources=("local/a",), strategies=("linear_probe",))
    with pytest.raises(Refusal, match=said):
        planner.measure(home, open_store(home), SOURCE, study, [trial(strategy)], end)


def test_the_last_block_resumes_from_the_disk_on_a_machine_that_never_saw_its_source(home: Home) -> None:
    from tltools import reports, samples, studies
    from tltools.engine import study as engine
    from tltools.records import Study
    from tltools.store import open_store
    from tltools.tickets import QuietTicket

    notes = samples.add(home, "film-notes")
    few = {"last_block": {"epochs": 12, "min_steps": 0, "patience": 1}}
    study = Study(
        dataset=notes.id, sources=("bundled/minilm-l6",), strategies=("linear_probe", few), controls=(),
        fractions=(0.3,), draws=1,
    )  # fmt: skip
    result = engine.run(QuietTicket(home, open_store(home)), {"study": studies.save(home, study)})
    cards = [reports.trial_card(home, trial.id) or {} for trial in studies.expand(home, study)]
    assert [card["resumed_from_stage"] for card in cards if card["backbone_trained"]] == [6]
    rows = sum(card["n_train"] for card in cards[:1]) + len(studies.split_of(home, study)[1].test)
    assert result["prefix_rows_computed"] == rows, "one pass wrote the pooled vectors and the boundary"


def test_rows_that_are_not_held_out_are_trained_on_by_every_arm(home: Home) -> None:
    from tltools import reports, samples, studies
    from tltools.engine import study as engine
    from tltools.records import Study
    from tltools.store import open_store
    from tltools.tickets import QuietTicket

    wine = samples.add(home, "wine")
    short = {"epochs": 2, "min_steps": 0, "patience": 0, "batch_size": 16}
    study = Study(
        dataset=wine.id, sources=("bundled/table-net",), fractions=(1.0,), draws=1,
        strategies=({"full_finetune": {**short, "hold_out": False}},), controls=({"scratch": short},),
    )  # fmt: skip
    engine.run(QuietTicket(home, open_store(home)), {"study": studies.save(home, study)})
    split = studies.split_of(home, study)[1]
    cards = [reports.trial_card(home, trial.id) or {} for trial in studies.expand(home, study)]
    assert [card["n_validation"] for card in cards] == [0, 0]
    assert [card["n_train"] for card in cards] == [len(split.train) + len(split.validation)] * 2
    steps = -(-(len(split.train) + len(split.validation)) // 16) * 2
    assert [card["steps"] for card in cards] == [steps] * 2 and not any(card["stopped_early"] for card in cards)


def peak(trials: list[Trial], counts: Counts = COUNTS, source: Source = SOURCE, **rate: Any) -> float:
    """Expected MB of a study of one source, one training at a time, above the libraries."""
    known = {**rates.guess(source, 64 if source.reads == "text" else 1), "width": 768, "stages": 13, **rate}
    found = rates.peak_mb(trials, {"local/a": source}, {"local/a": known}, counts, alone=True)
    return found - rates.LIBRARIES_MB - counts.rows * float(known["encoded_row_bytes"]) / 1e6


def test_features_of_many_rows_and_the_fit_on_them_are_counted() -> None:
    few, many = (Counts(train=rows, validation=0, test=0, classes=2) for rows in (200, 20_000))
    assert peak([trial("linear_probe")], few) == pytest.approx(150 + 80), "a pass takes more"
    features = 4 * 20_000 * 768 / 1e6
    assert peak([trial("linear_probe")], many) > 2 * features
    assert peak([trial("multilayer_probe")], many) > 13 * 2 * features


def test_what_is_trained_is_held_six_times_and_what_is_not_twice() -> None:
    row, network = 16 * rates.guess(SOURCE, 64)["row_mb"], 40.0
    assert peak([trial("full_finetune")]) == pytest.approx(150 + 6 * network + row)
    assert peak([trial("lora")], row_mb=0.0, peak_mb=0.0) == pytest.approx(150 + 2 * network)
    low, high = (peak([trial("last_block", knobs={"flip": on})], row_mb=0.0, peak_mb=0.0) for on in (False, True))
    assert 2 * network < low - 150 == high - 150 < 3 * network, (
        "what is computed anew each time holds nothing for gradients"
    )


@pytest.mark.parametrize("measured", [False, True])
def test_the_best_of_several_rates_is_held_beside_the_one_that_trains(measured: bool) -> None:
    one, two = (trial("full_finetune", knobs={"rates_tried": count}) for count in (1, 3))
    known = ways(5000.0) if measured else {}
    assert peak([two], **known) - peak([one], **known) == pytest.approx(40.0)


def test_a_network_of_columns_is_not_taken_for_a_large_one() -> None:
    net = SOURCE.model_copy(update={"reads": "tabular", "parameters": None})
    assert peak([trial("full_finetune")], source=net, places=1) < 250
