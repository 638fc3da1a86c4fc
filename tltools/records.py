"""The records that travel between the floors: frozen, typed, JSON-clean, and refused when a field is unknown."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
VerdictWord = Literal["positive", "negative", "neutral", "leaning_positive", "leaning_negative", "not_enough_evidence"]
FailureType = Literal["out_of_memory", "disk_full", "bad_data", "download", "cancelled", "crashed", "bug"]
LISTS = ("fractions", "per_class", "sources", "strategies", "controls", "sensitive", "inputs")  # one is a list of one


def plain_name(name: str | os.PathLike[str]) -> str:
    """A name as people see it: where its bytes are no UTF-8, "�", because neither stores nor screens take them."""
    return re.sub("[\ud800-\udfff]", "�", os.fspath(name))


Words = Annotated[str, BeforeValidator(plain_name)]


class Record(BaseModel):
    """A frozen value; `model_copy(update=...)` makes a changed one."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Record):
    """One thing that is wrong or worth knowing: where it is, what it is, and what to do."""

    severity: Literal["error", "warning", "note"]
    where: Words  # file, row, column, field: "reviews.csv, line 14"
    what: Words  # one sentence: what must be, what was got
    remedy: Words  # one sentence: what to do

    def sentence(self) -> str:
        return f"{self.where}: {self.what} {self.remedy}".strip()


class Refusal(ValueError):
    """A request that is refused; carries every problem found, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(problem.sentence() for problem in problems))
        self.problems = problems


def refuse(where: str, what: str, remedy: str) -> Refusal:
    """Makes a refusal of one problem: `raise refuse("epochs", "must be from 1 to 500; got 0.", "Set 20.")`."""
    return Refusal(Problem(severity="error", where=where, what=what, remedy=remedy))


class Column(Record):
    """What is known of one column of a table."""

    name: str
    kind: Literal["number", "category", "text", "date", "id", "constant", "image", "audio", "sequence"]
    missing: int
    distinct: int
    labels: int = 0  # of which its cells are made, where they plainly hold several
    brevity: float = 0.0  # of free texts that nearly all differ: words for each word of the row's longest other text
    copied: float = 0.0  # of them: the share of their words that this other text has, too
    examples: tuple[str, ...] = ()
    minimum: float | None = None
    mean: float | None = None
    maximum: float | None = None


class Skipped(Record):
    """A file or row that was not taken, and why."""

    where: Words
    reason: Words


class Profile(Record):
    """What a dataset looks like: computed once at ingest, shown on the dataset screen."""

    rows: int
    columns: tuple[Column, ...]
    classes: dict[str, int] = {}  # class name -> rows, boxes or entities, most frequent first; empty for regression
    numbers: dict[str, float] = {}  # e.g. "words_median", "width_median", "target_mean"
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    inference: tuple[str, ...] = ()  # sentences: why this modality, target, task, delimiter, encoding


class Dataset(Record):
    """A dataset that is stored, complete and never edited; a change makes another one."""

    id: str  # first 16 hex digits of the fingerprint
    fingerprint: str  # sha256 of rows, media, target, inputs, task
    name: str
    modality: str  # key of a plugin in modalities/
    task: str  # key of a plugin in tasks/
    target: str  # column name
    inputs: tuple[str, ...]  # column names that are read
    classes: tuple[str, ...] = ()  # class names in code order (sorted); empty for regression
    rows: int
    parts: dict[str, int] = {}  # rows by user-supplied part: "train", "validation", "test"; "" = undecided
    origin: str = ""  # path or sample name, for people
    created: datetime
    reading: dict[str, float] = {}  # how its rows are read, where that is chosen from its data (spectrograms, k-mers)
    parent: str | None = None  # dataset id that this one is a version of


class Split(Record):
    """Row numbers of one dataset, locked into parts."""

    id: str  # 16 hex digits: hash of the three parts
    dataset: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    seed: int
    grouped_by: str | None  # column name, "duplicates", or None
    note: str  # one sentence on how it was made


class Source(Record):
    """A source model's card: what it is, what it reads, where it comes from."""

    id: str  # "bundled/minilm-l6", "timm/resnet18.a1_in1k", "hf/org/name", "local/name", "own/<trial>"
    name: str
    provider: str  # key of a plugin in providers/
    reads: Literal["text", "image", "tabular", "audio", "frames"]  # "frames": a text transformer behind a new layer
    answers: str | None = None  # key of the one task that it serves, as a whole, by the head it brings; None: any
    classifies: bool = False  # True: its transformers checkpoint brings a classifier; asked for it, a card `answers`
    family: Literal["transformers", "timm", "tabular"]  # which engine builder makes the module
    architecture: str  # timm architecture name, transformers model_type, or "table-net"
    pretrained: bool = True  # False: an untrained network, to pre-train on a source task of one's own
    installed: bool = False  # True: the weights lie on this machine
    parameters: int | None = None
    megabytes: float | None = None
    image_size: int | None = None  # pixels, square
    mean: tuple[float, float, float] | None = None  # per channel, of pixels scaled to 0..1
    std: tuple[float, float, float] | None = None
    max_length: int | None = None  # tokens that it was made for
    positions: int | None = None  # of tokens, that its network has; None: as many as max_length
    sampling_rate: int | None = None  # of sounds, samples a second
    seconds: float | None = None  # of a sound that are read; None: any length
    languages: tuple[str, ...] = ()
    writes: bool = False  # True: it writes texts as it was pre-trained; of a card that serves a dataset: there, too
    pretraining: str = "not known"  # data and task, one phrase
    classes_seen: tuple[str, ...] = ()  # class names of the source task, where known; of a classifier, by output
    licence: str = "not stated"
    bias: str = "Not documented by its authors; check per-group results."
    released: int | None = None  # year
    revision: str | None = None  # commit of the hub repository
    sha256: str | None = None  # of the weights file
    trained_on: str | None = None  # dataset id, for own/ sources
    options: dict[str, Any] = {}  # extra arguments of the builder (timm: pad_type, bn_eps)
    task: str | None = None  # key of the source task, for own/ sources
    strategy: str | None = None  # key of the strategy that tuned it, for own/ sources
    columns: dict[str, str] = {}  # own/ tables, for a dataset: its column -> the source's that it takes over from
    continues: bool = False  # for a dataset: of the same task (own/) or a classifier, and no class is new to it


