"""How much a source reads of a row of a dataset: by it, what a row costs is told from what rows of another cost."""

from __future__ import annotations

from collections.abc import Mapping

from tltools.fits import TOKENS_A_WORD, pixels_read, tokens_read
from tltools.modalities import modalities
from tltools.records import Dataset, Source
from tltools.tasks import Task, tasks

ENDS = 2  # tokens around a text
TAIL = 1 / 6  # of the way from the median to one row in twenty: there lies the mean of most lengths of texts
TOKENS_A_CELL = 5  # of a table that is read as text: the column's name and its value
TOKENS_A_SECOND = 50  # of a clip, as most encoders of sounds have them


def limits(source: Source, task: Task) -> tuple[int, int | None]:
    """(tokens of a text that are read, at most; pixels to which a picture is squeezed, each way) for a task."""
    asked = task.dense.tokens if task.dense else task.written.tokens if task.written else 0
    return tokens_read(source, asked), pixels_read(source, task.dense.side if task.dense else 0)


def size(source: Source, dataset: Dataset, numbers: Mapping[str, float]) -> float:
    """How much a source reads of a row, on average: tokens of what is read one after another; of pictures, how many
    times as many pixels as the source was made for; 1 for tables. numbers: those of the dataset's profile."""
    tokens, pixels = limits(source, tasks()[dataset.task])
    if source.reads == "image":
        return ((pixels or 1) / (source.image_size or pixels or 1)) ** 2
    if source.reads == "audio":
        heard = min(dataset.reading.get("seconds", 1.0), source.seconds or dataset.reading.get("seconds", 1.0))
        return TOKENS_A_SECOND * min(numbers.get("seconds_median", heard), heard)
    if source.reads not in ("text", "frames"):
        return 1.0
    if modalities()[dataset.modality].cells:
        return float(min(tokens, len(dataset.inputs) * (TOKENS_A_CELL if source.reads == "text" else 1) + ENDS))
    if "letters_median" in numbers:
        return min(tokens, numbers["letters_median"] / dataset.reading.get("step", 1.0) + ENDS)
    if "words_median" not in numbers:
        return float(tokens)
    usual, long = (min(tokens, TOKENS_A_WORD * numbers[name] + ENDS) for name in ("words_median", "words_95"))
    return usual + TAIL * (long - usual)
