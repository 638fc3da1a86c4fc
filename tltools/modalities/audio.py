"""Sounds: one clip a row, stored as WAV with one channel, read as a log-mel spectrogram."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tltools import sound
from tltools.modalities import Exported, Files, Modality, Reader, Reading
from tltools.modalities._near import SIDE
from tltools.records import Column, Problem, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

NEAR_LIMIT = 30_000  # clips up to which each is compared with each
SILENT = -75.0  # decibels of full scale: below it nothing can be heard
_ALIKE = 0.995  # correlation of two small spectrograms: the same word said again stays below it
_SHARED = ("mono", "resampled", "plain", "fitted", "heard", "filters", "log_mel")

SEEN_SHARE = 0.5  # of a clip that a source hears, below which it is said


@dataclass(frozen=True)
class Clip:
    """A stored clip, and how it is read: heard where it is needed, so that a long list of clips takes no memory."""

    path: Path
    reading: Reading

    def __str__(self) -> str:
        return str(self.path)

    def picture(self) -> Image.Image:
        """Returns the log-mel spectrogram as an RGB picture, (seconds x 100) pixels wide, one pixel a band high."""
        return draw(self.path, self.reading)

    def frames(self) -> np.ndarray:
        """Returns (T, bands) uint8: the log-mel spectrogram, first moments first, low tones first."""
        return sound.spectrogram(*sound.load(self.path), self.reading)[::-1].T

    @property
    def seconds(self) -> float:
        """At most so much of a clip is read."""
        return float(self.reading["seconds"])

    def samples(self, rate: int) -> np.ndarray:
        """Returns (N,) float32: the waveform at so many samples a second, cut to the reading's length."""
        return sound.heard(*sound.load(self.path), rate, self.seconds)

    def statistics(self) -> np.ndarray:
        """Returns (4 * bands,) float32: mean and deviation of each band and of its change."""
        return sound.statistics(*sound.load(self.path), self.reading)


def recognise(columns: Sequence[Column]) -> float:
    """1 where a column holds sounds."""
    return 1.0 if any(column.kind == "audio" for column in columns) else 0.0


def inputs(columns: Sequence[Column]) -> tuple[str, ...]:
    """The first column of sounds."""
    return tuple(column.name for column in columns if column.kind == "audio")[:1]


