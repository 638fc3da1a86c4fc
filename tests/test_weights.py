"""Weights files that lie, overlap, hide a pickle or do not fit: each is refused in a sentence, nothing half loads."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors.torch import save_file
from torch import nn

from tltools.engine import weights
from tltools.records import Refusal


def write(path: Path, entries: dict[str, Any] | str, content: bytes, *, claimed: int | None = None) -> Path:
    """A safetensors file from its parts, sound or not."""
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    path.write_bytes(struct.pack("<Q", len(text) if claimed is None else claimed) + text + content)
    return path


def entry(begin: int, end: int, *, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def refusal(path: Path) -> str:
    with pytest.raises(Refusal) as refused:
        weights.header(path)
    (problem,) = refused.value.problems
    return problem.sentence()


# --- the header ----------------------------------------------------------------------------------------------------


def test_the_header_of_a_saved_model_is_read(tmp_path: Path) -> None:
    tensors = {
        "a.weight": torch.zeros(3, 4),
        "a.steps": torch.zeros((), dtype=torch.int64),
        "b": torch.zeros(0, 5, dtype=torch.bfloat16),
    }
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    assert weights.header(tmp_path / "m.safetensors") == {
        "a.weight": ("F32", (3, 4)),
        "a.steps": ("I64", ()),
        "b": ("BF16", (0, 5)),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spaces=some.integers(0, 20_000))
def test_a_sound_file_is_never_taken_for_a_pickle_whatever_the_length_of_its_header(
    tmp_path: Path, spaces: int
) -> None:
    text = json.dumps({"a": entry(0, 8)}) + " " * spaces
    assert weights.header(write(tmp_path / "m.safetensors", text, bytes(8))) == {"a": ("F32", (2,))}


@pytest.mark.parametrize("length", [0x80, 0x180, 0x280, 0x480, 0x4B50])
def test_header_lengths_that_begin_like_a_pickle_or_zip_are_read(tmp_path: Path, length: int) -> None:
    text = json.dumps({"a": entry(0, 8)}).ljust(length)
    assert len(text) == length
    assert weights.header(write(tmp_path / "m.safetensors", text, bytes(8))) == {"a": ("F32", (2,))}


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    one = json.dumps(entry(0, 8))
    path = write(tmp_path / "m.safetensors", f'{{"a": {one}, "a": {one}}}', bytes(8))
    assert "a key stands twice" in refusal(path)


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {"a": entry(0, 8), "b": entry(4, 12)}, bytes(12))
    assert "tensors overlap" in refusal(path)


@pytest.mark.parametrize(
    ("entries", "content"),
    [({"a": entry(0, 8), "b": entry(12, 20)}, 20), ({"a": entry(0, 8)}, 16), ({"a": entry(8, 16)}, 16)],
    ids=["between", "after", "before"],
)
def test_bytes_that_belong_to_no_tensor_are_refused(tmp_path: Path, entries: dict[str, Any], content: int) -> None:
    assert "belong to no tensor" in refusal(write(tmp_path / "m.safetensors", entries, bytes(content)))


@pytest.mark.parametrize(
    "lie",
    [
        entry(0, 80),
        entry(8, 0),
        entry(-8, 0),
        entry(0, 4),
        entry(0, 8, shape=(3,)),
        entry(0, 8, shape=(-2, -1)),
        entry(0, 8, shape=(2.5,)),
        entry(0, 8, shape="2"),
        entry(0, 8, dtype="F8_MAGIC"),
        entry(0, 8, dtype=["F32"]),
        entry(0.0, 8.0),
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0]},
        [0, 8],
        "text",
        None,
    ],
    ids=str,
)
def test_a_tensor_whose_place_or_shape_is_a_lie_is_refused_by_name(tmp_path: Path, lie: Any) -> None:
    path = write(tmp_path / "m.safetensors", {"liar": lie}, bytes(8))
    assert "'liar' does not fit the file" in refusal(path)


@pytest.mark.parametrize("claimed", [2**63, 1_000_001, 10_000])
def test_a_header_longer_than_the_file_or_the_limit_is_refused_unread(tmp_path: Path, claimed: int) -> None:
    path = write(tmp_path / "m.safetensors", {"a": entry(0, 8)}, bytes(8), claimed=claimed)
    assert f"its header claims {claimed} bytes" in refusal(path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '"x"', "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\xed\xa0\x80"],
    ids=["cut", "list", "string", "deep", "number", "bytes"],
)  # fmt: skip
def test_a_header_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    assert "header" in refusal(write(tmp_path / "m.safetensors", text, b""))


def test_a_header_in_another_encoding_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"a": entry(0, 8)}).encode("utf-16")
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert "header cannot be read" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 20, -1])
def test_a_cut_file_is_refused(tmp_path: Path, kept: int) -> None:
    save_file({"a": torch.ones(5)}, tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole[:kept])
    assert "is not a sound safetensors file" in refusal(tmp_path / "m.safetensors")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=some.integers(0, 200), value=some.integers(0, 255))
def test_one_changed_byte_is_refused_or_leaves_a_file_that_the_library_loads(
    tmp_path: Path, place: int, value: int
) -> None:
    from safetensors.torch import load_file

    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(5), "b": torch.zeros(2, 3)}, path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        found = weights.header(path)
    except Refusal:
        return
    assert {name: tuple(tensor.shape) for name, tensor in load_file(path).items()} == {
        name: shape for name, (_, shape) in found.items()
    }


# --- pickles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.bin", "m.pt", "m.PTH", "m.ckpt", "m.pkl", "m.joblib", "m.npy"])
def test_pickle_formats_are_refused_by_name(tmp_path: Path, name: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / name)
    assert "pickle checkpoints can run code" in refusal(tmp_path / name)
    assert "save_file" in refusal(tmp_path / name)


def _torch_file() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(1)}, stream)
    return stream.getvalue()


def _empty_zip() -> bytes:
    stream = io.BytesIO()
    zipfile.ZipFile(stream, "w").close()
    return stream.getvalue()


def _numpy_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [*[pickle.dumps({"a": 1}, protocol=p) for p in (2, 3, 4, 5)], _torch_file(), _empty_zip(), _numpy_file()],
    ids=["pickle2", "pickle3", "pickle4", "pickle5", "torch", "zip", "numpy"],
)
def test_a_pickle_under_another_name_is_known_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    assert "pickle checkpoints can run code" in refusal(tmp_path / "m.safetensors")


# --- loading ---------------------------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_weights_that_fit_are_loaded_whole(tmp_path: Path) -> None:
    given_, wanted = network(), network()
    nn.init.ones_(given_[0].weight)
    save_file(given_.state_dict(), tmp_path / "m.safetensors")
    weights.load(wanted, tmp_path / "m.safetensors", "local/m")
    assert torch.equal(wanted[0].weight, torch.ones(4, 3))


@pytest.mark.parametrize("wrapper", ["module.", "model._orig_mod.", "0."])
def test_the_names_of_a_wrapper_are_taken_off(tmp_path: Path, wrapper: str) -> None:
    path, tensors = tmp_path / "m.safetensors", network().state_dict()
    save_file({wrapper + name: value for name, value in tensors.items()}, path)
    weights.unwrap(path, tensors)
    weights.load(fresh := network(), path, "local/m")
    assert all(torch.equal(value, tensors[name]) for name, value in fresh.state_dict().items())


def test_a_file_without_a_wrapper_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(network().state_dict(), path)
    before = path.read_bytes()
    weights.unwrap(path, network().state_dict())
    assert path.read_bytes() == before


def test_a_classifier_of_the_source_task_may_be_left_over_and_a_step_counter_may_be_missing(tmp_path: Path) -> None:
    tensors = {**network().state_dict(), "head.weight": torch.zeros(10, 4), "classifier.bias": torch.zeros(10)}
    del tensors["1.num_batches_tracked"]
    save_file(tensors, tmp_path / "m.safetensors")
    weights.load(network(), tmp_path / "m.safetensors", "local/m")


def test_every_tensor_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    tensors = {**network().state_dict(), "0.bias": torch.zeros(9), "surplus": torch.zeros(1)}
    tensors["0.weight"] = torch.full((4, 3), 7.0)
    del tensors["1.weight"]
    save_file(tensors, tmp_path / "m.safetensors")
    wanted = network()
    before = {key: value.clone() for key, value in wanted.state_dict().items()}
    with pytest.raises(Refusal) as refused:
        weights.load(wanted, tmp_path / "m.safetensors", "local/m")
    told = [problem.what for problem in refused.value.problems]
    assert told == [
        "lacks 1 tensors: 1.weight.",
        "has unexpected 1 tensors: surplus.",
        "has 1 tensors of another shape: 0.bias must be (4,), got (9,).",
    ]
    assert all(torch.equal(value, before[key]) for key, value in wanted.state_dict().items())


def test_a_long_list_of_missing_tensors_is_cut_and_counted() -> None:
    (problem,) = weights.compare({f"t{i}": (1,) for i in range(30)}, {}, "m")
    assert problem.what.startswith("lacks 30 tensors: t0, t1,")
    assert problem.what.endswith("and 22 more.")
