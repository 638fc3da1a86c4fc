"""Where things live and how they are written: settings from the environment, one home folder, atomic files."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tltools.records import refuse

_OTHER_HOME = "Set TLTOOLS_HOME to a folder that you may write."


@dataclass(frozen=True)
class Home:
    """One installation's folder and its settings. Everything tltools writes lies under `root`."""

    root: Path
    database_url: str  # SQLAlchemy URL of the store
    offline: bool  # True: nothing may be downloaded
    hub: str  # base URL of the model hub

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def splits(self) -> Path:
        return self.root / "splits"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def trash(self) -> Path:
        return self.root / "trash"


def open_home(root: str | os.PathLike[str] | None = None) -> Home:
    """Opens (and makes) the home folder: `root`, else `TLTOOLS_HOME`, else `~/.tltools`.

    Raises:
        Refusal: the folder cannot be made, or not be written.
    """
    folder = Path(root or os.environ.get("TLTOOLS_HOME") or "~/.tltools")
    try:
        folder = folder.expanduser().resolve()
        folder.mkdir(0o700, parents=True, exist_ok=True)  # data of its owner: nobody else on the machine reads them
    except (OSError, RuntimeError) as error:  # the latter: the home of nobody
        raise refuse(str(folder), f"cannot be the home folder ({error}).", _OTHER_HOME) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise refuse(str(folder), "cannot be the home folder (it may not be written).", _OTHER_HOME)
    url = _absolute(os.environ.get("TLTOOLS_DATABASE_URL") or f"sqlite:///{quote(str(folder / 'store.db'))}")
    offline = os.environ.get("TLTOOLS_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "")).lower() in {"1", "true", "yes"}
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return Home(root=folder, database_url=url, offline=offline, hub=hub)


def _absolute(url: str) -> str:
    """A database URL with the whole path of its SQLite file: the worker, which runs in another folder, is handed it."""
    driver, colon, rest = url.partition(":///")
    path, mark, options = rest.partition("?")
    if not path or driver.partition("+")[0] != "sqlite" or unquote(path).startswith((":memory:", "file:")):
        return url
    return f"{driver}{colon}{quote(str(Path(unquote(path)).absolute()))}{mark}{options}"


def existing(named: str | os.PathLike[str], base: Path | None = None) -> Path | None:
    """The path that a person names (relative to `base`, with ~), or None where nothing lies there or no file can be
    called so."""
    try:
        path = (base or Path()) / Path(named).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, the home of nobody, a zero sign
        return None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old or the new one, never half: temporary file, fsync, rename.

    What is there keeps its mode; a device or a pipe is written into, because a rename would put a file in its place.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; see `json_bytes`."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """JSON as it lies in files; NaN and infinity are refused, because other programs cannot read them."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode()


def sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut; Windows cannot open folders, and needs no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