def reading(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Reading:
    """Rate, seconds and bands, from how long the clips are and how they were recorded."""
    return sound.reading_of(rows["seconds"].to_numpy(float), rows["rate"].to_numpy(float))


def numbers(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Mapping[str, float]:
    """Seconds and samples a second, as they were before storing, and how many clips are silent."""
    found = {f"seconds_{word}": float(getattr(rows["seconds"], word)()) for word in ("min", "median", "max")}
    found |= {f"rate_{word}": float(getattr(rows["rate"], word)()) for word in ("min", "median", "max")}
    return found | {"silent": float((rows["level"] < SILENT).sum())}


def problems(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[Problem]:
    """Silent clips, one clip under many names, mixed or low rates, and what does not fit into the picture."""
    found: list[Problem] = []

    def tell(severity: Literal["warning", "note"], where: str, what: str, remedy: str) -> None:
        found.append(Problem(severity=severity, where=where, what=what, remedy=remedy))

    places, stored = rows["_where"].tolist(), rows[names[0]].tolist()
    for name, count in Counter(stored).most_common(3):
        if count >= 3:
            examples = [place for place, other in zip(places, stored, strict=True) if other == name][:3]
            what = f"one clip stands {count} times in the data ({', '.join(examples)}): perhaps a placeholder."
            tell("warning", examples[0], what, "Listen to it, and take it out if it holds nothing.")
    silent = rows.loc[rows["level"] < SILENT, "_where"].tolist()
    if silent:
        what = f"{len(silent)} clip(s) are silent: {', '.join(silent[:5])}{' ...' if len(silent) > 5 else ''}."
        tell("warning", silent[0], what, "Take them out, unless silence is what their class means.")
    rates = rows["rate"].value_counts()
    chosen = reading(rows, names, media)
    if len(rates) > 1:
        said = ", ".join(f"{count} at {rate / 1000:g} kHz" for rate, count in rates.head(4).items())
        what = f"the clips were recorded at several rates ({said}); all are read at {chosen['rate'] / 1000:g} kHz."
        tell("note", names[0], what, "Check that no class has a rate of its own: it could be told by that alone.")
    if chosen["rate"] <= 8_000:
        what = f"at {chosen['rate'] / 1000:g} kHz nothing above {chosen['rate'] / 2000:g} kHz can be heard."
        tell("note", names[0], what, "Use the original recordings if they have a higher rate.")
    longer = int((rows["seconds"] > chosen["seconds"] + 0.005).sum())
    if longer:
        what = f"{longer} of {len(rows)} clips last longer than {chosen['seconds']:g} s, up to"
        what += f" {rows['seconds'].max():.1f} s: of these the {chosen['seconds']:g} s with the most energy are read."
        tell("note", names[0], what, "Cut long recordings into clips if what matters may lie elsewhere.")
    return found


def doubts(source: Source, classes: Sequence[str], numbers: Mapping[str, float]) -> Iterator[str]:
    """Tones that the clips lack, and clips that are longer than the source hears."""
    if source.reads != "audio":
        return
    rate, seconds = numbers.get("rate_median", 0.0), numbers.get("seconds_median", 0.0)
    if source.sampling_rate and 0 < rate < source.sampling_rate:
        yield (
            f"It was made for {source.sampling_rate / 1000:g} kHz and half of your clips have {rate / 1000:g} kHz or "
            f"less: above {rate / 2000:g} kHz there is nothing for it to hear."
        )
    if source.seconds and seconds * SEEN_SHARE > source.seconds:
        yield f"It hears {source.seconds:g} s of a clip, and half of yours last {seconds:.0f} s or more."


def content(rows: pd.DataFrame, names: Sequence[str], media: Path) -> Sequence[bytes]:
    """Per row: sha256 of the stored name, which is itself a hash of the samples."""
    return [hashlib.sha256(name.encode()).digest() for name in rows[names[0]]]


def clusters(rows: pd.DataFrame, names: Sequence[str], media: Path) -> np.ndarray:
    """(N,) int64: rows share one where the spectrograms agree, whatever their level, rate and compression."""
    import numpy as np

    from tltools.modalities._near import Links, equal, similar_pictures

    same = equal(rows[names[0]].tolist())
    first = np.unique(same)
    links = Links(len(first))
    similar_pictures(_small(media, tuple(rows[names[0]].iloc[first])), links, NEAR_LIMIT, _ALIKE)
    return np.asarray(first[links.clusters()][np.searchsorted(first, same)])


@lru_cache(maxsize=2)
def _small(media: Path, names: tuple[str, ...]) -> np.ndarray:
    """(N, SIDE * SIDE) uint8: small spectrograms of whole clips, from 40 Hz to 4 kHz, whatever their rate."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from PIL import Image

    def one(name: str) -> np.ndarray:
        samples, rate = sound.load(media / name)
        bands = sound.log_mel(sound.resampled(samples / 32768, rate, 8_000), 8_000, SIDE)
        grey = Image.fromarray(((bands + 80) * (255 / 80)).astype(np.uint8))
        return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1)

    with ThreadPoolExecutor(4) as pool:
        return np.stack(list(pool.map(one, names))) if names else np.empty((0, SIDE * SIDE), np.uint8)


def clips(rows: pd.DataFrame, names: Sequence[str], media: Path, reading: Reading) -> list[Clip]:
    """Returns each row's clip, to be heard when it is needed."""
    return [Clip(media / name, reading) for name in rows[names[0]]]


def draw(path: Path, reading: Reading) -> Image.Image:
    """Returns the spectrogram of a stored clip as a grey RGB picture: time to the right, high tones on top."""
    from PIL import Image

    return Image.fromarray(sound.spectrogram(*sound.load(path), reading)).convert("RGB")


def describe(items: Sequence[Clip]) -> np.ndarray:
    """(N, 4 * bands) float32: mean and deviation of each band of the log-mel spectrogram and of its change."""
    import numpy as np

    return np.stack([item.statistics() for item in items])


def exported(what: Reader) -> Exported:
    """The front end as code: the functions of `tltools.sound`, and a line that reads any sound file."""
    names = _SHARED[:5] if what == "samples" else (*_SHARED, "statistics" if what == "describe" else "spectrogram")
    functions = [inspect.getsource(getattr(sound, name)).replace(": Reading", ": dict[str, float]") for name in names]
    last = (
        "def samples(path):  # a sound file as a wave at the model's rate\n"
        "    wave, rate = opened(path)\n"
        '    return heard(wave, rate, facts["rate"], facts["reading"]["seconds"])\n'
        if what == "samples"
        else "def picture(path):  # a sound file as its log-mel spectrogram\n"
        "    samples, rate = opened(path)\n"
        '    return Image.fromarray(spectrogram(samples, rate, facts["reading"])).convert("RGB")\n'
        if what == "picture"
        else "def frames(path):  # a sound file as columns of its log-mel spectrogram\n"
        "    samples, rate = opened(path)\n"
        '    return spectrogram(samples, rate, facts["reading"])[::-1].T\n'
        if what == "frames"
        else "def describe(paths):  # sound files as statistics of their log-mel spectrograms\n"
        "    sounds = [opened(path) for path in paths]\n"
        '    return np.stack([statistics(samples, rate, facts["reading"]) for samples, rate in sounds])\n'
    )
    code = "\n\n".join([f"MOST_RATE = {sound.MOST_RATE:_}\n", *functions, _OPENED, last])
    drawn = (("from PIL import Image",), ("pillow",)) if what == "picture" else ((), ())
    return Exported(("import soundfile", *drawn[0]), ("scipy", "soundfile", *drawn[1]), ENDINGS, code)


ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
_OPENED = """\
def opened(path):  # (samples of one channel, rate)
    samples, rate = soundfile.read(path, dtype="float32")
    if not len(samples):
        raise OSError("it holds no samples")
    return plain(samples, rate)


def fault(path):  # why a sound cannot be read; "" where it can
    try:
        opened(path)
    except (OSError, soundfile.SoundFileError) as error:
        return f"{path} cannot be read as a sound ({error}): replace it, or take it away"
    return ""
"""
AUDIO = Modality(
    key="audio",
    title="Sounds",
    recognise=recognise,
    inputs=inputs,
    numbers=numbers,
    problems=problems,
    content=content,
    clusters=clusters,
    doubts=doubts,
    views={"audio": clips, "image": clips, "frames": clips},
    said={
        "image": "Each clip reaches it as a picture: read as spectrogram (log-mel).",
        "frames": "Fits as a frozen language model; new input layer for the columns of the spectrogram (log-mel).",
    },
    reading=reading,
    files=Files(
        one="a sound",
        many="sounds",
        endings=ENDINGS,
        facts=("seconds", "rate", "level"),
        telling="The classes may come from different recorders or rooms; record or cut them alike before judging.",
        draw=draw,
        describe=describe,
        described="log-mel statistics",
        exported=exported,
        plays=True,
    ),
    order=25,
)
