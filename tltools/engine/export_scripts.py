"""Writes the `predict.py` of an export: a short script that needs torch or scikit-learn, but not tltools.

What it must know stands in `preprocessing.json`; here the few lines that a kind of model needs are put together, so
that a reader finds no branch in the script that the model does not take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltools.engine import (
    export_classifiers,
    export_detectors,
    export_frames,
    export_groups,
    export_places,
    export_sounds,
    export_tables,
    export_texts,
    export_words,
    torchvision_operators,
)
from tltools.modalities import Exported, modalities

Facts = dict[str, Any]

SHIM = """\
try:
    import torchvision  # noqa: F401
except ImportError:
    pass
except RuntimeError:  # a build that does not fit this torch: declare the two operators that its import asks for
    _ = [sys.modules.pop(name) for name in list(sys.modules) if name.startswith("torchvision")]
    shim = torch.library.Library("torchvision", "FRAGMENT")
    shim.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    shim.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""

STANDARD = ("csv", "hashlib", "io", "json", "math", "re", "sys")  # modules that a script imports where it uses them

WEIGHTS = """\
tensors = load_file(here / "model.safetensors")
head = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
body = {name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")}
"""

HOOKS = """\
seen = {}
for name in facts["layers"]:  # the head reads these layers, then the last one
    keep = lambda module, given, out, name=name: seen.update({name: out if torch.is_tensor(out) else out[0]})
    model.get_submodule(name).register_forward_hook(keep)
"""

POOL = """\
def pool(x):  # (rows, width) from pictures of features or sequences
    if x.dim() == 4:
        return x.mean((1, 2) if x.shape[1] == x.shape[2] != x.shape[3] else (2, 3))
    return x.mean(1) if x.dim() == 3 else x
"""

ITEMS = """\
hidden = lambda path: "/." in f"/{path.relative_to(given).as_posix()}"
items = [path for path in sorted(given.rglob("*")) if path.suffix.lower() in kinds and not hidden(path)]
items = items if given.is_dir() else [given]
if not items:
    sys.exit(f"{given} holds no file that ends in {', '.join(sorted(kinds))}: add the files to predict")
if bad := list(filter(None, map(fault, items))):  # all that cannot be read, before anything is written
    sys.exit({{told}})"""

FILES = """\
given, kinds = Path(sys.argv[1]), {{endings}}
{{items}}
table = pd.DataFrame({"file": [path.name if path == given else path.relative_to(given).as_posix() for path in items]})
"""

READ_PICTURE = """\
def read(path):  # the whole picture squeezed into a square
    image = picture(path).resize((facts["image_size"], facts["image_size"]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
"""

TEXT_FEATURES = """\
def features(texts):
    batch = tokenizer({texts}, truncation=True, max_length=facts["max_length"], padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    last = model(input_ids=batch["input_ids"], attention_mask=mask)[0]
    weight = mask.float()[:, :, None]{causal}
    return {pooled}
"""

IMAGE_FEATURES = """\
def features(paths):
    pixels = torch.stack([read(path) for path in paths])
    pixels = (pixels - torch.tensor(facts["mean"]).view(3, 1, 1)) / torch.tensor(facts["std"]).view(3, 1, 1)
    last = {last}
    return {pooled}
"""

DECIDE = """\
found = []
with torch.inference_mode():
    for start in range(0, len(items), {at_once}):
        read_now = features(items[start : start + {at_once}])
        {raw}
        found.append({decided})
scores = torch.cat(found).numpy()
"""

LINEAR = '(read_now - head["mean"]) / head["scale"] @ head["weight"].T + head["bias"]'

VOTES = """\
def votes(rows):  # logarithms of what the training rows most like each row say of its class, smoothed
    k = int(head["k"])
    likeness = torch.nn.functional.normalize((rows - head["mean"]) / head["scale"]) @ head["rows"].T
    likeness, near = torch.nn.functional.pad(likeness, (0, 1), value=-2.0).topk(k + 1)
    likeness, floor, near = likeness[:, :k], likeness[:, k:].clamp(min=-1), near[:, :k]
    span = likeness[:, :1] - floor
    each = torch.where(span > 1e-6, (likeness - floor) / span.clamp(min=1e-6), 1.0) * head["weights"][near]
    said = torch.zeros(len(rows), len(facts["classes"])).scatter_add(1, head["codes"].long()[near], each)
    return (said + 1 / said.shape[1]).log()
"""

