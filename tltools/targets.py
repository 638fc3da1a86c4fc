"""What is to be predicted, from what, as which task: proposed with reasons, or checked where the user says it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from tltools import kmers, label_sets
from tltools.modalities import kinds_of_files, modalities
from tltools.records import Column, Problem
from tltools.tasks import tasks

_NAMES = (
    "label", "labels", "target", "class", "classes", "y", "category", "sentiment", "outcome", "diagnosis", "species",
    "is_fraud", "churn", "survived", "income", "price", "output", "result", "ground_truth", "gold", "gold_label",
    "tags", "topics", "genres",
)  # fmt: skip
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]\d{1,2}:\d{2}(:\d{2})?.*)?")
# "index" alone or of rows; "heat_index" is an amount
_ID_NAME = re.compile(
    r"(^|[_\s-])(id|uuid|guid|key|nr|row_?number|row_name)$|^((row|record|sample)[_\s-]?)?index$", re.IGNORECASE
)
_WRITTEN_NAMES = ("summary", "tldr", "headline", "title", "highlights", "abstract", "translation", "reference")
_NEARLY_ALL = 0.9  # share of the cells that differ where a text is written for each row, not chosen
_LOOKED_AT = 1000  # rows in which texts are compared
_WORD = re.compile(r"[぀-ヿ一-鿿가-힯]|[^\W぀-ヿ一-鿿가-힯]+")


@dataclass(frozen=True)
class Choice:
    """What was chosen and why; where something is missing, `problems` holds an error that says what."""

    target: str | None = None
    task: str | None = None
    modality: str | None = None
    inputs: tuple[str, ...] = ()
    inference: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=())


def describe(table: pd.DataFrame, files: Sequence[str] = (), joined: str | None = None) -> tuple[Column, ...]:
    """Says what each column of the user holds; `files` are the columns that hold files, named as their modality;
    `joined` is one that was made of several, separated by commas in its name."""
    columns = tuple(_column(str(name), table[name], name in files) for name in table if name not in ("_where", "_part"))
    made = {} if joined is None else {"labels": joined.count(",") + 1}
    columns = tuple(one.model_copy(update=made) if one.name == joined else one for one in columns)
    texts = [one for one in columns if one.kind == "text"]
    return tuple(_beside(one, texts, table) if one in texts and len(texts) > 1 else one for one in columns)


def _beside(column: Column, texts: Sequence[Column], table: pd.DataFrame) -> Column:
    """A column of texts that nearly all differ, with what it has of the longest other text of its row."""
    if column.distinct < _NEARLY_ALL * (len(table) - column.missing):
        return column
    some = table[[one.name for one in texts]].dropna()
    some = some.iloc[:: max(1, len(some) // _LOOKED_AT)]
    words = {name: [_WORD.findall(str(cell).lower()) for cell in some[name]] for name in some}
    counts = {name: sum(map(len, found)) for name, found in words.items()}
    own = words.pop(column.name)
    longest = max(words, key=lambda name: counts[name])
    if not counts[column.name] or not counts[longest]:
        return column
    pairs = zip(own, map(set, words[longest]), strict=True)
    copied = sum(word in there for found, there in pairs for word in found)
    brevity = counts[column.name] / counts[longest]
    return column.model_copy(update={"brevity": brevity, "copied": copied / counts[column.name]})


def choose(
    columns: Sequence[Column],
    shown: str,
    *,
    hint: str | None = None,
    target: str | None = None,
    inputs: Sequence[str] | None = None,
    task: str | None = None,
) -> Choice:
    """Chooses target, task, modality and inputs; `hint` is the target that the format itself names."""
    by_name = {column.name: column for column in columns}
    problems = [
        *_unknown(shown, "target", [] if target is None else [target], by_name),
        *_unknown(shown, "input", inputs or [], by_name),
    ]
    if task is not None and task not in tasks():
        what = f"the task must be one of {', '.join(tasks())}; got {task!r}."
        problems.append(Problem(severity="error", where=f"{shown}, task", what=what, remedy="Choose one of them."))
    if problems:
        return Choice(problems=tuple(problems))
    said = []
    if target is None:
        target, why = _propose_target(columns, hint, inputs or ())
        if target is None:
            return Choice(
                problems=(Problem(severity="error", where=shown, what=why, remedy="Name the target column."),)
            )
        said.append(f'Target "{target}": {why}')
    wanted = by_name[target]
    if task is None:
        task, why = _propose_task(wanted)
        if task is None:
            what = f'"{target}" cannot be a target: {why}'
            trouble = Problem(
                severity="error", where=f'{shown}, column "{target}"', what=what, remedy="Name another target column."
            )
            return Choice(target=target, inference=tuple(said), problems=(trouble,))
        said.append(f"Task {task}: {why}")
    elif tasks()[task].dense and not tasks()[task].recognise(wanted):
        # the formats write such cells, and only they are read
        what = f"{task} needs a file of annotations, and this column is read from plain cells."
        remedy = "Choose another task, or add such a file: masks, COCO, YOLO, CoNLL, SQuAD and others are read."
        problems.append(Problem(severity="error", where=f'{shown}, column "{target}"', what=what, remedy=remedy))
        return Choice(target=target, inference=tuple(said), problems=tuple(problems))
    others = [column for column in columns if column.name != target]
    chosen = [by_name[name] for name in dict.fromkeys(inputs) if name != target] if inputs else others
    if inputs and target in inputs:
        what = f'"{target}" is the target and cannot be an input as well.'
        problems.append(
            Problem(severity="error", where=f"{shown}, inputs", what=what, remedy="Leave it out of the inputs.")
        )
    modality, names, why = _propose_modality(chosen, bool(inputs), task)
    if not names:
        what = "no column is left to predict from."
        problems.append(Problem(severity="error", where=shown, what=what, remedy="Add columns, or name the inputs."))
    else:
        said.append(why)
        said += _left_out(others, names) if not inputs and modality not in kinds_of_files() else []
    return Choice(target, task, modality, tuple(names), tuple(said), tuple(problems))


def _column(name: str, values: pd.Series, file: bool) -> Column:
    present = values.dropna()
    distinct = int(present.nunique())
    missing = int(len(values) - len(present))
    shown = tuple(_example(value) for value in present.iloc[:200].unique()[:5])
    if file:
        return Column(name=name, kind=cast(Any, name), missing=missing, distinct=distinct, examples=shown[:3])
    if values.dtype == float:
        kind = "constant" if distinct < 2 else "id" if _numbers_rows(name, present, distinct) else "number"
        low, mean, high = (
            (float(present.min()), float(present.mean()), float(present.max())) if len(present) else (None,) * 3
        )
        return Column(
            name=name,
            kind=kind,
            missing=missing,
            distinct=distinct,
            examples=shown,
            minimum=low,
            mean=mean,
            maximum=high,
        )
    return Column(
        name=name,
        kind=_kind_of_texts(name, present, distinct),
        missing=missing,
        distinct=distinct,
        labels=label_sets.labels_in(present),
        examples=shown,
    )


def _example(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _numbers_rows(name: str, present: pd.Series, distinct: int) -> bool:
    """Whether whole numbers name rows: hardly any twice under a name that says so, or none twice and none left out.

    That nearly all values differ is no reason by itself: incomes and prices do, too.
    """
    if distinct < max(20, 0.9 * len(present)) or not (present % 1 == 0).all():
        return False
    gapless = distinct == len(present) == present.max() - present.min() + 1
    return bool(gapless) or bool(_ID_NAME.search(name))


def _kind_of_texts(name: str, present: pd.Series, distinct: int) -> str:
    if distinct < 2:
        return "constant"
    sample = [str(value) for value in present.iloc[:: max(1, len(present) // 1000)]]
    words = sum(len(_WORD.findall(text)) for text in sample) / len(sample)
    letters = sum(map(len, sample)) / len(sample)
    if sum(_DATE.fullmatch(text) is not None for text in sample) >= 0.95 * len(sample):
        return "date"
    varied = distinct / len(present)
    if varied >= 0.3 and distinct >= 5 and not _ID_NAME.search(name) and kmers.alphabet(sample):
        return "sequence"
    if (
        varied >= 0.3
        and distinct >= 5
        and (words >= 3.5 or letters >= 45)
        and not all(text.startswith("http") for text in sample)
    ):
        return "text"
    if varied >= 0.95 and distinct >= 20 or (_ID_NAME.search(name) and varied >= 0.9 and distinct >= 20):
        return "id"
    return "category"


def _unknown(shown: str, what: str, names: Sequence[str], known: dict[str, Column]) -> list[Problem]:
    found = []
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            some = ", ".join(list(known)[:12]) + (" ..." if len(known) > 12 else "")
            remedy = f'Did you mean "{near[0]}"?' if near else f"The columns are: {some}."
            sentence = f'there is no column "{name}" to use as {what}.'
            found.append(Problem(severity="error", where=shown, what=sentence, remedy=remedy))
    return found


def _propose_target(columns: Sequence[Column], hint: str | None, inputs: Sequence[str]) -> tuple[str | None, str]:
    if hint is not None:
        return hint, "the layout of the files says it."
    free = [column for column in columns if column.name not in inputs]
    fit = [column for column in free if column.kind in ("category", "number") or column.labels]
    for name in _NAMES:
        for column in free:
            if column.name.strip().lower() == name and (column in fit or column.kind == "constant"):
                return column.name, "its name says so."
    if free and free[-1] in fit and free[-1].distinct > 1:
        return free[-1].name, "it is the last column."
    few = [column for column in fit if 2 <= column.distinct <= 20]
    if few:
        return few[-1].name, f"it has only {few[-1].distinct} different values."
    if fit:
        return fit[-1].name, "it is the last column of numbers or categories."
    if written := [column for column in free if column.brevity]:
        named = [column for column in written if column.name.strip().lower() in _WRITTEN_NAMES]
        best = max(reversed(named or written), key=lambda column: max(_sureness(column).values()))
        return best.name, "its name says so." if named else "there are only texts, and it is the shorter or the last."
    kinds = sorted({column.kind for column in columns})
    return None, f"no column looks like a target (found only: {', '.join(kinds)})."


def _sureness(column: Column) -> dict[str, float]:
    """How sure each task is of a target."""
    return {key: task.recognise(column) for key, task in tasks().items()}


_STRINGS = ("text", "category", "sequence", "constant", "id")


def _propose_task(column: Column) -> tuple[str | None, str]:
    scores = _sureness(column)
    if 1.0 in scores.values():  # it says itself what it is
        return max(scores, key=lambda name: scores[name]), "its cells say so."
    if column.brevity:
        said = f"each row has a text of its own, {100 * column.brevity:.0f} % as long as its longest other one, and "
        said += f"{100 * column.copied:.0f} % of its words are from there."
        return max(scores, key=lambda name: scores[name]), said
    what = {"text": "free text", "date": "dates", "sequence": "sequences"} | {
        key: files.many for key, files in kinds_of_files().items()
    }
    if column.kind in what:
        return None, f"it holds {what[column.kind]}."
    if column.distinct < 2:  # that it cannot be learned is said where the rows are looked at
        return next(iter(tasks()), None), "its rows are looked at below."
    key = max(scores, key=lambda name: scores[name], default=None)
    if key is None or scores[key] <= 0:
        return None, f"no task fits its {column.distinct} different values."
    few = f"{column.distinct} different values"
    sort = "numbers" if column.minimum is not None else "names"
    return key, f"the target has {few}, which are {sort}."


def _propose_modality(columns: Sequence[Column], fixed: bool, task: str | None) -> tuple[str | None, list[str], str]:
    rooms = modalities()
    dense = tasks()[task].dense if task is not None else None
    if dense and dense.texts:
        columns = _as_texts(columns, 2 if dense.asked else 1)
    order = sorted(rooms, key=lambda key: -rooms[key].recognise(columns))
    names = [column.name for column in columns]
    for key in order:
        found = list(rooms[key].inputs(columns))
        if found and rooms[key].recognise(columns) > 0:
            chosen = names if fixed and rooms[key].files is None else found[:1] if dense else found
            some = ", ".join(chosen[:8]) + (f" and {len(chosen) - 8} more" if len(chosen) > 8 else "")
            return key, chosen, f"Read as {rooms[key].title.lower()}, from {len(chosen)} column(s): {some}."
    strings = names if fixed else [column.name for column in columns if column.kind == "id" and column.minimum is None]
    if strings:
        return "text", strings, f"Read as texts, from {', '.join(strings[:8])}: nothing else is there."
    return None, [], ""


def _as_texts(columns: Sequence[Column], wanted: int) -> list[Column]:
    """The columns, with strings taken as texts where fewer than `wanted` are: words of a text are judged, so it is one
    however short, and few may differ."""
    found = list(columns)
    strings = [i for i, column in enumerate(found) if column.minimum is None and column.kind in _STRINGS]
    strings.sort(key=lambda i: (found[i].kind != "text", found[i].name not in ("context", "question", "words")))
    for i in strings[:wanted]:
        found[i] = found[i].model_copy(update={"kind": "text"})
    return found


def _left_out(others: Sequence[Column], names: Sequence[str]) -> list[str]:
    words = {
        "id": "like identifiers", "constant": "one value only", "date": "dates", "text": "free text",
        "number": "numbers", "category": "categories", "sequence": "sequences",
    }  # fmt: skip
    by_kind: dict[str, list[str]] = {}
    for column in others:
        if column.name not in names and column.kind in words:
            by_kind.setdefault(column.kind, []).append(column.name)
    return [
        f"Not read ({words[kind]}): {', '.join(found[:8])}{f' and {len(found) - 8} more' if len(found) > 8 else ''}."
        for kind, found in by_kind.items()
    ]
