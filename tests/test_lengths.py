"""How much of a text is read: the same source told to read more tokens, from its id to the script that is exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests import scripts
from tests.sealed_trials import Sealed
from tests.test_backbones import text
from tests.test_row_sizes import texts
from tltools import costs, datasets, fits, row_sizes, sources, studies
from tltools.engine import export, predict, rank, text_backbone, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.home import Home
from tltools.providers import bundled, local_files
from tltools.providers._curated import cards
from tltools.records import Dataset, Refusal, Source, Study
from tltools.reports.cards import card_facts
from tltools.store import open_store
from tltools.tickets import QuietTicket

PLAIN, LONG, LONGER = "bundled/minilm-l6", "bundled/minilm-l6@256", "bundled/minilm-l6@512"
PROBE = {"strategies": ("linear_probe",), "controls": ("random_frozen",), "draws": 2}


@pytest.fixture
def essays(home: Home, tmp_path: Path) -> Dataset:
    """Texts of about 300 words, which are some 300 tokens."""
    return texts(home, tmp_path, "essays", 300, rows=60)


def test_a_source_reads_more_of_long_texts_and_the_same_of_short_ones(home: Home) -> None:
    short, long = "a fine day", " ".join(f"word {n}" for n in range(400))
    read = {id: load_backbone(home, sources.get(home, id)) for id in (PLAIN, LONG, LONGER)}
    batches = {id: backbone.encode([short, long]) for id, backbone in read.items()}
    assert [batch.lengths.tolist()[1] for batch in batches.values()] == [128, 256, 512]
    with torch.inference_mode():
        found, far = ({id: read[id](batches[id].take(np.array([row])))[0].numpy() for id in read} for row in (0, 1))
    for id in (LONG, LONGER):
        np.testing.assert_allclose(found[id], found[PLAIN], atol=1e-5)
        assert np.abs(far[id] - far[PLAIN]).max() > 1e-2
    prints = {backbone.fingerprint(6) for backbone in read.values()}
    assert len(prints) == 3, "features of another length are others"


def test_a_length_changes_nothing_for_the_source_that_was_told_none(home: Home, essays: Dataset) -> None:
    def trials(*names: str) -> set[str]:
        return {trial.id for trial in studies.expand(home, Study(dataset=essays.id, sources=names, **PROBE))}

    alone, both = trials(PLAIN), trials(PLAIN, LONG)
    assert alone < both and len(both) == 2 * len(alone)
    assert sources.get(home, PLAIN).options == {} and sources.get(home, LONG).name == "MiniLM-L6, 256 tokens"


@pytest.mark.parametrize(
    ("id", "said"),
    [
        (f"{PLAIN}@513", "from 8 to 512 tokens"), (f"{PLAIN}@7", "from 8 to 512 tokens"),
        (f"{PLAIN}@", "from 8 to 512 tokens"), (f"{PLAIN}@0256", "from 8 to 512 tokens"),
        (f"{PLAIN}@256@512", "from 8 to 512 tokens"), ("bundled/tiny-resnet@256", "only of texts"),
        ("minilm@256", "must start with one of"), ("bundled/minilm@256", "must be one of"),
    ],
)  # fmt: skip
def test_lengths_that_cannot_be_are_refused_with_the_largest(home: Home, id: str, said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        sources.get(home, id)
    assert len(caught.value.problems) == 1


def test_a_hub_source_of_which_sentences_were_made_reads_up_to_its_positions(home: Home) -> None:
    for id, card in cards().items():
        if card.reads == "text":
            assert fits.most_tokens(card) >= 512 and sources.get(home, f"{id}@512").max_length >= 512


@pytest.mark.parametrize(("kind", "most"), [("bert", 512), ("roberta", 129)])
def test_a_network_is_asked_how_many_places_it_has(kind: str, most: int, tmp_path: Path) -> None:
    text(kind, tmp_path)
    for told, fine in ((most, True), (most + 1, False)):
        card = Source(
            id=f"local/x@{told}", name="x", provider="local", reads="text", family="transformers", architecture=kind,
            max_length=1024, options={"max_tokens": told},
        )  # fmt: skip
        if fine:
            backbone = text_backbone.build(card, tmp_path, random=True)
            encoded = backbone.encode(["word " * 900])
            assert encoded.lengths.tolist() == [most] and backbone(encoded.take(np.array([0]))).isfinite().all()
        else:
            with pytest.raises(Refusal, match=f"positions for {most} tokens of a text; got {told}"):
                text_backbone.build(card, tmp_path, random=True)


def test_a_folder_of_ones_own_reads_more_and_less(home: Home, tmp_path: Path) -> None:
    sources.add(home, bundled._minilm_folder(), name="mine")
    assert [card.id for card in local_files.listing(home)] == ["local/mine"], "another length is no other folder"
    for tokens in (64, 512):
        backbone = load_backbone(home, sources.get(home, f"local/mine@{tokens}"))
        assert backbone.encode(["word " * 900]).lengths.tolist() == [tokens]


def test_a_trial_of_ones_own_reads_as_it_was_tuned_or_more(sealed: Sealed) -> None:
    trial, long = f"own/{sealed.id('text/last_block')}", "word " * 900
    tuned = {name: load_backbone(sealed.home, sources.get(sealed.home, name)) for name in (trial, f"{trial}@256")}
    assert [backbone.encode([long]).lengths.tolist() for backbone in tuned.values()] == [[128], [256]]
    first, second = (backbone(backbone.encode(["a day"]).take(np.array([0]))) for backbone in tuned.values())
    assert torch.allclose(first, second, atol=1e-5)


def test_more_tokens_cost_more_from_the_first_estimate_on(home: Home, essays: Dataset) -> None:
    store = open_store(home)

    def seconds(name: str) -> float:
        return studies.estimate(home, store, Study(dataset=essays.id, sources=(name,), **PROBE)).raw["seconds"]

    assert seconds(LONG) > seconds(PLAIN), "before anything was measured"
    plain, long = (sources.get(home, name) for name in (PLAIN, LONG))
    numbers = datasets.profile(home, essays.id).numbers
    ratio = row_sizes.size(long, essays, numbers) / row_sizes.size(plain, essays, numbers)
    assert ratio == pytest.approx(2, abs=0.05)
    store.remember("rate", costs.rate_key(plain, essays.id), {"rows_per_second": 10.0})
    assert costs.rate(store, long, essays)[0]["rows_per_second"] == pytest.approx(10 / ratio), "by the same weights"
    store.remember("rate", costs.rate_key(long, essays.id), {"rows_per_second": 3.0})
    assert costs.rate(store, long, essays) == (costs.rate(store, long, essays)[0] | {"rows_per_second": 3.0}, "here")
    assert costs.rate(store, plain, essays)[0]["rows_per_second"] == 10.0


def test_the_lengths_that_are_offered_end_where_no_text_is_cut(home: Home, essays: Dataset, tmp_path: Path) -> None:
    cell = sources.fit(home, sources.get(home, PLAIN), essays)
    assert cell.lengths == (256, 512) and f"As {LONG} or {LONGER} it reads more" in cell.warnings[-1]
    assert sources.fit(home, sources.get(home, LONG), essays).lengths == (512,)
    assert sources.fit(home, sources.get(home, LONGER), essays).lengths == ()
    short = texts(home, tmp_path, "short", 5)
    assert sources.fit(home, sources.get(home, PLAIN), short).lengths == ()


def test_both_lengths_are_compared_ranked_and_taken_home(home: Home, tmp_path: Path) -> None:
    """The label of every text stands in its middle: beyond 128 tokens, within 256."""
    random, path = np.random.default_rng(0), tmp_path / "late.csv"
    labels = ["good", "bad"] * 40
    fill = [" ".join(random.choice(["the", "bus", "was", "late", "and"], 160)) for _ in labels]
    words = {"good": "wonderful charming delightful", "bad": "horrible dreadful disgusting"}
    rows = [
        f"{one} {' '.join([words[label]] * 8)} {n}" for n, (one, label) in enumerate(zip(fill, labels, strict=True))
    ]
    pd.DataFrame({"text": rows, "label": labels}).to_csv(path, index=False)
    dataset = datasets.add(home, path, target="label")

    ranked = rank.run(QuietTicket(home), {"dataset": dataset.id, "sources": [PLAIN, LONG]})["ranking"]
    assert {row["source"]: row["rank"] for row in ranked} == {LONG: 1, PLAIN: 2}

    study = Study(dataset=dataset.id, sources=(PLAIN, LONG), **PROBE)
    id = studies.save(home, study)
    engine.run_one(QuietTicket(home), id)
    report = json.loads((home.studies / id / "report.json").read_text())
    score = {row["title"]: row["score"] for row in report["arms"] if row["kind"] == "transfer"}
    assert score["Linear probe of MiniLM-L6, 256 tokens"] > 0.95
    assert score["Linear probe of MiniLM-L6"] < 0.8

    trial = next(t for t in studies.expand(home, study) if (t.source, t.strategy, t.draw) == (LONG, "linear_probe", 0))
    model = trial_model.load(home, trial.id)
    assert "`bundled/minilm-l6@256`" in card_facts(model.card)
    assert "It reads 256 tokens at most." in card_facts(model.card)
    given, out, folder = tmp_path / "new.csv", tmp_path / "out.csv", tmp_path / "exported"
    pd.DataFrame({"text": rows[:6]}).to_csv(given, index=False)
    ours = predict.run(QuietTicket(home), {"trial": trial.id, "file": str(given)})["predictions"]
    assert [row["prediction"] for row in ours] == labels[:6]
    export.run(QuietTicket(home), {"trial": trial.id, "to": str(folder)})
    assert not scripts.run(None, folder / "predict.py", given, out)
    theirs = pd.read_csv(out)
    assert theirs["prediction"].tolist() == labels[:6]
    for row, said in zip(ours, theirs.to_dict("records"), strict=True):
        for name, share in row["probabilities"].items():
            assert said[f"p_{name}"] == pytest.approx(share, abs=1e-4)
