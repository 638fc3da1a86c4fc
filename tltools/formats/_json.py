"""JSON from strangers: parsed, and each of its texts such that it can be written again."""

from __future__ import annotations

import json
import re
from typing import Any

_PERHAPS_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str, **how: Any) -> Any:
    """What a JSON text holds, as `json.loads` reads it; half of a pair of surrogates becomes "?", one sign for one.

    Raises:
        ValueError, RecursionError: it is not JSON, or nested too deeply.
    """
    found = json.loads(text, **how)
    return whole(found) if _PERHAPS_HALF.search(text) else found  # large documents are gone through once, not twice


def whole(value: Any) -> Any:
    """A parsed document with such signs for all halves of pairs, in keys, too."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [whole(one) for one in value]
    return {whole(key): whole(one) for key, one in value.items()} if isinstance(value, dict) else value
