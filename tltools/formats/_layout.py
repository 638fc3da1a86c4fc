"""What the folders of a collection of files say: which part and which class a file belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

PART_COLUMNS = ("split", "part", "fold", "subset", "set", "partition", "dataset_split")
PARTS = {
    "train": "train", "training": "train", "trn": "train", "train_set": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "val_set": "validation",
    "test": "test", "testing": "test", "tst": "test", "holdout": "test", "test_set": "test", "evaluation": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """For every file name: its part ("" where the folders say none) and its class ("" likewise), and why."""

    parts: dict[str, str]
    classes: dict[str, str]
    inference: tuple[str, ...]


def understand(names: list[str], word: str) -> Layout:
    """Reads parts and classes out of names such as "photos/train/ants/1.jpg"; `word`: one file, in sentences."""
    folders = {name: list(PurePosixPath(name).parts[:-1]) for name in names}
    stripped = _strip_common(folders)
    parts = dict.fromkeys(names, "")
    said: list[str] = []
    firsts = {path[0].lower() for path in folders.values() if path}
    everywhere = all(folders.values())
    if everywhere and firsts and firsts <= PARTS.keys():
        for name, path in folders.items():
            parts[name] = PARTS[path.pop(0).lower()]
        said.append(f"The folders {_quoted(firsts)} say which part each {word} belongs to; they are kept to.")
    else:
        lasts = {path[-1].lower() for path in folders.values() if len(path) > 1}
        if lasts and lasts <= PARTS.keys() and all(len(path) > 1 for path in folders.values()):
            for name, path in folders.items():
                parts[name] = PARTS[path.pop().lower()]
            said.append(
                f"The folders {_quoted(lasts)} below each class say which part each {word} belongs to; kept to."
            )
    classes = {name: path[0] if path else "" for name, path in folders.items()}
    found = {label for label in classes.values() if label}
    if found:
        said.append(f"{len(found)} folder(s) with {word}s were taken as classes: {_quoted(found)}.")
    if stripped:
        said.append(f'All lies in the folder "{stripped}", which says nothing about the classes.')
    return Layout(parts, classes, tuple(said))


def _strip_common(folders: dict[str, list[str]]) -> str:
    """Takes away outer folders that all names share, unless the folder is the only level or names a part."""
    gone: list[str] = []
    while folders and all(len(path) > 1 for path in folders.values()):
        firsts = {path[0] for path in folders.values()}
        if len(firsts) != 1 or next(iter(firsts)).lower() in PARTS:
            break
        gone.append(next(iter(firsts)))
        for path in folders.values():
            path.pop(0)
    return "/".join(gone)


def _quoted(names: set[str], most: int = 6) -> str:
    some = sorted(names)
    return ", ".join(some[:most]) + (f" and {len(some) - most} more" if len(some) > most else "")
