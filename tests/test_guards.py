"""What stands before the web server, driven as plain ASGI: hosts, the budget of uploads, headers.

`pytest tests/test_guards.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.routing import Route
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from tltools.holders import this_process
from tltools.home import Home
from tltools.store import Store
from tltools.ui import server
from tltools.ui.guards import Budget, Headers, HostGuard, UploadGuard

PATH = "/_stcore/upload_file/{session}/{file}"


class Held(MemoryUploadedFileManager):
    """Streamlit's memory of uploads, as what stands before it asks for it."""

    def __init__(self) -> None:
        super().__init__("")

    def holds(self, session: str, file: str) -> bool:
        return bool(self.get_files(session, [file]))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes an upload, as Streamlit does."""
        await inner(scope, receive, send)
        session, file = scope["path"].split("/")[-2:]
        self.add_file(session, UploadedFileRec(file, "a.csv", "text/csv", b""))


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """A server that reads the whole body, as Streamlit does, and refuses one that breaks off."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            await send({"type": "http.response.start", "status": 400, "headers": []})
            return
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def asked(
    app: Any, path: str = "/", *, method: str = "GET", host: str = "localhost:8501", chunks: tuple[bytes, ...] = (b"",),
    declared: int | None = None, kind: str = "http",
) -> tuple[int, dict[bytes, bytes]]:  # fmt: skip
    """(status, headers) of one request; a closed WebSocket has status 1008."""
    headers = [(b"host", host.encode())]
    if declared is not None:
        headers.append((b"content-length", str(declared).encode()))
    left = list(chunks)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "method": method, "headers": headers}
    # a thread of its own: an earlier browser test leaves Playwright's loop running in this one
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, app(scope, receive, send)).result()
    if sent[0]["type"] == "websocket.close":
        return sent[0]["code"], {}
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("host", "fine"),
    [("localhost:8501", True), ("127.0.0.1", True), ("LOCALHOST", True), ("a.example.com", True),
     ("example.com", False), ("evil.example", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_only_known_hosts_are_answered(host: str, fine: bool) -> None:
    app = HostGuard(inner, ["localhost", "127.0.0.1", "*.example.com"])
    assert asked(app, host=host)[0] == (204 if fine else 403)
    if not fine:
        assert asked(app, host=host, kind="websocket")[0] == 1008


def test_every_loopback_address_is_a_known_host() -> None:
    settings = tomllib.loads((server.ROOT / ".streamlit" / "config.toml").read_text())
    compose = yaml.safe_load((server.ROOT / "compose.yaml").read_text())
    container = compose["services"]["app"]["environment"]["STREAMLIT_SERVER_ALLOWED_HOSTS"].split()
    for hosts in (settings["server"]["allowedHosts"], container):
        for host in ("localhost:8501", "127.0.0.1:8501", "[::1]:8501"):
            assert asked(HostGuard(inner, hosts), host=host)[0] == 204, (hosts, host)


def test_every_answer_has_the_protective_headers() -> None:
    headers = asked(Headers(inner))[1]
    assert headers[b"x-frame-options"] == b"DENY" and b"frame-ancestors 'none'" in headers[b"content-security-policy"]


def test_uploads_are_held_to_a_budget_of_what_the_server_still_holds() -> None:
    held = Held()
    app = UploadGuard(held.app, Budget(per_session=100, in_all=150), lambda session: True, held.holds)
    one, two, three = (PATH.format(session="s", file=name) for name in ("one", "two", "three"))
    assert asked(app, one, method="PUT", chunks=(b"x" * 40, b"x" * 40), declared=80)[0] == 204
    assert asked(app, two, method="PUT", chunks=(b"x" * 40,), declared=40)[0] == 413
    assert asked(app, PATH.format(session="t", file="a"), method="PUT", chunks=(b"x" * 60,))[0] == 204
    other = PATH.format(session="u", file="b")
    assert asked(app, other, method="PUT", chunks=(b"x" * 60,), declared=60)[0] == 413, "all sessions together"
    held.remove_file("s", "one")  # a click on ×, or a page that has kept it on disk
    assert asked(app, three, method="PUT", chunks=(b"x" * 40,), declared=40)[0] == 204


def test_a_body_that_lies_about_its_length_is_cut_off_and_not_counted() -> None:
    budget = Budget(per_session=100)
    app = UploadGuard(inner, budget, lambda session: True, Held().holds)
    lie = PATH.format(session="s", file="lie")
    assert asked(app, lie, method="PUT", chunks=(b"x" * 90, b"x" * 90), declared=5)[0] == 400
    assert not budget.held


def test_what_still_arrives_counts_before_the_server_holds_it() -> None:
    held, others = Held(), []
    late = PATH.format(session="s", file="late")

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        """Another file comes when the first one's body is there and not yet kept."""
        await inner(scope, receive, send)
        if scope["path"] != late:
            others.append(asked(app, late, method="PUT", chunks=(b"x" * 40,), declared=40)[0])

    app = UploadGuard(slow, Budget(per_session=100), lambda session: True, held.holds)
    assert asked(app, PATH.format(session="s", file="early"), method="PUT", chunks=(b"x" * 80,))[0] == 204
    assert others == [413]


def test_what_ended_sessions_held_is_forgotten() -> None:
    held, living = Held(), {"s"}
    app = UploadGuard(held.app, Budget(per_session=100, in_all=100), living.__contains__, held.holds)
    assert asked(app, PATH.format(session="s", file="a"), method="PUT", chunks=(b"x" * 90,))[0] == 204
    living.clear()
    living.add("t")
    held.remove_session_files("s")
    assert asked(app, PATH.format(session="t", file="b"), method="PUT", chunks=(b"x" * 90,))[0] == 204


def test_too_many_files_in_ten_minutes_are_refused() -> None:
    app = UploadGuard(inner, Budget(files=2), lambda session: True, Held().holds)
    paths = [PATH.format(session="s", file=name) for name in "abc"]
    assert [asked(app, path, method="PUT", chunks=(b"x",))[0] for path in paths] == [204, 204, 429]


@pytest.mark.parametrize(
    ("address", "private"), [("127.0.0.1", True), ("::1", True), (None, False), ("0.0.0.0", False)]
)
def test_only_a_loopback_address_needs_no_sign_in(
    monkeypatch: pytest.MonkeyPatch, address: str | None, private: bool
) -> None:
    """None: Streamlit then listens on every interface."""
    monkeypatch.delenv("TLTOOLS_OPEN", raising=False)
    monkeypatch.setattr(server.config, "get_option", lambda _: address)
    with contextlib.nullcontext() if private else pytest.raises(SystemExit, match="TLTOOLS_OPEN=1"):
        server.refuse_open_doors()


HEALTH = Starlette(routes=[Route("/api/healthz", server.healthz)])


def test_health_is_told_too_when_the_database_cannot_be_opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTOOLS_DATABASE_URL", "postgresql+pg8000://nobody@127.0.0.1:1/none")
    assert asked(HEALTH, "/api/healthz")[0] == 503


def test_health_is_read_beside_the_event_loop_and_while_another_writes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(home: Home) -> Store:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return store

    store = Store(home)
    store.beat(this_process())
    monkeypatch.setattr(server, "open_store", opened)
    with store.engine.begin():  # takes the write lock
        assert asked(HEALTH, "/api/healthz")[0] == 200
