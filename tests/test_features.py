"""The feature store: each row once, whoever asks; what a crash or a bad disk leaves behind is never served."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_backbone import FakeBackbone
from hypothesis import given, settings
from hypothesis import strategies as st

from tltools import costs
from tltools.engine import autotune, blocks, device, heads
from tltools.engine.features import TOLERANCE, FeatureStore
from tltools.home import Home, open_home
from tltools.records import Refusal


def texts(n: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list("abcdefgh"), random.integers(1, 30))) + str(i) for i in range(n)]


def keys_of(items: list[str]) -> list[bytes]:
    return [hashlib.sha256(item.encode()).digest() for item in items]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measuring: 32-bit floats everywhere."""
    monkeypatch.setattr(autotune, "choose", lambda backbone, encoded, memory=None, **_: autotune.PLAIN)


pytestmark = pytest.mark.usefixtures("plain")


@pytest.mark.parametrize("reads", ["text", "image"])
def test_every_row_is_computed_once_and_found_in_any_order(home: Home, reads: str) -> None:
    items, backbone = texts(50), FakeBackbone(reads)
    encoded, keys = backbone.encode(items), keys_of(items)
    store = FeatureStore(home)
    rows = np.random.default_rng(0).permutation(50)
    first = store.pooled(backbone, encoded, keys, rows)
    with torch.inference_mode():
        for row, vector in zip(rows, first, strict=True):
            np.testing.assert_allclose(vector, backbone(encoded.take([row]))[0].numpy(), atol=1e-5)
    assert store.rows_computed == 50
    again = FeatureStore(home)
    np.testing.assert_array_equal(again.pooled(backbone, fail, keys, np.arange(50)), first[np.argsort(rows)])
    assert again.rows_computed == 0


def fail() -> None:
    raise AssertionError("nothing should have to be encoded")


def test_only_new_contents_are_computed(home: Home) -> None:
    items, backbone = texts(40), FakeBackbone()
    store = FeatureStore(home)
    store.pooled(backbone, backbone.encode(items), keys_of(items), np.arange(40))
    longer = texts(4, seed=9) + items + ["new", "new", "new"]
    store.pooled(backbone, backbone.encode(longer), keys_of(longer), np.arange(len(longer)))
    assert store.rows_computed == 40 + 4 + 1  # equal contents once


def test_other_weights_or_kinds_never_share(home: Home) -> None:
    items = texts(10)
    keys, rows, store = keys_of(items), np.arange(10), FeatureStore(home)
    one, two = FakeBackbone(seed=0), FakeBackbone(seed=1)
    assert not np.allclose(
        store.pooled(one, one.encode(items), keys, rows), store.pooled(two, two.encode(items), keys, rows)
    )
    assert store.missing(one, keys, rows, "pooled") == 0
    assert store.missing(one, keys, rows, "layers") == 10
    with torch.no_grad():
        one.two.linear.weight += 1.0  # above the boundary: activations stay valid, pooled vectors do not
    store.boundary(two, two.encode(items), keys, rows, 2)
    assert store.missing(one, keys, rows, "pooled") == 10
    with torch.no_grad():
        two.two.linear.weight += 1.0
    assert store.missing(two, keys, rows, 2) == 0


def test_layers_give_the_columns_of_each_stage(home: Home) -> None:
    items, backbone = texts(12), FakeBackbone()
    encoded = backbone.encode(items)
    wide, columns = FeatureStore(home).layers(backbone, encoded, keys_of(items), np.arange(12))
    assert wide.shape == (12, 24) and columns == (slice(0, 8), slice(8, 16), slice(16, 24))
    with torch.inference_mode():
        np.testing.assert_allclose(
            wide[3, columns[1]], backbone.forward_stages(encoded.take([3]))[1][0].numpy(), atol=1e-5
        )


def test_one_pass_serves_every_kind(home: Home) -> None:
    items, backbone = texts(30), FakeBackbone()
    encoded, keys, rows, store = backbone.encode(items), keys_of(items), np.arange(30), FeatureStore(home)
    assert store.sweep(backbone, encoded, keys, rows, ["pooled", "layers", 1, 2]) == 30
    store.pooled(backbone, fail, keys, rows)
    store.layers(backbone, fail, keys, rows)
    store.boundary(backbone, fail, keys, rows, 1)
    assert store.sweep(backbone, fail, keys, rows, [2, "pooled"]) == 0
    assert store.rows_computed == 30


