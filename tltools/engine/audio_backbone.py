"""Sound source models: a speech or audio encoder of transformers; clips in, one vector a clip out.

Two kinds are told apart by what the model's own feature extractor gives. Waveforms (wav2vec2, HuBERT, WavLM) are as
long as the clip and padded in batches; masks keep what was padded out of every sum, so that a clip says the same alone
and in any batch. Spectra (Whisper, AST) have one size, to which the extractor fills up or cuts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools.engine import torchvision_operators
from tltools.engine.backbone import Backbone, Batch
from tltools.engine.weights import pretrained
from tltools.modalities import Heard
from tltools.records import Source, refuse

IN_MEMORY = 512 * 2**20  # bytes of clips held in memory; more lies in a temporary memory-mapped file
APART = ("pooler", "masked_spec_embed", "decoder.")  # names of tensors that are not used here


class Sounds:
    """Clips as the model's feature extractor gives them, one after another: float32 (numbers of all clips,)."""

    def __init__(self, values: np.ndarray, sizes: np.ndarray, shape: tuple[int, ...], frames: np.ndarray, every: int):
        """sizes: (N,) numbers of each clip; shape: of a clip where all have one, else ().

        frames: (N,) places of the encoder that hear the clip; every: places of each clip in a batch, 0 = as needed.
        """
        self.values, self._shape, self._frames, self._every = values, shape, frames, every
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.lengths: np.ndarray = np.full(len(frames), every, np.int64) if every else frames

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> Batch:
        """`sounds` (B, n) or (B, *shape) float32, `heard` (B, T) 1 where the encoder hears the clip; of waveforms also
        `attention_mask` (B, n), 1 where the clip still lasts."""
        clips = [self.values[self._offsets[row] : self._offsets[row + 1]] for row in rows]
        frames = self._frames[rows]
        places = self._every or int(frames.max(initial=1))
        heard = torch.from_numpy((np.arange(places) < frames[:, None]).astype(np.int64))
        if self._shape:
            sounds = np.stack(clips).reshape(len(rows), *self._shape)
            return {"sounds": torch.from_numpy(sounds), "heard": heard}
        lengths = np.array([len(clip) for clip in clips])
        padded = np.zeros((len(rows), int(lengths.max(initial=1))), np.float32)
        for place, clip in enumerate(clips):
            padded[place, : len(clip)] = clip
        lasts = np.arange(padded.shape[1]) < lengths[:, None]
        return {
            "sounds": torch.from_numpy(padded), "attention_mask": torch.from_numpy(lasts.astype(np.int64)),
            "heard": heard,
        }  # fmt: skip


class ClipNorm(nn.GroupNorm):
    """A norm of each channel over time, whose statistics are those of the clip, without what was padded."""

    valid: Tensor | None = None  # (B,) places of each row that belong to its clip; None: all

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> the same shape."""
        if self.valid is None or bool((self.valid == x.shape[2]).all()):
            return super().forward(x)
        inside = (torch.arange(x.shape[2], device=x.device) < self.valid[:, None]).unsqueeze(1)
        count = self.valid.view(-1, 1, 1).clamp(min=1)
        mean = (x.float() * inside).sum(2, keepdim=True) / count
        centred = x.float() - mean
        variance = (centred.square() * inside).sum(2, keepdim=True) / count
        scaled: Tensor = centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return scaled


class AudioBackbone(Backbone):
    """What all encoders of sounds share; a kind says what it makes of a clip and where in it the clip is heard."""

    reads = "audio"

    def __init__(self, source: Source, core: nn.Module, extractor: Any) -> None:
        self.rate, self.extractor = int(extractor.sampling_rate), extractor
        super().__init__(source, core, f"audio|{extractor.to_json_string()}")

    def encode(self, items: Sequence[Heard]) -> Sounds:
        sizes, frames, made = [], [], np.zeros(0, np.float32)
        every = self.every(items[0].seconds) if items else 0
        with tempfile.TemporaryFile(prefix="tltools-sounds-") as file:  # gone with the last reference to it
            for item in items:
                clip = item.samples(self.rate)
                made = np.ascontiguousarray(self._extracted(clip, item.seconds), np.float32)
                file.write(made.data)
                sizes.append(made.size)
                frames.append(min(self._frames(len(clip)), every) if every else self._frames(len(clip)))
            file.flush()
            file.seek(0)
            count = int(np.sum(sizes, dtype=np.int64))
            kept = 4 * count <= IN_MEMORY
            values = np.fromfile(file, np.float32) if kept else np.memmap(file, np.float32, mode="r", shape=(count,))
        return Sounds(values, np.array(sizes, np.int64), made.shape if every else (), np.array(frames, np.int64), every)

    def _extracted(self, clip: np.ndarray, seconds: float, **more: Any) -> np.ndarray:
        """(N,) samples of a clip of at most so many seconds -> what the model's own extractor makes of it."""
        made = self.extractor(clip, sampling_rate=self.rate, return_tensors="np", **more)
        return np.asarray(made[self.extractor.model_input_names[0]][0])

    def every(self, seconds: float) -> int:
        """Places that the encoder has for any clip of a dataset; 0 where that depends on the clip."""
        raise NotImplementedError

    def _frames(self, samples: int) -> int:
        """Places of the encoder that hear a clip of so many samples."""
        raise NotImplementedError

    def _places(self, batch: Batch) -> int:
        return batch["heard"].shape[1]

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        return self._pool_stage(output[0], batch)

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        """The mean over the places that hear the clip."""
        weights = batch["heard"].to(states.device, torch.float32)
        return torch.einsum("bld,bl->bd", states.float(), weights) / weights.sum(1, keepdim=True).clamp(min=1.0)


