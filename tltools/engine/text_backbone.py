"""Text source models: any transformers encoder or decoder, tokens in, one vector a text out.

Encoders are pooled by the mean over tokens, as sentence-transformers does. Causal decoders are recognised by a dry
run (a later token must not change an earlier state) and pooled by a mean weighted with the position, because only late
states have seen the text (SGPT, arXiv 2202.08904).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tltools import answers
from tltools.engine import torchvision_operators
from tltools.engine.backbone import DRY_LENGTH, DRY_RUN_ERRORS, Backbone, Batch
from tltools.engine.weights import pretrained
from tltools.fits import MOST_TOKENS, POSITIONS, tokens_read
from tltools.records import Source, refuse

PROBE = "Größe, 42 don't\n ABC_12 İstanbul 漢字"  # shows case, accents, spaces and unknown letters
MOVES = 1e-4  # of the size of states: how far those of a text may change beside a longer one
KEPT = "sdpa_kept"  # the library's own attention, but for dropout
NEVER = -1e4  # score of every tag where there is no word
UNSEEN = -4.0  # of every tag but the first, of a word that was not read
CLOSED = -1e3  # of every class of a word that cannot be said
CUT, NO_WORD = -1, -2  # in place of where a word begins: beyond the limit of tokens; there is none
SHUT = -3  # it cannot be said: where one of the words of a context is asked for, it is none of them, or was not read


class Tokens:
    """Texts as ragged token ids; `starts` (N, W) says at which token each word begins, where words are asked for."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray, pad: int, starts: np.ndarray | None = None) -> None:
        self._ids, self._offsets, self._pad, self._starts = ids, offsets, pad, starts
        self.lengths: np.ndarray = np.diff(offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> Batch:
        """`input_ids` and `attention_mask` (B, L), padded on the right to the longest of the batch."""
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=1))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : lengths[place]] = self._ids[self._offsets[row] : self._offsets[row + 1]]
        mask = np.arange(width)[None, :] < lengths[:, None]
        batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        if self._starts is None:
            return batch
        starts = self._starts[rows]
        most = max(1, int((starts != NO_WORD).sum(1).max()))
        return {**batch, "starts": torch.from_numpy(starts[:, :most]).long(), "words": torch.tensor(starts.shape[1])}


