"""One sound from a stranger: judged by its header, decoded, made one channel at 16 kHz or less, stored as WAV."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tltools import sound
from tltools.formats import Limits
from tltools.formats._collection import Decoded, NotTaken
from tltools.formats._magic import looks_like

if TYPE_CHECKING:
    import soundfile

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
ALL_SOUNDS = (*EXTENSIONS, ".oga", ".opus", ".aif", ".aiff", ".m4a", ".aac", ".wma", ".amr", ".mid", ".midi", ".au")
SHORTEST = 0.025  # seconds: one window of the spectrogram
_LOUDEST = 10.0  # times full scale: so far no mixer goes, but floats do that were never scaled
_RATES = (1_000, 384_000)
_CHANNELS = 16


def decode(content: bytes, media: Path, limits: Limits) -> Decoded:
    """Decodes one sound file and stores it below `media`; facts are seconds, samples a second, and the level in dB.

    Raises:
        NotTaken: another format, damaged, cut off, too long or too short, with the reason.
    """
    import soundfile

    if not content:
        raise NotTaken("the file is empty (0 bytes)")
    kind = _kind(content)
    if kind == "WAV":
        _judge_wav(content)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _judge(file, limits)
            samples = file.read(int(limits.seconds * file.samplerate) + 1, dtype="float32")
            promised, rate, channels = file.frames, int(file.samplerate), int(file.channels)
    except NotTaken:
        raise
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
        said = str(error).rpartition(": ")[2][:80] or type(error).__name__
        raise NotTaken(f"it is damaged and cannot be decoded ({said}); export it again as WAV") from None
    _judge_samples(samples, rate, promised, kind, limits)
    stored, kept = sound.plain(samples, rate)
    remarks = ["mixed down to one channel"] if channels > 1 else []
    remarks += [f"brought from {rate / 1000:g} to {kept / 1000:g} kHz"] if kept != rate else []
    power = float((stored.astype(np.float64) ** 2).mean()) / 32768**2
    level = max(-120.0, 10 * float(np.log10(max(power, 1e-12))))
    return Decoded(_store(stored, kept, media), (len(samples) / rate, float(rate), level), tuple(remarks))


def _kind(content: bytes) -> str:
    """The container by its first bytes.

    Raises:
        NotTaken: none that is read here.
    """
    head = content[:16]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[:4] in (b"fLaC", b"OggS"):
        return "FLAC" if head[:1] == b"f" else "OGG"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6)):
        return "MP3"
    found = looks_like(content[:65_536])
    if found is None:
        raise NotTaken("must be WAV, FLAC, OGG or MP3; its first bytes are those of no known sound")
    raise NotTaken(f"must be WAV, FLAC, OGG or MP3; it is {found[0]}; save it as WAV or FLAC")


def _judge_wav(content: bytes) -> None:
    """The decoder reads what is there of a WAV that was cut off, and says nothing: so its chunks are counted here."""
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        there = len(content) - at - 8
        if name == b"data":
            streamed = size in (0, 0xFFFFFFFF, 0x7FFFFFFF)  # a program that wrote to a pipe did not know the length
            if size > there and not streamed:
                what = f"it is cut off: {size:,} bytes of sound are promised, {there:,} are there"
                raise NotTaken(f"{what}; copy or export it again")
            if not there:
                raise NotTaken("it holds no sound (0 samples); record or export it again")
            return
        at += 8 + size + size % 2
    raise NotTaken("it is cut off before its sound begins; copy or export it again")


def _judge(file: soundfile.SoundFile, limits: Limits) -> None:
    rate, channels = int(file.samplerate), int(file.channels)
    if not _RATES[0] <= rate <= _RATES[1]:
        raise NotTaken(f"it has {rate:,} samples a second; {_RATES[0]:,} to {_RATES[1]:,} are read, export it again")
    if channels > _CHANNELS:
        raise NotTaken(f"it has {channels} channels; at most {_CHANNELS} are read, mix it down")
    if 0 < file.frames < 2**62 and file.frames > limits.seconds * rate:
        raise _too_long(file.frames / rate, limits)


def _too_long(seconds: float, limits: Limits) -> NotTaken:
    return NotTaken(f"it lasts {seconds:,.0f} s; at most {limits.seconds:.0f} s are read, cut it into clips")


def _judge_samples(samples: Any, rate: int, promised: int, kind: str, limits: Limits) -> None:
    if not len(samples):
        raise NotTaken("it holds no sound (0 samples); record or export it again")
    if len(samples) > limits.seconds * rate:
        raise _too_long(len(samples) / rate, limits)
    if kind != "MP3" and len(samples) < promised:  # the length of an MP3 is the header's guess
        what = f"it is cut off: {promised / rate:.2f} s are promised, {len(samples) / rate:.2f} s are there"
        raise NotTaken(f"{what}; copy or export it again")
    if not np.isfinite(samples).all():
        raise NotTaken("it holds values that are no numbers; export it again")
    if (peak := float(np.abs(samples).max())) > _LOUDEST:
        what = f"its samples must lie from -1 to 1 and reach {peak:,.0f}"
        raise NotTaken(f"{what}; divide them by what they were scaled by (32,768 for 16 bits) and export it again")
    if len(samples) < SHORTEST * rate:
        what = f"it lasts {1000 * len(samples) / rate:.0f} ms; at least {1000 * SHORTEST:.0f} ms are needed"
        raise NotTaken(f"{what}, record a longer one")


def _store(samples: np.ndarray, rate: int, media: Path) -> str:
    """Equal samples at an equal rate get one name and one file."""
    seen = hashlib.sha256(f"{rate}".encode() + samples.tobytes()).hexdigest()
    name = f"{seen[:2]}/{seen[:32]}.wav"
    target = media / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.{id(samples)}")  # two threads may hold equal sounds
        sound.write(half, samples, rate)
        half.replace(target)
    return name
