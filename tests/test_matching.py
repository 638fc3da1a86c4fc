"""Columns that mean the same are found by name, kind and values; others are left alone; people have the last word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from tltools import datasets, matching
from tltools.fits import Match
from tltools.home import Home
from tltools.records import Refusal

RENAMED = {
    "Alcohol (%)": "alcohol",
    "MalicAcid": "malic_acid",
    "Mg": "magnesium",
    "tint": "hue",
    "amino acid": "proline",
}


def pairs(new: pd.DataFrame, known: pd.DataFrame) -> dict[str, str | None]:
    found = matching.proposed(matching.columns_of(new), matching.columns_of(known))
    assert [match.column for match in found] == [str(name) for name in new]
    return {match.column: match.source for match in found}


@pytest.fixture(scope="module")
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    whole = load_wine(as_frame=True).data.sample(frac=1, random_state=0)
    return whole[:89], whole[89:].rename(columns={its: name for name, its in RENAMED.items()})


def test_renamed_columns_of_the_other_half_of_a_table_are_found(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    known, new = halves
    assert pairs(new, known) == {name: RENAMED.get(name, name) for name in new}


def test_the_order_of_columns_does_not_matter(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    known, new = halves
    rng = np.random.default_rng(0)
    mixed = pairs(new[rng.permutation(new.columns)], known[rng.permutation(known.columns)])
    assert mixed == pairs(new, known)


def test_a_column_of_the_same_name_is_taken_however_its_values_are() -> None:
    known = pd.DataFrame({"height": np.linspace(150, 200, 50), "weight": np.linspace(50, 100, 50)})
    new = pd.DataFrame({"Height": np.linspace(50, 100, 50), "girth": np.linspace(150, 200, 50)})
    found = matching.proposed(matching.columns_of(new), matching.columns_of(known))
    assert found[0].source == "height" and found[0].sure == pytest.approx(matching.NAME, abs=0.01)
    assert found[0].why == "same name, values 0 % alike" and found[1].source is None


def test_kinds_are_not_mixed() -> None:
    known, new = pd.DataFrame({"age": [1.0, 2.0, 3.0]}), pd.DataFrame({"age": ["old", "young", "old"]})
    assert pairs(new, known) == {"age": None}


def test_numbered_columns_are_not_taken_for_their_neighbours() -> None:
    draw = np.random.default_rng(0).normal(size=(60, 6))
    known = pd.DataFrame(draw[:, :3], columns=["V10", "V11", "V12"])
    new = pd.DataFrame(draw[:, 3:], columns=["V11", "V13", "v-10"])
    assert pairs(new, known) == {"V11": "V11", "V13": None, "v-10": "V10"}


def test_flags_are_not_matched_by_their_values_alone() -> None:
    rng = np.random.default_rng(1)
    known = pd.DataFrame({name: rng.integers(0, 2, 80).astype(float) for name in ("smoker", "pregnant", "insured")})
    new = pd.DataFrame({name: rng.integers(0, 2, 80).astype(float) for name in ("urban", "widowed")})
    assert pairs(new, known) == {"urban": None, "widowed": None}


def test_categories_are_matched_by_the_values_that_they_share() -> None:
    rng = np.random.default_rng(2)
    known = pd.DataFrame({"town": rng.choice(["Bonn", "Kiel"], 90), "colour": rng.choice(["red", "blue"], 90)})
    new = pd.DataFrame({"city": rng.choice(["bonn", "KIEL "], 50), "shape": rng.choice(["round", "flat"], 50)})
    assert pairs(new, known) == {"city": "town", "shape": None}


def test_columns_without_any_value_go_by_their_names_alone() -> None:
    empty = pd.DataFrame({"cholesterol": [np.nan] * 3, "zzz": [np.nan] * 3})
    assert pairs(empty, pd.DataFrame({"chol": [1.0, 2.0], "age": [4.0, 5.0]})) == {"cholesterol": "chol", "zzz": None}


def test_what_is_matched_by_hand_is_free_of_other_proposals() -> None:
    known = matching.columns_of(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    found = (Match(column="x", source="a", sure=0.8, why="w"), Match(column="y", source=None, sure=0.0, why="w"))
    new = matching.columns_of(pd.DataFrame({"x": [1.0], "y": [2.0]}))
    made = matching.changed(found, {"y": "a"}, new, known, "own/t")
    assert [(match.source, match.sure) for match in made] == [(None, 0.0), ("a", 1.0)] and "by hand" in made[1].why
    with pytest.raises(Refusal, match="as another column is"):
        matching.changed(found, {"x": "b", "y": "b"}, new, known, "own/t")


def test_thousands_of_columns_are_matched_with_themselves() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(rng.normal(size=(20, 1200)), columns=[f"gene {k}" for k in range(1200)])
    assert all(name == its for name, its in pairs(table, table).items())


@pytest.mark.data
def test_one_hospital_s_columns_are_found_under_another_s_names(home: Home, data: Path, tmp_path: Path) -> None:
    names = {
        "AGE_YEARS": "age", "gender": "sex", "chest_pain_type": "painType", "resting_bp": "restBloodPressure",
        "chol": "cholestoral", "fasting_sugar": "bloodSugar", "max_hr": "MaxHeartRate",
    }  # fmt: skip
    header, *rows = (data / "heart/hungarian.csv").read_text().splitlines()
    for name, its in names.items():
        header = header.replace(its, name)
    (tmp_path / "renamed.csv").write_text("\n".join([header, *rows]) + "\n")
    both = [
        datasets.add(home, path, target="heartDisDiagnosis")
        for path in (data / "heart/cleveland.csv", tmp_path / "renamed.csv")
    ]
    tables = [datasets.items(home, made, "tabular") for made in both]
    assert pairs(tables[1], tables[0]) == {name: names.get(name, name) for name in tables[1].columns}
