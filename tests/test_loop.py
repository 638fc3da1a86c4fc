"""A sentence per thing that the loop promises, on the tabular network: small, with all that a large one has."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tltools.engine import layouts, loop, outcomes, training_rows
from tltools.engine.checkpoints import Checkpoint
from tltools.engine.device import Device
from tltools.engine.tabular_backbone import TabularBackbone
from tltools.records import Source
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks
from tltools.tickets import Interrupted

CPU = Device("cpu", 1, False, "a test", 1000.0)
SOURCE = Source(
    id="bundled/table-net", name="t", provider="bundled", reads="tabular", family="tabular", architecture="table-net"
)
N = 120


class Table:
    """A feed over the rows of a small made-up table; notes which rows are asked for."""

    def __init__(self, backbone: TabularBackbone, table: pd.DataFrame, boundary: int = 0) -> None:
        self.encoded = backbone.encode(table)
        self.lengths = np.arange(len(table)) % 7 + 1
        self.seen: list[np.ndarray] = []
        self.cache: torch.Tensor | None = None
        if boundary:
            with torch.no_grad():
                self.cache = backbone.states(self.encoded.take(np.arange(len(table))), boundary)

    def take(self, rows: np.ndarray, *, training: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        self.seen.append(rows)
        return self.encoded.take(rows), None if self.cache is None else self.cache[torch.from_numpy(rows)].clone()


class Stopper:
    """A ticket that stops at the n-th check; never when n is None."""

    def __init__(self, at: int | None = None, kind: type[Exception] = Interrupted) -> None:
        self.left, self.kind = at, kind

    def working_on(self, note: str, stage: str = "") -> None:
        return None

    def check(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise self.kind


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(3)
    made = pd.DataFrame(random.normal(size=(N, 4)), columns=list("abcd"))
    made["kind"] = random.choice(["x", "y", "z"], N)
    return made


@pytest.fixture(scope="module")
def codes(table: pd.DataFrame) -> np.ndarray:
    return ((table["a"] + table["b"] * table["c"] > 0).to_numpy()).astype(np.int64)


@pytest.fixture(scope="module")
def backbone(table: pd.DataFrame) -> TabularBackbone:
    torch.manual_seed(0)
    made = TabularBackbone(SOURCE)
    made.fit_items(table, np.arange(N))
    return made


ALL, TOP = Layout((1e-3,) * 4, 1e-2), Layout((0.0, 0.0, 0.0, 1e-3), 1e-2)


def recipe(*phases: Layout, **fields: Any) -> Recipe:
    return Recipe(phases=phases or (ALL,), **{"epochs": 6, "batch_size": 8, "patience": 0, **fields})


def training(
    backbone: TabularBackbone,
    table: pd.DataFrame,
    codes: np.ndarray,
    folder: Path,
    asked: Recipe,
    *,
    ticket: Any = None,
    held: int = 30,
    boundary: int = 0,
    every: float = 1e9,
    **place: Any,
) -> loop.Training:
    torch.manual_seed(1)
    train, validation = np.arange(80), np.arange(80, 80 + held)
    rows = training_rows.Rows(train, validation, torch.from_numpy(codes), training_rows.balance(codes, train))
    return loop.Training(
        layouts.Tuned(backbone.twin(), 2), Table(backbone, table, boundary), asked, rows,
        loop.Place(CPU, boundary=boundary, **place), tasks()["classification"].loss, 1.0, 7, ticket or Stopper(),
        Checkpoint(folder, every),
    )  # fmt: skip


def state(of: loop.Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in of.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- it learns, and does so the same way each time --------------------------------------------------------------------


def test_it_learns(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe(epochs=10))
    fitted = made.run()
    assert fitted.least < 0.4 and fitted.curve[0]["train_loss"] > fitted.curve[-1]["train_loss"]
    assert fitted.least == min(point["validation_loss"] for point in fitted.curve)
    raw = loop.predict(made.model, made.feed, np.arange(110, 120), made.place)
    assert raw.shape == (10, 2) and not made.model.training


def test_the_same_seed_gives_the_same_bits(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = (training(backbone, table, codes, tmp_path / str(k), recipe()) for k in range(2))
    assert one.run().curve[-1]["train_loss"] == two.run().curve[-1]["train_loss"]
    assert same(state(one), state(two))


@pytest.mark.parametrize(("honest", "kept"), [(False, "modest"), (True, "sure")])
def test_weights_that_know_more_are_kept_though_they_are_too_sure(
    backbone, table, codes, tmp_path, honest, kept
) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe())
    made.moving = {"head.weight"}
    held, wrong = made.rows.validation, {"modest": 10, "sure": 4}
    signs = torch.from_numpy(2.0 * codes[held] - 1)
    for name, factor in (("modest", 1.0), ("sure", 50.0)):
        said = signs.clone()
        said[: wrong[name]] *= -1
        raw = torch.stack([-said, said], 1).float() * factor
        made.predict = lambda rows, *, pooled=False, raw=raw: raw  # type: ignore[method-assign]
        made.honest = outcomes.honest if honest else made.honest
        with torch.no_grad():
            made.model.head.weight.fill_(factor)
        made.evaluate()
    assert float(made.best["head.weight"][0, 0]) == {"modest": 1.0, "sure": 50.0}[kept]


THREE = (TOP, Layout((0.0, 0.0, 1e-3, 1e-3), 1e-2), ALL)


@pytest.mark.parametrize(("phases", "stop"), [((ALL,), 13), *((THREE, stop) for stop in (0, 19, 20, 33, 40, 59))])
def test_an_interrupted_run_ends_in_the_same_bits(backbone, table, codes, tmp_path, phases, stop) -> None:  # type: ignore[no-untyped-def]
    asked = recipe(*phases, weight_decay=0.1, warmup=0.2, anchor=0.01)
    whole = training(backbone, table, codes, tmp_path / "whole", asked)
    expected = whole.run()
    cut = training(backbone, table, codes, tmp_path / "cut", asked, ticket=Stopper(stop))
    with pytest.raises(Interrupted):
        cut.run()
    again = training(backbone, table, codes, tmp_path / "cut", asked)
    torch.manual_seed(999)  # whatever the new process has drawn before
    fitted = again.run()
    assert same(state(whole), state(again))
    keep = ("epoch", "train_loss", "validation_loss")
    assert [[p[k] for k in keep] for p in fitted.curve] == [[p[k] for k in keep] for p in expected.curve]
    assert fitted.steps == expected.steps


def test_a_killed_run_goes_on_from_its_last_due_checkpoint(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = training(backbone, table, codes, tmp_path / "whole", recipe(*THREE))
    whole.run()
    cut = training(
        backbone, table, codes, tmp_path / "cut", recipe(*THREE), ticket=Stopper(37, KeyboardInterrupt), every=0.0
    )
    cut.checkpoint.due = lambda: cut.at.steps % 6 == 0  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    assert len(list((tmp_path / "cut").glob("*.json"))) == 2
    newest = max((tmp_path / "cut").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-7])  # torn: the older one must serve
    again = training(backbone, table, codes, tmp_path / "cut", recipe(*THREE))
    again.run()
    assert again.ticket.left is None and same(state(whole), state(again))  # type: ignore[attr-defined]
    seen = sum(map(len, again.feed.seen))  # type: ignore[attr-defined]
    assert seen < sum(map(len, whole.feed.seen)), "it did not start anew"  # type: ignore[attr-defined]
    again.checkpoint.clear()
    assert not (tmp_path / "cut").exists()


def test_a_checkpoint_is_written_without_a_copy_of_what_it_holds(tmp_path: Path) -> None:
    model = nn.ModuleDict({"words": nn.Linear(1_000, 500), "said": nn.Linear(1_000, 500)})
    model["said"].weight = model["words"].weight  # tied: two names of one tensor
    optimiser = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    checkpoint, best = Checkpoint(tmp_path), {name: value.clone() for name, value in model.state_dict().items()}
    tracemalloc.start()
    checkpoint.save(model.state_dict(), optimiser, best, {"steps": 3}, 3)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 4 * 500_000, "the weights alone take as much"
    saved = checkpoint.load()
    assert saved is not None and saved.part("model.").keys() == best.keys()
    assert torch.equal(saved.part("model.")["said.weight"], model["words"].weight)
    assert torch.equal(saved.part("optimiser.0.")["exp_avg"], optimiser.state[model["words"].weight]["exp_avg"])


def test_what_was_trained_keeps_nothing_of_its_training_but_the_model(  # type: ignore[no-untyped-def]
    backbone, table, codes, tmp_path, monkeypatch
) -> None:
    optimisers = []

    def arranged(*arguments: Any) -> torch.optim.Optimizer:
        made = layouts.arrange(*arguments)
        optimisers.append(weakref.ref(made))
        return made

    monkeypatch.setattr(loop, "arrange", arranged)
    made = training(backbone, table, codes, tmp_path, recipe(*THREE, anchor=0.1))
    made.run()
    assert len(optimisers) == 3 and not any(one() for one in optimisers)
    assert all(p.grad is None for p in made.model.parameters())
    assert not [value for held in (made.best, made.anchors) for value in held.values()]


def test_a_checkpoint_holds_no_code(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Interrupted):
        training(backbone, table, codes, tmp_path, recipe(), ticket=Stopper(5)).run()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


# --- what is frozen stays frozen --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "bottom", "moves"),
    [
        (TOP, 0, lambda name, norms: name.startswith(("blocks.2.", "norm."))),
        (ALL, 1, lambda name, norms: not name.startswith("columns.")),
        (Layout((1e-2,) * 4, 1e-2, "norms"), 0, lambda name, norms: name in norms),
    ],
    ids=["top", "frozen bottom", "norms"],
)
def test_only_what_the_layout_opens_moves_or_costs(backbone, table, codes, tmp_path, layout, bottom, moves) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe(layout, epochs=2), frozen_bottom=bottom)
    before = state(made)
    made._let_go = lambda: None
    made.run()
    changed = {n.removeprefix("backbone.core.") for n, v in state(made).items() if not torch.equal(v, before[n])}
    norms = backbone.norm_parameters()
    expected = {n for n, _ in made.model.backbone.core.named_parameters() if moves(n, norms)}
    seldom = {n for n in expected if "missing" in n}  # the vector of a missing value, where none is missing
    assert changed - {"head.weight", "head.bias"} == expected - seldom
    open_ones = {id(p) for p in made.model.parameters() if p.requires_grad}
    assert {id(p) for p in made.optimiser.state} <= open_ones
    assert all(p.grad is None for p in made.model.parameters() if not p.requires_grad)


def test_the_best_weights_are_of_one_moment_even_when_later_phases_open_more(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    ruinous = Layout((0.5,) * 4, 0.5)
    made = training(backbone, table, codes, tmp_path, recipe(TOP, ruinous, epochs=8))
    before = state(made)
    fitted = made.run()
    assert fitted.curve[-1]["validation_loss"] > fitted.least
    lower = [n for n in before if n.startswith("backbone.core.blocks.0.")]
    assert lower and all(torch.equal(state(made)[n], before[n]) for n in lower)
    raw = loop.predict(made.model, made.feed, made.rows.validation, made.place)
    each = made.loss(raw, made.rows.targets[made.rows.validation], {}) * made.rows.weights[made.rows.validation]
    again = float(each.sum() / made.rows.weights[made.rows.validation].sum())
    assert again == pytest.approx(fitted.least, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "known", "learns"), [(8, True, False), (16, True, True), (8, False, True)],
    ids=["small batches", "sound batches", "new network"],
)  # fmt: skip
def test_batch_statistics_are_learnt_on_sound_batches_or_where_there_are_none(  # type: ignore[no-untyped-def]
    backbone, table, codes, tmp_path, size, known, learns
) -> None:
    with_norm = backbone.twin()
    with_norm.core.norm = nn.BatchNorm1d(128)
    with_norm.core.norm.running_mean.fill_(0.25 * known)
    with_norm.find_stages()
    made = training(with_norm, table, codes, tmp_path, recipe(epochs=1, batch_size=size))
    made.run()
    assert bool((made.model.backbone.core.norm.running_mean != 0.25 * known).any()) == learns


def test_from_the_cached_boundary_comes_what_the_whole_network_gives(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = training(backbone, table, codes, tmp_path / "w", recipe(TOP, epochs=3))
    tail = training(backbone, table, codes, tmp_path / "t", recipe(TOP, epochs=3), boundary=3)
    whole.run(), tail.run()
    rows = np.arange(100, 120)
    one, two = (loop.predict(made.model, made.feed, rows, made.place) for made in (whole, tail))
    assert torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("anchor", [0.0, 0.1])
def test_matrices_decay_unless_they_are_anchored_and_norms_and_biases_never(  # type: ignore[no-untyped-def]
    backbone, table, codes, tmp_path, anchor
) -> None:
    model = training(backbone, table, codes, tmp_path, recipe()).model
    optimiser = layouts.arrange(model, ALL, recipe(anchor=anchor, weight_decay=0.1), 1.0, 0)
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays.keys() == {id(p) for p in model.parameters()}
    for name, parameter in model.named_parameters():
        decaying = parameter.dim() > 1 and not (anchor and name.startswith("backbone."))
        assert decays[id(parameter)] == (0.1 if decaying else 0.0), name


def test_l2_sp_stays_nearer_to_the_source(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    far = []
    for anchor in (0.0, 10.0):
        made = training(backbone, table, codes, tmp_path / str(anchor), recipe(anchor=anchor, weight_decay=0.0))
        start = {n: p.detach().clone() for n, p in made.model.backbone.named_parameters()}
        made.run()
        far.append(loop.pull(made.model, start).item())
    assert far[1] < far[0] / 2


@pytest.mark.parametrize("stop", [None, 13])
def test_wise_ft_ends_between_where_it_began_and_where_tuning_ended(backbone, table, codes, tmp_path, stop) -> None:  # type: ignore[no-untyped-def]
    plain = training(backbone, table, codes, tmp_path / "plain", recipe())
    began = state(plain)
    plain.run()
    made = training(backbone, table, codes, tmp_path / "wise", recipe(tuned=0.3), ticket=Stopper(stop))
    if stop:
        with pytest.raises(Interrupted):
            made.run()
        made = training(backbone, table, codes, tmp_path / "wise", recipe(tuned=0.3))
    made.run()
    for name, tuned in state(plain).items():
        assert torch.allclose(state(made)[name], 0.7 * began[name] + 0.3 * tuned, atol=1e-6), name


# --- when it ends, and what it looks at -------------------------------------------------------------------------------


class Counting(layouts.Tuned):
    """A model that notes how many rows it computes at once, in training and when it is only looked at."""

    at_once: list[int]
    looked_at: list[int]

    def forward(self, batch: Any, *others: Any) -> torch.Tensor:
        (self.at_once if self.training else self.looked_at).append(len(next(iter(batch.values()))))
        return super().forward(batch, *others)


@pytest.mark.parametrize("anchor", [0.0, 0.1])
def test_a_batch_in_parts_takes_the_step_of_the_whole(backbone, table, codes, tmp_path, anchor) -> None:  # type: ignore[no-untyped-def]
    steps = {}
    for part in (0, 3, 8, 100):
        asked = recipe(Layout((1e-3,) * 4, 1e-2), epochs=1, rows_at_once=part, anchor=anchor)
        made = training(backbone, table, codes, tmp_path / str(part), asked)
        made.model.__class__, made.model.at_once, made.model.looked_at = Counting, [], []
        for module in made.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # masks are drawn part by part
        fitted = made.run()
        trained = made.model.at_once
        assert sum(trained) == 80 and max(trained) == (3 if part == 3 else 8)
        assert max(made.model.looked_at) == (10 if part == 3 else 30), "of 30 rows, four at most for one trained on"
        steps[part] = fitted.train_loss, state(made)
    loss, whole = steps.pop(0)
    for part, (other, weights) in steps.items():
        assert other == pytest.approx(loss, rel=1e-4), part
        assert all(torch.allclose(weights[name], whole[name], atol=2e-5) for name in whole), part


def test_it_stops_when_the_validation_loss_no_longer_falls(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0).permutation(codes)
    made = training(backbone, table, random, tmp_path, recipe(epochs=200, patience=2))
    fitted = made.run()
    assert fitted.stopped_early and fitted.steps < 200 * 10
    assert fitted.curve[-1]["validation_loss"] > fitted.least


def test_a_phase_that_gets_nowhere_hands_over_to_the_next(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    idle = Layout((0.0, 0.0, 0.0, 1e-12), 1e-12)
    made = training(backbone, table, codes, tmp_path, recipe(idle, ALL, epochs=40, patience=1))
    first = made.model.backbone.core.state_dict()["blocks.0.widen.weight"].clone()
    assert made.run().phase == 1
    assert not torch.equal(first, made.model.backbone.core.state_dict()["blocks.0.widen.weight"])


def test_without_validation_rows_it_goes_on_to_the_end(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe(epochs=3, patience=1, min_steps=45), held=0)
    fitted = made.run()
    assert fitted.steps == 50 and not fitted.stopped_early
    assert all("validation_loss" not in point for point in fitted.curve)


@pytest.mark.parametrize("rows", [16, 17, 33, 34])
def test_a_row_that_joins_another_batch_costs_no_steps_and_no_end_of_the_schedule(  # type: ignore[no-untyped-def]
    backbone, table, codes, tmp_path, rows
) -> None:
    made = training(backbone, table, codes, tmp_path, recipe(epochs=4, min_steps=40, batch_size=16), held=0)
    made.rows = training_rows.Rows(np.arange(rows), np.zeros(0, np.int64), made.rows.targets, made.rows.weights)
    made._let_go = lambda: None  # its optimiser is looked at
    fitted = made.run()
    (factor,) = {group["lr"] / group["initial_lr"] for group in made.optimiser.param_groups}
    assert 40 <= fitted.steps < 43 and factor < 0.03, "it falls to nothing"


def test_the_probes_solution_is_a_candidate_that_tuning_must_beat(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    good = training(backbone, table, codes, tmp_path / "good", recipe(epochs=20))
    good.run()
    ruinous = recipe(Layout((0.3,) * 4, 0.3), epochs=3, head_start="probe")
    made = training(backbone, table, codes, tmp_path, ruinous)
    made.model.load_state_dict(good.model.state_dict())
    before = state(made)
    fitted = made.run()
    assert fitted.least < min(point["validation_loss"] for point in fitted.curve)
    assert same(before, state(made))


def test_no_row_beyond_its_own_is_ever_read(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe())
    made.run()
    assert set(np.concatenate(made.feed.seen).tolist()) == set(range(110))  # type: ignore[attr-defined]


def test_steps_take_the_threads_of_their_place_and_give_them_back(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.set_num_threads(2)
    seen: list[int] = []
    run = training(backbone, table, codes, tmp_path, recipe(epochs=1), threads=1)
    run.told = lambda facts: seen.append(torch.get_num_threads())
    run.run()
    assert seen == [1] and torch.get_num_threads() == 2


def test_rare_classes_weigh_as_much_as_frequent_ones() -> None:
    codes = np.array([0] * 90 + [1] * 10 + [2])
    weights = training_rows.balance(codes, np.arange(100)).numpy()
    assert weights[:90].sum() == pytest.approx(weights[90:100].sum()) == pytest.approx(50)
    assert weights[100] == 1


def test_a_row_of_a_rare_class_stands_in_an_epoch_as_often_as_it_weighs(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rare = np.where(np.arange(len(codes)) % 20 == 0, 1, 0)  # 4 of 80 rows weigh 10 times the mean
    run = training(backbone, table, rare, tmp_path, recipe())
    order = np.concatenate(run.batches())
    seen = np.bincount(order, minlength=80)
    assert set(seen[rare[:80] == 1]) == {10} and set(seen[rare[:80] == 0]) == {1}
    each = run.rows.weights[order] / torch.from_numpy(run.rows.times[order])
    assert each.max() <= 2 and each.sum().item() == pytest.approx(80), "classes still count the same"
    run.run()
    assert run.at.steps == len(run.batches()) * run.at.epoch


def test_every_row_comes_once_an_epoch_in_batches_of_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    rows = np.arange(0, 1000, 2)[:481]
    found = training_rows.batches(rows, lengths, 16, 3, 5)
    assert sorted(np.concatenate(found).tolist()) == rows.tolist()
    assert min(map(len, found)) > 1, "statistics of one row are none"
    spread = np.mean([np.ptp(lengths[batch]) for batch in found])
    assert spread < 25 < np.ptp(lengths)
    again, other = training_rows.batches(rows, lengths, 16, 3, 5), training_rows.batches(rows, lengths, 16, 3, 6)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found, other, strict=True))
    assert [len(batch) for batch in training_rows.batches(rows[:1], lengths, 16, 0, 0)] == [1]


def test_rates_rise_and_then_fall_to_nearly_nothing() -> None:
    factors = [layouts.schedule(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert factors[10:] == sorted(factors[10:], reverse=True) and 0 < factors[-1] < 0.02
    assert layouts.schedule(0, 1, 0.1) == 1.0


def test_of_the_rates_tried_the_best_so_far_is_held_and_nothing_else(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    models, least = list[weakref.ref[nn.Module]](), []

    def begin(k: int, multiplier: float) -> loop.Training:
        assert sum(model() is not None for model in models) < 2, "the best so far"
        asked = recipe(epochs=2)
        made = training(backbone, table, codes, tmp_path / str(k), asked)
        made.multiplier = multiplier
        models.append(weakref.ref(made.model))
        return made

    def run(made: loop.Training) -> loop.Fitted:
        least.append(made.run().least)
        return made.at

    best = loop.best_of((1e-3, 3.0, 1e-2, 3.0), begin, run)
    assert len(least) == 4 and least[1] == least[3] == min(least), "that of the largest steps"
    assert best.at.least == min(least) and best.model is models[1](), "the first of equal ones"


def test_rows_are_looked_at_in_the_batches_of_a_sweep(backbone, table, codes, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    made = training(backbone, table, codes, tmp_path, recipe())
    wanted = np.arange(100)
    whole = loop.predict(made.model, made.feed, wanted, made.place)
    monkeypatch.setattr("tltools.engine.autotune.TABLE_ROWS", 7)
    made.feed.seen.clear()
    few = loop.predict(made.model, made.feed, wanted, made.place)
    assert max(map(len, made.feed.seen)) == 7, "what is made for long texts and large pictures holds here as well"
    assert torch.allclose(few, whole, atol=1e-6)


def test_without_validation_rows_one_rate_is_tried(backbone, table, codes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    begun = list[float]()

    def begin(k: int, multiplier: float) -> loop.Training:
        begun.append(multiplier)
        return training(backbone, table, codes, tmp_path / str(k), recipe(epochs=1), held=0)

    assert loop.best_of((1.0, 1 / 3, 3.0), begin, lambda made: made.run()).at.steps == 10
    assert begun == [1.0]
