"""Which encoding a text file has, and why: byte-order mark, strict UTF-8, else the most plausible single-byte one."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from tltools.formats._magic import head_of, looks_like, share_of_controls
from tltools.records import Problem, refuse

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso8859_2", "iso8859_15", "koi8_r", "mac_roman",
    "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Encoding:
    """How to open a text file: `open(path, encoding=name, errors=errors, newline="")`."""

    name: str
    errors: str
    sentence: str
    problems: tuple[Problem, ...] = ()


def decide(path: Path, shown: str) -> Encoding:
    """Decides on the encoding of a text file that people know as `shown`.

    Raises:
        Refusal: the file is empty, or is not text.
    """
    head = head_of(path)
    if not head.strip():
        raise refuse(shown, "the file is empty.", "Add a file with a header line and rows.")
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name, "replace", f"The byte-order mark says {name.upper().replace('-SIG', '')}.")
    found = looks_like(head)
    if found:
        what, remedy = found
        raise refuse(shown, f"must be a table as text; its first bytes are those of {what}.", remedy)
    if wide := _wide_without_mark(head):
        return Encoding(wide, "replace", f"Every second byte is zero, as in {wide.upper()}.")
    bad, good, first_bad = _utf8_census(path, shown)
    if not bad:
        _refuse_binary(head.decode("utf-8", "ignore"), shown)
        return Encoding("utf-8", "strict", "All bytes are valid UTF-8.")
    line, byte = first_bad
    if good >= 10 * bad:
        first = f"the first in line {line} (0x{byte:02x})"
        what = f"{bad} byte(s) are not UTF-8, {first}; each became \N{REPLACEMENT CHARACTER}."
        trouble = Problem(
            severity="warning", where=f"{shown}, line {line}", what=what, remedy="Save the file as UTF-8."
        )
        return Encoding("utf-8", "replace", "Nearly all bytes are valid UTF-8.", (trouble,))
    name = _guess(path)
    _refuse_binary(head.decode(name, "replace"), shown)
    what = f"is not UTF-8 (line {line} holds the byte 0x{byte:02x}); it was read as {name}."
    note = Problem(
        severity="note",
        where=shown,
        what=what,
        remedy="If letters look wrong below, save the file as UTF-8 and add it again.",
    )
    return Encoding(name, "replace", f"Line {line} is not valid UTF-8; {name} is the most plausible encoding.", (note,))


def _refuse_binary(sample: str, shown: str) -> None:
    if share_of_controls(sample) > 0.005:
        raise refuse(
            shown,
            "must be a table as text; it holds binary data.",
            "Export the table as CSV (UTF-8) or Parquet and add that.",
        )


def _wide_without_mark(head: bytes) -> str | None:
    even, odd = head[0:4096:2], head[1:4096:2]
    if not odd:
        return None
    if odd.count(0) > 0.6 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.6 * len(even) and odd.count(0) < 0.05 * len(odd):
        return "utf-16-be"
    return None


def _utf8_census(path: Path, shown: str) -> tuple[int, int, tuple[int, int]]:
    """Returns (bytes that are not UTF-8, characters beyond ASCII that are, (line, byte) of the first that is not)."""
    strict: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    bad = good = lines = 0
    first = (0, 0)
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            if b"\0" in block:
                line = lines + block[: block.index(b"\0")].count(b"\n") + 1
                what = "must be text; it holds a zero byte, which text files do not have."
                raise refuse(f"{shown}, line {line}", what, "Export the table again as CSV in UTF-8.")
            if strict is not None:
                before = strict.getstate()
                try:
                    strict.decode(block, final=not block)
                    if not block:
                        return 0, good, first
                    good += len(block)  # nothing is counted as long as nothing is wrong: it only has to be more
                    lines += block.count(b"\n")
                    continue
                except UnicodeDecodeError:
                    decoder.setstate(before)
                    strict, good = None, 0
            text = decoder.decode(block, final=not block)
            beyond = [char for char in text if char > "\x7f"]
            strange = [char for char in beyond if "\udc80" <= char <= "\udcff"]
            if strange and not bad:
                first = (lines + text[: text.index(strange[0])].count("\n") + 1, ord(strange[0]) - 0xDC00)
            bad += len(strange)
            good += len(beyond) - len(strange)
            lines += block.count(b"\n")
            if not block:
                return bad, good, first


def _guess(path: Path) -> str:
    from charset_normalizer import from_bytes

    telling: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        for line in file:
            if not line.isascii():
                telling.append(line[:2000])
                size += len(telling[-1])
            if size > 65_536:
                break
    matches = from_bytes(b"".join(telling), cp_isolation=_CANDIDATES)
    best = matches.best()
    if best is None:
        return "cp1252"
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    # few letters decide little: prefer what nearly all such files are, unless another reads clearly better
    if western is not None and western.chaos <= best.chaos + 0.02 and western.coherence >= best.coherence - 0.15:
        return "cp1252"
    return str(best.encoding)
