"""The lines of an exported script that write a text for each row, and what of a model they need in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tltools.engine import classical_dense, classical_written, generators, plain_rules
from tltools.engine.decoder import Decoder
from tltools.engine.generators import OutputLayer, PretrainedDecoder
from tltools.engine.plain_rules import Rule
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.trial_model import ClassicalModel, WriterModel
from tltools.home import write_bytes

Facts = dict[str, Any]
RULES: Mapping[str, Callable[[Any, Any], Rule]] = {  # controls that are said by plain functions
    "lead_words": classical_written.lead_words,
    "word_dictionary": classical_written.word_dictionary,
    "likest_sentence": classical_dense.likest_rule,
}
WRITES = "text"  # what such models draw, among the facts
# parts of a layer -> what `torch.nn.TransformerDecoderLayer` calls them
_PARTS = {
    "own.out": "self_attn.out_proj", "seen.out": "multihead_attn.out_proj", "up": "linear1", "down": "linear2",
    "norms.0": "norm1", "norms.1": "norm2", "norms.2": "norm3",
}  # fmt: skip

OWN = """\
tokenizer = AutoTokenizer.from_pretrained(here)
model = {kind}.from_pretrained(here).float().eval()
"""

READ = """\
def read(texts):
    texts = [facts["before"] + text for text in texts]
    batch = tokenizer(texts, truncation=True, max_length=facts["max_length"], padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
"""

READ_BEFORE_PROMPT = """\
tokenizer.padding_side = "left"


def read(texts):  # tokens, and those of the prompt behind them
    room = facts["max_length"] - len(facts["after"])
    found = tokenizer([facts["before"] + text for text in texts], truncation=True, max_length=room)["input_ids"]
    return dict(tokenizer.pad({"input_ids": [ids + facts["after"] for ids in found]}, return_tensors="pt"))
"""

GENERATE = """\
def write(batch):  # as `generation_config.json` says
    return tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
"""

GO_ON = """\
def write(batch):  # as `generation_config.json` says
    width = batch["input_ids"].shape[1]{rule}
    said = model.generate(**batch{given})
    return tokenizer.batch_decode(said[:, width:], skip_special_tokens=True)
"""

ONCE = """
    once = NoRepeatNGramLogitsProcessor(facts["once"])
    rules = LogitsProcessorList([lambda said, scores: once(said[:, width:], scores)])  # what is read may be said"""

DECODER = """\
pieces, size = Tokenizer.from_file(str(here / "pieces.json")), facts["decoder"]
sizes = size["width"], size["heads"], size["inner"]
layer = torch.nn.TransformerDecoderLayer(*sizes, activation="gelu", batch_first=True)
decoder = torch.nn.TransformerDecoder(layer, size["layers"]).eval()
decoder.load_state_dict({name: value for name, value in head.items() if name.startswith("layers.")})
"""

PIECE_BY_PIECE = """\
def write(batch):  # the likeliest piece each time, until the end; 0 fills up, 1 begins, 2 ends
    mask = batch["attention_mask"]
    states = model(**batch)[0]
    said, done = torch.ones(len(mask), 1, dtype=torch.long), torch.zeros(len(mask), dtype=torch.bool)
    for length in range(1, size["longest"]):
        x = head["words.weight"][said] + head["places.weight"][:length]
        x = F.layer_norm(x, x.shape[2:], head["norm.weight"], head["norm.bias"])
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = decoder(x, states, tgt_mask=ahead, memory_key_padding_mask=mask == 0)
        scores = x[:, -1] @ head["words.weight"].T + head["bias"]
        scores[:, :2] = -torch.inf{once}
        last = scores.argmax(1).masked_fill(done, 2)
        said, done = torch.cat([said, last[:, None]], 1), done | (last == 2)
        if done.all():
            break
    return [pieces.decode(row, skip_special_tokens=True) for row in said.tolist()]
"""

OPEN = """\
if len(sys.argv) != 3:
    sys.exit(__doc__)
here = Path(__file__).resolve().parent
facts = json.loads((here / "preprocessing.json").read_text(encoding="utf-8"))
"""

SAVE = "table.to_csv(sys.argv[2], index=False)\n"

WRITE = """\
found = []
with torch.inference_mode():
    for start in range(0, len(items), 32):
        found += write(read(items[start : start + 32]))
table["prediction"] = [" ".join(text.split()) for text in found]
table.to_csv(sys.argv[2], index=False)
"""


def generator(model: WriterModel, folder: Path) -> Facts:
    """Writes a source that writes, whole and as transformers does; returns the facts for the script."""
    backbone, head = model.model.backbone, model.model.head
    assert isinstance(backbone, TextBackbone) and isinstance(head, PretrainedDecoder | OutputLayer)
    head.settle(backbone.generator[0], _once(model))
    generators.whole(backbone).to("cpu").save_pretrained(folder)
    keep_tokenizer(backbone, folder)
    return {"kind": "generator", "max_length": backbone.limit, "causal": backbone.causal}


def keep_tokenizer(backbone: TextBackbone, folder: Path) -> None:
    """Writes a tokenizer that pads as the model was given its texts."""
    tokenizer = backbone.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(backbone.pad)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)


