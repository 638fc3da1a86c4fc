"""Several labels a row: cells recognised, metrics against scikit-learn, and a study from a file to an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from sklearn import metrics as sk

from tltools import datasets, label_sets, reports, sources, splits, studies
from tltools.engine import export, label_heads, predict, replay, trial_model
from tltools.engine import study as engine
from tltools.engine.features import TOLERANCE
from tltools.home import Home, open_home
from tltools.records import Refusal, Study
from tltools.reports import views
from tltools.reports.readings import scale_of
from tltools.store import open_store
from tltools.tasks import _label_scores as scores
from tltools.tasks.multilabel import MULTILABEL
from tltools.tickets import QuietTicket

SAYINGS = {
    "food": ["the soup was rich and warm", "we baked bread with olives", "a plate of noodles and pepper"],
    "music": ["the choir sang for an hour", "her violin was out of tune", "they played drums all night"],
    "sport": ["our team lost the last match", "he ran the marathon in the rain", "the goalkeeper saved a penalty"],
    "travel": ["the train crossed the border", "we missed the flight home", "a hotel near the harbour"],
}
SHORT = {"epochs": 1, "min_steps": 0, "batch_size": 16, "rates_tried": 1}


def texts(rows: int, seed: int = 0, between: str = " ; ") -> pd.DataFrame:
    """Texts about none to three of four topics; `topics` has the labels of each, `text` a sentence for each."""
    random, made = np.random.default_rng(seed), []
    for _ in range(rows):
        chosen = random.permutation(list(SAYINGS))[: random.choice([1, 2, 3], p=[0.4, 0.4, 0.2])]
        said = [str(random.choice(SAYINGS[topic])) for topic in chosen]
        made.append((f"Note {random.integers(9999)}: " + ", and ".join(said) + ".", between.join(chosen)))
    return pd.DataFrame(made, columns=["text", "topics"])


def truth_and_outputs(seed: int, rows: int = 60, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = (random.random((rows, labels)) < np.linspace(0.1, 0.6, labels)).astype(np.uint8)
    outputs = MULTILABEL.decode(random.normal(size=(rows, labels)) + 1.5 * truth - 0.5)
    return truth, outputs.round(1).clip(0.02, 0.98)  # with ties


# --- cells ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["|", ";", ", ", " | "])
def test_cells_with_several_labels_are_recognised_whatever_separates_them(between: str) -> None:
    cells = texts(80, between=between)["topics"]
    assert label_sets.labels_in(cells) == 4
    stored = label_sets.written(cells)
    assert MULTILABEL.classes(stored) == ("food", "music", "sport", "travel")
    assert label_sets.written(stored).equals(stored)
    wanted = [sorted(one.strip() for one in cell.split(between.strip())) for cell in cells]
    assert [one.split("|") for one in stored] == wanted


def test_cells_that_only_look_like_several_labels_are_not_taken_for_them() -> None:
    random = np.random.default_rng(0)
    names = [f"{random.choice(list('ABCDEFGH'))}, {random.choice(['John', 'Ann', 'Kim'])}" for _ in range(90)]
    plain = [str(random.choice(["cat", "dog", "fish"])) for _ in range(90)]
    prose = [f"{a}, which {b}." for a, b in zip(texts(90)["text"], texts(90, 1)["text"], strict=True)]
    for cells in (names, plain, prose):
        assert label_sets.labels_in(pd.Series(cells, dtype="str")) == 0


@given(some.lists(some.sets(some.sampled_from(["a", "b c", "d,e", "ü"])), min_size=1, max_size=30))
def test_truth_comes_back_as_it_was_written(sets: list[set[str]]) -> None:
    names = ("a", "b c", "d,e", "ü")
    truth = np.array([[name in row for name in names] for row in sets], np.uint8)
    cells = pd.Series(MULTILABEL.several.cells(truth, names), dtype="str")  # type: ignore[union-attr]
    assert np.array_equal(MULTILABEL.encode(cells, names), truth)


def test_columns_of_zeros_and_ones_are_joined_and_other_columns_refused() -> None:
    table = pd.DataFrame({"t": ["x", "y", "z"], "a": [1.0, 0.0, np.nan], "b": ["x", None, "x"], "c": ["0", "1", "3"]})
    made = label_sets.joined(table, "a,b")
    assert list(made) == ["t", "c", "a,b"] and made["a,b"].tolist()[:2] == ["a|b", ""] and made["a,b"].isna()[2]
    with pytest.raises(Refusal, match="must hold 0 or 1"):
        label_sets.joined(table, "a,c")
    assert label_sets.joined(table, "a") is table and label_sets.joined(table, "a,unknown") is table


# --- scores ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(some.integers(0, 10_000))
def test_metrics_equal_scikit_learn(seed: int) -> None:
    truth, outputs = truth_and_outputs(seed)
    assume(truth.any(axis=0).all())  # a label without rows counts nowhere here, but as 0 there
    said = outputs >= 0.5
    expected = {
        "map": sk.average_precision_score(truth, outputs, average="macro"),
        "macro_f1": sk.f1_score(truth, said, average="macro"),
        "jaccard": sk.jaccard_score(truth, said, average="samples", zero_division=1),
        "log_loss": np.mean([sk.log_loss(t, p, labels=[0, 1]) for t, p in zip(truth.T, outputs.T, strict=True)]),
    }
    for metric in MULTILABEL.metrics:
        assert metric.score(truth, outputs) == pytest.approx(expected[metric.key], abs=1e-6), metric.key
        values = (metric.influence or metric.per_row)(truth, outputs)  # type: ignore[misc]
        assert values.mean() == pytest.approx((1 if metric.higher_is_better else -1) * expected[metric.key], abs=1e-6)


def test_a_label_without_rows_counts_nowhere_and_no_label_at_all_is_no_score() -> None:
    truth, outputs = truth_and_outputs(1)
    more = np.hstack([truth, np.zeros((len(truth), 1), np.uint8)]), np.hstack([outputs, np.full((len(truth), 1), 0.1)])
    for score in (scores.mean_average_precision, scores.macro_f1):
        assert score(*more) == pytest.approx(score(truth, outputs))
    assert np.isnan(scores.average_precision(*more)[-1]) and np.isnan(scores.f1_per_label(*more)[-1])
    none = np.zeros_like(truth)
    assert np.isnan(scores.mean_average_precision(none, outputs))
    assert np.isnan(scores.mean_average_precision_influence(none, outputs)).all()
    assert "no row with a label" in scores.no_label(none) and not scores.no_label(truth)


def test_one_row_of_a_label_flatters_a_model_that_knows_nothing() -> None:
    rows = 40
    found = [scores.mean_average_precision(np.eye(rows)[:, [k]], np.arange(rows)[:, None]) for k in range(rows)]
    assert np.mean(found) == pytest.approx((1 / np.arange(1, rows + 1)).sum() / rows)
    assert np.mean(found) > 4 / rows


def test_the_influence_of_a_row_is_the_slope_of_the_score_in_its_weight() -> None:
    truth, outputs = truth_and_outputs(2, rows=40, labels=1)
    values = scores._label_influence(truth[:, 0] > 0, outputs[:, 0])
    step, n, score = 1e-5, int(truth.sum()), scores.mean_average_precision(truth, outputs)
    for row in range(40):
        weights = np.ones(40)
        weights[row] += step
        moved = sk.average_precision_score(truth[:, 0], outputs[:, 0], sample_weight=weights)
        slope = 40 * (moved - score) / step
        assert values[row] - score == pytest.approx(slope * np.sqrt(n / (n - 1)), abs=1e-3)


@pytest.mark.parametrize("key", ["map", "macro_f1"])
def test_the_spread_of_the_pseudo_values_is_the_sampling_error_of_the_score(key: str) -> None:
    metric = next(one for one in MULTILABEL.metrics if one.key == key)
    found, said = [], []
    for seed in range(300):
        pair = truth_and_outputs(seed, rows=200)
        found.append(metric.score(*pair))
        values = metric.influence(*pair)  # type: ignore[misc]
        said.append(values.var(ddof=1) / len(values))
    assert np.sqrt(np.mean(said)) == pytest.approx(np.std(found), rel=0.15)


def test_a_row_not_seen_could_move_a_mean_over_labels_as_one_over_classes() -> None:
    known, truth = {metric.key: metric for metric in MULTILABEL.metrics}, np.zeros((20, 3), np.uint8)
    truth[:5, 0] = truth[::2, 1] = 1  # five rows and ten; none has the third
    expected = np.sqrt(((20 / (2 * 5)) ** 2 + (20 / (2 * 10)) ** 2) / 2)
    for key, scale in {"map": expected, "macro_f1": expected, "jaccard": None, "log_loss": None}.items():
        found = scale_of(known[key], truth, 0)
        assert found == pytest.approx(scale) if scale else found is None
    assert scale_of(known["macro_f1"], np.zeros_like(truth), 0) is None


def test_rows_are_split_by_their_rarest_label() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 0, 1]], np.uint8)
    assert splits.strata(truth).tolist() == [1, 0, 3, 2, 2]
    parts = splits.record("d", splits.Parts(np.arange(3), np.arange(1), np.arange(1), ""), seed=0, grouped_by=None)
    with pytest.raises(Refusal, match="one class each"):
        splits.draw(parts, truth, per_class=2, draw=0, seed=0)


# --- heads ----------------------------------------------------------------------------------------------------------


def test_probabilities_of_the_closed_form_head_are_calibrated_for_each_label() -> None:
    random = np.random.default_rng(0)
    x, mix = random.normal(size=(1200, 8)), random.normal(size=(8, 3))
    chance = MULTILABEL.decode(x @ mix + np.array([-3.0, 0.0, 1.0]))
    truth = (random.random(chance.shape) < chance).astype(np.uint8)
    head = label_heads.ridge_labels(x[:600], truth[:600])
    outputs = head.outputs(x[600:])
    assert np.abs(outputs - chance[600:]).mean() < 0.05
    assert np.abs(outputs.mean(0) - truth[600:].mean(0)).max() < 0.05
    rows, said = head.left_out() or (None, None)
    assert rows is not None and head.loo_score == pytest.approx(scores.mean_average_precision(truth[rows], said))
    weight, bias = head.logits()
    assert np.allclose(MULTILABEL.decode(x[600:] @ weight.T + bias), outputs, atol=1e-4)


def test_a_label_that_no_row_or_every_row_has_does_not_break_a_head() -> None:
    x = np.random.default_rng(0).normal(size=(30, 5))
    truth = np.stack([np.zeros(30), np.ones(30), x[:, 0] > 0], axis=1).astype(np.uint8)
    outputs = label_heads.ridge_labels(x, truth).outputs(x)
    assert outputs[:, 0].max() < 0.1 and outputs[:, 1].min() > 0.9
    assert ((outputs[:, 2] >= 0.5) == truth[:, 2]).mean() > 0.8
    assert np.isfinite(label_heads.ridge_labels(x, truth[:, :2]).outputs(x)).all()


# --- a study --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("multilabel")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    texts(140).to_csv(folder / "notes.csv", index=False)
    dataset = datasets.add(home, folder / "notes.csv")
    assert (dataset.task, dataset.target, dataset.inputs) == ("multilabel", "topics", ("text",))
    assert dataset.classes == tuple(sorted(SAYINGS))
    study = Study(
        dataset=dataset.id, sources=(source.id,), strategies=("linear_probe",),
        controls=({"scratch": SHORT}, "classical"), fractions=(0.5, 1.0), draws=2,
    )  # fmt: skip
    assert not [one for one in studies.check(home, study) if one.severity == "error"]
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def trial_of(ran: tuple[Home, Study], strategy: str) -> str:
    found = [one for one in studies.expand(*ran) if one.strategy == strategy and one.fraction == 1.0 and one.draw == 0]
    return found[0].id


def test_a_study_of_texts_is_judged_by_its_mean_average_precision(ran: tuple[Home, Study]) -> None:
    home, study = ran
    report = reports.load(home, studies.study_id(study))
    whole = {arm["strategy"]: arm["score"] for arm in report.arms if arm["fraction"] == 1.0}
    assert report.metric == "map" and whole["linear_probe"] > 0.9 > whole["scratch"]
    assert {row["fraction"] for row in report.verdicts} == {0.5, 1.0} and all(row["verdict"] for row in report.verdicts)
    profile = datasets.profile(home, study.dataset)
    assert profile.classes == texts(140)["topics"].str.split(" ; ").explode().value_counts().to_dict()


def test_screens_get_a_table_by_label_and_the_worst_rows(ran: tuple[Home, Study]) -> None:
    home, study = ran
    trial = trial_of(ran, "classical")
    table, worst = views.by_class(home, datasets.get(home, study.dataset), [trial]), views.worst_mistakes(home, [trial])
    assert sorted(table["label"]) == sorted(SAYINGS)
    assert table["average precision"].mean() == pytest.approx(reports.trial_card(home, trial)["metrics"]["map"])  # type: ignore[index]
    assert (worst["truth"] != worst["prediction"]).all() and worst["surprise"].is_monotonic_decreasing


@pytest.mark.parametrize("strategy", ["linear_probe", "scratch", "classical"])
def test_trials_predict_new_rows_and_leave_as_a_folder_that_says_the_same(
    ran: tuple[Home, Study], strategy: str, tmp_path: Path
) -> None:
    home, _ = ran
    ticket, trial = QuietTicket(home, open_store(home)), trial_of(ran, strategy)
    model = trial_model.load(home, trial)
    stored = model.stored()
    items = datasets.items(home, model.dataset, model.reads)
    again = model.outputs(trial_model.picked(items, stored["row"].to_numpy()))
    rounded = strategy != "classical" and replay._rounded(model)  # type: ignore[arg-type]
    apart = np.abs(again - stored[[f"p_{k}" for k in range(4)]].to_numpy()).max()
    assert apart < (2 * TOLERANCE["bfloat16"] if rounded else 1e-5)
    texts(5, seed=9).drop(columns="topics").to_csv(tmp_path / "new.csv", index=False)
    answer = predict.run(ticket, {"trial": trial, "file": str(tmp_path / "new.csv"), "out": str(tmp_path / "out.csv")})
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    for row, one in zip(answer["predictions"], table.to_dict("records"), strict=True):
        likely = [name for name, share in row["probabilities"].items() if share >= 0.5]
        assert row["prediction"] == one["prediction"] == "|".join(likely)
        assert one["p_food"] == pytest.approx(row["probabilities"]["food"], abs=1e-5)
    if strategy != "scratch":  # it leaves as the linear probe does, and to run its script takes seconds
        done = export.run(ticket, {"trial": trial, "to": str(tmp_path / "exported")})
        assert done["replay"]["agrees"] and done["replay"]["rows"] == len(stored), done["replay"]


def test_columns_of_zeros_and_ones_are_a_target_by_their_names(home: Home, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(80, 3)), columns=["u", "v", "w"])
    table["u"] = random.choice([-2, -1, 1, 2], 80)
    for name, column in (("hot", "u"), ("wet", "v"), ("new", "w")):
        table[name] = (table[column] > 0).astype(int)
    table.to_csv(tmp_path / "rows.csv", index=False)
    dataset = datasets.add(home, tmp_path / "rows.csv", target="hot,wet,new")
    assert (dataset.task, dataset.classes, dataset.inputs) == ("multilabel", ("hot", "new", "wet"), ("u", "v", "w"))
    assert np.array_equal(datasets.target(home, dataset)[:, 0], table["hot"])
    said = [one.sentence() for one in datasets.profile(home, dataset.id).problems]
    assert any('"u"' in one and 'tells the label "hot"' in one for one in said), said
    tuned = {"full_finetune": {**SHORT, "epochs": 15, "learning_rate": 1e-2, "head_rate": 1e-2}}
    study = Study(
        dataset=dataset.id, sources=("bundled/table-net",), strategies=(tuned,), controls=("classical",), draws=1
    )
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    for trial in studies.expand(home, study):
        assert reports.trial_card(home, trial.id)["metrics"]["map"] > 0.8, trial.strategy  # type: ignore[index]
        if trial.strategy == "classical":
            ticket = QuietTicket(home, open_store(home))
            done = export.run(ticket, {"trial": trial.id, "to": str(tmp_path / "exported")})
            assert done["replay"]["agrees"], done["replay"]


def test_a_word_that_gives_a_label_away_is_told(home: Home, tmp_path: Path) -> None:
    table = texts(120)
    table["text"] = np.where(table["topics"].str.contains("food"), "xfoodx " + table["text"], table["text"])
    table.to_csv(tmp_path / "told.csv", index=False)
    draft = datasets.inspect(home, tmp_path / "told.csv")
    assert [one.what for one in draft.profile.problems if "xfoodx" in one.what and '"food"' in one.what]


def test_a_row_of_no_label_can_be_written_as_the_advice_says(home: Home, tmp_path: Path) -> None:
    table = texts(60)
    table["topics"] = table["topics"].str.replace("|", ";")
    table.loc[:4, "topics"] = ""
    table.to_csv(tmp_path / "bare.csv", index=False)
    (lost,) = [one for one in datasets.inspect(home, tmp_path / "bare.csv").profile.problems if "left out" in one.what]
    assert 'where no label applies, write ";" alone' in lost.remedy
    table.loc[:4, "topics"] = ";"
    table.to_csv(tmp_path / "bare.csv", index=False)
    draft = datasets.inspect(home, tmp_path / "bare.csv")
    assert (draft.task, draft.rows) == ("multilabel", 60)
    assert any(one.what == "5 rows have no label at all." for one in draft.profile.problems)


def test_a_target_of_too_few_labels_is_refused(home: Home, tmp_path: Path) -> None:
    pd.DataFrame({"text": texts(20)["text"], "y": ["a"] * 18 + ["a|b", "b"]}).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(Refusal, match="at least two labels"):
        datasets.add(home, tmp_path / "few.csv", target="y", task="multilabel")