class Waves(AudioBackbone):
    """wav2vec2 and its kin: convolutions over the waveform, then a transformer."""

    writes = True  # zeros into what its stem gives, where a clip has ended

    def __init__(self, source: Source, core: nn.Module, extractor: Any) -> None:
        super().__init__(source, core, extractor)
        config: Any = core.config
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        for module in self.whole()[0].modules():
            for name, norm in module.named_children():
                if isinstance(norm, nn.GroupNorm):  # of the first convolution alone, in the whole family
                    setattr(module, name, ClipNorm(norm))

    def sample(self, rows: int, length: int) -> Batch:
        samples = self.samples_of(length)
        sounds = torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))
        ones = torch.ones(rows, samples, dtype=torch.long)
        return {"sounds": sounds, "attention_mask": ones, "heard": ones[:, :length]}

    def whole(self) -> tuple[nn.Module, ...]:
        body: Any = self.core.base_model  # of a network with a head; else it is the core itself
        front: nn.Module = body.feature_extractor
        return (front,)

    def samples_of(self, places: int) -> int:
        """Samples that so many places of the encoder hear together."""
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            places = (places - 1) * stride + kernel
        return places

    def _extracted(self, clip: np.ndarray, seconds: float, **more: Any) -> np.ndarray:
        return super()._extracted(np.pad(clip, (0, max(0, self.samples_of(1) - len(clip)))), seconds)

    def every(self, seconds: float) -> int:
        return 0

    def _frames(self, samples: int) -> int:
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(1, samples)

    def _run(self, batch: Batch) -> Any:
        mask = batch["attention_mask"]
        for module in self.core.modules():
            if isinstance(module, ClipNorm):
                module.valid = (mask.sum(1) - self.kernels[0]) // self.strides[0] + 1
        return self.core(batch["sounds"], attention_mask=mask)


