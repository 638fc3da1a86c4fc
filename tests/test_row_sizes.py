"""What a source costs on rows that nobody measured: by how much it reads of them, from what others cost."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tltools import costs, datasets, processes, rates, row_sizes, sources, studies
from tltools.engine import study as engine
from tltools.home import Home
from tltools.records import Dataset, Source, Study
from tltools.store import Store, open_store
from tltools.tasks import tasks
from tltools.tickets import QuietTicket

MINILM = "bundled/minilm-l6"
WORDS = ["the", "bus", "was", "late", "and", "nobody", "came", "to", "mend", "broken", "lamps", "at", "our", "school"]


def texts(home: Home, folder: Path, name: str, words: int, rows: int = 120) -> Dataset:
    """Texts of two classes, each of about so many words."""
    random = np.random.default_rng(len(name))
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        for row in range(rows):
            label = ("good", "bad")[row % 2]
            out.writerow([" ".join([label, *random.choice(WORDS, words), str(row)]), label])
    return datasets.add(home, path, target="label")


@pytest.fixture
def store(home: Home) -> Store:
    return open_store(home)


@pytest.fixture
def short(home: Home, tmp_path: Path) -> Dataset:
    return texts(home, tmp_path, "short", 5)


@pytest.fixture
def long(home: Home, tmp_path: Path) -> Dataset:
    return texts(home, tmp_path, "long", 300)


@pytest.fixture
def minilm(home: Home) -> Source:
    return sources.get(home, MINILM)


def probe(dataset: Dataset) -> Study:
    return Study(dataset=dataset.id, sources=(MINILM,), strategies=("linear_probe", "full_finetune"), draws=2)


@pytest.mark.parametrize("first", ["short", "long"])
def test_a_sweep_of_other_lengths_brings_the_guess_nearer(
    home: Home, store: Store, short: Dataset, long: Dataset, minilm: Source, first: str
) -> None:
    """Rates that were really measured on one dataset must serve one whose texts are of quite another length."""
    once, other = (short, long) if first == "short" else (long, short)
    guess = costs.rate(store, minilm, other)[0]["rows_per_second"]
    known = {}
    for dataset in (once, other):
        study = Study(
            dataset=dataset.id, sources=(MINILM,), strategies=("linear_probe",), controls=(), fractions=(1.0,), draws=2
        )
        engine.run(QuietTicket(home, store), {"study": studies.save(home, study)})
        known[dataset.id] = store.recall("rate", costs.rate_key(minilm, dataset.id))
        if dataset is once:
            told, whence = costs.rate(store, minilm, other)
            assert whence == "elsewhere"
    truth = known[other.id]["rows_per_second"]
    unscaled = known[once.id]["rows_per_second"]
    off = {name: abs(np.log(rate / truth)) for name, rate in
           (("told", told["rows_per_second"]), ("unscaled", unscaled), ("guess", guess))}  # fmt: skip
    assert off["told"] < off["unscaled"] and off["told"] < np.log(3), off
    assert costs.rate(store, minilm, other)[0]["rows_per_second"] == truth
    assert costs.rate(store, minilm, once)[0]["rows_per_second"] == unscaled, "the second run took nothing from it"


def test_what_is_known_of_one_dataset_stays_when_another_is_measured(
    home: Home, store: Store, short: Dataset, long: Dataset, minilm: Source
) -> None:
    way = {"step": 0.01, "seen": 0.002, "mb": 900.0, "batch_size": 16, "epochs": 6, "min_steps": 0, "patience": 0}
    mine = {"rows_per_second": 900.0, "stages": 7, "ways": {"full_finetune:0:16": way, "scratch:0:16": way}}
    store.remember("rate", costs.rate_key(minilm, short.id), mine)
    store.remember("classical", short.id, {"read": 1e-4, "fit": [[100, 0.01]]})
    before = studies.estimate(home, store, probe(short))
    store.remember("rate", costs.rate_key(minilm, long.id), {**mine, "rows_per_second": 30.0, "ways": {}})
    assert before.measured and studies.estimate(home, store, probe(short)) == before


def test_other_rows_lend_what_hangs_on_the_source_alone_and_the_nearest_lend_their_rate(
    home: Home, store: Store, short: Dataset, long: Dataset, minilm: Source, tmp_path: Path
) -> None:
    middle = texts(home, tmp_path, "middle", 8)
    for dataset, rate in ((short, 1000.0), (long, 50.0)):
        store.remember("rate", costs.rate_key(minilm, dataset.id), {
            "rows_per_second": rate, "stages": 7, "load_seconds": 0.5, "encoded_row_bytes": 1e6, "ways": {"a:0:16": {}},
        })  # fmt: skip
    found, whence = costs.rate(store, minilm, middle)
    sizes = [row_sizes.size(minilm, one, datasets.profile(home, one.id).numbers) for one in (short, middle)]
    assert whence == "elsewhere" and found["rows_per_second"] == pytest.approx(1000.0 * sizes[0] / sizes[1])
    assert found["stages"] == 7 and found["load_seconds"] == 0.5
    assert "ways" not in found and found["encoded_row_bytes"] < 1e6, "these are of the rows"
    assert not studies.estimate(home, store, probe(middle)).measured
    datasets.delete(home, short.id)
    sizes[0] = row_sizes.size(minilm, long, datasets.profile(home, long.id).numbers)
    assert costs.rate(store, minilm, middle)[0]["rows_per_second"] == pytest.approx(50.0 * sizes[0] / sizes[1])


def test_a_guess_takes_longer_texts_to_take_longer_up_to_what_is_read(
    home: Home, store: Store, short: Dataset, long: Dataset, minilm: Source, tmp_path: Path
) -> None:
    longer = texts(home, tmp_path, "longer", 900)
    guesses = [costs.rate(store, minilm, one) for one in (short, long, longer)]
    assert {whence for _, whence in guesses} == {""}
    fast, slow, same = (found["rows_per_second"] for found, _ in guesses)
    assert fast > 8 * slow and slow == same, "128 tokens are read of either"
    whole = minilm.model_copy(update={"options": {"max_tokens": 256}})
    assert costs.rate(store, whole, long)[0]["rows_per_second"] == pytest.approx(slow / 2)


def test_a_task_that_reads_larger_pictures_is_told_from_smaller_ones_by_their_pixels(short: Dataset) -> None:
    pictures = short.model_copy(update={"modality": "image", "task": "classification"})
    boxes = pictures.model_copy(update={"task": "detection"})
    net = Source(
        id="local/n", name="n", provider="local", reads="image", family="timm", architecture="n", image_size=32
    )
    side = row_sizes.limits(net, tasks()["detection"])[1]
    assert side is not None and side > 32 and row_sizes.size(net, pictures, {}) == 1.0
    assert row_sizes.size(net, boxes, {}) == pytest.approx((side / 32) ** 2)


def test_clips_cells_and_kmers_are_as_long_as_they_are_read(short: Dataset, minilm: Source) -> None:
    ear = Source(
        id="local/e", name="e", provider="local", reads="audio", family="transformers", architecture="e", seconds=2.0
    )
    clips = short.model_copy(update={"modality": "audio", "reading": {"seconds": 5.0}})
    assert [row_sizes.size(ear, clips, {"seconds_median": s}) for s in (1.0, 9.0)] == [50.0, 100.0]
    table = short.model_copy(update={"modality": "tabular", "inputs": ("a", "b", "c")})
    cells = minilm.model_copy(update={"reads": "frames"})
    assert row_sizes.size(minilm, table, {}) == 17.0 and row_sizes.size(cells, table, {}) == 5.0
    bases = short.model_copy(update={"modality": "sequence", "reading": {"k": 3.0, "step": 3.0}})
    assert row_sizes.size(minilm, bases, {"letters_median": 60.0}) == 22.0
    net = minilm.model_copy(update={"reads": "tabular"})
    assert row_sizes.size(net, table, {}) == 1.0


def test_a_guess_of_memory_counts_tokens_batches_trainings_side_by_side_and_the_texts_of_the_control(
    home: Home, store: Store, short: Dataset, long: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peaks(dataset: Dataset, batch: int = 16, controls: tuple[str, ...] = ()) -> tuple[float, float]:
        arm = {"full_finetune": {"batch_size": batch}}
        study = Study(dataset=dataset.id, sources=(MINILM,), strategies=(arm,), controls=controls, draws=4)
        found = studies.estimate(home, store, study)
        return found.alone_mb, found.peak_mb

    monkeypatch.setattr(processes, "places", lambda: 1)
    assert peaks(short)[0] == peaks(short)[1] < peaks(long)[0] < peaks(long, 64)[0]
    fixed, more = peaks(long, 16)[0], peaks(long, 64)[0] - peaks(long, 16)[0]
    assert peaks(long, 32)[0] == pytest.approx(fixed + more / 3)
    monkeypatch.setattr(processes, "places", lambda: 4)
    alone, beside = peaks(long)
    assert alone == fixed and beside > 2 * alone, "three more train beside the first"
    monkeypatch.setattr(rates, "CONTROL_MB", 1.0)
    assert peaks(long, controls=("classical",))[0] > 100_000 > peaks(long)[0]