def decoder(model: WriterModel, folder: Path) -> Facts:
    """Writes an encoder, its decoder as `torch.nn.TransformerDecoder` names its parts, and the pieces; returns facts
    for the script."""
    head = model.model.head.to("cpu")
    assert isinstance(head, Decoder)
    held = {name: value for name, value in head.state_dict().items() if name != "vocabulary"}
    tensors = {f"head.{name}": value for name, value in named(held).items()}
    tensors |= {f"backbone.{name}": value for name, value in model.model.backbone.to("cpu").core.state_dict().items()}
    save_file({name: value.clone().contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    write_bytes(folder / "pieces.json", head.pieces.dumped())
    first: Any = head.layers[0]
    width, inner = first.up.in_features, first.up.out_features
    sizes = {"width": width, "heads": first.own.heads, "inner": inner, "layers": len(head.layers)}
    return {"decoder": sizes | {"longest": head.places.num_embeddings}}


def named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a `Decoder`, its layers named and joined as those of `torch.nn.TransformerDecoder`."""
    found = {name: value for name, value in tensors.items() if not name.startswith("layers.")}
    for name in tensors:
        _, layer, *rest = name.split(".") if name.startswith("layers.") else ("", "", "")
        part, kind = ".".join(rest[:-1]), rest[-1]
        if part in _PARTS:
            found[f"layers.{layer}.{_PARTS[part]}.{kind}"] = tensors[name]
        elif part.endswith(".query"):
            three = [name.replace(".query.", f".{one}.") for one in ("query", "key", "value")]
            attention = _PARTS[part.removesuffix(".query") + ".out"].removesuffix(".out_proj")
            found[f"layers.{layer}.{attention}.in_proj_{kind}"] = torch.cat([tensors[one] for one in three])
    return found


def rule(model: ClassicalModel) -> Rule | None:
    """What a control of texts learned, where plain functions say it."""
    if model.task.objects is None or model.task.objects.classical not in RULES:
        return None
    items, targets, rows = model.fitted
    return RULES[model.task.objects.classical]([items[row] for row in rows], targets[rows])


def _once(model: WriterModel) -> int:
    assert model.task.written is not None
    return model.task.written.once


def common(model: WriterModel) -> Facts:
    """Facts of every model that writes."""
    backbone = model.model.backbone
    assert isinstance(backbone, TextBackbone)
    return {"draws": WRITES, "once": _once(model), "before": backbone.before, "after": list(backbone.after)}


def imports(facts: Facts) -> tuple[list[str], str]:
    """(lines that import beside pandas and torch, line that imports from transformers)."""
    once = ["LogitsProcessorList"] if facts["once"] and facts["kind"] == "generator" and facts["causal"] else []
    if facts["kind"] != "generator":
        others = ["import torch.nn.functional as F", "from safetensors.torch import load_file"]
        lines = "from tokenizers import Tokenizer  # noqa: E402\n"
        lines += "from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: E402\n"
    else:
        others, wanted = [], sorted([_kind(facts), "AutoTokenizer", *once])
        lines = f"from transformers import {', '.join(wanted)}  # noqa: E402\n"
    if facts["once"] and (once or facts["kind"] != "generator"):
        lines += "from transformers.generation import NoRepeatNGramLogitsProcessor  # noqa: E402\n"
    return others, lines


def steps(facts: Facts, items: Sequence[str]) -> list[str]:
    """The parts of the script behind its imports, and behind its model where that is none of transformers'."""
    if facts["kind"] != "generator":
        once = 'NoRepeatNGramLogitsProcessor(facts["once"])(said, scores)'
        rule = f"\n        scores = {once}" if facts["once"] else ""
        return [DECODER, *items, READ, PIECE_BY_PIECE.replace("{once}", rule), WRITE]
    own = OWN.replace("{kind}", _kind(facts))
    if not facts["causal"]:
        return [own, *items, READ, GENERATE, WRITE]
    rule, given = (ONCE, ", logits_processor=rules") if facts["once"] else ("", "")
    return [own, *items, READ_BEFORE_PROMPT, GO_ON.replace("{rule}", rule).replace("{given}", given), WRITE]


def plain(facts: Facts, items: Sequence[str]) -> list[str]:
    """The whole script of a rule behind its title."""
    opened = 'known = json.loads((here / "control.json").read_text(encoding="utf-8"))\n'
    last = f'table["prediction"] = [{facts["says"]}(text, known) for text in items]\n' + SAVE
    lines = plain_rules.lines(facts["says"])
    return ["import pandas as pd\n", OPEN + opened, lines, *items, last]


def _kind(facts: Facts) -> str:
    return "AutoModelForCausalLM" if facts["causal"] else "AutoModelForSeq2SeqLM"
