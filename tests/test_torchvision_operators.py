"""torchvision must import beside any build of torch: absent, whole, or with operators that did not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# a torchvision like the real one: its Python registers a shape function for an operator that its library declares
PACKAGE = """
import torch
{library}

@torch.library.register_fake("torchvision::nms")
def shape(dets, scores, iou_threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def shape2(dets, scores, iou_threshold):
    return dets

from torchvision import transforms
"""
DECLARED = """
library = torch.library.Library("torchvision", "FRAGMENT")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
ASK = """
import importlib.util, sys
from tltools.engine import torchvision_operators
if importlib.util.find_spec("torchvision") is None or {hide}:
    importlib.util.find_spec = lambda name, real=importlib.util.find_spec: None if name == "torchvision" else real(name)
print(torchvision_operators.ensure(), torchvision_operators.ensure(), "torchvision" in sys.modules)
"""


def ask(tmp_path: Path, package: str | None, *, hide: bool = False) -> subprocess.CompletedProcess[str]:
    """What `ensure` answers, twice, in a fresh process that sees the given torchvision before any other."""
    if package is not None:
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(package)
        (tmp_path / "torchvision" / "transforms.py").write_text("")
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
    return subprocess.run(
        [sys.executable, "-c", path + ASK.format(hide=hide)], capture_output=True, text=True, timeout=120
    )


def test_operators_that_did_not_load_are_declared_once_and_the_import_goes_through(tmp_path: Path) -> None:
    done = ask(tmp_path, PACKAGE.format(library=""))
    assert done.stdout.split() == ["declared", "declared", "True"], done.stderr


def test_a_whole_torchvision_is_left_alone(tmp_path: Path) -> None:
    done = ask(tmp_path, PACKAGE.format(library=DECLARED))
    assert done.stdout.split() == ["loaded", "loaded", "True"], done.stderr


def test_without_torchvision_nothing_is_imported(tmp_path: Path) -> None:
    done = ask(tmp_path, None, hide=True)
    assert done.stdout.split() == ["absent", "absent", "False"], done.stderr


def test_any_other_failure_of_the_import_is_not_hidden(tmp_path: Path) -> None:
    done = ask(tmp_path, "raise RuntimeError('the disk is on fire')")
    assert done.returncode == 1
    assert "RuntimeError: the disk is on fire" in done.stderr


@pytest.mark.parametrize("module", ["timm", "transformers.models.vit.modeling_vit"])
def test_the_image_libraries_import_beside_the_installed_torch(module: str) -> None:
    code = f"from tltools.engine import torchvision_operators as t; t.ensure(); import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
