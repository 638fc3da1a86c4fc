"""Texts and rows of which something was chosen in Label Studio become rows: its JSON, alone."""

from __future__ import annotations

from pathlib import Path

from tltools.formats import Format, Read, _choices, _label_studio, asking
from tltools.formats._cells import typed
from tltools.formats._collection import skip_problems
from tltools.formats._picture import ALL_IMAGES
from tltools.formats._sound import ALL_SOUNDS
from tltools.records import plain_name, refuse

START = 65_536  # bytes that tell what a file is


def recognise(path: Path) -> float:
    """How sure, 0..1, that a path is an export of Label Studio that is no other format's."""
    if not path.is_file() or path.suffix.lower() != ".json":
        return 0.0
    with path.open("rb") as file:
        return 0.95 * _label_studio.recognised(file.read(START).decode("utf-8-sig", "replace"))


def read(path: Path, scratch: Path) -> Read:
    """Reads an export; what was chosen is the target where it is one thing.

    Raises:
        Refusal: not UTF-8 or not JSON, too large, nothing annotated, or tasks that show files, which are not there.
    """
    shown, limits = plain_name(path.name), asking.get().limits
    if path.stat().st_size > limits.json_bytes:
        got = f"a JSON file may have {limits.json_bytes / 1e6:.0f} MB; got {path.stat().st_size / 1e6:.0f} MB."
        raise refuse(shown, got, "Add a part of it.")
    raw, controls = _choices.raw(path.read_bytes(), shown)
    first = [cell for column in raw.columns if (cell := column[0].as_py())]
    files = [cell for cell in first if cell.lower().endswith((*ALL_IMAGES, *ALL_SOUNDS))]
    if files:
        what = f"its tasks show files, the first {files[0][:80]}, which are not in it."
        raise refuse(shown, what, "Put this file and the pictures or sounds into one folder or zip.")
    table = typed(raw, shown)
    table["_part"] = ""
    problems = (*raw.problems, *skip_problems(shown, raw.skipped))
    target = controls[0] if len(controls) == 1 else None
    return Read(table, None, target, problems, tuple(raw.skipped), tuple(raw.inference))


CHOICES = Format(
    key="choices",
    title="Choices (Label Studio)",
    extensions=(".json",),
    recognise=recognise,
    read=read,
    order=18,
)
