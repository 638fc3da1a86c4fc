"""The frame of every page: settings, menu, worker. `streamlit run tltools/ui/server.py` starts it hardened."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tltools.backends import local  # noqa: E402
from tltools.home import open_home  # noqa: E402
from tltools.records import Refusal  # noqa: E402
from tltools.store import open_store  # noqa: E402
from tltools.ui import frame, widgets  # noqa: E402

home = open_home()
page = st.navigation(frame.pages(ROOT / "pages"))
st.set_page_config(page_title=f"{page.title} · tltools", page_icon=":material/balance:", layout="wide")
local.ensure_worker(home)
frame.draw(home, lambda: local.worker_state(home, open_store(home)))
try:
    page.run()
except Refusal as refusal:  # said by a button that the page did not guard
    widgets.problems(refusal.problems)
