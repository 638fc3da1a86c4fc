"""What this machine can do, and why: versions, device, store, sources, worker, network."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

from tltools import __version__, sources
from tltools.backends import local
from tltools.home import Home
from tltools.store import health, open_store

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "peft", "streamlit", "scikit-learn", "pandas", "plotly")


def examine(home: Home) -> dict[str, Any]:
    """Facts by name. The device is asked for in a process of its own, so that this one stays light."""
    facts: dict[str, Any] = {
        "tltools": __version__,
        "python": platform.python_version(),
        "home": str(home.root),
        "offline": home.offline,
        **{name: _version(name) for name in LIBRARIES},
        **_device(),
        **health(home),
        "worker": local.worker_state(home, open_store(home)).sentence,
        "sources here": ", ".join(source.id for source in sources.listing(home) if source.installed),
    }
    ledger = open_store(home).network()
    facts["network"] = (
        "; ".join(f"{row['host']}: {row['sent']} bytes sent, {row['received']} received" for row in ledger)
        or "0 bytes left this machine"
    )
    return facts


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _device() -> dict[str, Any]:
    code = (
        "import json\nfrom tltools.engine import device, torchvision_operators as t\n"
        "d = device.best()\n"
        "print(json.dumps({'device': d.name, 'why': d.reason, 'memory_gb': round(d.memory_mb / 1e3, 1),"
        " 'torchvision operators': t.ensure()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1] if done.stderr else "?"
        return {"device": f"none: {said.removeprefix('tltools.records.Refusal: ')[:200]}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found
