"""Sources that write as they were pre-trained: read as they were published, taught, and made again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import shapes
from tests.hub_server import Hub, serving
from tests.test_tasks import dataset
from tests.text_models import MODELS, save
from tests.texts import pairs
from tltools import datasets, own_weights, reports, sources, studies
from tltools.engine import generators, layouts, outcomes, predict, text_backbone, trial_model, written
from tltools.engine import study as engine
from tltools.engine.backbone import load_backbone
from tltools.engine.pieces import LONGEST, NONE, rows_of
from tltools.engine.text_backbone import TextBackbone
from tltools.engine.writers import TAUGHT, Writer, wording, writer, writer_of
from tltools.home import Home, open_home
from tltools.providers.huggingface import from_config
from tltools.records import Refusal, Source, Study
from tltools.store import open_store
from tltools.strategies import Layout, Recipe
from tltools.tasks import tasks
from tltools.tickets import QuietTicket

TABLE = pairs(60, 1, longest=4).rename(columns={"text": "en", "other": "de"})
TEXTS = [*TABLE["en"], *TABLE["de"]]
TRANSLATED = dataset("translation").model_copy(update={"inputs": ("en",), "target": "de", "modality": "text"})
TASK = tasks()["translation"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save(kind, tmp_path_factory.mktemp(kind), TEXTS) for kind in MODELS}


def card_of(folder: Path) -> Source:
    return from_config(f"local/{folder.name}", "local", json.loads((folder / "config.json").read_text()), {})


def made(folder: Path, random: bool = False) -> TextBackbone:
    backbone = text_backbone.build(card_of(folder), folder, random)
    written.prepare(backbone, TASK, TRANSLATED)
    return backbone


def batch_of(backbone: TextBackbone, rows: int) -> dict[str, torch.Tensor]:
    return backbone.encode(TABLE["en"].tolist()[:rows]).take(np.arange(rows))


def new_writer(backbone: TextBackbone, longest: int = 9) -> Writer:
    return writer(backbone, wording(backbone, []), longest).eval()


@pytest.mark.parametrize("kind", MODELS)
def test_a_frozen_prefix_says_the_same_of_a_row_each_time(kind: str, folders: dict[str, Path]) -> None:
    backbone = text_backbone.build(card_of(folders[kind]).model_copy(update={"writes": False}), folders[kind], True)
    stages, batch = len(backbone.stages), batch_of(backbone, 3)
    model, deepest = layouts.Tuned(backbone, 2), max(i for i, ok in enumerate(backbone.resumable) if ok)
    for boundary in (deepest, stages):
        layout = Layout((0.0,) * boundary + (1e-3,) * (stages - boundary), 1e-3)
        layouts.set_modes(model, layout, Recipe(phases=(layout,)), 1)
        with torch.no_grad():  # a BART drops parts of its words outside of all its modules
            one, two = (backbone(batch) if boundary == stages else backbone.states(batch, boundary) for _ in range(2))
        assert torch.equal(one, two), boundary


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_is_the_likeliest_piece_each_time(kind: str, folders: dict[str, Path]) -> None:
    backbone = made(folders[kind])
    model, batch = new_writer(backbone), batch_of(backbone, 3)
    pieces = model.head.pieces
    with torch.inference_mode():
        texts = model.write(batch, 2)
        for row, text in enumerate(texts):
            alone = {
                name: value[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, value in batch.items()
            }
            said: list[int] = []
            for place in range(9):
                scores = model({**alone, TAUGHT: torch.tensor([[*said, 0]])})[0, -1]
                if pieces.pad != pieces.end:
                    scores[pieces.pad] = -torch.inf
                before = said if backbone.causal else [pieces.start, *said]
                for one, after in zip(before, before[1:], strict=False):
                    if before[-1] == one:
                        scores[after] = -torch.inf  # a pair is never written twice
                first = pieces.first if place == 0 and pieces.first is not None else int(scores.argmax())
                if first == pieces.end:
                    break
                said.append(first)
            assert pieces.text(said) == text


@pytest.mark.parametrize("kind", MODELS)
def test_references_that_are_taught_are_written_and_the_source_stays_as_it_was(
    kind: str, folders: dict[str, Path]
) -> None:
    backbone = made(folders[kind])
    before = {name: value.clone() for name, value in generators.whole(made(folders[kind])).state_dict().items()}
    references = TABLE["de"].tolist()[:4]
    pieces = wording(backbone, [])
    wanted = torch.from_numpy(rows_of(pieces, references, np.arange(4)))
    assert (wanted != NONE).sum(1).max() == wanted.shape[1] < LONGEST
    torch.manual_seed(0)
    model = writer(backbone.twin(), pieces, wanted.shape[1])
    batch, optimiser = batch_of(backbone, 4), torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(150):
        loss = TASK.loss(model({**batch, TAUGHT: wanted}), wanted, {}).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert TASK.decode(np.array(model.eval().write(batch, 0), object)).tolist() == references
    tensors = {name.removeprefix("head."): torch.from_numpy(value) for name, value in outcomes.of_head(model).items()}
    again = backbone.twin()
    again.core.load_state_dict(model.backbone.core.state_dict())
    assert writer_of(again, tensors).eval().write(batch, 0) == model.write(batch, 0)
    after = generators.whole(backbone).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_table_of_words_that_encoder_and_decoder_share_is_kept_and_moved_once(folders: dict[str, Path]) -> None:
    model = new_writer(made(folders["t5"]))
    layout = Layout(rates=(1e-3,) * len(model.backbone.stages), head=1e-3)
    optimiser = layouts.arrange(model, layout, Recipe(phases=(layout,)), 1.0, 0)
    moved = [id(parameter) for group in optimiser.param_groups for parameter in group["params"]]
    assert len(moved) == len(set(moved)) == sum(1 for _ in model.parameters())
    assert not [name for name in outcomes.of_head(model) if "shared" in name or "embed_tokens" in name]


def test_a_model_that_cannot_write_as_it_was_published_says_why(folders: dict[str, Path], tmp_path: Path) -> None:
    config = json.loads((folders["bart"] / "config.json").read_text())
    assert not from_config("local/x", "local", config | {"architectures": ["BartModel"]}, {}).writes
    assert from_config("local/x", "local", config, {}).writes
    pictures = {**config, "model_type": "vit", "is_encoder_decoder": False, "image_size": 32}
    assert not from_config("local/x", "local", pictures, {}).writes
    short = save("gpt2", tmp_path / "short", TEXTS, n_positions=136)
    with pytest.raises(Refusal, match="reads 136 tokens, too few beside the 128 that are written"):
        made(short)
    classified = sources.serving(
        card_of(folders["gpt2"]), dataset("classification").model_copy(update={"modality": "text"})
    )
    assert not classified.writes, "for other tasks it is a backbone as any other"


def test_languages_come_from_the_names_of_columns(folders: dict[str, Path]) -> None:
    backbone = made(folders["mbart"])
    assert (backbone.tokenizer.src_lang, backbone.tokenizer.tgt_lang) == ("en_XX", "de_DE")
    german = backbone.tokenizer.lang_code_to_id["de_DE"]
    model = new_writer(backbone)
    assert model.head.pieces.start == german and model.head.pieces.first is None
    batch = batch_of(backbone, 1)
    assert batch["input_ids"][0, -1] == backbone.tokenizer.lang_code_to_id["en_XX"]
    other = text_backbone.build(card_of(folders["mbart"]), folders["mbart"], False)
    with pytest.raises(Refusal, match="must be told both languages; got the columns 'en' and 'other'"):
        written.prepare(other, TASK, TRANSLATED.model_copy(update={"target": "other"}))
    written.prepare(other, tasks()["summarisation"], TRANSLATED.model_copy(update={"target": "other"}))
    assert other.tokenizer.tgt_lang == "en_XX"


def test_prefixes_and_prompts_stand_around_each_text(folders: dict[str, Path], tmp_path: Path) -> None:
    prefixes = {"translation_en_to_de": {"prefix": "moon: "}, "summarization": {"prefix": "sun: "}}
    folder = save("t5", tmp_path / "t5", TEXTS, task_specific_params=prefixes)
    for key, before in (("translation", "moon: "), ("summarisation", "sun: ")):
        backbone = text_backbone.build(card_of(folder), folder, False)
        written.prepare(backbone, tasks()[key], TRANSLATED)
        told = backbone.encode(["river"]).take(np.arange(1))["input_ids"][0]
        assert told.tolist() == backbone.tokenizer(f"{before}river")["input_ids"]
    backbone = made(folders["gpt2"])
    long = backbone.encode(["river " * 400]).take(np.arange(1))["input_ids"][0].tolist()
    assert len(long) == backbone.limit == 128 and long[-len(backbone.after) :] == list(backbone.after)
    assert backbone.tokenizer.decode(backbone.after) == " ="


def test_a_marian_folder_is_read_with_its_two_tables_of_pieces(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="Marian's tokenizer needs it")
    from transformers import MarianTokenizer

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    for name in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(tmp_path / "texts.txt"), model_prefix=str(tmp_path / name), vocab_size=48, minloglevel=2
        )
        (tmp_path / f"{name}.model").rename(tmp_path / f"{name}.spm")
    words = [line.split("\t")[0] for line in (tmp_path / "source.vocab").read_text().splitlines()]
    names = dict.fromkeys(["</s>", "<unk>", *(word for word in words if word[0] != "<"), "<pad>"])
    (tmp_path / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(names)}))
    own = MarianTokenizer(*(str(tmp_path / name) for name in ("source.spm", "target.spm", "vocab.json")))
    folder = save("marian", tmp_path / "marian", TEXTS, made=own)
    kept = own_weights.files(folder)
    assert {"source.spm", "target.spm", "vocab.json"} <= {path.name for path in kept}
    backbone = made(folder)
    pieces = wording(backbone, [])
    (ids,) = pieces.cut([TEXTS[-1]])
    assert pieces.text(ids) == TEXTS[-1] and ids[-1] == own.eos_token_id
    assert len(new_writer(backbone).write(batch_of(backbone, 2), 0)) == 2


# --- studies ---

KNOBS = {"epochs": 1, "min_steps": 0, "batch_size": 16, "rates_tried": 1}
TAUGHT_LONG = KNOBS | {"epochs": 12, "batch_size": 8, "learning_rate": 5e-3, "head_rate": 5e-3, "patience": 0}
Ran = tuple[Home, Study]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Ran:
    folder = tmp_path_factory.mktemp("writing")
    home = open_home(folder / "home")
    TABLE.to_csv(folder / "pairs.csv", index=False)
    data = datasets.add(home, folder / "pairs.csv", target="de")
    added = [sources.add(home, folders[kind], name=kind).id for kind in ("t5", "gpt2")]
    study = Study(
        dataset=data.id, sources=tuple(added),
        strategies=("linear_probe", {"full_finetune": TAUGHT_LONG}, {"lora": KNOBS}),
        controls=({"scratch": KNOBS}, "random_frozen", "classical"), fractions=(1.0,), draws=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # a few steps do: what is learned is not judged here
        patch.setattr(written, "FROZEN", replace(written.FROZEN, epochs=1, min_steps=0))
        engine.run_one(QuietTicket(home, open_store(home)), studies.save(home, study))
    return home, study


def test_every_arm_of_sources_that_write_is_judged_beside_the_same_controls(ran: Ran) -> None:
    home, study = ran
    report = reports.load(home, studies.study_id(study))
    arms = {(arm["source"], arm["strategy"]) for arm in report.arms}
    strategies = {"linear_probe", "full_finetune", "lora", "scratch", "random_frozen"}
    assert arms == {(source, one) for source in study.sources for one in strategies} | {("none", "classical")}
    assert not [one for one in report.problems if one.severity == "error"]
    for trial in studies.expand(home, study):
        card = trial_model.card_of(home, trial.id)
        if trial.source != "none":
            assert card["decoder_from"] == ("nothing" if trial.kind == "control" else "the source")


def test_models_that_were_sealed_write_what_they_wrote_and_new_texts(ran: Ran) -> None:
    home, study = ran
    items = datasets.items(home, datasets.get(home, study.dataset), "text")
    for trial in studies.expand(home, study):
        model = trial_model.load(home, trial.id)
        stored = model.stored()
        same = model.outputs([items[row] for row in stored["row"]]) == stored["prediction"]
        assert same.mean() >= (0.9 if trial.strategy == "lora" else 1.0), trial.strategy  # merging rounds
    found = predict.run(QuietTicket(home, open_store(home)), {"trial": trial.id, "items": ["sun moon"]})
    assert len(found["predictions"]) == 1


def test_exported_folders_write_the_same_texts_alone(ran: Ran, tmp_path: Path) -> None:
    home, study = ran
    ticket = QuietTicket(home, open_store(home))
    for source, table in zip(study.sources, ("shared.weight", "lm_head.weight"), strict=True):
        trial = next(
            one for one in studies.expand(home, study) if (one.source, one.strategy) == (source, "full_finetune")
        )
        shapes.exported(ticket, trial.id, tmp_path / table / "model", 86, table)


def test_adapters_stand_in_the_decoder_too_which_is_frozen_otherwise(ran: Ran) -> None:
    home, study = ran
    model = new_writer(made(home.sources / "local" / "t5"))
    numbers = 0
    for part in (model.backbone.core, model.head):
        for name, module in part.named_modules():
            if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head"):
                numbers += 8 * sum(module.weight.shape)  # two matrices of rank 8
    trial = next(one for one in studies.expand(home, study) if (one.source, one.strategy) == ("local/t5", "lora"))
    assert trial_model.card_of(home, trial.id)["trainable_parameters"] == numbers


def test_a_trial_as_a_source_brings_what_its_decoder_learned(ran: Ran) -> None:
    home, study = ran
    for source_id in study.sources:
        trial = next(
            one for one in studies.expand(home, study) if (one.source, one.strategy) == (source_id, "full_finetune")
        )
        own = sources.get(home, f"own/{trial.id}", datasets.get(home, study.dataset))
        taught, first = trial_model.load(home, trial.id), load_backbone(home, own)
        assert own.writes and isinstance(first, TextBackbone) and isinstance(taught, trial_model.WriterModel)
        wanted = generators.whole(taught.model.backbone).state_dict()  # type: ignore[arg-type]
        assert all(torch.equal(value, wanted[name]) for name, value in generators.whole(first).state_dict().items())


@pytest.mark.parametrize("kind", MODELS)
def test_a_source_that_writes_comes_from_a_hub(
    kind: str, home: Home, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub({"lab/tiny": folders[kind]})) as hub:
        online = replace(home, offline=False, hub=hub.url)
        source = sources.get(online, "hf/lab/tiny")
        assert source.writes and source.architecture == kind
        backbone = load_backbone(online, source)
    assert isinstance(backbone, TextBackbone)
    wanted, got = made(folders[kind]).generator[0].state_dict(), backbone.generator[0].state_dict()
    assert wanted.keys() == got.keys() and all(torch.equal(wanted[name], got[name]) for name in wanted)
