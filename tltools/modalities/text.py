"""Texts: one or more columns of free text a row."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tltools import languages
from tltools.fits import TOKENS_A_WORD, tokens_read
from tltools.modalities import Modality, Reading, Strings
from tltools.records import Column, Problem, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FOREIGN = 0.2  # share of texts in languages that a source has not read, from which it is said
NEAR_LIMIT = 200_000  # rows up to which near-duplicates are searched; beyond, only equal texts are found
WORDS = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
LETTERS = {"analyzer": "char_wb", "ngram_range": (2, 4)}
_ALIKE = 0.7  # Jaccard similarity of words and word pairs
_TOO_LONG = 100_000  # characters
_WORD = re.compile(r"[぀-ヿ一-鿿가-힯]|[^\W぀-ヿ一-鿿가-힯]+")
_MARKUP = re.compile(
    r"&(lt|gt|amp|quot|nbsp|#\d+);|#\d{2,4};|</?(p|br|b|i|a|div|span|strong|em)\b[^>]*>", re.IGNORECASE
)


def recognise(columns: Sequence[Column]) -> float:
    """How sure, 0..1: the weight of text columns against numbers and categories."""
    texts = sum(column.kind == "text" for column in columns)
    others = sum(column.kind in ("number", "category") for column in columns)
    return 0.95 * texts / (texts + 0.25 * others) if texts else 0.0


def inputs(columns: Sequence[Column]) -> tuple[str, ...]:
    """All text columns, in their order."""
    return tuple(column.name for column in columns if column.kind == "text")


def doubts(source: Source, classes: Sequence[str], numbers: Mapping[str, float]) -> Iterator[str]:
    """Other languages than the source has read, and longer texts."""
    if source.reads == "text":
        yield from _language(source, numbers)
        yield from _length(source, numbers)


def _language(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    shares = {key.removeprefix("language_"): value for key, value in numbers.items() if key.startswith("language_")}
    if not source.languages or "multilingual" in source.languages or not shares:
        return
    foreign = {key: share for key, share in shares.items() if key not in source.languages}
    if sum(foreign.values()) >= FOREIGN:
        named = ", ".join(languages.LANGUAGES[key] for key in sorted(foreign, key=lambda key: -foreign[key])[:3])
        read = ", ".join(languages.LANGUAGES.get(key, key) for key in source.languages[:3])
        yield (
            f"It has read {read}, and about {100 * sum(foreign.values()):.0f} % of your texts are {named}: a "
            "multilingual source may do better, and this one may do harm."
        )


def _length(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    read = tokens_read(source)
    words = read / TOKENS_A_WORD
    if numbers.get("words_95", 0.0) <= words:
        return
    share = "half" if numbers.get("words_median", 0.0) > words else "some"
    yield (
        f"It reads {read} tokens, about {words:.0f} words: {share} of your texts are longer (one in "
        f"twenty has over {numbers['words_95']:.0f} words), and what comes after is not read."
    )


def joined(
    rows: pd.DataFrame, names: Sequence[str], media: Path | None = None, reading: Reading | None = None
) -> list[str]:
    """Returns the texts of each row, joined with " . " where several columns are read; missing ones are left out."""
    columns = [as_texts(rows[name]) for name in names]
    if len(columns) == 1:
        return list(columns[0])
    return [" . ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def as_texts(column: pd.Series, missing: str = "") -> list[str]:
    """Cells as text: whole numbers without a point, others with up to six digits."""
    if column.dtype == float:
        return [
            missing if value != value else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.12g}"
            for value in column.tolist()
        ]
    return [missing if value is None or value != value else str(value) for value in column.tolist()]


def numbers(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Mapping[str, float]:
    """Words and characters per row, and the share of each language."""
    import numpy as np

    texts = joined(rows, names)
    step = max(1, len(texts) // 50_000)
    words = np.array([len(_WORD.findall(text)) for text in texts[::step]] or [0])
    letters = np.array([len(text) for text in texts] or [0])
    return {f"language_{key}": share for key, share in languages.shares(texts).items()} | {
        "words_median": float(np.median(words)),
        "words_95": float(np.percentile(words, 95)),
        "words_max": float(words.max()),
        "characters_median": float(np.median(letters)),
        "characters_max": float(letters.max()),
    }


def problems(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[Problem]:
    """Empty texts, very long ones, and remains of HTML."""
    texts = joined(rows, names)
    where = ", ".join(names)
    places = rows["_where"].tolist()
    found = []
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        what = f"{len(empty)} row(s) have no text at all, the first in {places[empty[0]]}."
        remedy = "Fill them in or leave them out: nothing can be learned from them."
        found.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    long = [row for row, text in enumerate(texts) if len(text) > _TOO_LONG]
    if long:
        what = f"{len(long)} text(s) have more than {_TOO_LONG:,} characters, the first in {places[long[0]]}."
        remedy = "Cut them: source models read their first page or two at most."
        found.append(Problem(severity="warning", where=where, what=what, remedy=remedy))
    step = max(1, len(texts) // 5_000)
    marked = [row for row in range(0, len(texts), step) if _MARKUP.search(texts[row])]
    if len(marked) * step > 0.01 * len(texts):
        share = len(marked) / len(range(0, len(texts), step))
        example = _MARKUP.search(texts[marked[0]])
        sign = example.group(0)[:20] if example else ""
        most = "all texts" if share == 1 else f"about {min(round(100 * share), 99)} % of the texts"  # 99.7 are not all
        what = f'{most} hold remains of HTML such as "{sign}" ({places[marked[0]]}).'
        found.append(
            Problem(severity="note", where=where, what=what, remedy="Clean them if you can; models mostly cope.")
        )
    if len(texts) > NEAR_LIMIT:
        what = f"near-duplicates are searched in up to {NEAR_LIMIT:,} texts; here only equal texts were found."
        found.append(Problem(severity="note", where=where, what=what, remedy="Nothing needs to be done."))
    return found


def content(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[bytes]:
    """Per row: sha256 of the text."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in joined(rows, names)]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where the words and word pairs of their texts agree to 70 %, case and signs aside."""
    return alike(words(rows, names))


