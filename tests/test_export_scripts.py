"""Exported scripts read what strangers give them as tltools does, or say in a sentence what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests import scripts
from tests.sealed_trials import Sealed
from tests.test_backbones import canine, moved
from tltools import datasets, sources, studies
from tltools.engine import export, export_groups, predict
from tltools.engine import study as engine
from tltools.home import Home
from tltools.judging import fairness
from tltools.records import Study
from tltools.tickets import QuietTicket


def _export(sealed: Sealed, name: str, to: Path) -> None:
    export.run(QuietTicket(sealed.home), {"trial": sealed.id(name), "to": str(to)})


def _predicted(sealed: Sealed, name: str, given: Path) -> list[dict[str, Any]]:
    """What tltools says of a file."""
    found: list[dict[str, Any]] = predict.run(QuietTicket(sealed.home), {"trial": sealed.id(name), "file": str(given)})[
        "predictions"
    ]
    return found


def _scripted(sealed: Sealed, name: str, given: Path, tmp_path: Path) -> pd.DataFrame:
    """What the exported script of a trial says of a file or folder."""
    to, out = tmp_path / name.replace("/", "-"), tmp_path / f"{name.replace('/', '-')}.csv"
    _export(sealed, name, to)
    said = scripts.run(None, to / "predict.py", given, out)
    assert not said, said
    return pd.read_csv(out, keep_default_na=False)


MESSY = {
    "semicolons": 'size; weight ;colour;note\n"0,0001";5,25; red ;a\n0;?;dark blue;\n"-0,0002"; 7 ;NA;\n;1.250,5;;\n',
    "commas": 'colour,"weight",size\nred,"1,250.5",0.0001\n grün ,N/A,0\n?,3.5,1e-4\n"dark blue"," 4 ",-0.0001\n',
    "numbers as names": "colour,weight,size\n1.0,007,+1e-4\n007,1.50,0\n",
    "percent in a short file": "colour,weight,size\n1.0,5 %,0\n2.0,7 %,0\nred,many,0\n",
    "odd": "weight\tcolour\tsize\n" + "".join(f"{k}.5\tred\t0\n" for k in range(60)) + "many\tgrün\t0\n",
}


@pytest.mark.parametrize("kind", MESSY)
@pytest.mark.parametrize("name", ["table/full_finetune", "table/classical", "sentences/multilayer_probe"])
def test_an_exported_script_reads_a_table_as_tltools_does(sealed: Sealed, name: str, kind: str, tmp_path: Path) -> None:
    given = tmp_path / "rows.csv"
    given.write_text(MESSY[kind], encoding="utf-8-sig")
    ours = _predicted(sealed, name, given)
    theirs = _scripted(sealed, name, given, tmp_path)
    assert len(ours) == len(theirs)
    for one, (_, other) in zip(ours, theirs.iterrows(), strict=True):
        for label, share in one["probabilities"].items():
            assert float(other[f"p_{label}"]) == pytest.approx(share, abs=0.02 if "sentences" in name else 1e-4), one


REFUSED = {  # rows -> what the script says of them
    "weight,shade\n1,red\n": "rows.csv lacks the column(s) size, colour: name them in its first line",
    "weight,size,colour\n": "rows.csv has no rows below its first line: add the rows to predict",
    "": "rows.csv lacks the column(s) weight, size, colour: name them in its first line",
    "weight,size,colour\n1,2,red,\n3,4,red,\n": "line 3 cannot be read (4 fields where the first line has 3)",
    "weight,size,colour\n1,2,red\n3,4\n": "line 3 cannot be read (2 fields where the first line has 3)",
    'weight,size,colour\n1,2\n1,2,"red\n3,4,red\n': "line 4 cannot be read (unexpected end of data): correct this line",
    "weight,size,colour\n1,2,gr\xfcn\n": "save the table as CSV in UTF-8",
}


def test_an_exported_script_says_in_a_sentence_what_is_wrong_with_rows(sealed: Sealed, tmp_path: Path) -> None:
    given, to, out = tmp_path / "rows.csv", tmp_path / "model", tmp_path / "out.csv"
    _export(sealed, "table/full_finetune", to)
    for text, said in REFUSED.items():
        given.write_text(text, encoding="latin-1")
        assert said in scripts.run(None, to / "predict.py", given, out), text
    assert "No such file" in scripts.run(None, to / "predict.py", tmp_path / "absent.csv", out)
    assert not out.exists()


def all_told(model: Path, given: Path, out: Path) -> list[str]:
    """The lines that an exported script ends with, where it cannot predict."""
    ran = subprocess.run([sys.executable, "-I", model / "predict.py", given, out], capture_output=True, text=True)
    assert ran.returncode == 1
    return ran.stderr.splitlines()


def test_an_exported_script_names_all_rows_that_it_cannot_read(sealed: Sealed, tmp_path: Path) -> None:
    given, to, out = tmp_path / "rows.csv", tmp_path / "model", tmp_path / "out.csv"
    given.write_text('weight,size,colour\n1,2\n1,2,red\n1,"2"x,red\n' + "1,2,3,4\n" * 19)
    _export(sealed, "table/classical", to)
    told = all_told(to, given, out)
    assert [line.split(", ")[1].partition(" cannot")[0] for line in told[:20]] == [
        "line 2", "line 4", *(f"line {k}" for k in range(5, 23))
    ]  # fmt: skip
    assert told[20:] == ["and 1 more"] and not out.exists()


@pytest.mark.parametrize("columns", [["age"], ["sex"], ["points", "sex", "age"]])
def test_an_exported_script_names_groups_as_tltools_does(columns: list[str], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    known = pd.DataFrame({"age": random.normal(40, 12, 90), "points": random.integers(0, 3, 90).astype(float)})
    edges = {"age": fairness.edges(known["age"])}
    cut = {name: {"edges": found, "names": fairness.spans(found)} for name, found in edges.items() if found}
    new = pd.DataFrame({"age": [20.5, -3.0, 400.0, None, 41.0], "points": [0.0, 2.0, None, 7.0, 1.0]})
    new["sex"] = pd.array(["F", None, "M", "X", "F"], dtype="str")
    script: dict[str, Any] = {"pd": pd, "groups": new.assign(sex=new["sex"].fillna(""))}
    named = fairness.groups_of(new, columns, edges)
    shifts = {name: [0.0, float(k)] for k, name in enumerate(named)} | {"": [9.0, 9.0]}
    facts = {"thresholds": {"columns": columns, "spans": cut, "shifts": shifts}}
    script |= {"facts": facts, "torch": torch, "scores": np.full((5, 2), 0.5)}
    exec("".join(export_groups.steps(facts)), script)
    moved = script["shift"][:, 1].tolist()
    assert moved == [shifts[name][1] for name in named]
    assert script["scores"][:, 1] == pytest.approx([1 / (1 + np.exp(-one)) for one in moved])


def test_an_exported_script_keeps_the_columns_of_a_table(sealed: Sealed, tmp_path: Path) -> None:
    given = tmp_path / "rows.csv"
    given.write_text("prediction,p_light,p_value,size,weight,,colour,size\nmine,0.5,7,1e200,2,x,red,again\n")
    found = _scripted(sealed, "table/classical", given, tmp_path)
    own = ["prediction (given)", "p_light (given)", "p_value", "size", "weight", "column_6", "colour", "size.1"]
    assert list(found) == [*own, "prediction", "p_heavy", "p_light"]
    assert found[own].astype(str).iloc[0].tolist() == ["mine", "0.5", "7", "1e+200", "2", "x", "red", "again"]
    ours = _predicted(sealed, "table/classical", given)
    assert found["p_heavy"].iloc[0] == pytest.approx(ours[0]["probabilities"]["heavy"])


def test_an_exported_script_reads_texts_of_a_single_column_whole(sealed: Sealed, tmp_path: Path) -> None:
    given = tmp_path / "rows.csv"
    given.write_text('text\nFine, really\nA bore, at best\n"And, quoted"\n""\n\n' + "long " * 30_000 + "\n")
    found = _scripted(sealed, "text/classical", given, tmp_path)
    assert found["text"].str[:14].tolist() == ["Fine, really", "A bore, at bes", "And, quoted", "", "long long long"]


def test_an_exported_script_tells_of_cells_that_hold_no_number(sealed: Sealed, tmp_path: Path) -> None:
    given, to = tmp_path / "rows.csv", tmp_path / "model"
    given.write_text("weight,size,colour\n1,2,red\n?,4,red\nmany,5,red\n")
    _export(sealed, "table/full_finetune", to)
    told = subprocess.run(
        [sys.executable, "-I", to / "predict.py", given, tmp_path / "out.csv"], capture_output=True, text=True
    )
    said = 'weight: 1 cell(s) hold no number and are read as missing, the first "many" in row 3\n'
    assert told.returncode == 0 and told.stderr == said
    usage = subprocess.run([sys.executable, "-I", to / "predict.py"], capture_output=True, text=True)
    assert usage.returncode == 1 and usage.stderr.startswith("Predicts new rows: `python predict.py ROWS.csv")


@pytest.mark.parametrize("name", ["image/classical", "image/full_finetune"])
def test_an_exported_script_names_the_picture_that_it_cannot_read(sealed: Sealed, name: str, tmp_path: Path) -> None:
    folder, to, out = tmp_path / "new", tmp_path / "model", tmp_path / "out.csv"
    (folder / ".cache").mkdir(parents=True)
    (folder / "._a.png").write_bytes(b"of another system")
    Image.new("RGB", (9, 9)).save(folder / ".cache" / "b.png")
    _export(sealed, name, to)
    said = scripts.run(None, to / "predict.py", folder, out)
    assert said.startswith(f"{folder} holds no file that ends in .bmp, .jpeg"), said
    Image.new("RGB", (9, 9)).save(folder / "b.png")
    assert not scripts.run(None, to / "predict.py", folder, out)
    assert pd.read_csv(out)["file"].tolist() == ["b.png"]
    for k in range(23):
        (folder / f"a{k:02}.jpg").write_bytes(b"no picture")
    out.unlink()
    told = all_told(to, folder, out)
    assert [line.partition(" cannot be read as a picture")[0] for line in told[:20]] == [
        str(folder / f"a{k:02}.jpg") for k in range(20)
    ]
    assert told[0].endswith("replace it, or take it away") and told[20:] == ["and 3 more"] and not out.exists()


@pytest.mark.parametrize("name", ["image/classical", "image/full_finetune"])
def test_an_exported_script_opens_pictures_as_they_were_opened_for_training(
    sealed: Sealed, name: str, tmp_path: Path
) -> None:
    folder, random = tmp_path / "new", np.random.default_rng(0)
    folder.mkdir()
    pixels = random.integers(0, 90, (24, 32, 3), dtype=np.uint8)
    pixels[6:11] += 150
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(folder / "a.jpg", exif=turned)
    clear = Image.fromarray(
        np.dstack([pixels, np.where(np.arange(32) < 9, 0, 255).astype(np.uint8)[None].repeat(24, 0)])
    )
    clear.save(folder / "b.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(folder / "c.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "d.jpg")
    Image.fromarray(pixels[..., 0]).save(folder / "e.png")
    predict.run(
        QuietTicket(sealed.home), {"trial": sealed.id(name), "file": str(folder), "out": str(tmp_path / "ours.csv")}
    )
    ours, theirs = pd.read_csv(tmp_path / "ours.csv"), _scripted(sealed, name, folder, tmp_path)
    assert [Path(where).name for where in ours["where"]] == list(theirs["file"])
    for label in ("p_lying", "p_standing"):
        assert np.abs(ours[label] - theirs[label]).max() < 0.02, (ours[label], theirs[label])


@pytest.mark.parametrize("make", [canine, partial(moved, "fnet")], ids=["letters", "alone"])
def test_an_exported_model_reads_short_texts_and_long_ones_side_by_side(
    home: Home, make: Callable[[Path], Any], tmp_path: Path
) -> None:
    make(tmp_path / "made")
    sources.add(home, tmp_path / "made", name="odd")
    given = ["a", ""] if make is canine else ["a", "", "a long way to say no, and no again, and never"]
    path, new, out = tmp_path / "few.csv", tmp_path / "new.csv", tmp_path / "out.csv"
    pd.DataFrame({"text": ["yes", "no way"] * 20, "label": ["good", "bad"] * 20}).to_csv(path, index_label="n")
    dataset = datasets.add(home, path, target="label", inputs=["text"])
    study = Study(
        dataset=dataset.id, sources=("local/odd",), strategies=("linear_probe",), controls=("classical",), draws=1
    )
    engine.run_one(QuietTicket(home), studies.save(home, study))
    (trial,) = [one for one in studies.expand(home, study) if one.source != "none"]
    pd.DataFrame({"text": given}).to_csv(new, index=False)
    ours = predict.run(QuietTicket(home), {"trial": trial.id, "file": str(new)})["predictions"]
    export.run(QuietTicket(home), {"trial": trial.id, "to": str(tmp_path / "exported")})
    assert not scripts.run(None, tmp_path / "exported" / "predict.py", new, out)
    theirs = pd.read_csv(out)
    for row, said in zip(ours, theirs.to_dict("records"), strict=True):
        assert said["p_good"] == pytest.approx(row["probabilities"]["good"], abs=1e-4)
