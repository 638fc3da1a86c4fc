"""CoNLL files: what is read of good ones, and where broken ones are refused."""

from __future__ import annotations

import pytest

from tltools.formats._conll import Sentence, sentences
from tltools.records import Refusal

ONE: list[Sentence] = [(("Ann", "sings"), ("B-PER", "O"))]


@pytest.mark.parametrize(
    "text",
    [
        "Ann\tB-PER\nsings\tO\n",
        "Ann B-PER\nsings O",
        "Ann\tB-PER\r\nsings\tO\r\n\r\n",
        "\ufeffAnn\tB-PER\nsings\tO\n",
        "Ann\tB-PER\nsings\tO\n\ufeff\n",
        "# a remark\nAnn B-PER\nsings O\n",
        "-DOCSTART- -X- O O\n\nAnn NNP NP B-PER\nsings VB VP O\n",
        "\n\n\nAnn NNP B-PER\nsings VB O\n\n\n",
        "Ann   B-PER  \nsings   O\n \n",
    ],
)
def test_good_files(text: str) -> None:
    assert sentences(text.encode(), "a.conll") == ONE


def test_hash_words_and_words_with_blanks_are_words() -> None:
    assert sentences(b"#tag\tO\nNew York\tB-LOC\n\n#\tO\n", "a.conll") == [
        (("#tag", "New York"), ("O", "B-LOC")),
        (("#",), ("O",)),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "at least one"),
        (b"\n\n# only a remark\n", "at least one"),
        (b"Ann\n", "line 1"),
        (b"Ann B-PER\nsings\n", "line 2"),
        (b"Ann NNP B-PER\nsings O\n", "line 2.*3 columns"),
        (b"a b c d O\n", "line 1.*has 5"),
        (b"Ann B-PER\n\nsings V\n", "line 3.*'V'"),
        (b"Ann\tPER\n", "line 1.*'PER'"),
        (b"Ann\tB-\n", "line 1.*'B-'"),
        (b"Ann\tU-PER\n", "line 1.*'U-PER'"),
        (b"Ann\to\n", "line 1.*'o'"),
        (b"J\xf6rg\tB-PER\n", "UTF-8"),
    ],
)
def test_broken_files_are_refused_with_their_place(content: bytes, told: str) -> None:
    with pytest.raises(Refusal, match=told):
        sentences(content, "a.conll")
