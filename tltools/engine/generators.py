"""Sources that write as they were pre-trained: encoder-decoders, and language models that go on from a prompt.

The encoder, or the blocks of a language model, are the backbone; what else writes is the head, started from the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tltools.engine.pieces import LONGEST, behind
from tltools.engine.text_backbone import TextBackbone
from tltools.records import Dataset, refuse
from tltools.tasks import Task

LEAST_READ = 16  # tokens of a text that must be read beside what is written


class OwnPieces:
    """The pieces of a source that writes, and where it begins and ends a text."""

    def __init__(self, backbone: TextBackbone) -> None:
        (network,) = backbone.generator
        self.tokenizer, self.continues, said = backbone.tokenizer, backbone.causal, network.generation_config
        ends = said.eos_token_id if said.eos_token_id is not None else self.tokenizer.eos_token_id
        if ends is None:
            raise refuse(backbone.source.id, "names no token that ends a text.", "Choose another model.")
        self.end = int(ends[0] if isinstance(ends, list) else ends)
        self.pad = backbone.pad
        marks = [self.end] if self.continues else self.tokenizer(text_target="")["input_ids"]
        # before a text stands what is configured, or a language that the tokenizer puts behind the end
        own = said.decoder_start_token_id if marks[-1] == self.end else marks[-1]
        self.start = int(self.end if own is None else own)
        self.first = marks[0] if marks[0] != self.end else None  # of every text: a mark, or the language

    def __len__(self) -> int:
        return len(self.tokenizer)

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        if self.continues:  # a blank divides it from the prompt
            found = self.tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"]
            return [[*ids, self.end][:LONGEST] for ids in found]
        found = self.tokenizer(text_target=list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        return [ids[: ids.index(self.end) + 1] if self.end in ids else ids for ids in found]

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


class _Own(nn.Module):
    """What both kinds share: `longest` pieces of a text, which travels with the weights."""

    longest: Tensor

    def __init__(self, backbone: TextBackbone, longest: int) -> None:
        super().__init__()
        self.pieces = OwnPieces(backbone)
        self.out_features = len(self.pieces)
        self.register_buffer("longest", torch.tensor(longest))

    def settle(self, network: Any, once: int) -> None:
        """Lets a network write the likeliest piece each time, as long texts as it was taught; nothing else is kept of
        how it was published to write, such as beams or a least length."""
        from transformers import GenerationConfig

        own = self.pieces
        network.generation_config = GenerationConfig(
            decoder_start_token_id=own.start, forced_bos_token_id=own.first, eos_token_id=own.end, pad_token_id=own.pad,
            suppress_tokens=[own.pad] if own.pad != own.end else None, max_new_tokens=int(self.longest),
            no_repeat_ngram_size=0 if own.continues else once, do_sample=False, num_beams=1, use_cache=True,
        )  # fmt: skip


class PretrainedDecoder(_Own):
    """The decoder of an encoder-decoder; tables of words that both parts share stay those of the encoder."""

    def __init__(self, backbone: TextBackbone, longest: int) -> None:
        super().__init__(backbone, longest)
        (self.network,) = backbone.generator

    def forward(self, states: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """(B, T, V) scores, as `decoder.Decoder.forward`."""
        given = behind(self.pieces.start, wanted, self.pieces.pad)
        seen = self._seen(states)
        found: Tensor = self.network(
            encoder_outputs=seen, attention_mask=mask, decoder_input_ids=given, use_cache=False
        )[0]
        return found

    def write(self, states: Tensor, mask: Tensor, once: int = 0) -> Sequence[Sequence[int]]:
        """The likeliest pieces of each row, one after the other; no run of `once` of them is written twice."""
        self.settle(self.network, once)
        found = self.network.generate(encoder_outputs=self._seen(states), attention_mask=mask)
        written: list[list[int]] = found[:, 1:].tolist()
        return written

    def _seen(self, states: Tensor) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=states)


class OutputLayer(_Own):
    """The last layer of a language model, which scores the piece that comes next."""

    def __init__(self, backbone: TextBackbone, longest: int) -> None:
        super().__init__(backbone, longest)
        self.linear = backbone.generator[0].get_output_embeddings()

    def forward(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        found: Tensor = self.linear(states)
        return found


def head(backbone: TextBackbone, longest: int) -> PretrainedDecoder | OutputLayer:
    """What writes from a backbone, at most `longest` pieces."""
    return (OutputLayer if backbone.causal else PretrainedDecoder)(backbone, longest)


def take(backbone: Any, tensors: Mapping[str, Tensor]) -> None:
    """Puts what a trial taught such a head (`head.*`) into the source that it came from; nothing for other sources."""
    if getattr(backbone, "generator", ()):
        own = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
        head(backbone, 1).load_state_dict(own, strict=False)


class Seen(nn.Module):
    """Stands where an encoder stood, whose states are given."""

    main_input_name = "input_ids"


def classes(config: Any, source_id: str) -> Any:
    """The automatic class of the library that builds such a source whole.

    Raises:
        Refusal: the library knows no way to write with it.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if type(config) not in kind._model_mapping:
        what = f"is a {config.model_type}, which does not write texts from texts."
        raise refuse(source_id, what, "Choose a T5, BART, Marian, mBART or GPT model.")
    return kind


