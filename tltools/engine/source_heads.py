"""The head that a source was trained with: what it says of a dataset's rows as it is, before any of them is learnt."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from tltools import sources
from tltools.engine import device as devices
from tltools.engine import heads, weights
from tltools.engine.backbone import Backbone, load_backbone
from tltools.fits import class_places
from tltools.home import Home
from tltools.judging import ranking
from tltools.records import Dataset, Refusal, Source, refuse
from tltools.tasks import row_classes, tasks

Array = NDArray[Any]


def examine(
    home: Home, dataset: Dataset, backbone: Backbone, read: Callable[[Backbone], Array], codes: Array
) -> dict[str, Any]:
    """What a ranking row tells of the source's own head, and in `own_head` in words; "" where it has none that could be
    asked, or the dataset has no classes of rows.

    read: a backbone -> (n, D) what it pools of the labelled rows, codes: (n,) their classes. `leep` is the mean
    log-probability of the true class when all that is known of a row is what the head says of it (Nguyen et al., ICML
    2020), at most 0, and `leep_floor` that of the classes' shares alone. Where the head knows all classes of the
    dataset by name, `as_it_is` is its balanced accuracy among these: what the source is worth with no label at all.
    """
    names, source = row_classes(dataset), backbone.source
    if not names or len(np.unique(codes)) < 2:
        return {"own_head": ""}
    if source.classifies:
        try:
            backbone = load_backbone(home, sources.as_whole(source)).to(devices.best().name)
        except Refusal as refusal:
            return {"own_head": f"Its own head was not asked: {refusal.problems[0].what}"}
    features = read(backbone)
    head = _of(home, backbone, features.shape[1])
    if head is None:
        return {"own_head": ""}
    said = head.outputs(features)
    shares = np.bincount(codes)[np.unique(codes)] / len(codes)
    found: dict[str, Any] = {
        "leep": round(ranking.leep(said, codes), 6),
        "leep_floor": round(float((shares * np.log(shares)).sum()), 6),
    }
    if source.continues and source.trained_on != dataset.id:
        right = _only(head, source, names).raw(features).argmax(1)
        found["as_it_is"] = round(ranking.balanced_accuracy(codes, right), 6)
    return found | {"own_head": _sentence(found, len(codes), _unasked(source, names))}


def of_classes(home: Home, backbone: Backbone, names: Sequence[str]) -> heads.Head:
    """The head of a source for some of the classes that it knows, in their order.

    Raises: Refusal when it has no head that reads what its backbone pools.
    """
    head = _of(home, backbone, backbone.width)
    if head is None:
        raise refuse(backbone.source.id, "has no head of its own that could be asked.", "Leave zero_shot out.")
    return _only(head, backbone.source, names)


def _unasked(source: Source, names: Sequence[str]) -> str:
    """Why a head is not asked for classes of these names, as a sentence; "" where it could be, or nothing is known."""
    if source.classifies and not source.classes_seen:
        return (
            "Its config.json only counts its classes (LABEL_0, LABEL_1), and which of them is which of yours is not "
            "guessed, so it is not asked as it is; say their names where you add its folder (--classes A,B)."
        )
    lacking = [name for name in names if class_places(source.classes_seen, [name]) is None]
    if not source.classes_seen or not lacking:
        return ""
    return f"It does not know {', '.join(lacking[:4])} by name, so it is not asked as it is."


def _sentence(row: dict[str, Any], rows: int, unasked: str) -> str:
    """The findings of `examine` in words; rows: labelled ones that they rest on."""
    told = (row["leep"] - row["leep_floor"]) / -row["leep_floor"]
    said = f"What its own head says tells {100 * max(told, 0):.0f} % of what there is to know of your classes (LEEP)."
    if "as_it_is" not in row:
        return f"{said} {unasked}".rstrip()
    return (
        f"It knows your classes: as it is, without any of your labels, its own head is right on "
        f"{100 * row['as_it_is']:.1f} % of {rows:,} labelled rows (balanced accuracy). {said}"
    )


def _only(head: heads.Head, source: Source, names: Sequence[str]) -> heads.Head:
    """The head for some of its source's classes, in the order of `names`."""
    places = class_places(source.classes_seen, names)
    assert places is not None, "or the source would not continue"
    return replace(head, weight=head.weight[list(places)], bias=head.bias[list(places)])


def _of(home: Home, backbone: Backbone, width: int) -> heads.Head | None:
    """The linear classifier of a source, if its file has one that reads `width` features; where these are the logits of
    a whole network, each of them as it is."""
    source = backbone.source
    if source.classifies:
        zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
        as_said = np.eye(width, dtype=np.float32), zero, zero, one
        return heads.Head(*as_said, temperature=1.0, strength=math.nan, loo_score=math.nan)
    folder = sources.fetch(home, source)
    if source.provider == "own":
        task = json.loads((folder / "card.json").read_text())["task"]
        path, name = folder / "model.safetensors", "head" if tasks()[task].closed_form == "classes" else None
    elif source.family == "timm" and source.pretrained:
        facts: Any = backbone.core.default_cfg
        path, name = weights.weights_file(folder), facts.get("classifier")
    else:
        return None
    with safe_open(path, "pt") as file:
        here = set(file.keys())
        if not isinstance(name, str) or not {f"{name}.weight", f"{name}.bias"} <= here:
            return None

        def tensor(part: str, usual: float) -> Array:
            found = file.get_tensor(f"{name}.{part}").float().numpy() if f"{name}.{part}" in here else None
            return np.full(1, usual, np.float32) if found is None else found

        weight = tensor("weight", 0)
        weight = weight.reshape(len(weight), -1)  # of a convolution over one place
        if weight.shape[1] != width:
            return None
        return heads.Head(
            weight, tensor("bias", 0), tensor("mean", 0), tensor("scale", 1),
            temperature=float(tensor("temperature", 1)[0]), strength=math.nan, loo_score=math.nan,
        )  # fmt: skip
