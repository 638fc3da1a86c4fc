"""Classifiers of transformers as sources: what is said of them and by them is what the library's whole network says.

Run alone: python -m pytest tests/test_classifiers.py
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import classifier_models as models
from tests import sealed_trials
from tests.bad_files import archive
from tests.hub_server import Hub, serving
from tests.test_audio import low_and_high
from tltools import datasets, reports, sources, studies
from tltools.engine import classifiers, explain, export, rank, trial_model
from tltools.engine import study as engine
from tltools.engine.heads import softmax
from tltools.fits import class_places
from tltools.home import Home, open_home
from tltools.judging import ranking
from tltools.providers.huggingface import from_config
from tltools.records import Dataset, Refusal, Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

NAMED = ["POSITIVE ", "neutral", "Negative"]  # where the sentences say "positive" and "negative"
SAID = {  # by random heads; those of the others only count
    "gpt2": ["positive", "negative"], "vit": ["standing", "lying"], "wav2vec2": ["whistle", "hum"],
    "whisper": ["hum", "other", "Whistle"],
}  # fmt: skip
CLOSE = 2e-3  # features may have been read in bf16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with every kind of classifier; the one called mood has learnt to say what sentences are."""
    root = tmp_path_factory.mktemp("classifiers")
    home = open_home(root / "home")
    for kind in (*models.TEXTS, *models.VISION, *models.SOUNDS):
        sources.add(home, models.save(kind, root / kind, SAID.get(kind)), name=kind)
    mood = models.taught(models.save("bert", root / "mood", NAMED, initializer_range=0.05), NAMED)
    sources.add(home, mood, name="mood")
    return home


def folder_of(home: Home, name: str) -> Path:
    """As it was given."""
    return home.root.parent / name


@pytest.fixture(scope="module")
def sentences(home: Home) -> Dataset:
    models.sentences(90, seed=5).to_csv(home.root.parent / "sentences.csv", index=False)
    return datasets.add(home, home.root.parent / "sentences.csv", target="label", inputs=["text"])


@pytest.fixture(scope="module")
def bars(home: Home) -> Dataset:
    return datasets.add(home, sealed_trials.bars(home.root.parent / "bars", 40))


@pytest.fixture(scope="module")
def tones(home: Home) -> Dataset:
    return datasets.add(home, archive("tones.zip", low_and_high(20))(home.root.parent))


