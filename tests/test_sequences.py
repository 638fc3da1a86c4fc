"""Sequences over a small alphabet: recognised, cut into k-mers, judged against k-mer counts, and taken home."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltools import datasets, kmers, sources, studies, targets
from tltools.engine import explain, export, predict, trial_model
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.modalities import sequence
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

SEQUENCES = st.text("acgtN", min_size=1, max_size=60)
PROTEIN = "ACDEFGHIKLMNPQRSTVWY"


def drawn(letters: str, length: int, rows: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(letters), length)) for _ in range(rows)]


# --- k-mers


@given(SEQUENCES, st.integers(1, 6))
def test_overlapping_words_give_the_sequence_back(text: str, k: int) -> None:
    words = kmers.kmers(text, {"k": k, "step": 1}).split()
    assert len(words) == max(len(text) - k + 1, 1)
    assert words[0] + "".join(word[-1] for word in words[1:]) == text.upper()


@given(SEQUENCES, st.integers(2, 6))
def test_adjacent_words_give_the_sequence_back(text: str, k: int) -> None:
    words = kmers.kmers(text, {"k": k, "step": k}).split()
    assert "".join(words) == text.upper() and {len(word) for word in words[:-1]} <= {k}


@given(SEQUENCES, SEQUENCES, st.integers(1, 6), st.booleans())
def test_parts_between_blanks_are_cut_each_by_itself(one: str, two: str, k: int, overlapping: bool) -> None:
    reading = {"k": k, "step": 1 if overlapping else k}
    assert kmers.kmers(f" {one}  {two} ", reading) == f"{kmers.kmers(one, reading)} {kmers.kmers(two, reading)}"


@given(st.integers(0, 26), st.floats(0, 1e6))
def test_words_are_as_long_as_they_may_be(letters: int, length: float) -> None:
    found, many = kmers.reading_of(letters, length), max(letters, 2)
    assert many ** found["k"] <= kmers.MOST_WORDS < many ** (found["k"] + 1)
    assert found["step"] == (1 if length <= kmers.LONG else found["k"])


def test_the_words_of_dna_and_proteins_are_the_usual_ones() -> None:
    assert kmers.kmers("acgtac", kmers.reading_of(4, 57)) == "ACG CGT GTA TAC"
    assert kmers.kmers("acgtac", kmers.reading_of(4, 3_000)) == "ACG TAC"
    assert kmers.kmers("MKV", kmers.reading_of(20, 300)) == "M K V"


# --- recognition


def kind(cells: list[str], name: str = "cell") -> str:
    return targets.describe(pd.DataFrame({name: pd.Series(cells, dtype="str")}))[0].kind


@pytest.mark.parametrize("cells", [
    drawn("ACGT", 57, 50), drawn("acgt", 9, 50), drawn("ACGTN", 400, 20), drawn(PROTEIN, 9, 50),
    [one[: 30 + k] for k, one in enumerate(drawn(PROTEIN + "X*", 90, 60))], drawn("udlr", 12, 40),
    drawn("ABCDEFGHIJKLMNOPQR", 40, 40),
])  # fmt: skip
def test_sequences_are_recognised(cells: list[str]) -> None:
    assert kind(cells) == "sequence"


RANDOM = [hashlib.sha256(str(k).encode()) for k in range(60)]
WORDS = ["acknowledgement", "misunderstanding", "questionnaire", "extraordinary", "jurisprudence", "zookeeper"]


@pytest.mark.parametrize("cells", [
    [one.hexdigest() for one in RANDOM], [base64.b64encode(one.digest()).decode() for one in RANDOM],
    [base64.b32encode(one.digest()).decode().rstrip("=") for one in RANDOM],
    [str(uuid.UUID(one.hexdigest()[:32])) for one in RANDOM],
    [f"{one}{other}" for one in WORDS for other in WORDS], WORDS * 2, drawn("abcdefghijklmnopqrstuvwxyz", 32, 60),
    [f"the {one} of {other} was there" for one in WORDS for other in WORDS], drawn("ACGT", 4, 40),
    drawn("ACGT", 20, 2) * 30, [f"https://example.org/{one}" for one in WORDS],
])  # fmt: skip
def test_ids_words_and_hashes_are_not(cells: list[str]) -> None:
    assert kind(cells) != "sequence"
    assert kind(drawn("ACGT", 12, 50), name="barcode_id") == "id", "what is called an id is one"


def test_a_table_with_a_sequence_among_numbers_stays_a_table() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{k}": random.normal(size=40) for k in range(5)})
    frame = frame.assign(probe=pd.Series(drawn("ACGT", 20, 40), dtype="str"), y=["a", "b"] * 20)
    choice = targets.choose(targets.describe(frame), "t.csv", target="y")
    assert choice.modality == "tabular" and any("sequences" in said for said in choice.inference)
    named = targets.choose(targets.describe(frame), "t.csv", target="y", inputs=["probe"])
    assert named.modality == "sequence" and named.inputs == ("probe",)
    assert "holds sequences" in str(targets.choose(targets.describe(frame), "t.csv", target="probe").problems)


def test_a_sequence_with_one_other_letter_is_a_near_duplicate() -> None:
    cells = drawn("ACGT", 120, 30)
    cells[20] = cells[3][:60] + ("A" if cells[3][60] != "A" else "C") + cells[3][61:]
    table = pd.DataFrame({"s": pd.Series([*cells, None], dtype="str"), "_where": "t"})
    found = sequence.clusters(table, ["s"], Path())
    assert found[20] == 3 and len(set(found)) == 30, "the others, and the empty one, are of their own"


def test_that_long_sequences_are_cut_is_said() -> None:
    table = pd.DataFrame({"s": pd.Series([*drawn("ACGT", 400, 9), "ACGTACGT"], dtype="str"), "_where": "t"})
    (note,) = sequence.problems(table, ["s"], Path())
    assert "adjacent words of 3 letter(s)" in note.what and "Of 9 longer than 300 letters" in note.what


# --- a study


MOTIF = "tataat"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, dict[str, str]]:
    """(home, dataset, its trials by strategy): DNA that holds a motif somewhere, or does not."""
    folder = tmp_path_factory.mktemp("sequences")
    random = np.random.default_rng(1)
    cells, labels = drawn("acgt", 40, 120, seed=1), ["plain", "motif"] * 60
    for row in range(1, 120, 2):
        at = int(random.integers(0, 28))
        cells[row] = cells[row][:at] + MOTIF + "gg" + MOTIF + cells[row][at + 14 :]
    pd.DataFrame({"dna": cells, "label": labels}).to_csv(folder / "motifs.csv", index=False)
    home = open_home(folder / "home")
    made = datasets.add(home, folder / "motifs.csv")
    study = Study(dataset=made.id, sources=("bundled/minilm-l6",), strategies=("linear_probe",),
                  controls=("classical",), fractions=(1.0,), draws=1)  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, made.id, {trial.strategy: trial.id for trial in studies.expand(home, study)}


def test_the_dataset_says_what_it_is_and_how_it_is_read(judged: tuple[Home, str, dict[str, str]]) -> None:
    home, key, _ = judged
    made, profile = datasets.get(home, key), datasets.profile(home, key)
    assert made.modality == "sequence" and made.reading == {"letters": 4.0, "k": 3.0, "step": 1.0}
    said = " ".join(problem.sentence() for problem in profile.problems)
    assert "over 4 letters" in said and "overlapping words of 3 letter(s)" in said
    (told,) = [problem.what for problem in profile.problems if "hardly any other, holds: " in problem.what]
    assert 'class "motif"' in told, "a word that tells all is a leak"
    assert all(word in f"{MOTIF}gg{MOTIF}".upper() for word in told.rstrip(".").split("holds: ")[1].split(", "))
    cell = sources.fit(home, sources.get(home, "bundled/minilm-l6"), made)
    assert cell.fits and "k-mers" in cell.why
    assert not sources.fit(home, sources.get(home, "bundled/tiny-resnet"), made).fits


@pytest.mark.parametrize("arm", ["linear_probe", "classical"])
def test_new_sequences_are_predicted_and_exported_alike(
    judged: tuple[Home, str, dict[str, str]], arm: str, tmp_path: Path
) -> None:
    home, _, ids = judged
    model = trial_model.load(home, ids[arm])
    if arm == "classical":
        assert model.stored()["p_0"].gt(0.5).eq(model.stored()["row"] % 2 == 1).mean() > 0.9, "it counts the motif"
        assert model.card["method"] == "k-mer counts (1 to 4) + logistic regression"
    new = ["a" * 20 + MOTIF + "gg" + MOTIF, "acgtacgtccggtcagctgagtcgatcgctagctagcagt", "AC"]
    result: dict[str, Any] = predict.run(QuietTicket(home), {"trial": ids[arm], "items": new})
    json.dumps(result, allow_nan=False)
    assert result["predictions"][0]["probabilities"]["motif"] > result["predictions"][1]["probabilities"]["motif"]
    out = export.run(QuietTicket(home), {"trial": ids[arm], "to": str(tmp_path / "model")})
    assert out["replay"]["agrees"] and out["replay"]["rows"] == len(model.stored())
    assert "tltools" not in (tmp_path / "model" / "predict.py").read_text()


def test_words_that_decide_are_shown_and_numbers_are_not(judged: tuple[Home, str, dict[str, str]]) -> None:
    home, _, ids = judged
    found = explain.run(QuietTicket(home), {"trial": ids["linear_probe"], "what": "attribution", "rows": [1]})
    assert found["kind"] == "words" and {len(word) for word, _ in found["rows"][0]["words"]} == {3}
    with pytest.raises(Refusal, match="no word or place can be covered"):
        explain.run(QuietTicket(home), {"trial": ids["classical"], "what": "attribution", "rows": [1]})


def test_the_control_chooses_its_strength_where_it_can() -> None:
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    from tltools.engine.classical import _logistic

    assert isinstance(_logistic(sequence.STRENGTHS, np.array([0, 0, 1, 1]), "classes"), LogisticRegressionCV)
    for targets_, of in ((np.array([0, 0, 1]), "classes"), (np.eye(3), "labels")):
        assert type(_logistic(sequence.STRENGTHS, targets_, of)) is LogisticRegression