def test_what_is_expected_is_written_in_the_first_pass(home: Home) -> None:
    items, backbone = texts(30), FakeBackbone()
    encoded, keys, rows, store = backbone.encode(items), keys_of(items), np.arange(30), FeatureStore(home)
    store.expect(backbone, ["layers", 2, 99])
    store.pooled(backbone, encoded, keys, rows)
    store.layers(backbone, fail, keys, rows)
    store.boundary(backbone, fail, keys, rows, 2)
    assert store.rows_computed == 30


def test_what_is_expected_but_does_not_fit_is_let_go(home: Home) -> None:
    items, backbone = texts(300), FakeBackbone()
    store = FeatureStore(home, cache_gb=20e-6)
    store.expect(backbone, [1])
    assert store.pooled(backbone, backbone.encode(items), keys_of(items), np.arange(300)).shape == (300, 8)
    assert store.missing(backbone, keys_of(items), np.arange(300), 1) == 300


@pytest.mark.parametrize("reads", ["text", "image"])
@pytest.mark.parametrize("boundary", [1, 2])
def test_resuming_from_the_boundary_equals_the_whole_pass(home: Home, reads: str, boundary: int) -> None:
    items, backbone = texts(20), FakeBackbone(reads)
    encoded = backbone.encode(items)
    reader = FeatureStore(home).boundary(backbone, encoded, keys_of(items), np.arange(20), boundary)
    rows = np.array([7, 3, 19, 0])
    batch = encoded.take(rows)
    with torch.inference_mode():
        cached = backbone.resume(batch, reader.take(rows), boundary)
        torch.testing.assert_close(cached, backbone(batch), atol=1e-2, rtol=1e-2)
    with pytest.raises(KeyError):
        reader.take(np.array([20]))


def test_predictions_from_cached_and_fresh_features_agree(home: Home) -> None:
    items, backbone = texts(200), FakeBackbone()
    encoded, codes = backbone.encode(items), np.array(["a" in item for item in items], int)
    cached = FeatureStore(home).pooled(backbone, encoded, keys_of(items), np.arange(200))
    with torch.inference_mode():
        fresh = torch.cat([backbone(encoded.take([row])) for row in range(200)]).numpy()
    one = heads.ridge_classifier(cached[:100], codes[:100], 2).outputs(cached[100:])
    two = heads.ridge_classifier(fresh[:100], codes[:100], 2).outputs(fresh[100:])
    assert np.abs(one - two).max() < TOLERANCE["float32"]


class Stop(Exception):
    pass


class StoppingTicket:
    store = None

    def __init__(self, after: int) -> None:
        self.left = after

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stop

    def progress(self, *_: object, **__: object) -> None:
        pass


def test_a_stopped_sweep_goes_on_where_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "TEXT_TOKENS", 100)
    items, backbone = texts(60), FakeBackbone()
    encoded, keys, rows = backbone.encode(items), keys_of(items), np.arange(60)
    with pytest.raises(Stop):
        FeatureStore(home).pooled(backbone, encoded, keys, rows, StoppingTicket(5))
    second = FeatureStore(home)
    left = second.missing(backbone, keys, rows, "pooled")
    assert 0 < left < 60
    second.pooled(backbone, encoded, keys, rows)
    assert second.rows_computed == left


def slowly(root: str, seen: object) -> None:
    """A worker of its own process: reads 40 rows through a backbone that takes its time."""
    home = open_home(root)
    items, backbone = texts(40), FakeBackbone()
    autotune.choose = lambda backbone, encoded, memory=None, **_: autotune.PLAIN
    autotune.TEXT_TOKENS = 60
    forward = backbone.forward
    backbone.forward = lambda batch: (time.sleep(0.02), forward(batch))[1]
    store = FeatureStore(home)
    store.pooled(backbone, backbone.encode(items), keys_of(items), np.arange(40))
    seen.put(store.rows_computed)


