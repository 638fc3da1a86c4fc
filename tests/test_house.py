"""The rules of the house that a machine keeps: floors, rooms, the torch-free server, file and page sizes, the tree."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tltools.tasks import tasks

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "torchvision", "timm", "transformers", "peft"}

# the floor of every module and room below tltools; imports go down, never up, never sideways between rooms
FLOORS = {
    "records": 0, "home": 0, "registry": 0, "fits": 0,
    "schema": 1, "holders": 1, "ledgers": 1, "store": 1, "tickets": 1, "failures": 1, "artifacts": 1, "hub": 1,
    "processes": 1, "sound": 1, "pictures": 1, "kmers": 1,
    "entities": 1, "places": 1,  "languages": 1, "answers": 1, "label_sets": 1,
    "formats": 2, "modalities": 2, "tasks": 2, "strategies": 2, "providers": 2, "judging": 2,
    "drafts": 3, "datasets": 3, "splits": 3, "readings": 3, "profiles": 3, "targets": 3, "samples": 3, "sources": 3,
    "studies": 3, "study_files": 3, "first_studies": 3, "trials": 3, "plans": 3, "rates": 3, "costs": 3, "reports": 3,
    "budgets": 3, "row_sizes": 3, "own_weights": 3, "pace": 3, "augmentation": 3, "folds": 3, "overlays": 3,
    "mismatches": 3, "evidence": 3, "matching": 3, "study_checks": 3,
    "engine": 4, "ui": 4, "backends": 4,
    "supervise": 5, "worker": 5, "commands": 5, "source_commands": 5, "explanations": 5, "cli": 5, "__main__": 5,
    "doctor": 5,
}  # fmt: skip
ROOMS = {"formats", "modalities", "tasks", "strategies", "providers", "judging", "engine", "ui", "backends"}


def python_files() -> list[Path]:
    return sorted((ROOT / "tltools").rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The file's tree; every node knows the one above it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]
    return tree


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """The trees of all files are large, and the files tested next in this process need none."""
    yield
    parsed.cache_clear()


def place(path: Path) -> str:
    """The module or room right below tltools that a file belongs to."""
    parts = path.relative_to(ROOT / "tltools").with_suffix("").parts
    return parts[0]


@functools.cache
def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(dotted name, line, at module level) of every import in a file; type-only imports are left out."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}:{node.lineno}: imports are absolute in this house")
        else:
            continue
        above, level, typing_only = node, True, False
        while hasattr(above, "parent"):
            above = above.parent
            level = level and not isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef)
            typing_only = typing_only or (isinstance(above, ast.If) and "TYPE_CHECKING" in ast.unparse(above.test))
        if not typing_only:
            found += [(name, node.lineno, level) for name in names]
    return found


def target_of(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "tltools" or len(parts) < 2 or parts[1] in {"__version__"}:
        return None
    return parts[1]


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = place(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{path}: give {here!r} a floor in this test, or a place that has one"
    for name, line, _ in imports(path):
        there = target_of(name)
        if there is None or there == here:
            continue
        assert there in FLOORS, f"{path}:{line}: {name} has no floor"
        sideways_within_floor_3 = FLOORS[here] == FLOORS[there] and here not in ROOMS and there not in ROOMS
        assert FLOORS[there] < FLOORS[here] or sideways_within_floor_3, f"{path}:{line}: {here} may not import {name}"


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_stay_in_the_engine_and_streamlit_in_the_ui(path: Path) -> None:
    here = place(path)
    for name, line, at_module_level in imports(path):
        library = name.split(".")[0]
        if library in HEAVY and here != "engine":
            inside_a_room = here in {"tasks", "strategies"} and not at_module_level
            preloading = here in {"worker", "doctor"} and not at_module_level
            assert inside_a_room or preloading, f"{path}:{line}: {library} belongs to the engine"
        if library == "streamlit":
            assert here == "ui", f"{path}:{line}: streamlit belongs to ui, pages and streamlit_app.py"


def test_no_blanket_names() -> None:
    banned = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
    assert not [path for path in python_files() if path.stem.strip("_") in banned]


def test_rooms_and_pages_are_small_enough_to_read_in_one_sitting() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in [*python_files(), ROOT / "streamlit_app.py", *sorted((ROOT / "pages").rglob("*.py"))]
        if (count := len(path.read_text().splitlines())) > limit(path)
    ]
    assert not long, long


def limit(path: Path) -> int:
    if path.name == "streamlit_app.py":
        return 40
    return 120 if "pages" in path.relative_to(ROOT).parts else 350


def test_pages_live_in_section_folders() -> None:
    assert not list((ROOT / "pages").glob("*.py")), "a flat pages/*.py breaks st.navigation on a fresh server"


def test_every_file_says_first_what_it_is_for() -> None:
    missing = [
        str(path.relative_to(ROOT))
        for path in [*python_files(), *sorted((ROOT / "pages").rglob("*.py"))]
        if not (ast.get_docstring(parsed(path)) or "").strip()
    ]
    assert not missing, missing


def test_broad_except_exists_only_at_the_workers_edge() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*python_files(), *sorted((ROOT / "pages").rglob("*.py"))]
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception"})
        and place(path) != "worker"
    ]
    assert not found, found


def compared(path: Path) -> list[tuple[str, int]]:
    """(text, line) of all texts that a file compares or matches something with."""
    found = []
    for node in ast.walk(parsed(path)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        sides += [node.value] if isinstance(node, ast.MatchValue) else []
        inner = [one for side in sides for one in getattr(side, "elts", [side]) if isinstance(one, ast.Constant)]
        found += [(one.value, one.lineno) for one in inner if isinstance(one.value, str)]
    return found


def test_no_file_but_its_own_asks_for_a_task_by_its_key(tmp_path: Path) -> None:
    keys = set(tasks())
    asked = tmp_path / "asked.py"
    asked.write_text(
        "a = task == 'detection'\nb = task not in ('tagging', '')\nmatch task:\n  case 'regression': pass\n"
    )
    assert [(key, line) for key, line in compared(asked) if key in keys] == [
        ("detection", 1), ("tagging", 2), ("regression", 4)
    ], "the test sees what it looks for"  # fmt: skip
    found = [
        f"{path.relative_to(ROOT)}:{line} {key}"
        for path in [*python_files(), *sorted((ROOT / "pages").rglob("*.py"))]
        for key, line in compared(path)
        if key in keys and place(path) != "tasks"
    ]
    assert not found, f"ask the task's card instead: {found}"


def asked_of_modalities(path: Path) -> list[tuple[str, int]]:
    """(text, line) of all texts that a file compares with a modality."""
    found = []
    for node in ast.walk(parsed(path)):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if any(ast.unparse(side).rpartition(".")[2] == "modality" for side in sides):
            inner = [one for side in sides for one in getattr(side, "elts", [side]) if isinstance(one, ast.Constant)]
            found += [(one.value, one.lineno) for one in inner if isinstance(one.value, str)]
    return found


def test_no_floor_asks_for_a_modality_by_its_key(tmp_path: Path) -> None:
    asked = tmp_path / "asked.py"
    asked.write_text("a = dataset.modality == 'image'\nb = modality not in ('text', 'audio')\nc = kind == 'text'\n")
    assert asked_of_modalities(asked) == [("image", 1), ("text", 2), ("audio", 2)], "the test sees what it looks for"
    found = [
        f"{path.relative_to(ROOT)}:{line} {key}"
        for path in [*python_files(), *sorted((ROOT / "pages").rglob("*.py"))]
        for key, line in asked_of_modalities(path)
        if place(path) not in {"modalities", "tasks"}  # a task may say of which rows it is made; rooms see no other's
    ]
    assert not found, f"ask the modality's card instead: {found}"


def test_importing_the_floors_below_the_engine_loads_nothing_heavy() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {sorted(n for n, floor in FLOORS.items() if floor <= 3)!r}:\n"
        "    try: importlib.import_module('tltools.' + name)\n"
        "    except ModuleNotFoundError as missing:\n"
        "        if missing.name != 'tltools.' + name: raise\n"
        "from tltools import strategies, tasks, modalities, formats, providers\n"
        "strategies.strategies(); tasks.tasks(); modalities.modalities(); formats.formats(); providers.providers()\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_tree_in_the_readme_is_the_tree() -> None:
    block = re.search(r"```tree\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block, "README.md needs a ```tree block with one line per file"
    said = set()
    folder = ""
    for line in block.group(1).splitlines():
        name = line.split()[0] if line.split() else ""
        if name.endswith("/"):
            folder = name if not line.startswith(" ") else folder
        if line.startswith("  ") and name:
            said.add(folder + name)
        elif name and not name.endswith("/"):
            said.add(name)
            folder = ""
    real = {
        str(path.relative_to(ROOT))
        for path in [ROOT / "streamlit_app.py", *(ROOT / "pages").rglob("*.py"), *python_files()]
        if path.name != "__init__.py"
    }
    assert real <= said, f"README.md's tree lacks {sorted(real - said)}"
    gone = {name for name in said if name.endswith(".py") and not (ROOT / name).exists()}
    assert not gone, f"README.md's tree names files that do not exist: {sorted(gone)}"
