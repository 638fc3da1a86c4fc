"""Remedies for gaps between groups: weights by hand, the worst pair served better, and a study that runs with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fair
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import fairness as bench
from tests import scripts
from tests.test_real_data import judged
from tltools import datasets, studies
from tltools.engine import explain, export, predict
from tltools.engine.fair_heads import fair_head, group_dro, pair_losses
from tltools.engine.heads import ridge_classifier
from tltools.home import Home
from tltools.judging import fairness, remedies, thresholds
from tltools.judging.ranking import balanced_accuracy
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket


def biased(rows: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, codes, groups): the small group is mostly of class 0, and another feature tells its class."""
    rng = np.random.default_rng(seed)
    groups = np.where(rng.random(rows) < 0.25, "few", "many")
    codes = (rng.random(rows) < np.where(groups == "few", 0.15, 0.6)).astype(np.int64)
    sign = 2.0 * codes - 1
    few = groups == "few"
    told = np.stack([np.where(few, 0.2, 1.0) * sign, np.where(few, 1.0, 0.1) * sign, 2.0 * few], axis=1)
    return (told + rng.standard_normal((rows, 3))).astype(np.float32), codes, groups


def odds_gap(head, seed: int = 9) -> float:  # type: ignore[no-untyped-def]
    new, truth, groups = biased(20_000, seed)
    said = head.outputs(new).argmax(1)
    return float(fair.equalized_odds_difference(truth, said, sensitive_features=groups))


def test_reweighting_is_that_of_kamiran_and_calders_over_the_share_of_the_class() -> None:
    groups, codes = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 1, 1, 1, 1])
    published = {(0, 0): 3 * 3 / (8 * 2), (0, 1): 3 * 5 / (8 * 1), (1, 0): 5 * 3 / (8 * 1), (1, 1): 5 * 5 / (8 * 4)}
    share = {0: 3 / 8, 1: 5 / 8}
    wanted = np.array([published[g, y] / share[y] for g, y in zip(groups, codes, strict=True)])
    found = remedies.row_weights("reweighted", groups, codes)
    assert found == pytest.approx(wanted * 8 / wanted.sum())
    for group in (0, 1):
        inside = groups == group
        assert found[inside & (codes == 1)].sum() / found[inside].sum() == pytest.approx(0.5)


def test_balanced_weights_give_every_pair_the_same() -> None:
    _, codes, names = biased()
    groups = remedies.joined(names)
    found, pairs = remedies.row_weights("group_balanced", groups, codes), remedies.cells(groups, codes)
    assert np.bincount(pairs, weights=found) == pytest.approx([len(codes) / 4] * 4)


def test_groups_of_a_few_rows_are_weighted_together() -> None:
    names = np.array(["a"] * 50 + ["b"] * 40 + ["c"] * 3 + ["d"] * 2)
    found = remedies.joined(names)
    assert len(set(found.tolist())) == 3 and found[90] == found[94] != found[0]


def test_weights_of_one_are_a_head_without_balance() -> None:
    x, y, _ = biased(200)
    plain, weighted = ridge_classifier(x, y, 2, balanced=False), ridge_classifier(x, y, 2, weights=np.ones(200))
    assert np.array_equal(plain.weight, weighted.weight) and plain.temperature == weighted.temperature


@pytest.mark.parametrize("kind", ["reweighted", "group_balanced", "group_dro"])
def test_a_remedy_narrows_the_gap_of_the_plain_probe(kind) -> None:  # type: ignore[no-untyped-def]
    x, y, groups = biased()
    plain, mended = odds_gap(ridge_classifier(x, y, 2)), odds_gap(fair_head(kind, x, y, groups, 2))
    assert plain > 0.25 and mended < 0.8 * plain, (plain, mended)


def test_group_dro_serves_the_worst_pair_better_than_even_weights() -> None:
    x, y, names = biased()
    groups = remedies.joined(names)
    pairs = remedies.cells(groups, y)
    even = ridge_classifier(x, y, 2, weights=remedies.row_weights("group_balanced", groups, y))
    worst = [float(pair_losses(head, y, pairs).max()) for head in (even, group_dro(x, y, pairs, 2))]  # type: ignore[union-attr]
    assert worst[1] < worst[0] - 0.005, worst


