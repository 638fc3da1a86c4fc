"""Weights files: the header is read by us before any library, and nothing is loaded that does not fit whole."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

from torch import nn

from tltools import own_weights
from tltools.records import Problem, Refusal, refuse

HEADER_LIMIT = 1_000_000  # bytes; the library allows 100 MB
TENSOR_LIMIT = 20_000
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}


def header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a safetensors file: {name: (dtype, shape)}; every offset is checked.

    Raises:
        Refusal: not safetensors, too large a header, duplicate keys, overlapping or missing bytes.
    """
    own_weights.refuse_pickle(path)
    size = path.stat().st_size

    def bad(what: str) -> Refusal:
        return refuse(path.name, f"is not a sound safetensors file: {what}.", "Save the model again with safetensors.")

    with open(path, "rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise bad(f"it has {len(start)} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > min(HEADER_LIMIT, size - 8):
            raise bad(f"its header claims {length} bytes")
        text = file.read(length)
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise bad(f"its header cannot be read ({error})") from error
    if not isinstance(entries, dict) or len(entries) > TENSOR_LIMIT:
        raise bad("its header is not a table of at most 20,000 tensors")
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans = []
    content = size - 8 - length
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if not _sound(entry, content):
            raise bad(f"tensor {name!r} does not fit the file")
        found[name] = (entry["dtype"], tuple(entry["shape"]))
        spans.append(tuple(entry["data_offsets"]))
    reached = 0
    for begin, end in sorted(spans):
        if begin < reached:
            raise bad("tensors overlap")
        if begin > reached:
            raise bad(f"the bytes from {reached} to {begin} belong to no tensor")
        reached = end
    if reached < content:
        raise bad(f"the bytes from {reached} to {content} belong to no tensor")
    return found


def _sound(entry: Any, content: int) -> bool:
    """Whether an entry's dtype, shape and place are well-formed, agree, and lie within the file's `content` bytes."""
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = isinstance(shape, list) and all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        return whole and begin <= end <= content and math.prod(shape) * BITS[kind] // 8 == end - begin
    except (KeyError, TypeError, ValueError):
        return False


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def compare(wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]], name: str) -> list[Problem]:
    """Lists what does not fit between a network's tensors and a file's: missing, unexpected, other shapes."""
    remedy = "Choose the architecture that these weights were made for."
    problems = []
    for what, keys in (
        ("lacks", sorted(set(wanted) - set(given))),
        ("has unexpected", sorted(set(given) - set(wanted))),
    ):
        if keys:
            shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
            problems.append(
                Problem(severity="error", where=name, what=f"{what} {len(keys)} tensors: {shown}.", remedy=remedy)
            )
    shapes = [
        f"{key} must be {wanted[key]}, got {given[key]}"
        for key in sorted(set(wanted) & set(given))
        if tuple(wanted[key]) != tuple(given[key])
    ]
    if shapes:
        what = f"has {len(shapes)} tensors of another shape: {'; '.join(shapes[:8])}."
        problems.append(Problem(severity="error", where=name, what=what, remedy=remedy))
    return problems


# of the source task; Inception has a second one
HEADS = ("classifier.", "head.", "fc.", "head_dist.", "heads.", "last_linear.", "logits.", "AuxLogits.")


def load(network: nn.Module, path: Path, name: str) -> None:
    """Loads a whole weights file into a network, or nothing of it. A classifier of the source task may be left over.

    Raises:
        Refusal: every key that does not fit.
    """
    from safetensors.torch import load_file

    given = {key: shape for key, (_, shape) in header(path).items()}
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    optional = {key for key in wanted if key.endswith("num_batches_tracked")} - set(given)
    extra = {key for key in set(given) - set(wanted) if key.startswith(HEADS)}
    problems = compare(
        {key: shape for key, shape in wanted.items() if key not in optional},
        {key: shape for key, shape in given.items() if key not in extra},
        name,
    )
    if problems:
        raise Refusal(*problems)
    tensors = {key: value for key, value in load_file(path).items() if key not in extra}
    network.load_state_dict(tensors, strict=not optional)


def unwrap(path: Path, wanted: Collection[str]) -> None:
    """Takes off what a wrapper put before every name of a weights file (`module.` of DataParallel, `model.` of
    Lightning, `_orig_mod.` of torch.compile), so that it holds those of the network, `wanted`."""
    from safetensors.torch import load_file, save_file

    names = list(header(path))
    shared = commonprefix(names)
    before = ["", *(shared[: place + 1] for place, letter in enumerate(shared) if letter == ".")]
    best = max(before, key=lambda one: sum(name.removeprefix(one) in wanted for name in names))
    if best:
        save_file({name.removeprefix(best): value for name, value in load_file(path).items()}, path)


def weights_file(folder: Path) -> Path:
    """The one safetensors file of a source folder, or the index of a sharded one is refused by name."""
    found = sorted(folder.glob("*.safetensors"))
    named = found if len(found) == 1 else [path for path in found if path.name == "model.safetensors"]
    if named:
        return named[0]
    raise refuse(str(folder), f"must hold one .safetensors file; found {len(found)}.", "Save the model as one file.")


def pretrained(folder: Path, config: Any, source_id: str, apart: Sequence[str], kind: Any = None) -> nn.Module:
    """A transformers network with the weights of a local folder, float32; no code of the folder is run.

    apart: words in the names of tensors that belong to another task, and may be missing; kind: one of the library's
    automatic classes, `AutoModel` where none is given.

    Raises:
        Refusal: other tensors are missing, which the library would draw at random.
    """
    from transformers import AutoModel

    weights_file(folder)
    core, report = (kind or AutoModel).from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    other = {key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]}  # drawn at random as well
    lacking = sorted(key for key in {*report["missing_keys"], *other} if not any(word in key for word in apart))
    if lacking:
        shaped = " (there in another shape)" if other & set(lacking) else ""
        what = f"lacks {len(lacking)} tensors of {config.model_type}, among them {', '.join(lacking[:3])}{shaped}."
        raise refuse(source_id, what, "Save the model with `save_pretrained` and add it again.")
    network: nn.Module = core.float()
    return network
