"""What a prediction hangs on, by its gradients: words of a text, and places of a picture.

Words by integrated gradients (arXiv 1703.01365): from a text whose words are all masked to the text itself, what the
prediction gains on the way is shared out among the words, so that their weights add up to all that it gains. Places by
Grad-CAM (arXiv 1610.02391) on the deepest map that the head reads. A vision transformer whose head reads a class token
reads no place of that map: there attention is followed down to the patches, each layer's weighted by how much the
prediction hangs on it (arXiv 2103.15679, the form of attention rollout, arXiv 2005.00928, that knows of a class).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tltools.engine import marks
from tltools.engine import stages as staging
from tltools.engine.backbone import Batch
from tltools.engine.image_backbone import ImageBackbone, grid, spatial
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.trial_model import NeuralModel, TrialModel
from tltools.modalities import Drawn
from tltools.records import refuse

STEPS = (32, 64, 128, 256)  # points on the way from the masked text, more where they do not suffice
GAP = 0.01  # of all weights of a text together: how far they may miss what they are to add up to
AT_ONCE = 32  # of these points go through the network


def check(model: TrialModel) -> None:
    """Raises:
    Refusal: the model has no gradients to explain it by."""
    where = f"trial {model.trial.id}"
    if not isinstance(model, NeuralModel):
        raise refuse(where, "must be a network for gradients; it is a classical control.", "Ask for occlusion.")
    if "head.rows" in model.head:
        what = "must have a head with gradients; in its head the nearest training rows vote."
        raise refuse(where, what, "Ask for occlusion, or for the nearest training rows.")
    if isinstance(model.backbone, TextBackbone) and not model.backbone.tokenizer.is_fast:
        what = "must have a tokenizer that says which letters a token stands for; that of its source does not."
        raise refuse(where, what, "Ask for occlusion.")


def scores(model: NeuralModel, batch: Batch) -> Tensor:
    """(B, K) what the linear head says, before it is decoded: log probabilities up to a constant, or the number."""
    mean, scale, weight, bias, temperature = (
        model.head[f"head.{name}"].to(model.device.name) for name in ("mean", "scale", "weight", "bias", "temperature")
    )
    return ((model.read(batch) - mean) / scale @ weight.T + bias) / temperature


# --- words ------------------------------------------------------------------------------------------------------------


def words(model: NeuralModel, text: str) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, K) outputs, and what each word adds to the prediction (a probability, or the number's unit).

    `start` is said of the text with every word masked, `end` of the text; the weights add up to `total`, which is
    `end - start` but for the steps of the integration.
    """
    from captum.attr import LayerIntegratedGradients

    backbone: Any = model.backbone
    outputs = model.outputs([text])
    column = int(outputs[0].argmax())
    batch = {name: value.to(model.device.name) for name, value in backbone.encode([text]).take(np.array([0])).items()}
    ids, own = batch["input_ids"], owners(backbone, text, batch["input_ids"].shape[1])
    blank = backbone.pad if backbone.tokenizer.mask_token_id is None else int(backbone.tokenizer.mask_token_id)
    masked = torch.where(torch.from_numpy(own >= 0).to(ids.device), blank, ids)

    def said(ids: Tensor, mask: Tensor) -> Tensor:
        raw = scores(model, {"input_ids": ids, "attention_mask": mask})
        return raw.softmax(1)[:, column] if raw.shape[1] > 1 else raw[:, 0]

    method = LayerIntegratedGradients(said, backbone.core.get_input_embeddings())
    for steps in STEPS:
        found, gap = method.attribute(
            ids, baselines=masked, additional_forward_args=(batch["attention_mask"],), n_steps=steps,
            internal_batch_size=AT_ONCE, return_convergence_delta=True,
        )  # fmt: skip
        tokens = found.sum(-1)[0].double().cpu().numpy()
        if abs(float(gap)) <= GAP * np.abs(tokens).sum():
            break
    with torch.no_grad():
        start, end = (float(said(one, batch["attention_mask"])) for one in (masked, ids))
    whole, read = text.split(), int(own.max(initial=-1)) + 1
    weights = np.bincount(own[own >= 0], tokens[own >= 0], minlength=read)
    return outputs, {
        "text": text,
        "words": [[word, float(weight)] for word, weight in zip(whole[:read], weights, strict=True)],
        "words_left_out": len(whole) - read,
        "start": start,
        "end": end,
        "total": float(tokens.sum()),
    }


