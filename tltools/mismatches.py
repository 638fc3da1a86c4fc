"""What a source model was not made for in a dataset: other languages, longer texts, smaller pictures, known classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from tltools.languages import LANGUAGES
from tltools.records import Dataset, Source

FOREIGN = 0.2  # share of texts in languages that a source has not read, from which it is said
TOKENS_A_WORD = 1.3  # of English text in word pieces; other languages have more
ENLARGED = 2.0  # times a picture is enlarged, from which it is said
SHRUNK = 8.0  # times it is shrunk
SEEN_SHARE = 0.5  # of the longest side that a clip or text is cut to, below which it is said

# everyday words for things among ImageNet's 1,000 classes; a hint for a warning, not a list of the classes
_NAMED = """
    ant ants bee bees butterfly spider snake lizard turtle frog fish shark bird hen duck goose owl eagle penguin dog cat
    fox wolf bear lion tiger elephant zebra horse cow sheep pig monkey gorilla panda rabbit hamster mouse daisy mushroom
    banana orange lemon strawberry pineapple broccoli pizza hotdog car truck bus train airplane ship boat bicycle
    motorcycle chair table sofa laptop keyboard phone cup bottle umbrella shoe clock
"""
IMAGENET_WORDS = frozenset(_NAMED.split())


def found(source: Source, dataset: Dataset, numbers: Mapping[str, float]) -> Iterator[str]:
    """Sentences on where a source and a dataset do not match; numbers: those of the dataset's profile."""
    if dataset.modality == "tabular" and source.reads == "text":
        yield "Table rows as text rarely beat gradient boosting beyond a few hundred rows; the control will tell."
        yield from _written(source, numbers)
    if source.reads == "frames":
        yield (
            "It has read texts only and stays frozen behind a new input layer: this often does not help; the control "
            "with random frozen weights will tell."
        )
    yield from _known(source, dataset)
    if dataset.modality == "text" and source.reads == "text":
        yield from _language(source, numbers)
        yield from _length(source, numbers)
    if dataset.modality == "image" and source.reads == "image":
        yield from _picture(source, numbers)
    if dataset.modality == "audio" and source.reads == "audio":
        yield from _sound(source, numbers)


def _known(source: Source, dataset: Dataset) -> Iterator[str]:
    """What it may have learnt of the very rows or classes before."""
    seen = {name.lower().replace("_", " ") for name in source.classes_seen}
    both = sorted(name for name in dataset.classes if name.lower().replace("_", " ") in seen)
    if both and source.trained_on != dataset.id:
        yield f"Its source task already knew {', '.join(both[:4])}: frozen scores are optimistic."
    if source.trained_on == dataset.id:
        yield "It was trained on this very dataset: a gain here says nothing about new data."
    if "imagenet" in source.pretraining.lower() and dataset.modality == "image":
        known = sorted(name for name in dataset.classes if _in_imagenet(name))
        if known:
            yield f"ImageNet has seen {', '.join(known[:4])}: frozen scores are optimistic."


def _in_imagenet(name: str) -> bool:
    words = re.split(r"[\s_-]+", name.lower())
    return any(word in IMAGENET_WORDS or word.rstrip("s") in IMAGENET_WORDS for word in words)


def _language(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    shares = {key.removeprefix("language_"): value for key, value in numbers.items() if key.startswith("language_")}
    if not source.languages or "multilingual" in source.languages or not shares:
        return
    foreign = {key: share for key, share in shares.items() if key not in source.languages}
    if sum(foreign.values()) >= FOREIGN:
        named = ", ".join(LANGUAGES[key] for key in sorted(foreign, key=lambda key: -foreign[key])[:3])
        read = ", ".join(LANGUAGES.get(key, key) for key in source.languages[:3])
        yield (
            f"It has read {read}, and about {100 * sum(foreign.values()):.0f} % of your texts are {named}: a "
            "multilingual source may do better, and this one may do harm."
        )


def _written(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    """Of rows as text; `pieces_0`, `pieces_10` ... are tenths of the rows by their length."""
    tenths = [numbers.get(f"pieces_{k}", 0.0) for k in range(0, 101, 10)]
    cut = 1 - float(np.interp(source.tokens, tenths, np.linspace(0, 1, 11)))
    if cut >= 0.01:
        share = "all" if cut == 1 else f"about {100 * cut:.0f} % of the"
        yield (
            f"It reads {source.tokens} tokens of a row as text: {share} rows are longer, and their last columns are "
            "not read. Leave out columns, or choose a source that reads more tokens."
        )


def _length(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    words = source.tokens / TOKENS_A_WORD
    if numbers.get("words_95", 0.0) <= words:
        return
    share = "half" if numbers.get("words_median", 0.0) > words else "some"
    yield (
        f"It reads {source.tokens} tokens, about {words:.0f} words: {share} of your texts are longer (one in "
        f"twenty has over {numbers['words_95']:.0f} words), and what comes after is not read."
    )


def _picture(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    side = min(numbers.get("width_median", 0.0), numbers.get("height_median", 0.0))
    if not source.image_size or not side:
        return
    if source.image_size >= ENLARGED * side:
        yield (
            f"Half of your images have {side:.0f} pixels or fewer and it reads {source.image_size}: enlarged, they "
            "lack the fine structure that it knows."
        )
    elif side >= SHRUNK * source.image_size:
        yield (
            f"It reads {source.image_size} pixels and half of your images have {side:.0f} or more: small things in "
            "them are lost."
        )


def _sound(source: Source, numbers: Mapping[str, float]) -> Iterator[str]:
    rate, seconds = numbers.get("rate_median", 0.0), numbers.get("seconds_median", 0.0)
    if source.sampling_rate and 0 < rate < source.sampling_rate:
        yield (
            f"It was made for {source.sampling_rate / 1000:g} kHz and half of your clips have {rate / 1000:g} kHz or "
            f"less: above {rate / 2000:g} kHz there is nothing for it to hear."
        )
    if source.seconds and seconds * SEEN_SHARE > source.seconds:
        yield f"It hears {source.seconds:g} s of a clip, and half of yours last {seconds:.0f} s or more."
