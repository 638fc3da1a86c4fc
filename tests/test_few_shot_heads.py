"""Class means and nearest neighbours: what is left out is left out, probabilities mean something, odd rows too."""

from __future__ import annotations

import numpy as np
import pytest

from tltools.engine import neighbours as near
from tltools.engine.heads import slope
from tltools.engine.neighbours import neighbours, of_tensors
from tltools.engine.prototypes import prototypes
from tltools.engine.sealing import kept_weights
from tltools.judging.ranking import balanced_accuracy
from tltools.judging.ridge import standardise
from tltools.records import Trial

FITS = [prototypes, neighbours]
each = pytest.mark.parametrize("fit", FITS, ids=lambda f: f.__name__)


def blobs(n: int, d: int, classes: int, *, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal clouds around `classes` centres; the centres are the same for every seed."""
    centres = np.random.default_rng(99).standard_normal((classes, d)) * apart
    random = np.random.default_rng(seed)
    codes = np.arange(n) % classes
    return (centres[codes] + random.standard_normal((n, d))).astype(np.float32), codes


@each
def test_clouds_are_told_apart_and_the_left_out_score_foretells_it(fit) -> None:  # type: ignore[no-untyped-def]
    x, y = blobs(600, 10, 3, apart=0.6)
    head, (new, truth) = fit(x, y, 3), blobs(600, 10, 3, apart=0.6, seed=1)
    score = balanced_accuracy(truth, head.outputs(new).argmax(1))
    assert 0.75 < score < 0.97 and abs(head.loo_score - score) < 0.08


@each
def test_probabilities_are_calibrated_on_new_rows(fit) -> None:  # type: ignore[no-untyped-def]
    x, y = blobs(900, 8, 3, apart=0.5)
    new, truth = blobs(3000, 8, 3, apart=0.5, seed=2)
    outputs = fit(x, y, 3).outputs(new)
    assert np.allclose(outputs.sum(1), 1, atol=1e-5)
    assert abs(outputs.max(1).mean() - (outputs.argmax(1) == truth).mean()) < 0.05


@each
def test_balanced_weights_serve_the_rare_class(fit) -> None:  # type: ignore[no-untyped-def]
    x, y = blobs(400, 6, 2, apart=0.45)
    keep = (y == 0) | (np.arange(400) % 20 == 1)
    head, (new, truth) = fit(x[keep], y[keep], 2), blobs(1000, 6, 2, apart=0.45, seed=3)
    found = head.outputs(new).argmax(1)
    recalls = [(found[truth == code] == code).mean() for code in (0, 1)]
    assert min(recalls) > 0.55, recalls


@each
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_next_to_no_rows_give_a_head(fit, rows: int) -> None:  # type: ignore[no-untyped-def]
    x, y = blobs(rows, 5, 2, apart=2.0)
    outputs = fit(x, y, 3).outputs(blobs(10, 5, 2, apart=2.0, seed=4)[0])
    assert outputs.shape == (10, 3) and np.isfinite(outputs).all() and np.allclose(outputs.sum(1), 1, atol=1e-5)


@each
def test_a_class_that_no_row_shows_is_never_chosen_and_never_impossible(fit) -> None:  # type: ignore[no-untyped-def]
    x, y = blobs(60, 5, 2, apart=1.0)
    outputs = fit(x, y * 2, 4).outputs(50 * np.random.default_rng(5).standard_normal((500, 5)).astype(np.float32))
    assert set(outputs.argmax(1)) <= {0, 2} and (outputs[:, [1, 3]] > 0).any()


@each
def test_no_rows_and_broken_features_are_refused(fit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="at least one training row"):
        fit(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), 2)
    with pytest.raises(ValueError, match="finite"):
        fit(np.array([[np.nan], [1.0]], np.float32), np.array([0, 1]), 2)


def test_the_largest_output_is_that_of_the_nearest_mean() -> None:
    x, y = blobs(45, 7, 3, apart=0.5)
    new, _ = blobs(200, 7, 3, apart=0.5, seed=6)
    mean, scale = standardise(x, np.ones(45))
    z, means = (new - mean) / scale, np.stack([((x - mean) / scale)[y == k].mean(0) for k in range(3)])
    nearest = ((z[:, None] - means) ** 2).sum(2).argmin(1)
    assert (prototypes(x, y, 3).outputs(new).argmax(1) == nearest).all()


def test_the_prototypes_temperature_is_that_of_refits_without_each_row() -> None:
    x, y = blobs(24, 5, 3, apart=0.6, seed=7)
    mean, scale = standardise(x, np.ones(24))
    z, raw = (x - mean) / scale, np.zeros((24, 3))
    for i in range(24):
        others = np.arange(24) != i
        means = np.stack([z[others & (y == k)].mean(0) for k in range(3)])
        raw[i] = -((z[i] - means) ** 2).mean(1) / 2  # the same up to a constant per row
    assert prototypes(x, y, 3).temperature == pytest.approx(1 / slope(raw, y, np.ones(24)), rel=1e-4)


def test_neighbours_vote_as_a_loop_over_all_rows_says() -> None:
    x, y = blobs(40, 6, 3, apart=0.5)
    new, _ = blobs(15, 6, 3, apart=0.5, seed=8)
    head = neighbours(x, y, 3)
    z, rows = (new - head.mean) / head.scale, (x - head.mean) / head.scale
    counts, expected = np.bincount(y), np.zeros((15, 3))
    for i, row in enumerate(z):
        cosines = rows @ row / np.linalg.norm(rows, axis=1) / np.linalg.norm(row)
        order = np.argsort(-cosines)
        floor = cosines[order[head.k]]
        for j in order[: head.k]:
            weight = 40 / 3 / counts[y[j]]
            expected[i, y[j]] += weight * (cosines[j] - floor) / (cosines[order[0]] - floor)
    assert np.allclose(head.raw(new), np.log(expected + 1 / 3), atol=1e-4)


def test_the_number_of_neighbours_is_the_best_of_those_that_never_see_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(300, 3, 2, apart=0.25)
    assert neighbours(x, y, 2).k >= 9, "clouds that overlap need many neighbours"
    tight, codes = blobs(300, 40, 60, apart=3.0)
    assert neighbours(tight, codes, 60).k <= 5, "sixty clouds of five rows need few"
    labels = np.random.default_rng(0).integers(0, 2, 300)
    assert abs(neighbours(x, labels, 2).loo_score - 0.5) < 0.12, "labels drawn by chance cannot be foretold"


def test_an_output_does_not_jump_where_neighbours_change_places() -> None:
    x, y = blobs(60, 4, 2, apart=0.3)
    head = neighbours(x, y, 2)
    path = np.linspace(x[0], x[31], 4001, dtype=np.float32)
    steps = np.abs(np.diff(head.outputs(path), axis=0)).max()
    assert steps < 0.02, steps


def test_rows_that_are_all_alike_vote_alike() -> None:
    x = np.concatenate([np.ones((20, 3)), -np.ones((20, 3))]).astype(np.float32)
    outputs = neighbours(x, np.arange(40) // 20, 2).outputs(np.array([[1.0, 1, 1]], np.float32))
    assert outputs[0, 0] > 0.8


def test_neighbours_survive_the_way_to_disk_and_back() -> None:
    x, y = blobs(50, 6, 3, apart=0.5)
    head = neighbours(x, y, 3)
    again = of_tensors({name: value.astype(np.float32) for name, value in head.tensors().items()}, 3)
    new, _ = blobs(20, 6, 3, apart=0.5, seed=9)
    assert np.array_equal(head.outputs(new), again.outputs(new))


def test_blocks_of_rows_say_what_all_rows_at_once_say(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(50, 6, 3, apart=0.5)
    whole = neighbours(x, y, 3)
    monkeypatch.setattr(near, "BLOCK", 7)
    parts = neighbours(x, y, 3)
    assert parts.k == whole.k and parts.temperature == pytest.approx(whole.temperature, rel=1e-4)
    assert np.allclose(parts.outputs(x), whole.outputs(x), atol=1e-5)


def test_neighbours_of_very_many_rows_are_kept_for_one_draw_only() -> None:
    def trial(draw: int) -> Trial:
        return Trial(
            id=f"{draw:016x}", study="s", dataset="d", split="p", source="a/b", strategy="knn", kind="transfer",
            knobs={}, fraction=1.0, per_class=None, draw=draw, seed=0,
        )  # fmt: skip

    small, large = ({"head.rows": np.zeros((rows, 384), np.float32)} for rows in (100, 5000))
    assert kept_weights(trial(1), small, True) == (small, "kept") and kept_weights(trial(0), large, True)[1] == "kept"
    for draw, largest in ((1, True), (0, False)):
        weights, why = kept_weights(trial(draw), large, largest)
        assert weights == {} and why.startswith("not kept: only draw 0 at the largest share")