@pytest.mark.parametrize("kind", ["reweighted", "group_balanced", "group_dro"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_next_to_no_rows_give_a_head(kind, rows: int) -> None:  # type: ignore[no-untyped-def]
    x, y, groups = biased(rows)
    outputs = fair_head(kind, x, y, groups, 2).outputs(biased(10)[0])
    assert np.isfinite(outputs).all() and np.allclose(outputs.sum(1), 1, atol=1e-5)


def cost(truth: np.ndarray, said: np.ndarray, groups: np.ndarray) -> float:
    gap = float(fair.equalized_odds_difference(truth, said, sensitive_features=groups))
    return gap + 1 - balanced_accuracy(truth, said)


def quick_cost(truth: np.ndarray, said: np.ndarray, groups: np.ndarray) -> float:
    """`cost` of two groups and two classes by hand, for searches."""
    rates = [
        [(said[own & (truth == code)] == code).mean() for code in (0, 1)] for own in (groups == "few", groups == "many")
    ]
    gap = np.abs(np.subtract(*rates)).max()
    return float(gap) + 1 - np.mean([(said[truth == code] == code).mean() for code in (0, 1)])


def test_thresholds_per_group_are_about_the_best_of_all_and_narrow_the_gap_of_new_rows() -> None:
    x, y, names = biased()
    head = ridge_classifier(x, y, 2)
    left_out = head.left_out()
    assert left_out is not None
    rows, held = left_out
    truth, groups = y[rows], names[rows]
    shifts = thresholds.chosen(held, truth, groups, 1.0)
    found = cost(truth, thresholds.shifted(held, groups, shifts).argmax(1), groups)
    raised = [np.array([0.0, step]) for step in np.arange(-3, 3.01, 0.25)]
    every = [{"few": a, "many": b, thresholds.OTHERS: a} for a in raised for b in raised]
    best = min(quick_cost(truth, thresholds.shifted(held, groups, one).argmax(1), groups) for one in every)
    assert quick_cost(truth, held.argmax(1), groups) == pytest.approx(cost(truth, held.argmax(1), groups))
    assert found < best + 0.01 and found < cost(truth, held.argmax(1), groups) - 0.08
    new, new_truth, new_groups = biased(20_000, seed=5)
    plain = head.outputs(new)
    said = [one.argmax(1) for one in (plain, thresholds.shifted(plain, new_groups, shifts))]
    gaps = [fair.equalized_odds_difference(new_truth, one, sensitive_features=new_groups) for one in said]
    assert gaps[1] < 0.7 * gaps[0], gaps
    assert balanced_accuracy(new_truth, said[1]) > balanced_accuracy(new_truth, said[0]) - 0.03


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_thresholds_are_moved_until_no_single_move_helps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "ROUNDS", 50)
    rng = np.random.default_rng(seed)
    truth, groups = rng.integers(0, 2, 400), rng.choice(["a", "b", "c"], 400)
    raw = 1.2 * truth + rng.normal(size=400) + np.select([groups == "a", groups == "b"], [0.8, -0.9], 0.0)
    held = np.column_stack([1 - 1 / (1 + np.exp(-raw)), 1 / (1 + np.exp(-raw))])
    shifts = thresholds.chosen(held, truth, groups, 1.0)
    found = cost(truth, thresholds.shifted(held, groups, shifts).argmax(1), groups)
    for group in "abc":
        for step in thresholds.STEPS:
            moved = {**shifts, group: np.array([0.0, step])}
            assert cost(truth, thresholds.shifted(held, groups, moved).argmax(1), groups) >= found - 1e-6


def test_a_gap_of_less_worth_is_left_wider() -> None:
    x, y, names = biased()
    held = ridge_classifier(x, y, 2).outputs(x)
    gaps = []
    for worth in (0.1, 1.0, 10.0):
        said = thresholds.shifted(held, names, thresholds.chosen(held, y, names, worth)).argmax(1)
        gaps.append(fair.equalized_odds_difference(y, said, sensitive_features=names))
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > gaps[2] + 0.1, gaps


def test_thresholds_work_with_three_classes_and_shares_for_those_that_are_not_known() -> None:
    rng = np.random.default_rng(3)
    truth, groups = rng.integers(0, 3, 3_000), np.where(rng.random(3_000) < 0.3, "a", "b")
    raw = (
        np.eye(3)[truth] * 1.5 + rng.standard_normal((3_000, 3)) + np.where(groups == "a", 1.5, 0)[:, None] * [1, 0, 0]
    )
    outputs = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    half = np.arange(3_000) < 1_500
    shifts = thresholds.chosen(outputs[half], truth[half], np.where(np.arange(1_500) < 5, "few", groups[half]), 0.5)
    assert set(shifts) == {"a", "b", thresholds.OTHERS}
    moved = thresholds.shifted(outputs[~half], groups[~half], shifts)
    assert np.allclose(moved.sum(1), 1, atol=1e-5)
    before, after = (
        fairness.gaps(fairness.replicated(truth[~half], one.argmax(1)[None], groups[~half], 3))[1].value
        for one in (outputs[~half], moved)
    )
    assert after < 0.6 * before, (before, after)
    unknown = thresholds.shifted(outputs[:4], np.array(["new", "few", "", "missing"]), shifts)
    assert np.isfinite(unknown).all()


@given(arrays(np.float64, 40, elements=st.floats(0.001, 0.999)), st.lists(st.integers(0, 1), min_size=40, max_size=40))
@settings(max_examples=20, deadline=None)
def test_thresholds_of_any_outputs_cost_no_more_than_none(shares: np.ndarray, truth: list[int]) -> None:
    outputs, codes, groups = np.column_stack([1 - shares, shares]), np.array(truth), np.repeat(["a", "b"], 20)
    shifts = thresholds.chosen(outputs, codes, groups, 1.0)
    assert all(np.isfinite(shift).all() for shift in shifts.values())
    said = [one.argmax(1) for one in (outputs, thresholds.shifted(outputs, groups, shifts))]
    right = [np.mean([(one == codes)[codes == k].mean() for k in set(truth)]) for one in said]
    assert right[1] >= right[0] - 1e-9, "groups of fewer than 30 rows have no gap to weigh"


def people(home: Home, tmp_path) -> str:  # type: ignore[no-untyped-def]
    """A dataset of notes about people: the word of merit differs between the groups."""
    rng = np.random.default_rng(0)
    lines = ["note,sex,hired"]
    for k in range(600):
        sex = "F" if k % 3 == 0 else "M"
        hired = rng.random() < (0.3 if sex == "F" else 0.6)
        merit = (
            ("led a team" if sex == "F" else "won a prize") if rng.random() < (0.8 if hired else 0.25) else "was there"
        )
        lines.append(f"Person {k} {merit} in year {rng.integers(1990, 2020)},{sex},{'yes' if hired else 'no'}")
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    return datasets.add(home, tmp_path / "people.csv", target="hired", inputs=["note"]).id


def test_a_study_with_remedies_runs_and_depends_on_its_groups(home: Home, tmp_path) -> None:  # type: ignore[no-untyped-def]
    dataset = people(home, tmp_path)
    keys = ("linear_probe", "reweighting", "group_balanced", "group_dro", "group_thresholds")
    asked = {"dataset": dataset, "sources": ("bundled/minilm-l6",), "strategies": keys, "controls": (), "draws": 2,
             "fractions": (1.0,)}  # fmt: skip
    without = studies.settle(home, Study(**asked))
    refused = {p.where: p for p in studies.check(home, without) if p.severity == "error"}
    assert set(refused) == {f"strategy {key}" for key in keys[1:]}
    assert "sensitive" in refused["strategy reweighting"].what + refused["strategy reweighting"].remedy
    report = judged(home, **asked, sensitive=("sex",))
    assert {arm["strategy"] for arm in report.arms} == set(keys)
    assert {row["strategy"] for row in report.groups if row["kind"] == "gap"} == set(keys)
    with_groups = studies.settle(home, Study(**asked, sensitive=("sex",)))
    ids = [{t.strategy: t.id for t in studies.expand(home, one)} for one in (without, with_groups)]
    assert [key for key in keys if ids[0][key] != ids[1][key]] == list(keys[1:])


def test_a_trial_with_thresholds_predicts_as_stored_and_asks_for_the_group(home: Home, tmp_path) -> None:  # type: ignore[no-untyped-def]
    dataset = people(home, tmp_path)
    asked = {"dataset": dataset, "sources": ("bundled/minilm-l6",), "strategies": ("linear_probe", "group_thresholds"),
             "controls": (), "draws": 1, "fractions": (1.0,), "sensitive": ("sex",)}  # fmt: skip
    report = judged(home, **asked)
    gaps = {row["strategy"]: row["score"] for row in report.groups if row["metric"] == "equalized_odds_difference"
            and row["kind"] == "gap"}  # fmt: skip
    assert gaps["group_thresholds"] < gaps["linear_probe"]
    (trial,) = [
        t.id for t in studies.expand(home, studies.settle(home, Study(**asked))) if t.strategy == "group_thresholds"
    ]
    stored = pd.read_parquet(home.trials / trial / "predictions.parquet").sort_values("row")
    rows = datasets.rows(home, dataset).iloc[stored["row"]]
    rows[["note", "sex"]].to_csv(tmp_path / "new.csv", index=False)
    ticket = QuietTicket(home, open_store(home))
    predict.run(ticket, {"trial": trial, "file": str(tmp_path / "new.csv"), "out": str(tmp_path / "out.csv")})
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["p_yes"], stored["p_1"], atol=1e-2)
    shown = explain.run(ticket, {"trial": trial, "what": "nearest", "rows": stored["row"].head(20).tolist()})["rows"]
    for one, p_yes in zip(shown, stored["p_1"], strict=False):
        assert one["probabilities"]["yes"] == pytest.approx(p_yes, abs=1e-2), "what is explained is what was said"
    with pytest.raises(Refusal, match="thresholds per group"):
        explain.run(ticket, {"trial": trial, "what": "attribution"})
    one = {"trial": trial, "items": [{"note": str(rows["note"].iloc[0]), "sex": str(rows["sex"].iloc[0])}]}
    (said,) = predict.run(ticket, one)["predictions"]
    assert said["probabilities"]["yes"] == pytest.approx(float(stored["p_1"].iloc[0]), abs=1e-2)
    rows[["note"]].to_csv(tmp_path / "nameless.csv", index=False)
    for payload in ({"file": str(tmp_path / "nameless.csv")}, {"items": ["Person 1 won a prize"]}):
        with pytest.raises(Refusal, match="sex"):
            predict.run(ticket, {"trial": trial, **payload})
    done = export.run(ticket, {"trial": trial, "to": str(tmp_path / "model")})
    assert "for its threshold, from `sex`" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert done["replay"]["agrees"] and done["replay"]["rows"] == len(stored), done["replay"]
    rows.assign(sex=rows["sex"].where(np.arange(len(rows)) % 3 > 0, "").mask(np.arange(len(rows)) % 3 == 1, "X"))[
        ["sex", "note"]
    ].to_csv(tmp_path / "new.csv", index=False)
    predict.run(ticket, {"trial": trial, "file": str(tmp_path / "new.csv"), "out": str(tmp_path / "out.csv")})
    assert not scripts.run(None, tmp_path / "model" / "predict.py", tmp_path / "new.csv", tmp_path / "theirs.csv")
    ours, theirs = (pd.read_csv(tmp_path / name, keep_default_na=False) for name in ("out.csv", "theirs.csv"))
    assert ours["sex"].nunique() > 2 and (ours["prediction"] == theirs["prediction"]).mean() > 0.98
    np.testing.assert_allclose(theirs["p_yes"], ours["p_yes"], atol=1e-2)
    said_so = scripts.run(None, tmp_path / "model" / "predict.py", tmp_path / "nameless.csv", tmp_path / "none.csv")
    assert "lacks the column(s) sex" in said_so


