"""Datasets from file to split: what is inferred, what is said, what is stored, and that it never changes.

Run alone: python -m pytest tests/test_datasets.py
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.bad_files import archive, class_folders, file, picture
from tltools import artifacts, datasets, samples, splits
from tltools.home import Home
from tltools.records import Dataset, Refusal
from tltools.tickets import Cancelled

FEELINGS = "text,sentiment,stars\n" + "".join(
    f"the {word} {thing} was {'a delight' if i % 2 else 'a bore'} from start to end {i},"
    f"{'good' if i % 2 else 'bad'},{i % 9}\n"
    for i, (word, thing) in enumerate(
        (w, t)
        for w in ("old", "new", "long", "short", "loud")
        for t in ("film", "play", "book", "song", "talk", "tale")
    )
)


def add(home: Home, folder: Path, content: str, name: str = "data.csv", **choices: Any) -> Dataset:
    return datasets.add(home, file(name, content)(folder), **choices)


def said(home: Home, dataset: Dataset) -> str:
    return " ".join(problem.sentence() for problem in datasets.profile(home, dataset.id).problems)


@pytest.mark.parametrize(("marked", "words"), [(1000, "all texts hold"), (997, "about 99 % of the texts hold")])
def test_html_remains_are_in_all_texts_only_where_they_are(home: Home, tmp_path: Path, marked: int, words: str) -> None:
    path = tmp_path / "notes.csv"
    texts = [f"note {k} on thing {k * 7 % 13}{'<br />' if k < marked else ''},{'xy'[k % 2]}" for k in range(1000)]
    path.write_text("\n".join(["text,kind", *texts]))
    assert f"{words} remains of HTML" in said(home, datasets.add(home, path, target="kind", inputs=["text"]))


def test_text_is_recognised_and_stored(home: Home, tmp_path: Path) -> None:
    made = add(home, tmp_path, FEELINGS)
    assert (made.modality, made.task, made.target, made.inputs) == ("text", "classification", "sentiment", ("text",))
    assert made.classes == ("bad", "good") and made.rows == 30 and made.name == "data"
    assert artifacts.verify(home.datasets / made.id) == []
    assert datasets.listing(home) == [made] and datasets.get(home, made.id) == made
    assert datasets.target(home, made).tolist() == [0, 1] * 15
    assert datasets.items(home, made, "text")[0].startswith("the old film")
    profile = datasets.profile(home, made.id)
    assert profile.classes == {"bad": 15, "good": 15} and profile.numbers["words_median"] == 11
    assert any("sentiment" in sentence for sentence in profile.inference)


def test_choices_change_what_is_inferred(home: Home, tmp_path: Path) -> None:
    made = add(home, tmp_path, FEELINGS, target="stars", task="regression", inputs=["text", "sentiment"])
    assert (made.modality, made.task, made.inputs, made.classes) == ("text", "regression", ("text", "sentiment"), ())
    assert datasets.target(home, made).dtype == np.float32
    draft = datasets.inspect(home, tmp_path / "data.csv", target="stars")
    assert draft.ready and draft.task == "classification" and len(draft.classes) == 9
    with pytest.raises(Refusal, match="cannot be read as image"):
        datasets.items(home, made, "image")


def test_numbers_that_nearly_all_differ_are_read_and_identifiers_are_not(home: Home, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = 506

    def varied() -> np.ndarray:
        """500 different whole numbers in 506 rows."""
        once = random.choice(90_000, rows - 6, replace=False)
        return np.concatenate([once, once[:6]])

    columns = {
        "wage": varied(), "area sorted": np.sort(varied()), "heat_index": varied(), "monkey": varied(),
        "hours": varied() / 8, "customer_id": varied(), "counted": np.arange(rows),
        "shuffled": random.permutation(rows) + 7000, "Index": varied(),
        "code": [random.bytes(8).hex() for _ in range(rows)], "kind": random.choice(["x", "y"], rows),
    }  # fmt: skip
    draft = datasets.inspect(home, file("t.csv", pd.DataFrame(columns).to_csv(index=False))(tmp_path), target="kind")
    assert draft.inputs == ("wage", "area sorted", "heat_index", "monkey", "hours")
    assert "Not read (like identifiers): customer_id, counted, shuffled, Index, code." in draft.profile.inference


def test_inspecting_stores_no_dataset_and_shows_what_is_wrong(home: Home, tmp_path: Path) -> None:
    path = file("data.csv", "a,b\n" + "".join(f"{i},same\n" for i in range(30)))(tmp_path)
    draft = datasets.inspect(home, path)
    assert not draft.ready and len(draft.sample) == 30 and draft.profile.columns[1].kind == "constant"
    assert datasets.listing(home) == []


def test_the_same_content_gets_the_same_id_whatever_its_name(home: Home, tmp_path: Path) -> None:
    first = add(home, tmp_path, FEELINGS)
    second = datasets.add(home, file("other.csv", FEELINGS.replace("\n", "\r\n"))(tmp_path), name="Another name")
    assert second == first
    changed = add(home, tmp_path, FEELINGS.replace("end 7,good", "end 7,bad"))
    assert changed.id != first.id and len(datasets.listing(home)) == 2
    assert datasets.add(home, tmp_path / "other.csv", target="stars").id not in {first.id, changed.id}


def test_two_at_the_same_time_store_one_dataset(home: Home, tmp_path: Path) -> None:
    path = archive("photos.zip", class_folders())(tmp_path)
    made: list[Dataset] = []
    threads = [threading.Thread(target=lambda: made.append(datasets.add(home, path))) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == 4 and len({dataset.id for dataset in made}) == 1
    assert artifacts.verify(home.datasets / made[0].id) == []


def test_images_are_stored_with_their_pixels_and_items_are_paths(home: Home, tmp_path: Path) -> None:
    made = datasets.add(home, archive("photos.zip", class_folders())(tmp_path))
    paths = datasets.items(home, made, "image")
    assert made.modality == "image" and made.inputs == ("image",) and len(paths) == 16
    assert all(Path(path).is_file() and Path(path).is_relative_to(datasets.media(home, made.id)) for path in paths)
    keys = datasets.content_keys(home, made)
    assert len(set(keys)) == 16 and all(len(key) == 32 for key in keys)


def test_rows_without_a_target_are_left_out_by_name(home: Home, tmp_path: Path) -> None:
    made = add(home, tmp_path, FEELINGS.replace("end 4,bad", "end 4,").replace("end 9,good", "end 9,?"))
    skipped = datasets.profile(home, made.id).skipped
    assert made.rows == 28 and [one.where for one in skipped] == ["data.csv, line 6", "data.csv, line 11"]
    assert "2 row(s) were left out" in said(home, made)


def test_copies_quarrels_leaks_and_holes_are_all_told_at_once(home: Home, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(200, 5)).round(5), columns=list("abcde"))
    table["same"] = "x"
    table["hole"] = np.where(random.random(200) < 0.7, np.nan, table["a"] * 2)
    table["key"] = [f"id-{i:04d}" for i in range(200)]
    table["label"] = np.where(random.random(200) < 0.5, "yes", "no")
    table["answer"] = table["label"].map({"yes": "J", "no": "N"})
    table = table[[*[c for c in table if c != "label"], "label"]]
    table.loc[190] = table.loc[10]
    table.loc[191] = table.loc[11]
    table.loc[191, "label"] = "yes" if table.loc[11, "label"] == "no" else "no"
    table.loc[191, "answer"] = table.loc[11, "answer"]
    table["key"] = [f"id-{i:04d}" for i in range(200)]
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    made = datasets.add(home, path)
    told = said(home, made)
    assert "key" not in made.inputs and "same" not in made.inputs
    for words in (
        '"answer"',
        "another target",
        "repeat the input",
        "hold one value only: same",
        "hole (7",
        "t.csv, line 193",
    ):
        assert words in told, words


def test_texts_that_are_empty_are_told_once_and_no_copies_of_each_other(home: Home, tmp_path: Path) -> None:
    lines = [f"letter {i} is about {'trains' if i % 2 else 'planes'} and number {i * i},{i % 2}" for i in range(40)]
    lines += [",0", ",1", ",1", lines[0], lines[1], f"oh {lines[2].replace(',0', '')} of them,0"]
    made = add(home, tmp_path, "body,label\n" + "\n".join(lines) + "\n")
    profile = datasets.profile(home, made.id)
    assert "3 row(s) have no text" in said(home, made) and "another target" not in said(home, made)
    assert "2 row(s) repeat the input of another row, the first: data.csv, line 45" in said(home, made)
    assert profile.numbers["duplicates"] == 2 and profile.numbers["near_duplicates"] == 1


def test_one_of_several_texts_that_gives_the_target_away_is_told(home: Home, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    queue = random.choice(["bill", "route"], 120)
    body = [f"letter {i} about {random.integers(10_000)} things" for i in range(120)]
    closed = pd.Series(queue).map({"bill": "template 7 was sent", "route": "template 17 was sent"})
    table = pd.DataFrame({"body": body, "closed": closed, "queue": queue})
    table.loc[::5, "body"] += " (template 7, template 17)"
    table.to_csv(tmp_path / "t.csv", index=False)
    with_it = datasets.add(home, tmp_path / "t.csv", target="queue", inputs=["body", "closed"])
    assert 'column "closed": it alone tells the target (100 % of the way to certainty)' in said(home, with_it)
    without = datasets.add(home, tmp_path / "t.csv", target="queue", inputs=["body"])
    assert "leakage" not in said(home, without)


def test_a_test_file_is_the_test_part_and_types_are_made_to_agree(home: Home, tmp_path: Path) -> None:
    train = "a,b,label\n" + "".join(f"{i * 1.5},k{i % 3},{'x' if i % 2 else 'y'}\n" for i in range(40))
    test = "b,a,label\n" + "".join(f"k{i % 3},?,{'x' if i % 2 else 'y'}\n" for i in range(20)) + "k1,2,\n"
    made = datasets.add(home, file("train.csv", train)(tmp_path), test=file("test.csv", test)(tmp_path))
    assert made.parts == {"": 40, "test": 20} and made.rows == 60
    rows = datasets.rows(home, made.id)
    assert rows["a"].dtype == float and rows["_where"].iloc[-1] == "test.csv, line 21"
    split = datasets.split(home, made)
    assert set(split.test) == set(range(40, 60)) and split.note.startswith("The test part is the one")
    assert len(split.validation) == 6 and set(split.train) | set(split.validation) == set(range(40))


def test_copies_between_the_users_own_parts_are_told(home: Home, tmp_path: Path) -> None:
    test = "\n".join([FEELINGS.splitlines()[0], *FEELINGS.splitlines()[1:8]]) + "\n"
    path = file("train.csv", FEELINGS)(tmp_path)
    made = datasets.add(home, path, test=file("test.csv", test)(tmp_path))
    assert "7 of 7 test rows have a (near) copy" in said(home, made)


def test_folders_with_train_and_val_only_lock_val_away(home: Home, tmp_path: Path) -> None:
    entries = {
        f"{part}/{k}/{i}.png": picture(seed=hash_of(part, k, i))
        for part in ("train", "val")
        for k in "xy"
        for i in range(9)
    }
    made = datasets.add(home, archive("p.zip", entries)(tmp_path))
    split = datasets.split(home, made)
    rows = datasets.rows(home, made.id)
    assert made.parts == {"train": 18, "validation": 18}
    assert (
        set(rows["_part"].iloc[list(split.test)]) == {"validation"}
        and len(split.test) == 18
        and len(split.validation) >= 2
    )


def hash_of(*words: object) -> int:
    return sum(ord(char) * 31**i for i, char in enumerate(str(words))) % 2**31


def test_an_input_that_is_named_twice_is_read_once(home: Home, tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("a,b,label\n" + "".join(f"{i % 7},{i},{'xy'[i % 3 > 0]}\n" for i in range(30)))
    assert datasets.add(home, tmp_path / "twice.csv", target="label", inputs=["a", "b", "a"]).inputs == ("a", "b")


def test_a_column_can_group(home: Home, tmp_path: Path) -> None:
    rows = "".join(f"{i * 0.37:.2f},{i * 7 % 11},p{i % 13},{'x' if i * 5 % 7 < 3 else 'y'}\n" for i in range(130))
    made = add(home, tmp_path, "a,b,person,label\n" + rows)
    split = datasets.split(home, made, group="person")
    people = datasets.rows(home, made.id)["person"]
    parts = [set(people.iloc[list(part)]) for part in (split.train, split.validation, split.test)]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert split.grouped_by == "person" and datasets.stored_split(home, split.id) == split
    with pytest.raises(Refusal, match="no column"):
        datasets.split(home, made, group="nobody")
    with pytest.raises(Refusal, match="shares"):
        datasets.split(home, made, test_share=0.95)


def test_a_split_is_made_once_a_process_and_stored_again_where_it_is_gone(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, counted, make = add(home, tmp_path, FEELINGS), [], splits.make
    monkeypatch.setattr(splits, "make", lambda *given, **asked: counted.append(asked["seed"]) or make(*given, **asked))
    first = datasets.split(home, made)
    (home.splits / f"{first.id}.json").unlink()
    assert datasets.split(home, made) == first == datasets.stored_split(home, first.id) and counted == [0]
    assert datasets.split(home, made, seed=1) != first and counted == [0, 1]
    datasets.delete(home, made.id)
    with pytest.raises(Refusal, match="no dataset"):
        datasets.split(home, made)


def test_unknown_ids_are_refused_before_any_path_is_touched(home: Home) -> None:
    for name in ("../../etc", "0123456789abcdef", "", "x" * 300, "0123456789ABCDEF"):
        with pytest.raises(Refusal, match="no dataset"):
            datasets.get(home, name)
        with pytest.raises(Refusal, match="no split"):
            datasets.stored_split(home, name)


def test_deleting_moves_to_the_trash(home: Home, tmp_path: Path) -> None:
    made = add(home, tmp_path, FEELINGS)
    os.utime(home.datasets / made.id, (0, 0))
    gone = datasets.delete(home, made.id)
    assert artifacts.sweep_old(home.trash, artifacts.KEPT) == 0, "it lies there from today on"
    assert gone.is_dir() and gone.is_relative_to(home.trash) and datasets.listing(home) == []
    assert add(home, tmp_path, FEELINGS).id == made.id


def test_new_rows_are_read_like_the_datasets_own(home: Home, tmp_path: Path) -> None:
    rows = "".join(f"{i * 7 % 31},{i % 4},{'x' if i % 2 else 'y'}\n" for i in range(3, 60))
    made = add(home, tmp_path, "a,kind,label\n" + rows.replace(",3,", ",three,"))
    table, _, _, profile = datasets.read_like(home, made, file("new.csv", "kind,a,more\n1,2.5,u\n2,oops,v\n")(tmp_path))
    assert table["kind"].tolist() == ["1", "2"] and np.isnan(table["a"][1]) and profile.rows == 2
    assert "oops" in profile.problems[-1].what and profile.problems[-1].where == "new.csv, line 3"
    assert datasets.view(made, table, Path(), "text") == ["a 2.5, kind 1", "kind 2"]
    codes = file("codes.csv", "kind,a,no\n1.0,0x,1.0\n007,05,2\n")(tmp_path)
    table, written, *_ = datasets.read_like(home, made, codes)
    assert table["kind"].tolist() == ["1.0", "007"] and table["a"].tolist()[1] == 5
    assert written["no"].tolist() == ["1.0", "2"] and written["a"].tolist() == ["0x", "05"]
    with pytest.raises(Refusal, match=r"none\.csv: has 2 column\(s\) \(kind, a\) but no rows .* row to predict"):
        datasets.read_like(home, made, file("none.csv", "kind,a\n")(tmp_path))
    with pytest.raises(Refusal, match="kind are missing"):
        datasets.read_like(home, made, file("short.csv", "a\n1\n2\n")(tmp_path))
    photos = datasets.add(home, archive("photos.zip", class_folders())(tmp_path))
    table, _, media, _ = datasets.read_like(home, photos, file("ant.png", picture(seed=500))(tmp_path))
    assert Path(datasets.view(photos, table, media, "image")[0]).is_file()


def test_the_job_tells_how_far_it_is_and_stops_when_asked(home: Home, tmp_path: Path) -> None:
    class Ticket:
        job = None

        def __init__(self, patience: int) -> None:
            self.home, self.stages, self.patience = home, [], patience

        def check(self) -> None:
            self.patience -= 1
            if self.patience < 0:
                raise Cancelled

        def progress(self, stage: str, done: int, total: int, note: str = "", **numbers: float) -> None:
            self.stages.append(stage)

    path = archive("photos.zip", class_folders(each=40))(tmp_path)
    with pytest.raises(Cancelled):
        datasets.ingest_job(Ticket(1), {"path": str(path)})  # type: ignore[arg-type]
    assert datasets.listing(home) == [] and not list((home.root / "drafts").iterdir())
    assert datasets.ingest_job(Ticket(100), {"path": str(path), "look": True}) == {"ready": True}  # type: ignore[arg-type]
    assert datasets.listing(home) == []
    patient = Ticket(100)
    result = datasets.ingest_job(patient, {"path": str(path), "name": "Photos"})  # type: ignore[arg-type]
    assert datasets.get(home, result["dataset"]).name == "Photos"
    assert list(dict.fromkeys(patient.stages)) == ["profiling", "storing"]


def test_a_second_look_decodes_nothing(home: Home, tmp_path: Path) -> None:
    path = archive("photos.zip", class_folders())(tmp_path)
    stages: list[str] = []
    for _ in range(2):
        draft = datasets.inspect(home, path, told=lambda stage, done, total: stages.append(stage))
    assert stages == ["decoding images", "profiling", "profiling"]
    assert draft.media is not None and (draft.media / draft.sample["image"].iloc[0]).is_file()


@pytest.mark.parametrize("key", samples.SAMPLES)
def test_samples_are_what_their_cards_say(home: Home, key: str) -> None:
    sample = samples.SAMPLES[key]
    made = samples.add(home, key)
    assert (made.rows, made.modality, made.task, made.target) == (
        sample.rows,
        sample.modality,
        sample.task,
        sample.target,
    )
    assert not [p for p in datasets.profile(home, made.id).problems if p.severity != "note"]
    split = datasets.split(home, made)
    assert min(len(split.train), len(split.validation), len(split.test)) >= 20
    with pytest.raises(Refusal, match="no sample"):
        samples.add(home, "nothing")


@pytest.mark.parametrize(("sample", "label", "least"), [("city-desk", "desk", 48), ("film-notes", "sentiment", 151)])
def test_written_samples_are_varied(home: Home, sample: str, label: str, least: int) -> None:
    made = samples.add(home, sample)
    rows = datasets.rows(home, made.id)
    openings = rows[made.inputs[0]].str.split().str[:3].str.join(" ")
    assert openings.nunique() > 0.85 * len(rows)
    assert rows.groupby(label).size().min() >= least
    assert len(np.unique(datasets.clusters(home, made.id))) > 0.98 * len(rows)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "test", "wanted"),
    [
        (
            "hymenoptera/hymenoptera_train.zip",
            "hymenoptera/hymenoptera_val.zip",
            ("image", "classification", "label", 397),
        ),
        ("flowers/flowers_test.zip", None, ("image", "classification", "label", 860)),
        ("sst2/sst2_train.csv", "sst2/sst2_test.csv", ("text", "classification", "label", 8741)),
        ("mr/mr_train.csv", "mr/mr_test.csv", ("text", "classification", "label", 10662)),
        ("agnews/agnews_train.csv", "agnews/agnews_test.csv", ("text", "classification", "label", 7600)),
        ("adult/income_evaluation.csv", None, ("tabular", "classification", "income", 32561)),
        ("heart/cleveland.csv", None, ("tabular", "classification", "heartDisDiagnosis", 303)),
        ("heart/hungarian.csv", None, ("tabular", "classification", "heartDisDiagnosis", 294)),
        ("student-por/student-por.csv", None, ("tabular", "regression", "G3", 649)),
        ("khan-srbct/khan_train.csv", "khan-srbct/khan_test.csv", ("tabular", "classification", "tumour", 83)),
        ("compas/compas_two_years.csv", None, ("tabular", "classification", "two_year_recid", 7214)),
        ("german-credit/german_credit.csv", None, ("tabular", "classification", "class", 1000)),
        ("german-credit/german.data", None, ("tabular", "classification", "column_21", 1000)),
        ("usps/usps_test.zip", None, ("image", "classification", "label", 1000)),
    ],
)
def test_public_datasets_run_through(
    home: Home, data: Path, path: str, test: str | None, wanted: tuple[Any, ...]
) -> None:
    made = datasets.add(home, data / path, test=data / test if test else None)
    assert (made.modality, made.task, made.target, made.rows) == wanted
    split = datasets.split(home, made)
    assert len(split.train) + len(split.validation) + len(split.test) == made.rows
    told = said(home, made)
    expected = {
        "hymenoptera": "imageNotFound.gif",
        "khan": "5 row(s) were left out",
        "compas": "is_recid",
        "agnews": "HTML",
    }
    for name, words in expected.items():
        assert words in told or name not in path
    json.dumps(datasets.profile(home, made.id).model_dump(mode="json"), allow_nan=False)
