"""Study files: YAML in, a `Study` out, with every mistake told at once; and back again."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from tltools.formats._json import whole
from tltools.home import existing
from tltools.records import Dataset, Number, Problem, Refusal, Source, Study, refuse
from tltools.strategies import Strategy, strategies
from tltools.tasks import tasks

LIMIT = 1_000_000  # bytes
Arm = tuple[str, dict[str, Any]]  # (strategy key, the knobs that the file sets)
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
# parts of the names of image networks with batch norms, which bear and need larger steps; a name that is not here
# starts at the smaller rate
BATCH_NORMS = ("resnet", "resnext", "mobilenet", "efficientnet", "inception", "xception", "densenet", "regnet", "_bn")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without anchors and without doubled keys: both read differently than they look."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases (& and *) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, (key, _) in enumerate(node.value):
            if keys[place] in keys[:place]:
                raise yaml.YAMLError(f"{keys[place]} stands twice (line {key.start_mark.line + 1})")
        return super().construct_mapping(node, deep)


def parse(text_or_path: str | Path) -> Study:
    """Reads a study file (a path) or its text (a string with a line break or a colon and blank).

    Raises:
        Refusal: everything that is wrong with the file's form; `studies.check` says what is wrong with its content.
    """
    where, text = _text(text_or_path)
    if len(text.encode()) > LIMIT:
        raise refuse(where, "must be at most 1 MB.", "A study file has some twenty lines.")
    try:
        found = whole(yaml.load(text, Loader=_Loader))  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:  # of dates, long numbers
        said = " ".join(str(error).split())[:300]
        raise refuse(where, f"is not a readable YAML file: {said}.", "Mend this place.") from error
    if not isinstance(found, dict):
        raise refuse(where, "must be a table of fields such as `dataset:`.", "See README.md, the study file.")
    return _record(where, {str(key): value for key, value in found.items()})


def _text(text_or_path: str | Path) -> tuple[str, str]:
    if isinstance(text_or_path, str) and ("\n" in text_or_path or ": " in text_or_path):
        return "study", text_or_path
    path = existing(text_or_path)
    if path is None or not path.is_file():
        raise refuse(str(text_or_path), "is not a file.", "Give the path of a study file.")
    if path.stat().st_size > LIMIT:
        raise refuse(path.name, "must be at most 1 MB.", "A study file has some twenty lines.")
    try:
        return path.name, path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(path.name, f"is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error


def _record(where: str, fields: dict[str, Any]) -> Study:
    known = set(Study.model_fields)
    problems = []
    for name in sorted(set(fields) - known):
        near = get_close_matches(name, sorted(known), n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"The fields are {', '.join(sorted(known))}."
        problems.append(Problem(severity="error", where=f"{where}, {name}", what="is not a field.", remedy=remedy))
    given = {key: value for key, value in fields.items() if key in known}
    given = {key: value for key, value in given.items() if value is not None or Study.model_fields[key].is_required()}
    try:
        study = Study.model_validate(given)
    except ValidationError as error:
        for item in error.errors():
            field, *below = map(str, item["loc"])
            if field in ("strategies", "controls") and below:
                continue  # told once an entry below, not once for each form that an entry may have
            place = ".".join([field, *below])
            what = f"{item['msg'][0].lower()}{item['msg'][1:]}; got {str(item.get('input'))[:60]!r}."
            unquoted = item["type"] == "string_type" and isinstance(item["input"], int | float | date)
            remedy = "Put it in quotes." if unquoted else "Mend this field."
            problems.append(Problem(severity="error", where=f"{where}, {place}", what=what, remedy=remedy))
        problems += _malformed_arms(where, given)
    if problems:  # a file that cannot be settled never reaches `studies.check`, so its strategies are looked at here
        raise Refusal(*problems, *_unknown_strategies(given))
    return study


def _malformed_arms(where: str, given: dict[str, Any]) -> list[Problem]:
    problems = []
    for field in ("strategies", "controls"):
        for place, entry in enumerate(_entries(given.get(field))):
            if isinstance(entry, str) or (isinstance(entry, dict) and all(isinstance(v, dict) for v in entry.values())):
                continue
            what = f"must be a name, or one name with a table of its knobs; got {str(entry)[:60]!r}."
            remedy = "Write it as `linear_probe` or `{full_finetune: {epochs: 6}}`."
            problems.append(Problem(severity="error", where=f"{where}, {field}.{place}", what=what, remedy=remedy))
    return problems


def _unknown_strategies(given: dict[str, Any]) -> list[Problem]:
    problems = []
    for field, kind in (("strategies", "transfer"), ("controls", "control")):
        for entry in _entries(given.get(field)):
            if isinstance(entry, str | dict) and entry:
                problems.append(known_strategy(str(next(iter(entry)) if isinstance(entry, dict) else entry), kind)[1])
    return [problem for problem in problems if problem is not None]


def _entries(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list) else (given,) if isinstance(given, str | int | float | dict) else ()


def dump(study: Study) -> str:
    """The study file of a study: all fields, in the order of the documentation."""
    fields = study.model_dump(mode="json")
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    return yaml.safe_dump(lists, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def arm(entry: str | dict[str, dict[str, Any]]) -> Arm:
    """One line of `strategies` or `controls`: a name, or a name with knobs."""
    if isinstance(entry, str):
        return entry, {}
    if len(entry) != 1:
        named = ", ".join(entry) or "none"
        raise refuse("strategies", f"must name one strategy a line; got {named}.", "Use one line for each.")
    (key, knobs), *_ = entry.items()
    return key, dict(knobs)


def normed(architecture: str) -> bool:
    """Whether an image network has batch norms, by its name."""
    return any(name in architecture for name in BATCH_NORMS)


def defaults(strategy: Strategy, source: Source | None = None, dataset: Dataset | None = None) -> dict[str, Any]:
    """The knobs of a strategy as they stand where nobody turns them; some rates and batches depend on the kind of the
    source, some lengths of training on whether the dataset's task has a closed form for its head to start from."""
    cases: tuple[tuple[Literal["convolutional", "tables", "anew"], bool], ...] = (
        ("convolutional", source is not None and source.reads == "image" and normed(source.architecture)),
        ("tables", source is not None and source.family == "tabular"),
        ("anew", dataset is not None and tasks()[dataset.task].closed_form is None),
    )
    values: dict[str, Any] = {knob.key: knob.default for knob in strategy.knobs}
    for knob in (one for one in strategy.knobs if isinstance(one, Number)):
        other = [knob.instead[case] for case, holds in cases if holds and case in knob.instead]
        values[knob.key] = float([*other, knob.default][0])  # 6 and 6.0 would make two trials of one
    return values