def test_the_benchmark_compares_every_remedy_with_the_plain_probe(home: Home, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    families, real = [], fairness.together

    def together(gaps: list[fairness.Gap]) -> list[str]:
        words = real(gaps)
        families.append([(gap.metric, gap.value, word) for gap, word in zip(gaps, words, strict=True)])
        return words

    monkeypatch.setattr(fairness, "together", together)
    found = bench.judged(home, people(home, tmp_path), "sex", (1.0,), 2)
    arms = {arm["arm"]: arm for arm in found["arms"]}
    assert set(arms) == {bench.PLAIN, *bench.REMEDIES, "classical"}
    plain = arms[bench.PLAIN]
    for arm in arms.values():
        if arm is not plain:
            assert arm["moved"][0] == pytest.approx(arm["gap"][0] - plain["gap"][0], abs=1e-6)
            assert arm["cost"][0] == pytest.approx(arm["score"][0] - plain["score"][0], abs=1e-6)
            assert arm["cost"][1] <= arm["cost"][0] <= arm["cost"][2]
            assert (bench.ODDS, arm["moved"][0], arm["verdict"]) in families[-1]
    assert len(families[-1]) == 2 * (len(arms) - 1), "both differences of all arms are one family, as in a report"
    assert all(f"| {name} |" in bench.page({"people": found}) for name in arms)
