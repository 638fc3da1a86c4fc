"""Image source models: any timm architecture, or a transformers vision encoder; pixels in, one vector an image out."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tltools.engine import stages as staging
from tltools.engine import torchvision_operators, weights
from tltools.engine.backbone import DRY_RUN_ERRORS, Backbone, Batch
from tltools.engine.weights import weights_file
from tltools.modalities import Drawn
from tltools.records import Source

IN_MEMORY = 512 * 2**20  # bytes of decoded pixels held in memory; more lies in a temporary memory-mapped file
FINEST = 4  # pixels to a place of the largest map that is made of tokens
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, the libraries' default


class Pixels:
    """Images decoded once, resized to one square size, uint8 (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> None:
        self.pixels = pixels
        self.lengths = np.ones(len(pixels), dtype=np.int64)
        self._mean = torch.tensor(mean).view(1, 3, 1, 1) * 255
        self._scale = 1 / (torch.tensor(std).view(1, 3, 1, 1) * 255)

    def __len__(self) -> int:
        return len(self.pixels)

    def raw(self, rows: np.ndarray) -> Tensor:
        """(B, 3, H, W) uint8, channels last in memory: what augmentation works on."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).permute(0, 3, 1, 2)

    def normalise(self, raw: Tensor) -> Tensor:
        """(B, 3, H, W) float32 with the source's mean and deviation."""
        return (raw.float() - self._mean.to(raw.device)) * self._scale.to(raw.device)

    def take(self, rows: np.ndarray) -> Batch:
        return {"pixel_values": self.normalise(self.raw(rows))}


def decode(item: str | Drawn, size: int) -> np.ndarray:
    """One image, by its path or drawn, as (size, size, 3) uint8, the whole of it squeezed into the square.

    Nothing at the edges is cut away: what is to be recognised may lie there, and networks that were pre-trained on
    random crops of changing aspect know squeezed pictures (big_vision's evaluators resize the same way).
    """
    if isinstance(item, Drawn):
        picture = item.picture()
    else:
        with Image.open(item) as image:
            image.draft("RGB", (2 * size, 2 * size))  # JPEG decodes at a fraction of its size, several times faster
            picture = image.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)


@dataclass(frozen=True)
class Level:
    """How a map is made."""

    module: nn.Module  # whose output it is
    enlarged: int  # times, in width and height
    plain: bool  # it is the activation as it stands


