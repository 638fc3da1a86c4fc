"""Summaries by strategies beside full fine-tuning: a frozen encoder, adapters, nets without a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.texts import pairs
from tltools import datasets, reports, sources, studies
from tltools.engine import export, trial_model, written
from tltools.engine import study as engine
from tltools.home import Home, open_home
from tltools.records import Study
from tltools.store import open_store
from tltools.tickets import QuietTicket

KNOBS = {"epochs": 1, "min_steps": 0, "batch_size": 32, "rates_tried": 1}


def summed_up(folder: Path, rows: int) -> Path:
    """Texts of several sentences, each with its first words as the summary."""
    table = pairs(rows, 4, longest=12)
    body = [
        f"{text}. It was so {k} times. Nobody saw the {text.split()[0]} again." for k, text in enumerate(table["text"])
    ]
    pd.DataFrame({"body": body, "summary": [" ".join(text.split()[:4]) for text in body]}).to_csv(
        folder / "sums.csv", index=False
    )
    return folder / "sums.csv"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("sums")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    dataset = datasets.add(home, summed_up(folder, 90))
    study = Study(
        dataset=dataset.id, sources=(source.id,), strategies=("linear_probe", {"lora": KNOBS}),
        controls=({"scratch": KNOBS}, "random_frozen", "classical"), fractions=(1.0,), draws=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # a few steps do: what is learned is not judged here
        patch.setattr(written, "FROZEN", replace(written.FROZEN, epochs=1, min_steps=0))
        engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_every_arm_of_a_study_of_summaries_is_judged(ran: tuple[Home, Study]) -> None:
    home, study = ran
    assert datasets.get(home, study.dataset).task == "summarisation"
    report = reports.load(home, studies.study_id(study))
    arms = {"linear_probe", "lora", "scratch", "random_frozen", "classical"}
    assert {arm["strategy"] for arm in report.arms} == arms and report.metric == "rouge_l"
    assert not [one for one in report.problems if one.severity == "error"]


def test_a_decoder_starts_from_the_source_only_where_the_arm_transfers(ran: tuple[Home, Study]) -> None:
    home, study = ran
    for trial in studies.expand(home, study):
        if trial.source != "none":
            said = trial_model.card_of(home, trial.id)["decoder_from"]
            assert said == ("nothing" if trial.kind == "control" else "the last layers of the source")


def test_models_made_again_write_what_was_written(ran: tuple[Home, Study]) -> None:
    home, study = ran
    items = datasets.items(home, datasets.get(home, study.dataset), "text")
    for trial in (one for one in studies.expand(home, study) if one.draw == 0):  # of others no weights are kept
        model = trial_model.load(home, trial.id)
        stored = model.stored()
        same = model.outputs([items[row] for row in stored["row"]]) == stored["prediction"]
        assert same.mean() >= (0.9 if trial.strategy == "lora" else 1.0)  # merging rounds: hardly learned ties may turn


def test_pieces_are_learned_from_the_training_rows_alone(
    ran: tuple[Home, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, study = ran
    dataset, split = studies.split_of(home, study)
    seen: list[list[str]] = []

    def noted(base: object, texts: list[str]) -> None:
        seen.append(texts)
        raise InterruptedError

    monkeypatch.setattr(written, "wording", noted)
    kit = engine.EngineKit(QuietTicket(home, open_store(home)), study, dataset, split)
    trial = next(one for one in studies.expand(home, study) if one.strategy == "lora")
    with pytest.raises(InterruptedError):
        written.probe(kit, trial, "source")
    train, _ = kit.parts(trial, written.FROZEN)
    assert seen == [[kit.targets[row] for row in train]] and not set(train) & set(split.test)


def test_the_first_words_are_exported_as_a_rule(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    trial = next(one for one in studies.expand(home, study) if one.strategy == "classical")
    result = export.run(QuietTicket(home, open_store(home)), {"trial": trial.id, "to": str(tmp_path / "plain")})
    assert result["replay"]["agrees"] and result["replay"]["rows"]
    script = (tmp_path / "plain" / "predict.py").read_text()
    assert "torch" not in script and "tltools" not in script
    assert (tmp_path / "plain" / "requirements.txt").read_text().startswith("pandas==")