class Number(Record):
    """A numeric knob; `integer` knobs take whole numbers only."""

    kind: Literal["number"] = "number"
    key: str
    title: str
    default: float
    instead: dict[Literal["convolutional", "tables", "anew"], float] = {}  # defaults where another is better: for image
    # networks with batch norms, for networks of tables, and for heads that start anew for want of a closed form
    low: float
    high: float
    integer: bool = False
    logarithmic: bool = False
    help: str


class Choice(Record):
    """A knob with named options."""

    kind: Literal["choice"] = "choice"
    key: str
    title: str
    default: str
    options: tuple[str, ...]
    help: str


class Switch(Record):
    """An on/off knob."""

    kind: Literal["switch"] = "switch"
    key: str
    title: str
    default: bool
    help: str


Knob = Number | Choice | Switch


class Budget(Record):
    minutes: float | None = Field(default=None, gt=0, le=10_000)  # None: no time limit
    cache_gb: float = Field(default=4.0, gt=0, le=10_000)


class Folds(Record):
    repeats: int = Field(default=5, ge=1, le=20)
    k: int = Field(default=5, ge=2, le=20)


class Study(Record):
    """One comparison, as the study file (YAML) says it; README.md lists the fields."""

    dataset: str  # dataset id, or a path before it is added
    test: str | None = None
    target: str | None = None
    inputs: tuple[str, ...] | None = None
    task: str | None = None
    sources: tuple[str, ...] = ()
    strategies: tuple[str | dict[str, dict[str, Any]], ...] = ()
    controls: tuple[str | dict[str, dict[str, Any]], ...] = ("scratch", "random_frozen", "classical")
    fractions: tuple[float, ...] = (1.0,)
    per_class: tuple[int, ...] | None = None
    draws: int = 5
    folds: Folds | None = None  # instead of draws and a locked test part: repeated k-fold cross-validation
    adaptive: bool = False  # arms stop before the last draw once they are decided
    metric: str | None = None  # None: the task's default
    margin: float = 0.01
    group: str | None = None
    sensitive: tuple[str, ...] = ()
    columns: dict[str, dict[str, str | None]] = {}  # own/ table -> changes to the matches: column -> its, or none
    budget: Budget = Budget()
    seed: int = 0
    name: str | None = None

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (str, int, float, dict)) else value


