"""Downloads from a model hub: pinned revision, safetensors only, counted in the ledger, refused when offline."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tltools.artifacts import building, sealed
from tltools.home import Home, write_json
from tltools.records import Refusal, Source, refuse
from tltools.store import open_store

NAME = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$")
CONFIGURATION = ("*.json", "*.txt", "*.model", "*.spm")  # configuration and tokenizer files
WEIGHTS = ("model.safetensors",)
Told = Callable[[int, int], None]


def folder_of(home: Home, source_id: str) -> Path:
    """Where a downloaded source lies."""
    digest = hashlib.sha256(source_id.encode()).hexdigest()[:8]  # names that differ in signs only must not meet
    return home.sources / f"{re.sub(r'[^a-z0-9.-]+', '-', source_id.lower())}-{digest}"


def must_be_online(home: Home, what: str) -> None:
    """Raises a refusal when nothing may be downloaded."""
    if home.offline:
        raise refuse(
            "download",
            f"{what} is not on this machine, and tltools is offline.",
            "Unset TLTOOLS_OFFLINE, or choose an installed source.",
        )


def check_name(repository: str) -> None:
    """Refuses what is not `name` or `organisation/name`, before it becomes part of an address or a path."""
    if not NAME.match(repository) or ".." in repository:
        raise refuse("source", f"must be org/name; got {repository[:80]!r}.", "Copy the name from the model's page.")


def look(home: Home, repository: str, revision: str | None = None) -> tuple[str, dict[str, Any], list[str]]:
    """Asks the hub for a repository: (commit, its config.json, names of its files).

    Raises:
        Refusal: offline, unknown, no answer, or the repository has no model.safetensors.
    """
    check_name(repository)
    must_be_online(home, repository)
    from huggingface_hub import HfApi

    _count(home, sent=repository)
    with _refusals(home, repository):
        info = HfApi(endpoint=home.hub).model_info(repository, revision=revision)
        names = [file.rfilename for file in info.siblings or []]
        if not info.sha:
            raise refuse("download", f"{repository} has no commit to pin.", "Choose another model.")
        if "model.safetensors" not in names:
            what = f"{repository} must have a model.safetensors; it has {', '.join(sorted(names)[:6]) or 'no files'}."
            raise refuse("download", what, "Choose a model that is published as one safetensors file.")
    return info.sha, read_json(home, repository, info.sha, "config.json"), names


def read_json(home: Home, repository: str, commit: str, name: str) -> dict[str, Any]:
    """A small file of a repository at one commit.

    Raises:
        Refusal: offline, or no answer.
    """
    from huggingface_hub import hf_hub_download

    with _refusals(home, repository):
        place = home.sources / ".configurations" / commit
        path = hf_hub_download(repository, name, revision=commit, endpoint=home.hub, local_dir=place)
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def download(home: Home, repository: str, card: Source, told: Told) -> Path:
    """Brings a repository's configuration and weights at one commit into the home folder; returns the sealed folder.

    The commit is `card.revision`, or today's, and is written into the card beside the files.
    """
    final = folder_of(home, card.id)
    if sealed(final):
        return final
    commit, _, _ = look(home, repository, card.revision)
    from huggingface_hub import snapshot_download

    with _refusals(home, repository), building(final) as part:
        reporting = _progress(told)
        snapshot_download(
            repository,
            revision=commit,
            endpoint=home.hub,
            local_dir=part,
            allow_patterns=[*CONFIGURATION, *WEIGHTS],
            tqdm_class=reporting,
        )
        shutil.rmtree(part / ".cache", ignore_errors=True)
        received = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        weights = part / "model.safetensors"
        pinned = card.model_copy(
            update={"revision": commit, "installed": True, "megabytes": round(weights.stat().st_size / 1e6, 1)}
        )
        write_json(part / "source.json", pinned.model_dump(mode="json"))
    _count(home, received=received)
    return final


def installed(home: Home, source_id: str) -> Source | None:
    """The card of a source that was downloaded before; None otherwise."""
    folder = folder_of(home, source_id)
    if not sealed(folder):
        return None
    return Source.model_validate_json((folder / "source.json").read_text())


def find(home: Home, query: str, *, author: str | None = None, limit: int = 20) -> Sequence[str]:
    """Names of repositories that match a query, most downloaded first."""
    must_be_online(home, f"The search for {query!r}")
    from huggingface_hub import HfApi

    _count(home, sent=query)
    with _refusals(home, query):
        found = HfApi(endpoint=home.hub).list_models(search=query, author=author, sort="downloads", limit=limit)
        return [model.id for model in found]


def _count(home: Home, sent: str = "", received: int = 0) -> None:
    """Into the ledger: the words of ours that are sent, names and searches, and the bytes that come."""
    open_store(home).count_bytes(urlsplit(home.hub).hostname or home.hub, len(sent.encode()), received)


class _refusals:
    """Turns what the hub's library raises into one sentence."""

    def __init__(self, home: Home, what: str) -> None:
        self.home, self.what = home, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, Refusal) or not isinstance(error, Exception):
            return
        from huggingface_hub import errors

        if isinstance(error, errors.GatedRepoError):  # it is a RepositoryNotFoundError, too
            raise refuse("download", f"{self.what} asks for an agreement first.", "Choose an open model.") from error
        if isinstance(error, errors.RevisionNotFoundError):
            what = f"{self.what} is known to {self.home.hub}, but not in this revision."
            raise refuse("download", what, "Choose it anew: the newest one is taken.") from error
        if isinstance(error, errors.RepositoryNotFoundError):
            raise refuse("download", f"{self.what} is not known to {self.home.hub}.", "Check the name.") from error
        if isinstance(error, OSError) or "http" in type(error).__module__.lower() or "HTTP" in type(error).__name__:
            what = f"{self.what} could not be fetched from {self.home.hub} ({type(error).__name__})."
            raise refuse("download", what, "Check the connection and try again; what arrived is kept out.") from error


def _progress(told: Told) -> Any:
    """A progress class for the hub's library that tells bytes instead of drawing bars."""
    from tqdm.auto import tqdm

    class Bytes(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **named: Any) -> None:
            named.pop("name", None)
            named["disable"] = True
            super().__init__(*args, **named)
            self._in_bytes = named.get("unit") == "B"
            self._seen = 0

        def update(self, n: float | None = 1) -> bool | None:
            if self._in_bytes:
                self._seen += int(n or 0)
                told(self._seen, int(self.total or 0))
            return None

    return Bytes
