"""Label Studio's exports (JSON and JSON-MIN) as tasks: what each shows, and what was marked on it first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tltools.formats import _paired
from tltools.formats._collection import NotTaken
from tltools.formats._shapes import Boxes, Points, corners, loaded, turned, warn_left
from tltools.records import Problem, Skipped

_OWN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}  # that JSON-MIN adds to the data
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio writes before the name of an uploaded file


@dataclass(frozen=True)
class Marked:
    """One task: its data, and the results of its annotation as (name of the control, kind, value)."""

    where: str
    data: Mapping[str, Any]
    results: tuple[tuple[str, str, Mapping[str, Any]], ...]
    sizes: tuple[float, float] | None = None


def recognised(start: str) -> bool:
    """Says whether the start of a text is an export of Label Studio: a list of tasks with results, or of its short
    form."""
    listed = start.lstrip("\ufeff \t\r\n").startswith("[")
    full = re.search(r'"annotations"\s*:\s*\[', start) and re.search(r'"(data|result)"\s*:', start)
    short = re.search(r'"annotator"\s*:', start) and re.search(r'"(annotation_id|lead_time)"\s*:', start)
    return listed and bool(full or short)


def told_several(count: int, shown: str) -> list[Problem]:
    """What is said where tasks were annotated more than once."""
    if not count:
        return []
    what = f"{count} task(s) were annotated more than once; the first annotation of each was taken."
    remedy = "Export one annotation a task where another one is better."
    return [Problem(severity="warning", where=shown, what=what, remedy=remedy)]


def names_in(address: str) -> tuple[str, ...]:
    """What a file may be called here that stands under an address: its path, and its name before it was uploaded."""
    try:
        parts = urlsplit(address[:2_000])
    except ValueError:  # brackets, or signs that no host has
        return ()
    path = unquote((parse_qs(parts.query).get("d") or [parts.path])[0])
    name = path.rpartition("/")[2]
    return tuple(dict.fromkeys(one for one in (path, name, _UPLOADED.sub("", name)) if one))


def tasks(read: Any, shown: str) -> tuple[list[Marked], list[Skipped], int]:
    """(tasks, those that are left out and why, how many were annotated more than once) of a parsed export."""
    found: list[Marked] = []
    skipped: list[Skipped] = []
    several = 0
    for number, one in enumerate(read if isinstance(read, list) else [], start=1):
        where = f"{shown}, task {number}"
        try:
            if not isinstance(one, dict):
                raise NotTaken("it is no task; export it again as JSON")
            if "data" not in one:
                found.append(_short(one, where))
                continue
            done = [each for each in one.get("annotations") or () if not each.get("was_cancelled")]
            if not isinstance(one["data"], dict) or not done:
                raise NotTaken("nobody annotated it; annotate it, or leave it out")
            several += len(done) > 1
            sizes = {(each["original_width"], each["original_height"])
                     for each in done[0]["result"] if each.get("original_width")}  # fmt: skip
            results = tuple(
                (str(each["from_name"]), str(each["type"]), each["value"])
                for each in done[0]["result"]
                if isinstance(each.get("value"), dict)
            )
            found.append(Marked(where, one["data"], results, sizes.pop() if len(sizes) == 1 else None))
        except (AttributeError, KeyError, TypeError) as error:
            skipped.append(Skipped(where=where, reason=f"it is no task of Label Studio ({str(error)[:60]})"))
        except NotTaken as reason:
            skipped.append(Skipped(where=where, reason=str(reason)))
    return found, skipped, several


def _short(one: Mapping[str, Any], where: str) -> Marked:
    """A task of JSON-MIN: lists of values are results, a lone choice is a text, and all else is data."""
    results, data, sizes = [], {}, None
    for key, value in one.items():
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                kind = next((k for k in each if k.endswith("labels") or k == "choices"), "")
                results.append((key, kind, each))
                if each.get("original_width") and each.get("original_height"):
                    sizes = (each["original_width"], each["original_height"])
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            results.append((key, "choices", value))
        elif key not in _OWN:
            data[key] = value
    return Marked(where, data, tuple(results), sizes)


def file_of(data: Mapping[str, Any], known: _paired.Named, beside: str) -> tuple[str | None, str]:
    """(image, what names it) of a task: the first of its texts that is the address of a file that is there."""
    first = ""
    for value in data.values():
        if not isinstance(value, str):
            continue
        for name in names_in(value):
            if there := known.find(name, beside):
                return there, value
        first = first or value
    return None, first


def label_studio(files: _paired.Files, jsons: list[str], images: list[str]) -> Boxes:
    """Rectangles and polygons of Label Studio's exports, which count in percent of the image."""
    found, known = Boxes(in_pixels=False), _paired.Named(images)
    for name in jsons:
        try:
            marked, skipped, several = tasks(loaded(files.text(name)), name)
        except NotTaken as reason:
            files.skip(name, str(reason))
            continue
        found.used.add(name)
        files.skipped += skipped
        files.problems += told_several(several, name)
        left: Counter[str] = Counter()
        for task in marked:
            there, told = file_of(task.data, known, name)
            if there is None or found.of.get(there) is not None:
                why = "is not there" if there is None else "another task has already"
                files.skip(task.where, f"it names the image {told[:80]}, which {why}")
                continue
            found.of[there] = []
            for number, (_, kind, value) in enumerate(task.results, start=1):
                if kind not in ("rectanglelabels", "polygonlabels"):
                    left[kind.removesuffix("labels") or "other"] += 1
                    continue
                try:
                    label, points, drawn = _shape(kind, value, task.sizes)
                except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
                    what = f"result {number} cannot be read ({str(error)[:60]}) and was left out."
                    files.warn(task.where, what, "Give it a label, and draw it again.")
                    continue
                found.add(there, label, [points], drawn)
        warn_left(files, name, left)
    found.name_classes()
    return found


def _shape(kind: str, value: Mapping[str, Any], sizes: tuple[float, float] | None) -> tuple[str, Points, bool]:
    """(label, points in shares, whether they are an outline) of a result.

    Raises:
        KeyError, IndexError, TypeError, ValueError, ArithmeticError: no label, or not the numbers of its kind.
    """
    label = str(value[kind][0]).strip()
    if kind == "polygonlabels":
        points = [(float(x) / 100, float(y) / 100) for x, y in value["points"]]
        if len(points) < 3:
            raise ValueError(f"a polygon of {len(points)} points")
        return label, points, True
    x, y, w, h = (float(value[key]) / 100 for key in ("x", "y", "width", "height"))
    degrees = float(value.get("rotation") or 0)
    if not degrees:
        return label, corners(x, y, x + w, y + h), False
    if sizes is None:
        raise ValueError("a turned box needs one original_width and original_height")
    return label, turned(corners(x, y, x + w, y + h), degrees, (x, y), float(sizes[0]) / float(sizes[1])), True
