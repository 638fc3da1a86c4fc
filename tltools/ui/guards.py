"""What stands before the web server: the host check, the budget of uploads, and the headers of every answer.

Plain ASGI middleware: bytes are counted as they pass, because middleware that consumes a body breaks the upload.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Any]

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"frame-ancestors 'none'; object-src 'none'; base-uri 'self'"),
)
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/([^/]+)$")
_WINDOW = 600.0  # seconds in which a session's files are counted


@dataclass
class Budget:
    """Bytes of uploads that lie in this process's memory, by session and file."""

    per_session: int = 400_000_000
    in_all: int = 1_000_000_000
    files: int = 200  # of a session in ten minutes
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    arriving: set[tuple[str, str]] = field(default_factory=set)  # counted, and not yet in the server's hands
    seen: dict[str, deque[float]] = field(default_factory=dict)

    def keep(self, alive: Callable[[str], bool], holds: Callable[[str, str], bool]) -> None:
        """Forgets the files that the server let go of, and the sessions that are gone."""
        for key in [key for key in self.held if key not in self.arriving and not holds(*key)]:
            del self.held[key]
        for session in [session for session in self.seen if not alive(session)]:
            del self.seen[session]

    def refuses(self, session: str, now: float) -> tuple[int, str] | None:
        """(status, sentence) when a session may not send another file now."""
        times = self.seen.setdefault(session, deque())
        while times and now - times[0] > _WINDOW:
            times.popleft()
        if len(times) >= self.files:
            return 429, f"Too many files: at most {self.files} in ten minutes. Wait a little, or send them as one zip."
        return None

    def fits(self, session: str, more: int) -> bool:
        """Whether so many bytes more may be held."""
        mine = sum(size for (owner, _), size in self.held.items() if owner == session)
        return mine + more <= self.per_session and sum(self.held.values()) + more <= self.in_all


class HostGuard:
    """Refuses a request for a host name that is not ours: the answer to DNS rebinding, for every request."""

    def __init__(self, app: App, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, [host.lower() for host in hosts]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in {"http", "websocket"} and not self._known(_header(scope, b"host")):
            await _answer(scope, send, 403, "This server does not answer under that name.")
            return
        await self.app(scope, receive, send)

    def _known(self, host: str) -> bool:
        name = re.sub(r":\d+$", "", host.lower()).strip("[]")
        return any(
            known == "*" or name == known or (known.startswith("*.") and name.endswith(known[1:]))
            for known in self.hosts
        )


class UploadGuard:
    """Counts what uploads put into this process's memory, and refuses what is beyond the budget."""

    def __init__(
        self, app: App, budget: Budget, alive: Callable[[str], bool], holds: Callable[[str, str], bool]
    ) -> None:
        self.app, self.budget, self.alive, self.holds = app, budget, alive, holds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = _UPLOAD.search(scope.get("path", "")) if scope["type"] == "http" else None
        if found is None or scope["method"] != "PUT":
            await self.app(scope, receive, send)
            return
        session, file = found.groups()
        self.budget.keep(self.alive, self.holds)
        refused = self.budget.refuses(session, time.monotonic())
        declared = _header(scope, b"content-length")
        if refused is None and not self.budget.fits(session, int(declared) if declared.isdigit() else 0):
            refused = _TOO_MUCH
        if refused is not None:
            await _answer(scope, send, *refused)
            return
        self.budget.seen[session].append(time.monotonic())
        await self._counted((session, file), scope, receive, send)

    async def _counted(self, key: tuple[str, str], scope: Any, receive: Any, send: Any) -> None:
        """Lets a body through while it fits; a body that lied about its length ends as if its sender had gone."""
        self.budget.held[key] = 0
        self.budget.arriving.add(key)
        status = [500]

        async def counting() -> Message:
            message: Message = await receive()
            size = len(message.get("body", b""))
            if not self.budget.fits(key[0], size):
                return {"type": "http.disconnect"}
            self.budget.held[key] = self.budget.held.get(key, 0) + size
            return message

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self.app(scope, counting, noting)
        finally:
            self.budget.arriving.discard(key)
            if status[0] >= 300:  # nothing was kept
                self.budget.held.pop(key, None)


class Headers:
    """Adds the protective headers to every answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message.get("headers", ())}
                more = [pair for pair in HEADERS if pair[0] not in known]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        await self.app(scope, receive, adding if scope["type"] == "http" else send)


_TOO_MUCH = (413, "Too much at once: this server holds 400 MB of uploads a session. Add large data by path instead.")


def _header(scope: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def _answer(scope: Any, send: Any, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
