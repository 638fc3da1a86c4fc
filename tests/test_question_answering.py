"""Question answering from SQuAD files to a verdict, and back to the words that answer new questions."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from tests import shapes
from tests.questions import written
from tltools import answers, datasets, overlays, places, reports, sources, studies
from tltools.answers import Said, Truth
from tltools.engine import classical_dense, export, predict, trial_model
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.home import Home, open_home
from tltools.records import Refusal, Study
from tltools.store import open_store
from tltools.tasks.question_answering import LONGEST, QUESTION_ANSWERING, decode, loss, tensors
from tltools.tickets import QuietTicket

F1, EXACT, ANSWERED = (metric for metric in QUESTION_ANSWERING.metrics)
TEXTS = some.text(alphabet="aA thetn.,'-“é1", max_size=14)


def official(accepted: list[str], told: str) -> tuple[float, float]:
    """(F1, exact match) of one question, written after evaluate-v2.0.py of SQuAD."""

    def normal(text: str) -> str:
        text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text, flags=re.UNICODE).split())

    def f1(gold: str, said: str) -> float:
        one, two = normal(gold).split(), normal(said).split()
        same = sum((Counter(one) & Counter(two)).values())
        if len(one) == 0 or len(two) == 0:
            return float(one == two)
        if same == 0:
            return 0.0
        precision, recall = same / len(two), same / len(one)
        return 2 * precision * recall / (precision + recall)

    known = [text for text in accepted if normal(text)] or [""]
    return max(f1(text, told) for text in known), max(float(normal(text) == normal(told)) for text in known)


@given(some.lists(TEXTS, max_size=3), TEXTS)
def test_f1_and_exact_match_are_those_of_squads_own_script(accepted: list[str], told: str) -> None:
    words = tuple(told.split()) or ("nothing",)
    truth = places.as_rows([Truth(words, (), tuple(accepted))])
    said = places.as_rows([Said((0, len(words)) if told.split() else None, 1.0)])
    wanted = official(accepted, " ".join(told.split()))
    assert (F1.score(truth, said), EXACT.score(truth, said)) == pytest.approx(wanted)


def test_metrics_are_means_of_their_rows_and_no_answer_is_one() -> None:
    words = ("Who", "?", "|", "It", "was", "built", "by", "the", "tall", "Ann", "Lee")
    truth = places.as_rows([Truth(words, ((9, 11),), ("Ann Lee",)), Truth(words, (), ()), Truth(words, (), ())])
    said = places.as_rows([Said((8, 10), 0.5), Said(None, 0.5), Said((3, 4), 0.5)])
    assert F1.per_row is not None and F1.per_row(truth, said).tolist() == [0.5, 1.0, 0.0]
    assert EXACT.score(truth, said) == pytest.approx(1 / 3) and ANSWERED.score(truth, said) == pytest.approx(2 / 3)


@given(some.integers(0, 10**6), some.integers(2, 45))
def test_the_best_span_is_found_as_by_trying_all(seed: int, words: int) -> None:
    raw = np.random.default_rng(seed).normal(size=(1, words, 2))
    pairs = [(i, j) for i in range(1, words) for j in range(i, min(i + LONGEST, words))]
    best = max(pairs, key=lambda pair: raw[0, pair[0], 0] + raw[0, pair[1], 1])
    (said,) = decode(raw)
    if raw[0, 0].sum() >= raw[0, best[0], 0] + raw[0, best[1], 1]:
        assert said.span is None
    else:
        assert said.span == (best[0], best[1] + 1)
    first, last = (0, 0) if said.span is None else best
    shares = np.exp(raw[0]) / np.exp(raw[0]).sum(0)
    assert said.score == pytest.approx(shares[first, 0] * shares[last, 1], abs=1e-5)


@given(some.lists(some.one_of(some.none(), some.tuples(some.integers(1, 5), some.integers(6, 9))), min_size=1))
def test_predictions_come_back_as_they_were_written(spans: list[tuple[int, int] | None]) -> None:
    words = ("who", "|", "a", "b", "é", "c", "d", '"e"', "f", "g")
    truth = places.as_rows([Truth(words, (span,) if span else (), ("x",) if span else ()) for span in spans])
    said = places.as_rows([Said(span, 0.12345) for span in spans])
    table = QUESTION_ANSWERING.frame(np.arange(len(spans)), truth, said, ())
    assert QUESTION_ANSWERING.dense is not None
    again = QUESTION_ANSWERING.dense.read_frame(table, ())
    assert [list(part) for part in again] == [list(truth), list(said)]


def test_only_words_of_the_context_are_said_and_what_was_not_read_is_no_answer(home: Home) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    before = backbone.preprocessing
    backbone.read_at(0, tokens=384, asked=True)
    assert backbone.limit == 256 and backbone.preprocessing != before  # as many as the source can
    texts = ["Who ? | Ann did", "Why was it ? | " + "word " * 300 + "end"]
    batch = backbone.encode(texts).take(np.array([0, 1]))
    raw = backbone.settled(torch.zeros(2, batch["starts"].shape[1], 2), batch)
    open_to = [[place for place in range(raw.shape[1]) if raw[row, place, 0] == 0] for row in (0, 1)]
    assert open_to[0] == [0, 3, 4] and open_to[1] == [0, *range(5, 5 + 256 - 7)]
    high = raw.clone()
    high[0, 2] += 9.0  # the separator: no score of the head opens it
    assert [said.span in (None, (3, 4), (3, 5), (4, 5)) for said in decode(high.numpy())][0]
    truth = [
        Truth(tuple(text.split(" ")), ((end - 1, end),), ("x",)) for text, end in zip(texts, (4, 306), strict=True)
    ]
    targets = torch.from_numpy(tensors(places.as_rows(truth), (2,)))
    each = loss(raw, targets, {})
    assert each.tolist() == pytest.approx([np.log(3), np.log(250)], rel=1e-3)
    assert loss(raw, targets, {"smoothing": 0.1}).tolist() == pytest.approx(each.tolist(), rel=1e-3)  # uniform already
    with pytest.raises(Refusal, match="must be a question"):
        backbone.encode(["Who did it?"])


def test_long_contexts_are_read_alike_and_train_without_dropout_of_attention(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(home, sources.get(home, "bundled/minilm-l6"))
    batch = backbone.encode(["Who ? | Ann did", "Why ? | It was so"]).take(np.array([0, 1]))
    before = backbone(batch)
    backbone.read_at(0, tokens=384, asked=True)
    assert torch.equal(backbone(batch), before)
    shares, attend = [], torch.nn.functional.scaled_dot_product_attention

    def watched(*args: Any, dropout_p: float = 0.0, **more: Any) -> torch.Tensor:
        shares.append(dropout_p)
        return attend(*args, dropout_p=dropout_p, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    trained = backbone.twin().train()
    assert not torch.equal(trained(batch), trained(batch))  # the dropout of states is there
    assert len(shares) == 12 and not any(shares)


def test_the_control_takes_the_likest_sentence_and_learns_when_to_be_silent() -> None:
    context = "Oslo lies in Norway. Rome was built by Romulus in spring. Dr. Lee saw it."
    texts = [
        answers.joined(asked, context) for asked in ("Who built Rome?", "In which land lies Oslo?", "What costs gas?")
    ]
    words = [tuple(text.split(" ")) for text in texts]
    truth = places.as_rows([Truth(words[0], ((8, 9),), ("Rome",)), Truth(words[1], ((6, 7),), ("Oslo",)),
                            Truth(words[2], (), ())])  # fmt: skip
    said, _ = classical_dense.likest_sentence(texts, truth, texts, 0)
    assert [answers.told(text, one) for text, one in zip(texts, said, strict=True)] == [
        "Rome was built by Romulus in spring.", "Oslo lies in Norway.", ""]  # fmt: skip
    said, _ = classical_dense.likest_sentence(texts[:2], truth[:2], texts, 0)
    assert all(one.span for one in said)


KNOBS = {"epochs": 10, "min_steps": 0, "batch_size": 16, "learning_rate": 7e-4, "rates_tried": 1, "patience": 0}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, short_minilm: Path) -> tuple[Home, Study]:
    folder = tmp_path_factory.mktemp("questions")
    home = open_home(folder / "home")
    source = sources.add(home, short_minilm, name="short")
    dataset = datasets.add(home, written(folder, 30, 1), test=written(folder, 12, 2, name="test.json"))
    study = Study(
        dataset=dataset.id, sources=(source.id,), strategies=({"full_finetune": KNOBS},),
        controls=("classical",), fractions=(1.0,), draws=1,
    )  # fmt: skip
    engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_a_study_of_questions_is_judged_and_answers_are_learned(ran: tuple[Home, Study]) -> None:
    home, study = ran
    dataset = datasets.get(home, study.dataset)
    assert (dataset.task, dataset.modality, dataset.inputs) == ("question_answering", "text", (answers.COLUMN,))
    report = reports.load(home, studies.save(home, study))
    assert report.metric == "answer_f1" and len(report.verdicts) == 1
    scores = {arm["strategy"]: arm["score"] for arm in report.arms}
    assert scores["full_finetune"] > 0.7 > scores["classical"] > 0.05
    page = reports.html(report, home)
    assert "The worst texts" in page and "<mark" in page


def test_new_questions_are_answered_as_the_stored_ones_were(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    tuned = next(trial for trial in studies.expand(home, study) if trial.kind == "transfer")
    stored = pd.read_parquet(home.trials / tuned.id / "predictions.parquet")
    rows = datasets.rows(home, study.dataset).loc[stored["row"], answers.COLUMN]
    again = trial_model.load(home, tuned.id).outputs(rows.tolist())
    assert [one.span for one in again] == [answers.said_of(cell).span for cell in stored["prediction"]]
    ticket = QuietTicket(home, open_store(home))
    text = "When was the mill built? | Nobody but Kim <b> wanted it. The mill is from 1831, they say."
    found = predict.run(ticket, {"trial": tuned.id, "items": [text]})
    assert found["predictions"][0]["answer"] == "1831,"
    html = overlays.marked(text, found["predictions"][0]["prediction"], ())
    assert html.startswith("<b>When was the mill built?</b>") and ">1831,</mark>" in html and "&lt;b&gt;" in html
    out = tmp_path / "out.csv"
    predict.run(ticket, {"trial": tuned.id, "file": str(written(tmp_path, 3, 3)), "out": str(out)})
    told = pd.read_csv(out, keep_default_na=False)
    assert len(told) == 6 and all(
        answer in text for answer, text in zip(told["answer"], told[answers.COLUMN], strict=True)
    )


def test_an_exported_folder_finds_the_same_answers_alone(ran: tuple[Home, Study], tmp_path: Path) -> None:
    home, study = ran
    trials = {trial.strategy: trial.id for trial in studies.expand(home, study) if trial.draw == 0}
    ticket = QuietTicket(home, open_store(home))
    shapes.exported(ticket, trials["full_finetune"], tmp_path / "model", 98)
    text = "When was the mill built? | Nobody but Kim <b> wanted it. The mill is from 1831, they say."
    pd.DataFrame({answers.COLUMN: [text]}).to_csv(tmp_path / "new.csv", index=False)
    shapes.alone(tmp_path / "model", tmp_path / "new.csv", tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["prediction"].tolist() == ["1831,"]
    plain = export.run(ticket, {"trial": trials["classical"], "to": str(tmp_path / "plain")})
    assert plain["replay"]["agrees"] and plain["replay"]["tolerance"] < 0.01 and "control.json" in plain["files"]


def test_no_answer_and_long_contexts_are_shown_so() -> None:
    text = answers.joined("Who?", " ".join(f"w{k}" for k in range(200)))
    assert overlays.marked(text, json.dumps({"answer": [], "score": 1.0}), ()).endswith("<i>No answer</i>")
    html = overlays.marked(text, json.dumps({"answer": [[100, 101]], "score": 1.0}), ())
    assert "… w58 " in html and " w138 …" in html and "w57" not in html and "w139" not in html