PICK_CLASS = 'table["prediction"] = [facts["classes"][code] for code in scores.argmax(1)]\n'

PICK_LABELS = """\
table["prediction"] = ["|".join(name for name, p in zip(facts["classes"], row) if p >= 0.5) for row in scores]
"""

WRITE_CLASSES = """\
for k, name in enumerate(facts["classes"]):
    table[f"p_{name}"] = scores[:, k]
table.to_csv(sys.argv[2], index=False)
"""

WRITE_NUMBERS = """\
table["prediction"] = scores[:, 0]
table.to_csv(sys.argv[2], index=False)
"""


def script(facts: Facts) -> str:
    """The source of `predict.py` for what `preprocessing.json` says."""
    if facts["kind"] == "detector":
        parts = _detector(facts)
    else:
        parts = _neural(facts) if "layers" in facts else _classical(facts)
    if not facts["draws"] and facts["kind"] != "rule":
        picks = PICK_LABELS if facts["several"] else PICK_CLASS
        parts.append(picks + WRITE_CLASSES if facts["classes"] else WRITE_NUMBERS)
    text, before = "", ""
    for part in (_title(facts), _standard(parts, "layers" in facts or facts["kind"] == "detector"), *parts):
        inside = before.rstrip("\n").rpartition("\n")[2].startswith(" ")  # it ends in the body of a function
        wide = inside or part.startswith("def ") or "\n\n\ndef " in part
        gap = "\n\n" if wide else "\n" if before else ""
        text, before = text + gap + part, part
    return text


def _title(facts: Facts) -> str:
    files = modalities()[facts["modality"]].files
    given = f"FOLDER_OR_{files.one.split()[-1].upper()}" if files else "ROWS.csv"
    answer = export_places.ANSWERS.get(facts["draws"], "PREDICTIONS.csv")
    how = f"`python predict.py {given} {answer}` after `pip install -r requirements.txt`"
    return f'"""Predicts new rows: {how}."""\n'


def _standard(parts: Sequence[str], neural: bool) -> str:
    """The lines that import what the parts use of the standard library."""
    used = [name for name in STANDARD if re.search(rf"(?<![\w.]){name}\.", "".join(parts))]
    future = "" if neural else "from __future__ import annotations\n\n"  # functions of tltools are annotated
    return future + "".join(f"import {name}\n" for name in used) + "from pathlib import Path\n"


def _neural(facts: Facts) -> list[str]:
    kind, exported = facts["kind"], reading_files(facts)
    others = ["import pandas as pd", "import torch", "from safetensors.torch import load_file"]
    if kind in ("table", "cells"):
        others[2:2] = ["import torch.nn.functional as F"]
    if kind not in ("text", "table", "cells"):
        others.insert(0, "import numpy as np")
    if writes := facts["draws"] == export_texts.WRITES:
        others, last = export_texts.imports(facts)
        others = ["import pandas as pd", "import torch", *others]
    elif facts["draws"]:  # pictures need no table
        others[1:] = ["import torch", "import torch.nn.functional as F", others[-1]]
    others += exported.imports if exported else ()
    parts = ["\n".join(others) + "\n"]
    if kind != "table" and torchvision_operators.ensure() == "declared":
        parts.append(SHIM)  # this machine needs it, so the next one may
    if writes:
        parts.append(last)
    elif kind == "timm":
        parts.append("import timm  # noqa: E402\n")
    elif kind != "table":
        readers = {"text": ["AutoTokenizer"], "audio": ["AutoFeatureExtractor"]}.get(kind, [])
        wanted = ", ".join(sorted(["AutoConfig", facts["network"], *readers]))
        parts.append(f"from transformers import {wanted}  # noqa: E402\n")
    if kind == "generator":
        return [*parts, export_texts.OPEN, *export_texts.steps(facts, _items(facts))]
    parts.append(export_texts.OPEN + WEIGHTS)
    parts += _model(facts)
    if writes:
        return [*parts, *export_texts.steps(facts, _items(facts))]
    if facts["draws"] in export_words.STEPS:
        return [*parts, *_items(facts), *export_words.STEPS[facts["draws"]]]
    if facts["draws"]:
        assert exported is not None, "what is drawn on are pictures in files"
        listed = _listed(exported, export_places.GIVEN)
        return [*parts, exported.code, listed, READ_PICTURE, *export_places.steps(facts)]
    parts += _items(facts)
    parts += _features(facts)
    squashed = "sigmoid()" if facts["several"] else "softmax(1)"
    decided = f'(raw / head["temperature"]).{squashed}' if facts["classes"] else "raw"
    if facts["neighbours"]:
        parts.append(VOTES)
    raw = "votes(read_now)" if facts["neighbours"] else LINEAR
    at_once = "1" if facts.get("alone") else "64"  # a text says something else beside longer ones
    parts.append(DECIDE.replace("{at_once}", at_once).replace("{raw}", f"raw = {raw}").replace("{decided}", decided))
    return [*parts, *(export_groups.steps(facts) if "thresholds" in facts else ())]


