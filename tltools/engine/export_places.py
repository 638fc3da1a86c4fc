"""The lines of an exported script that draw masks or find boxes, and what of a model they need in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tltools import overlays, places
from tltools.engine import classical_dense, dense
from tltools.engine.trial_model import ClassicalModel, TrialModel
from tltools.records import refuse
from tltools.tasks import _box_code as code
from tltools.tasks import _box_scores as scores

Facts = dict[str, Any]

GIVEN = """\
given, kinds = Path(sys.argv[1]), {{endings}}
{{items}}
names = [path.name if path == given else path.relative_to(given).as_posix() for path in items]
"""

MAPS = """\
def mixed(x, name):
    norm = [head[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(F.conv2d(x, head[f"{name}.0.weight"], padding=1), *norm).relu()


def enlarged(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


{{grid}}def decoded(path):  # the backbone's maps from the coarsest on, each added to the next finer one
    model((read(path)[None] - torch.tensor(facts["mean"]).view(3, 1, 1)) / torch.tensor(facts["std"]).view(3, 1, 1))
    x = None
    for k, name in reversed(list(enumerate(facts["layers"]))):
{{first}}        norm = [head[f"decoder.level.{k}.0.running_{part}"] for part in ("mean", "var")]
        level = [head[f"decoder.level.{k}.1.{part}"] for part in ("weight", "bias")]
        here = F.conv2d(F.batch_norm({{map}}, *norm), *level)
        x = mixed(here if x is None else here + enlarged(x, here.shape[2:]), f"decoder.mix.{k}")
    return x
"""

GRID = """\
def grid(x, times):  # a map of tokens of a square, row by row and behind those of the class, or of channels last
    if x.dim() == 3:
        side = int(x.shape[1] ** 0.5)
        x = x[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
    elif x.shape[1] == x.shape[2] != x.shape[3]:
        x = x.permute(0, 3, 1, 2)
    return enlarged(x, [times * side for side in x.shape[2:]])


"""

SIZE = """\
def size(path):
    return opened(path).size
"""

MASKS = """\
with torch.inference_mode():
    for path, name in zip(items, names):  # a pixel of the PNG is the place of its class in facts["classes"]
        x = F.conv2d(decoded(path), head["last.weight"], head["last.bias"], padding=1)
        save(enlarged(x, [2 * side for side in x.shape[2:]])[0].argmax(0).numpy().astype("uint8"), path, name)
"""

SAVE = """\
def save(codes, path, name):
    mask = Image.fromarray(codes).resize(opened(path).size, Image.Resampling.NEAREST)
    mask.putpalette(facts["palette"])
    out = Path(sys.argv[2]) / f"{name}.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    mask.save(out)
"""

COLOUR_IMPORTS = """\
import numpy as np
import skops.io
from PIL import Image, ImageOps
from scipy.ndimage import uniform_filter
"""

MEAN_IMPORTS = "import numpy as np\nfrom PIL import Image, ImageOps\n"

COLOURS = """\
def pixels(path):  # the colour of every pixel, that of what lies around it, and its place
    image = np.asarray(picture(path).resize((side, side), Image.Resampling.BICUBIC)).astype("float32")
    place = np.stack(np.meshgrid(np.arange(side), np.arange(side)), 2).astype("float32")
    return np.concatenate([image, uniform_filter(image, size=(9, 9, 1)), place], 2).reshape(side * side, 8)


side = facts["image_size"]
model = skops.io.load(here / "model.skops", trusted=facts["trusted"])  # no code runs when it is read
for path, name in zip(items, names):  # a pixel of the PNG is the place of its class in facts["classes"]
    save(model.predict(pixels(path)).reshape(side, side).astype("uint8"), path, name)
"""

MEANS = """\
found = {}
for path, name in zip(items, names):  # the same boxes in every picture; corners are x0, y0, x1, y1 in pixels
    found[name] = []
    for kind, *corners, sure in facts["boxes"]:
        box = [round(share * side, 2) for share, side in zip(corners, size(path) * 2)]
        found[name].append({"class": facts["classes"][int(kind)], "score": sure, "box": box})
Path(sys.argv[2]).write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
"""

BOXES = """\
def boxes(raw):  # the peaks of the heatmaps (K, h, w), surest first, without those that lie on a surer one
    count = len(facts["classes"])
    heat = raw[:count]
    kind, y, x = ((heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > facts["least"])).nonzero().T
    sure, order = heat[kind, y, x].sigmoid().sort(descending=True, stable=True)
    kind, y, x, sure = (one[: facts["most"] * count] for one in (kind[order], y[order], x[order], sure))
    form = raw[count:, y, x].T
    middle = (torch.stack([x, y], 1) + 0.5 + form[:, 2:]) / torch.tensor([raw.shape[2], raw.shape[1]])
    half = form[:, :2].clamp(-10, 0).exp() / 2
    corners = torch.cat([middle - half, middle + half], 1).clamp(0, 1)
    low, high = corners[:, :2], corners[:, 2:]
    area, shared = (high - low).prod(1), (high[:, None].minimum(high) - low[:, None].maximum(low)).clamp(0).prod(2)
    same = (shared > facts["same"] * (area[:, None] + area - shared).clamp(1e-12)) & (kind[:, None] == kind)
    kept = []
    for k in range(len(kind)):
        if not same[k, kept].any():
            kept.append(k)
    return kind[kept].tolist(), corners[kept], sure[kept].tolist()


found = {}
with torch.inference_mode():
    for path, name in zip(items, names):  # corners are x0, y0, x1, y1 in pixels
        x = mixed(decoded(path), "mix")
        kind, corners, sure = boxes(F.conv2d(x, head["last.weight"], head["last.bias"])[0])
        pixels = (corners * torch.tensor(size(path) * 2)).round(decimals=2).tolist()
        found[name] = [{"class": facts["classes"][k], "score": s, "box": box} for k, s, box in zip(kind, sure, pixels)]
Path(sys.argv[2]).write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
"""

STEPS = {"mask": [MAPS, SAVE, MASKS], "boxes": [MAPS, SIZE, BOXES]}
CLASSICAL = {"mask": (COLOUR_IMPORTS, (SAVE, COLOURS)), "boxes": (MEAN_IMPORTS, (SIZE, MEANS))}  # without a network
ANSWERS = {"mask": "MASKS_FOLDER", "boxes": "BOXES.json"}


def steps(facts: Facts) -> list[str]:
    """The lines for masks or boxes, after those that load the model and read a picture."""
    first = '        here = grid(seen[name], facts["enlarged"][k])\n'
    made = {"{{grid}}": GRID, "{{first}}": first, "{{map}}": "here"}
    plain = {"{{grid}}": "", "{{first}}": "", "{{map}}": "seen[name]"}
    maps, *others = STEPS[facts["draws"]]
    for place, lines in (made if facts["enlarged"] else plain).items():
        maps = maps.replace(place, lines)
    return [maps, *others]


def needs(draws: str, classes: int) -> Facts:
    """What the lines for masks or boxes look up in `preprocessing.json`."""
    if draws == "mask":
        return {"palette": [part for place in range(classes) for part in overlays.colour(place)]}
    return {"least": float(np.log(code.SURE / (1 - code.SURE))), "most": scores.MOST, "same": code.SAME}


def fitted(model: ClassicalModel) -> tuple[Any, Facts]:
    """(what scikit-learn fitted, or None, and facts for the script) of a classical control.

    Raises:
        Refusal: the control has seen one class only.
    """
    known, targets, rows = model.fitted
    items = [known[i] for i in rows]
    if _draws(model) == "boxes":
        boxes = dense.control(model.task)(items, targets[rows], items[:1], model.trial.seed)[0][0]
        return None, {"kind": "means", "boxes": boxes.tolist()}
    found = classical_dense.colour_model(items, targets[rows], model.trial.seed)
    if isinstance(found, int):
        what = "saw pixels of one class only, so it always answers with that class."
        raise refuse(f"trial {model.trial.id}", what, "Export a trial with more labels.")
    return found, {"image_size": classical_dense.SIDE}


def _draws(model: TrialModel) -> str:
    assert model.task.dense is not None
    return model.task.dense.draws


def differences(model: TrialModel, stored: list[str], given: list[Path], out: Path) -> np.ndarray:
    """How far what the script wrote is from the sealed cells: shares (n,) of a picture's pixels, or of boxes."""
    compare: Callable[[Any, Any, Path, Any], np.ndarray] = {"mask": _masks, "boxes": _boxes}[_draws(model)]
    read = json.loads(out.read_text()) if out.is_file() else out
    names = model.dataset.classes
    pairs = zip(stored, given, strict=True)
    return np.concatenate([compare(cell, names, path, read) for cell, path in pairs])


def _masks(cell: str, names: Any, path: Path, folder: Any) -> np.ndarray:
    """(1,) share of the pixels that differ, at the size of the picture."""
    with Image.open(folder / f"{path.name}.png") as image:
        again = np.asarray(image)
        before = Image.fromarray(places.mask_of(cell, names)).resize(image.size, Image.Resampling.NEAREST)
    return np.array([np.mean(np.asarray(before) != again)])


def _boxes(cell: str, names: Any, path: Path, found: Any) -> np.ndarray:
    """(n,) of the boxes on either side: how far score and corners lie from the other's nearest, or the whole score."""
    with Image.open(path) as image:
        size = np.array([*image.size, *image.size])
    before = places.boxes_of(cell, names, 6)
    rows = [[list(names).index(one["class"]), *(np.array(one["box"]) / size), one["score"]] for one in found[path.name]]
    again = np.array(rows).reshape(-1, 6)
    apart = []
    for here, there in ((before, again), (again, before)):
        for box in here:
            near = there[there[:, 0] == box[0], 1:]
            apart.append(min([box[5], *np.abs(near - box[1:]).max(1)]))
    return np.array(apart)