def split(network: Any, source_id: str) -> nn.Module:
    """Takes the part out of a whole network that is a backbone: the encoder, or the blocks before the output layer.

    Raises:
        Refusal: its scores are not those of one linear layer on its states.
    """
    if not network.config.is_encoder_decoder:
        layer = network.get_output_embeddings()
        layer.weight = nn.Parameter(layer.weight.detach().clone())  # so that it can be trained on frozen words
        network.config.tie_word_embeddings = False
        core: nn.Module = network.base_model
        ids = torch.arange(5, 11)[None]
        with torch.no_grad():
            if not torch.allclose(network.eval()(ids)[0], layer(core(ids)[0]), rtol=1e-3, atol=1e-4):
                what = "does not score pieces by one linear layer, so that tltools cannot train it to write."
                raise refuse(source_id, what, "Choose a GPT model.")
        return core
    core = network.get_encoder()
    for module in network.modules():
        for name, child in module.named_children():
            if child is core:
                setattr(module, name, Seen())
                return core
    raise refuse(source_id, "keeps its encoder where tltools does not find it.", "Choose a T5 or BART model.")


def whole(backbone: TextBackbone) -> Any:
    """The whole network again, with its encoder in its place."""
    (network,) = backbone.generator
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, Seen):
                setattr(module, name, backbone.core)
                return network
    return network


def prepare(backbone: TextBackbone, task: Task, dataset: Dataset) -> None:
    """Lets a source be given texts as it was pre-trained to read them: behind a prefix, in their languages, or before a
    prompt. Called once, before `TextBackbone.read_at`.

    Raises:
        Refusal: it must know the languages, and the columns do not tell; or it reads too few tokens.
    """
    assert task.written is not None
    (network,), tokenizer, known_as = backbone.generator, backbone.tokenizer, task.written.known_as
    if backbone.causal:
        before, _, after = task.written.prompt.partition("{}")
        backbone.before, backbone.after = before, tuple(tokenizer(after, add_special_tokens=False)["input_ids"])
        backbone.longest -= LONGEST
        backbone.limit = min(backbone.limit, backbone.longest)
        if backbone.limit < LEAST_READ + len(backbone.after):
            what = f"reads {backbone.longest + LONGEST} tokens, too few beside the {LONGEST} that are written."
            raise refuse(backbone.source.id, what, "Choose a model that reads longer texts.")
        return
    names = [name.lower().replace("-", "_") for name in (dataset.inputs[0], str(dataset.target))]
    languages: list[str | None] = []
    if codes := language_codes(tokenizer):
        languages = [
            next((code for code in codes if name in (code.lower(), code.split("_")[0])), None) for name in names
        ]
        if None in languages and "{}" in known_as:
            what = f"must be told both languages; got the columns {dataset.inputs[0]!r} and {dataset.target!r}."
            remedy = f"Name the columns by its codes, such as {codes[0]} and {codes[-1]}, or by their first letters."
            raise refuse(backbone.source.id, what, remedy)
        own = tokenizer.src_lang or codes[0]
        tokenizer.src_lang, tokenizer.tgt_lang = (code or own for code in languages)
    prefixes = getattr(network.config, "task_specific_params", None) or {}
    task_name = known_as.format(*(name.split("_")[0] for name in names))
    backbone.before = (prefixes.get(task_name) or {}).get("prefix") or ""
    backbone.preprocessing += f"|{languages}"


def language_codes(tokenizer: Any) -> list[str]:
    """The codes of the languages that a tokenizer marks texts with, ascending; none of most."""
    return sorted(getattr(tokenizer, "lang_code_to_id", None) or getattr(tokenizer, "lang_code_to_token", None) or ())
