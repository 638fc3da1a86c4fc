"""Sealed trials made models again: they say what they said, predict files and items, and leave as folders that run."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests import sealed_trials, shapes
from tests.sealed_trials import Sealed
from tltools import artifacts, datasets, sources, studies
from tltools.engine import export, predict, replay, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.features import TOLERANCE
from tltools.home import Home
from tltools.records import Refusal, Study
from tltools.reports import views
from tltools.tickets import Cancelled, QuietTicket

TRIALS = (
    "text/linear_probe", "text/prototype", "text/knn", "text/last_block", "text/setfit", "text/classical",
    "image/full_finetune", "image/classical", "own/zero_shot",
    "own/multilayer_probe", "own/scratch", "table/full_finetune", "table/random_frozen", "table/classical",
    "sentences/multilayer_probe", "number/full_finetune", "number/classical",
)  # fmt: skip


def _job(sealed: Sealed, what: Any, **payload: Any) -> dict[str, Any]:
    result: dict[str, Any] = what.run(QuietTicket(sealed.home), payload)
    json.dumps(result, allow_nan=False)
    return result


def _stored(sealed: Sealed, name: str) -> tuple[Any, pd.DataFrame, np.ndarray]:
    """(model, sealed predictions, what the model says of the same rows)."""
    model = trial_model.load(sealed.home, sealed.id(name))
    stored = model.stored()
    items = datasets.items(sealed.home, model.dataset, model.reads)
    return model, stored, model.outputs(trial_model.picked(items, stored["row"].to_numpy()))


@pytest.mark.parametrize("name", TRIALS)
def test_a_rebuilt_model_says_what_was_sealed(sealed: Sealed, name: str) -> None:
    model, stored, outputs = _stored(sealed, name)
    tolerance = 1e-5
    if "classical" not in name and replay._rounded(model):
        tolerance = TOLERANCE["bfloat16"] * 2
    if model.dataset.classes:
        columns = [f"p_{k}" for k in range(len(model.dataset.classes))]
        assert np.abs(outputs - stored[columns].to_numpy()).max() < tolerance
    else:
        assert np.allclose(outputs[:, 0], stored["prediction"], rtol=1e-4, atol=tolerance)


def test_a_trial_over_untrained_frozen_blocks_is_a_source_with_these_blocks(home: Home, tmp_path: Path) -> None:
    dataset = datasets.add(home, sealed_trials.pictures(tmp_path))
    arm = {"last_block": sealed_trials.SHORT}
    study = Study(dataset=dataset.id, sources=("bundled/tiny-resnet",), strategies=(arm,), controls=(), draws=1, seed=5)
    engine.run_one(QuietTicket(home), studies.save(home, study))
    (trial,) = studies.expand(home, study)
    tuned = trial_model.load(home, trial.id).backbone.to("cpu").core.state_dict()
    source = load_backbone(home, sources.get(home, f"own/{trial.id}")).core.state_dict()
    assert tuned.keys() == source.keys() and all(torch.equal(value, source[name]) for name, value in tuned.items())


def test_a_source_of_ones_own_is_told_by_the_title_of_its_strategy(sealed: Sealed) -> None:
    card = sources.get(sealed.home, f"own/{sealed.id('text/last_block')}")
    assert card.pretraining.startswith("your own: Last block on ") and card in sources.listing(
        sealed.home, "last block"
    )


def test_a_trial_without_weights_names_the_one_that_has_them(sealed: Sealed) -> None:
    with pytest.raises(Refusal) as caught:
        trial_model.load(sealed.home, sealed.id("text/last_block/few"))
    assert sealed.id("text/last_block") in str(caught.value)
    assert "draw 0 at the largest share" in str(caught.value)
    assert trial_model.load(sealed.home, sealed.id("text/linear_probe/few")), "its head was kept, and that is enough"
    for unknown in ("0" * 16, "../../etc", ""):
        with pytest.raises(Refusal, match="not a finished trial"):
            trial_model.load(sealed.home, unknown)


def test_texts_are_predicted_one_by_one_and_as_a_file(sealed: Sealed, tmp_path: Path) -> None:
    trial = sealed.id("text/linear_probe")
    one = _job(sealed, predict, trial=trial, items=["A wonderful film.", {"text": "A dreadful bore."}, {"text": ""}])
    assert one["rows"] == 3 and one["out"] is None
    first = one["predictions"][0]
    assert first["prediction"] == max(first["probabilities"], key=first["probabilities"].get)
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)

    file = tmp_path / "new.csv"
    file.write_text('id;text\n=1+1;"=cmd|calc"\n7;"A wonderful film."\n', "utf-8-sig")
    for kind in (".csv", ".parquet", ".jsonl"):
        out = tmp_path / "deep" / f"out{kind}"
        result = _job(sealed, predict, trial=trial, file=str(file), out=str(out))
        assert result["rows"] == 2 and result["out"] == str(out)
        assert result["predictions"][1]["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]
    table = pd.read_parquet(tmp_path / "deep" / "out.parquet")
    assert table["text"].tolist() == ["=cmd|calc", "A wonderful film."]
    assert {"id", "text", "where", "prediction", "p_negative", "p_positive"} == set(table.columns)
    said = (tmp_path / "deep" / "out.csv").read_text()
    assert "'=cmd\\|calc" in said and ",=cmd" not in said, "no cell may be taken for a formula"
    lines = (tmp_path / "deep" / "out.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["prediction"] == first["prediction"]


def test_cells_come_back_as_they_were_given(sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "id,weight,size,colour,split\n1.0,1,-2.50e-4,007,train\n2.0,,+3,1.0,test\n=1+1,?,-,NA,test\n"
    )
    out, trial = tmp_path / "out.csv", sealed.id("table/full_finetune")
    _job(sealed, predict, trial=trial, file=str(tmp_path / "a.csv"), out=str(out))
    given, table = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (tmp_path / "a.csv", out))
    given.loc[2, "id"] = "'=1+1"  # no cell may be taken for a formula
    given.loc[2, "size"] = "'-"
    pd.testing.assert_frame_equal(table[list(given)], given)
    _job(sealed, predict, trial=trial, file=str(tmp_path / "a.csv"), out=str(out.with_suffix(".parquet")))
    typed = pd.read_parquet(out.with_suffix(".parquet"))
    assert typed["size"].tolist()[:2] == [-2.5e-4, 3] and typed["colour"].tolist()[:2] == ["007", "1.0"]


def test_what_cannot_be_predicted_is_refused(sealed: Sealed, tmp_path: Path) -> None:
    trial = sealed.id("table/full_finetune")
    (tmp_path / "a.csv").write_text("weight,size\n1,2\n3,4\n")
    out = str(tmp_path / "out.csv")
    with pytest.raises(Refusal, match="colour"):
        _job(sealed, predict, trial=trial, file=str(tmp_path / "a.csv"), out=out)
    with pytest.raises(Refusal, match="colour"):
        _job(sealed, predict, trial=trial, items=[{"weight": 1, "size": 2}])
    with pytest.raises(Refusal, match="must hold numbers; got 'heavy'"):
        _job(sealed, predict, trial=trial, items=[{"weight": "heavy", "size": 2, "colour": "red"}])
    with pytest.raises(Refusal, match=".parquet"):
        _job(sealed, predict, trial=trial, file=str(tmp_path / "a.csv"), out=str(tmp_path / "out.docx"))
    with pytest.raises(Refusal, match="needs a file or items"):
        _job(sealed, predict, trial=trial)
    assert not Path(out).exists()


def test_rows_are_read_like_those_of_the_dataset(sealed: Sealed, tmp_path: Path) -> None:
    model = trial_model.load(sealed.home, sealed.id("table/full_finetune"))
    rows = datasets.rows(sealed.home, model.dataset.id).iloc[[0, 5, 11, 20]]
    inputs = list(model.dataset.inputs)
    assert rows[inputs].isna().any().any(), "missing cells must be among them"
    expected = model.outputs(datasets.items(sealed.home, model.dataset, "tabular").iloc[[0, 5, 11, 20]])
    rows[inputs].to_csv(tmp_path / "rows.csv", index=False)
    for name, more in (("table/full_finetune", {}), ("table/classical", {}), ("sentences/multilayer_probe", {})):
        by_file = _job(sealed, predict, trial=sealed.id(name), file=str(tmp_path / "rows.csv"), **more)
        cells = [{key: None if pd.isna(v) else v for key, v in row.items()} for row in rows[inputs].to_dict("records")]
        by_item = _job(sealed, predict, trial=sealed.id(name), items=cells)
        for one, two in zip(by_file["predictions"], by_item["predictions"], strict=True):
            assert one["probabilities"] == pytest.approx(two["probabilities"], abs=1e-4)
        if name == "table/full_finetune":
            shares = [list(one["probabilities"].values()) for one in by_file["predictions"]]
            assert np.allclose(shares, expected, atol=1e-5)
    number = _job(sealed, predict, trial=sealed.id("number/classical"), file=str(tmp_path / "rows.csv"))
    assert all(isinstance(one["prediction"], float) for one in number["predictions"])


def test_pictures_are_predicted_and_what_is_none_is_named(sealed: Sealed, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[8:12] = 255
    Image.fromarray(pixels).save(folder / "bar.png")
    (folder / "broken.png").write_bytes(b"no picture")
    trial = sealed.id("image/classical")
    result = _job(sealed, predict, trial=trial, file=str(folder), out=str(tmp_path / "out.csv"))
    assert result["rows"] == 1 and [one["where"] for one in result["skipped"]] == ["broken.png"]
    one = _job(sealed, predict, trial=trial, items=[str(folder / "bar.png")])
    assert one["predictions"][0]["probabilities"] == pytest.approx(result["predictions"][0]["probabilities"])
    assert "bar.png" in (tmp_path / "out.csv").read_text()


def test_a_cancelled_prediction_writes_nothing(sealed: Sealed, tmp_path: Path) -> None:
    class Asked(QuietTicket):
        def check(self) -> None:
            raise Cancelled

    payload = {"trial": sealed.id("text/classical"), "items": ["a"], "out": str(tmp_path / "out.csv")}
    with pytest.raises(Cancelled):
        predict.run(Asked(sealed.home), payload)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "name",
    (
        pytest.param("text/linear_probe", marks=pytest.mark.own_process), "text/prototype", "text/knn",
        "text/last_block", "text/setfit", "text/classical",
        pytest.param("image/full_finetune", marks=pytest.mark.own_process), "image/classical",
        "own/multilayer_probe", "table/full_finetune", "table/classical", "sentences/multilayer_probe",
        "number/full_finetune", "number/classical",
    ),
)  # fmt: skip
def test_an_exported_folder_says_the_same_without_tltools(sealed: Sealed, name: str, tmp_path: Path) -> None:
    to = tmp_path / "model"
    result = _job(sealed, export, trial=sealed.id(name), to=str(to))
    again = result["replay"]
    assert again["agrees"], again
    assert again["rows"] == len(trial_model.load(sealed.home, sealed.id(name)).stored())
    wanted = {"predict.py", "preprocessing.json", "requirements.txt", "card.json", "MODEL_CARD.md", "study.yaml"}
    assert wanted <= set(result["files"]), result["files"]
    assert ("model.skops" if "classical" in name else "model.safetensors") in result["files"]
    assert artifacts.verify(to) == []
    script = (to / "predict.py").read_text()
    assert "tltools" not in script and sum(bool(line.strip()) for line in script.splitlines()) <= 110
    assert not shapes.unlisted(to)
    told, sealed_card = (to / "MODEL_CARD.md").read_text(), json.loads((to / "card.json").read_text())
    assert "did transfer help" in told.lower()
    facts = told.partition("## The model in this folder")[2]
    assert all(f"`{word}`" in facts for word in (*sealed_card["classes"], *sealed_card["inputs"], sealed.id(name)))
    assert ("Licence: Apache-2.0" in facts) == (sealed_card["source"] is not None)
    assert "1 draws" not in told
    assert all("==" in line and "+" not in line for line in (to / "requirements.txt").read_text().split())
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():
        said = subprocess.run(
            [ruff, "format", "--line-length", "120", "--diff", "--isolated", to / "predict.py"], capture_output=True
        )
        assert said.returncode == 0, said.stdout.decode()


def test_an_export_is_whole_and_does_not_overwrite_what_is_not_its_own(sealed: Sealed, tmp_path: Path) -> None:
    trial, to = sealed.id("table/full_finetune"), tmp_path / "model"
    _job(sealed, export, trial=trial, to=str(to))
    tensors = load_file(to / "model.safetensors")
    own = trial_model.load(sealed.home, trial)
    assert {f"backbone.{key}" for key in own.backbone.core.state_dict()} <= set(tensors)
    assert _job(sealed, export, trial=trial, to=str(to))["replay"]["agrees"], "the same trial may be exported again"
    with pytest.raises(Refusal, match="must be a new or an empty folder"):
        _job(sealed, export, trial=sealed.id("table/random_frozen"), to=str(to))
    (to / "mine.txt").write_text("my notes")
    with pytest.raises(Refusal, match="must be a new or an empty folder"):
        _job(sealed, export, trial=trial, to=str(to))
    assert (to / "mine.txt").exists()


def test_an_export_that_fails_keeps_the_earlier_one(
    sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, trial = tmp_path / "taken", sealed.id("number/classical")
    _job(sealed, export, trial=trial, to=str(to))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in (trial_model, "load"), (export, "write_papers"):
        with monkeypatch.context() as patched:
            patched.setattr(*place, full)
            with pytest.raises(OSError, match="No space"):
                _job(sealed, export, trial=trial, to=str(to))
        assert artifacts.sealed(to) and not artifacts.verify(to)
        assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    before = (to / "sealed.json").stat().st_ino
    _job(sealed, export, trial=trial, to=str(to))
    assert (to / "sealed.json").stat().st_ino != before, "a new export takes the place of the earlier one"
    assert not artifacts.verify(to) and [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_replay_notices_a_model_that_is_not_the_sealed_one(sealed: Sealed, tmp_path: Path) -> None:
    trial, to = sealed.id("table/full_finetune"), tmp_path / "model"
    _job(sealed, export, trial=trial, to=str(to))
    facts = json.loads((to / "preprocessing.json").read_text())
    facts["classes"] = facts["classes"][::-1]
    (to / "preprocessing.json").write_text(json.dumps(facts))
    model, ticket = trial_model.load(sealed.home, trial), QuietTicket(sealed.home)
    assert not replay.check(ticket, model, to)["agrees"]
    (to / "predict.py").write_text("import tltools\n")
    found = replay.check(ticket, model, to)
    assert not found["agrees"] and "tltools" in found["note"]


def test_homes_are_not_written_by_predicting(sealed: Sealed) -> None:
    def seen(home: Home) -> set[str]:
        return {path.as_posix() for room in (home.trials, home.datasets) for path in room.rglob("*")}

    before = seen(sealed.home)
    _job(sealed, predict, trial=sealed.id("text/classical"), items=["fine"])
    assert seen(sealed.home) == before


def test_a_list_of_classes_holds_the_true_one_of_rows_left_out(sealed: Sealed) -> None:
    trial = sealed.id("text/linear_probe")
    least = views.least_probability(sealed.home, trial)
    _, _, truth, held = views.scored(sealed.home, trial, "validation")
    assert least is not None and (held[np.arange(len(truth)), truth] >= least - 1e-9).mean() >= 0.9
    assert views.least_probability(sealed.home, trial, level=0.99) is None, "twenty rows cannot promise that"
    for name in ("text/classical", "number/full_finetune"):
        assert views.least_probability(sealed.home, sealed.id(name)) is None
