"""The sample studies: what `demo` and the first page run, offline, within minutes."""

from __future__ import annotations

from dataclasses import dataclass

from tltools import samples, studies
from tltools.home import Home
from tltools.records import Job, Study
from tltools.store import Store


@dataclass(frozen=True)
class FirstStudy:
    """A sample study, saved and ready to be submitted; `first` must be run before it, to make its source."""

    key: str
    title: str
    study: Study
    first: Study | None = None


def text(home: Home) -> FirstStudy:
    """City desk: does MiniLM know which desk a message is for, and with how few labels?"""
    dataset = samples.add(home, "city-desk")
    study = Study(
        dataset=dataset.id,
        sources=("bundled/minilm-l6",),
        strategies=("linear_probe", "multilayer_probe", {"last_block": {"epochs": 6, "min_steps": 60}}),
        controls=({"scratch": {"epochs": 4, "min_steps": 40}}, "random_frozen", "classical"),
        per_class=(4, 8, 16),
        draws=3,
        name="City desk: does MiniLM help?",
    )
    return FirstStudy("text", "City desk (texts)", study)


def image(home: Home) -> FirstStudy:
    """Digits: a network that learnt 0 to 4 meets 5 to 9."""
    low, high = samples.add(home, "digits-low"), samples.add(home, "digits-high")
    training = {"learning_rate": 2e-3, "head_rate": 2e-3, "epochs": 12, "min_steps": 100, "batch_size": 32}
    first = Study(
        dataset=low.id,
        sources=("bundled/tiny-resnet",),
        strategies=({"full_finetune": training},),
        controls=("classical",),
        draws=2,
        name="Digits 0 to 4: the source task",
    )
    wanted = [trial for trial in studies.expand(home, first) if trial.kind == "transfer" and trial.draw == 0]
    short = {**training, "min_steps": 60, "batch_size": 16}
    study = Study(
        dataset=high.id,
        sources=(f"own/{wanted[0].id}",),
        strategies=("linear_probe", "multilayer_probe", {"full_finetune": short}),
        controls=({"scratch": short}, "random_frozen", "classical"),
        per_class=(4, 8, 16, 32),
        draws=4,
        name="Digits 5 to 9: does knowing 0 to 4 help?",
    )
    return FirstStudy("image", "Digits (images)", study, first)


KEYS = {"text": text, "image": image}


def submit(home: Home, store: Store, key: str) -> tuple[str, Job]:
    """Queues a sample study; returns its id and the job. Its source study, where it has one, runs in the same job."""
    made = KEYS[key](home)
    study_id = studies.save(home, made.study)
    payload: dict[str, object] = {"study": study_id}
    if made.first is not None:
        payload["first"] = [studies.save(home, made.first)]
    return study_id, store.submit("study", payload, title=made.study.name or made.title, key=study_id)
