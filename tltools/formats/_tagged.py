"""Sentences with entities become rows: words, and tags as cells, whatever file named them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tltools import places
from tltools.entities import Span, tags
from tltools.formats import asking
from tltools.records import refuse


@dataclass(frozen=True)
class Sentence:
    """Words without blanks in them, their entities, and where they were read."""

    words: tuple[str, ...]
    entities: tuple[Span, ...]
    where: str
    part: str = ""


def table(found: Sequence[Sentence], shown: str, remedy: str) -> tuple[pd.DataFrame, str]:
    """(rows with words and tags, what they are in a sentence); without tags where rows to predict have none but O.

    Raises:
        Refusal: too many sentences, or none has an entity; `remedy` says how to mark them.
    """
    limits = asking.get().limits
    if len(found) > limits.rows:
        what = f"at most {limits.rows:,} sentences can be read; got {len(found):,}."
        raise refuse(shown, what, "Add a sample of them.")
    classes = sorted({kind for one in found for _, _, kind in one.entities})
    if not classes and asking.get().labelled:
        raise refuse(shown, "no word has a tag other than O.", remedy)
    made = pd.DataFrame(
        {
            "words": [" ".join(one.words) for one in found],
            "_where": [one.where for one in found],
            "_part": [one.part for one in found],
        }
    )
    if not classes:
        return made, f"{len(made):,} sentences, to be tagged."
    codes = {name: code for code, name in enumerate(places.tag_names(classes))}
    told = [np.array([codes[tag] for tag in tags(one.entities, len(one.words))]) for one in found]
    made["tags"] = [places.tags_cell(one, classes) for one in told]
    return made, f"{len(made):,} sentences of tagged words, with {len(classes)} type(s): {', '.join(classes[:8])}."
