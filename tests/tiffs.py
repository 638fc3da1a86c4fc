"""TIFF files as microscopes and satellites write them, of kinds that Pillow reads or refuses but does not write."""

from __future__ import annotations

import struct

import numpy as np

GREY, RGB = 1, 2  # how a TIFF says that its bands are meant
HELD = {"u": 1, "i": 2, "f": 3}


def tiff(values: np.ndarray, meant: int = GREY, extra: tuple[int, ...] = (), order: str = "<", turn: int = 1) -> bytes:
    """An uncompressed file of (H, W) or (H, W, bands) numbers; `extra` says what the bands behind those meant are."""
    high, wide, bands = (*values.shape, 1)[:3]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    shorts = {
        256: [wide], 257: [high], 258: [8 * values.itemsize] * bands, 259: [1], 262: [meant], 274: [turn], 277: [bands],
        278: [high], 338: list(extra), 339: [HELD[values.dtype.kind]] * bands,
    }  # fmt: skip
    tags = {tag: ("H", one) for tag, one in shorts.items() if one} | {279: ("I", [len(data)]), 273: ("I", [0])}
    end = 8 + 2 + 12 * len(tags) + 4
    behind = end + sum(2 * len(one) for kind, one in tags.values() if kind == "H" and len(one) > 2)
    tags[273] = ("I", [behind])
    entries, more = b"", b""
    for tag, (kind, one) in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(one)}{kind}", *one)
        if len(raw) > 4:
            raw, more = struct.pack(f"{order}I", end + len(more)), more + raw
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(one)) + raw.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more + data