class ImageBackbone(Backbone):
    """See the module's text."""

    reads = "image"

    def __init__(self, source: Source, core: nn.Module, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(source, core, _preprocessing(size, mean, std))
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)
        self.has_class_token = any("cls_token" in name for name, _ in core.named_parameters())

    def encode(self, items: Sequence[Any]) -> Pixels:
        shape = (len(items), self.size, self.size, 3)
        pixels: np.ndarray
        if np.prod(shape) > IN_MEMORY:
            with tempfile.NamedTemporaryFile(prefix="tltools-pixels-") as file:  # gone with the last reference to it
                pixels = np.memmap(file.name, dtype=np.uint8, mode="w+", shape=shape)
        else:
            pixels = np.empty(shape, dtype=np.uint8)
        lanes = torch.get_num_threads()

        def fill(lane: int) -> None:
            for i in range(lane, len(items), lanes):
                pixels[i] = decode(items[i], self.size)

        with ThreadPoolExecutor(lanes) as pool:  # decoding and resizing let go of the interpreter's lock
            list(pool.map(fill, range(lanes)))
        return Pixels(pixels, self.mean, self.std)

    def find_stages(self) -> None:
        windows = [(m, m.shift_size, m.window_size) for m in self.core.modules() if hasattr(m, "shift_size")]
        super().find_stages()
        for module, shift, window in windows:  # a Swin keeps the windows of the smallest picture that it ever saw
            held: Any = module
            held.shift_size, held.window_size = shift, window

    def read_at(self, side: int, tokens: int = 0, asked: bool = False, words: bool = True) -> None:
        before, self.size = self.size, side
        try:
            with torch.no_grad():
                self(self.sample(1, 1))
        except DRY_RUN_ERRORS:  # a table of positions is made for one size
            self.size = before
        self.preprocessing = _preprocessing(self.size, self.mean, self.std)
        self._prints = {}

    def maps(self, batch: Batch) -> list[tuple[int, Tensor]]:
        exits, inner = self.exits(), len(self.stages) - 1
        with staging.capturing(exits, stop=False) as found:
            self._run(batch)
        grids = {place: grid(x).float() for place, x in sorted(found.items()) if spatial(x)}
        by_size = {x.shape[2]: (place, x) for place, x in grids.items()}
        if len(by_size) == 1 and len(grids) > 1:
            return list(self._pyramid(grids))
        if exits[inner] is not self._last(inner):  # a widening before the pooling is for one vector, not for places
            below = {x.shape[2]: (place, x) for place, x in grids.items() if place < inner}
            by_size |= {size: one for size, one in below.items() if one[1].shape[1] != by_size[size][1].shape[1]}
        return [by_size[size] for size in sorted(by_size, reverse=True)]

    def levels(self) -> list[Level]:
        """What `maps` gives, by how it is made."""
        exits = self.exits()
        with torch.inference_mode(), staging.capturing(exits, stop=False) as found:
            maps = self.maps(self.sample(1, 1))
        return [Level(exits[i], x.shape[2] // grid(found[i]).shape[2], found[i].shape == x.shape) for i, x in maps]

    def exits(self) -> list[nn.Module]:
        """Whose outputs may be maps, one a stage: its last module, and at the top the last one before pooling."""
        found = [self._last(i) for i in range(len(self.stages))]
        answers = [(unit.module, unit.answer) for unit in self._groups[-1]]
        firsts = [(module, x if isinstance(x, Tensor) else x and x[0]) for module, x in answers]
        return [*found[:-1], next((module for module, x in reversed(firsts) if spatial(x)), found[-1])]

    def _pyramid(self, grids: dict[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Maps of a network whose stages all have one size (ViT): the deepest as it is, shallower ones enlarged, down
        to a stride of 4 pixels (as in arXiv 2103.13413, without its learnt layers)."""
        places, side = list(grids), next(iter(grids.values())).shape[2]
        steps = max(1, round(math.log2(self.size / side / FINEST)))
        for step in range(steps, -1, -1):
            place = places[(len(places) - 1) * (steps + 1 - step) // (steps + 1)]
            yield place, functional.interpolate(grids[place], scale_factor=2.0**step, mode="bilinear")

    def sample(self, rows: int, length: int) -> Batch:
        generator = torch.Generator().manual_seed(0)
        return {"pixel_values": torch.randn(rows, 3, self.size, self.size, generator=generator)}

    def _run(self, batch: Batch) -> Any:
        return self.core(batch["pixel_values"])

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        if isinstance(output, Tensor):
            return output if output.dim() == 2 else self._pool_stage(output, batch)
        pooled = getattr(output, "pooler_output", None)  # as its library pools; learnt poolers were taken away
        if isinstance(pooled, Tensor):
            return pooled.flatten(1)
        states = output[0]
        return states[:, 0] if states.dim() == 3 and self.has_class_token else self._pool_stage(states, batch)

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        if states.dim() == 4:  # some hierarchical transformers keep channels last
            channels_last = states.shape[1] == states.shape[2] != states.shape[3]
            return states.float().mean((1, 2) if channels_last else (2, 3))
        return states.float().mean(1) if states.dim() == 3 else states.float()


def spatial(states: Any) -> bool:
    """Whether a module's output has places of a picture: more than one, with more than one number each."""
    known = isinstance(states, Tensor) and states.dim() in (3, 4) and states.shape[-1] > 1
    return known and grid(states).shape[2] > 1


def grid(states: Tensor) -> Tensor:
    """A map (B, C, h, w), of one that is kept channels last, or of tokens (B, N, C) of a square, row by row: what is
    more than a square number stands before them (class and register tokens; up to six of them are told from a grid of
    3 x 3 or more)."""
    if states.dim() == 3:
        side = math.isqrt(states.shape[1])
        turned = states[:, -side * side :].transpose(1, 2)
        return turned.reshape(*turned.shape[:2], side, side)
    return states.permute(0, 3, 1, 2) if states.shape[1] == states.shape[2] != states.shape[3] else states


def _preprocessing(size: int, mean: Sequence[float], std: Sequence[float]) -> str:
    return f"image|{size}|{tuple(mean)}|{tuple(std)}|bicubic-whole"


def build(source: Source, folder: Path, random: bool) -> ImageBackbone:
    """Builds an image model from a local folder; nothing is downloaded, no code of the folder is run.

    Raises:
        Refusal: the weights do not fit the architecture; every key that does not fit is listed.
    """
    torchvision_operators.ensure()
    if source.family == "transformers":
        config = configured(folder)
        backbone = around(source, folder, _transformers(source, folder, random, config), config)
    else:
        core = create(source)
        size = source.image_size or int(core.default_cfg.get("input_size", (3, 224, 224))[-1])
        mean, std = source.mean or core.default_cfg.get("mean", MEAN), source.std or core.default_cfg.get("std", STD)
        if not random:
            weights.load(core, weights_file(folder), source.id)
        backbone = ImageBackbone(source, core.float().eval(), size, mean, std)
    backbone.find_stages()
    return backbone


def configured(folder: Path) -> Any:
    """The configuration of a folder's network of transformers."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def around(
    source: Source, folder: Path, core: Any, config: Any, kind: type[ImageBackbone] = ImageBackbone
) -> ImageBackbone:
    """A backbone of some kind around a network of transformers, given pictures as its source says; its stages are not
    found yet."""
    own = getattr(config, "image_size", None) or 224
    size = source.image_size or int(own if isinstance(own, int) else own[0])
    return kind(source, core.float().eval(), size, source.mean or MEAN, source.std or STD)


def create(source: Source) -> Any:
    """A timm network without classifier, untrained."""
    torchvision_operators.ensure()
    import timm

    options = dict(source.options)
    if source.image_size and _takes_size(source.architecture):
        options["img_size"] = source.image_size
    return timm.create_model(source.architecture, pretrained=False, num_classes=0, **options)


def _takes_size(architecture: str) -> bool:
    """Whether a network must be told its input size (the position tables of transformers depend on it)."""
    import timm

    module = timm.model_entrypoint(architecture).__module__
    return module.rsplit(".", 1)[-1] in {"vision_transformer", "deit", "beit", "eva", "cait", "xcit"}


def _transformers(source: Source, folder: Path, random: bool, config: Any) -> Any:
    from transformers import AutoModel

    apart = ("pooler", "mask_token")
    core: Any = AutoModel.from_config(config) if random else weights.pretrained(folder, config, source.id, apart)
    if isinstance(getattr(core, "pooler", None), nn.Module) and any(True for _ in core.pooler.parameters()):
        core.pooler = None  # a learnt pooler belongs to another task; one without weights is plain averaging
    return core