def filled(
    strategy: Strategy, given: dict[str, Any], source: Source | None = None, dataset: Dataset | None = None
) -> tuple[dict[str, Any], list[Problem]]:
    """All knobs of a strategy: those given, checked, and the defaults of the others; with every problem found."""
    knobs = {knob.key: knob for knob in strategy.knobs}
    values = defaults(strategy, source, dataset)
    problems = []

    def wrong(key: str, what: str, remedy: str) -> None:
        problems.append(Problem(severity="error", where=f"{strategy.key}, {key}", what=what, remedy=remedy))

    for key, value in given.items():
        if key not in knobs:
            near = get_close_matches(key, list(knobs), n=1)
            said = f"The knobs are {', '.join(knobs)}." if knobs else "It has no knobs."
            wrong(key, "is not a knob of this strategy.", f"Did you mean {near[0]!r}?" if near else said)
            continue
        knob = knobs[key]
        if isinstance(knob, Number):
            if isinstance(value, str) and _NUMBER.match(value.strip()):
                value = float(value)  # YAML 1.1 reads 1e-4 as a text
            elif isinstance(value, int) and abs(value) > 2**63:
                value = math.inf if value > 0 else -math.inf  # such a number may be too long to be written out
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                wrong(key, f"must be a number; got {value!r}.", f"Set {knob.default:g}.")
            elif not knob.low <= value <= knob.high:
                wrong(key, f"must be from {knob.low:g} to {knob.high:g}; got {value:g}.", f"Set {knob.default:g}.")
            elif knob.integer and value != int(value):
                wrong(key, f"must be a whole number; got {value:g}.", f"Set {round(value)}.")
            else:
                values[key] = float(value)  # as the defaults are
        elif knob.kind == "choice":
            if value not in knob.options:
                wrong(key, f"must be one of {', '.join(knob.options)}; got {value!r}.", f"Set {knob.default}.")
            values[key] = value
        else:
            if not isinstance(value, bool):
                wrong(key, f"must be true or false; got {value!r}.", f"Set {str(knob.default).lower()}.")
            values[key] = value
    return values, problems


def known_strategy(key: str, kind: str) -> tuple[Strategy | None, Problem | None]:
    """The strategy or control of a name, or the problem with that name."""
    found = strategies().get(key)
    if found is not None and found.kind == kind:
        return found, None
    names = [s.key for s in strategies().values() if s.kind == kind]
    near = get_close_matches(key, names, n=1)
    word = "strategy" if kind == "transfer" else "control"
    what = f"is not a {word}." if found is None else f"is a {found.kind} arm, not a {word}."
    remedy = f"Did you mean {near[0]!r}?" if near else f"Choose from {', '.join(names)}."
    return None, Problem(severity="error", where=f"{word} {key}", what=what, remedy=remedy)
