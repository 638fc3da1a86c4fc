"""Sound as numbers: one channel at one rate, and its log-mel spectrogram as a picture or as statistics.

The front end is fixed: Hann windows of 25 ms every 10 ms, 64 mel bands up to a rate of 8 kHz and 128 above, decibels
below the loudest place of the clip down to -80. What is chosen from the data (rate, seconds, bands) is a `Reading`,
kept with the dataset, so that training, prediction and export use the same. Exports carry these functions.
"""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MOST_RATE = 16_000  # samples a second that are kept: more than the source models here read
MOST_SECONDS = 10.0  # of a clip that a source model sees
Reading = Mapping[str, float]


def mono(samples: np.ndarray) -> np.ndarray:
    """(N,) or (N, C) -> (N,): the mean of the channels, or the loudest one where they cancel each other."""
    if samples.ndim == 1:
        return samples
    mixed = samples.mean(1)
    power = (samples**2).mean(0)
    return mixed if (mixed**2).mean() >= 1e-4 * power.max() else samples[:, int(power.argmax())]


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """(N,) at `rate` -> (M,) float32 at `wanted` samples a second, without what the lower rate cannot hold."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return samples.astype(np.float32)
    step = np.gcd(rate, wanted)
    return resample_poly(samples.astype(np.float32), wanted // step, rate // step).astype(np.float32)


def plain(samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """Samples (N,) or (N, C) from -1 to 1 as they are stored: (M,) int16, one channel, at most 16 kHz; and the rate."""
    kept = min(rate, MOST_RATE)
    values = resampled(mono(samples), rate, kept)
    return (values * 32768).round().clip(-32768, 32767).astype(np.int16), kept


def fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """(N,) -> (length,): silence is added at the end, or the part with the most energy is taken."""
    if len(samples) <= length:
        return np.pad(samples, (0, length - len(samples)))
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    start = int((energy[length:] - energy[:-length]).argmax())
    return samples[start : start + length]


def heard(samples: np.ndarray, rate: int, wanted: int, seconds: float) -> np.ndarray:
    """(N,) int16 -> (M,) float32 from -1 to 1 at `wanted` samples a second: at most so long, and never filled up."""
    values = resampled(samples / 32768, rate, wanted)
    return fitted(values, min(len(values), round(seconds * wanted)))


def filters(rate: int, size: int, bands: int) -> np.ndarray:
    """(bands, size // 2 + 1) float32: triangles of equal width on the mel scale from 40 Hz to half the rate."""
    low, high = 2595 * np.log10(1 + np.array([40.0, rate / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins = np.arange(size // 2 + 1) * rate / size
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(up, down))
    nearest = np.abs(bins - edges[1:-1, None]).argmin(1)  # a triangle between two bins would hear nothing
    weights[np.arange(bands), nearest] = np.maximum(weights[np.arange(bands), nearest], 1e-2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """(N,) from -1 to 1 -> (bands, frames) float32: decibels below the loudest place (-80 to 0), low tones first."""
    window, hop = round(0.025 * rate), round(0.01 * rate)
    size = 2 ** (int(np.ceil(np.log2(window))) + 1)
    samples = np.pad(samples, (0, max(0, window - len(samples)))).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), size)) ** 2
    decibel = 10 * np.log10(np.maximum(filters(rate, size, bands) @ power.T, 1e-10))
    return np.clip(decibel - max(float(decibel.max()), -40.0), -80, 0).astype(np.float32)


def spectrogram(samples: np.ndarray, rate: int, reading: Reading) -> np.ndarray:
    """(N,) int16 -> (bands, frames) uint8, high tones on top: the clip at the reading's rate and length."""
    wanted = int(reading["rate"])
    clip = fitted(resampled(samples / 32768, rate, wanted), round(reading["seconds"] * wanted))
    return ((log_mel(clip, wanted, int(reading["bands"]))[::-1] + 80) * (255 / 80)).round().astype(np.uint8)


def statistics(samples: np.ndarray, rate: int, reading: Reading) -> np.ndarray:
    """(N,) int16 -> (4 * bands,) float32: mean and deviation of each band and of its change from frame to frame."""
    wanted = int(reading["rate"])
    clip = heard(samples, rate, wanted, reading["seconds"])
    bands = log_mel(clip, wanted, int(reading["bands"]))
    change = np.diff(bands, axis=1) if bands.shape[1] > 1 else np.zeros_like(bands)
    return np.concatenate([bands.mean(1), bands.std(1), change.mean(1), change.std(1)])


def reading_of(seconds: Sequence[float] | np.ndarray, rates: Sequence[float] | np.ndarray) -> dict[str, float]:
    """What is chosen from the data: the most frequent rate, bands, and the length that 95 % of the clips stay below."""
    known, counts = np.unique(np.minimum(np.asarray(rates, float), MOST_RATE), return_counts=True)
    rate = float(known[counts.argmax()]) if len(known) else float(MOST_RATE)
    length = float(np.quantile(np.asarray(seconds, float), 0.95)) if len(known) else 1.0
    kept = min(MOST_SECONDS, max(0.2, float(np.ceil(10 * length - 1e-9)) / 10))
    return {"rate": rate, "seconds": kept, "bands": 64.0 if rate <= 8_000 else 128.0}


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Writes (N,) int16 as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def load(path: Path) -> tuple[np.ndarray, int]:
    """(N,) int16 and the rate of a file that `write` has written."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
