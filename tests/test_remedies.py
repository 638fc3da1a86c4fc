"""Remedies for gaps between groups: weights by hand, the worst pair served better, and a study that runs with them."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn import metrics as fair

from benchmarks.fairness import equalised
from tests.test_real_data import judged
from tltools import datasets, studies
from tltools.engine.fair_heads import fair_head, group_dro, pair_losses
from tltools.engine.heads import ridge_classifier
from tltools.home import Home
from tltools.judging import remedies
from tltools.records import Refusal, Study


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


def test_thresholds_per_group_narrow_the_gap_and_need_two_classes() -> None:
    x, y, groups = biased()
    head = ridge_classifier(x, y, 2)
    left_out = head.left_out()
    assert left_out is not None
    rows, held = left_out
    new, truth, new_groups = biased(6000, seed=5)
    outputs = head.outputs(new)
    said = equalised(held, y[rows], groups[rows], outputs, new_groups)
    gaps = [
        fair.equalized_odds_difference(truth, one, sensitive_features=new_groups) for one in (outputs.argmax(1), said)
    ]
    assert gaps[1] < 0.5 * gaps[0], gaps
    assert np.array_equal(said, equalised(held, y[rows], groups[rows], outputs, new_groups))
    with pytest.raises(Refusal, match="two classes"):
        equalised(np.eye(3), np.arange(3), np.array(["a"] * 3), np.eye(3), np.array(["a"] * 3))
    unseen = equalised(held, y[rows], groups[rows], outputs[:5], np.array(["new"] * 5))
    assert set(unseen.tolist()) <= {0, 1}


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
    keys = ("linear_probe", "reweighting", "group_balanced", "group_dro")
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
