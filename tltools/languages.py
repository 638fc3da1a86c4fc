"""Which languages texts are in: by their script, else by the small words that every sentence needs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "sv": "Swedish", "pl": "Polish", "tr": "Turkish", "cyrillic": "in Cyrillic letters",
    "el": "Greek", "he": "Hebrew", "arabic": "in Arabic letters", "devanagari": "in Devanagari letters",
    "th": "Thai", "ko": "Korean", "ja": "Japanese", "zh": "Chinese",
}  # fmt: skip
SMALL_WORDS = {
    "en": "the of and to in is that it was for on with as are this be have not you but they his from at a an by",
    "de": "der die und das ist nicht den von mit sich des auf für ein eine im dem auch wird zu es als sie ich",
    "fr": "le la les et des est une du que qui dans pour pas sur au avec ce il je sont ne plus mais nous cette",
    "es": "el la los las y que de en un una es por con para no se del su lo como más pero al está este",
    "it": "il la di che è e un una per non sono con del della le gli i si da più ma nel come anche questo",
    "pt": "o a os as e que de do da em um uma não para com é por se mais na no foi ao muito como dos",
    "nl": "de het een en van is dat niet in op te zijn met voor er aan die ook als maar was deze naar dit",
    "sv": "och att det som en är på inte av för med den till har jag ett om var men från kan så vi",
    "pl": "i w na nie się że z do to jest jak ale po co za od przez tak czy już dla tym był jego",
    "tr": "ve bir bu için çok da de ile ne var gibi daha ama olarak değil olan en kadar sonra mi ben o her",
}
SCRIPTS = (
    ("ja", re.compile("[\u3041-\u30ff]")), ("ko", re.compile("[\uac00-\ud7a3]")), ("zh", re.compile("[\u4e00-\u9fff]")),
    ("cyrillic", re.compile("[\u0400-\u04ff]")), ("el", re.compile("[\u0370-\u03ff]")),
    ("he", re.compile("[\u0590-\u05ff]")), ("arabic", re.compile("[\u0600-\u06ff]")),
    ("devanagari", re.compile("[\u0900-\u097f]")), ("th", re.compile("[\u0e00-\u0e7f]")),
)  # fmt: skip
OF_SCRIPT = 0.2  # of a text's letters in a script, from which the text is in it: names in other letters are common
LOOKED_AT = 2_000  # texts, spread evenly
LEAST_SURE = 0.2  # of the texts whose language must be told before anything is said
LEAST_SHARE = 0.05  # of a language, below which it is left out: short texts are mistaken now and then
_WORD = re.compile(r"[^\W\d_]+")
_KNOWN = {language: frozenset(words.split()) for language, words in SMALL_WORDS.items()}


def of(text: str) -> str | None:
    """The language of one text, a key of `LANGUAGES`; None where nothing tells."""
    letters = sum(map(str.isalpha, text))
    for language, script in SCRIPTS:
        if letters and len(script.findall(text)) >= OF_SCRIPT * letters:
            return language
    words = _WORD.findall(text.lower())
    hits = Counter({language: sum(word in known for word in words) for language, known in _KNOWN.items()})
    (first, most), (_, second) = hits.most_common(2)
    return first if most > second else None


def shares(texts: Sequence[str]) -> dict[str, float]:
    """Share of each language among the texts whose language can be told; empty where too few can."""
    looked = texts[:: max(1, len(texts) // LOOKED_AT)]
    counts = Counter(language for text in looked if (language := of(text)))
    told = sum(counts.values())
    if told < LEAST_SURE * len(looked) or not told:
        return {}
    return {language: count / told for language, count in counts.most_common() if count >= LEAST_SHARE * told}
