"""What a detector of transformers leaves in the folder of an export, and the lines that find boxes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltools.engine.detectors import MOST, Detecting

Facts = dict[str, Any]

IMPORT = "from transformers import AutoImageProcessor, AutoModelForObjectDetection  # noqa: E402\n"

MODEL = """\
model = AutoModelForObjectDetection.from_pretrained(here).eval()
processor = AutoImageProcessor.from_pretrained(here, backend="pil")
"""

BOXES = """\
found, mean, std = {}, torch.tensor(facts["mean"]).view(3, 1, 1), torch.tensor(facts["std"]).view(3, 1, 1)
with torch.inference_mode():
    for path, name in zip(items, names):  # corners are x0, y0, x1, y1 in pixels, the surest box first
        wide, high = size(path)
        output = model((read(path)[None] - mean) / std)
        (said,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(high, wide)])
        found[name] = []
        for k in said["scores"].argsort(descending=True)[: facts["most"]]:
            box = said["boxes"][k].clamp(min=0).minimum(torch.tensor([wide, high] * 2)).tolist()
            kind, sure = facts["classes"][said["labels"][k]], float(said["scores"][k])
            found[name].append({"class": kind, "score": sure, "box": [round(side, 2) for side in box]})
Path(sys.argv[2]).write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
"""


def written(model: Detecting, folder: Path) -> Facts:
    """Writes network, configuration and image processor as transformers does; returns the facts for the script."""
    backbone = model.backbone
    model.folder(folder)
    facts: Facts = {"kind": "detector", "image_size": backbone.size, "most": MOST}
    return facts | {"mean": list(backbone.mean), "std": list(backbone.std)}