def owners(backbone: TextBackbone, text: str, tokens: int) -> np.ndarray:
    """(tokens,) which word of the text, of those that blanks divide, each token is of; -1 of none."""
    shift = len(backbone.before)
    letters = np.full(shift + len(text), -1)
    for number, word in enumerate(re.finditer(r"\S+", text)):
        letters[shift + word.start() : shift + word.end()] = number
    room = backbone.limit - len(backbone.after)
    told = backbone.tokenizer(backbone.before + text, truncation=True, max_length=room, return_offsets_mapping=True)
    spans = told["offset_mapping"]
    found = np.full(tokens, -1)
    found[: len(spans)] = [letters[first:end].max(initial=-1) for first, end in spans]
    return found


# --- places -----------------------------------------------------------------------------------------------------------


def places(model: NeuralModel, item: str | Drawn) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, K) outputs, and how much each place of a map speaks for the prediction: its class against all others, in log
    odds, or its number. What speaks against it is kept, below zero. `partial`: the head reads shallower layers, too, of
    which the map does not tell."""
    backbone = model.backbone
    assert isinstance(backbone, ImageBackbone), "pictures are read by nothing else"
    outputs = model.outputs([item])
    column = int(outputs[0].argmax())
    batch = {name: value.to(model.device.name) for name, value in backbone.encode([item]).take(np.array([0])).items()}
    batch["pixel_values"].requires_grad_()  # so that maps have gradients in a network whose weights are frozen
    with staging.capturing(backbone.exits(), stop=False) as found, Attentions() as attentions:
        raw = scores(model, batch)[0]
    others = [k for k in range(len(raw)) if k != column]
    score = raw[column] - (raw[others].logsumexp(0) if others else 0)
    maps = [x for _, x in sorted(found.items()) if spatial(x)]
    if not maps:
        what = "must keep places of the picture for Grad-CAM; none of its layers does."
        raise refuse(f"trial {model.trial.id}", what, "Ask for occlusion.")
    known = [*maps, *attentions.kept]
    given = torch.autograd.grad(score, known, allow_unused=True)
    slopes = [torch.zeros_like(x) if slope is None else slope for x, slope in zip(known, given, strict=True)]
    top, count = maps[-1], len(maps)
    read = [bool(grid(slope).any()) for slope in slopes[:count]]
    if not read[-1] and attentions.all_of(top):
        method, asked = "attention times gradient", slopes[count - 1].norm(dim=2)[0]
        weights = relevance(attentions.kept, slopes[count:], asked, grid(top).shape[2])
    else:
        method, at = "Grad-CAM", max((k for k in range(count) if read[k]), default=count - 1)
        weights = cam(maps[at], slopes[at])
    picture, shown = marks.opened(item), weights.double().cpu().numpy()
    return outputs, {
        "image": str(item),
        "weights": shown.tolist(),
        "map_png": marks.overlay(shown, picture.width, picture.height),
        "method": method,
        "partial": model.all_layers,
    }


def cam(states: Tensor, slope: Tensor) -> Tensor:
    """A map of one picture and the gradient on it, in any of their layouts -> (h, w): each channel weighted by its mean
    gradient (equations 1 and 2 of Grad-CAM, without the ReLU: what is below zero speaks for other classes)."""
    return (grid(slope).mean((2, 3), keepdim=True) * grid(states)).sum(1)[0].detach()


def relevance(attentions: Sequence[Tensor], slopes: Sequence[Tensor], asked: Tensor, side: int) -> Tensor:
    """Attention (1, H, L, L) of each layer, bottom first, and the gradient on it -> (side, side): how much of each
    patch reaches the tokens that the head reads, `asked` (L,) by how much. Equations 5 and 6 of arXiv 2103.15679."""
    rolled = torch.eye(len(asked), device=asked.device)
    for attention, slope in zip(attentions, slopes, strict=True):
        rolled = rolled + (attention * slope).clamp(min=0).mean(1)[0] @ rolled
    share = asked / asked.sum().clamp(min=1e-12)
    return (share @ rolled)[-side * side :].reshape(side, side).detach()


class Attentions(TorchFunctionMode):
    """While it is entered, the attention (B, H, L, L) of every layer is worked out openly and kept, bottom first."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def all_of(self, states: Tensor) -> bool:
        """Whether every layer attends from all tokens (1, L, D) of a picture to all: not in windows, nor over fewer."""
        whole = (1, states.shape[1], states.shape[1])
        square = [(one.shape[0], *one.shape[2:]) == whole for one in self.kept]
        return states.dim() == 3 and bool(square) and all(square)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.scaled_dot_product_attention:
            return self._attended(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _attended(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        if is_causal or enable_gqa:  # of texts: no encoder of pictures has them
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        raw = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            raw = raw.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else raw + attn_mask
        self.kept.append(raw.softmax(-1))
        return self.kept[-1] @ value
