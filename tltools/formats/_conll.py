"""CoNLL files of tagged words: the word first, its tag last, two to four columns, a blank line between sentences."""

from __future__ import annotations

import re

from tltools.records import refuse

Sentence = tuple[tuple[str, ...], tuple[str, ...]]
"""Words and their tags, of equal length."""

TAG = re.compile(r"O|[BIES]-\S+")
_LANGUAGE = re.compile(r"[a-z]{2,3}:(?=.)")  # as in WikiANN: en:London


def sentences(content: bytes, shown: str) -> list[Sentence]:
    """Every sentence of a file; lines of remarks (`#`, without a tag at the end) and `-DOCSTART-` are passed over.

    A mark of the language before every word (en:London) is taken off.

    Raises:
        Refusal: where bytes are not UTF-8, columns are missing or change in number, a tag is of no known scheme, or
            there is no sentence at all.
    """
    try:
        text = content.decode("utf-8").replace("\ufeff", "")  # marks stay inside where files were joined
    except UnicodeDecodeError as error:
        raise refuse(shown, f"must be UTF-8, and byte {error.start} is not.", "Save it as UTF-8.") from error
    found: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    width = 0
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        fields = [field.strip() for field in line.split("\t")] if "\t" in line.strip() else line.split()
        if not fields:
            if words:
                found.append((tuple(words), tuple(tags)))
            words, tags = [], []
            continue
        if fields[0] == "-DOCSTART-" or (fields[0].startswith("#") and not TAG.fullmatch(fields[-1])):
            continue
        where = f"{shown}, line {number}"
        if not 2 <= len(fields) <= 4 or not fields[0]:
            got = f"a line must hold a word and its tag in two to four columns, and this one has {len(fields)}."
            raise refuse(where, got, "Write one word and its tag a line, with a tab between.")
        width = width or len(fields)
        if len(fields) != width:
            got = f"all lines must have {width} columns as the first has, and this one has {len(fields)}."
            raise refuse(where, got, "Fill the missing columns, or put tabs between columns where words hold blanks.")
        judge_tag(fields[-1], where)
        words.append(fields[0])
        tags.append(fields[-1])
    if not found:
        raise refuse(shown, "must hold at least one tagged sentence, and has none.", "Write one word and tag a line.")
    return _without_language(found)


def judge_tag(tag: str, where: str) -> None:
    """Sees that a tag is O, or B-, I-, E- or S- and a type.

    Raises:
        Refusal: it is not.
    """
    if not TAG.fullmatch(tag):
        got = f"a tag must be O or B-, I-, E- or S- and a type, and this is {tag!r}."
        raise refuse(where, got, "Write the tags as BIO, IOB2 or BIOES, in the last column of a CoNLL file.")


def _without_language(found: list[Sentence]) -> list[Sentence]:
    mark = _LANGUAGE.match(found[0][0][0])
    if mark is None or not all(word.startswith(mark[0]) for words, _ in found for word in words):
        return found
    return [(tuple(word[len(mark[0]) :] or mark[0] for word in words), tags) for words, tags in found]
