"""The user's own weights as a source: described by what lies beside them, copied, and tried on their architecture."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tltools import processes
from tltools.records import Problem, Refusal, Source, refuse

PICKLE_NAMES = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".th", ".npy")
CONVERT = (
    "Convert it on a machine that trusts it: `saved = torch.load(path, map_location='cpu', weights_only=True)`, then "
    "`safetensors.torch.save_file({k: v.clone() for k, v in saved.get('state_dict', saved).items()}, "
    "'model.safetensors')`."
)


def refuse_pickle(path: Path) -> None:
    """Refuses formats that may run code when read, by name and by their first bytes."""
    with open(path, "rb") as file:
        start = file.read(9)
    # a safetensors file begins with the length of its header, which may well read 0x80 (pickle) or PK (zip)
    header_like = start[3:8] == bytes(5) and start[8:9] in (b"{", b"")
    disguised = start[:1] == b"\x80" or start[:2] == b"PK" or start[:6] == b"\x93NUMPY"
    if path.suffix.lower() in PICKLE_NAMES or (disguised and not header_like):
        what = "must be a safetensors file; pickle checkpoints can run code and are not read."
        raise refuse(path.name, what, CONVERT)


def described(
    path: Path,
    source_id: str,
    name: str,
    architecture: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    image_size: int | None,
) -> Source:
    """The card of the user's own weights, before they were tried."""
    if path.is_file():
        refuse_pickle(path)
    if path.is_dir() and (path / "config.json").is_file() and architecture is None:
        from tltools.providers.huggingface import EXTRACTOR, from_config

        config = _json(path / "config.json")
        extractor = _json(path / EXTRACTOR) if (path / EXTRACTOR).is_file() else {}
        card = from_config(source_id, "local", config, extractor)
        said = {"name": name, "installed": True, "licence": "yours to know", "pretraining": f"file {path.name}"}
        return card.model_copy(update=said | ({"image_size": image_size} if image_size else {}))
    if architecture is None:
        what = "must come with --architecture timm/NAME, or be a transformers folder with config.json."
        raise refuse(str(path), what, "Name the architecture that the weights were made for.")
    return Source(
        id=source_id,
        name=name,
        provider="local",
        reads="image",
        family="timm",
        architecture=architecture.removeprefix("timm/"),
        installed=True,
        mean=mean,
        std=std,
        image_size=image_size,
        licence="yours to know",
        pretraining=f"file {path.name}",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise refuse(str(path), f"is not JSON ({error}).", "Save the model again.") from error
    return found


def files(path: Path) -> list[Path]:
    """The files of a source that are kept: weights, configuration, tokenizer; never pickles, never code."""
    if path.is_file():
        return [path]
    return [
        file for file in sorted(path.iterdir()) if file.suffix in {".safetensors", ".json", ".txt", ".model", ".spm"}
    ]


def copy(file: Path, place: Path) -> None:
    with open(file, "rb") as old, open(place, "wb") as new:
        while chunk := old.read(1 << 20):
            new.write(chunk)


def checked(folder: Path, source: Source) -> Source:
    """Tries the weights on the architecture in a process of its own, because this one must not import torch.

    Raises:
        Refusal: what that process refused.
    """
    done = _try_load(folder, source.model_dump_json())
    if done.returncode == 0:
        return Source.model_validate_json(done.stdout)
    if done.returncode == 2:
        raise Refusal(*[Problem.model_validate(problem) for problem in json.loads(done.stdout)])
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    raise refuse(
        source.id, f"could not be loaded: {last[0][:300]}", "Check that weights and architecture belong together."
    )


def _try_load(folder: Path, asked: str) -> subprocess.CompletedProcess[str]:
    words, environment = processes.command("tltools.engine.trial_load")
    return subprocess.run(
        [*words, str(folder)], env=environment, input=asked, capture_output=True, text=True, timeout=600, check=False
    )


def three_numbers(where: str, text: str | None) -> tuple[float, float, float] | None:
    """ "0.5, 0.5, 0.5" -> three numbers; None for nothing.

    Raises:
        Refusal: something else.
    """
    if not (text or "").strip():
        return None
    try:
        values = [float(part) for part in str(text).split(",")]
    except ValueError:
        values = []
    if len(values) != 3:
        raise refuse(where, f"must be three numbers; got {str(text)[:40]!r}.", "Write 0.5,0.5,0.5.")
    return values[0], values[1], values[2]
