"""Lets `import torchvision` work where its compiled operators cannot load, as beside a CPU build of torch.

torchvision registers shape functions for `torchvision::nms` and others at import; when its compiled library did not
load, those operators have no schema and the import fails. Declaring the two schemas that it asks for is enough.
tltools uses none of torchvision's operators, only its pure Python transforms (through timm).
"""

from __future__ import annotations

import importlib.util
import sys

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []  # a library's declarations live as long as the object that made them


def ensure() -> str:
    """Makes torchvision importable and returns what was done: "absent", "loaded", or "declared".

    Call it before timm, peft or transformers' image code is imported; calling it again does nothing.
    """
    if "torchvision" in sys.modules:
        return "declared" if _kept else "loaded"
    if importlib.util.find_spec("torchvision") is None:
        return "absent"
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # the half-imported package, so that the next import starts afresh
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept.append(library)
        import torchvision  # noqa: F401
    return "declared" if _kept else "loaded"
