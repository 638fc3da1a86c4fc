"""Deliberately bad inputs, made on the spot: how to make each, the choices with it, and words of its refusal."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

GOOD_ROWS = [f"{i},{'warm' if i % 2 else 'cold'},{'yes' if i % 3 else 'no'}" for i in range(30)]
GOOD = "number,feeling,label\n" + "\n".join(GOOD_ROWS) + "\n"


@dataclass(frozen=True)
class Bad:
    """`make` writes the input below a folder and returns its path; `words` must stand in the refusal, in any case."""

    make: Callable[[Path], Path]
    words: tuple[str, ...]
    choices: dict[str, Any] = field(default_factory=dict)


def file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def picture(
    size: tuple[int, int] = (24, 20), form: str = "PNG", mode: str = "RGB", seed: int = 0, **options: Any
) -> bytes:
    """The bytes of a picture of noise."""
    random = np.random.default_rng(seed)
    bands = {"RGB": 3, "CMYK": 4, "RGBA": 4, "L": 0}[mode]
    shape = (size[1], size[0], bands) if bands else (size[1], size[0])
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    stored = io.BytesIO()
    Image.frombytes(mode, size, pixels.tobytes()).save(stored, form, **options)
    return stored.getvalue()


def archive(name: str, entries: dict[str, bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for entry, content in entries.items():
                info = zipfile.ZipInfo(entry)
                info.filename = entry  # as given, backslashes and all
                info.compress_type = zipfile.ZIP_DEFLATED
                out.writestr(info, content)
        return path

    return make


def class_folders(extra: dict[str, bytes] | None = None, each: int = 8) -> dict[str, bytes]:
    """Entries of a good zip of images in two classes."""
    entries = {
        f"{kind}/{i}.png": picture(seed=100 * ord(kind[0]) + i) for kind in ("ants", "bees") for i in range(each)
    }
    return entries | (extra or {})


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels; its data is two zero bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def _linked(folder: Path) -> Path:
    path = folder / "linked.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("ants/link.png")
        info.external_attr = 0o120777 << 16
        out.writestr(info, "/etc/passwd")
    return path


def _flagged(folder: Path) -> Path:
    path = archive("secret.zip", class_folders(each=2))(folder)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1  # the flag "encrypted" of the first central record
    path.write_bytes(raw)
    return path


def _overlapping(folder: Path) -> Path:
    path = archive("overlap.zip", class_folders(each=2))(folder)
    raw = bytearray(path.read_bytes())
    first = raw.index(b"PK\x01\x02")
    second = raw.index(b"PK\x01\x02", first + 4)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]  # both begin at the same place
    path.write_bytes(raw)
    return path


def _corrupt(folder: Path) -> Path:
    path = folder / "corrupt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        out.writestr("ants/1.png", picture())
        out.writestr("bees/1.png", picture(seed=1))
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0xFF
    path.write_bytes(raw)
    return path


def _twice(folder: Path) -> Path:
    path = folder / "twice.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("ants/1.png", picture())
        out.writestr("ants/1.png_", picture(seed=1))
    raw = path.read_bytes().replace(b"ants/1.png_", b"ants/1.png\x5f")
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("ants/1.png", picture())
        out.writestr("ants/2.png", picture(seed=1))
    raw = path.read_bytes().replace(b"ants/2.png", b"ants/1.png")
    path.write_bytes(raw)
    return path


def _cut(folder: Path) -> Path:
    path = archive("cut.zip", class_folders())(folder)
    path.write_bytes(path.read_bytes()[:-300])
    return path


def _folder(name: str, entries: dict[str, bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        for entry, content in entries.items():
            (folder / name / entry).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / entry).write_bytes(content)
        return folder / name

    return make


def _parquet_nested(folder: Path) -> Path:
    path = folder / "nested.parquet"
    pd.DataFrame({"a": [[1], [2]], "b": [[3], [4]]}).to_parquet(path)
    return path


def _sheets(folder: Path) -> Path:
    import openpyxl

    path = folder / "blank.xlsx"
    openpyxl.Workbook().save(path)
    return path


def _table(header: str, rows: list[str]) -> str:
    return header + "\n" + "\n".join(rows) + "\n"


_SENTENCES = [f"the {i} th thing that happened to me on the way home was remarkable" for i in range(30)]
_MANY = ",".join(f"c{i}" for i in range(20_001))
_HEIC = b"\0\0\0\x18ftypheic" + b"\0" * 200

BAD: dict[str, Bad] = {
    "empty file": Bad(file("empty.csv", b""), ("empty",)),
    "blank lines": Bad(file("blank.csv", "\n\n  \n\n"), ("empty",)),
    "header only": Bad(file("header.csv", "a,b,label\n"), ("no rows",)),
    "one row": Bad(file("one.csv", "a,b,label\n1,2,x\n"), ("at least 10 rows", "got 1")),
    "nine rows": Bad(file("nine.csv", "a,b,label\n" + "1,2,x\n2,3,y\n3,4,x\n" * 3), ("at least 10 rows", "got 9")),
    "one class": Bad(file("single.csv", _table("a,label", [f"{i},x" for i in range(30)])), ("two classes", "label")),
    "one row per class": Bad(
        file("each.csv", _table("a,label", [f"{i % 4},k{i}" for i in range(15)])), ("class of its own", "label")
    ),
    "classes of two rows": Bad(
        file("pairs.csv", _table("a,label", [f"{i % 7},k{i // 2}" for i in range(24)])), ("three rows each",)
    ),
    "all targets missing": Bad(
        file("unlabelled.csv", _table("a,label", [f"{i}," for i in range(30)])), ("lacks its target",)
    ),
    "all cells missing": Bad(file("nothing.csv", _table("a,label", ["?,NA"] * 30)), ("lacks its target",)),
    "binary garbage": Bad(
        file("garbage.csv", bytes(np.random.default_rng(0).integers(1, 256, 5000, dtype=np.uint8))), ("binary",)
    ),
    "image named csv": Bad(file("photo.csv", picture()), ("png", "folder")),
    "pdf named csv": Bad(file("report.csv", b"%PDF-1.7\n" + b"x" * 100), ("pdf",)),
    "gzip named csv": Bad(file("packed.csv", gzip.compress(GOOD.encode())), ("gzip", "unpack")),
    "pickle named csv": Bad(file("pickled.csv", pickle.dumps({"a": [1, 2]})), ("pickle", "never opened")),
    "workbook named csv": Bad(lambda folder: _sheets(folder).rename(folder / "book.csv"), ("zip", "ending")),
    "web page named csv": Bad(file("page.csv", "<!DOCTYPE html><html><body>404</body></html>"), ("web page",)),
    "database": Bad(file("store.db", b"SQLite format 3\0" + b"\0" * 100), ("sqlite", "csv")),
    "hdf5": Bad(file("data.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100), ("hdf5",)),
    "zero byte": Bad(file("zero.csv", GOOD.replace("\n7,", "\n\0,").encode()), ("line 9", "zero byte")),
    "open quote": Bad(
        file("quote.csv", GOOD.replace("\n7,", '\n7,"').replace("\n4,", '\n"4,4",')), ("line 9", "never closed")
    ),
    "huge field": Bad(file("field.csv", GOOD + '31,"' + "x" * 1_200_000 + "\n"), ("line 32", "never closed")),
    "huge field without quotes": Bad(file("text.csv", GOOD + f"31,{'x' * 1_200_000},yes\n"), ("line 32", "too large")),
    "huge field in quotes": Bad(file("closed.csv", GOOD + f'31,"{"x" * 1_200_000}",yes\n'), ("line 32", "too large")),
    "ragged rows": Bad(
        file("ragged.csv", _table("a,b,label", [f"{i},2,x" + ",9" * (i % 5) for i in range(40)])),
        ("number of fields", "line"),
    ),
    "short header": Bad(
        file("short.csv", _table("a,label", [f"{i},2,3,x" for i in range(30)])), ("names 2 columns", "4 fields")
    ),
    "too many columns": Bad(file("wide.csv", _table(_MANY, [_MANY.replace("c", "")] * 2)), ("20,000 columns",)),
    "unknown target": Bad(file("good1.csv", GOOD), ('no column "colour"', "number, feeling"), {"target": "colour"}),
    "misspelt target": Bad(file("good2.csv", GOOD), ('did you mean "label"',), {"target": "lable"}),
    "empty target": Bad(file("good10.csv", GOOD), ('no column "" to use as target',), {"target": ""}),
    "unknown input": Bad(file("good3.csv", GOOD), ('no column "size"',), {"inputs": ["number", "size"]}),
    "target as input": Bad(file("good4.csv", GOOD), ("target", "input"), {"target": "label", "inputs": ["label"]}),
    "unknown task": Bad(file("good5.csv", GOOD), ("classification", "clustering"), {"task": "clustering"}),
    "boxes of names": Bad(file("good11.csv", GOOD), ("detection needs a file of ann", "label"), {"task": "detection"}),
    "tags of numbers": Bad(
        file("good12.csv", GOOD), ("tagging needs a file of ann",), {"target": "number", "task": "tagging"}
    ),
    "masks of names": Bad(file("good13.csv", GOOD), ("segmentation needs a file of ann",), {"task": "segmentation"}),
    "answers of names": Bad(
        file("good14.csv", GOOD), ("question_answering needs a file of ann",), {"task": "question_answering"}
    ),
    "regression of names": Bad(
        file("good6.csv", GOOD), ("must be a number", "line 2"), {"target": "label", "task": "regression"}
    ),
    "free text as target": Bad(
        file("prose.csv", _table("a,text", [f"{i},{s}" for i, s in enumerate(_SENTENCES)])),
        ("free text",),
        {"target": "text"},
    ),
    "identifier as target": Bad(
        file("good7.csv", GOOD), ("class of its own",), {"target": "number", "task": "classification"}
    ),
    "one column": Bad(file("column.csv", _table("label", ["x", "y"] * 20)), ("no column is left",)),
    "constant inputs": Bad(file("flat.csv", _table("a,b,label", ["1,2,x", "1,2,y"] * 20)), ("no column is left",)),
    "constant number": Bad(
        file("level.csv", _table("a,y", [f"{i % 7},5" for i in range(30)])),
        ("must vary",),
        {"target": "y", "task": "regression"},
    ),
    "too long a name": Bad(lambda folder: folder / f"{'long' * 70}.csv", ("no such file",)),
    "the home of nobody": Bad(lambda folder: Path("~nobodyhere/x.csv"), ("no such file",)),
    "no such file": Bad(lambda folder: folder / "absent.csv", ("no such file",)),
    "no such test file": Bad(file("good8.csv", GOOD), ("no such file",), {"test": "absent_test.csv"}),
    "other columns in the test file": Bad(
        file("good9.csv", GOOD), ("nothing in common",), {"test": ("other.csv", "u,v\n1,2\n")}
    ),
    "empty folder": Bad(_folder("hollow", {}), ("no image",)),
    "folder of notes": Bad(_folder("notes", {"a.md": b"hello", "b.doc": b"there"}), ("no image", ".doc")),
    "folder of one table": Bad(_folder("fc1", {"data.csv": GOOD.encode()}), ("Add the table itself (fc1/data.csv).",)),
    "folder of tables": Bad(
        _folder("fc", {f"{part}.csv": GOOD.encode() for part in ("dev", "test", "train")}),
        ("the table itself (fc/train.csv), and a second one", "(--test fc/test.csv)"),
    ),
    "one image": Bad(file("ant.png", picture()), ("one image is no dataset",)),
    "heic image": Bad(file("photo.heic", _HEIC), ("one image is no dataset",)),
    "zip of heic": Bad(archive("heic.zip", {f"{k}/{i}.heic": _HEIC for k in "ab" for i in range(4)}), ("heic", "jpeg")),
    "1x1 images": Bad(
        archive("dots.zip", {f"{k}/{i}.png": picture((1, 1)) for k in "ab" for i in range(4)}), ("1 x 1",)
    ),
    "100 megapixels": Bad(
        archive("vast.zip", {f"{k}/1.png": huge_png(10_000, 10_000) for k in "ab"}), ("10000 x 10000", "million")
    ),
    "cut images": Bad(
        archive("halves.zip", {f"{k}/{i}.jpg": picture(form="JPEG")[:300] for k in "ab" for i in range(4)}),
        ("damaged",),
    ),
    "text named png": Bad(
        archive("fakes.zip", {f"{k}/{i}.png": b"not a picture" for k in "ab" for i in range(4)}), ("no known image",)
    ),
    "zip in zip": Bad(
        archive("nested.zip", class_folders({"more.zip": b"PK\3\4"})), ("archive in the archive", "more.zip")
    ),
    "path traversal": Bad(archive("climb.zip", class_folders({"../../evil.png": picture()})), ("outside", "evil.png")),
    "absolute path": Bad(archive("root.zip", class_folders({"/tmp/evil.png": picture()})), ("outside",)),
    "backslashes": Bad(archive("slash.zip", class_folders({"ants\\..\\..\\evil.png": picture()})), ("outside",)),
    "backslash at the root": Bad(archive("slash2.zip", class_folders({"\\evil.png": picture()})), ("outside",)),
    "control characters": Bad(archive("bell.zip", class_folders({"ants/\x07.png": picture()})), ("outside",)),
    "link in zip": Bad(_linked, ("link",)),
    "encrypted zip": Bad(_flagged, ("encrypted", "password")),
    "zip bomb": Bad(archive("bomb.zip", class_folders({"ants/big.png": b"\0" * 3_000_000})), ("zip bomb",)),
    "overlapping entries": Bad(_overlapping, ("overlaps",)),
    "damaged entry": Bad(_corrupt, ("damaged",)),
    "name twice in zip": Bad(_twice, ("twice",)),
    "cut zip": Bad(_cut, ("damaged",)),
    "empty zip": Bad(archive("void.zip", {}), ("empty",)),
    "text named zip": Bad(file("text.zip", GOOD), ("zip archive", "damaged")),
    "two tables in a zip": Bad(
        archive("two.zip", {"a.csv": GOOD.encode(), "b.csv": GOOD.encode()}), ("one table", "a.csv")
    ),
    "images without classes": Bad(
        archive("loose.zip", {f"{i}.png": picture(seed=i) for i in range(12)}), ("no class folders",)
    ),
    "one class folder": Bad(
        archive("ants.zip", {f"ants/{i}.png": picture(seed=i) for i in range(12)}), ("two classes",)
    ),
    "labels for other images": Bad(
        archive(
            "strange.zip",
            {f"{i}.png": picture(seed=i) for i in range(12)} | {"labels.csv": b"file,label\nx.png,warm\ny.png,cold\n"},
        ),
        ("no table names their labels",),
    ),
    "parquet garbage": Bad(file("broken.parquet", b"PAR1" + b"\1" * 200 + b"PAR1"), ("parquet",)),
    "nested parquet": Bad(_parquet_nested, ("no column of numbers or text",)),
    "text named parquet": Bad(file("text.parquet", GOOD), ("parquet",)),
    "xlsx garbage": Bad(file("broken.xlsx", b"PK\3\4" + b"\1" * 200), ("workbook",)),
    "old workbook": Bad(file("old.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500), ("old office", ".xlsx")),
    "blank workbook": Bad(_sheets, ("no sheet holds a table",)),
    "broken json lines": Bad(file("broken.jsonl", "{'a': 1}\n{'a': 2}\n"), ("no line holds", "line 1")),
    "deep json": Bad(file("deep.jsonl", "[" * 100_000 + "\n"), ("nested too deeply",)),
    "json numbers": Bad(file("numbers.json", json.dumps(list(range(20)))), ("not an object",)),
    "OpenDocument": Bad(
        file("sheet.ods", b"PK\x03\x04" + b"\0" * 26 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"),
        ("OpenDocument", ".xlsx"),
    ),
    "one object for all rows": Bad(file("columns.json", '{"a": {"0": 1, "1": 2}, "b": {"0": "x"}}'), ("one object",)),
    "lines above the table": Bad(
        file("export.csv", "# exported by hand\n# 2021\n" + _table("a,b,label", [f"{i},2,x" for i in range(30)])),
        ("line 1", "2 line(s) stand above the table"),
    ),
    "unknown kind": Bad(file("model.bin", b"\x80\x04" + b"\0" * 50), ("pickle",)),
}
