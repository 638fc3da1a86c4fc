"""The server file: `streamlit run tltools/ui/server.py`. The same app as `streamlit_app.py`, hardened.

Adds what a script cannot: a host check on every request, a budget for uploads, headers, /api/healthz, a frozen garbage
collector (Streamlit collects after every run, 83 ms each without), and the way round a trap of Streamlit's pages.

Streamlit reads settings from the folder where it is started and from the one beside this file: `.streamlit` here is a
link to the project's, so that they hold wherever the start is made.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # streamlit puts this file's folder there, not the project's
    sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
import sqlalchemy as sa  # noqa: E402
import streamlit as st  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402
from streamlit import config, runtime  # noqa: E402
from streamlit.runtime.pages_manager import PagesManager  # noqa: E402

from tltools.home import open_home  # noqa: E402
from tltools.records import Refusal  # noqa: E402
from tltools.store import open_store  # noqa: E402
from tltools.ui.guards import Budget, Headers, HostGuard, UploadGuard  # noqa: E402

QUIET_SECONDS = 30.0  # a worker that was not heard of for longer counts as gone
LEAST_FREE = 200_000_000  # bytes of disk
log = logging.getLogger("tltools.ui")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

# Until st.navigation has run once, Streamlit believes in its old automatic pages and tells the first visitor of a deep
# link "Page not found" over the right page.
PagesManager.uses_pages_directory = False


def alive(session: str) -> bool:
    """Whether a browser session still exists."""
    return runtime.exists() and runtime.get_instance().is_active_session(session)


def holds(session: str, file: str) -> bool:
    """Whether what a session uploaded still lies in this process's memory."""
    return runtime.exists() and bool(runtime.get_instance().uploaded_file_mgr.get_files(session, [file]))


def healthz(request: Request) -> JSONResponse:
    """200 when the store can be read, a worker lives and there is disk; else 503, with what is wrong.

    No coroutine, so that Starlette gives it a thread: a database that answers late holds up nobody else.
    """
    home = open_home()
    facts: dict[str, Any] = {"store": True, "worker": False, "free_disk_gb": 0.0}
    try:
        seen = open_store(home).workers()
        facts["worker"] = any(worker.quiet_seconds < QUIET_SECONDS for worker in seen)
    except (sa.exc.SQLAlchemyError, Refusal):  # Refusal: it could not even be opened
        facts["store"] = False
    free = psutil.disk_usage(str(home.root)).free
    facts["free_disk_gb"] = round(free / 1e9, 1)
    healthy = facts["store"] and facts["worker"] and free > LEAST_FREE
    return JSONResponse({"healthy": healthy, **facts}, status_code=200 if healthy else 503)


def friendly(error: Exception) -> bool:
    """What a visitor sees of a bug: a sentence and a number to find it by in the server's log."""
    number = uuid.uuid4().hex[:8]
    log.error("error %s", number, exc_info=error)
    st.error(
        f"This page met a mistake of ours (number {number}). Nothing stored was changed. Reload the page; if it "
        "happens again, report it with this number from the server's log.",
        icon=":material/error:",
    )
    return True  # nothing more is shown


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    """Loads what pages need, then takes it out of the collector's sight."""
    from tltools import datasets, reports, sources, studies  # noqa: F401
    from tltools.ui import charts  # noqa: F401

    refuse_open_doors()
    gc.collect()
    gc.freeze()
    yield


def refuse_open_doors() -> None:
    """Ends the start on an address that others can reach, unless somebody said that this is meant."""
    address = str(config.get_option("server.address") or "0.0.0.0")  # Streamlit listens everywhere unless told where
    if address not in _LOOPBACK and os.environ.get("TLTOOLS_OPEN") != "1":
        raise SystemExit(
            f"The address {address} can be reached from other machines, and there is no sign-in. Set TLTOOLS_OPEN=1 if "
            "only trusted people reach it: through a proxy with a sign-in, or a container published on loopback."
        )


app = st.App(
    ROOT / "streamlit_app.py",
    lifespan=lifespan,
    routes=[Route("/api/healthz", healthz)],
    middleware=[
        Middleware(Headers),
        Middleware(HostGuard, hosts=config.get_option("server.allowedHosts") or _LOOPBACK),
        Middleware(UploadGuard, budget=Budget(), alive=alive, holds=holds),
    ],
    on_script_error=friendly,
)
