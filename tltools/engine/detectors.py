"""Detection transformers as a whole (DETR and its kin, RT-DETR, D-FINE, YOLOS): their own head, loss and decoding.

The library's network stays what it is. Its parts that say boxes and classes are taken out of its tree of modules, but
not out of its computation: they are the head, everything else is stages. Class scores are new for the classes of a
dataset, whatever says boxes starts as in the source.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import dense, torchvision_operators, weights
from tltools.engine import stages as staging
from tltools.engine.backbone import DRY_RUN_ERRORS, Batch
from tltools.engine.image_backbone import MEAN, STD, ImageBackbone
from tltools.engine.stages import Stage
from tltools.places import as_rows
from tltools.records import Dataset, Source, refuse
from tltools.tasks import Task

SCORES, BOXES = ("class", "score_head"), ("bbox",)  # in the names of parts that say classes and boxes
FIXED = ("reg_scale", "up")
MOST = 100  # boxes of a picture that are kept, the surest first
SIDE = 640  # pixels, where a folder does not say for which size it was made
EXTRACTOR = "preprocessor_config.json"
UNSEEN = ("num_batches_tracked", *SCORES)  # in the names of tensors that a folder may lack: class scores are new anyway


class OwnHead(nn.Module):
    """The parts of a detector that say boxes and classes, which it goes on calling although they are here."""

    out_features = 0  # classes, as all heads say; known once a task has taken it

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        names = {module: name for name, module in core.named_modules()}
        found = [(parent, name, part) for parent in names for name, part in parent._modules.items()
                 if part is not None and any(word in name for word in (*SCORES, *BOXES))]  # fmt: skip
        inside = {id(inner) for *_, part in found for inner in part.modules()}
        self.places = [(parent, name, part) for parent, name, part in found if id(parent) not in inside]
        for parent, name, part in self.places:
            self.add_module(names[part].replace(".", "/"), part)
            _lend(parent, name, part)

    def replace(self, other: OwnHead, classes: int) -> list[str]:
        """Gives its places to the head of a network for other classes, and all tensors but those that score `classes`,
        its own number; returns the names of these."""
        own, new = other.state_dict(), []
        for name, value in self.state_dict().items():
            if any(word in name for word in SCORES) and len(value) in (classes, classes + 1):  # 1: no object
                new.append(name)
            else:
                own[name].copy_(value)
        parts = {id(part): other.get_submodule(key) for key, part in self.named_children()}
        other.places = [(parent, name, parts[id(part)]) for parent, name, part in self.places]
        for place in other.places:
            _lend(*place)
        return new

    def give_back(self) -> None:
        """Puts the parts where the network had them."""
        for parent, name, part in self.places:
            parent.__dict__.pop(name)
            parent.add_module(name, part)


def _lend(parent: nn.Module, name: str, part: nn.Module) -> None:
    parent._modules.pop(name, None)
    parent.__dict__[name] = part  # found as an attribute, not as a child: neither its tensors nor its mode are theirs


class DetectorBackbone(ImageBackbone):
    """A detector, whose head stands beside it until a task takes it."""

    own_loss = True  # with the boxes of inner layers, and of denoised queries

    def __init__(self, source: Source, core: Any, size: int, processor: Any) -> None:
        super().__init__(source, core, size, source.mean or MEAN, source.std or STD)
        self.processor, self.lent = processor, OwnHead(core)

    def read_at(self, side: int, tokens: int = 0, asked: bool = False, words: bool = True) -> None:
        """It reads pictures at the size that it was made for: its boxes were learnt there."""

    def find_stages(self) -> None:
        """The stages of its vision network, then what joins this to the decoder, then the layers of the decoder."""
        self.eval()
        body: Any = self.core.base_model
        tower: Any = getattr(body, "backbone", body)
        decoder: Any = getattr(body, "decoder", None)
        batch = self.sample(2, 1)
        with torch.no_grad():
            try:
                found, _ = staging.chain(tower, lambda: self._run(batch))
                self.width = self.forward(batch).shape[1]
            except DRY_RUN_ERRORS as error:
                what = f"cannot read pictures of {self.size} x {self.size} pixels ({str(error)[:200]})."
                raise refuse(self.source.id, what, "Add it with --size, a multiple of 32.") from error
        if tower is not body:
            joint = [part for name, part in body.named_children() if part is not tower and part is not decoder]
            joint += [part for name, part in decoder.named_children() if part is not decoder.layers]
            found.append(_stage("joint", *joint))
            found += [_stage(f"decoder.layers.{i}", layer) for i, layer in enumerate(decoder.layers)]
        self.stages, self.stage_widths = tuple(found), (self.width,) * len(found)
        self.resumable = (True, *(False for _ in found))

    def with_own_head(self, task: Task, dataset: Dataset) -> Detecting:
        return Detecting(self, task, dataset)

    def take_head(self, tensors: Mapping[str, Tensor]) -> None:
        own = self.lent.state_dict()
        for name, value in own.items():
            if (given := tensors.get(f"head.{name}")) is not None and given.shape == value.shape:
                value.copy_(given)

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        states: Tensor = output.last_hidden_state
        return states.mean(1)


class Detecting(dense.Places):
    """A detector with a head for the classes of a dataset. Raw outputs are (B, Q, C + 4): of each query the logits of
    the classes (and of no object, where the family has it), then middle, width and height in shares of the picture."""

    backbone: DetectorBackbone
    head: OwnHead  # type: ignore[assignment]

    def __init__(self, backbone: DetectorBackbone, task: Task, dataset: Dataset) -> None:
        nn.Module.__init__(self)
        assert task.dense is not None
        self.backbone, self.task, self.dense = backbone, task, task.dense
        config, old = self.core.config, backbone.lent
        told = config.num_labels
        config.id2label = dict(enumerate(dataset.classes))
        config.label2id = {name: code for code, name in config.id2label.items()}
        self.head = OwnHead(_network(copy.deepcopy(config)))
        self.head.out_features = config.num_labels
        self.new = old.replace(self.head, told)
        del backbone.lent

    def facts(self) -> dict[str, Any]:
        new = "scores of the classes are new, what says boxes starts as in the source"
        return {"features": "its own", "head_from": new, "new_tensors": self.new}

    @property
    def core(self) -> Any:
        """The library's network."""
        return self.backbone.core

    def forward(self, batch: Batch, states: Tensor | None = None, boundary: int = 0) -> Tensor:
        """See the class."""
        output = self.core(batch["pixel_values"])
        return torch.cat([output.logits, output.pred_boxes], 2)

    def taught(self, batch: Batch, targets: Tensor, options: Mapping[str, float]) -> Tensor:
        """(B,) of the family's own loss, that of its inner layers and of denoised queries included: it is one number of
        a batch, so each row has the same."""
        found: Tensor = self.core(batch["pixel_values"], labels=list(_labels(targets))).loss
        return found.float().expand(len(targets))

    def loss(self, raw: Tensor, targets: Tensor, options: Mapping[str, float]) -> Tensor:
        """(B,) of the family's own loss of the last layer, row by row."""
        config, found = copy.copy(self.core.config), []
        config.auxiliary_loss = False
        for own, labels in zip(torch.split(raw, 1), _labels(targets), strict=True):
            logits, boxes = own[..., :-4], own[..., -4:]
            value, *_ = self.core.loss_function(logits, [labels], raw.device, boxes, config, None, None)
            found.append(value)
        return torch.stack(found)

    def decode(self, raw: np.ndarray) -> np.ndarray:
        """(M, Q, C + 4) -> (M,) object array of boxes (m, 6), by the library's own rule for the family."""
        given = torch.from_numpy(raw)
        output = SimpleNamespace(logits=given[..., :-4], pred_boxes=given[..., -4:])
        said = self.backbone.processor.post_process_object_detection(output, threshold=0.0)
        return as_rows([_boxes(one) for one in said])

    def folder(self, place: Path) -> None:
        """Writes the network as transformers keeps them, for the classes of the dataset; then it cannot be trained."""
        self.head.give_back()
        self.core.save_pretrained(place)
        self.backbone.processor.save_pretrained(place)