def test_two_processes_never_compute_the_same_row(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    seen = context.Queue()
    workers = [context.Process(target=slowly, args=(str(home.root), seen)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [seen.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert sorted(counts) == [0, 40]


def test_a_killed_process_leaves_what_it_wrote(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=slowly_to_death, args=(str(home.root),))
    worker.start()
    worker.join(120)
    assert worker.exitcode == -9
    items, backbone, store = texts(40), FakeBackbone(), FeatureStore(home)
    left = store.missing(backbone, keys_of(items), np.arange(40), "pooled")
    assert 0 < left < 40
    store.pooled(backbone, backbone.encode(items), keys_of(items), np.arange(40))
    assert store.rows_computed == left


def slowly_to_death(root: str) -> None:
    import tltools.engine.sweep as sweep

    sweep.COMMIT_ROWS, sweep.COMMIT_SECONDS = 1, 0.0
    autotune.choose = lambda backbone, encoded, memory=None, **_: autotune.PLAIN
    autotune.TEXT_TOKENS = 60
    items, backbone, calls = texts(40), FakeBackbone(), []
    forward = backbone.forward

    def mortal(batch: object) -> object:
        calls.append(1)
        if len(calls) > 5:
            os.kill(os.getpid(), 9)
        return forward(batch)

    backbone.forward = mortal
    FeatureStore(open_home(root)).pooled(backbone, backbone.encode(items), keys_of(items), np.arange(40))


def the_block(home: Home) -> Path:
    (folder,) = (path.parent for path in home.features.glob("*/block.json"))
    return folder


@pytest.mark.parametrize("damage", ["bit", "short rows", "torn index", "garbage tail"])
def test_damage_on_disk_is_computed_again(home: Home, damage: str) -> None:
    items, backbone = texts(30), FakeBackbone()
    encoded, keys, rows = backbone.encode(items), keys_of(items), np.arange(30)
    whole = FeatureStore(home).pooled(backbone, encoded, keys, rows)
    folder = the_block(home)
    data, index = (folder / "rows.bin").read_bytes(), (folder / "index.bin").read_bytes()
    if damage == "bit":
        (folder / "rows.bin").write_bytes(data[:100] + bytes([data[100] ^ 16]) + data[101:])
    elif damage == "short rows":
        (folder / "rows.bin").write_bytes(data[:-40])
    elif damage == "torn index":
        (folder / "index.bin").write_bytes(index[:-20])
    else:
        (folder / "rows.bin").write_bytes(data + b"\x07" * 13)
        (folder / "index.bin").write_bytes(index + b"\x07" * 13)
    store = FeatureStore(home)
    np.testing.assert_allclose(store.pooled(backbone, encoded, keys, rows), whole, atol=1e-6)
    assert store.rows_computed == {"bit": 1, "short rows": 2, "torn index": 1, "garbage tail": 0}[damage]
    again = FeatureStore(home)
    np.testing.assert_array_equal(again.pooled(backbone, fail, keys, rows), store.pooled(backbone, fail, keys, rows))


def test_the_budget_drops_what_was_used_longest_ago_and_readers_go_on(home: Home) -> None:
    items = texts(300)
    keys, rows = keys_of(items), np.arange(300)
    nets = [FakeBackbone(seed=seed) for seed in range(3)]
    store = FeatureStore(home, cache_gb=60e-6)  # one boundary block of about 40 kB, and a bit
    readers = []
    for net in nets:
        readers.append(store.boundary(net, net.encode(items), keys, rows[:150], 1))
        time.sleep(0.02)
    assert FeatureStore(home).missing(nets[0], keys, rows[:150], 1) == 150
    assert FeatureStore(home).missing(nets[2], keys, rows[:150], 1) == 0
    assert store.bytes_on_disk() <= 60e-6 * 1e9
    batch = nets[0].encode(items).take(rows[:5])
    with torch.inference_mode():
        resumed = nets[0].resume(batch, readers[0].take(rows[:5]), 1)
        torch.testing.assert_close(resumed, nets[0](batch), atol=1e-2, rtol=1e-2)


def test_activations_beyond_the_budget_are_refused(home: Home) -> None:
    items, backbone = texts(300), FakeBackbone()
    with pytest.raises(Refusal, match="cache_gb"):
        FeatureStore(home, cache_gb=1e-6).boundary(backbone, backbone.encode(items), keys_of(items), np.arange(300), 1)


def test_a_block_that_somebody_writes_is_not_evicted(home: Home) -> None:
    items, backbone = texts(20), FakeBackbone()
    FeatureStore(home).pooled(backbone, backbone.encode(items), keys_of(items), np.arange(20))
    name = the_block(home).name
    with blocks.lock(home.features, name):
        assert blocks.evict(home.features, home.trash, down_to=0, keep=set()) == []
    assert blocks.evict(home.features, home.trash, down_to=0, keep=set()) == [name]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.sampled_from(["text", "image", "tabular"]))
def test_batches_hold_every_row_once_within_the_limit(lengths: list[int], reads: str) -> None:
    plan = autotune.batches(reads, np.array(lengths))
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    for part in plan:
        longest = max(lengths[i] for i in part)
        assert len(part) == 1 or reads != "text" or len(part) * longest <= autotune.TEXT_TOKENS


class DictMemory(dict):
    def remember(self, kind: str, key: str, value: dict) -> None:
        self[kind, key] = value

    def recall(self, kind: str, key: str) -> dict | None:
        return self.get((kind, key))


def test_the_setting_is_measured_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backbone, memory = FakeBackbone("image"), DictMemory()
    encoded = backbone.encode(texts(8))
    assert autotune.choose(backbone, None, memory) is autotune.PLAIN
    setting = autotune.choose(backbone, encoded, memory, seconds=0.05)
    passes = backbone.passes
    assert passes > 2 and setting.rows_per_second > 0 and "measured" in setting.reason
    assert autotune.choose(backbone, encoded, memory) == setting and backbone.passes == passes


def test_who_is_far_behind_drops_out_of_the_race_and_close_ones_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=0.1)
    taken = {("float32", False): 3.0, ("float32", True): 1.3, ("bfloat16", False): 1.2, ("bfloat16", True): 1.0}
    runs: list[tuple[str, bool]] = []
    monkeypatch.setattr(autotune.time, "perf_counter", lambda: next(clock))
    assert autotune.race(list(taken), lambda one: runs.append(one) or taken[one], 1.0) == taken
    assert runs.count(("float32", False)) == 2 < runs.count(("float32", True)) == runs.count(("bfloat16", True)) < 20


def test_bf16_is_not_tried_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    plain = dataclasses.replace(device.best("cpu"), bf16=False, reason="the CPU lacks it")
    monkeypatch.setattr(autotune, "best", lambda name: plain)
    backbone = FakeBackbone("image")
    setting = autotune.choose(backbone, backbone.encode(texts(8)), None, seconds=0.05)
    assert setting.precision == "float32" and "bf16 " not in setting.reason.split(";")[0]


@pytest.mark.parametrize(("width", "tried"), [(16, False), (512, True)])
def test_bf16_is_not_tried_on_networks_too_small_to_gain(
    width: int, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a source's numbers have 8 bits or 24 must not be chance."""
    monkeypatch.undo()
    able = dataclasses.replace(device.best("cpu"), bf16=True, reason="it can")
    monkeypatch.setattr(autotune, "best", lambda name: able)
    backbone = FakeBackbone("image")
    layer = torch.nn.Linear(width, width)
    monkeypatch.setattr(backbone, "forward", lambda batch: layer(torch.ones(1024, width)), raising=False)
    setting = autotune.choose(backbone, backbone.encode(texts(8)), None, seconds=0.05)
    assert ("bf16 " in setting.reason.split(";")[0]) == tried == ("too small" not in setting.reason)


def test_a_sweep_tells_estimates_how_fast_it_was(home: Home) -> None:
    items, backbone, memory = texts(80), FakeBackbone(), DictMemory()
    encoded, keys = backbone.encode(items), keys_of(items)
    FeatureStore(home, memory=memory).pooled(backbone, encoded, keys, np.arange(64))
    assert not memory, "whose rows they are is not known"
    more = FeatureStore(home, memory=memory, dataset="d")
    more.pooled(backbone, encoded, keys, np.arange(70))
    assert not memory, "six rows say little"
    more.layers(backbone, encoded, keys, np.arange(80))
    (((kind, key), value),) = memory.items()
    assert (kind, key) == ("rate", costs.rate_key(backbone.source, "d")) and value["rows_per_second"] > 0