def _print(tokenizer: Any) -> str:
    """What a tokenizer makes of texts, as a hash: activations of one must not be taken for those of another."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        said = backend.to_str()
    else:  # written in Python
        said = json.dumps([tokenizer.get_vocab(), tokenizer(PROBE)["input_ids"]], sort_keys=True)
    return f"{tokenizer.__class__.__name__}|{hashlib.sha256(said.encode()).hexdigest()}"


class TextBackbone(Backbone):
    """See the module's text."""

    reads = "text"

    def __init__(self, source: Source, core: nn.Module, tokenizer: Any, limit: int, longest: int) -> None:
        super().__init__(source, core, f"text|{limit}|{_print(tokenizer)}")
        self.tokenizer = tokenizer
        self.limit, self.longest = limit, longest  # tokens of a text that are read, and that could be
        self.letters = 0  # to so many, shorter texts are filled up with blanks
        self.alone = False  # True: texts are read beside those of their own length only
        self.causal = False
        self.by_words, self.asked = False, False
        self.generator: tuple[Any, ...] = ()  # the whole network of a source that writes, its `core` apart; a tuple, so
        # that it is no part of this module: what else is in it belongs to a head
        self.before, self.after = "", tuple[int, ...]()  # letters before each text, and tokens behind it
        self.unit = False  # whether pooled features have length 1: of models tuned by the cosines of pairs

    def encode(self, items: Sequence[Any]) -> Tokens:
        texts = [f"{self.before}{item}" for item in items]
        room, after = self.limit - len(self.after), list(self.after)
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        parts: list[np.ndarray] = []
        for start in range(0, len(texts), 10_000):  # bounded memory, also for a million rows
            some = [text.ljust(self.letters) for text in texts[start : start + 10_000]]
            found = self.tokenizer(some, truncation=True, max_length=room)["input_ids"]
            found = [[*ids, *after] or [self.pad] for ids in found]  # an empty text still needs one token
            offsets[start + 1 : start + 1 + len(found)] = [len(ids) for ids in found]
            parts.append(np.concatenate([np.asarray(ids, dtype=np.int32) for ids in found]))
        ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
        return Tokens(ids, offsets.cumsum(), self.pad, self._starts(texts) if self.by_words else None)

    def _starts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, W) int16: the first token of each word that blanks divide, `CUT`, `NO_WORD` or `SHUT`."""
        most = max((text.count(" ") + 1 for text in texts), default=1)
        starts = np.full((len(texts), most), NO_WORD, np.int16)
        for row, text in enumerate(texts):
            spans = self.tokenizer(text, truncation=True, max_length=self.limit, return_offsets_mapping=True)
            begins = {first: place for place, (first, end) in reversed(list(enumerate(spans["offset_mapping"]))) if end}
            at = 0
            for word, letters in enumerate(text.split(" ")):
                starts[row, word] = next((begins[k] for k in range(at - 1, at + len(letters)) if k in begins), CUT)
                at += len(letters) + 1
            if self.asked:
                starts[row, 1 : answers.begin(text)] = SHUT
                starts[row, starts[row] == CUT] = SHUT
        return starts

    def read_at(self, side: int, tokens: int = 0, asked: bool = False, words: bool = True) -> None:
        self.by_words, self.asked = words, asked
        self.limit = min(tokens_read(self.source, tokens), self.longest)
        if self.limit > MOST_TOKENS:
            _keep_attention(self.core)
        self.preprocessing += f"|{'words' if words else 'tokens'}|{self.limit}|{asked}|{self.before}|{self.after}"

    def maps(self, batch: Batch) -> list[tuple[int, Tensor]]:
        """One (B, W, D) at the last stage: the state of the first token of each word, or (B, L, D) of all tokens."""
        states: Tensor = self._by_length(batch, lambda some: self._run(some)[0])
        if not self.by_words:
            return [(len(self.stages) - 1, states.float())]
        places = batch["starts"].clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
        return [(len(self.stages) - 1, states.gather(1, places).float())]

    def settled(self, raw: Tensor, batch: Batch) -> Tensor:
        """(B, words of the longest row, K) scores: words beyond the limit are of the first class; no word, no class."""
        starts = batch["starts"].unsqueeze(-1)
        first = torch.arange(raw.shape[-1], device=raw.device) == 0
        raw = torch.where(starts == CUT, torch.where(first, 0.0, UNSEEN), raw)
        raw = raw.masked_fill(starts == SHUT, CLOSED).masked_fill(starts == NO_WORD, NEVER)
        return nn.functional.pad(raw, (0, 0, 0, int(batch["words"]) - raw.shape[1]), value=NEVER)

    @property
    def pad(self) -> int:
        for found in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0):
            if found is not None:
                return int(found)
        return 0

    def sample(self, rows: int, length: int) -> Batch:
        ids = torch.arange(rows * length).reshape(rows, length) % max(min(90, self.tokenizer.vocab_size - 5), 1) + 5
        batch = {"input_ids": ids, "attention_mask": torch.ones(rows, length, dtype=torch.long)}
        if self.by_words:
            batch |= {"starts": torch.zeros(rows, 1, dtype=torch.long), "words": torch.tensor(1)}
        return batch

    def forward(self, batch: Batch) -> Tensor:
        return self._by_length(batch, super().forward)

    def forward_stages(self, batch: Batch) -> list[Tensor]:
        read, widths = super().forward_stages, list[int]()

        def side_by_side(some: Batch) -> Tensor:
            found = read(some)
            widths[:] = [stage.shape[1] for stage in found]
            return torch.cat(found, 1)

        return list(torch.split(self._by_length(batch, side_by_side), widths, 1)) if self.alone else read(batch)

    def states(self, batch: Batch, boundary: int) -> Tensor:
        read = super().states
        return self._by_length(batch, lambda some: read(some, boundary))

    def resume(self, batch: Batch, states: Tensor, boundary: int) -> Tensor:
        read = super().resume
        return self._by_length({**batch, "states": states}, lambda some: read(some, some["states"], boundary))

    def _by_length(self, batch: Batch, read: Callable[[Batch], Tensor]) -> Tensor:
        """What is read of a batch: at once or, of a network that attends to what fills a batch up, length by length."""
        if not self.alone:
            return read(batch)
        lengths = batch["attention_mask"].sum(1)
        places, found, several = [], [], sorted(set(lengths.tolist()))
        if len(several) == 1:
            return read(batch)
        for length in several:
            rows = (lengths == length).nonzero()[:, 0]
            some = {key: value[rows] if value.dim() else value for key, value in batch.items()}
            some |= {key: some[key][:, :length] for key in ("input_ids", "attention_mask", "states") if key in some}
            part = read(some)
            places.append(rows)
            found.append(nn.functional.pad(part, (0, 0, 0, several[-1] - length)) if part.dim() == 3 else part)
        return torch.cat(found)[torch.cat(places).argsort()]

    def _run(self, batch: Batch) -> Any:
        return self.core(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    def _pool(self, output: Any, batch: Batch) -> Tensor:
        pooled = self._pool_stage(output[0], batch)
        return nn.functional.normalize(pooled, dim=1) if self.unit else pooled

    def _pool_stage(self, states: Tensor, batch: Batch) -> Tensor:
        weights = batch["attention_mask"].to(states.device, torch.float32)
        if self.causal:
            weights = weights * torch.arange(1, weights.shape[1] + 1, device=weights.device)
        summed = torch.einsum("bld,bl->bd", states.float(), weights)
        return summed / weights.sum(1, keepdim=True).clamp(min=1.0)

    def _before_dry_run(self) -> None:
        """Sets `causal` by changing the last token and looking at the first state."""
        batch = self.sample(2, 7)
        changed = {**batch, "input_ids": batch["input_ids"].clone()}
        changed["input_ids"][:, -1] -= 1
        first, second = self._run(batch)[0][:, 0], self._run(changed)[0][:, 0]
        self.causal = bool(torch.equal(first, second))
        self.preprocessing += "|causal" if self.causal else "|mean"


def build(source: Source, folder: Path, random: bool) -> TextBackbone:
    """Builds a transformers text model from a local folder; nothing is downloaded, no code of the folder is run."""
    torchvision_operators.ensure()
    from transformers import AutoModel

    from tltools.engine import generators

    config = configured(folder)
    kind = generators.classes(config, source.id) if source.writes else AutoModel
    if random:
        network = kind.from_config(config, attn_implementation="sdpa" if _sdpa(config) else "eager")
    else:
        network = pretrained(folder, config, source.id, ("pooler", "position_ids"), kind)
    core: Any = network
    if source.writes:
        core = generators.split(network, source.id)
    elif getattr(config, "is_encoder_decoder", False):
        core = network.get_encoder()
    if getattr(core, "pooler", None) is not None:
        core.pooler = None  # trained for another task; the mean over tokens is what is used
    backbone = around(source, folder, core, config)
    backbone.generator = (network.float().eval(),) if source.writes else ()
    backbone.find_stages()
    return backbone


def configured(folder: Path) -> Any:
    """The configuration of a folder's network."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.use_cache = False
    return config


