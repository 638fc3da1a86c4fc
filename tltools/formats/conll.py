"""Sentences of tagged words become rows: CoNLL files, one word and its tag a line, alone or in a folder or zip."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from tltools.entities import spans
from tltools.formats import Format, Read, _conll, _paired
from tltools.formats import _archive as archives
from tltools.formats._layout import PARTS
from tltools.formats._tagged import Sentence, table
from tltools.records import Problem, Refusal, Skipped, plain_name

ENDINGS = (".conll", ".conll2003", ".iob", ".iob2", ".bio")
START = 65_536  # bytes that tell whether a text is CoNLL


def recognise(path: Path) -> float:
    """How sure, 0..1: by the ending, or by the first lines of a text: words and tags, blank lines between sentences."""
    if path.is_file() and path.suffix.lower() != ".zip":
        if path.suffix.lower() in ENDINGS:
            return 0.99
        return 0.98 if path.suffix.lower() in (".txt", ".tsv", ".csv") and _tagged(path) else 0.0
    names = _paired.names_of(path)
    return 0.99 if any(name.lower().endswith(ENDINGS) for name in names) else 0.0


def read(path: Path, scratch: Path) -> Read:
    """Reads a file, or every CoNLL file of a folder or zip; names such as train or dev say which part one is.

    Raises:
        Refusal: a line that is no word and tag, tags of no known scheme, or no sentence at all.
    """
    if path.is_file() and path.suffix.lower() != ".zip":
        return _rows([(plain_name(path.name), path.read_bytes())], {}, ())
    with _paired.files_of(path) as files:
        wanted = sorted(name for name in files.names if name.lower().endswith(ENDINGS))
        for name in files.names:
            if name not in wanted:
                files.skip(name, "it is not a CoNLL file")
        parts = {name: _part(name) for name in wanted}
        return _rows([(name, files.content(name)) for name in wanted], parts, tuple(files.skipped))


def _rows(contents: list[tuple[str, bytes]], parts: dict[str, str], skipped: tuple[Skipped, ...]) -> Read:
    found: list[Sentence] = []
    problems: list[Problem] = []
    for name, content in contents:
        shown = archives.readable(name)
        try:
            sentences = _conll.sentences(content, shown)
        except Refusal as refusal:
            problems += refusal.problems
            continue
        for number, (words, tags) in enumerate(sentences, start=1):
            written = tuple(re.sub(r"\s+", "\N{NO-BREAK SPACE}", word) for word in words)
            found.append(Sentence(written, tuple(spans(tags)), f"{shown}, sentence {number}", parts.get(name, "")))
    if problems:
        raise Refusal(*problems)
    made, told = table(found, contents[0][0], "Mark entities as B- and I- and their type.")
    said = [told]
    if any(parts.values()):
        said.append("The names of the files say which part each sentence belongs to; they are kept to.")
    return Read(table=made, target="tags", skipped=skipped, inference=tuple(said))


def _part(name: str) -> str:
    """The part that a file's name or its folders say: wikiann_en_train.conll, dev/1.conll."""
    words = re.split(r"[^a-z]+", PurePosixPath(name).stem.lower())
    return next((PARTS[word] for word in reversed(words) if word in PARTS), _paired.part_of(name))


def _tagged(path: Path) -> bool:
    with path.open("rb") as file:
        lines = file.read(START).decode("utf-8", "replace").split("\n")[:-1]
    fields = [line.split() for line in lines]
    told = [line for line in fields if line and not line[0].startswith(("#", "-DOCSTART-"))]
    tagged = [line for line in told if 2 <= len(line) <= 5 and _conll.TAG.fullmatch(line[-1])]
    return len(told) >= 2 and len(tagged) == len(told) and [] in fields and any(line[-1] != "O" for line in told)


CONLL = Format(
    key="conll",
    title="Tagged words (CoNLL)",
    extensions=(".conll", ".iob", ".bio"),
    recognise=recognise,
    read=read,
    order=15,
)