def _detector(facts: Facts) -> list[str]:
    assert (exported := reading_files(facts)) is not None, "what boxes are drawn on are pictures in files"
    others = ["import numpy as np", "import torch", *exported.imports]
    shim = [SHIM] if torchvision_operators.ensure() == "declared" else []
    listed = _listed(exported, export_places.GIVEN)
    opened = export_texts.OPEN + export_detectors.MODEL
    return ["\n".join(others) + "\n", *shim, export_detectors.IMPORT, opened, exported.code, listed,
            READ_PICTURE, export_places.SIZE, export_detectors.BOXES]  # fmt: skip


def _model(facts: Facts) -> list[str]:
    if facts["kind"] == "table":
        return []
    if facts["kind"] == "timm":
        made = 'timm.create_model(facts["architecture"], pretrained=False, num_classes=0, **facts["options"])'
        lines = f"model = {made}.float().eval()\nmodel.load_state_dict(body)\n"
    else:
        made = f"AutoModel.from_config(AutoConfig.from_pretrained(here)){'.get_encoder()' if facts['encoder'] else ''}"
        lines = f"model = {made}.float().eval()\n"
        lines += "model.load_state_dict(body, strict=False)  # a pooler, if there is one, is not used\n"
        if export_classifiers.whole(facts):
            lines = export_classifiers.MODEL.replace("{network}", facts["network"])
        if facts["kind"] == "text":
            lines += "tokenizer = AutoTokenizer.from_pretrained(here)\n"
        if facts["kind"] == "audio":
            lines += "listen = AutoFeatureExtractor.from_pretrained(here)\n"
    hooks = HOOKS.replace(", then the last one", "") if facts["draws"] else HOOKS
    return [lines + (hooks if facts["layers"] else "")]


def reading_files(facts: Facts) -> Exported | None:
    """What the modality says of files in a script: as pictures or waves for a network, described for a control."""
    files = modalities()[facts["modality"]].files
    if files is None:
        return None
    if facts["kind"] in ("audio", "frames"):
        return files.exported("samples" if facts["kind"] == "audio" else "frames")
    return files.exported("describe" if facts["kind"] == "scikit-learn" and not facts["draws"] else "picture")


def _listed(exported: Exported, lines: str = FILES) -> str:
    found = lines.replace("{{items}}", ITEMS.replace("{{told}}", export_tables.TOLD))
    return found.replace("{{endings}}", "{" + ", ".join(f'"{one}"' for one in exported.endings) + "}")


def _items(facts: Facts) -> list[str]:
    if exported := reading_files(facts):
        return [exported.code, _listed(exported)]
    if facts["kind"] in ("table", "cells"):
        return export_tables.given(facts, "items = cells\n")
    if strings := modalities()[facts["modality"]].strings:
        reads = "frames" if facts["kind"] == "frames" else "text"
        return [*export_tables.given_as_texts(facts, export_tables.JOINED), *filter(None, [strings.exported(reads)])]
    return export_tables.given_as_texts(facts, export_tables.SENTENCES)