def _boxes(said: Mapping[str, Tensor]) -> np.ndarray:
    """(m, 6) class, corners in shares of the picture, score; the surest first."""
    columns = [said["labels"][:, None].float(), said["boxes"].float().clamp(0, 1), said["scores"][:, None].float()]
    found = torch.cat(columns, 1)[said["scores"].argsort(descending=True, stable=True)[:MOST]]
    return found.numpy().astype(np.float64)


def _labels(targets: Tensor) -> Iterator[dict[str, Tensor]]:
    """What the library's losses read, of boxes (B, m, 5) as detection pads them."""
    for row in targets:
        there = row[row[:, 0] >= 0]
        first, last = there[:, 1:3], there[:, 3:5]
        boxes = torch.cat([(first + last) / 2, (last - first).clamp(min=1e-4)], 1)
        yield {"class_labels": there[:, 0].long(), "boxes": boxes}


def _stage(name: str, *modules: nn.Module) -> Stage:
    return Stage(name, modules, sum(p.numel() for module in modules for p in module.parameters()))


def _network(config: Any) -> Any:
    """A detector with random weights.

    Batch norms are live: the library freezes their statistics at those of a source, and random weights have none.
    """
    from transformers import AutoModelForObjectDetection

    core = AutoModelForObjectDetection.from_config(config)
    for parent in list(core.modules()):
        for name, part in list(parent.named_children()):
            if type(part).__name__.endswith("FrozenBatchNorm2d"):
                setattr(parent, name, nn.BatchNorm2d(len(part.weight)))
    return core


def _fix(core: nn.Module) -> None:
    """Makes buffers of the numbers that D-FINE keeps as parameters that nothing trains."""
    for module in core.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            if name in FIXED:
                delattr(module, name)
                module.register_buffer(name, value.data)


def build(source: Source, folder: Path, random: bool) -> DetectorBackbone:
    """Builds a detector from a local folder; nothing is downloaded, no code of the folder is run.

    Raises:
        Refusal: no image processor beside the weights, tensors that are missing, or a size that it cannot read.
    """
    torchvision_operators.ensure()
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection

    if not (folder / EXTRACTOR).is_file():
        what = f"must have a {EXTRACTOR}, which says how pictures are read and boxes found; there is none."
        raise refuse(source.id, what, "Save the model's image processor into its folder with `save_pretrained`.")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    if random:
        core = _network(config)
    else:
        core = weights.pretrained(folder, config, source.id, UNSEEN, AutoModelForObjectDetection)
    _fix(core)
    backbone = DetectorBackbone(source, core.float().eval(), source.image_size or SIDE, processor)
    backbone.find_stages()
    return backbone