def around(
    source: Source, folder: Path, core: Any, config: Any, kind: type[TextBackbone] = TextBackbone
) -> TextBackbone:
    """A backbone of some kind around a network, with the tokenizer of its folder; its stages are not found yet."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    positions = _positions(core, config)
    if (told := int(source.options.get("max_tokens", 0))) > positions:
        what = f"has positions for {positions:,} tokens of a text; got {told:,}."
        raise refuse(source.id, what, f"Let it read {positions}, or less.")
    longest = min(source.max_length or positions, positions)
    limit = min(tokens_read(source), longest)
    if limit > MOST_TOKENS:
        _keep_attention(core)
    backbone = kind(source, core.float().eval(), tokenizer, limit, longest)
    _fill_up(backbone)
    backbone.alone = _moves(backbone)
    backbone.preprocessing += "|alone" if backbone.alone else ""
    return backbone


def _moves(backbone: TextBackbone) -> bool:
    """Whether the states of a text hang on how much it is filled up: FNet, YOSO, ConvBERT and Nystromformer mask none
    of that, or not all."""
    texts = backbone.encode([PROBE[:12], 3 * PROBE])
    with suppress(*DRY_RUN_ERRORS), torch.no_grad():  # the dry run says what is wrong with others
        alone, beside = (backbone._run(texts.take(np.array(rows)))[0] for rows in ([0], [0, 1]))
        moved = (alone[0] - beside[0, : alone.shape[1]]).abs().max()
        return alone.dim() == 3 and bool(moved > MOVES * alone.abs().max())
    return False


def _fill_up(backbone: TextBackbone) -> None:
    """Finds how many letters a text must have: CANINE, which joins neighbouring letters, cannot read an empty one."""
    for letters in range(DRY_LENGTH):
        backbone.letters = letters
        with suppress(*DRY_RUN_ERRORS), torch.no_grad():
            backbone._run(backbone.encode([""]).take(np.zeros(1, np.int64)))
            break
    else:  # then the dry run says what is wrong with it
        backbone.letters = 0
    backbone.preprocessing += f"|{backbone.letters} letters" if backbone.letters else ""


def _positions(core: Any, config: Any) -> int:
    """Of how many tokens a network can know the places."""
    said = getattr(config, "max_position_embeddings", None) or 0
    said = said if said > 0 else POSITIONS  # XLNet says -1: it knows places by their distances
    for name, module in core.named_modules():  # RoBERTa and its kin count from behind the place of what fills up
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return min(said, module.num_embeddings - module.padding_idx - 1)
    return int(said)


def _sdpa(config: Any) -> bool:
    from transformers import AutoModel

    kind = type(config)
    model = AutoModel._model_mapping.get(kind, None)
    return bool(getattr(model, "_supports_sdpa", False))


def _keep_attention(core: Any) -> None:
    """Takes the dropout of attention weights away; that of states stays.

    With it no fused kernel of a CPU serves: every weight of every pair of tokens is kept for the gradients, and a step
    at 384 tokens takes twice the time and several times the memory.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def kept(*args: Any, dropout: float = 0.0, **more: Any) -> Any:
        return sdpa_attention_forward(*args, dropout=0.0, **more)

    if getattr(core.config, "_attn_implementation", "") == "sdpa":
        AttentionInterface.register(KEPT, kept)
        AttentionMaskInterface.register(KEPT, sdpa_mask)
        core.set_attn_implementation(KEPT)
