"""What outlives what: a run its server, a page the server's restart; a plain start has a worker; a container opens."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from looking import button, says, settled
from serving import ROOT, Served, serving
from workers import alive, wait_end, wait_for

from tltools import datasets, samples, studies
from tltools.home import open_home
from tltools.records import Job, Study

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("lives") / "home", worker=True, TLTOOLS_OFFLINE="1") as served:
        yield served


def submitted(server: Served, *strategies: Any) -> tuple[str, Job]:
    """A small study of MiniLM, queued as a page would."""
    home = open_home(server.home)
    notes = samples.add(home, "film-notes")
    study = Study(
        dataset=notes.id, sources=("bundled/minilm-l6",), strategies=strategies, controls=("classical",),
        per_class=(8, 16), draws=2, name="Outlives its server",
    )  # fmt: skip
    return studies.save(home, study), studies.submit(home, server.store(), study)


def test_a_killed_server_loses_no_run_and_its_page_finds_it_again(server: Served, chromium: Any) -> None:
    """T4 with a browser: the run goes on without a server; the page that stayed open comes back by itself."""
    home = open_home(server.home)
    page = chromium.new_page()
    study_id, job = submitted(server, "linear_probe", {"last_block": {"epochs": 2, "min_steps": 10}})
    page.goto(f"{server.url}/runs?study={study_id}")
    says(page, "You may close this page")
    store = server.store()
    study = studies.load(home, study_id)
    wait_for(lambda: studies.progress(home, study)[0] >= 1, 60, "the first trial")
    worker = store.workers()[0].holder.pid
    address = page.url

    server.end(signal.SIGKILL)
    done, wanted = studies.progress(home, study)
    assert done < wanted and alive(worker)
    wait_for(lambda: studies.progress(home, study)[0] > done, 60, "another trial while there is no server")
    server.start()
    page.get_by_text("Finished: Outlives its server").wait_for(timeout=180_000)  # nobody reloaded
    assert page.url == address
    button(page, "Open the verdict")
    says(page, "Did it help?")
    assert page.get_by_role("heading", level=1).inner_text().startswith(("Transfer", "Not enough evidence"))
    now = store.job(job.id)
    assert now is not None and (now.state, now.attempt) == ("done", 1), "it was never interrupted"
    assert [one.holder.pid for one in store.workers() if alive(one.holder.pid)] == [worker], "nor doubled"
    page.close()


def test_a_plain_run_of_the_script_has_a_worker_that_works(tmp_path: Path, chromium: Any) -> None:
    table = tmp_path / "shop.csv"
    table.write_text("age,kind\n" + "".join(f"{20 + i % 50},{'xy'[i % 2]}\n" for i in range(60)))
    with serving(tmp_path / "home", worker=True, script="streamlit_app.py") as server:
        assert not server.store().workers(), "nobody opened a page yet"
        page = chromium.new_page()
        page.goto(server.url)
        settled(page)
        assert page.get_by_role("button", name="Try the sample study").count() == 1
        job = server.store().submit("ingest", {"path": str(table), "name": "shop"}, title="Add shop", key="shop")
        ended = wait_end(server.store(), job, 60)
        assert ended.state == "done" and ended.result is not None, ended.failure
        assert datasets.get(open_home(server.home), ended.result["dataset"]).rows == 60
        page.reload()
        says(page, "Worker ready")
        page.close()


def test_cancelling_by_the_button_ends_a_running_fine_tuning_at_once(server: Served, chromium: Any) -> None:
    """Two seconds are promised; here a browser and the server share the cores with the training."""
    page, store = chromium.new_page(), server.store()
    study_id, job = submitted(server, "full_finetune")
    page.goto(f"{server.url}/runs?study={study_id}")
    settled(page)

    def now() -> Job:
        found = store.job(job.id)
        assert found is not None and found.state in ("queued", "running", "cancelled"), found
        return found

    wait_for(lambda: "epoch" in now().progress.note, 120, "the first epoch of a fine-tuning")
    page.get_by_role("button", name="Cancel").first.click()
    began = time.monotonic()
    wait_for(lambda: now().state == "cancelled", 10.0, "the end of a cancelled fine-tuning")
    print(f"cancelled {time.monotonic() - began:.2f} s after the click")
    says(page, "was cancelled")
    page.get_by_role("button", name="Go on with it").wait_for()
    assert page.get_by_role("button", name="Go on with it").count() == 1
    page.close()


def container() -> dict[str, str]:
    """The environment that the Dockerfile and compose.yaml give to the server."""
    (line,) = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    given = dict(part.split("=", 1) for part in line.split())
    more = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["app"]["environment"]
    return {key: value for key, value in {**given, **more}.items() if key not in ("PYTHONPATH", "TLTOOLS_HOME")}


def test_a_container_listens_outside_itself_and_only_when_told_that_it_may(tmp_path: Path) -> None:
    """127.0.0.2 stands for the container's address from outside: a server on 127.0.0.1 does not answer there."""
    given = container()
    with serving(tmp_path / "home", worker=False, **given) as server:
        outside = server.url.replace("localhost", "127.0.0.2")
        asked = urllib.request.Request(f"{outside}/api/healthz", headers={"Host": "localhost"})
        with pytest.raises(urllib.error.HTTPError) as ill:
            urllib.request.urlopen(asked)
        assert json.loads(ill.value.read())["store"], "it answers, without a worker"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(outside)
    assert given.pop("TLTOOLS_OPEN") == "1"
    with pytest.raises(AssertionError, match="Set TLTOOLS_OPEN=1 if"), serving(tmp_path / "b", worker=False, **given):
        pass


def test_a_server_started_from_another_folder_is_as_private_as_from_its_own(tmp_path: Path) -> None:
    script = str(ROOT / "tltools" / "ui" / "server.py")
    with serving(tmp_path / "home", worker=False, script=script, cwd=tmp_path) as server:
        sockets = psutil.Process(server.pid).net_connections()
        assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        for path in ("/", "/_stcore/health", "/api/healthz"):
            foreign = urllib.request.Request(server.url + path, headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(foreign)