def ranked(home: Home, dataset: Dataset, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Ranking rows by the name of their source; none has a problem."""
    ticket = QuietTicket(home, open_store(home))
    asked = [name if "/" in name else f"local/{name}" for name in names]
    rows = rank.run(ticket, {"dataset": dataset.id, "sources": asked})["ranking"]
    assert not [row["problem"] for row in rows if "problem" in row]
    return {row["source"].removeprefix("local/"): row for row in rows}


def labelled(home: Home, dataset: Dataset, reads: str) -> tuple[list[Any], np.ndarray]:
    """The rows that are ranked by, as items, and their classes."""
    rows, targets = rank.labelled_rows(QuietTicket(home, open_store(home)), dataset)
    return list(rank.some(datasets.items(home, dataset, reads), rows)), targets


def test_of_texts_all_that_is_told_is_what_the_library_says_of_each_by_itself(home: Home, sentences: Dataset) -> None:
    texts, targets = labelled(home, sentences, "text")
    for name, row in ranked(home, sentences, [*models.TEXTS, "mood"]).items():
        said = models.plain(folder_of(home, name), texts)
        assert row["leep"] == pytest.approx(ranking.leep(softmax(said), targets), abs=CLOSE), name
        assert ("as_it_is" in row) is (name == "mood" or name in SAID)
        if name == "mood":
            right = ranking.balanced_accuracy(targets, said[:, [2, 0]].argmax(1))
            assert right > 0.95, "or it was not taught"
            assert row["as_it_is"] == pytest.approx(right, abs=CLOSE)
            assert row["own_head"].startswith("It knows your classes: as it is, without any of your labels")
        elif name not in SAID:
            assert "only counts its classes" in row["own_head"]


def test_of_pictures_too(home: Home, bars: Dataset) -> None:
    from transformers import AutoModelForImageClassification

    pictures, targets = labelled(home, bars, "image")
    row = ranked(home, bars, ["vit"])["vit"]
    pixels = np.stack([_squeezed(path) for path in pictures]).transpose(0, 3, 1, 2) / 255
    mean, std = (np.array(models.EXTRACTOR[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.inference_mode():
        model = AutoModelForImageClassification.from_pretrained(folder_of(home, "vit")).eval()
        said = model(torch.tensor((pixels - mean) / std, dtype=torch.float32)).logits.numpy()
    assert row["leep"] == pytest.approx(ranking.leep(softmax(said), targets), abs=CLOSE)
    names = [["standing", "lying"].index(name) for name in bars.classes]
    assert row["as_it_is"] == pytest.approx(ranking.balanced_accuracy(targets, said[:, names].argmax(1)), abs=0.05)


def _squeezed(path: Any) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))


def test_of_sounds_too_and_whisper_hears_the_whole_window(home: Home, tones: Dataset) -> None:
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    clips, targets = labelled(home, tones, "audio")
    for name, row in ranked(home, tones, list(models.SOUNDS)).items():
        extractor = AutoFeatureExtractor.from_pretrained(folder_of(home, name))
        model, said = AutoModelForAudioClassification.from_pretrained(folder_of(home, name)).eval(), []
        with torch.inference_mode():
            for clip in clips:
                given = extractor(clip.samples(16_000), sampling_rate=16_000, return_tensors="pt")
                said.append(model(given[extractor.model_input_names[0]]).logits[0].numpy())
        assert row["leep"] == pytest.approx(ranking.leep(softmax(np.stack(said)), targets), abs=CLOSE), name
        assert ("as_it_is" in row) is (name in SAID)


def test_zero_shot_is_proposed_judged_and_taken_home_by_whom_the_classes_are_known(
    home: Home, sentences: Dataset, bars: Dataset, tones: Dataset, tmp_path: Path
) -> None:
    ticket = QuietTicket(home, open_store(home))
    for name, dataset, network in (
        ("mood", sentences, "Sequence"), ("gpt2", sentences, "Sequence"), ("vit", bars, "Image"),
        ("wav2vec2", tones, "Audio"), ("whisper", tones, "Audio"),
    ):  # fmt: skip
        chosen = [sources.get(home, f"local/{name}", dataset)]
        proposed = studies.propose(home, dataset, chosen)
        assert proposed.strategies[0] == "zero_shot"
        study = Study(dataset=dataset.id, sources=(f"local/{name}",), strategies=("zero_shot", "linear_probe"),
                      controls=("classical",), fractions=(0.5, 1.0), draws=2)  # fmt: skip
        engine.run_one(ticket, studies.save(home, study))
        report = reports.load(home, studies.study_id(study))
        assert {verdict["strategy"] for verdict in report.verdicts} == {"zero_shot", "linear_probe"}
        own = [trial for trial in studies.expand(home, study) if trial.strategy == "zero_shot"]
        tables = [trial_model.load(home, trial.id).stored() for trial in own]
        assert len(own) == 4 and all(table.equals(tables[0]) for table in tables), "no label plays a part"
        card = json.loads((home.trials / own[0].id / "card.json").read_text())
        assert (card["n_train"], card["trainable_parameters"], card["backbone_trained"]) == (0, 0, False)
        assert (home.trials / own[0].id / "model.safetensors").stat().st_size < 2_000, "its network is the source's"
        result = export.run(ticket, {"trial": own[0].id, "to": str(tmp_path / name)})
        assert result["replay"]["agrees"], result["replay"]
        assert f"AutoModelFor{network}Classification.from_config" in (tmp_path / name / "predict.py").read_text()


def test_what_it_says_as_it_is_is_what_the_library_says_among_the_classes(home: Home, sentences: Dataset) -> None:
    study = Study(dataset=sentences.id, sources=("local/mood",), strategies=("zero_shot",), controls=("classical",),
                  fractions=(1.0,), draws=1)  # fmt: skip
    ticket = QuietTicket(home, open_store(home))
    engine.run_one(ticket, studies.save(home, study))
    (own,) = [trial for trial in studies.expand(home, study) if trial.strategy == "zero_shot"]
    model = trial_model.load(home, own.id)
    table = model.stored()
    texts = [datasets.items(home, sentences, "text")[row] for row in table["row"]]
    wanted = softmax(models.plain(folder_of(home, "mood"), texts)[:, [2, 0]])
    assert sentences.classes == ("negative", "positive")
    assert np.abs(table[["p_0", "p_1"]].to_numpy() - wanted).max() < CLOSE
    assert np.abs(model.outputs(texts) - wanted).max() < CLOSE
    for how in ("occlusion", "gradients"):
        asked = {"trial": own.id, "what": "attribution", "how": how, "items": ["a film and a book, it was awful"]}
        (row,) = explain.run(ticket, asked)["rows"]
        assert row["prediction"] == "negative"
        assert max(row["words"], key=lambda pair: pair[1])[0] == "awful", how


def test_classes_that_are_only_counted_are_not_guessed_but_may_be_named(home: Home, sentences: Dataset) -> None:
    for name, able in (("bert", False), ("mood", True)):
        card, cell = (ask(home, f"local/{name}", sentences) for ask in (sources.get, _cell))
        assert card.classifies and card.continues is able and cell.knows is able
        proposed = studies.propose(home, sentences, [card])
        assert ("zero_shot" in proposed.strategies) is able
        study = Study(dataset=sentences.id, sources=(card.id,), strategies=("zero_shot", "linear_probe"), controls=())
        assert ("zero_shot" in {trial.strategy for trial in studies.expand(home, study)}) is able
        said = [problem.what for problem in studies.check(home, study)]
        assert any("by name already; bert only numbers its own" in what for what in said) is not able
    sources.add(home, folder_of(home, "bert"), name="told", classes=["negative", "", " Positive"])
    assert sources.get(home, "local/told", sentences).continues
    assert "as_it_is" in ranked(home, sentences, ["told"])["told"]
    for names, why in (
        (["negative", "positive"], "must name the 3 classes of its head"),
        (["Positive", "positive ", "negative"], "must all differ"),
    ):
        with pytest.raises(Refusal, match=why):
            sources.add(home, folder_of(home, "bert"), name="wrong", classes=names)
    with pytest.raises(Refusal, match="named for a transformers classifier only"):
        sources.add(home, _minilm(), name="wrong", classes=["negative", "positive"])


def _cell(home: Home, name: str, dataset: Dataset) -> Any:
    return sources.fit(home, sources.get(home, name), dataset)


def _minilm() -> Path:
    from tests.hub_server import _minilm

    return _minilm()


def test_a_class_that_it_lacks_is_named(home: Home, tmp_path: Path) -> None:
    table = models.sentences(40, seed=7)
    table["label"] = table["label"].replace({"negative": "awful"})
    table.to_csv(tmp_path / "other.csv", index=False)
    dataset = datasets.add(home, tmp_path / "other.csv", target="label", inputs=["text"])
    row = ranked(home, dataset, ["mood"])["mood"]
    assert "as_it_is" not in row and row["own_head"].endswith(
        "does not know awful by name, so it is not asked as it is."
    )


def test_a_head_whose_weights_are_missing_is_never_asked(home: Home, sentences: Dataset, tmp_path: Path) -> None:
    hollow = models.without_head(Path(shutil.copytree(folder_of(home, "mood"), tmp_path / "hollow")))
    card = sources.add(home, hollow, name="hollow")
    assert not card.classifies and card.classes_seen == ()
    row = ranked(home, sentences, ["hollow"])["hollow"]
    assert "leep" not in row and row["own_head"] == ""
    other = json.loads((hollow / "config.json").read_text())
    other["id2label"] = {str(place): f"class {place}" for place in range(5)}
    narrow = Path(shutil.copytree(folder_of(home, "mood"), tmp_path / "narrow"))
    (narrow / "config.json").write_text(json.dumps(other))
    assert not sources.add(home, narrow, name="narrow").classifies, "a head of three classes is none of five"


def test_one_comes_from_a_hub_and_a_hollow_one_is_not_asked_once_it_is_here(
    home: Home, sentences: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hollow = models.without_head(Path(shutil.copytree(folder_of(home, "mood"), tmp_path / "hollow")))
    published = {"lab/mood": folder_of(home, "mood"), "lab/hollow": hollow}
    with serving(Hub(published)) as hub:
        online = replace(home, offline=False, hub=hub.url)
        rows = ranked(online, sentences, [f"hf/{name}" for name in published])
        cards = {name: sources.get(online, f"hf/{name}", sentences) for name in published}
    assert rows["hf/lab/mood"]["as_it_is"] > 0.95
    assert "leep" not in rows["hf/lab/hollow"], "its head would be drawn at random"
    assert rows["hf/lab/hollow"]["own_head"].startswith("Its own head was not asked: lacks 2 tensors of bert")
    proposed = {name: studies.propose(home, sentences, [card]).strategies for name, card in cards.items()}
    assert "zero_shot" in proposed["lab/mood"] and "zero_shot" not in proposed["lab/hollow"], "what its file lists"
    study = Study(dataset=sentences.id, sources=("hf/lab/hollow",), strategies=("zero_shot",), controls=("classical",))
    (said,) = [problem.what for problem in studies.check(home, study) if problem.severity == "error"]
    assert said == "must hold one that can work with hf/lab/hollow; none can."


def test_a_tuned_classifier_has_a_head_of_the_trial_that_tuned_it(home: Home, sentences: Dataset) -> None:
    steps = {"epochs": 1, "min_steps": 4, "batch_size": 8, "rates_tried": 1}
    study = Study(dataset=sentences.id, sources=("local/mood",), strategies=({"full_finetune": steps},), draws=1,
                  controls=("classical",), fractions=(1.0,))  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    (tuned,) = [trial for trial in studies.expand(home, study) if trial.strategy == "full_finetune"]
    card = sources.get(home, f"own/{tuned.id}", sentences)
    assert not card.classifies and card.classes_seen == sentences.classes and card.continues
    assert not _cell(home, card.id, sentences).knows, "it has learnt from these very rows"


def test_a_text_that_says_something_else_in_a_longer_batch_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = sources.as_whole(sources.get(home, "local/gpt2"))
    assert classifiers.build(card, folder_of(home, "gpt2"), False).width == 2

    def other(self: Any) -> None:
        self.core.config.pad_token_id = 7  # so that its head reads the last token, filled up or not

    monkeypatch.setattr(classifiers.TextClassifier, "_before_dry_run", other)
    with pytest.raises(Refusal, match="when it is filled up to the length of another"):
        classifiers.build(card, folder_of(home, "gpt2"), False)


@pytest.mark.parametrize(
    ("told", "classes"),
    [
        ({"id2label": {"0": "Bad", "1": "Good"}}, ("Bad", "Good")),
        ({"id2label": {"1": "Good", "0": "Bad"}}, ("Bad", "Good")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ()),
        ({"id2label": {"0": "0", "1": "1", "2": "2"}}, ()),
        ({}, ()),
        ({"id2label": {"0": "LABEL_0"}}, None),
        ({"id2label": {"0": "Bad", "2": "Good"}}, None),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, None),
        ({"architectures": ["BertModel"], "id2label": {"0": "Bad", "1": "Good"}}, None),
        ({"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B"}}, None),
        ({"architectures": None}, None),
    ],
)
def test_a_configuration_says_whether_one_of_several_classes_is_said(told: Any, classes: Any) -> None:
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], **told}
    card = from_config("hf/lab/x", "hf", config, {})
    assert card.classifies is (classes is not None)
    assert card.classes_seen == (classes or ())


@pytest.mark.parametrize(
    ("known", "wanted", "places"),
    [
        (("b", "a", "c"), ("a", "b"), (1, 0)),
        (("NEGATIVE", " Very_Positive"), ("very positive", "negative "), (1, 0)),
        (("A", "a"), ("a", "A"), (1, 0)),
        (("A", "a"), ("a ",), None),
        (("yes", "no"), ("Yes", "yes"), None),
        (("yes", "no"), ("yes", "maybe"), None),
    ],
)
def test_classes_are_the_same_by_name_without_case_and_blanks(known: Any, wanted: Any, places: Any) -> None:
    assert class_places(known, wanted) == places