def _features(facts: Facts) -> list[str]:
    layered, exported = bool(facts["layers"]), reading_files(facts)
    if facts["kind"] == "table":
        return export_tables.steps(facts)
    texts = "[text or tokenizer.pad_token for text in texts]" if facts.get("bare") else "texts"
    texts = '[text.ljust(facts["letters"]) for text in texts]' if facts.get("letters") else texts
    if export_classifiers.whole(facts):
        read = READ_PICTURE if facts["kind"] == "vision" else ""
        before = [exported.code, read] if exported else []
        return [*filter(None, before), export_classifiers.features(facts, texts)]
    if facts["kind"] == "text":
        mean = "({x} * weight).sum(1) / weight.sum(1).clamp(min=1)"
        every = f"torch.cat([{mean.format(x='x')} for x in (*seen.values(), last)], 1)"
        plain = mean.format(x="last")
        plain = f"torch.nn.functional.normalize({plain})" if facts["unit"] else plain
        found = TEXT_FEATURES.replace("{pooled}", every if layered else plain).replace("{texts}", texts)
        return [found.replace("{causal}", " * torch.arange(1, mask.shape[1] + 1)[:, None]" if facts["causal"] else "")]
    if facts["kind"] in ("frames", "cells"):
        return export_frames.steps(facts)
    if facts["kind"] == "audio":
        return export_sounds.steps(facts)
    last = "model(pixels)"
    if facts["kind"] != "timm":
        last += ".pooler_output.flatten(1)" if facts["pooled"] else "[0][:, 0]" if facts["class_token"] else "[0]"
    every = "torch.cat([pool(x) for x in (*seen.values(), last)], 1)"
    plain = "last" if facts["flat"] else "pool(last)"
    found = IMAGE_FEATURES.replace("{last}", last).replace("{pooled}", every if layered else plain)
    return [*([POOL] if layered or not facts["flat"] else []), READ_PICTURE, found]


def _classical(facts: Facts) -> list[str]:
    if facts["kind"] == "rule":
        return export_texts.plain(facts, _items(facts))
    if "tags" in facts:
        return export_words.by_shape(_items(facts))
    if facts["draws"]:
        assert (files := reading_files(facts)) is not None, "what is drawn on are pictures in files"
        imports, steps = export_places.CLASSICAL[facts["draws"]]
        code = files.code if "picture(" in steps[-1] else files.opened
        return [imports, export_texts.OPEN, code, _listed(files, export_places.GIVEN), *steps]
    others = ["import numpy as np", "import pandas as pd", "import skops.io"]
    exported = reading_files(facts)
    others += exported.imports if exported else ()
    parts = ["\n".join(others) + "\n"]
    opened = 'model = skops.io.load(here / "model.skops", trusted=facts["trusted"])  # no code runs when it is read\n'
    parts += [export_texts.OPEN + opened]
    if exported:
        parts += [exported.code, _listed(exported) + "items = describe(items)\n"]
    elif strings := modalities()[facts["modality"]].strings:
        parts += export_tables.given_as_texts(facts, export_tables.JOINED)
        parts += filter(None, [strings.exported(facts["modality"])])
    else:
        parts += export_tables.given(facts, _columns(facts))
    if facts["classes"]:
        parts.append(
            'scores = np.zeros((len(items), len(facts["classes"])))\n'
            "scores[:, model.classes_] = model.predict_proba(items)\n"
        )
    else:
        parts.append("scores = model.predict(items).reshape(-1, 1)\n")
    return parts


def _columns(facts: Facts) -> str:
    lines = "items = cells\n"
    if facts["levels"] is None:
        return lines + 'for name in facts["categories"]:\n    items[name] = items[name].replace("", np.nan)\n'
    return lines + (
        'for name, levels in facts["levels"].items():\n'
        '    items[name] = pd.Categorical(items[name].replace("", np.nan), categories=levels)\n'
    )