def words(rows: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """Returns the lower-case words of each row."""
    return [_WORD.findall(text.lower()) for text in joined(rows, names)]


def alike(words: Sequence[Sequence[str]]) -> np.ndarray:
    """(N,) int64: rows share one where 70 % of their words and word pairs agree; a row without a word has its own."""
    import numpy as np

    from tltools.modalities._near import Links, equal, similar_sets

    # a row without a word is like no other
    same = equal([" ".join(found) if found else f"\0{row}" for row, found in enumerate(words)])
    if len(words) > NEAR_LIMIT:
        return same
    links = Links(len(words))
    for copy in np.flatnonzero(same != np.arange(len(same))).tolist():
        links.join(copy, int(same[copy]))
    known: dict[str, int] = {}
    pieces, offsets = [], [0]
    for row, found in enumerate(words):
        shingles: set[int] = set()
        if same[row] == row and len(found) >= 3:
            codes = [known.get(word) or known.setdefault(word, zlib.crc32(word.encode())) for word in found]
            shingles = {*codes, *(one * 4_294_967_291 + two for one, two in zip(codes, codes[1:], strict=False))}
        pieces.append(np.fromiter((code & 0xFFFFFFFFFFFFFFFF for code in shingles), np.uint64, len(shingles)))
        offsets.append(offsets[-1] + len(shingles))
    similar_sets(np.concatenate(pieces) if pieces else np.empty(0, np.uint64), np.array(offsets), _ALIKE, links)
    return links.clusters()


TEXT = Modality(
    key="text",
    title="Texts",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    views={"text": joined},
    doubts=doubts,
    strings=Strings(
        terms=(WORDS, LETTERS), strengths=(10.0,), described="TF-IDF", words=words, exported=lambda reads: ""
    ),
    order=10,
)
