"""What every test gets: a home of its own, no network, fixed seeds, and the public datasets where they are present."""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import hypothesis
import numpy as np
import pytest
import sqlalchemy as sa

from tltools.home import Home, open_home
from tltools.records import Trial

if TYPE_CHECKING:
    from tests.sealed_trials import Sealed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

hypothesis.settings.register_profile("same", derandomize=True)  # a change is judged by what it changed, not by luck
hypothesis.settings.register_profile("new")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
gc.set_threshold(50_000, 20, 50)  # the libraries' million of objects are walked less often
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run four at a time
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits runs beside what computes: the browser's tests first, the worker's next, none of them last."""
    waiting = ("test_kill.py", "test_worker.py")
    items.sort(key=lambda item: 0 if item.get_closest_marker("browser") else 1 if item.path.name in waiting else 2)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def quick_disk() -> Iterator[None]:
    """No test cuts the power: what is written need not reach the disk at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_components() -> Iterator[None]:
    """Every page that a test opens would read the metadata of all packages: none of them has components."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)
        yield


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves its page as `__main__`, which a later test's child processes would run first."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True, scope="session")
def quick_loads() -> Iterator[None]:
    """A user's weights are tried in such forks, too."""
    from tests import scripts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tltools.own_weights._try_load", scripts.try_load)
        yield


@pytest.fixture(autouse=True)
def quick_scripts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported scripts are replayed in forks of a process that has the libraries, see `tests/scripts.py`."""
    replay = sys.modules.get("tltools.engine.replay")
    if replay is not None and request.node.get_closest_marker("own_process") is None:
        from tests import scripts

        monkeypatch.setattr(replay, "_run_script", scripts.run)


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


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A home with sealed trials of every kind; shared, so tests must not change what they find in it.

    Of the processes that test side by side the first makes it, the others copy it.
    """
    from tests import sealed_trials

    own = tmp_path_factory.mktemp("sealed") / "home"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return sealed_trials.make(open_home(own))
    common = tmp_path_factory.getbasetemp().parent / "sealed"
    common.mkdir(exist_ok=True)
    with filelock.FileLock(common / "lock"):
        if not (common / "done").exists():
            made = sealed_trials.make(open_home(common / "home"))
            trials = {name: trial.model_dump(mode="json") for name, trial in made.trials.items()}
            (common / "done").write_text(json.dumps([trials, made.studies]))
    shutil.copytree(common / "home", own)
    trials, named = json.loads((common / "done").read_text())
    known = {name: Trial.model_validate(trial) for name, trial in trials.items()}
    return sealed_trials.Sealed(open_home(own), known, named)


@pytest.fixture(scope="session")
def short_minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of MiniLM, for what is learned in many steps."""
    from tests import text_models

    return text_models.short(tmp_path_factory.mktemp("short"))


@pytest.fixture
def data() -> Path:
    """The folder of public datasets; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the public datasets (../shared/data) are not beside this checkout")
    return DATA


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("may not mount a small file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server of this run's own on loopback; its URL without a database name."""
    if not shutil.which("initdb") or not shutil.which("pg_ctl") or not importlib.util.find_spec("pg8000"):
        pytest.skip("no PostgreSQL server (initdb, pg_ctl) or no driver (pg8000) here")
    user = None
    import pwd

    if os.getuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with tempfile.TemporaryDirectory(prefix="pg") as folder, socket.socket() as probe:
        if user:
            shutil.chown(folder, user)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        run = functools.partial(subprocess.run, user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        run(["initdb", "-D", f"{folder}/data", "-U", "tl", "-A", "trust", "--no-sync"])
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(["pg_ctl", "-D", f"{folder}/data", "-o", options, "-w", "-l", f"{folder}/log", "start"])
        try:
            yield f"postgresql+pg8000://tl@127.0.0.1:{port}"
        finally:
            run(["pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop"])


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """A fresh database."""
    name = f"t{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(f"{postgresql_server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{postgresql_server}/{name}"
