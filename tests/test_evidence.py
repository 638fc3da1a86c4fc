"""What is known before a run: languages and sizes that do not match, distance of domains, likely harm, rankings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from tests.sealed_trials import Sealed
from tltools import datasets, evidence, fits, languages, mismatches, samples, sources, studies
from tltools.engine import outlook, rank
from tltools.home import Home
from tltools.judging import domains, ranking
from tltools.modalities import modalities
from tltools.providers.bundled import MINILM, TINY_RESNET
from tltools.records import Dataset, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

GERMAN = "Das ist ein sehr schöner Film, und die Schauspieler sind nicht schlecht, aber er ist zu lang."
SENTENCES = {
    "en": "The film was long and it is not for the faint of heart.", "de": GERMAN,
    "fr": "Le film est très long et les acteurs ne sont pas mauvais dans cette histoire.",
    "es": "La película es muy larga y los actores no son malos en el final.",
    "it": "Il film è molto lungo e gli attori non sono cattivi nel finale della storia.",
    "pt": "O filme é muito longo e os atores não são maus para uma história do povo.",
    "nl": "De film is heel lang en het verhaal van de spelers is niet slecht voor een avond.",
    "sv": "Filmen är mycket lång och det är inte dåligt för att den har en bra historia.",
    "pl": "Film jest bardzo długi i nie jest to zła historia, ale aktorzy są za głośni.",
    "tr": "Bu film çok uzun ama bir hikaye olarak kötü değil ve daha iyi de var.",
    "ja": "この映画はとても長いです。", "zh": "这部电影很长。", "ko": "이 영화는 매우 깁니다.",
    "cyrillic": "Этот фильм очень длинный.", "el": "Η ταινία είναι πολύ μεγάλη.",
}  # fmt: skip


@pytest.mark.parametrize("language", SENTENCES)
def test_the_language_of_a_sentence_is_told(language: str) -> None:
    assert languages.of(SENTENCES[language]) == language and language in languages.LANGUAGES


def test_shares_of_languages_and_silence_where_nothing_tells() -> None:
    assert languages.shares([SENTENCES["en"]] * 3 + [GERMAN]) == {"en": 0.75, "de": 0.25}
    assert languages.shares(["xyzzy 42", "---"]) == {} and languages.shares([]) == {}


def dataset(modality: str, **fields: Any) -> Dataset:
    known = {"id": "0" * 16, "fingerprint": "", "name": "x", "task": "classification", "target": "y", "inputs": ("x",)}
    return Dataset(**{**known, "modality": modality, "rows": 9, "created": datetime.now(UTC), **fields})


def test_a_source_of_another_language_is_warned_of() -> None:
    texts = dataset("text")
    (said,) = mismatches.found(MINILM, texts, {"language_de": 0.9, "language_en": 0.1, "words_95": 20})
    assert "has read English" in said and "90 % of your texts are German" in said
    many = MINILM.model_copy(update={"languages": ("multilingual",)})
    for source, numbers in ((many, {"language_de": 1.0}), (MINILM, {"language_en": 0.95}), (MINILM, {})):
        assert not list(mismatches.found(source, texts, numbers))


def test_texts_that_are_longer_than_a_source_reads_are_warned_of() -> None:
    (said,) = mismatches.found(MINILM, dataset("text"), {"words_median": 300, "words_95": 900})
    assert "128 tokens, about 98 words: half" in said, "what it reads, not what it could"
    (said,) = mismatches.found(
        MINILM, dataset("text", task="question_answering"), {"words_median": 300, "words_95": 900}
    )
    assert "256 tokens, about 197 words: half" in said, "as many as the task asks for"
    (said,) = mismatches.found(MINILM, dataset("text"), {"words_median": 30, "words_95": 400})
    assert "some of your texts" in said
    wide = fits.told_tokens(MINILM, "512")
    (said,) = mismatches.found(wide, dataset("text"), {"words_median": 300, "words_95": 900})
    assert "512 tokens" in said


def test_rows_that_are_longer_as_text_than_a_source_reads_are_warned_of(tmp_path: Path) -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 40)), columns=[f"gene_{k}" for k in range(40)])
    wide.iloc[:20, 8:] = np.nan  # every fourth row is short
    numbers = modalities()["tabular"].numbers(wide, list(wide.columns), Path())
    said = [what for what in mismatches.found(MINILM, dataset("tabular"), numbers) if "rows are longer" in what]
    (share,) = [int(word) for word in said[0].split() if word.isdigit() and word != "128"]
    assert 65 <= share <= 85 and "128 tokens" in said[0] and "Leave out columns" in said[0]
    patient = MINILM.model_copy(update={"options": {"max_tokens": 2_000}, "max_length": 4_000})
    assert not any("longer" in what for what in mismatches.found(patient, dataset("tabular"), numbers))
    entered = MINILM.model_copy(update={"reads": "frames"})
    assert not any("longer" in what for what in mismatches.found(entered, dataset("tabular"), numbers))


def test_pictures_and_sounds_of_another_size_are_warned_of() -> None:
    network = TINY_RESNET.model_copy(update={"pretrained": True})
    large = network.model_copy(update={"image_size": 224})
    small = {"width_median": 28, "height_median": 28}
    (said,) = mismatches.found(large, dataset("image"), small)
    assert "enlarged" in said and not list(mismatches.found(network, dataset("image"), small))
    (said,) = mismatches.found(network, dataset("image"), {"width_median": 900, "height_median": 600})
    assert "small things" in said
    boxes = dataset("image", task="detection", classes=("a",))  # which reads pictures at 256 pixels, whatever is usual
    assert not list(mismatches.found(network, boxes, {"width_median": 640, "height_median": 480}))
    (said,) = mismatches.found(network, boxes, {"width_median": 4000, "height_median": 3000})
    assert said.startswith("It reads 256 pixels")
    detector = network.model_copy(update={"answers": "detection", "image_size": 640})
    (said,) = mismatches.found(detector, boxes, {"width_median": 9000, "height_median": 6000})
    assert said.startswith("It reads 640 pixels")
    ears = MINILM.model_copy(update={"reads": "audio", "sampling_rate": 16_000, "seconds": 10.0, "languages": ()})
    said = " ".join(mismatches.found(ears, dataset("audio"), {"rate_median": 8000, "seconds_median": 30}))
    assert "above 4 kHz there is nothing" in said and "hears 10 s" in said


def test_a_german_dataset_shows_the_warning_at_its_sources(home: Home, tmp_path: Path) -> None:
    rows = [(f"{GERMAN} Nummer {k}.", ("gut", "schlecht")[k % 2]) for k in range(40)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "filme.csv", index=False)
    made = datasets.add(home, tmp_path / "filme.csv", target="label", inputs=["text"])
    cell = sources.fit(home, MINILM, made)
    assert cell.fits and any("German" in warning for warning in cell.warnings)


def test_an_untrained_network_is_said_to_transfer_nothing(home: Home) -> None:
    digits = samples.add(home, "digits-low")
    assert "nothing is transferred" in sources.fit(home, TINY_RESNET, digits).warnings[0]
    assert not sources.fit(home, TINY_RESNET.model_copy(update={"pretrained": True}), digits).warnings


def test_mmd_is_the_formula_and_tells_sets_apart() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(size=(60, 5)), random.normal(size=(80, 5)) + 1.5
    found = domains.apart(one, two)
    both = np.concatenate([one, two])
    squares = cdist(both, both, "sqeuclidean")
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(140, 1)]))
    inside = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel[:60, :60], kernel[60:, 60:])]
    assert found.mmd == pytest.approx(np.sqrt(sum(inside) - 2 * kernel[:60, 60:].mean()), abs=1e-9)
    assert found.p_value < 0.01 and found.rows == (60, 80)
    told = ranking.loo_ridge(both, np.repeat([0, 1], [60, 80]))
    assert found.a_distance == pytest.approx(2 * (1 - 2 * (1 - told))) and found.told == told > 0.9


def test_rows_of_one_source_are_not_told_apart() -> None:
    random = np.random.default_rng(1)
    found = [domains.apart(random.normal(size=(150, 20)), random.normal(size=(150, 20)), seed) for seed in range(20)]
    assert np.mean([one.told for one in found]) == pytest.approx(0.53, abs=0.05)  # the best of several strengths
    assert sum(one.p_value <= 0.05 for one in found) <= 4
    with pytest.raises(ValueError, match="at least two rows"):
        domains.apart(np.zeros((1, 3)), np.zeros((9, 3)))


def test_left_out_predictions_are_those_that_the_scores_count() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(90, 6)), random.integers(3, 6, 90)
    x[:, 0] += y
    said = ranking.left_out_classes(x, y)
    assert set(said) <= {3, 4, 5} and ranking.balanced_accuracy(y - 3, said - 3) == pytest.approx(
        ranking.loo_ridge(x, y)
    )
    number = x[:, 1] + 0.1 * random.normal(size=90)
    left = ranking.left_out_number(x, number)
    r2 = 1 - ((left - number) ** 2).mean() / number.var()
    assert r2 == pytest.approx(ranking.loo_ridge_number(x, number)) and r2 > 0.9


def test_features_that_say_nothing_are_doubted_and_good_ones_are_not(home: Home) -> None:
    desk = samples.add(home, "city-desk")
    ticket = QuietTicket(home, open_store(home))
    rows, targets = rank.labelled_rows(ticket, desk)
    yardstick = outlook.Yardstick(ticket, desk, rows, targets)
    noise = np.random.default_rng(0).normal(size=(len(rows), 16))
    bad = yardstick.against(noise)
    assert bad and bad["gain"] < -0.05 and bad["p_worse"] > 0.95 and "TF-IDF" in bad["method"]
    said = outlook.sentences({"against_classical": bad}, False)
    assert "Negative transfer is likely" in said["doubts"][0] and "points of balanced accuracy" in said["beside"]
    good = yardstick.against(np.eye(len(desk.classes))[targets] + 0.01 * noise[:, :1])
    assert good and good["gain"] > 0.05 and not outlook.sentences({"against_classical": good}, False)["doubts"]


def test_a_source_of_ones_own_says_how_far_its_rows_are(sealed: Sealed, home: Home) -> None:
    ticket = QuietTicket(sealed.home, open_store(sealed.home))
    digits = samples.add(sealed.home, "digits-low")
    own = f"own/{sealed.id('image/full_finetune')}"
    result = rank.run(ticket, {"dataset": digits.id, "sources": [own, "bundled/tiny-resnet"]})
    row = next(row for row in result["ranking"] if row["source"] == own)
    assert row["domain"]["told"] > 0.9 and row["domain"]["p_value"] < 0.01 and "straight line" in row["apart"]
    assert next(row for row in result["ranking"] if row["source"] != own)["domain"] is None
    assert all(row["doubts"] for row in result["ranking"]), "two steps of training teach nothing of digits"
    assert set(evidence.warnings(ticket.store, digits.id)) == {own, "bundled/tiny-resnet"}


def verdict(source: str, gain: float, word: str = "positive") -> dict[str, Any]:
    numbers = {"n_train": 40, "gain": gain, "low": gain - 0.1, "high": gain + 0.1}
    return {"source": source, "strategy": "linear_probe", "title": "Probe", "verdict": word, **numbers,
            "against_title": "Gradient boosting"}  # fmt: skip


class Judged:
    """As much of a report as is remembered."""

    metric = "accuracy"

    def __init__(self, *verdicts: dict[str, Any], study: str = "s") -> None:
        self.verdicts, self.study = verdicts, study


def test_rankings_are_held_against_what_training_brought(home: Home) -> None:
    store = open_store(home)
    assert evidence.track(store) is None
    for k, name in enumerate("abc"):
        store.remember("ranking", f"d|{name}", {"dataset": "d", "source": name, "mean_rank": k + 1.0, "rank": k + 1})
    set_of = dataset("text", id="d" * 16)
    made = set_of.model_copy(update={"id": "d"})
    first = Judged(verdict("a", 0.3), verdict("b", 0.2), verdict("c", 0.1), study="s")
    evidence.keep_outcome(store, first, made, "2026-01-01")  # type: ignore[arg-type]
    held = evidence.track(store)
    assert held and held.tau == pytest.approx(1) and held.datasets == 1 and "One dataset says little" in held.sentence()
    other = Judged(verdict("a", 0.0), verdict("b", 0.2), verdict("c", 0.3), study="t")
    evidence.keep_outcome(store, other, made, "2026-01-02")  # type: ignore[arg-type]
    held = evidence.track(store)
    assert held and held.tau == pytest.approx(-1) and held.datasets == 1
    evidence.keep_outcome(store, first, made, "2026-01-01")  # type: ignore[arg-type]
    held = evidence.track(store)
    assert held and held.tau == pytest.approx(-1), "an old study that is judged again stays an old study"
    evidence.keep_outcome(store, Judged(verdict("a", 400.0), study="u"), made, "2026-01-03")  # type: ignore[arg-type]
    held = evidence.track(store)
    assert held and held.tau == pytest.approx(-1), "gains of two studies are not put in one order"
    for name in "ab":
        store.remember("ranking", f"e|{name}", {"dataset": "e", "source": name, "mean_rank": 1.5, "rank": 1})
    tied = Judged(verdict("a", 0.3), verdict("b", 0.2), study="v")
    evidence.keep_outcome(store, tied, set_of.model_copy(update={"id": "e"}), "2026-01-04")  # type: ignore[arg-type]
    held = evidence.track(store)
    assert held and held.datasets == 1, "a ranking that put all sources in one place ordered nothing"


def test_harm_in_an_earlier_study_is_warned_of_before_the_next(home: Home) -> None:
    store, notes = open_store(home), samples.add(home, "film-notes")
    harmful = Judged(verdict(MINILM.id, -0.1, "negative"))
    evidence.keep_outcome(store, harmful, notes, "2026-01-01")  # type: ignore[arg-type]
    study = Study(dataset=notes.id, sources=(MINILM.id,), strategies=("linear_probe",))
    (problem,) = evidence.doubts(store, study)
    assert problem.severity == "warning" and "was worse than the best control, Gradient boosting" in problem.what
    assert "an earlier study of yours on these rows (2026-01-01), its best strategy, Probe, was" in problem.what
    assert not [one for one in studies.check(home, study) if one.severity == "error"]
    evidence.keep_outcome(store, Judged(verdict(MINILM.id, 0.1), study="t"), notes, "2026-01-02")  # type: ignore[arg-type]
    assert not evidence.doubts(store, study)


def test_a_study_is_not_warned_of_what_it_found_itself(home: Home) -> None:
    store, notes = open_store(home), samples.add(home, "film-notes")
    study = Study(dataset=notes.id, sources=(MINILM.id,), strategies=("linear_probe",), name="Notes, twice")
    found = Judged(verdict(MINILM.id, -0.1, "negative"), study=studies.save(home, study))
    evidence.keep_outcome(store, found, notes, "2026-01-01T10:00:00+00:00")  # type: ignore[arg-type]
    assert not evidence.doubts(store, study) and not evidence.doubts(store, study.model_copy(update={"name": "Anew"}))
    (problem,) = evidence.doubts(store, study.model_copy(update={"draws": 9}))
    assert "an earlier study of yours on these rows (“Notes, twice”, 2026-01-01)" in problem.what
