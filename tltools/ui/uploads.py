"""Files from the browser: written to disk in chunks under names of our making."""

from __future__ import annotations

import re
import shutil
import unicodedata
import uuid
from pathlib import Path
from typing import BinaryIO

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tltools.home import Home

CHUNK = 1 << 20


def keep(home: Home, name: str, content: BinaryIO) -> Path:
    """Copies an upload into `uploads/<random>/<slug>.<ext>` and returns the path.

    `name` comes from a stranger: only its letters and digits are used.
    """
    folder = home.uploads / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / safe_name(name)
    content.seek(0)
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(content, file, CHUNK)
    except OSError:  # half a file on a full disk helps nobody
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path


def forget(given: UploadedFile) -> None:
    """Frees the memory of an upload that was kept; Streamlit holds it until the session ends or × is clicked."""
    context = get_script_run_ctx()
    if context and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, given.file_id)


def safe_name(name: str) -> str:
    """ "../../Évil Data (1).CSV" -> "evil-data-1.csv"."""
    last = re.split(r"[\\/]", name)[-1]
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    plain = unicodedata.normalize("NFKD", stem.casefold()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64] or "upload"
    extension = re.sub(r"[^a-z0-9]", "", extension.lower())[:12]
    return f"{slug}.{extension}" if extension else slug


def shown_name(name: str) -> str:
    """The name that people see: the last part, without its extension, printable, not too long."""
    last = re.split(r"[\\/]", name)[-1]
    stem = last.rpartition(".")[0] or last
    return "".join(char for char in stem if char.isprintable()).strip()[:80] or "Upload"
