"""The job "export": a finished trial as a folder that predicts without tltools, checked by running it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tltools import datasets, places, reports, sources
from tltools.artifacts import building_all, sealed, verify
from tltools.engine import (
    classifiers,
    export_detectors,
    export_frames,
    export_groups,
    export_places,
    export_scripts,
    export_sounds,
    export_tables,
    export_texts,
    export_words,
    replay,
    trial_model,
)
from tltools.engine.audio_backbone import AudioBackbone
from tltools.engine.backbone import Backbone
from tltools.engine.dense import LEVELS
from tltools.engine.detectors import Detecting
from tltools.engine.frame_backbone import FrameBackbone
from tltools.engine.image_backbone import ImageBackbone, _takes_size
from tltools.engine.tabular_backbone import BLOCKS, TabularBackbone
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.trial_model import ClassicalModel, NeuralModel, PlacesModel, WriterModel
from tltools.home import Home, write_bytes, write_json
from tltools.modalities import modalities
from tltools.records import Refusal, Source, refuse
from tltools.strategies import strategies
from tltools.tickets import Ticket

Network = NeuralModel | PlacesModel | WriterModel
Model = Network | ClassicalModel
PACKAGES = {
    "text": ("torch", "transformers", "safetensors", "numpy", "pandas"),
    "generator": ("torch", "transformers", "numpy", "pandas"),
    "frames": ("torch", "transformers", "safetensors", "numpy", "pandas"),
    "cells": ("torch", "transformers", "safetensors", "numpy", "pandas"),
    "vision": ("torch", "transformers", "safetensors", "numpy", "pandas"),
    "audio": ("torch", "transformers", "safetensors", "numpy", "pandas"),
    "detector": ("torch", "transformers", "safetensors", "numpy"),
    "timm": ("torch", "torchvision", "timm", "safetensors", "numpy", "pandas"),
    "table": ("torch", "safetensors", "numpy", "pandas"),
    "means": ("numpy",),
    "rule": ("pandas",),
    "scikit-learn": ("scikit-learn", "skops", "numpy", "pandas"),
}


def run(ticket: Ticket, payload: dict[str, Any]) -> dict[str, Any]:
    """Exports {"trial", "to"}; answers {"folder", "files", "replay": {"rows", "max_difference", "agrees", ...}}.

    Raises:
        Refusal: no such trial, no weights, a folder that is not empty, or a control that a file cannot hold.
    """
    final = Path(payload["to"])
    earlier = [final] if _earlier(final, payload["trial"]) else []
    if not earlier and final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise refuse(str(final), "must be a new or an empty folder.", "Choose another name.")
    ticket.progress("loading the model", 0, 3)
    model = trial_model.load(ticket.home, payload["trial"])
    by_group = export_groups.facts(model)
    if final.is_dir() and not earlier:
        final.rmdir()
    with building_all([final], instead=earlier) as (folder,):  # an earlier export stays until this one is whole
        ticket.progress("writing", 1, 3)
        facts = written(model, folder) | by_group
        write_json(folder / "preprocessing.json", facts)
        write_bytes(folder / "predict.py", export_scripts.script(facts).encode())
        write_bytes(folder / "requirements.txt", _requirements(facts, folder).encode())
        write_papers(ticket.home, model, folder)
        ticket.progress("replaying", 2, 3)
        again = replay.check(ticket, model, folder)
        write_json(folder / "replay.json", again)
    ticket.progress("replaying", 3, 3)
    files = sorted(p.relative_to(final).as_posix() for p in final.rglob("*") if p.is_file() and p.name != "sealed.json")
    return {"folder": str(final), "files": files, "replay": again}


def _earlier(folder: Path, trial_id: str) -> bool:
    """Whether a folder is an earlier export of the same trial, every byte of it as it was written, and nothing else."""
    if not sealed(folder) or verify(folder) or not (folder / "preprocessing.json").is_file():
        return False
    known = {*json.loads((folder / "sealed.json").read_text())["files"], "sealed.json"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return there == known and json.loads((folder / "card.json").read_text())["trial"]["id"] == trial_id


# --- the model ------------------------------------------------------------------------------------------------------


def written(model: Model, folder: Path) -> dict[str, Any]:
    """Writes a model of any kind; returns the facts for the script."""
    if isinstance(model, PlacesModel):
        return write_places(model, folder)
    if isinstance(model, WriterModel):
        return write_writer(model, folder)
    return write_neural(model, folder) if isinstance(model, NeuralModel) else write_classical(model, folder)


def write_places(model: PlacesModel, folder: Path) -> dict[str, Any]:
    """Writes weights and config of a backbone and a head over its maps; returns the facts for the script."""
    backbone, head, dense = model.model.backbone.to("cpu").eval(), model.model.head.to("cpu"), model.task.dense
    assert dense is not None
    if isinstance(model.model, Detecting):
        return _common(model, backbone, ()) | {"draws": dense.draws} | export_detectors.written(model.model, folder)
    parts = {"backbone": backbone.core.state_dict(), "head": head.state_dict()}
    tensors = {f"{part}.{name}": value for part, held in parts.items() for name, value in held.items()}
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    if isinstance(backbone, TextBackbone):
        facts = _common(model, backbone, ()) | {"draws": dense.draws, "tags": places.tag_names(model.dataset.classes)}
        return facts | _text_facts(model.home, model, backbone, folder)
    assert isinstance(backbone, ImageBackbone)
    levels = backbone.levels()[-LEVELS:]
    facts = _common(model, backbone, [one.module for one in levels]) | {"draws": dense.draws}
    facts["enlarged"] = [] if all(one.plain for one in levels) else [one.enlarged for one in levels]
    facts |= export_places.needs(dense.draws, len(model.dataset.classes))
    return facts | _image_facts(model.home, backbone, folder)


def write_writer(model: WriterModel, folder: Path) -> dict[str, Any]:
    """Writes a model that writes texts; returns the facts for the script."""
    backbone = model.model.backbone
    assert isinstance(backbone, TextBackbone), "texts are written from texts"
    facts = _common(model, backbone, ()) | export_texts.common(model)
    if backbone.generator:
        return facts | export_texts.generator(model, folder)
    return facts | _text_facts(model.home, model, backbone, folder) | export_texts.decoder(model, folder)


def _common(model: Network, backbone: Backbone, layers: Sequence[nn.Module]) -> dict[str, Any]:
    """Facts of every network; `layers` are those whose outputs the head reads."""
    names = {id(module): name for name, module in backbone.core.named_modules()}
    return {
        "modality": model.dataset.modality,
        "inputs": list(model.dataset.inputs),
        "classes": list(model.dataset.classes),
        "reading": dict(model.dataset.reading),
        "layers": [names[id(layer)] for layer in layers],
        "several": model.task.several is not None,
        "draws": "",
        "network": classifiers.network_class(backbone),
        "neighbours": False,
        "numbers": _numbers(model),
        **export_tables.reading(),
    }


def _numbers(model: Model) -> list[str]:
    """The input columns that hold numbers, where rows are read from a table."""
    if modalities()[model.dataset.modality].files:
        return []
    table = datasets.rows(model.home, model.dataset.id)[list(model.dataset.inputs)]
    return [str(name) for name in table.select_dtypes("number").columns]


def write_neural(model: NeuralModel, folder: Path) -> dict[str, Any]:
    """Writes weights (whole backbone and head), config and tokenizer; returns the facts for the script."""
    from transformers import AutoConfig

    home, backbone = model.home, model.backbone.to("cpu")
    body = "body." if isinstance(backbone, FrameBackbone) else ""  # the language model behind an input layer
    state = {name.removeprefix(body): value for name, value in backbone.core.state_dict().items()}
    tensors = {f"backbone.{name}": value.clone().contiguous() for name, value in state.items()}
    save_file(tensors | model.head, folder / "model.safetensors")
    inner = range(len(backbone.stages) - 1) if model.all_layers else ()
    facts = _common(model, backbone, [backbone._last(i) for i in inner])
    facts |= {"kind": "table", "neighbours": "head.rows" in model.head}
    if isinstance(backbone, FrameBackbone):
        config = AutoConfig.from_pretrained(_base_folder(home, backbone.source), local_files_only=True)
        return facts | export_frames.written(backbone, config, folder)
    if isinstance(backbone, TextBackbone):
        return facts | _text_facts(home, model, backbone, folder)
    if isinstance(backbone, ImageBackbone):
        return facts | _image_facts(home, backbone, folder)
    if isinstance(backbone, AudioBackbone):
        config = AutoConfig.from_pretrained(_base_folder(home, backbone.source), local_files_only=True)
        return facts | export_sounds.written(backbone, config, model.dataset.reading["seconds"], folder)
    assert isinstance(backbone, TabularBackbone)
    columns = {"numbers": backbone.numbers, "categories": backbone.categories}
    return facts | {kind: list(names) for kind, names in columns.items()} | {"blocks": BLOCKS}


def _text_facts(home: Home, model: Network, backbone: TextBackbone, folder: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    tokenizer = backbone.tokenizer
    export_texts.keep_tokenizer(backbone, folder)
    config = AutoConfig.from_pretrained(_base_folder(home, backbone.source), local_files_only=True)
    if isinstance(backbone, classifiers.TextClassifier):
        config.pad_token_id = backbone.pad  # as it was asked
    config.save_pretrained(folder)
    return {
        "kind": "text",
        "max_length": backbone.limit,
        "causal": backbone.causal,
        "encoder": bool(getattr(config, "is_encoder_decoder", False)),
        "bare": not tokenizer("")["input_ids"],
        "letters": backbone.letters,
        "alone": backbone.alone,
        "unit": backbone.unit,
    }


def _image_facts(home: Home, backbone: ImageBackbone, folder: Path) -> dict[str, Any]:
    source = backbone.source
    facts: dict[str, Any] = {"image_size": backbone.size, "mean": list(backbone.mean), "std": list(backbone.std)}
    with torch.inference_mode():
        batch = backbone.sample(1, 1)
        output = backbone._run(batch)
    if source.family == "timm":
        options = dict(source.options)
        if source.image_size and _takes_size(source.architecture):
            options["img_size"] = source.image_size
        kept = {"kind": "timm", "architecture": source.architecture, "options": options, "class_token": False}
        kept["flat"] = output.dim() == 2
        write_json(folder / "config.json", {"architecture": source.architecture, "options": options})
        return facts | kept
    from transformers import AutoConfig

    AutoConfig.from_pretrained(_base_folder(home, source), local_files_only=True).save_pretrained(folder)
    pooled = isinstance(getattr(output, "pooler_output", None), torch.Tensor)
    tokens = output[0].dim() == 3 and backbone.has_class_token
    return facts | {"kind": "vision", "encoder": False, "pooled": pooled, "class_token": tokens,
                    "flat": pooled or tokens}  # fmt: skip


def _base_folder(home: Home, source: Source) -> Path:
    """The folder of the source at the bottom of a chain of own trials: it holds the config."""
    while source.provider == "own":
        card = json.loads((sources.fetch(home, source) / "card.json").read_text())
        source = Source.model_validate(card["source"])
    return sources.fetch(home, source)


def write_classical(model: ClassicalModel, folder: Path) -> dict[str, Any]:
    """Writes a fitted control without pickle; returns the facts for the script.

    Raises:
        Refusal: the control has seen one class only.
    """
    dataset = model.dataset
    facts: dict[str, Any] = {"kind": "scikit-learn", "modality": dataset.modality, "draws": ""}
    facts |= {"inputs": list(dataset.inputs), "classes": list(dataset.classes), "reading": dict(dataset.reading)}
    facts |= {"several": model.task.several is not None, "numbers": _numbers(model)} | export_tables.reading()
    if rule := export_texts.rule(model):
        write_json(folder / "control.json", dict(rule.known))
        return facts | {"kind": "rule", "method": rule.method, "says": rule.say.__name__}
    if dense := model.task.dense:
        fitted, more = (export_words if dense.texts else export_places).fitted(model)
        facts |= {"draws": dense.draws, "method": model.card.get("method")} | more
        facts |= {} if dense.texts else export_places.needs(dense.draws, len(dataset.classes))
        return facts if fitted is None else facts | _kept(fitted, folder)
    control = model.control
    if control.model is None:
        what = "saw rows of one class only, so it always answers with that class."
        raise refuse(f"trial {model.trial.id}", what, "Export a trial with more labels.")
    facts["method"] = control.method
    first = control.model[0]
    inner = control.model
    if modalities()[dataset.modality].files:
        inner = control.model[1:]  # the script describes the files itself
    elif modalities()[dataset.modality].cells:
        levels = getattr(first, "levels_", None)
        categories = [name for name in dataset.inputs if name not in facts["numbers"]]
        facts |= {"categories": categories, "levels": levels}
        if levels is not None:
            inner = control.model[-1]
    return facts | _kept(inner, folder)


def _kept(fitted: Any, folder: Path) -> dict[str, Any]:
    """Writes what scikit-learn fitted; returns which of its types a reader must trust."""
    import skops.io

    content = skops.io.dumps(fitted)
    write_bytes(folder / "model.skops", content)
    return {"trusted": skops.io.get_untrusted_types(data=content)}


# --- the papers -----------------------------------------------------------------------------------------------------


def write_papers(home: Home, model: Model, folder: Path) -> None:
    """Card, model card and study file beside the model."""
    write_json(folder / "card.json", model.card)
    study = home.studies / model.trial.study
    if (study / "study.yaml").is_file():
        write_bytes(folder / "study.yaml", (study / "study.yaml").read_bytes())
    card = f"{_model_card(home, model).rstrip()}\n\n{reports.card_facts(model.card)}\n"
    write_bytes(folder / "MODEL_CARD.md", card.encode())


def _model_card(home: Home, model: Model) -> str:
    try:
        return reports.export_card(reports.load(home, model.trial.study), model.trial.id)
    except Refusal:
        card = model.card
        scores = "\n".join(f"- {key}: {value}" for key, value in card["metrics"].items())
        return (
            f"# {strategies()[model.trial.strategy].title} on {card['dataset']['name']}\n\n"
            f"Source model: `{model.trial.source}`; {card.get('n_train', '?')} labels.\n\n"
            f"## Scores on the test part\n\n{scores}\n\n"
            "## Risks\n\n- This trial was not judged against controls: whether transfer helped is not known.\n"
        )


def _requirements(facts: dict[str, Any], folder: Path) -> str:
    no_table = facts["draws"] in export_places.ANSWERS
    packages = [name for name in PACKAGES[facts["kind"]] if not (no_table and name == "pandas")]
    packages += ["scipy"] if facts["kind"] == "scikit-learn" and facts["draws"] == "mask" else []  # `uniform_filter`
    packages += ["sentencepiece"] if any(folder.glob("*.spm")) else []
    packages += ["tokenizers"] if "decoder" in facts else []  # which reads its pieces
    exported = export_scripts.reading_files(facts)
    packages += [name for name in (exported.packages if exported else ()) if name not in packages]
    return "".join(f"{name}=={metadata.version(name).partition('+')[0]}\n" for name in packages)
