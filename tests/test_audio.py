"""Sounds from file to verdict's other end: read or refused, seen as numbers, profiled, split, predicted, exported.

Run alone: python -m pytest tests/test_audio.py
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.bad_files import archive
from tests.sealed_trials import SHORT
from tltools import artifacts, datasets, sound, studies
from tltools.engine import export, predict, trial_model
from tltools.engine import study as engine
from tltools.formats import Read, audio, images
from tltools.home import Home, open_home
from tltools.modalities import audio as modality
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket


def tone(hertz: float, seconds: float = 0.3, rate: int = 8_000, seed: int = 0) -> np.ndarray:
    """(N,) float64: a sine with a little noise, so that no two seeds are equal."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * hertz * time) + 0.02 * np.random.default_rng(seed).standard_normal(len(time))


def clip(samples: np.ndarray, rate: int = 8_000, form: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def low_and_high(each: int = 10) -> dict[str, bytes]:
    """Class folders: hums below 500 Hz and whistles above 2 kHz, none like another."""
    entries = {}
    for i in range(each):
        entries[f"hum/{i:02d}.wav"] = clip(tone(150 + 30 * i, 0.3 + 0.01 * i, seed=i))
        entries[f"whistle/{i:02d}.wav"] = clip(tone(2000 + 130 * i, 0.3 + 0.01 * i, seed=100 + i))
    return entries


def read(folder: Path, entries: dict[str, bytes]) -> Read:
    return audio.read(archive("sounds.zip", entries)(folder), folder / "media")


def reasons(found: Read) -> dict[str, str]:
    return {one.where: one.reason for one in found.skipped}


def stored(found: Read, where: str) -> tuple[np.ndarray, int]:
    assert found.media is not None
    return sound.load(found.media / str(found.table.set_index("_where").loc[where, "audio"]))


def test_class_folders_become_labels_with_facts_of_each_clip(tmp_path: Path) -> None:
    path = archive("sounds.zip", low_and_high())(tmp_path)
    assert audio.recognise(path) > images.recognise(path)
    found = audio.read(path, tmp_path / "media")
    assert found.target == "label" and found.table["label"].value_counts().to_dict() == {"hum": 10, "whistle": 10}
    row = found.table.set_index("_where").loc["hum/03.wav"]
    assert row["seconds"] == pytest.approx(0.33) and row["rate"] == 8_000
    samples, _ = soundfile.read(io.BytesIO(low_and_high()["hum/03.wav"]))
    assert row["level"] == pytest.approx(10 * np.log10((samples**2).mean()), abs=1e-6)
    assert np.abs(stored(found, "hum/03.wav")[0] / 32768 - samples).max() == 0, "16 bits stay as they were"


@pytest.mark.parametrize(
    ("name", "form", "subtype", "least"),
    [
        ("a.wav", "WAV", "PCM_24", 0.9999), ("a.wav", "WAV", "PCM_U8", 0.999), ("a.wav", "WAV", "FLOAT", 0.9999),
        ("a.flac", "FLAC", "PCM_16", 0.9999), ("a.ogg", "OGG", "VORBIS", 0.98), ("a.mp3", "MP3", None, 0.9),
    ],
)  # fmt: skip
def test_every_kind_of_sound_is_read_as_the_same_sound(
    tmp_path: Path, name: str, form: str, subtype: str | None, least: float
) -> None:
    samples = tone(440, 0.5, 16_000)
    found = read(tmp_path, {f"x/{name}": clip(samples, 16_000, form, subtype)})
    assert not found.skipped
    heard, rate = stored(found, f"x/{name}")
    assert rate == 16_000 and abs(len(heard) - len(samples)) <= 2304, "an MP3 is filled up to whole frames"
    shifts = [np.corrcoef(heard[k : k + 4000], samples[2000:6000])[0, 1] for k in range(len(heard) - 4000)]
    assert max(shifts) > least


def test_channels_and_high_rates_are_made_alike_and_it_is_said(tmp_path: Path) -> None:
    left = tone(300, 0.4, 44_100)
    found = read(
        tmp_path,
        {
            "x/stereo.wav": clip(np.stack([left, 0 * left], 1), 44_100),
            "x/against.wav": clip(np.stack([left, -left], 1), 44_100),
        },
    )
    said = " ".join(problem.what for problem in found.problems)
    assert "2 mixed down to one channel" in said and "2 brought from 44.1 to 16 kHz" in said
    half, rate = stored(found, "x/stereo.wav")
    assert rate == 16_000 and len(half) == pytest.approx(0.4 * 16_000, abs=1)
    whole, _ = stored(found, "x/against.wav")
    assert np.std(whole) == pytest.approx(2 * np.std(half), rel=1e-2), "channels that cancel are not mixed to silence"


def test_what_is_not_taken_is_named_with_reason_and_remedy(tmp_path: Path) -> None:
    whole = clip(tone(440, 1.0))
    extra = {
        "hum/empty.wav": (b"", "0 bytes"),
        "hum/nothing.wav": (clip(np.zeros(0)), "0 samples"),
        "hum/cut.wav": (whole[:5000], "cut off: 16,000 bytes"),
        "hum/headless.wav": (whole[:30], "cut off before its sound begins"),
        "hum/cut.flac": (clip(tone(440, 4.0), form="FLAC")[:9000], "cut off|damaged"),
        "hum/text.wav": (b"this is a text, no sound", "first bytes|text"),
        "hum/photo.wav": (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG.*save it as WAV"),
        "hum/click.wav": (clip(tone(440, 0.01)), "at least 25 ms"),
        "hum/unscaled.wav": (clip(tone(440) * 20_000, subtype="FLOAT"), "from -1 to 1 and reach 10,.*divide"),
        "hum/slow.wav": (clip(tone(40, 1.0, 500), 500), "500 samples a second"),
        "hum/nan.wav": (clip(np.full(4000, np.nan), subtype="FLOAT"), "no numbers"),
        "hum/phone.m4a": (b"\0\0\0\x18ftypM4A " + bytes(50), "must be WAV, FLAC, OGG or MP3"),
        "notes.txt": (b"hello", "no sound"),
    }
    found = read(tmp_path, low_and_high() | {name: content for name, (content, _) in extra.items()})
    why = reasons(found)
    assert len(found.table) == 20 and set(why) == set(extra)
    for name, (_, words) in extra.items():
        assert re.search(words, why[name]), (name, why[name])
    assert any(f"{len(extra)} file(s)" in problem.what and problem.remedy for problem in found.problems)


def test_archives_without_sounds_or_labels_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"sounds\.zip.*there is no sound in it; found \.md.*one folder of sounds per"):
        read(tmp_path, {"hum/a.md": b"x"})
    with pytest.raises(Refusal, match=r"in no class folders.*CSV"):
        read(tmp_path, {"a.wav": clip(tone(1)), "b.wav": clip(tone(2))})
    with pytest.raises(Refusal, match=r"none of the 2 sounds could be used.*hum/a\.wav: the file is empty"):
        read(tmp_path, {"hum/a.wav": b"", "hiss/b.wav": b""})
    (tmp_path / "one.wav").write_bytes(clip(tone(1)))
    with pytest.raises(Refusal, match=r"one\.wav.*one sound is no dataset"):
        audio.read(tmp_path / "one.wav", tmp_path / "media")


def test_a_table_names_the_labels(tmp_path: Path) -> None:
    entries = {f"clips/{i}.wav": clip(tone(200 + 40 * i, seed=i)) for i in range(10)}
    rows = "".join(f"{i}.wav,{'up' if i % 2 else 'down'}\n" for i in range(9)) + "gone.wav,up\n"
    found = read(tmp_path, entries | {"labels.csv": f"file,direction\n{rows}".encode()})
    assert found.target == "direction" and found.table["direction"].tolist() == ["down", "up"] * 4 + ["down"]
    assert reasons(found) == {
        "labels.csv, line 11": 'there is no sound "gone.wav"',
        "clips/9.wav": "the table of labels does not name it",
    }


# --- sound.py against hand formulas


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("hertz", [250, 1_000, 3_000])
def test_a_sine_is_loudest_in_the_band_around_it(rate: int, hertz: float) -> None:
    bands = 64
    found = sound.log_mel(np.sin(2 * np.pi * hertz * np.arange(rate) / rate), rate, bands)
    mel = 2595 * np.log10(1 + np.array([40, rate / 2, hertz]) / 700)
    assert np.abs(found.mean(1).argmax() - ((mel[2] - mel[0]) / ((mel[1] - mel[0]) / (bands + 1)) - 1)) <= 0.75
    assert found.shape == (bands, 1 + (rate - round(0.025 * rate)) // round(0.01 * rate))
    assert found.max() == 0 and found.min() == -80 and np.ptp(found.max(0)) < 0.5, "a steady tone stays as loud"


def test_every_band_hears_and_weighs_one() -> None:
    for rate, size, bands in ((8_000, 512, 64), (16_000, 1024, 128), (1_000, 64, 64)):
        weights = sound.filters(rate, size, bands)
        assert weights.shape == (bands, size // 2 + 1) and (weights >= 0).all()
        assert np.allclose(weights.sum(1), 1)


def test_half_the_amplitude_is_six_decibels_less() -> None:
    time = np.arange(8_000) / 8_000
    steps = np.sin(2 * np.pi * 1000 * time) * np.where(time < 0.5, 1, 0.5)
    loud = sound.log_mel(steps, 8_000, 64).max(0)
    assert loud[10] - loud[-10] == pytest.approx(20 * np.log10(2), abs=0.1)
    assert np.allclose(sound.log_mel(steps, 8_000, 64), sound.log_mel(steps / 7, 8_000, 64), atol=1e-3), "any level"
    silent = sound.log_mel(np.zeros(800), 8_000, 64)
    assert (silent <= -59.9).all(), "silence is not turned up"


def test_resampling_keeps_what_fits_and_drops_what_does_not() -> None:
    time = np.arange(44_100) / 44_100
    kept = sound.resampled(np.sin(2 * np.pi * 1000 * time), 44_100, 8_000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(8_000) / 8_000)
    assert len(kept) == 8_000 and np.abs(kept - expected)[200:-200].max() < 0.01
    assert np.abs(sound.resampled(np.sin(2 * np.pi * 7000 * time), 44_100, 8_000))[200:-200].max() < 0.01
    assert np.array_equal(sound.resampled(expected, 8_000, 8_000), expected.astype(np.float32))


def test_a_clip_is_fitted_to_where_it_is_loudest() -> None:
    samples = np.concatenate([np.zeros(50), np.ones(10), np.zeros(40)])
    assert sound.fitted(samples, 10).tolist() == [1] * 10
    assert sound.fitted(np.ones(3), 5).tolist() == [1, 1, 1, 0, 0]


def test_statistics_are_means_and_deviations_of_bands_and_changes() -> None:
    reading = {"rate": 8_000.0, "seconds": 0.5, "bands": 64.0}
    samples = (tone(700, 0.4) * 32767).astype(np.int16)
    bands = sound.log_mel(samples / 32768, 8_000, 64).astype(float)
    change = bands[:, 1:] - bands[:, :-1]
    by_hand = np.concatenate([bands.mean(1), bands.std(1), change.mean(1), change.std(1)])
    assert np.allclose(sound.statistics(samples, 8_000, reading), by_hand, atol=1e-3)
    picture = sound.spectrogram(samples, 8_000, reading)
    assert picture.shape == (64, 48) and picture.dtype == np.uint8
    assert (picture[:, -5:] == 0).all(), "what is filled up is silent"
    assert picture[32:].mean() > picture[:20].mean(), "low tones are below"


def test_the_reading_is_chosen_from_the_clips() -> None:
    assert sound.reading_of([0.5] * 99 + [9], [8_000] * 100) == {"rate": 8_000, "seconds": 0.5, "bands": 64}
    assert sound.reading_of([60.0], [44_100]) == {"rate": 16_000, "seconds": 10, "bands": 128}
    assert sound.reading_of([0.01], [22_050])["seconds"] == 0.2


# --- dataset: profile and split


def test_the_profile_tells_copies_silence_and_rates(home: Home, tmp_path: Path) -> None:
    entries = low_and_high()
    quiet = tone(990, 0.4, seed=7)
    entries["hum/copy.wav"] = entries["hum/05.wav"]
    entries["whistle/near.wav"] = clip(0.3 * quiet)
    entries["whistle/near.flac"] = clip(quiet, form="FLAC")
    entries["hum/silent.wav"] = clip(np.zeros(4000))
    entries["hum/wide.wav"] = clip(tone(333, 0.5, 22_050), 22_050)
    made = datasets.add(home, archive("sounds.zip", entries)(tmp_path))
    assert made.modality == "audio" and made.task == "classification" and made.reading["rate"] == 8_000
    rows = datasets.rows(home, made.id)
    places = rows["_where"].tolist()
    clusters = modality.clusters(rows, made.inputs, datasets.media(home, made.id))
    assert clusters[places.index("whistle/near.wav")] == clusters[places.index("whistle/near.flac")]
    assert clusters[places.index("hum/copy.wav")] == clusters[places.index("hum/05.wav")]
    assert len(set(clusters)) == len(rows) - 2, "the others are sounds of their own"
    said = " ".join(problem.sentence() for problem in datasets.profile(home, made.id).problems)
    for words in ("1 clip(s) are silent: hum/silent.wav", "several rates", "nothing above 4 kHz"):
        assert words in said, words
    locked = datasets.split(home, made)
    parts = [set(clusters[list(part)]) for part in (locked.train, locked.validation, locked.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(rows) - 2, "copies stay on one side"


# --- trials: predict, export, replay


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, str]]:
    """A home with a small study on hums and whistles, and its trials by strategy."""
    folder = tmp_path_factory.mktemp("sounds")
    home = open_home(folder / "home")
    made = datasets.add(home, archive("sounds.zip", low_and_high(20))(folder))
    study = Study(
        dataset=made.id,
        sources=("bundled/tiny-resnet",),
        strategies=("linear_probe", {"full_finetune": SHORT}),
        controls=("classical",),
        draws=1,
    )
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, {trial.strategy: trial.id for trial in studies.expand(home, study) if trial.fraction == 1}


ARMS = ("linear_probe", "full_finetune", "classical")


@pytest.mark.parametrize("arm", ARMS)
def test_new_sounds_are_predicted_as_the_dataset_was(
    trials: tuple[Home, dict[str, str]], arm: str, tmp_path: Path
) -> None:
    home, ids = trials
    model = trial_model.load(home, ids[arm])
    sealed, rows = model.stored(), datasets.rows(home, model.dataset.id)
    given = low_and_high(20)
    for place in rows["_where"].iloc[sealed["row"]]:
        (tmp_path / "new" / Path(place).parent).mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / place).write_bytes(given[place])
    (tmp_path / "new" / "hum" / "broken.wav").write_bytes(b"RIFF")
    asked = {"trial": ids[arm], "file": str(tmp_path / "new"), "out": str(tmp_path / "out.csv")}
    result = predict.run(QuietTicket(home), asked)
    json.dumps(result, allow_nan=False)
    assert result["rows"] == len(sealed) and [one["where"] for one in result["skipped"]] == ["hum/broken.wav"]
    said = [[one["probabilities"][name] for name in model.dataset.classes] for one in result["predictions"]]
    in_order = sealed.assign(place=rows["_where"].iloc[sealed["row"]].to_numpy()).sort_values("place")
    assert np.allclose(said, in_order[["p_0", "p_1"]], atol=0.02), "16-bit features may differ in the last digits"
    if arm == "classical":
        assert (in_order["p_0"] > 0.5).tolist() == [p.startswith("hum") for p in in_order["place"]], "easily told"
    single = [str(tmp_path / "new" / in_order["place"].iloc[0])]
    one = predict.run(QuietTicket(home), {"trial": ids[arm], "items": single})
    assert one["predictions"][0]["probabilities"] == pytest.approx(result["predictions"][0]["probabilities"], abs=1e-3)
    assert len(one["files"]) == 1 and one["files"][0].endswith(".wav")


def test_what_is_no_sound_is_not_predicted(trials: tuple[Home, dict[str, str]], tmp_path: Path) -> None:
    home, ids = trials
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(Refusal, match=r"text\.wav.*must be WAV, FLAC, OGG or MP3"):
        predict.run(QuietTicket(home), {"trial": ids["classical"], "items": [str(tmp_path / "text.wav")]})


@pytest.mark.parametrize("arm", ARMS)
def test_an_exported_folder_hears_the_same_without_tltools(
    trials: tuple[Home, dict[str, str]], arm: str, tmp_path: Path
) -> None:
    home, ids = trials
    to = tmp_path / "model"
    result: dict[str, Any] = export.run(QuietTicket(home), {"trial": ids[arm], "to": str(to)})
    assert result["replay"]["agrees"], result["replay"]
    assert result["replay"]["rows"] == len(trial_model.load(home, ids[arm]).stored())
    assert artifacts.verify(to) == []
    assert "tltools" not in (to / "predict.py").read_text()
    assert "soundfile==" in (to / "requirements.txt").read_text()
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():
        asked = [ruff, "format", "--line-length", "120", "--diff", "--isolated", to / "predict.py"]
        said = subprocess.run(asked, capture_output=True, check=False)
        assert said.returncode == 0, said.stdout.decode()
