"""transformers backbones from the hub, `hf/<organisation>/<name>`; no code of a repository is ever run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tltools import hub
from tltools.home import Home
from tltools.providers import Provider, Told
from tltools.providers import _curated as curated
from tltools.records import Source, refuse

EXTRACTOR = "preprocessor_config.json"
# fields that only configurations of sound models have: convolutions over waveforms, bands of spectra; and of detectors
HEARS = ("feat_extract_norm", "num_mel_bins")
ASKS = ("num_queries", "num_detection_tokens")
# how the names of architectures end that have kept what they write with
WRITES = ("ForConditionalGeneration", "MTModel", "LMHeadModel", "ForCausalLM")
CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")
NUMBERED = re.compile(r"(label[ _-]?)?\d+", re.IGNORECASE)  # names of classes that only count them
DETECTORS = frozenset(  # model types that serve detection as a whole
    ["conditional_detr", "d_fine", "dab-detr", "deformable_detr", "detr", "rt_detr", "rt_detr_v2", "table-transformer",
     "yolos"]
)  # fmt: skip


def repository(source_id: str) -> str:
    return source_id.removeprefix("hf/")


def card(home: Home, source_id: str) -> Source:
    here = hub.installed(home, source_id)
    if here and here.classes_seen and here.classifies and not _has_head(home, here):  # its configuration only says so
        return here.model_copy(update={"classifies": False, "classes_seen": ()})
    known = here or curated.cards().get(source_id)
    if known:
        return known
    commit, config, names = hub.look(home, repository(source_id))
    extractor = hub.read_json(home, repository(source_id), commit, EXTRACTOR) if EXTRACTOR in names else {}
    return from_config(source_id, "hf", config, extractor).model_copy(update={"revision": commit})


def _has_head(home: Home, source: Source) -> bool:
    """Whether the weights on this machine list a matrix with a row for each class, as every classifier ends in one."""
    from safetensors import safe_open

    with safe_open(hub.folder_of(home, source.id) / "model.safetensors", "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # it is no mapping
    count = len(source.classes_seen)
    return any(len(shape) > 1 and shape[0] == count and "embed" not in name for name, shape in shapes.items())


def from_config(source_id: str, provider: str, config: dict[str, Any], extractor: dict[str, Any]) -> Source:
    """A card from a transformers config.json, and from what its folder says on how sounds or pictures are read.

    Raises:
        Refusal: it asks for code of its own, names no model type, or is a detector, or reads colours in an order, that
            is not read here.
    """
    if "auto_map" in config:
        raise refuse(
            source_id, "asks for code of its own to be run, which tltools never does.", "Choose another model."
        )
    if extractor.get("do_flip_channel_order"):
        what = "reads blue before green and red, which is not done here."
        raise refuse(source_id, what, "Choose the same architecture from timm.")
    if "model_type" not in config:
        raise refuse(
            source_id, "is not a transformers model: its config.json names no model_type.", "Try it as timm/..."
        )
    detects, classes = _detects(source_id, config), _classes(config)
    hears = any(key in config for key in HEARS)
    sees = detects or not hears and ("image_size" in config or "num_channels" in config)
    return Source(
        id=source_id,
        name=source_id.split("/")[-1],
        provider=provider,
        reads="audio" if hears else "image" if sees else "text",
        family="transformers",
        answers="detection" if detects else None,
        architecture=str(config["model_type"]),
        classifies=classes is not None,
        classes_seen=tuple(map(str, (config.get("id2label") or {}).values())) if detects else classes or (),
        image_size=_side(config, extractor) if sees else None,
        mean=_channels(extractor, "image_mean", 0.0) if sees else None,
        std=_channels(extractor, "image_std", 1.0) if sees else None,
        max_length=config.get("max_position_embeddings") or config.get("n_positions"),
        writes=not (hears or sees) and any(name.endswith(WRITES) for name in config.get("architectures") or ()),
        sampling_rate=int(extractor.get("sampling_rate") or 16_000) if hears else None,
        seconds=_seconds(config, extractor) if hears else None,
    )


def _detects(source_id: str, config: dict[str, Any]) -> bool:
    """Whether a configuration is that of a detector with its head.

    Raises:
        Refusal: it has learnt queries, but no head for boxes, or one of a kind that is not read here.
    """
    if not any(key in config for key in ASKS):
        return False
    headed = any(str(name).endswith("ForObjectDetection") for name in config.get("architectures") or ())
    if config["model_type"] in DETECTORS and headed:
        return True
    what = f"is a {config['model_type']} without a head for boxes, or one whose head is not read here."
    raise refuse(source_id, what, f"Choose a detector of {', '.join(sorted(DETECTORS))}; or a ViT, Swin or ConvNeXt.")


def _classes(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes that a classifier says one of, by its outputs; () where they are only counted, None where a
    configuration is of no such classifier: of labels side by side, of a number, or without a head."""
    headed = any(str(name).endswith(CLASSIFIERS) for name in config.get("architectures") or ())
    if not headed or config.get("problem_type") not in (None, "single_label_classification"):
        return None
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # the library's own, which it does not write
    if len(names) < 2 or set(names) != set(map(str, range(len(names)))):
        return None
    found = tuple(str(names[str(place)]) for place in range(len(names)))
    return () if all(NUMBERED.fullmatch(name.strip()) for name in found) else found


def _side(config: dict[str, Any], extractor: dict[str, Any]) -> int | None:
    """Pixels of a side, as the network was made for, or as its pictures were prepared."""
    for said in (config.get("image_size"), extractor.get("crop_size"), extractor.get("size")):
        if isinstance(said, dict):
            said = said.get("height") or said.get("shortest_edge")
        said = said[0] if isinstance(said, list) and said else said
        if isinstance(said, int):
            return said
    return None


def _channels(extractor: dict[str, Any], key: str, unchanged: float) -> tuple[float, float, float] | None:
    """Mean or deviation of each channel, of pixels scaled to 0..1, where the folder says them."""
    said = extractor.get(key)
    if isinstance(said, list) and len(said) == 3 and extractor.get("do_normalize") is not False:
        return tuple(said)
    return (unchanged,) * 3 if extractor and not extractor.get("do_normalize") else None


def _seconds(config: dict[str, Any], extractor: dict[str, Any]) -> float | None:
    """How much of a sound is read: what the table of positions is long enough for; None without one."""
    if "max_source_positions" in config:
        return float(extractor.get("chunk_length") or 30)
    return config["max_length"] / 100 if "frequency_stride" in config else None  # a column of a spectrum lasts 10 ms


def search(home: Home, query: str) -> Sequence[Source]:
    names = hub.find(home, query)
    return tuple(curated.cards().get(f"hf/{name}") or _stub(name) for name in names)


def _stub(name: str) -> Source:
    """A card before the model was looked at; choosing it asks the hub for the rest."""
    return Source(
        id=f"hf/{name}", name=name, provider="hf", reads="text", family="transformers", architecture="not known yet"
    )


def fetch(home: Home, source: Source, told: Told) -> Path:
    return hub.download(home, repository(source.id), source, told)


huggingface = Provider(
    key="hf",
    title="Hugging Face (texts, images, sounds)",
    sources=lambda home: curated.of_provider(home, "hf"),
    search=search,
    card=card,
    fetch=fetch,
    order=3,
)
