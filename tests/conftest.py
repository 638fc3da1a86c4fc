"""What every test gets: a home of its own, no network, fixed seeds, and the public datasets where they are present."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from tltools.home import Home, open_home

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A fresh home folder that also child processes will use."""
    monkeypatch.setenv("TLTOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TLTOOLS_DATABASE_URL", raising=False)
    return open_home()


@pytest.fixture
def data() -> Path:
    """The folder of public datasets; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the public datasets (../shared/data) are not beside this checkout")
    return DATA
