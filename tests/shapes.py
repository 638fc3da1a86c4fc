"""Generated pictures of squares and discs with their masks and boxes, as zips that the formats read."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tests import scripts

if TYPE_CHECKING:
    from tltools.tickets import Ticket

CLASSES = ("ground", "square", "disc")


def one(seed: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, float, float, float, float]]]:
    """(picture (48, 64, 3), mask (48, 64), boxes of YOLO as class, middle, size): a dark square and a bright disc."""
    random = np.random.default_rng(seed)
    pixels, mask = random.integers(90, 130, (48, 64, 3)).astype(np.uint8), np.zeros((48, 64), np.uint8)
    y, x = np.mgrid[:48, :64]
    found = []
    for code, left in ((1, 0), (2, 32)):
        half = int(random.integers(6, 10))
        middle = left + random.integers(half, 32 - half), random.integers(half, 48 - half)
        away = np.abs([x - middle[0] + 0.5, y - middle[1] + 0.5])
        inside = away.max(0) < half if code == 1 else np.hypot(*away) < half
        pixels[inside], mask[inside] = ((200, 20, 20), (20, 40, 220))[code - 1], code
        found.append((code - 1, middle[0] / 64, middle[1] / 48, 2 * half / 64, 2 * half / 48))
    return pixels, mask, found


def _png(values: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(values).save(held, "PNG")
    return held.getvalue()


def with_masks(path: Path, count: int) -> Path:
    """A zip of images/k.png, masks/k.png and classes.txt."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classes.txt", "\n".join(CLASSES))
        for k in range(count):
            pixels, mask, _ = one(k)
            archive.writestr(f"images/{k}.png", _png(pixels))
            archive.writestr(f"masks/{k}.png", _png(mask))
    return path


def with_boxes(path: Path, count: int) -> Path:
    """A zip of images/k.png, labels/k.txt (YOLO) and classes.txt."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classes.txt", "\n".join(CLASSES[1:]))
        for k in range(count):
            pixels, _, boxes = one(k)
            archive.writestr(f"images/{k}.png", _png(pixels))
            archive.writestr(f"labels/{k}.txt", "\n".join(" ".join(map(str, box)) for box in boxes))
    return path


def exported(
    ticket: Ticket, trial: str, to: Path, most_lines: int, spoiled: str = "head.last.weight"
) -> dict[str, Any]:
    """Exports a trial: the replay agrees, a changed folder does not, the script is short, formatted and alone."""
    from safetensors.torch import load_file, save_file

    from tltools.engine import export, replay, trial_model

    result = export.run(ticket, {"trial": trial, "to": str(to)})
    assert result["replay"]["agrees"] and result["replay"]["rows"], result["replay"]
    assert {"model.safetensors", "card.json", "MODEL_CARD.md", "preprocessing.json"} <= set(result["files"])
    script = (to / "predict.py").read_text()
    assert "tltools" not in script and sum(bool(line.strip()) for line in script.splitlines()) <= most_lines
    assert not unlisted(to)
    ruff = [Path(sys.executable).with_name("ruff"), "format", "--line-length", "120", "--diff", "--isolated"]
    assert subprocess.run([*ruff, to / "predict.py"], capture_output=True).returncode == 0
    other = shutil.copytree(to, to.with_name("other"))
    tensors = load_file(other / "model.safetensors")
    tensors[spoiled] = tensors[spoiled].flip(0).contiguous()
    save_file(tensors, other / "model.safetensors")
    assert not replay.check(ticket, trial_model.load(ticket.home, trial), other)["agrees"]
    return result


def unlisted(folder: Path) -> set[str]:
    """What the script of an export imports that neither comes with Python nor stands in its requirements."""
    listed = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    nodes = list(ast.walk(ast.parse((folder / "predict.py").read_text())))
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    known = metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"torchvision"}  # it is tried
    return {top for top in tops if not listed & {name.lower() for name in known[top]}}


def alone(folder: Path, given: Path, out: Path) -> None:
    """Runs the script of an export as its user would, where tltools is not on the path."""
    said = scripts.run(None, folder / "predict.py", given, out)
    assert not said, said