class Whispers(AudioBackbone):
    """Whisper's encoder. It is given as much as the clips of a dataset last, not always 30 s of which most are silent:
    its table of positions begins with the first moment, so what is left out is its end."""

    def __init__(self, source: Source, core: nn.Module, extractor: Any) -> None:
        super().__init__(source, core, extractor)
        self.most = int(core.config.max_source_positions)  # type: ignore[union-attr, arg-type]
        self.step = 2 * int(extractor.hop_length)  # that a place hears: its second convolution joins two columns
        self.preprocessing += "|cut"

    def sample(self, rows: int, length: int) -> Batch:
        shape = (rows, int(self.extractor.feature_size), 2 * length)
        sounds = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return {"sounds": sounds, "heard": torch.ones(rows, length, dtype=torch.long)}

    def _extracted(self, clip: np.ndarray, seconds: float, **more: Any) -> np.ndarray:
        return super()._extracted(clip, seconds, max_length=self.step * self.every(seconds))

    def every(self, seconds: float) -> int:
        return min(self.most, self._frames(round(seconds * self.rate)))

    def _frames(self, samples: int) -> int:
        return max(1, -(-samples // self.step))

    def encoder(self) -> Any:
        """The part of the core that hears."""
        return self.core

    def _run(self, batch: Batch) -> Any:
        encoder = self.encoder()
        encoder.config.max_source_positions = encoder.embed_positions.num_embeddings = batch["heard"].shape[1]
        return self.core(batch["sounds"])


class Patches(AudioBackbone):
    """AST: a vision transformer over patches of a spectrum that always has the same length."""

    def __init__(self, source: Source, core: nn.Module, extractor: Any) -> None:
        super().__init__(source, core, extractor)
        config: Any = core.config
        self.bands, self.columns = int(config.num_mel_bins), int(config.max_length)
        self.patch, self.steps = int(config.patch_size), (int(config.frequency_stride), int(config.time_stride))

    def find_stages(self) -> None:
        """As for all, on a spectrum of one patch's length: the whole would take minutes on a large model."""
        body: Any = self.core.base_model
        table: nn.Parameter = body.embeddings.position_embeddings
        whole, columns = table.data, self.columns
        self.columns = self.patch
        table.data = whole[:, : self.every(0.0)].clone()
        try:
            super().find_stages()
        finally:
            table.data, self.columns = whole, columns

    def sample(self, rows: int, length: int) -> Batch:
        shape = (rows, self.columns, self.bands)
        sounds = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return {"sounds": sounds, "heard": torch.ones(rows, self.every(0.0), dtype=torch.long)}

    def every(self, seconds: float) -> int:
        sides = zip((self.bands, self.columns), self.steps, strict=True)
        high, wide = ((size - self.patch) // step + 1 for size, step in sides)
        return high * wide + 2  # the class tokens

    def _frames(self, samples: int) -> int:
        """It was trained on spectra filled up with zeros, and pools by its class tokens: every place counts."""
        return self.every(0.0)

    def _run(self, batch: Batch) -> Any:
        return self.core(batch["sounds"])

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        pooled: Tensor = output.pooler_output  # as its library pools: the mean of the class tokens
        return pooled


# what a configuration has -> the kind that reads it so
Kinds = Mapping[str, type[AudioBackbone]]
KINDS: Kinds = {"conv_kernel": Waves, "max_source_positions": Whispers, "frequency_stride": Patches}


def build(source: Source, folder: Path, random: bool) -> AudioBackbone:
    """Builds a sound model from a local folder; nothing is downloaded, no code of the folder is run.

    Raises:
        Refusal: no feature extractor beside the weights, or weights that lack a part of the encoder.
    """
    torchvision_operators.ensure()
    from transformers import AutoModel

    config = configured(folder)
    core: Any = AutoModel.from_config(config) if random else pretrained(folder, config, source.id, APART)
    if getattr(config, "is_encoder_decoder", False):
        core = core.get_encoder()
    backbone = around(source, folder, core, config)
    backbone.find_stages()
    return backbone


def configured(folder: Path) -> Any:
    """The configuration of a folder's network, without what only training does."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.apply_spec_augment = False  # it hides parts of a clip at random, and refuses short ones
    config.layerdrop = config.encoder_layerdrop = 0.0  # a stage is there or it is not
    return config


def around(source: Source, folder: Path, core: Any, config: Any, kinds: Kinds = KINDS) -> AudioBackbone:
    """A backbone of one of the kinds around a network, with the feature extractor of its folder; its stages are not
    found yet.

    Raises:
        Refusal: no feature extractor beside the weights, or a network of none of the kinds.
    """
    from transformers import AutoFeatureExtractor

    if not (folder / "preprocessor_config.json").is_file():
        what = "must have a preprocessor_config.json, which says how sounds are read; there is none."
        raise refuse(source.id, what, "Save the model's feature extractor into its folder with `save_pretrained`.")
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = next((kind for key, kind in kinds.items() if hasattr(config, key)), None)
    if kind is None:
        what = f"is a {config.model_type}, a kind of sound model that is not read here."
        raise refuse(source.id, what, "Choose a wav2vec2, HuBERT, WavLM, Whisper or AST model.")
    return kind(source, core.float().eval(), extractor)