class Trial(Record):
    """One arm x one share of the labels x one draw; its id is a hash of everything that decides its outcome."""

    id: str  # 16 hex digits
    study: str
    dataset: str
    split: str
    source: str  # source id, or "none" for the classical control
    strategy: str
    kind: Literal["transfer", "control"]
    knobs: dict[str, Any]  # complete: defaults filled in
    fraction: float | None  # exactly one of fraction and per_class is set
    per_class: int | None
    draw: int  # or the number of its fold, over all repeats
    seed: int


class Failure(Record):
    type: FailureType
    what: Words  # one sentence
    remedy: Words  # one sentence
    detail: Words = ""  # traceback, for the copyable diagnostics


class Progress(Record):
    stage: str = ""  # "reading features", "training"
    done: int = 0
    total: int = 0
    eta_seconds: float | None = None
    numbers: dict[str, float] = {}  # step, loss, memory_mb, rows_per_second ...
    note: str = ""


class Job(Record):
    id: str
    kind: str  # "study", "ingest", "rank", "measure", "predict", "explain", "export"
    payload: dict[str, Any]
    state: JobState
    attempt: int
    title: str
    progress: Progress = Progress()
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    cancel_asked: bool = False
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None


class Event(Record):
    """One line of a job's `events.jsonl`: what happened, for curves and logs."""

    at: datetime
    what: str  # "epoch", "trial_sealed", "sweep", "note"
    trial: str | None = None
    numbers: dict[str, float] = {}
    note: str = ""


class Verdict(Record):
    """A paired comparison of a transfer arm with a control, in units of the metric; gain > 0: transfer is better."""

    verdict: VerdictWord
    gain: float
    low: float  # 95 % interval
    high: float
    p_better: float  # P(gain > margin)
    p_equivalent: float  # P(|gain| <= margin)
    p_worse: float  # P(gain < -margin)
    mde: float  # minimum detectable effect at 80 % power, in units of the metric
    needed: str = ""  # what it would take to decide, "" when decided
    needed_rows: int | None = None  # test rows that would decide with the draws as they are, None when decided
    needed_draws: int | None = None  # draws that would, with the test rows as they are
    margin: float
    draws: int
    rows: int
    df: float | None = None
    method: str = "t"


class Report(Record):
    """The judged study: exactly the document of `report --json` (README.md), plus what screens need."""

    study: str
    task: str
    metric: str
    margin: float
    rows: dict[str, int]  # of each part; of a cross-validation, of its first fold
    folds: Folds | None = None
    arms: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]
    labels_saved: tuple[dict[str, Any], ...] = ()
    twins: tuple[dict[str, Any], ...] = ()  # arms that differ in their settings alone, against the usual ones
    other_metrics: tuple[dict[str, Any], ...] = ()  # the verdicts again, by the other metrics of the task
    ranking: tuple[dict[str, Any], ...] = ()
    groups: tuple[dict[str, Any], ...] = ()
    cost: dict[str, Any] = {}
    problems: tuple[Problem, ...] = ()
    headline: str = ""  # one sentence for people
    sentences: tuple[str, ...] = ()  # what else a reader should know, most important first
    name: str = ""
    dataset: dict[str, Any] = {}
    study_file: str = ""  # the YAML
    curves: tuple[dict[str, Any], ...] = ()  # learning curves: {"trial", "epoch", "train_loss", "validation_loss"}
    created: datetime | None = None
    whole: bool = True  # False: a look while the study ran, see `reports.judge`
    environment: dict[str, str] = {}
